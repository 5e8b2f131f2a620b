/*
 * Ranges of the header area
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "crypto/luks/erase-regions.h"

static void region_clear(void *opaque)
{
    QCryptoLUKSRegion *region = opaque;

    g_free(region->what);
}

GArray *luks_regions_new(void)
{
    GArray *regions = g_array_new(FALSE, TRUE, sizeof(QCryptoLUKSRegion));

    g_array_set_clear_func(regions, region_clear);
    return regions;
}

void luks_regions_append(GArray *regions, uint64_t offset, uint64_t length, int keyslot,
                         const char *what)
{
    QCryptoLUKSRegion region = {
        .offset = offset, .length = length, .keyslot = keyslot, .what = g_strdup(what),
    };

    g_array_append_val(regions, region);
}

/*
 * Return the end of the last gap between @begin and @end, and set *@start to its start. They are
 * equal if there is none.
 */
static uint64_t last_gap(const GArray *regions, guint n, uint64_t begin, uint64_t end,
                         uint64_t *start)
{
    /* skip regions that cover the end; they may overlap */
    for (guint i = 0; i < n; i++) {
        const QCryptoLUKSRegion *r = &g_array_index(regions, QCryptoLUKSRegion, i);

        if (r->length && r->offset < end && r->offset + r->length >= end) {
            end = r->offset;
            i = -1;
        }
    }
    *start = begin;
    for (guint i = 0; i < n; i++) {
        const QCryptoLUKSRegion *r = &g_array_index(regions, QCryptoLUKSRegion, i);

        if (r->offset + r->length < end) {
            *start = MAX(*start, r->offset + r->length);
        }
    }
    return MAX(end, begin);
}

void luks_regions_append_gaps(GArray *regions, uint64_t begin, uint64_t end)
{
    guint n = regions->len;

    while (end > begin) {
        uint64_t start;
        uint64_t stop = last_gap(regions, n, begin, end, &start);

        if (stop > start) {
            luks_regions_append(regions, start, stop - start, -1,
                                start == 0 ? "header" : "header padding");
        }
        end = start;
    }
}
