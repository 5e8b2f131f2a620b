/*
 * Dirty bitmaps: which parts of a node have been written to
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/block_int.h"
#include "block/dirty-bitmap-int.h"
#include "crypto/hash.h"
#include "util/main-thread.h"

#define BITS_PER_WORD 64
/* Maximum memory of one bitmap, and of all together. */
#define BITMAP_MAX_BYTES (1 * GiB)
#define ALL_BITMAPS_MAX_BYTES (4 * GiB)
/* Maximum bitmaps of a node: each write visits all of them. */
#define NODE_MAX_BITMAPS 1024

static size_t all_bytes;    /* memory of all bitmaps; main thread */

#define LOCK_GUARD(bs) g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&(bs)->dirty_bitmaps_lock)

/* Number of granules that the first @bytes of the node touch. */
static int64_t bitmap_count_granules(const BdrvDirtyBitmap *bitmap, int64_t bytes)
{
    return bytes / bitmap->granularity + (bytes % bitmap->granularity != 0);
}

/* Offset of granule number @n, or the end of the node. */
static int64_t granule_offset(const BdrvDirtyBitmap *bitmap, int64_t n)
{
    return n <= bitmap->length / bitmap->granularity ? n * bitmap->granularity : bitmap->length;
}

/* The bits of word number @word for the granules from @first on and before @end. */
static uint64_t word_mask(int64_t word, int64_t first, int64_t end)
{
    int64_t from = MAX(first - word * BITS_PER_WORD, 0);
    int64_t to = MIN(end - word * BITS_PER_WORD, BITS_PER_WORD);

    return (~UINT64_C(0) << from) & (~UINT64_C(0) >> (BITS_PER_WORD - to));
}

/* Set or clear the bits of the granules from @first on and before @end. */
static void bitmap_change_bits(BdrvDirtyBitmap *bitmap, int64_t first, int64_t end, bool dirty)
{
    for (int64_t word = first / BITS_PER_WORD; word * BITS_PER_WORD < end; word++) {
        uint64_t mask = word_mask(word, first, end);
        uint64_t before = bitmap->words[word];

        bitmap->words[word] = dirty ? before | mask : before & ~mask;
        bitmap->n_dirty += __builtin_popcountll(bitmap->words[word]) - __builtin_popcountll(before);
    }
}

/* The first granule from @first on and before @end that is @dirty; @end if there is none. */
static int64_t bitmap_find_bit(const BdrvDirtyBitmap *bitmap, int64_t first, int64_t end, bool dirty)
{
    for (int64_t word = first / BITS_PER_WORD; word * BITS_PER_WORD < end; word++) {
        uint64_t bits = (dirty ? bitmap->words[word] : ~bitmap->words[word]) & word_mask(word, first, end);

        if (bits) {
            return word * BITS_PER_WORD + __builtin_ctzll(bits);
        }
    }
    return end;
}

/* The end of a range, or of the node. */
static int64_t bitmap_range_end(const BdrvDirtyBitmap *bitmap, int64_t offset, int64_t bytes)
{
    return bytes < bitmap->length - offset ? offset + bytes : bitmap->length;
}

static void bitmap_set_range(BdrvDirtyBitmap *bitmap, int64_t offset, int64_t bytes)
{
    int64_t end = bitmap_range_end(bitmap, offset, bytes);

    if (offset < end) {
        bitmap_change_bits(bitmap, offset / bitmap->granularity, bitmap_count_granules(bitmap, end), true);
    }
}

static int64_t bitmap_count_words(const BdrvDirtyBitmap *bitmap)
{
    return DIV_ROUND_UP(bitmap_count_granules(bitmap, bitmap->length), BITS_PER_WORD);
}

/* Make room for @length bytes of the node; false with @errp if there is not enough memory. */
static bool bitmap_reserve(BdrvDirtyBitmap *bitmap, int64_t length, Error **errp)
{
    int64_t bytes = DIV_ROUND_UP(bitmap_count_granules(bitmap, length), BITS_PER_WORD) * sizeof(uint64_t);
    uint8_t *words = NULL;

    if (bytes <= bitmap->bytes) {
        return true;
    }
    if (bytes <= BITMAP_MAX_BYTES && all_bytes + (bytes - bitmap->bytes) <= ALL_BITMAPS_MAX_BYTES) {
        /* New zeroes from the kernel take no memory before they are written to. */
        words = bitmap->words ? g_try_realloc(bitmap->words, bytes) : g_try_malloc0(bytes);
    }
    if (!words) {
        error_setg(errp, "Node '%s': not enough memory for a dirty bitmap of %" PRId64 " bytes with a "
                   "granularity of %" PRIu32, bdrv_get_display_name(bitmap->bs), length, bitmap->granularity);
        error_append_hint(errp, "A larger granularity needs less memory.\n");
        return false;
    }
    if (bitmap->words) {
        memset(words + bitmap->bytes, 0, bytes - bitmap->bytes);
    }
    all_bytes += bytes - bitmap->bytes;
    bitmap->bytes = bytes;
    bitmap->words = (uint64_t *)words;
    return true;
}

/* Resize a bitmap for which there is memory; the new part is dirty. */
static void bitmap_resize(BdrvDirtyBitmap *bitmap, int64_t length)
{
    int64_t length_before = bitmap->length;
    int64_t n_before = bitmap_count_granules(bitmap, length_before), n = bitmap_count_granules(bitmap, length);

    if (n < n_before) {
        bitmap_change_bits(bitmap, n, n_before, false);
    }
    bitmap->length = length;
    bitmap_set_range(bitmap, length_before, INT64_MAX - length_before);
}

/* Find a bitmap that is @hidden or not by its name; NULL if there is none. */
static BdrvDirtyBitmap *bitmap_find(BlockDriverState *bs, const char *name, bool hidden)
{
    for (GSList *l = bs->dirty_bitmaps; l; l = l->next) {
        BdrvDirtyBitmap *bitmap = l->data;

        if (bitmap->name && g_str_equal(bitmap->name, name) && bitmap->hidden == hidden) {
            return bitmap;
        }
    }
    return NULL;
}

static bool bitmap_check_name(BlockDriverState *bs, const char *name, Error **errp)
{
    const BdrvDirtyBitmap *hidden = bitmap_find(bs, name, true);

    if (!*name) {
        error_setg(errp, "Bitmap name cannot be empty");
        return false;
    }
    if (strlen(name) > BDRV_BITMAP_MAX_NAME_SIZE) {
        error_setg(errp, "Bitmap name too long: it has %zu bytes, and at most %d are possible", strlen(name),
                   BDRV_BITMAP_MAX_NAME_SIZE);
        return false;
    }
    /* A name can be used again in the transaction that removes it. */
    if (bitmap_find(bs, name, false) || (hidden && hidden->held_by != qemu_coroutine_self())) {
        error_setg(errp, "Bitmap already exists: %s", name);
        error_append_hint(errp, "Node '%s' has a bitmap of that name.\n", bdrv_get_display_name(bs));
        return false;
    }
    if (g_slist_length(bs->dirty_bitmaps) >= NODE_MAX_BITMAPS) {
        error_setg(errp, "Node '%s' has %d dirty bitmaps already, which is the maximum", bdrv_get_display_name(bs),
                   NODE_MAX_BITMAPS);
        return false;
    }
    return true;
}

static void bitmap_free(BdrvDirtyBitmap *bitmap)
{
    all_bytes -= bitmap->bytes;
    g_free(bitmap->words);
    g_free(bitmap->name);
    g_free(bitmap);
}

/* A clean bitmap that no write sees yet; NULL with @errp. */
static BdrvDirtyBitmap *bitmap_new(BlockDriverState *bs, uint32_t granularity, const char *name, Error **errp)
{
    BdrvDirtyBitmap *bitmap = g_new0(BdrvDirtyBitmap, 1);

    assert(granularity && !(granularity & (granularity - 1)));
    bitmap->bs = bs;
    bitmap->name = g_strdup(name);
    bitmap->granularity = granularity;
    if (!bitmap_reserve(bitmap, bs->length, errp)) {
        bitmap_free(bitmap);
        return NULL;
    }
    bitmap->length = bs->length;
    return bitmap;
}

static void bitmap_link(BdrvDirtyBitmap *bitmap)
{
    g_atomic_pointer_set(&bitmap->bs->dirty_bitmaps, g_slist_prepend(bitmap->bs->dirty_bitmaps, bitmap));
}

BdrvDirtyBitmap *bdrv_create_dirty_bitmap(BlockDriverState *bs, uint32_t granularity, const char *name, Error **errp)
{
    LOCK_GUARD(bs);
    BdrvDirtyBitmap *bitmap = NULL;

    if (!name || bitmap_check_name(bs, name, errp)) {
        bitmap = bitmap_new(bs, granularity, name, errp);
    }
    if (bitmap) {
        bitmap_link(bitmap);
    }
    return bitmap;
}

BdrvDirtyBitmap *bdrv_clone_dirty_bitmap(BdrvDirtyBitmap *bitmap, Error **errp)
{
    LOCK_GUARD(bitmap->bs);
    BdrvDirtyBitmap *clone = bitmap_new(bitmap->bs, bitmap->granularity, NULL, errp);

    if (clone) {
        clone->disabled = bitmap->disabled;
        clone->hidden = true;
        clone->n_dirty = bitmap->n_dirty;
        memcpy(clone->words, bitmap->words, bitmap_count_words(bitmap) * sizeof(*clone->words));
        bitmap_link(clone);
    }
    return clone;
}

void bdrv_restore_dirty_bitmap(BdrvDirtyBitmap *bitmap, BdrvDirtyBitmap *clone)
{
    {
        LOCK_GUARD(bitmap->bs);
        BdrvDirtyBitmap now = *bitmap;

        assert(clone->bs == bitmap->bs && clone->length == bitmap->length);
        bitmap->disabled = clone->disabled;
        bitmap->n_dirty = clone->n_dirty;
        bitmap->words = clone->words;
        bitmap->bytes = clone->bytes;
        clone->words = now.words;
        clone->bytes = now.bytes;
    }
    bdrv_release_dirty_bitmap(clone);
}

void bdrv_release_dirty_bitmap(BdrvDirtyBitmap *bitmap)
{
    if (!bitmap) {
        return;
    }
    BlockDriverState *bs = bitmap->bs;
    LOCK_GUARD(bs);

    assert(!bitmap->user);
    g_atomic_pointer_set(&bs->dirty_bitmaps, g_slist_remove(bs->dirty_bitmaps, bitmap));
    bitmap_free(bitmap);
}

void bdrv_release_named_dirty_bitmaps(BlockDriverState *bs)
{
    while (bs->dirty_bitmaps) {
        BdrvDirtyBitmap *bitmap = bs->dirty_bitmaps->data;

        assert(bitmap->name);
        bdrv_release_dirty_bitmap(bitmap);
    }
}

BdrvDirtyBitmap *bdrv_find_dirty_bitmap(BlockDriverState *bs, const char *name)
{
    GLOBAL_STATE_CODE();
    return bitmap_find(bs, name, false);
}

BdrvDirtyBitmap *bdrv_lookup_dirty_bitmap(const char *node, const char *name, Error **errp)
{
    BlockDriverState *bs = bdrv_find_node(node);
    BdrvDirtyBitmap *bitmap = bs ? bdrv_find_dirty_bitmap(bs, name) : NULL;

    if (!bs) {
        error_setg(errp, "Node '%s' not found", node);
    } else if (!bitmap) {
        error_setg(errp, "Dirty bitmap '%s' not found", name);
        error_append_hint(errp, "Node '%s' has no bitmap of that name.\n", node);
    }
    return bitmap;
}

bool bdrv_dirty_bitmap_check(const BdrvDirtyBitmap *bitmap, Error **errp)
{
    GLOBAL_STATE_CODE();
    if (bitmap->user) {
        error_setg(errp, "Bitmap '%s' is currently in use by %s and cannot be used", bitmap->name, bitmap->user);
        return false;
    }
    if (bitmap->held_by && bitmap->held_by != qemu_coroutine_self()) {
        error_setg(errp, "Bitmap '%s' is being changed by a transaction and cannot be used", bitmap->name);
        return false;
    }
    return true;
}

void bdrv_dirty_bitmap_set_busy(BdrvDirtyBitmap *bitmap, const char *user)
{
    assert(!bitmap->user);
    bdrv_ref(bitmap->bs);
    bitmap->user = g_strdup(user);
}

void coroutine_fn bdrv_co_dirty_bitmap_unset_busy(BdrvDirtyBitmap *bitmap)
{
    g_clear_pointer(&bitmap->user, g_free);
    bdrv_co_unref(bitmap->bs);
}

bool bdrv_check_no_busy_bitmap(BlockDriverState *bs, Error **errp)
{
    for (GSList *l = bs->dirty_bitmaps; l; l = l->next) {
        const BdrvDirtyBitmap *bitmap = l->data;

        if (bitmap->user) {
            error_setg(errp, "Node %s is in use: its bitmap '%s' is in use by %s", bdrv_get_display_name(bs),
                       bitmap->name, bitmap->user);
            return false;
        }
    }
    return true;
}

static void bitmap_set_disabled(BdrvDirtyBitmap *bitmap, bool disabled)
{
    LOCK_GUARD(bitmap->bs);

    bitmap->disabled = disabled;
}

bool bdrv_dirty_bitmap_enabled(const BdrvDirtyBitmap *bitmap)
{
    LOCK_GUARD(bitmap->bs);

    return !bitmap->disabled;
}

void bdrv_disable_dirty_bitmap(BdrvDirtyBitmap *bitmap)
{
    bitmap_set_disabled(bitmap, true);
}

void bdrv_enable_dirty_bitmap(BdrvDirtyBitmap *bitmap)
{
    bitmap_set_disabled(bitmap, false);
}

void bdrv_set_dirty_bitmap(BdrvDirtyBitmap *bitmap, int64_t offset, int64_t bytes)
{
    LOCK_GUARD(bitmap->bs);

    bitmap_set_range(bitmap, offset, bytes);
}

void bdrv_reset_dirty_bitmap(BdrvDirtyBitmap *bitmap, int64_t offset, int64_t bytes)
{
    LOCK_GUARD(bitmap->bs);
    int64_t end = bitmap_range_end(bitmap, offset, bytes);

    assert(QEMU_IS_ALIGNED(offset, bitmap->granularity));
    assert(QEMU_IS_ALIGNED(end, bitmap->granularity) || end == bitmap->length);
    if (offset < end) {
        bitmap_change_bits(bitmap, offset / bitmap->granularity, bitmap_count_granules(bitmap, end), false);
    }
}

void bdrv_clear_dirty_bitmap(BdrvDirtyBitmap *bitmap)
{
    bdrv_reset_dirty_bitmap(bitmap, 0, INT64_MAX);
}

bool bdrv_dirty_bitmap_check_merge(const BdrvDirtyBitmap *dest, const BdrvDirtyBitmap *src, Error **errp)
{
    if (src->length != dest->length) {
        error_setg(errp, "Bitmap '%s' of node '%s' is for %" PRId64 " bytes and cannot be merged into '%s' of node "
                   "'%s', which is for %" PRId64 " bytes", src->name, bdrv_get_display_name(src->bs), src->length,
                   dest->name, bdrv_get_display_name(dest->bs), dest->length);
        return false;
    }
    return true;
}

/* Both bitmaps are locked. */
static void bitmap_merge(BdrvDirtyBitmap *dest, const BdrvDirtyBitmap *src)
{
    if (src->granularity == dest->granularity) {
        for (int64_t i = 0; i < bitmap_count_words(dest); i++) {
            dest->n_dirty += __builtin_popcountll(src->words[i] & ~dest->words[i]);
            dest->words[i] |= src->words[i];
        }
        return;
    }
    int64_t n = bitmap_count_granules(src, src->length);

    for (int64_t clean, first = bitmap_find_bit(src, 0, n, true); first < n;
         first = bitmap_find_bit(src, clean, n, true)) {
        clean = bitmap_find_bit(src, first, n, false);
        bitmap_set_range(dest, granule_offset(src, first), granule_offset(src, clean) - granule_offset(src, first));
    }
}

void bdrv_merge_dirty_bitmap(BdrvDirtyBitmap *dest, const BdrvDirtyBitmap *src)
{
    BlockDriverState *first = dest->bs < src->bs ? dest->bs : src->bs;
    BlockDriverState *second = dest->bs < src->bs ? src->bs : dest->bs;
    LOCK_GUARD(first);

    assert(src->length == dest->length);
    if (first == second) {
        bitmap_merge(dest, src);
    } else {
        g_autoptr(GMutexLocker) second_locker = g_mutex_locker_new(&second->dirty_bitmaps_lock);

        bitmap_merge(dest, src);
    }
}

int64_t bdrv_get_dirty_count(const BdrvDirtyBitmap *bitmap)
{
    LOCK_GUARD(bitmap->bs);
    int64_t n = bitmap_count_granules(bitmap, bitmap->length);
    bool last = n && bitmap_find_bit(bitmap, n - 1, n, true) < n;

    return (bitmap->n_dirty - last) * bitmap->granularity + (last ? bitmap->length - granule_offset(bitmap, n - 1) : 0);
}

const char *bdrv_dirty_bitmap_name(const BdrvDirtyBitmap *bitmap)
{
    return bitmap->name;
}

int64_t bdrv_dirty_bitmap_size(const BdrvDirtyBitmap *bitmap)
{
    LOCK_GUARD(bitmap->bs);

    return bitmap->length;
}

uint32_t bdrv_dirty_bitmap_granularity(const BdrvDirtyBitmap *bitmap)
{
    return bitmap->granularity;
}

bool bdrv_dirty_bitmap_next_dirty_area(const BdrvDirtyBitmap *bitmap, int64_t start, int64_t end, int64_t max,
                                       int64_t *dirty_start, int64_t *dirty_bytes)
{
    LOCK_GUARD(bitmap->bs);

    end = MIN(end, bitmap->length);
    if (start >= end) {
        return false;
    }
    int64_t n = bitmap_count_granules(bitmap, end);
    int64_t first = bitmap_find_bit(bitmap, start / bitmap->granularity, n, true);

    if (first == n) {
        return false;
    }
    *dirty_start = MAX(granule_offset(bitmap, first), start);
    end = max < end - *dirty_start ? *dirty_start + max : end;
    int64_t clean = bitmap_find_bit(bitmap, first, bitmap_count_granules(bitmap, end), false);
    *dirty_bytes = MIN(granule_offset(bitmap, clean), end) - *dirty_start;
    return true;
}

void bdrv_set_dirty(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    /* Most nodes have none. A bitmap that is just being created need not see this write: its creator reads after it. */
    if (!g_atomic_pointer_get(&bs->dirty_bitmaps)) {
        return;
    }
    LOCK_GUARD(bs);

    for (GSList *l = bs->dirty_bitmaps; l; l = l->next) {
        BdrvDirtyBitmap *bitmap = l->data;

        if (!bitmap->disabled) {
            bitmap_set_range(bitmap, offset, bytes);
        }
    }
}

bool bdrv_resize_dirty_bitmaps(BlockDriverState *bs, int64_t length, Error **errp)
{
    LOCK_GUARD(bs);

    for (GSList *l = bs->dirty_bitmaps; l; l = l->next) {
        if (!bitmap_reserve(l->data, length, errp)) {
            return false;
        }
    }
    for (GSList *l = bs->dirty_bitmaps; l; l = l->next) {
        bitmap_resize(l->data, length);
    }
    return true;
}

static BlockDirtyInfo *bitmap_query(const BdrvDirtyBitmap *bitmap)
{
    BlockDirtyInfo *info = g_new0(BlockDirtyInfo, 1);

    info->name = g_strdup(bitmap->name);
    info->count = bdrv_get_dirty_count(bitmap);
    info->granularity = bitmap->granularity;
    info->recording = bdrv_dirty_bitmap_enabled(bitmap);
    info->busy = bitmap->user;
    return info;
}

BlockDirtyInfoList *bdrv_query_dirty_bitmaps(BlockDriverState *bs)
{
    BlockDirtyInfoList *list = NULL;

    GLOBAL_STATE_CODE();
    for (GSList *l = bs->dirty_bitmaps; l; l = l->next) {
        const BdrvDirtyBitmap *bitmap = l->data;

        if (!bitmap->hidden) {
            QAPI_LIST_APPEND(list, bitmap_query(bitmap));
        }
    }
    return list;
}

char *bdrv_dirty_bitmap_sha256(const BdrvDirtyBitmap *bitmap, Error **errp)
{
    LOCK_GUARD(bitmap->bs);
    uint64_t none = 0;
    int64_t n = bitmap_count_words(bitmap);
    uint8_t digest[32];
    GString *hex = g_string_new(NULL);

    /* QEMU's has at least one word. */
    if (!qcrypto_hash_digest(QCRYPTO_HASH_ALGO_SHA256, n ? bitmap->words : &none, MAX(n, 1) * sizeof(none), digest,
                             errp)) {
        g_string_free(hex, TRUE);
        return NULL;
    }
    for (size_t i = 0; i < sizeof(digest); i++) {
        g_string_append_printf(hex, "%02x", digest[i]);
    }
    return g_string_free(hex, FALSE);
}
