/*
 * What a block driver is made of
 *
 * A driver is one small file that ends in its BlockDriver table; block/drivers/drivers.c lists the tables. Open,
 * close, co_getlength, co_preadv and co_pwritev are enough for a protocol. The others come in groups, each
 * optional; what happens without one is said beside it.
 *
 * Callbacks named _co_ run in a coroutine and may yield; request callbacks run on any thread's event loop,
 * several at once for one node, the others on the main loop. Before a request callback runs, block/io has
 * checked the range against the length, aligned it to bl.request_alignment, kept it below bl.max_transfer,
 * and made sure that the node is writable. Requests return 0 or -errno. block/io/driver.c asserts both.
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

struct BlockDriver {
    const char *format_name;
    BlockdevDriver driver;
    size_t instance_size;       /* bytes of bs->opaque, zeroed before open */
    bool is_protocol;           /* the bottom of a graph: no child holds its data */
    bool is_filter;             /* data passes through from bs->file at the same offsets */

    /*
     * Open from bs->options, bs->read_only and bs->open_flags; children with bdrv_co_open_child(). On failure
     * it frees what it made (the caller detaches the children). close frees what bs->opaque owns; no request
     * is in flight, and a writable node has been flushed.
     */
    bool coroutine_fn (*bdrv_co_open)(BlockDriverState *bs, Error **errp);
    void coroutine_fn (*bdrv_co_close)(BlockDriverState *bs);

    /*
     * Get ready for the options in @reopen, while the node stays as it was; permissions are checked next. Then the
     * node has its new options and commit follows, or abort does. The node is drained. Optional, but a protocol without
     * it cannot change read-only and cache.direct. It may set reopen->read_only where auto-read-only allows that.
     */
    bool coroutine_fn (*bdrv_co_reopen_prepare)(BDRVReopenState *reopen, Error **errp);
    void coroutine_fn (*bdrv_co_reopen_commit)(BlockDriverState *bs);
    void coroutine_fn (*bdrv_co_reopen_abort)(BlockDriverState *bs);
    /* Options of the driver's own that may change then, up to NULL; NULL: none. */
    const char *const *mutable_opts;

    /*
     * Somebody waits for requests that may be on their way through this node: let go those that the driver holds back,
     * as bdrv_must_not_delay() says. Optional; must not wait.
     */
    void (*bdrv_drain_begin)(BlockDriverState *bs);

    /*
     * Nobody waits for the requests in flight any more: those that wait for a peer, a new connection or a timer end
     * now, with an error; once bdrv_must_not_wait(), so do later ones. Main thread; must not wait. Optional.
     */
    void (*bdrv_cancel_in_flight)(BlockDriverState *bs);

    /* Bytes, or -errno. Missing (a filter): that of bs->file. */
    int64_t coroutine_fn (*bdrv_co_getlength)(BlockDriverState *bs);

    /* Adjust bs->bl, which starts as the common limits of the children; after open and resize. */
    void (*bdrv_refresh_limits)(BlockDriverState *bs);

    /* Requests. Without co_flush the children are flushed; without co_pwritev the node is read-only. */
    int coroutine_fn (*bdrv_co_preadv)(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                       QEMUIOVector *qiov, BdrvRequestFlags flags);
    int coroutine_fn (*bdrv_co_pwritev)(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                        QEMUIOVector *qiov, BdrvRequestFlags flags);
    int coroutine_fn (*bdrv_co_flush)(BlockDriverState *bs);
    /*
     * Flags that the driver handles itself or passes on. FUA: else a flush follows the write. A driver that writes to
     * its child what it was asked to write passes WRITE_UNCHANGED on, since its child may let it do no more.
     */
    BdrvRequestFlags supported_read_flags;
    BdrvRequestFlags supported_write_flags;
    BdrvRequestFlags supported_zero_flags;
    /* Missing, or -ENOTSUP: zeroes are written out (unless BDRV_REQ_NO_FALLBACK); a discard does nothing. */
    int coroutine_fn (*bdrv_co_pwrite_zeroes)(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                              BdrvRequestFlags flags);
    int coroutine_fn (*bdrv_co_pdiscard)(BlockDriverState *bs, int64_t offset, int64_t bytes);

    /*
     * Status of the first bytes of a range: BDRV_BLOCK_* and *pnum (1 to @bytes), or -errno. With
     * OFFSET_VALID or RECURSE, *map is the offset in *file. Missing: all is data (a filter: as bs->file).
     */
    int coroutine_fn (*bdrv_co_block_status)(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                             int64_t *pnum, int64_t *map, BlockDriverState **file);

    /*
     * Resize to @offset bytes; not @exact: larger will do. New bytes of a protocol read as zeroes. Where @job (may be
     * NULL) is cancelled before that is done, the old length stays. Missing: the node cannot be resized (a filter:
     * resizes bs->file).
     */
    bool coroutine_fn (*bdrv_co_truncate)(BlockDriverState *bs, int64_t offset, bool exact, PreallocMode prealloc,
                                          Job *job, Error **errp);

    /* Permissions: check may fail; then set or abort follows. The file driver takes image locks here. */
    bool (*bdrv_check_perm)(BlockDriverState *bs, uint64_t perm, uint64_t shared, Error **errp);
    void (*bdrv_set_perm)(BlockDriverState *bs, uint64_t perm, uint64_t shared);
    void (*bdrv_abort_perm_update)(BlockDriverState *bs);
    /* What @bs needs of a child, given what its users need of it. Missing: bdrv_default_perms(). */
    void (*bdrv_child_perm)(BlockDriverState *bs, const char *name, uint32_t role, uint64_t perm,
                            uint64_t shared, uint64_t *nperm, uint64_t *nshared);

    /* Information. Bytes on disk, or -errno. Probe: 0 (no) to 100 (surely), from an image's first bytes. */
    int64_t coroutine_fn (*bdrv_co_get_allocated_file_size)(BlockDriverState *bs);
    ImageInfoSpecific *(*bdrv_get_specific_info)(BlockDriverState *bs);
    bool (*bdrv_is_encrypted)(BlockDriverState *bs);
    int (*bdrv_probe)(const uint8_t *buf, size_t len);
    /* A protocol that has filenames of its own ("nbd:...", "nbds:..."): the parts before the colon, and the parser. */
    const char *const *protocol_names;  /* up to NULL */
    bool (*bdrv_parse_filename)(const char *filename, struct json_object *options, Error **errp);

    /* A new image: a protocol makes the volume, a format writes its header into the volume in @options. */
    bool coroutine_fn (*bdrv_co_create)(const BlockdevCreateOptions *options, Job *job, Error **errp);
    /*
     * Write this format into a volume that exists and keeps its size. @file, and @header where the header
     * goes elsewhere (else NULL), are held with write permission; what they carried may be overwritten.
     */
    bool coroutine_fn (*bdrv_co_format)(BlockBackend *file, BlockBackend *header,
                                        const BlockdevFormatOptions *options, Job *job, Error **errp);
    /* Bytes that an image of @size bytes, made with @options, needs. Caller frees. */
    BlockMeasureInfo *(*bdrv_measure)(const BlockdevCreateOptions *options, int64_t size, Error **errp);

    /*
     * Secure erase, format side: overwrite @scope and append every region to @report; first hand the ranges to
     * bdrv_co_erase_add_layers(), since extents that were shared no longer are once overwritten.
     * Protocol side: co_secure_discard is the device's own command (-ENOTSUP: none); co_erase_info says what
     * overwriting a range, as it is stored now, is worth.
     */
    bool coroutine_fn (*bdrv_co_secure_erase)(BlockDriverState *bs, SecureEraseScope scope,
                                              unsigned passes, bool force, Job *job,
                                              SecureEraseReport *report, Error **errp);
    int coroutine_fn (*bdrv_co_secure_discard)(BlockDriverState *bs, int64_t offset, int64_t bytes);
    void coroutine_fn (*bdrv_co_erase_info)(BlockDriverState *bs, int64_t offset, int64_t bytes,
                                            BdrvEraseInfo *info);

    /* Passwords, by id of a secret object. @keyslot -1: a free one (add), those that open (remove). */
    bool coroutine_fn (*bdrv_co_keyslot_add)(BlockDriverState *bs, const char *new_secret, int keyslot,
                                             int64_t iter_time_ms, bool force, Job *job, Error **errp);
    bool coroutine_fn (*bdrv_co_keyslot_remove)(BlockDriverState *bs, int keyslot, const char *old_secret,
                                                bool force, Job *job, Error **errp);
    bool coroutine_fn (*bdrv_co_keyslot_change)(BlockDriverState *bs, const char *old_secret,
                                                const char *new_secret, int keyslot,
                                                int64_t iter_time_ms, bool force, Job *job, Error **errp);
    bool coroutine_fn (*bdrv_co_amend)(BlockDriverState *bs, const BlockdevAmendOptions *options,
                                       bool force, Job *job, Error **errp);

    /* Headers, as bdrv_header_backup() and bdrv_header_restore() */
    SecretBuffer *coroutine_fn (*bdrv_co_header_backup)(BlockDriverState *bs, Error **errp);
    bool coroutine_fn (*bdrv_co_header_restore)(BlockDriverState *bs, const SecretBuffer *backup, bool force,
                                                Job *job, Error **errp);
};

/*
 * What the graph asks of a parent, whatever it is: a node, or a BlockBackend. All of it on the main loop.
 */
struct BdrvChildClass {
    /* For people: "node 'disk'", "export 'e0'"; caller frees. */
    char *(*describe)(const BdrvChild *child);
    /* Begin no requests until drained_end. Each is called once for an edge while its node is drained. */
    void (*drained_begin)(BdrvChild *child);
    void (*drained_end)(BdrvChild *child);
    /* Whether the parent has a request in flight. */
    bool (*is_busy)(const BdrvChild *child);
    /* The node's length or limits have changed; the parent is drained. */
    void coroutine_fn (*resized)(BdrvChild *child);
    /* The node is about to become inactive: false with @errp where the parent goes on using it. */
    bool (*check_inactive)(const BdrvChild *child, Error **errp);
    /* Whether the edge stays at its node when bdrv_co_replace_node() moves others. Optional: it moves. */
    bool (*stays)(const BdrvChild *child);
};

/* An edge of the graph: a parent (a node, or a BlockBackend) uses @bs. */
struct BdrvChild {
    BlockDriverState *bs;
    char *name;                 /* "file", "header", "backing", "root" */
    const BdrvChildClass *klass;
    void *opaque;               /* the parent */
    uint32_t role;              /* BDRV_CHILD_* */
    bool quiesced_parent;       /* the parent has stopped because @bs is drained */
    uint64_t perm;              /* atomic: the main loop changes it while requests look at it */
    uint64_t shared_perm;
};

/* The node that is the parent of @child; NULL where the parent is something else. */
BlockDriverState *bdrv_child_parent(const BdrvChild *child);

/* A node that is being reopened, for its driver. */
struct BDRVReopenState {
    BlockDriverState *bs;
    BlockdevOptions *options;   /* the new ones; bs->options until commit are the old */
    bool read_only;             /* as @options say, unless the driver sets it */
    bool prepared;              /* the driver is: commit or abort follows */
};

struct BlockDriverState {
    const BlockDriver *drv;
    void *opaque;               /* the driver's state */
    char *node_name;
    char *filename;             /* for people; never NULL */
    BlockdevOptions *options;   /* as opened */
    BdrvOpenFlags open_flags;
    bool is_open;               /* opening has ended, and closing not begun */
    bool is_closing;
    bool open_cancelled;        /* opening is to fail */
    BlockDriverState *opening_for;  /* the node that this one is opened as a child of; NULL once it is open */
    Job *opening_job;           /* the job that opens it; NULL: none, or it is open */
    Coroutine *claimed_by;      /* an operation that has it to itself; NULL: none */
    bool inactive;              /* another process uses the image: no writes, no locks */
    bool read_only;
    bool force_share;
    bool discard_unmap;         /* discard=unmap: discards are passed on */
    bool no_flush;              /* cache.no-flush: flushes are not */
    BlockdevDetectZeroesOptions detect_zeroes;

    GPtrArray *children;        /* of BdrvChild, owned */
    GPtrArray *parents;         /* of BdrvChild */
    BdrvChild *file;            /* the child "file"; NULL for a protocol */
    BdrvChild *backing;         /* the child "backing": what is read where this node has no data; NULL: none */
    int refcnt;
    IOThread *iothread;         /* whose exports run there that name none of their own; NULL: the main loop */

    BlockLimits bl;
    int64_t length;             /* bytes; as bl, changes only while nothing else is in flight */
    gint in_flight;             /* requests; atomic */
    gint quiesce_counter;       /* drained sections, and children that are drained; atomic */
    gint awaited_counter;       /* who waits for requests that may be here; atomic */

    GMutex reqs_lock;
    GQueue tracked_requests;    /* of BdrvTrackedRequest; under reqs_lock */
    unsigned serialising;       /* how many of them keep overlapping ones out; under reqs_lock */
    int64_t wr_highest_offset;  /* end of the highest range written to; under reqs_lock */
    uint64_t write_gen;         /* counts what was written; under reqs_lock */
    uint64_t flushed_gen;       /* write_gen that is on stable storage; under reqs_lock */
    int flush_error;            /* data may be lost, with which flushes fail from then on: -errno; under reqs_lock */

    GMutex dirty_bitmaps_lock;
    GSList *dirty_bitmaps;      /* of BdrvDirtyBitmap; under dirty_bitmaps_lock */
};

/*
 * Open what @ref says (an inline definition, or the name of a node) as child @name of @bs. NULL with @errp.
 * Child "file" becomes bs->file; where it is read-only and auto-read-only allows that, so becomes @bs.
 */
BdrvChild *coroutine_fn bdrv_co_open_child(BlockDriverState *bs, const char *name, const BlockdevRef *ref,
                                           uint32_t role, Error **errp);

/*
 * False with @errp once the opening of @bs (or of what it is opened for; NULL: of nothing in particular) was cancelled.
 * Drivers ask while they open what takes long.
 */
bool bdrv_may_open(BlockDriverState *bs, Error **errp);

/*
 * Bring the permissions of @bs and all below it in line with what its parents ask for, and with what its driver now
 * answers to bdrv_child_perm. Ends @tran, whose steps are what the driver changed for that: on failure they are undone.
 */
bool bdrv_refresh_perms(BlockDriverState *bs, Transaction *tran, Error **errp);

/*
 * Let the parents of @from use @to instead: exports, and nodes above it, but neither jobs (see blk_set_follow()) nor
 * what is below @to. So a filter is put in above a node in use, and taken out again:
 *
 *     BlockDriverState *filter = bdrv_co_open_blockdev(options, 0, errp);     // its file: "disk"
 *     bool ok = filter && bdrv_co_replace_node(disk, filter, errp);
 *     ...
 *     bdrv_co_replace_node(filter, disk, &error_abort);
 *     bdrv_co_unref(filter);
 *
 * Drains both; waits for other operations on them. False with @errp, and nothing changed, where permissions conflict.
 */
bool coroutine_fn bdrv_co_replace_node(BlockDriverState *from, BlockDriverState *to, Error **errp);

/* Let this one parent use @bs instead. Drains the node that it used. */
bool coroutine_fn bdrv_co_replace_child(BdrvChild *child, BlockDriverState *bs, Error **errp);

/* Whether a driver must let requests pass that it would hold back: somebody waits for them. Any thread. */
bool bdrv_must_not_delay(BlockDriverState *bs);

/* The program ends: drivers no longer wait for a peer that does not answer. Any thread. */
bool bdrv_must_not_wait(void);

/*
 * The permissions that most drivers need: a filter hands on what it was asked for. A format reads
 * consistently, writes and resizes its children only where it is writable itself, and shares no writes with
 * others on what it writes. A backing file is only read.
 */
void bdrv_default_perms(BlockDriverState *bs, const char *name, uint32_t role, uint64_t perm,
                        uint64_t shared, uint64_t *nperm, uint64_t *nshared);

/*
 * For a driver that erases, before it overwrites @bytes at @offset of @child: add to @report what every node
 * from there down promises for that range. A node that is asked again keeps the weaker of its promises.
 */
void coroutine_fn bdrv_co_erase_add_layers(BdrvChild *child, int64_t offset, int64_t bytes,
                                           SecureEraseReport *report);

/* All ranges of @child that were overwritten went through bdrv_co_secure_discard(), too. */
void bdrv_erase_set_discarded(BdrvChild *child, SecureEraseReport *report);

#endif
