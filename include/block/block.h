/*
 * The block graph: nodes that can be read and written, stacked on top of each other, each with a driver
 *
 * An encrypted image in a file consists of two nodes: one with driver "luks", whose child "file" is one with driver
 * "file". Users (programs, jobs, exports) hold a node through a BlockBackend (block-backend.h). The graph changes only
 * on the main loop; requests run in the event loop of any thread.
 *
 *     static void coroutine_fn work(void *opaque)
 *     {
 *         g_autoptr(Error) err = NULL;
 *         struct json_object *options = keyval_parse("driver=luks,file.filename=disk.luks,key-secret=s0",
 *                                                    NULL, NULL, &error_abort);
 *         BlockDriverState *bs = bdrv_co_open(NULL, options, 0, &err);
 *         ...
 *         bdrv_co_unref(bs);
 *     }
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_H
#define BLOCK_H

#include "block/block-common.h"
#include "util/secret-buffer.h"

struct json_object;

/* Opening (block/graph/open.c) */

/*
 * Open a node. Returns a new reference, or NULL with @errp. @filename is a path, "json:{...}" or "PROTOCOL:...", or
 * NULL if @options say everything. @options are BlockdevOptions as JSON, whose scalars may be strings, as
 * keyval_parse() makes them; may be NULL. They override what the filename says. Without a "driver" the format is
 * probed. If "driver" is a format and there is a filename, the format is opened on the protocol that the filename
 * stands for.
 */
BlockDriverState *coroutine_fn bdrv_co_open(const char *filename, struct json_object *options,
                                            BdrvOpenFlags flags, Error **errp);

/* Open from typed options, which are copied. */
BlockDriverState *coroutine_fn bdrv_co_open_blockdev(const BlockdevOptions *options, BdrvOpenFlags flags,
                                                     Error **errp);

/*
 * Open or look up the node that @ref describes. Returns a new reference, or NULL with @errp. Cancelling @job ends the
 * opening.
 */
BlockDriverState *coroutine_fn bdrv_co_open_blockdev_ref(const BlockdevRef *ref, BdrvOpenFlags flags, Job *job,
                                                         Error **errp);

/*
 * For the end of a program: from now on, skip the slow parts of opening a node (deriving a key), and end those under
 * way. The node fails to open with "Operation was cancelled".
 */
void bdrv_cancel_opening(void);

/*
 * The same for one node. True once its opening has failed; false if it was not being opened, or had just been opened.
 */
bool coroutine_fn bdrv_co_cancel_open(const char *node_name);

/*
 * For programs that show progress: have @hook called when something begins that makes opening a node take long (@what,
 * a string literal, for about @ns), and with NULL when it is over. If a job opens the node, it gets the activity.
 */
void bdrv_set_opening_hook(void (*hook)(const char *what, int64_t ns));

/*
 * Change options of nodes in use, which are found by node-name: of all of them or, with @errp, of none. These can
 * change: read-only, auto-read-only, force-share, cache, discard, detect-zeroes, the driver's mutable_opts, the child
 * of a filter, and the backing file of other nodes. All other options must be repeated unchanged.
 */
bool coroutine_fn bdrv_co_reopen(const BlockdevOptionsList *options, Error **errp);

/*
 * Inactivate nodes, so that another process can use their images, or activate them again. Nodes below are activated
 * with them, and inactivated unless another active node uses them. Either all nodes change, or none: false with @errp
 * if a user of a node, or another user of an image, prevents it. The caller holds references.
 */
bool coroutine_fn bdrv_co_set_active(GPtrArray *nodes, bool active, Error **errp);

/*
 * The protocol options, as JSON, that a filename stands for. The caller must json_object_put() them. NULL with @errp.
 */
struct json_object *coroutine_mixed_fn bdrv_filename_to_options(const char *filename, Error **errp);

/* Drivers (block/drivers/drivers.c); NULL if there is none of that name */
const BlockDriver *bdrv_find_format(const char *format_name);
const BlockDriver *bdrv_find_driver(BlockdevDriver driver);
/* Probe the format of an image whose first @len bytes are @buf: "raw" if no other driver recognizes it. */
const BlockDriver *bdrv_probe_all(const uint8_t *buf, size_t len);
/* Whether bdrv_create() can create images with this driver. */
bool bdrv_supports_create(BlockdevDriver driver);
/* Whether nodes with this driver are at the bottom of a graph. */
bool bdrv_is_protocol(const BlockDriver *drv);
const char *bdrv_get_driver_name(const BlockDriver *drv);
/* Call @fn for each driver, in the order of the list. */
void bdrv_iterate_drivers(void (*fn)(const BlockDriver *drv, void *opaque), void *opaque);

/* Nodes (block/graph/node.c) */
BlockDriverState *bdrv_ref(BlockDriverState *bs);
/* Drop a reference. The last one flushes and closes the node. @bs may be NULL. */
void coroutine_fn bdrv_co_unref(BlockDriverState *bs);
/* Find a node; NULL if there is none. Nodes that are being opened, or are closed already, are not found. */
BlockDriverState *bdrv_find_node(const char *node_name);
/* Whether a new node can have this name; false with @errp. */
bool bdrv_check_node_name(const char *node_name, Error **errp);
/* All nodes that bdrv_find_node() would find, oldest first, with references. Free with bdrv_co_put_nodes(). */
GPtrArray *bdrv_get_nodes(void);
void coroutine_fn bdrv_co_put_nodes(GPtrArray *nodes);
/* The node that holds the bytes of @bs: itself, or what its "file" children lead to. */
BlockDriverState *bdrv_protocol_node(BlockDriverState *bs);
/* @bs, or if it is a filter, the node whose content it shows. */
BlockDriverState *bdrv_skip_filters(BlockDriverState *bs);
/* The child @name ("file", "header") of @bs; NULL if there is none. */
BlockDriverState *bdrv_get_child(const BlockDriverState *bs, const char *name);
const char *bdrv_get_node_name(const BlockDriverState *bs);
/* The name of a node in messages: of one that the user did not name, its filename, or without one, its driver. */
const char *bdrv_get_display_name(const BlockDriverState *bs);
/*
 * A filename that opens the same again, as bdrv_co_open() takes it: a plain name where that leads to this graph, once
 * the node's format is known, else "json:{...}". Caller frees.
 */
char *bdrv_get_filename(const BlockDriverState *bs);
const char *bdrv_get_format_name(const BlockDriverState *bs);
/* As opened, or reopened since. */
const BlockdevOptions *bdrv_get_options(const BlockDriverState *bs);
bool bdrv_is_read_only(const BlockDriverState *bs);
/* Whether the node itself encrypts: it never reads as zeroes where nothing was written. */
bool bdrv_is_encrypted(BlockDriverState *bs);

/* Permissions (block/graph/perm.c): "write, resize"; caller frees */
char *bdrv_perm_names(uint64_t perm);
/* The BLK_PERM_* that is called @perm in QMP. */
uint64_t bdrv_qapi_perm_to_blk_perm(BlockPermission perm);

/*
 * Wait until the caller's reference to @bs is the only one: queries and operations hold others temporarily. If the node
 * has parents, returns false with @errp, which names them.
 */
bool coroutine_fn bdrv_co_wait_unshared(BlockDriverState *bs, Error **errp);

/*
 * Cancel the requests in flight in @bs, since no user needs their results (an export or a job was ended by force).
 * Requests that wait for a peer, a new connection or a timer fail now, also in nodes below that only @bs uses. Does
 * nothing if @bs has other users. Main thread only.
 */
void bdrv_cancel_in_flight(BlockDriverState *bs);

/*
 * What was written to @bs, and to nodes below that only @bs uses, need not survive: closing it does not flush it. For
 * an image that is of no use, such as half a copy. Does nothing if @bs has several users. Main thread only.
 */
void bdrv_forget_writes(BlockDriverState *bs);

/* For the end of a program: cancel all requests that are still in flight some seconds from now. Main thread only. */
void bdrv_cancel_in_flight_later(void);

/*
 * Draining (block/graph/drain.c): between the two calls, @bs and everything above it have no request in flight, and
 * none passes through @bs. Nodes below go on serving other users.
 */
void coroutine_fn bdrv_co_drained_begin(BlockDriverState *bs);
/*
 * The same for a caller that has drained other nodes already, whose users wait: fails with @errp if the requests in
 * flight have not ended after ten seconds. The section has begun all the same, and must be ended.
 */
bool coroutine_fn bdrv_co_drained_begin_limited(BlockDriverState *bs, Error **errp);
void coroutine_fn bdrv_co_drained_end(BlockDriverState *bs);

/*
 * Requests of a driver to its child (block/io). 0 or -errno; -EIO if the range is not within the child. @qiov->size
 * equals @bytes.
 */
int coroutine_fn bdrv_co_preadv(BdrvChild *child, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                BdrvRequestFlags flags);
int coroutine_fn bdrv_co_pwritev(BdrvChild *child, int64_t offset, int64_t bytes, QEMUIOVector *qiov,
                                 BdrvRequestFlags flags);
int coroutine_fn bdrv_co_pread(BdrvChild *child, int64_t offset, int64_t bytes, void *buf);
int coroutine_fn bdrv_co_pwrite(BdrvChild *child, int64_t offset, int64_t bytes, const void *buf,
                                BdrvRequestFlags flags);
int coroutine_fn bdrv_co_pwrite_zeroes(BdrvChild *child, int64_t offset, int64_t bytes,
                                       BdrvRequestFlags flags);
int coroutine_fn bdrv_co_pdiscard(BdrvChild *child, int64_t offset, int64_t bytes);
int coroutine_fn bdrv_co_secure_discard(BdrvChild *child, int64_t offset, int64_t bytes);
/*
 * Once the storage may have lost data, all flushes of the node fail until it is reopened, no matter which request saw
 * the error first.
 */
int coroutine_fn bdrv_co_flush(BlockDriverState *bs);
bool coroutine_fn bdrv_co_truncate(BdrvChild *child, int64_t offset, bool exact, PreallocMode prealloc, Job *job,
                                   Error **errp);

/*
 * Lock a range of @bs, for a job that copies it. Overlapping writes, zero writes, discards and other locks wait until
 * it is unlocked, while reads go on. Locking waits for requests that came earlier; locks are granted in order. The
 * range grows to whole blocks. From any loop.
 *
 *     BdrvRangeLock *lock = bdrv_co_range_lock(filter, offset, bytes);
 *     ret = copy(...);
 *     bdrv_range_unlock(lock);
 *
 * The lock belongs to the coroutine, whose own requests to @bs pass. A coroutine holds at most one lock per node. A
 * drained section waits for the lock as it does for a request, so while the owner holds it, it must neither pause nor
 * make requests that a drained section holds back.
 */
typedef struct BdrvRangeLock BdrvRangeLock;
BdrvRangeLock *coroutine_fn bdrv_co_range_lock(BlockDriverState *bs, int64_t offset, int64_t bytes);
void bdrv_range_unlock(BdrvRangeLock *lock);

/* End of the highest range written to since the node was opened, in bytes. From any thread. */
int64_t bdrv_get_wr_highest_offset(BlockDriverState *bs);

/*
 * Send the event BLOCK_WRITE_THRESHOLD once, when a write or discard begins that ends beyond @offset; 0: do not. Thin
 * storage can then be extended before it is full. Get returns 0 once the event was sent. Any thread.
 */
void bdrv_set_write_threshold(BlockDriverState *bs, uint64_t offset);
int64_t bdrv_get_write_threshold(const BlockDriverState *bs);

/*
 * Length in bytes: known once the node is open, updated by bdrv_co_truncate(). A multiple of the sector size, except
 * for a raw window that begins within a sector. If the last sector of a file is incomplete, the missing bytes read as
 * zeroes, and writing them extends the file.
 */
int64_t bdrv_getlength(const BlockDriverState *bs);
/* Bytes allocated on disk, or -errno. */
int64_t coroutine_fn bdrv_co_get_allocated_file_size(BlockDriverState *bs);

/* Like BlockDriver.bdrv_co_block_status. @map and @file may be NULL. */
int coroutine_fn bdrv_co_block_status(BlockDriverState *bs, int64_t offset, int64_t bytes, int64_t *pnum,
                                      int64_t *map, BlockDriverState **file);

/* Memory that every driver below @bs can use without copying; free with qemu_vfree(). */
void *qemu_blockalign(const BlockDriverState *bs, size_t size);
void qemu_vfree(void *ptr);

/* Operations on whole images (block/ops); @job may be NULL */

/* Create an image. */
bool coroutine_fn bdrv_create(const BlockdevCreateOptions *options, Job *job, Error **errp);

/* Whether bdrv_create() with @drv creates volumes that bdrv_delete() can delete, and replaces none. */
bool bdrv_supports_delete(const BlockDriver *drv);

/* Delete the volume that bdrv_create(@created) has just created, because a later step failed. */
bool coroutine_fn bdrv_delete(const BlockdevCreateOptions *created, Error **errp);

/*
 * The luks node whose plain text @bs shows: itself, or one below filters and raw nodes. NULL: there is none.
 */
BlockDriverState *bdrv_find_luks(BlockDriverState *bs);

/*
 * Options for a new LUKS volume that is a copy of @source: if that is encrypted, set those options that are not set yet
 * to what its header says. The secret is not among them.
 */
void bdrv_inherit_luks_options(BlockDriverState *source, QCryptoBlockCreateOptionsLUKS *options);

/*
 * The size of an image of @drv that stores @bytes and is created with @options. Caller frees; NULL with @errp, also if
 * the driver cannot tell.
 */
BlockMeasureInfo *bdrv_measure(const BlockDriver *drv, const BlockdevCreateOptions *options, int64_t bytes,
                               Error **errp);

/*
 * Format an existing volume as @options say; it keeps its size. With @header NULL the header goes into @file. A volume
 * that carries a known signature is refused unless @force, and the error names what was found.
 */
bool coroutine_fn bdrv_format(BlockDriverState *file, BlockDriverState *header,
                              const BlockdevFormatOptions *options, bool force, Job *job, Error **errp);

/*
 * Describe what a volume carries ("LUKS version 1", "ext4 file system"). Caller frees. NULL: nothing known, or, with
 * @errp set, it could not be read.
 */
char *coroutine_fn bdrv_probe_signature(BlockBackend *blk, Error **errp);

/*
 * Fail if overwriting @bs would destroy something: a LUKS header or, unless @luks_only, anything that
 * bdrv_probe_signature() knows. The error names what was found. Fails, too, if it cannot be read.
 */
bool coroutine_fn bdrv_check_overwrite(BlockDriverState *bs, bool luks_only, Error **errp);

/* The UUID of the LUKS volume that overwriting @bs would destroy; NULL if there is none. Caller frees. */
char *coroutine_fn bdrv_probe_luks_uuid(BlockDriverState *bs);

/*
 * Erase securely; needs no password. @bs is a node with a format that supports this (luks, best opened with
 * BDRV_O_NO_IO and BDRV_O_DAMAGED), or the volume below. @passes 0: the default, which is 3, and 1 for the payload,
 * because its key is destroyed first. A node that has other writers is refused unless @force. The caller frees the
 * report; NULL with @errp.
 */
SecureEraseReport *coroutine_fn bdrv_secure_erase(BlockDriverState *bs, SecureEraseScope scope,
                                                  unsigned passes, bool force, Job *job, Error **errp);

/*
 * Fail if the storage below @bs is known to keep older contents of it, such as snapshots and clones, which no erase of
 * @scope reaches. The error names them. For callers of bdrv_secure_erase() whose user has not insisted.
 */
bool coroutine_fn bdrv_check_copies(BlockDriverState *bs, SecureEraseScope scope, Error **errp);

/*
 * Passwords of an open node, or of the one below a filter. Parameters as in BlockDriver. On success, *@done (may be
 * NULL) is set to what was done.
 */
bool coroutine_fn bdrv_keyslot_add(BlockDriverState *bs, const char *new_secret, int keyslot, int64_t iter_time_ms,
                                   bool force, BdrvKeyslotChange *done, Job *job, Error **errp);
bool coroutine_fn bdrv_keyslot_remove(BlockDriverState *bs, int keyslot, const char *old_secret, bool force,
                                      BdrvKeyslotChange *done, Job *job, Error **errp);
bool coroutine_fn bdrv_keyslot_change(BlockDriverState *bs, const char *old_secret, const char *new_secret,
                                      int keyslot, int64_t iter_time_ms, bool force, BdrvKeyslotChange *done, Job *job,
                                      Error **errp);
bool coroutine_fn bdrv_amend(BlockDriverState *bs, const BlockdevAmendOptions *options, bool force, Job *job,
                             Error **errp);

/*
 * Copy the header of an encrypted node. Anyone who knows one of its passwords can use the copy: it is wiped when freed,
 * and a file with it must be readable by its owner only. NULL with @errp.
 */
SecretBuffer *coroutine_fn bdrv_header_backup(BlockDriverState *bs, Error **errp);

/*
 * Restore a header backup. Unless @force, it must belong to the volume (payload offset, key size, UUID), as far as @bs,
 * opened with BDRV_O_DAMAGED, can still tell. Passwords removed since the backup work again, so warn the user.
 */
bool coroutine_fn bdrv_header_restore(BlockDriverState *bs, const SecretBuffer *backup, bool force, Job *job,
                                      Error **errp);

/* Information (block/ops/info.c); callers free */

/* What only the driver of @bs knows; may be NULL. */
ImageInfoSpecific *bdrv_get_specific_info(BlockDriverState *bs);
/* A node as in query-named-block-nodes. */
BlockDeviceInfo *coroutine_fn bdrv_block_device_info(BlockDriverState *bs);
/* A node as in query-blockstats. */
BlockStats *bdrv_query_bds_stats(BlockDriverState *bs);
/* All nodes and their users, and the edges between them with their permissions (block/graph/query.c). */
XDbgBlockGraph *coroutine_fn bdrv_co_get_xdbg_block_graph(void);
/* The part that concerns the image. */
ImageInfo *coroutine_fn bdrv_query_image_info(BlockDriverState *bs);
/* The same for the node and its children, as qemu-img info shows it. */
BlockGraphInfo *coroutine_fn bdrv_query_graph_info(BlockDriverState *bs);

#endif
