/*
 * QEMUIOVector: building, slicing and copying
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "util/iov.h"

void qemu_iovec_init_buf(QEMUIOVector *qiov, void *buf, size_t len)
{
    qiov->local_iov = (struct iovec){ .iov_base = buf, .iov_len = len };
    qiov->iov = &qiov->local_iov;
    qiov->niov = 1;
    qiov->nalloc = -1;
    qiov->size = len;
}

void qemu_iovec_init_external(QEMUIOVector *qiov, struct iovec *iov, int niov)
{
    qiov->iov = iov;
    qiov->niov = niov;
    qiov->nalloc = -1;
    qiov->size = 0;
    for (int i = 0; i < niov; i++) {
        qiov->size += iov[i].iov_len;
    }
}

void qemu_iovec_init(QEMUIOVector *qiov, int alloc_hint)
{
    qiov->iov = g_new(struct iovec, alloc_hint);
    qiov->niov = 0;
    qiov->nalloc = alloc_hint;
    qiov->size = 0;
}

void qemu_iovec_init_slice(QEMUIOVector *qiov, const QEMUIOVector *source, size_t offset, size_t len)
{
    qemu_iovec_init(qiov, source->niov);
    qemu_iovec_concat(qiov, source, offset, len);
}

void qemu_iovec_add(QEMUIOVector *qiov, void *base, size_t len)
{
    assert(qiov->nalloc >= 0);
    if (qiov->niov == qiov->nalloc) {
        qiov->nalloc = 2 * qiov->nalloc + 1;
        qiov->iov = g_renew(struct iovec, qiov->iov, qiov->nalloc);
    }
    qiov->iov[qiov->niov++] = (struct iovec){ .iov_base = base, .iov_len = len };
    qiov->size += len;
}

/* Walks the pieces of @len bytes from @offset of a list: base and len are set in each round. */
typedef struct Walk {
    const QEMUIOVector *qiov;
    int index;
    size_t skip;
    size_t left;
    uint8_t *base;
    size_t len;
} Walk;

static Walk walk_start(const QEMUIOVector *qiov, size_t offset, size_t len)
{
    Walk w = { .qiov = qiov, .skip = offset, .left = len };

    assert(offset <= qiov->size && len <= qiov->size - offset);
    return w;
}

static bool walk_next(Walk *w)
{
    while (w->left) {
        const struct iovec *iov = &w->qiov->iov[w->index++];

        if (w->skip >= iov->iov_len) {
            w->skip -= iov->iov_len;
            continue;
        }
        w->base = (uint8_t *)iov->iov_base + w->skip;
        w->len = MIN(iov->iov_len - w->skip, w->left);
        w->skip = 0;
        w->left -= w->len;
        return true;
    }
    return false;
}

void qemu_iovec_concat(QEMUIOVector *qiov, const QEMUIOVector *source, size_t offset, size_t len)
{
    for (Walk w = walk_start(source, offset, len); walk_next(&w);) {
        qemu_iovec_add(qiov, w.base, w.len);
    }
}

void qemu_iovec_destroy(QEMUIOVector *qiov)
{
    if (qiov->nalloc >= 0) {
        g_free(qiov->iov);
    }
    memset(qiov, 0, sizeof(*qiov));
}

void qemu_iovec_to_buf(const QEMUIOVector *qiov, size_t offset, void *buf, size_t len)
{
    uint8_t *p = buf;

    for (Walk w = walk_start(qiov, offset, len); walk_next(&w); p += w.len) {
        memcpy(p, w.base, w.len);
    }
}

void qemu_iovec_from_buf(QEMUIOVector *qiov, size_t offset, const void *buf, size_t len)
{
    const uint8_t *p = buf;

    for (Walk w = walk_start(qiov, offset, len); walk_next(&w); p += w.len) {
        memcpy(w.base, p, w.len);
    }
}

void qemu_iovec_memset(QEMUIOVector *qiov, size_t offset, int byte, size_t len)
{
    for (Walk w = walk_start(qiov, offset, len); walk_next(&w);) {
        memset(w.base, byte, w.len);
    }
}

bool buffer_is_zero(const void *buf, size_t len)
{
    const uint8_t *p = buf;
    size_t head = MIN(len, 256);

    for (size_t i = 0; i < head; i++) {
        if (p[i]) {
            return false;
        }
    }
    /* Each byte equals the one 256 before it, which is zero; memcmp() is the fastest loop there is. */
    return len == head || memcmp(p, p + head, len - head) == 0;
}

bool qemu_iovec_is_zero(const QEMUIOVector *qiov, size_t offset, size_t len)
{
    for (Walk w = walk_start(qiov, offset, len); walk_next(&w);) {
        if (!buffer_is_zero(w.base, w.len)) {
            return false;
        }
    }
    return true;
}

bool qemu_iovec_is_aligned(const QEMUIOVector *qiov, size_t align)
{
    for (int i = 0; i < qiov->niov; i++) {
        if ((uintptr_t)qiov->iov[i].iov_base % align || qiov->iov[i].iov_len % align) {
            return false;
        }
    }
    return true;
}
