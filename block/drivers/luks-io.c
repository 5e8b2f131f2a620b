/*
 * Reads and writes of a LUKS payload
 *
 * Reads bring ciphertext straight into the caller's buffer and decrypt it there. Whoever else can see that
 * buffer (a guest, where it is the guest's memory) sees the ciphertext for a moment. docs/data-path.md has
 * the life of a request.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/drivers/luks.h"
#include "util/thread-pool.h"

#define SECTOR QCRYPTO_LUKS_SECTOR_SIZE

/* What is encrypted from the caller's buffer goes through one of ours, of at most this size. */
#define BOUNCE_MAX_BYTES (2 * MiB)

/*
 * Buffers of that size are kept: the C library would give the memory back and fault it in again for every
 * request, which costs more than the encryption.
 */
#define BOUNCE_POOL_MAX 16
#define BOUNCE_SMALL_BYTES (128 * KiB)
#define BOUNCE_ALIGNMENT 4096

/* More threads than this bring nothing: memory is the limit. */
#define PIECES_MAX 32

int64_t luks_piece_bytes(const QCryptoBlockInfoLUKS *info)
{
    bool fast = info->has_cipher_mode && info->cipher_mode == QCRYPTO_CIPHER_MODE_XTS &&
                (info->cipher_alg == QCRYPTO_CIPHER_ALGO_AES_128 ||
                 info->cipher_alg == QCRYPTO_CIPHER_ALGO_AES_256);

    /* Some 30 us of work, or more: half as much again as waking a second thread was measured to cost. */
    return fast ? 256 * KiB : 8 * KiB;
}

static void crypt_sectors(const LuksCrypt *c, size_t done, const void *in, void *out, size_t bytes)
{
    uint64_t sector = c->sector + done / SECTOR;

    if (c->encrypt) {
        qcrypto_sectors_encrypt(c->cipher, sector, in, out, bytes / SECTOR);
    } else {
        qcrypto_sectors_decrypt(c->cipher, sector, in, out, bytes / SECTOR);
    }
}

/* A sector that lies in more than one area. */
static void crypt_straddling(const LuksCrypt *c, size_t done)
{
    uint8_t bounce[SECTOR];

    qemu_iovec_to_buf(c->qiov, c->offset + done, bounce, SECTOR);
    crypt_sectors(c, done, bounce, c->out ? c->out + done : bounce, SECTOR);
    if (!c->out) {
        qemu_iovec_from_buf(c->qiov, c->offset + done, bounce, SECTOR);
    }
}

static int crypt_piece(void *opaque)
{
    const LuksCrypt *c = opaque;
    const struct iovec *iov = c->qiov->iov;
    size_t skip = c->offset;

    for (size_t done = 0, n; done < c->bytes; done += n, skip += n) {
        while (skip >= iov->iov_len) {
            skip -= iov->iov_len;
            iov++;
        }
        n = ROUND_DOWN(MIN(iov->iov_len - skip, c->bytes - done), SECTOR);
        if (n) {
            uint8_t *in = (uint8_t *)iov->iov_base + skip;
            crypt_sectors(c, done, in, c->out ? c->out + done : in, n);
        } else {
            n = SECTOR;
            crypt_straddling(c, done);
        }
    }
    return 0;
}

void coroutine_fn luks_co_crypt(const LuksCrypt *c, int64_t piece_bytes)
{
    LuksCrypt pieces[PIECES_MAX];
    size_t n = MIN(c->bytes / piece_bytes, MIN(thread_pool_cpu_threads(), PIECES_MAX));

    if (n < 2) {
        crypt_piece((LuksCrypt *)c);
        return;
    }
    size_t each = ROUND_UP(DIV_ROUND_UP(c->bytes, n), SECTOR);
    n = DIV_ROUND_UP(c->bytes, each);
    for (size_t i = 0; i < n; i++) {
        size_t start = i * each;

        pieces[i] = *c;
        pieces[i].sector += start / SECTOR;
        pieces[i].offset += start;
        pieces[i].bytes = MIN(each, c->bytes - start);
        pieces[i].out = c->out ? c->out + start : NULL;
    }
    thread_pool_map_co(THREAD_POOL_CPU, crypt_piece, pieces, sizeof(pieces[0]), n);
}

int coroutine_fn luks_co_preadv(BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                BdrvRequestFlags flags)
{
    BDRVLuksState *s = bs->opaque;

    if (!s->cipher) {
        return -ENOKEY;
    }
    int ret = bdrv_co_preadv(bs->file, s->payload_offset + offset, bytes, qiov, flags);
    if (ret == 0) {
        LuksCrypt c = {
            .cipher = s->cipher, .sector = offset / SECTOR, .qiov = qiov, .bytes = bytes,
        };
        luks_co_crypt(&c, s->piece_bytes);
    }
    return ret;
}

/* Every area holds whole sectors, so that each can be encrypted where it is. */
static bool whole_sectors(const QEMUIOVector *qiov)
{
    for (int i = 0; i < qiov->niov; i++) {
        if (!QEMU_IS_ALIGNED(qiov->iov[i].iov_len, SECTOR)) {
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

/* A buffer of @size, at most BOUNCE_MAX_BYTES, that @bs can write from. */
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

static int coroutine_fn pwritev_in_place(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                         QEMUIOVector *qiov, BdrvRequestFlags flags)
{
    BDRVLuksState *s = bs->opaque;
    LuksCrypt c = {
        .cipher = s->cipher, .encrypt = true, .sector = offset / SECTOR, .qiov = qiov, .bytes = bytes,
    };

    luks_co_crypt(&c, s->piece_bytes);
    return bdrv_co_pwritev(bs->file, s->payload_offset + offset, bytes, qiov, flags);
}

int coroutine_fn luks_co_pwritev(BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                 BdrvRequestFlags flags)
{
    BDRVLuksState *s = bs->opaque;
    int ret = 0;

    if (!s->cipher) {
        return -ENOKEY;
    }
    if (flags & BDRV_REQ_OWN_BUFFER && whole_sectors(qiov)) {
        return pwritev_in_place(bs, offset, bytes, qiov, flags);
    }

    int64_t size = MIN(bytes, BOUNCE_MAX_BYTES);
    uint8_t *bounce = bounce_get(bs->file->bs, size);
    for (int64_t done = 0, n; ret == 0 && done < bytes; done += n) {
        QEMUIOVector piece;

        n = MIN(bytes - done, size);
        LuksCrypt c = {
            .cipher = s->cipher, .encrypt = true, .sector = (offset + done) / SECTOR,
            .qiov = qiov, .offset = done, .bytes = n, .out = bounce,
        };
        luks_co_crypt(&c, s->piece_bytes);
        qemu_iovec_init_buf(&piece, bounce, n);
        ret = bdrv_co_pwritev(bs->file, s->payload_offset + offset + done, n, &piece,
                              flags | BDRV_REQ_OWN_BUFFER);
    }
    bounce_put(bs->file->bs, size, bounce);
    return ret;
}

int coroutine_fn luks_co_pdiscard(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    BDRVLuksState *s = bs->opaque;

    return bdrv_co_pdiscard(bs->file, s->payload_offset + offset, bytes);
}
