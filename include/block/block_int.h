/*
 * What a block driver is made of
 *
 * A driver is one small file that ends in its BlockDriver table; block/drivers/drivers.c lists the tables. Open, close,
 * co_getlength, co_preadv and co_pwritev are enough for a protocol. The others are optional and come in groups; the
 * comments say what happens without them.
 *
 * Callbacks named _co_ run in a coroutine and may yield. Request callbacks run in the event loop of any thread, several
 * at once for one node; the others run on the main loop. Before block/io calls a request callback, it checks the range
 * against the length, aligns it to bl.request_alignment, splits it at bl.max_transfer, and makes sure that the node is
 * writable. Requests return 0 or -errno. block/io/driver.c asserts all of this, and block/graph/driver.c what holds for
 * the others.
 *
 *     const BlockDriver bdrv_null_co = {
 *         .format_name = "null-co",
 *         .driver = BLOCKDEV_DRIVER_NULL_CO,
 *         .instance_size = sizeof(BDRVNullState),
 *         .is_protocol = true,
 *         .bdrv_co_open = null_co_open, ...
 *     };
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_INT_H
#define BLOCK_INT_H

#include "block/block.h"
#include "util/iothread.h"
#include "util/transaction.h"

typedef struct BDRVReopenState BDRVReopenState;
typedef struct BdrvTrackedRequest BdrvTrackedRequest;

struct BlockDriver {
    const char *format_name;
    BlockdevDriver driver;
    size_t instance_size;       /* bytes of bs->opaque, zeroed before open */
    bool is_protocol;           /* the bottom of a graph: no child holds its data */
    bool is_filter;             /* data passes through from bs->file at the same offsets */
    bool is_internal;           /* for jobs, with bdrv_co_new_filter(); not in the list of drivers */

    /*
     * Open according to bs->options, bs->read_only and bs->open_flags; children with bdrv_co_open_child(). On failure
     * it frees what it allocated (the caller detaches the children). close frees what bs->opaque owns, when no request
     * is in flight and a writable node has been flushed.
     */
    bool coroutine_fn (*bdrv_co_open)(BlockDriverState *bs, Error **errp);
    void coroutine_fn (*bdrv_co_close)(BlockDriverState *bs);

    /*
     * Prepare to change to the options in @reopen, without changing the node; permissions are checked next. Then either
     * the node gets its new options and commit is called, or abort is. The node is drained. Optional, but a protocol
     * without it cannot change read-only and cache.direct. It may set reopen->read_only if auto-read-only allows that.
     */
    bool coroutine_fn (*bdrv_co_reopen_prepare)(BDRVReopenState *reopen, Error **errp);
    void coroutine_fn (*bdrv_co_reopen_commit)(BlockDriverState *bs);
    void coroutine_fn (*bdrv_co_reopen_abort)(BlockDriverState *bs);
    /* The driver's own options that may change in a reopen, NULL-terminated. NULL: none. */
    const char *const *mutable_opts;

    /*
     * A user waits for requests that may pass through this node: release those that the driver holds back, see
     * bdrv_must_not_delay(). Optional; must not wait.
     */
    void (*bdrv_drain_begin)(BlockDriverState *bs);

    /*
     * Cancel the requests in flight, since no user needs their results: those that wait for a peer, a new connection or
     * a timer fail now. After bdrv_must_not_wait(), so do later ones. Main thread; must not wait. Optional.
     */
    void (*bdrv_cancel_in_flight)(BlockDriverState *bs);

    /* Bytes, or -errno. Without it (a filter): that of bs->file. */
    int64_t coroutine_fn (*bdrv_co_getlength)(BlockDriverState *bs);

    /* Adjust bs->bl, which is preset to the common limits of the children. Called after open and resize. */
    void (*bdrv_refresh_limits)(BlockDriverState *bs);

    /* Requests. Without co_flush, the children are flushed; without co_pwritev, the node is read-only. */
    int coroutine_fn (*bdrv_co_preadv)(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                       QEMUIOVector *qiov, BdrvRequestFlags flags);
    int coroutine_fn (*bdrv_co_pwritev)(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                        QEMUIOVector *qiov, BdrvRequestFlags flags);
    int coroutine_fn (*bdrv_co_flush)(BlockDriverState *bs);
    /*
     * Flags that the driver handles itself or passes on. Without FUA, a flush follows the write. A driver that writes
     * to its child only what it was asked to write passes WRITE_UNCHANGED on, because its child may permit nothing
     * else.
     */
    BdrvRequestFlags supported_read_flags;
    BdrvRequestFlags supported_write_flags;
    BdrvRequestFlags supported_zero_flags;
    /*
     * Without them, or with -ENOTSUP: zeroes are written out (unless BDRV_REQ_NO_FALLBACK), and a discard does nothing.
     */
    int coroutine_fn (*bdrv_co_pwrite_zeroes)(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                              BdrvRequestFlags flags);
    int coroutine_fn (*bdrv_co_pdiscard)(BlockDriverState *bs, int64_t offset, int64_t bytes);

    /*
     * Status of the first bytes of a range: BDRV_BLOCK_* and *pnum (1 to @bytes), or -errno. With OFFSET_VALID or
     * RECURSE, *map is the offset in *file. Without it, everything is data (a filter: as bs->file).
     */
    int coroutine_fn (*bdrv_co_block_status)(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                             int64_t *pnum, int64_t *map, BlockDriverState **file);

    /*
     * Resize to @offset bytes, or more unless @exact. New bytes of a protocol read as zeroes. If @job (may be NULL) is
     * cancelled before it is done, the length does not change. Without it, the node cannot be resized (a filter:
     * resizes bs->file).
     */
    bool coroutine_fn (*bdrv_co_truncate)(BlockDriverState *bs, int64_t offset, bool exact, PreallocMode prealloc,
                                          Job *job, Error **errp);

    /*
     * Something happens at @bs (write requests) or is about to happen to it on behalf of the node above (reads and
     * writes by a format, flushes): rules of blkdebug refer to it. Any thread; must not wait. Optional.
     */
    void (*bdrv_debug_event)(BlockDriverState *bs, BlkdebugEvent event);

    /* Permissions: check may fail. Either set or abort follows. The file driver takes image locks here. */
    bool (*bdrv_check_perm)(BlockDriverState *bs, uint64_t perm, uint64_t shared, Error **errp);
    void (*bdrv_set_perm)(BlockDriverState *bs, uint64_t perm, uint64_t shared);
    void (*bdrv_abort_perm_update)(BlockDriverState *bs);
    /* What @bs needs of a child, given what its users need of @bs. Without it: bdrv_default_perms(). */
    void (*bdrv_child_perm)(BlockDriverState *bs, const char *name, uint32_t role, uint64_t perm,
                            uint64_t shared, uint64_t *nperm, uint64_t *nshared);

    /*
     * Information. Allocated: bytes on disk, or -errno. Probe: 0 (no) to 100 (certain), from the first bytes of an
     * image.
     */
    int64_t coroutine_fn (*bdrv_co_get_allocated_file_size)(BlockDriverState *bs);
    ImageInfoSpecific *(*bdrv_get_specific_info)(BlockDriverState *bs);
    bool (*bdrv_is_encrypted)(BlockDriverState *bs);
    int (*bdrv_probe)(const uint8_t *buf, size_t len);
    /* A protocol with its own filenames ("nbd:...", "nbds:..."): the prefixes before the colon, and the parser. */
    const char *const *protocol_names;  /* NULL-terminated */
    bool (*bdrv_parse_filename)(const char *filename, struct json_object *options, Error **errp);
    /* Replace older forms of options, which the schema does not have, by those that it has. Not used for QMP. */
    bool (*bdrv_modernize_options)(struct json_object *options, Error **errp);
    /* Options besides filename and children that decide what is read, NULL-terminated; NULL: none */
    const char *const *strong_runtime_opts;
    bool filename_says_all;     /* bs->filename includes all of these, as json:{...} if no name can */

    /* Create an image: a protocol creates the volume, a format writes its header into the volume in @options. */
    bool coroutine_fn (*bdrv_co_create)(const BlockdevCreateOptions *options, Job *job, Error **errp);
    /* Delete a volume that was just created with @created. Optional: files need no driver for that. */
    bool coroutine_fn (*bdrv_co_delete)(const BlockdevCreateOptions *created, Error **errp);
    /*
     * Format an existing volume, which keeps its size. @file and, for a detached header, @header (else NULL) are open
     * for writing. Their contents may be overwritten.
     */
    bool coroutine_fn (*bdrv_co_format)(BlockBackend *file, BlockBackend *header,
                                        const BlockdevFormatOptions *options, Job *job, Error **errp);
    /* The size of an image of @size bytes that is created with @options. Caller frees. */
    BlockMeasureInfo *(*bdrv_measure)(const BlockdevCreateOptions *options, int64_t size, Error **errp);

    /*
     * Secure erase, format side: overwrite @scope and append every region to @report. First pass the ranges to
     * bdrv_co_erase_add_layers(), because overwriting unshares shared extents. Protocol side: co_secure_discard is the
     * device's own command (-ENOTSUP: none); co_erase_info tells how reliably overwriting destroys a range, as it is
     * stored now.
     */
    bool coroutine_fn (*bdrv_co_secure_erase)(BlockDriverState *bs, SecureEraseScope scope,
                                              unsigned passes, bool force, Job *job,
                                              SecureEraseReport *report, Error **errp);
    int coroutine_fn (*bdrv_co_secure_discard)(BlockDriverState *bs, int64_t offset, int64_t bytes);
    void coroutine_fn (*bdrv_co_erase_info)(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                            BdrvEraseInfo *info);
    /*
     * Append to @copies what the storage has of older contents of the node: texts for people, such as "snapshot 'x'",
     * allocated with g_malloc(). False with @errp if there may be more. Optional: none is known.
     */
    bool coroutine_fn (*bdrv_co_list_copies)(BlockDriverState *bs, GPtrArray *copies, Error **errp);

    /*
     * Passwords, by id of a secret object. @keyslot -1: a free one (add), all that the password opens (remove). Set
     * *@done on success.
     */
    bool coroutine_fn (*bdrv_co_keyslot_add)(BlockDriverState *bs, const char *new_secret, int keyslot,
                                             int64_t iter_time_ms, bool force, BdrvKeyslotChange *done, Job *job,
                                             Error **errp);
    bool coroutine_fn (*bdrv_co_keyslot_remove)(BlockDriverState *bs, int keyslot, const char *old_secret,
                                                bool force, BdrvKeyslotChange *done, Job *job, Error **errp);
    bool coroutine_fn (*bdrv_co_keyslot_change)(BlockDriverState *bs, const char *old_secret,
                                                const char *new_secret, int keyslot, int64_t iter_time_ms,
                                                bool force, BdrvKeyslotChange *done, Job *job, Error **errp);
    bool coroutine_fn (*bdrv_co_amend)(BlockDriverState *bs, const BlockdevAmendOptions *options,
                                       bool force, Job *job, Error **errp);

    /* Headers, as bdrv_header_backup() and bdrv_header_restore() */
    SecretBuffer *coroutine_fn (*bdrv_co_header_backup)(BlockDriverState *bs, Error **errp);
    bool coroutine_fn (*bdrv_co_header_restore)(BlockDriverState *bs, const SecretBuffer *backup, bool force,
                                                Job *job, Error **errp);
};

/* What the graph asks of a parent, which is a node or a BlockBackend. All on the main loop. */
struct BdrvChildClass {
    /* For messages: "node 'disk'", "export 'e0'"; caller frees. */
    char *(*describe)(const BdrvChild *child);
    /* Begin no requests until drained_end. Called once for each edge whose node is drained. */
    void (*drained_begin)(BdrvChild *child);
    void (*drained_end)(BdrvChild *child);
    /* Whether the parent has a request in flight. */
    bool (*is_busy)(const BdrvChild *child);
    /* The node's length or limits have changed; the parent is drained. Optional: the parent asks when it needs them. */
    void coroutine_fn (*resized)(BdrvChild *child);
    /* The node is about to become inactive: false with @errp if the parent still uses it. */
    bool (*check_inactive)(const BdrvChild *child, Error **errp);
    /* Whether the edge stays at its node when bdrv_co_replace_node() moves others. Optional: it does not. */
    bool (*stays)(const BdrvChild *child);
};

/* An edge of the graph: a parent (a node or a BlockBackend) that uses @bs. */
struct BdrvChild {
    BlockDriverState *bs;
    char *name;                 /* "file", "header", "backing", "root" */
    const BdrvChildClass *klass;
    void *opaque;               /* the parent */
    uint32_t role;              /* BDRV_CHILD_* */
    bool quiesced_parent;       /* the parent is stopped because @bs is drained */
    uint64_t perm;              /* atomic: the main loop changes it while requests read it */
    uint64_t shared_perm;
};

/* The parent node of @child; NULL if the parent is not a node. */
BlockDriverState *bdrv_child_parent(const BdrvChild *child);

/* A node that is being reopened, as its driver sees it. */
struct BDRVReopenState {
    BlockDriverState *bs;
    BlockdevOptions *options;   /* the new ones; until commit, bs->options are the old ones */
    bool read_only;             /* according to @options, unless the driver changes it */
    bool prepared;              /* the driver has prepared: commit or abort follows */
};

struct BlockDriverState {
    const BlockDriver *drv;
    void *opaque;               /* the driver's state */
    char *node_name;
    char *filename;             /* for messages; of a protocol: the plain name that opens it; never NULL */
    BlockdevOptions *options;   /* as opened */
    BdrvOpenFlags open_flags;
    bool is_open;               /* completely open, and not being closed */
    bool is_closing;
    bool open_cancelled;        /* the opening must fail */
    BlockDriverState *opening_for;  /* the node for which this one is opened as a child; NULL once it is open */
    Job *opening_job;           /* the job that opens it; NULL: none, or it is open */
    Coroutine *claimed_by;      /* the operation with exclusive use; NULL: none */
    bool inactive;              /* another process uses the image: no writes, no locks */
    bool read_only;
    bool force_share;
    bool discard_unmap;         /* discard=unmap: pass discards on */
    bool no_flush;              /* cache.no-flush: ignore flushes */
    BlockdevDetectZeroesOptions detect_zeroes;

    GPtrArray *children;        /* of BdrvChild, owned */
    GPtrArray *parents;         /* of BdrvChild */
    BdrvChild *file;            /* the child "file" or, of blkdebug, "image"; NULL for a protocol */
    BdrvChild *backing;         /* the child "backing", read where this node has no data; NULL: none */
    int refcnt;
    Job *job;                   /* copies the node, or has put this filter here; NULL: none */
    IOThread *iothread;         /* where its exports run by default; NULL: the main loop */

    BlockLimits bl;
    int64_t length;             /* bytes; like bl, changes only while nothing else is in flight */
    gint in_flight;             /* requests; atomic */
    gint quiesce_counter;       /* drained sections of this node, and drained children; atomic */
    gint awaited_counter;       /* number of users that wait for requests that may be here; atomic */

    GMutex reqs_lock;
    BdrvTrackedRequest *tracked_first, *tracked_last;   /* under reqs_lock */
    unsigned serialising;       /* how many of them exclude overlapping ones; under reqs_lock */
    int64_t wr_highest_offset;  /* end of the highest range written to; under reqs_lock */
    uint64_t write_gen;         /* counts what was written; under reqs_lock */
    uint64_t flushed_gen;       /* the write_gen that is on stable storage; under reqs_lock */
    int flush_error;            /* -errno: data may be lost, and flushes fail with this; under reqs_lock */

    int64_t write_threshold;    /* a write beyond it is reported; 0: none. Atomic */

    GMutex dirty_bitmaps_lock;
    GSList *dirty_bitmaps;      /* of BdrvDirtyBitmap; under dirty_bitmaps_lock */
};

/*
 * Open the node that @ref describes (inline, or by node name) as child @name of @bs. NULL with @errp. Child "file" (or
 * "image") becomes bs->file; if it is read-only and auto-read-only allows that, @bs becomes read-only.
 */
BdrvChild *coroutine_fn bdrv_co_open_child(BlockDriverState *bs, const char *name, const BlockdevRef *ref,
                                           uint32_t role, Error **errp);

/*
 * False with @errp once the opening of @bs (or of the node for which it is opened; NULL: of any node) was cancelled.
 * Drivers check this in the slow parts of opening.
 */
bool bdrv_may_open(BlockDriverState *bs, Error **errp);
/* Tell what makes the opening of @bs take long: see bdrv_set_opening_hook(). */
void bdrv_set_opening_activity(BlockDriverState *bs, const char *what, int64_t ns);

/*
 * Update the permissions of @bs and everything below according to what its parents request, and to what its driver's
 * bdrv_child_perm now returns. Ends @tran, which holds the driver's own changes: on failure they are undone.
 */
bool bdrv_refresh_perms(BlockDriverState *bs, Transaction *tran, Error **errp);

/*
 * Make the parents of @from use @to instead: exports, and nodes above it, but neither jobs (see blk_set_follow()) nor
 * nodes below @to. This inserts a filter above a node in use, and removes it again:
 *
 *     BlockDriverState *filter = bdrv_co_open_blockdev(options, 0, errp);     // its file: "disk"
 *     bool ok = filter && bdrv_co_replace_node(disk, filter, errp);
 *     ...
 *     bdrv_co_replace_node(filter, disk, &error_abort);
 *     bdrv_co_unref(filter);
 *
 * Drains both nodes, and waits for other operations on them. False with @errp, and no change, if permissions conflict.
 */
bool coroutine_fn bdrv_co_replace_node(BlockDriverState *from, BlockDriverState *to, Error **errp);

/*
 * Open a node with the internal filter @drv above @file. @node_name NULL: generated. Its
 * options are those of a raw node, and bdrv_co_open opens u.raw.file. NULL with @errp.
 */
BlockDriverState *coroutine_fn bdrv_co_new_filter(const BlockDriver *drv, const char *node_name,
                                                  BlockDriverState *file, Error **errp);

/*
 * Another client has resized the storage of @bs, a protocol: call its bdrv_co_getlength, and notify everything above.
 * Returns at once; the work is done soon, or not at all if the node is not open. As long as a job or a filter above
 * does not share BLK_PERM_RESIZE, the node keeps its old length, with a warning. Main thread.
 */
void bdrv_storage_resized(BlockDriverState *bs);

/* "json:" and the @options of a node, for those that no plain filename has. Caller frees. */
char *bdrv_json_filename(struct json_object *options);

/* Make this one parent use @bs instead. Drains the node that it used before. */
bool coroutine_fn bdrv_co_replace_child(BdrvChild *child, BlockDriverState *bs, Error **errp);

/* Whether a driver must release requests that it holds back, because a user waits for them. Any thread. */
bool bdrv_must_not_delay(BlockDriverState *bs);

/* The program is ending: drivers no longer wait for a peer that does not answer. Any thread. */
bool bdrv_must_not_wait(void);

/*
 * The permissions that most drivers need. A filter passes on what it was asked for. A format reads consistently; if it
 * is writable, it also writes and resizes its children and does not share writing them. A backing file is only read.
 */
void bdrv_default_perms(BlockDriverState *bs, const char *name, uint32_t role, uint64_t perm,
                        uint64_t shared, uint64_t *nperm, uint64_t *nshared);

/*
 * For a driver that erases: before it overwrites @bytes at @offset of @child, add to @report what every node from there
 * down can guarantee for that range. If a node is asked again, the weaker guarantee counts.
 */
void coroutine_fn bdrv_co_erase_add_layers(BdrvChild *child, int64_t offset, int64_t bytes,
                                           SecureEraseReport *report);

/* bdrv_co_secure_discard() was also applied to all overwritten ranges of @child. */
void bdrv_erase_set_discarded(BdrvChild *child, SecureEraseReport *report);

#endif
