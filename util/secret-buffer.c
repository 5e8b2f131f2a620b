/*
 * SecretBuffer: locked, undumped, wiped memory
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <sys/mman.h>

#include "util/error.h"
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

/*
 * Secrets of up to half a page share pages with others of their size: locked memory is scarce (an ordinary user's
 * processes often may have 8 MiB), and a key takes 64 bytes.
 */
#define SLOT_BYTES_MIN 64
#define SLOT_CLASSES 6              /* 64 bytes to 2 KiB */

struct SecretPage {
    GList link;                     /* in with_room, while it has some */
    uint8_t *data;
    unsigned slot_class;
    uint64_t used;                  /* a bit for each slot; a page has no more of them than that */
};

static GMutex pages_lock;           /* of all below, and of what it leads to */
static GQueue with_room[SLOT_CLASSES];

static size_t page_bytes(void)
{
    return sysconf(_SC_PAGESIZE);
}

static size_t slot_bytes(unsigned slot_class)
{
    return (size_t)SLOT_BYTES_MIN << slot_class;
}

/* SecretPage.used of a full page. */
static uint64_t all_used(unsigned slot_class)
{
    size_t n = MIN(page_bytes() / slot_bytes(slot_class), 64);

    return UINT64_MAX >> (64 - n);
}

/* Once per process: every later secret would say the same. It is still kept out of core dumps and wiped. */
static void warn_unlocked(int err)
{
    static int warned;

    if (g_atomic_int_compare_and_exchange(&warned, 0, 1)) {
        warn_report("could not lock memory for secrets, which may be swapped to disk now: %s (raise the limit with "
                    "'ulimit -l' or systemd's LimitMEMLOCK=)", g_strerror(err));
    }
}

static uint8_t *map_pages(size_t capacity)
{
    void *data = mmap(NULL, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (data == MAP_FAILED) {
        g_error("could not map %zu bytes for a secret: %s", capacity, g_strerror(errno));
    }
    if (mlock(data, capacity) < 0) {
        warn_unlocked(errno);
    }
    (void)madvise(data, capacity, MADV_DONTDUMP);
    return data;
}

static SecretPage *page_new(unsigned slot_class)
{
    SecretPage *page = g_new0(SecretPage, 1);

    page->link.data = page;
    page->data = map_pages(page_bytes());
    page->slot_class = slot_class;
    g_queue_push_head_link(&with_room[slot_class], &page->link);
    return page;
}

static void slot_new(SecretBuffer *buf, unsigned slot_class)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&pages_lock);
    SecretPage *page = g_queue_peek_head(&with_room[slot_class]) ?: page_new(slot_class);
    unsigned slot = __builtin_ctzll(~page->used);

    page->used |= UINT64_C(1) << slot;
    if (page->used == all_used(slot_class)) {
        g_queue_unlink(&with_room[slot_class], &page->link);
    }
    buf->page = page;
    buf->capacity = slot_bytes(slot_class);
    buf->data = page->data + slot * buf->capacity;
}

/* The slot is wiped already. */
static void slot_free(SecretPage *page, const uint8_t *data)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&pages_lock);
    GQueue *queue = &with_room[page->slot_class];

    if (page->used == all_used(page->slot_class)) {
        g_queue_push_head_link(queue, &page->link);
    }
    page->used &= ~(UINT64_C(1) << (data - page->data) / slot_bytes(page->slot_class));
    if (page->used == 0) {
        g_queue_unlink(queue, &page->link);
        munmap(page->data, page_bytes());
        g_free(page);
    }
}

/* Zeroed memory for at least @bytes; sets all members but the length. */
static void memory_new(SecretBuffer *buf, size_t bytes)
{
    for (unsigned c = 0; c < SLOT_CLASSES; c++) {
        if (bytes <= slot_bytes(c)) {
            slot_new(buf, c);
            return;
        }
    }
    buf->page = NULL;
    buf->capacity = ROUND_UP(bytes, page_bytes());
    buf->data = map_pages(buf->capacity);
}

static void memory_free(const SecretBuffer *buf)
{
    explicit_bzero(buf->data, buf->capacity);
    if (buf->page) {
        slot_free(buf->page, buf->data);
    } else {
        munmap(buf->data, buf->capacity);
    }
}

SecretBuffer *secret_buffer_new(size_t len)
{
    SecretBuffer *buf = g_new(SecretBuffer, 1);

    buf->len = len;
    memory_new(buf, len);
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
        SecretBuffer old = *buf;

        memory_new(buf, MAX(capacity, old.capacity * 2));
        memcpy(buf->data, old.data, old.len);
        memory_free(&old);
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
        memory_free(buf);
        g_free(buf);
    }
}
