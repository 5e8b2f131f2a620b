/*
 * The block graph: nodes that can be read and written, each made by a driver, on top of each other
 *
 * An encrypted image in a file is two nodes: one of driver "luks", whose child "file" is one of driver "file".
 * Users (programs, jobs, exports) hold a node through a BlockBackend (block-backend.h). The graph changes on
 * the main loop only; requests run on any thread's event loop.
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
 * Open a node. @filename: a path, "json:{...}" or "PROTOCOL:..."; NULL where @options say it all. @options is
 * JSON of BlockdevOptions whose scalars may be strings, as keyval_parse() makes them; NULL: none. It wins over
 * what the filename says. Without a "driver" the format is probed; a format "driver" beside a filename is
 * opened on the protocol that the filename stands for. A new reference, or NULL with @errp.
 */
BlockDriverState *coroutine_fn bdrv_co_open(const char *filename, struct json_object *options,
                                            BdrvOpenFlags flags, Error **errp);

/* Open from typed options; a copy is kept. */
BlockDriverState *coroutine_fn bdrv_co_open_blockdev(const BlockdevOptions *options, BdrvOpenFlags flags,
                                                     Error **errp);

/* Open or look up what @ref says; a new reference, or NULL with @errp. @job: cancelling it ends the opening. */
BlockDriverState *coroutine_fn bdrv_co_open_blockdev_ref(const BlockdevRef *ref, BdrvOpenFlags flags, Job *job,
                                                         Error **errp);

/*
 * From now on, what takes long about opening a node (to derive a key) is not begun, and ends where it is under way:
 * the node fails to open, "Operation was cancelled". For a program that is about to end.
 */
void bdrv_cancel_opening(void);

/* The same for one node. True once its opening has failed; false where it was not being opened, or was just done. */
bool coroutine_fn bdrv_co_cancel_open(const char *node_name);

/*
 * Change options of nodes that are in use, found by node-name: of all of them or, with @errp, of none. What can
 * change is read-only, auto-read-only, force-share, cache, discard, detect-zeroes, what the driver lets change, and
 * which node a filter has below it, or another node has as backing file; all else must be as it is.
 */
bool coroutine_fn bdrv_co_reopen(const BlockdevOptionsList *options, Error **errp);

/*
 * Let go of nodes, so that another process may use their images (not @active), or take them back. Nodes below become
 * active with them, and inactive where no other active node uses them. All of them change, or none and false with
 * @errp: users of a node are in the way, or other users of an image. The caller holds references.
 */
bool coroutine_fn bdrv_co_set_active(GPtrArray *nodes, bool active, Error **errp);

/* The protocol options, as JSON, that a filename stands for; the caller puts them. NULL with @errp. */
struct json_object *coroutine_mixed_fn bdrv_filename_to_options(const char *filename, Error **errp);

/* Drivers (block/drivers/drivers.c); NULL where there is none of that name */
const BlockDriver *bdrv_find_format(const char *format_name);
const BlockDriver *bdrv_find_driver(BlockdevDriver driver);
/* The format of an image whose first @len bytes are @buf: "raw" where nothing else claims it. */
const BlockDriver *bdrv_probe_all(const uint8_t *buf, size_t len);
/* Whether new images can be made with bdrv_create(). */
bool bdrv_supports_create(BlockdevDriver driver);
/* Whether nodes of that driver are the bottom of a graph. */
bool bdrv_is_protocol(const BlockDriver *drv);
const char *bdrv_get_driver_name(const BlockDriver *drv);
/* Calls @fn for each driver in the order of the list. */
void bdrv_iterate_drivers(void (*fn)(const BlockDriver *drv, void *opaque), void *opaque);

/* Nodes (block/graph/node.c) */
BlockDriverState *bdrv_ref(BlockDriverState *bs);
/* Drop a reference; the last one flushes and closes the node. NULL is allowed. */
void coroutine_fn bdrv_co_unref(BlockDriverState *bs);
/* NULL where there is none; nodes that are still being opened, or closed already, are not found. */
BlockDriverState *bdrv_find_node(const char *node_name);
/* All nodes that could be found now, oldest first, with references that bdrv_co_put_nodes() drops. */
GPtrArray *bdrv_get_nodes(void);
void coroutine_fn bdrv_co_put_nodes(GPtrArray *nodes);
/* The node that holds the bytes of @bs: itself, or what its "file" children lead to. */
BlockDriverState *bdrv_protocol_node(BlockDriverState *bs);
/* @bs, or where it is a filter the node whose content it shows. */
BlockDriverState *bdrv_skip_filters(BlockDriverState *bs);
/* The node that @bs has as its child @name ("file", "header"); NULL: it has none. */
BlockDriverState *bdrv_get_child(const BlockDriverState *bs, const char *name);
const char *bdrv_get_node_name(const BlockDriverState *bs);
/* For people; never NULL. */
const char *bdrv_get_filename(const BlockDriverState *bs);
const char *bdrv_get_format_name(const BlockDriverState *bs);
/* As opened, or reopened since. */
const BlockdevOptions *bdrv_get_options(const BlockDriverState *bs);
bool bdrv_is_read_only(const BlockDriverState *bs);
/* Whether the node itself encrypts: it never reads as zeroes where nothing was written. */
bool bdrv_is_encrypted(BlockDriverState *bs);

/* Permissions (block/graph/perm.c): "write, resize"; caller frees */
char *bdrv_perm_names(uint64_t perm);

/*
 * Wait until the caller's reference to @bs is the only one: queries and operations on the node hold others for a
 * while. False with @errp, which names the user, where it has parents.
 */
bool coroutine_fn bdrv_co_wait_unshared(BlockDriverState *bs, Error **errp);

/*
 * Nobody waits for the requests in flight in @bs any more (an export or a job was ended by force): those that wait for
 * a peer, a new connection or a timer end now, with an error, also in nodes below that only @bs uses. Does nothing
 * where @bs has other users, too. Main thread only.
 */
void bdrv_cancel_in_flight(BlockDriverState *bs);

/* The program ends: all requests that are still in flight some seconds from now are cancelled. Main thread only. */
void bdrv_cancel_in_flight_later(void);

/*
 * Draining (block/graph/drain.c): between the two no request is in flight in @bs or anything above it, nor on its way
 * through @bs. Nodes below go on serving their other users.
 */
void coroutine_fn bdrv_co_drained_begin(BlockDriverState *bs);
void coroutine_fn bdrv_co_drained_end(BlockDriverState *bs);

/*
 * Requests of a driver to its child (block/io). 0 or -errno; -EIO where the range is not within the child.
 * @qiov->size is @bytes.
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
 * Once storage may have lost data that was written to it, all flushes of it fail, until it is reopened. It makes no
 * difference which request learned of that first.
 */
int coroutine_fn bdrv_co_flush(BlockDriverState *bs);
bool coroutine_fn bdrv_co_truncate(BdrvChild *child, int64_t offset, bool exact, PreallocMode prealloc, Job *job,
                                   Error **errp);

/*
 * Keep a range of @bs to oneself, for a job that copies it: writes, zeroes and discards that overlap, and other locks,
 * wait until it is unlocked; reads go on. Those that came before are waited for, and nobody overtakes. The range grows
 * to whole blocks. From any loop.
 *
 *     BdrvRangeLock *lock = bdrv_co_range_lock(filter, offset, bytes);
 *     ret = copy(...);
 *     bdrv_range_unlock(lock);
 *
 * The lock belongs to the coroutine, whose own requests to @bs pass; it holds no other of that node. A drained section
 * waits for the lock as it does for a request. So its owner neither pauses, nor makes requests that a drained section
 * holds back, until it has unlocked.
 */
typedef struct BdrvRangeLock BdrvRangeLock;
BdrvRangeLock *coroutine_fn bdrv_co_range_lock(BlockDriverState *bs, int64_t offset, int64_t bytes);
void bdrv_range_unlock(BdrvRangeLock *lock);

/* End of the highest range that was written to since the node was opened; bytes. From any thread. */
int64_t bdrv_get_wr_highest_offset(BlockDriverState *bs);

/*
 * Bytes; known since the node was opened, follows bdrv_co_truncate(). Whole sectors, but for a raw window that begins
 * within one: a file whose last sector is incomplete reads as zeroes from its end on, and grows when written there.
 */
int64_t bdrv_getlength(const BlockDriverState *bs);
/* Bytes that the node takes on disk, or -errno. */
int64_t coroutine_fn bdrv_co_get_allocated_file_size(BlockDriverState *bs);

/* As BlockDriver.bdrv_co_block_status. @map and @file may be NULL. */
int coroutine_fn bdrv_co_block_status(BlockDriverState *bs, int64_t offset, int64_t bytes, int64_t *pnum,
                                      int64_t *map, BlockDriverState **file);

/* Memory that every driver below @bs can use without copying; free with qemu_vfree(). */
void *qemu_blockalign(const BlockDriverState *bs, size_t size);
void qemu_vfree(void *ptr);

/* Operations on whole images (block/ops); @job NULL: nobody watches */

/* Make a new image. */
bool coroutine_fn bdrv_create(const BlockdevCreateOptions *options, Job *job, Error **errp);

/*
 * What an image of @drv with @bytes to store, made with @options, would take. Caller frees; NULL with @errp, also where
 * the driver cannot tell.
 */
BlockMeasureInfo *bdrv_measure(const BlockDriver *drv, const BlockdevCreateOptions *options, int64_t bytes,
                               Error **errp);

/*
 * Write the format that @options name into an existing volume, which keeps its size. @header NULL: the header
 * goes into @file itself. Where a volume carries a signature already it is refused unless @force, and the
 * error names what was found.
 */
bool coroutine_fn bdrv_format(BlockDriverState *file, BlockDriverState *header,
                              const BlockdevFormatOptions *options, bool force, Job *job, Error **errp);

/*
 * What a volume carries, for people ("LUKS version 1", "ext4 file system"): caller frees; NULL: nothing that
 * we know, or (with @errp set) it could not be read.
 */
char *coroutine_fn bdrv_probe_signature(BlockBackend *blk, Error **errp);

/*
 * Fail, naming what was found, where overwriting @bs would destroy something: a LUKS header, or without
 * @luks_only whatever bdrv_probe_signature() knows. An error, too, where it cannot be read.
 */
bool coroutine_fn bdrv_check_overwrite(BlockDriverState *bs, bool luks_only, Error **errp);

/* The UUID of the LUKS volume that overwriting @bs would destroy; NULL where there is none. Caller frees. */
char *coroutine_fn bdrv_probe_luks_uuid(BlockDriverState *bs);

/*
 * Erase securely; needs no password. @bs is a node with a format that can (luks, best opened with BDRV_O_NO_IO
 * and BDRV_O_DAMAGED), or the volume below. @passes 0: the default, 3, and for the payload 1, since its key is
 * gone by then. A node that others write to is refused unless @force. The report is the caller's; NULL with
 * @errp.
 */
SecureEraseReport *coroutine_fn bdrv_secure_erase(BlockDriverState *bs, SecureEraseScope scope,
                                                  unsigned passes, bool force, Job *job, Error **errp);

/* Passwords of an open node, or of that below a filter; parameters as in BlockDriver. */
bool coroutine_fn bdrv_keyslot_add(BlockDriverState *bs, const char *new_secret, int keyslot,
                                   int64_t iter_time_ms, bool force, Job *job, Error **errp);
bool coroutine_fn bdrv_keyslot_remove(BlockDriverState *bs, int keyslot, const char *old_secret, bool force,
                                      Job *job, Error **errp);
bool coroutine_fn bdrv_keyslot_change(BlockDriverState *bs, const char *old_secret, const char *new_secret,
                                      int keyslot, int64_t iter_time_ms, bool force, Job *job,
                                      Error **errp);
bool coroutine_fn bdrv_amend(BlockDriverState *bs, const BlockdevAmendOptions *options, bool force, Job *job,
                             Error **errp);

/*
 * The header of an encrypted node as it is. Whoever knows a password that it holds can use it: it is wiped
 * when freed, and a file that it goes into is for the owner alone. NULL with @errp.
 */
SecretBuffer *coroutine_fn bdrv_header_backup(BlockDriverState *bs, Error **errp);

/*
 * Write a backup back. Unless @force it must belong to the volume (payload offset, key size, UUID), where @bs,
 * opened with BDRV_O_DAMAGED, still tells. Passwords removed since the backup work again: warn of that.
 */
bool coroutine_fn bdrv_header_restore(BlockDriverState *bs, const SecretBuffer *backup, bool force, Job *job,
                                      Error **errp);

/* Information (block/ops/info.c); callers free */

/* What only the driver of @bs knows; NULL: nothing. */
ImageInfoSpecific *bdrv_get_specific_info(BlockDriverState *bs);
/* What query-named-block-nodes shows of a node. */
BlockDeviceInfo *coroutine_fn bdrv_block_device_info(BlockDriverState *bs);
/* What query-blockstats shows of a node. */
BlockStats *bdrv_query_bds_stats(BlockDriverState *bs);
/* All nodes, their users, and the edges between them with their permissions (block/graph/query.c). */
XDbgBlockGraph *coroutine_fn bdrv_co_get_xdbg_block_graph(void);
/* The part of it that is about the image. */
ImageInfo *coroutine_fn bdrv_query_image_info(BlockDriverState *bs);
/* The same with its children, as qemu-img info shows it. */
BlockGraphInfo *coroutine_fn bdrv_query_graph_info(BlockDriverState *bs);

#endif
