/*
 * qemu-nbd: serving one image
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <json-c/json.h>
#include <signal.h>
#include <sys/signalfd.h>

#include "block/export.h"
#include "block/nbd.h"
#include "block/throttle-group.h"
#include "io/sockets.h"
#include "qapi/json.h"
#include "tools/common/daemonize.h"
#include "tools/common/image.h"
#include "tools/common/pidfile.h"
#include "tools/nbd/serve.h"

#define EXPORT_ID "qemu-nbd"

/* State for ending the server. */
static struct {
    Coroutine *co;              /* cancelled when a signal arrives */
    bool quit;
    bool persistent;
    CoQueue waiter;
} state;

static void request_quit(void)
{
    state.quit = true;
    qemu_co_queue_restart_all(&state.waiter);
}

/* Ignore clients that disconnect before choosing an export, such as port scanners. */
static void client_gone(bool served, unsigned remaining)
{
    if (served && remaining == 0 && !state.persistent) {
        request_quit();
    }
}

static void signal_arrived(void *opaque)
{
    struct signalfd_siginfo info;

    if (read(*(int *)opaque, &info, sizeof(info)) == sizeof(info)) {
        bdrv_cancel_opening();
        qemu_co_cancel(state.co);
        request_quit();
    }
}

void nbd_block_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, set, NULL);
}

/* Handle signals in the event loop. */
static bool watch_signals(int *fd, Error **errp)
{
    sigset_t set;

    nbd_block_signals(&set);
    *fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (*fd < 0) {
        error_setg_errno(errp, errno, "Could not watch signals");
        return false;
    }
    aio_set_fd_handler(qemu_get_current_aio_context(), *fd, signal_arrived, NULL, fd);
    return true;
}

static void set_string(struct json_object *options, const char *key, const char *value)
{
    if (value) {
        json_object_object_add(options, key, json_object_new_string(value));
    }
}

static bool coroutine_fn check_offset(BlockBackend *blk, const NbdOptions *o, Error **errp)
{
    if ((int64_t)o->offset > blk_getlength(blk)) {
        error_setg(errp, "The offset %" PRIu64 " is beyond the end of the image, which has %" PRId64 " bytes",
                   o->offset, blk_getlength(blk));
        return false;
    }
    return true;
}

/* Check what would otherwise fail only after a password was typed: the offset, the address, TLS. */
static bool coroutine_fn check_before_prompt(BlockBackend *blk, void *opaque, Error **errp)
{
    const NbdOptions *o = opaque;

    if (!check_offset(blk, o, errp)) {
        return false;
    }
    /* A trial would close a socket that was passed to us. */
    if (o->server->addr->type == SOCKET_ADDRESS_TYPE_FD) {
        return true;
    }
    bool ok = nbd_server_start(o->server, errp);
    nbd_server_stop();
    return ok;
}

/* Open the image; returns a new reference to its node, or NULL with @errp. */
static BlockDriverState *coroutine_fn open_image(const NbdOptions *o, const ToolArgs *args, Error **errp)
{
    ToolImage image = {
        .name = o->image, .image_opts = o->image_opts, .format = o->format, .cache = o->cache, .aio = o->aio,
        .discard = o->discard, .detect_zeroes = o->detect_zeroes,
        .header = args->header, .key_secret = args->key_secret,
        .writable = !o->read_only, .perm = BLK_PERM_CONSISTENT_READ | (o->read_only ? 0 : BLK_PERM_WRITE),
        .shared_perm = BLK_PERM_ALL,
        .check = check_before_prompt, .opaque = (void *)o,
    };
    BlockBackend *blk = tool_image_open(&image, errp);
    BlockDriverState *bs = blk && check_offset(blk, o, errp) ? bdrv_ref(blk_bs(blk)) : NULL;

    blk_co_unref(blk);
    return bs;
}

/* Create a node on top of @bs that begins at the offset. Takes ownership of the reference. */
static BlockDriverState *coroutine_fn skip_to_offset(const NbdOptions *o, BlockDriverState *bs, Error **errp)
{
    g_autoptr(json_object) options = json_object_new_object();

    set_string(options, "driver", "raw");
    json_object_object_add(options, "offset", json_object_new_int64(o->offset));
    set_string(options, "file", bdrv_get_node_name(bs));
    set_string(options, "discard", o->discard);
    if (o->read_only) {
        json_object_object_add(options, "read-only", json_object_new_boolean(true));
    }
    BlockDriverState *top = bdrv_co_open(NULL, options, 0, errp);
    bdrv_co_unref(bs);
    return top;
}

/* Open the node to export; returns a new reference, or NULL with @errp. */
static BlockDriverState *coroutine_fn open_node(const NbdOptions *o, const ToolArgs *args, Error **errp)
{
    BlockDriverState *bs = open_image(o, args, errp);

    return bs && o->has_offset ? skip_to_offset(o, bs, errp) : bs;
}

static bool coroutine_fn add_export(const NbdOptions *o, BlockDriverState *bs, bool writethrough, Error **errp)
{
    g_autoptr(BlockExportOptions) export = g_new0(BlockExportOptions, 1);

    export->type = BLOCK_EXPORT_TYPE_NBD;
    export->id = g_strdup(EXPORT_ID);
    export->node_name = g_strdup(bdrv_get_node_name(bs));
    export->has_writable = export->has_writethrough = true;
    export->writable = !o->read_only;
    export->writethrough = writethrough;
    export->u.nbd.name = g_strdup(o->export_name ?: "");
    export->u.nbd.description = g_strdup(o->description);
    export->u.nbd.has_allocation_depth = true;
    export->u.nbd.allocation_depth = o->allocation_depth;
    return blk_exp_add(export, errp);
}

/* Open the image, which may take long, before listening, so that the first client finds an export. */
static bool coroutine_fn serve_start(const NbdOptions *o, const ToolArgs *args, Error **errp)
{
    bool writethrough = false;

    if (o->cache && !tool_parse_cache_mode(o->cache, NULL, &writethrough, errp)) {
        return false;
    }
    BlockDriverState *bs = open_node(o, args, errp);
    bool ok = bs && nbd_server_start(o->server, errp) && add_export(o, bs, writethrough, errp);
    bdrv_co_unref(bs);
    return ok;
}

/* Announce that the server is ready. */
static bool coroutine_fn serve_announce(const NbdOptions *o, Error **errp)
{
    if (!pidfile_write(errp)) {
        return false;
    }
    if (o->verbose) {
        g_autofree char *address = socket_address_to_string(o->server->addr);
        fprintf(stderr, "Listening on %s\n", address);
    }
    return !o->fork || daemonize_done(o->verbose, errp);
}

bool coroutine_fn nbd_serve(const NbdOptions *o, ToolArgs *args, Error **errp)
{
    int signal_fd = -1;

    state.co = qemu_coroutine_self();
    qemu_co_queue_init(&state.waiter);
    state.persistent = o->persistent;
    nbd_server_set_client_hook(client_gone);
    bool ok = watch_signals(&signal_fd, errp) && tool_args_make_objects(args, errp) && serve_start(o, args, errp) &&
              serve_announce(o, errp);
    while (ok && !state.quit) {
        qemu_co_queue_wait(&state.waiter, NULL);
    }
    throttle_groups_lift_limits();
    bdrv_cancel_in_flight_later();
    nbd_server_stop();
    pidfile_remove();
    if (signal_fd >= 0) {
        aio_set_fd_handler(qemu_get_current_aio_context(), signal_fd, NULL, NULL, NULL);
        close(signal_fd);
    }
    return ok;
}
