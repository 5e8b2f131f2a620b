/*
 * BlockCrypto: sectors on several processors, reads and writes of the payload
 *
 * Reads put ciphertext directly into the caller's buffer and decrypt it there. Anyone else with access to that buffer
 * (a guest, if it is guest memory) can see the ciphertext for a moment. docs/data-path.md describes the life of a
 * request.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/crypto/block-crypto.h"
#include "util/thread-pool.h"

/* Maximum size of the bounce buffers into which writes are encrypted. */
#define BOUNCE_MAX_BYTES (2 * MiB)

/*
 * Number of bounce buffers that are kept. If they were freed, the C library would return the memory and fault it in
 * again for every request, which costs more than the encryption.
 */
#define BOUNCE_POOL_MAX 16
#define BOUNCE_SMALL_BYTES (128 * KiB)
#define BOUNCE_ALIGNMENT 4096

/* More threads than this do not help: memory bandwidth is the limit. */
#define PIECES_MAX 32

/* The part of one thread. */
typedef struct CryptPiece {
    const BlockCrypto *c;
    BlockCryptoRange range;
} CryptPiece;

/* Encrypt or decrypt @bytes that begin @done bytes into the range. */
static void crypt_sectors(const CryptPiece *p, size_t done, const void *in, void *out, size_t bytes)
{
    uint64_t sector = p->range.sector + done / QCRYPTO_SECTOR_SIZE;

    if (p->range.encrypt) {
        qcrypto_sectors_encrypt(p->c->cipher, sector, in, out, bytes >> p->c->sector_bits);
    } else {
        qcrypto_sectors_decrypt(p->c->cipher, sector, in, out, bytes >> p->c->sector_bits);
    }
}

/* Encrypt or decrypt a sector that spans several buffers. */
static void crypt_straddling(const CryptPiece *p, size_t done)
{
    const BlockCryptoRange *r = &p->range;
    uint8_t bounce[QCRYPTO_MAX_SECTOR_SIZE];

    qemu_iovec_to_buf(r->qiov, r->qiov_offset + done, bounce, p->c->sector_size);
    crypt_sectors(p, done, bounce, r->out ? r->out + done : bounce, p->c->sector_size);
    if (!r->out) {
        qemu_iovec_from_buf(r->qiov, r->qiov_offset + done, bounce, p->c->sector_size);
    }
}

static int crypt_piece(void *opaque)
{
    const CryptPiece *p = opaque;
    const BlockCryptoRange *r = &p->range;
    const struct iovec *iov = r->qiov->iov;
    size_t skip = r->qiov_offset;

    for (size_t done = 0, n; done < r->bytes; done += n, skip += n) {
        while (skip >= iov->iov_len) {
            skip -= iov->iov_len;
            iov++;
        }
        n = MIN(iov->iov_len - skip, r->bytes - done) & -p->c->sector_size;
        if (n) {
            uint8_t *in = (uint8_t *)iov->iov_base + skip;
            crypt_sectors(p, done, in, r->out ? r->out + done : in, n);
        } else {
            n = p->c->sector_size;
            crypt_straddling(p, done);
        }
    }
    return 0;
}

void coroutine_fn block_crypto_co_crypt(const BlockCrypto *c, const BlockCryptoRange *range)
{
    size_t n = MIN(range->bytes / c->piece_bytes, MIN(thread_pool_cpu_threads(), PIECES_MAX));

    if (n < 2) {
        CryptPiece all = { .c = c, .range = *range };

        crypt_piece(&all);
        return;
    }
    CryptPiece pieces[PIECES_MAX];
    size_t each = ROUND_UP(DIV_ROUND_UP(range->bytes, n), c->sector_size);
    n = DIV_ROUND_UP(range->bytes, each);
    for (size_t i = 0; i < n; i++) {
        BlockCryptoRange *r = &pieces[i].range;
        size_t start = i * each;

        pieces[i].c = c;
        *r = *range;
        r->sector += start / QCRYPTO_SECTOR_SIZE;
        r->qiov_offset += start;
        r->bytes = MIN(each, range->bytes - start);
        r->out = range->out ? range->out + start : NULL;
    }
    thread_pool_map_co(THREAD_POOL_CPU, crypt_piece, pieces, sizeof(pieces[0]), n);
}

int coroutine_fn block_crypto_co_preadv(BlockCrypto *c, BdrvChild *child, int64_t child_offset, int64_t offset,
                                        int64_t bytes, QEMUIOVector *qiov, BdrvRequestFlags flags)
{
    if (!c->cipher) {
        return -ENOKEY;
    }
    int ret = bdrv_co_preadv(child, child_offset, bytes, qiov, flags);
    if (ret == 0) {
        const BlockCryptoRange range = { .sector = offset / QCRYPTO_SECTOR_SIZE, .qiov = qiov, .bytes = bytes };

        block_crypto_co_crypt(c, &range);
    }
    return ret;
}

/* Whether every buffer holds whole sectors, so that each can be encrypted in place. */
static bool whole_sectors(const BlockCrypto *c, const QEMUIOVector *qiov)
{
    for (int i = 0; i < qiov->niov; i++) {
        if (qiov->iov[i].iov_len & (c->sector_size - 1)) {
            return false;
        }
    }
    return true;
}

static GMutex pool_lock;
static void *pool[BOUNCE_POOL_MAX];
static unsigned pool_len;

static bool is_pooled(const BlockDriverState *bs, int64_t size)
{
    return size > BOUNCE_SMALL_BYTES && bs->bl.opt_mem_alignment == BOUNCE_ALIGNMENT;
}

/* Get a buffer of @size, at most BOUNCE_MAX_BYTES, that @bs can write from. */
static void *bounce_get(const BlockDriverState *bs, int64_t size)
{
    void *buf = NULL;

    if (!is_pooled(bs, size)) {
        return qemu_blockalign(bs, size);
    }
    g_mutex_lock(&pool_lock);
    if (pool_len) {
        buf = pool[--pool_len];
    }
    g_mutex_unlock(&pool_lock);
    return buf ?: qemu_blockalign(bs, BOUNCE_MAX_BYTES);
}

static void bounce_put(const BlockDriverState *bs, int64_t size, void *buf)
{
    if (!is_pooled(bs, size)) {
        qemu_vfree(buf);
        return;
    }
    g_mutex_lock(&pool_lock);
    if (pool_len < BOUNCE_POOL_MAX) {
        pool[pool_len++] = buf;
        buf = NULL;
    }
    g_mutex_unlock(&pool_lock);
    qemu_vfree(buf);
}

static int coroutine_fn pwritev_in_place(BlockCrypto *c, BdrvChild *child, int64_t child_offset, int64_t offset,
                                         int64_t bytes, QEMUIOVector *qiov, BdrvRequestFlags flags)
{
    const BlockCryptoRange range = {
        .encrypt = true, .sector = offset / QCRYPTO_SECTOR_SIZE, .qiov = qiov, .bytes = bytes,
    };

    block_crypto_co_crypt(c, &range);
    return bdrv_co_pwritev(child, child_offset, bytes, qiov, flags);
}

int coroutine_fn block_crypto_co_pwritev(BlockCrypto *c, BdrvChild *child, int64_t child_offset, int64_t offset,
                                         int64_t bytes, QEMUIOVector *qiov, BdrvRequestFlags flags)
{
    int ret = 0;

    if (!c->cipher) {
        return -ENOKEY;
    }
    if (flags & BDRV_REQ_OWN_BUFFER && whole_sectors(c, qiov)) {
        return pwritev_in_place(c, child, child_offset, offset, bytes, qiov, flags);
    }

    int64_t size = MIN(bytes, BOUNCE_MAX_BYTES);
    uint8_t *bounce = bounce_get(child->bs, size);
    for (int64_t done = 0, n; ret == 0 && done < bytes; done += n) {
        QEMUIOVector piece;

        n = MIN(bytes - done, size);
        const BlockCryptoRange range = {
            .encrypt = true, .sector = (offset + done) / QCRYPTO_SECTOR_SIZE, .qiov = qiov, .qiov_offset = done,
            .bytes = n, .out = bounce,
        };
        block_crypto_co_crypt(c, &range);
        qemu_iovec_init_buf(&piece, bounce, n);
        ret = bdrv_co_pwritev(child, child_offset + done, n, &piece, flags | BDRV_REQ_OWN_BUFFER);
    }
    bounce_put(child->bs, size, bounce);
    return ret;
}
