/*
 * QEMUIOVector: a list of memory areas that one request reads into or writes from
 *
 *     QEMUIOVector qiov;
 *     qemu_iovec_init_buf(&qiov, buf, len);      one area, nothing to free
 *     qemu_iovec_init(&qiov, 4); qemu_iovec_add(&qiov, base, len); ... qemu_iovec_destroy(&qiov);
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef UTIL_IOV_H
#define UTIL_IOV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

typedef struct QEMUIOVector {
    struct iovec *iov;
    int niov;
    int nalloc;             /* -1: @iov is borrowed, or the one area below */
    size_t size;            /* bytes in all areas */
    struct iovec local_iov;
} QEMUIOVector;

/* Make @qiov the one area of @len bytes at @buf. */
void qemu_iovec_init_buf(QEMUIOVector *qiov, void *buf, size_t len);

/* Make @qiov a view of @iov, which must outlive it. */
void qemu_iovec_init_external(QEMUIOVector *qiov, struct iovec *iov, int niov);

/* An empty list with room for @alloc_hint areas; needs qemu_iovec_destroy(). */
void qemu_iovec_init(QEMUIOVector *qiov, int alloc_hint);

/* A new list of the @len bytes from @offset of @source; needs qemu_iovec_destroy(). */
void qemu_iovec_init_slice(QEMUIOVector *qiov, const QEMUIOVector *source, size_t offset, size_t len);

void qemu_iovec_add(QEMUIOVector *qiov, void *base, size_t len);

/* Append the areas that hold @len bytes from @offset of @source. */
void qemu_iovec_concat(QEMUIOVector *qiov, const QEMUIOVector *source, size_t offset, size_t len);

void qemu_iovec_destroy(QEMUIOVector *qiov);

/* Copy @len bytes between @buf and the list from @offset on; @offset + @len must be within the list. */
void qemu_iovec_to_buf(const QEMUIOVector *qiov, size_t offset, void *buf, size_t len);
void qemu_iovec_from_buf(QEMUIOVector *qiov, size_t offset, const void *buf, size_t len);
void qemu_iovec_memset(QEMUIOVector *qiov, size_t offset, int byte, size_t len);

/* All of @len bytes from @offset are zero. */
bool qemu_iovec_is_zero(const QEMUIOVector *qiov, size_t offset, size_t len);
bool buffer_is_zero(const void *buf, size_t len);

/* Every area starts at a multiple of @align and has a length that is one. */
bool qemu_iovec_is_aligned(const QEMUIOVector *qiov, size_t align);

#endif
