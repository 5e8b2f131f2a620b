/*
 * SecretBuffer: the one buffer type for passwords, keys and everything derived from them
 *
 * The memory is mapped apart from the heap, locked against swapping, excluded from core dumps, and wiped when freed.
 * Where the process may not lock as much (RLIMIT_MEMLOCK), one warning says so, and secrets go on unlocked. Small
 * secrets share pages.
 *
 *     g_autoptr(SecretBuffer) key = secret_buffer_new(64);
 *     derive(key->data, key->len);
 *
 * Key schedules and hash states that contain a secret live in one, too: allocate it with the size of the
 * structure and cast its data. Data is aligned to 64 bytes.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef UTIL_SECRET_BUFFER_H
#define UTIL_SECRET_BUFFER_H

#include <glib.h>
#include <stddef.h>
#include <stdint.h>

typedef struct SecretPage SecretPage;

typedef struct SecretBuffer {
    uint8_t *data;
    size_t len;      /* bytes in use; may be lowered by the owner, never raised beyond capacity */
    size_t capacity; /* bytes at @data */
    SecretPage *page; /* that it shares with others; NULL: it has its own */
} SecretBuffer;

/* A zeroed buffer of @len bytes (0 is allowed). Aborts when memory runs out, like g_malloc(). */
SecretBuffer *secret_buffer_new(size_t len);

/* A copy of @len bytes at @data. */
SecretBuffer *secret_buffer_new_from(const void *data, size_t len);

/* Raise the capacity to at least @capacity bytes and wipe the old memory. Data may move. */
void secret_buffer_reserve(SecretBuffer *buf, size_t capacity);

/* Append @len bytes. Data may move. */
void secret_buffer_append(SecretBuffer *buf, const void *data, size_t len);

/* Compare in time that depends on the lengths only. */
gboolean secret_buffer_equal(const SecretBuffer *a, const SecretBuffer *b);

void secret_buffer_free(SecretBuffer *buf);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SecretBuffer, secret_buffer_free)

/* Wipe @len bytes that are about to be left behind; never optimised away. */
void secret_wipe(void *data, size_t len);

/*
 * Wipe the stack below the caller and the vector registers, where library code may have left key
 * material. Registers count: they are part of a core dump, and idle threads keep theirs for long.
 */
void secret_wipe_stack(void);

/* Wipe only the vector registers, for code whose own stack is clean. */
void secret_wipe_registers(void);

#endif
