/*
 * What the files of dirty bitmaps share
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef DIRTY_BITMAP_INT_H
#define DIRTY_BITMAP_INT_H

#include "block/dirty-bitmap.h"

struct BdrvDirtyBitmap {
    BlockDriverState *bs;
    char *name;             /* NULL: anonymous */
    uint32_t granularity;

    /* main thread */
    char *user;             /* whoever uses it, as for messages; NULL: nobody */
    Coroutine *held_by;     /* the transaction that has exclusive use of it; NULL: none */
    unsigned holds;         /* number of its steps that need this */
    bool hidden;            /* neither found by name nor listed */

    /* under bs->dirty_bitmaps_lock */
    bool disabled;
    int64_t length;         /* bytes */
    int64_t n_dirty;        /* granules */
    uint64_t *words;        /* bits beyond the end are clear */
    int64_t bytes;          /* memory of these; main thread */
};

#endif
