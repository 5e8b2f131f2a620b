/*
 * Dirty bitmaps: which parts of a node have been written to
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/block_int.h"
#include "block/dirty-bitmap.h"

#define BITS_PER_WORD 64
#define BITMAP_MAX_BYTES (1 * GiB)

struct BdrvDirtyBitmap {
    BlockDriverState *bs;
    char *name;             /* NULL: anonymous */
    uint32_t granularity;

    /* under bs->dirty_bitmaps_lock */
    bool disabled;
    int64_t length;         /* bytes */
    int64_t n_dirty;        /* granules */
    uint64_t *words;        /* bits beyond the end are clear */
};

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

/* Make room for @n granules, with those after the first @n_before clear. False if there is not enough memory. */
static bool bitmap_grow(BdrvDirtyBitmap *bitmap, int64_t n_before, int64_t n)
{
    int64_t n_words_before = DIV_ROUND_UP(n_before, BITS_PER_WORD), n_words = DIV_ROUND_UP(n, BITS_PER_WORD);
    uint64_t *words = NULL;

    if (n_words <= BITMAP_MAX_BYTES / (int64_t)sizeof(*words)) {
        words = g_try_realloc_n(bitmap->words, n_words, sizeof(*words));
    }
    if (words) {
        memset(words + n_words_before, 0, (n_words - n_words_before) * sizeof(*words));
        bitmap->words = words;
    }
    return words;
}

/* Resize a bitmap; the new part is dirty. False with @errp, and no change, on failure. */
static bool bitmap_resize(BdrvDirtyBitmap *bitmap, int64_t length, Error **errp)
{
    int64_t length_before = bitmap->length;
    int64_t n_before = bitmap_count_granules(bitmap, length_before), n = bitmap_count_granules(bitmap, length);

    if (n > n_before && !bitmap_grow(bitmap, n_before, n)) {
        error_setg(errp, "Node '%s': not enough memory for a dirty bitmap of %" PRId64 " bytes in pieces of %" PRIu32
                   " bytes", bdrv_get_display_name(bitmap->bs), length, bitmap->granularity);
        error_append_hint(errp, "A larger granularity needs less memory.\n");
        return false;
    }
    if (n < n_before) {
        bitmap_change_bits(bitmap, n, n_before, false);
    }
    bitmap->length = length;
    bitmap_set_range(bitmap, length_before, INT64_MAX - length_before);
    return true;
}

static BdrvDirtyBitmap *bitmap_find(BlockDriverState *bs, const char *name)
{
    for (GSList *l = bs->dirty_bitmaps; l; l = l->next) {
        BdrvDirtyBitmap *bitmap = l->data;

        if (bitmap->name && g_str_equal(bitmap->name, name)) {
            return bitmap;
        }
    }
    return NULL;
}

static void bitmap_free(BdrvDirtyBitmap *bitmap)
{
    g_free(bitmap->words);
    g_free(bitmap->name);
    g_free(bitmap);
}

BdrvDirtyBitmap *bdrv_create_dirty_bitmap(BlockDriverState *bs, uint32_t granularity, const char *name, Error **errp)
{
    assert(granularity && !(granularity & (granularity - 1)));
    LOCK_GUARD(bs);
    if (name && bitmap_find(bs, name)) {
        error_setg(errp, "Bitmap already exists: %s", name);
        error_append_hint(errp, "Node '%s' has a bitmap of that name.\n", bdrv_get_display_name(bs));
        return NULL;
    }

    BdrvDirtyBitmap *bitmap = g_new0(BdrvDirtyBitmap, 1);
    bitmap->bs = bs;
    bitmap->name = g_strdup(name);
    bitmap->granularity = granularity;
    if (!bitmap_resize(bitmap, bs->length, errp)) {
        bitmap_free(bitmap);
        return NULL;
    }
    bitmap_change_bits(bitmap, 0, bitmap_count_granules(bitmap, bitmap->length), false);
    g_atomic_pointer_set(&bs->dirty_bitmaps, g_slist_prepend(bs->dirty_bitmaps, bitmap));
    return bitmap;
}

void bdrv_release_dirty_bitmap(BdrvDirtyBitmap *bitmap)
{
    if (!bitmap) {
        return;
    }
    BlockDriverState *bs = bitmap->bs;
    LOCK_GUARD(bs);

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

static void bitmap_set_disabled(BdrvDirtyBitmap *bitmap, bool disabled)
{
    LOCK_GUARD(bitmap->bs);

    bitmap->disabled = disabled;
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

int64_t bdrv_get_dirty_count(const BdrvDirtyBitmap *bitmap)
{
    LOCK_GUARD(bitmap->bs);
    int64_t n = bitmap_count_granules(bitmap, bitmap->length);
    bool last = n && bitmap_find_bit(bitmap, n - 1, n, true) < n;

    return (bitmap->n_dirty - last) * bitmap->granularity + (last ? bitmap->length - granule_offset(bitmap, n - 1) : 0);
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
        if (!bitmap_resize(l->data, length, errp)) {
            return false;
        }
    }
    return true;
}
