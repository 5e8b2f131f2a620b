/*
 * SecretBuffer: locked, undumped, wiped memory
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <sys/mman.h>

#include "util/secret-buffer.h"

void secret_wipe(void *data, size_t len)
{
    if (len) {
        explicit_bzero(data, len);
    }
}

/* Deeper than any frame of the libraries that handle keys for us. */
#define WIPE_STACK_BYTES 8192

void G_GNUC_NO_INLINE secret_wipe_stack(void)
{
    uint8_t below[WIPE_STACK_BYTES];

    explicit_bzero(below, sizeof(below));
}

static uint8_t *map_pages(size_t capacity)
{
    void *data = mmap(NULL, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (data == MAP_FAILED) {
        g_error("could not map %zu bytes for a secret: %s", capacity, g_strerror(errno));
    }
    /* Locking may exceed RLIMIT_MEMLOCK: the secret is still kept out of dumps and wiped. */
    (void)mlock(data, capacity);
    (void)madvise(data, capacity, MADV_DONTDUMP);
    return data;
}

static void unmap_pages(uint8_t *data, size_t capacity)
{
    explicit_bzero(data, capacity);
    munmap(data, capacity);
}

static size_t page_round(size_t len)
{
    size_t page = sysconf(_SC_PAGESIZE);

    return ROUND_UP(MAX(len, 1), page);
}

SecretBuffer *secret_buffer_new(size_t len)
{
    SecretBuffer *buf = g_new(SecretBuffer, 1);

    buf->len = len;
    buf->capacity = page_round(len);
    buf->data = map_pages(buf->capacity);
    return buf;
}

SecretBuffer *secret_buffer_new_from(const void *data, size_t len)
{
    SecretBuffer *buf = secret_buffer_new(len);

    if (len) {
        memcpy(buf->data, data, len);
    }
    return buf;
}

void secret_buffer_reserve(SecretBuffer *buf, size_t capacity)
{
    if (capacity > buf->capacity) {
        size_t new_capacity = page_round(MAX(capacity, buf->capacity * 2));
        uint8_t *data = map_pages(new_capacity);

        memcpy(data, buf->data, buf->len);
        unmap_pages(buf->data, buf->capacity);
        buf->data = data;
        buf->capacity = new_capacity;
    }
}

void secret_buffer_append(SecretBuffer *buf, const void *data, size_t len)
{
    if (len) {
        secret_buffer_reserve(buf, buf->len + len);
        memcpy(buf->data + buf->len, data, len);
        buf->len += len;
    }
}

gboolean secret_buffer_equal(const SecretBuffer *a, const SecretBuffer *b)
{
    uint8_t diff = 0;

    if (a->len != b->len) {
        return FALSE;
    }
    for (size_t i = 0; i < a->len; i++) {
        diff |= a->data[i] ^ b->data[i];
    }
    return diff == 0;
}

void secret_buffer_free(SecretBuffer *buf)
{
    if (buf) {
        unmap_pages(buf->data, buf->capacity);
        g_free(buf);
    }
}
