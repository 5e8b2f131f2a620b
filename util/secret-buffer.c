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
    secret_wipe_registers();
}

#ifdef __x86_64__
#define ZERO_XMM(n) "pxor %%xmm" #n ", %%xmm" #n "\n\t"
#define ZERO_ZMM(n) "vpxord %%zmm" #n ", %%zmm" #n ", %%zmm" #n "\n\t"

void secret_wipe_registers(void)
{
    if (__builtin_cpu_supports("avx")) {
        __asm__ volatile("vzeroall" ::: "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6",
                         "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14",
                         "xmm15");
    } else {
        __asm__ volatile(ZERO_XMM(0) ZERO_XMM(1) ZERO_XMM(2) ZERO_XMM(3) ZERO_XMM(4) ZERO_XMM(5)
                         ZERO_XMM(6) ZERO_XMM(7) ZERO_XMM(8) ZERO_XMM(9) ZERO_XMM(10)
                         ZERO_XMM(11) ZERO_XMM(12) ZERO_XMM(13) ZERO_XMM(14) ZERO_XMM(15)
                         ::: "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
                         "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
    }
    /* The compiler itself does not use these: we do not build for AVX-512. The C library does. */
    if (__builtin_cpu_supports("avx512f")) {
        __asm__ volatile(ZERO_ZMM(16) ZERO_ZMM(17) ZERO_ZMM(18) ZERO_ZMM(19) ZERO_ZMM(20)
                         ZERO_ZMM(21) ZERO_ZMM(22) ZERO_ZMM(23) ZERO_ZMM(24) ZERO_ZMM(25)
                         ZERO_ZMM(26) ZERO_ZMM(27) ZERO_ZMM(28) ZERO_ZMM(29) ZERO_ZMM(30)
                         ZERO_ZMM(31) :::);
    }
}
#else
void secret_wipe_registers(void)
{
    /* Nothing that we know of leaves keys in the registers of other processors for long. */
}
#endif

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
