/*
 * Targets of a copy
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "tools/common/image.h"
#include "tools/common/progress.h"
#include "tools/img/copy-target.h"
#include "tools/img/new-image.h"
#include "tools/img/stream.h"
#include "util/text.h"

/* Its job type is backup: a copy of the image as it was at the start. */
#define COPY_JOB_TYPE JOB_TYPE_BACKUP

static bool coroutine_fn run_copy_job(ImgCopy *copy, const ImgCopyTarget *target, Error **errp)
{
    return tool_run_job(COPY_JOB_TYPE, img_copy_run, copy, target->progress, errp);
}

/* Whether unwritten sectors of @bs decrypt to noise, and never to zeroes. */
static bool is_encrypted(BlockDriverState *bs)
{
    while (bs && !bdrv_is_encrypted(bs)) {
        bs = bdrv_get_child(bs, "file");
    }
    return bs;
}

/* Open copy->target, which must be large enough, or only its metadata, which needs no password. */
static bool coroutine_fn open_target(ImgCopy *copy, const ImgCopyTarget *target, const char *key_secret,
                                     bool metadata, Error **errp)
{
    ToolImage image = {
        .name = target->filename,
        .image_opts = target->image_opts,
        .format = target->format,
        .cache = target->cache,
        .key_secret = key_secret,
        .key_option = "--new-key-file FILE",
        .is_target = true,
        .discard = copy->sparse_bytes ? "unmap" : NULL,
        .perm = BLK_PERM_WRITE,
        .shared_perm = BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE_UNCHANGED,
    };

    if (target->cache && !tool_parse_cache_mode(target->cache, NULL, &copy->writethrough, errp)) {
        return false;
    }
    copy->target = metadata ? tool_image_open_metadata(&image, errp) : tool_image_open(&image, errp);
    if (!copy->target) {
        return false;
    }
    if (copy->target_is_zero && is_encrypted(blk_bs(copy->target))) {
        error_setg(errp, "--target-is-zero is wrong for '%s': an encrypted volume never reads as zeroes where nothing "
                   "was written", target->filename);
        return false;
    }
    if (blk_getlength(copy->target) < img_copy_length(copy)) {
        error_setg(errp, "output file is smaller than input file");
        error_append_hint(errp, "'%s' has %" PRId64 " bytes, and the copy %" PRId64 "\n", target->filename,
                          blk_getlength(copy->target), img_copy_length(copy));
        return false;
    }
    return true;
}

/* A target that was created for the copy. */
typedef struct NewTarget {
    ImgCopy *copy;
    const ImgCopyTarget *target;
    const char *key_secret;
} NewTarget;

/* Opening takes as long as deriving a key does: as part of the job it can be cancelled. */
static bool coroutine_fn open_and_copy(Job *job, void *opaque, Error **errp)
{
    NewTarget *n = opaque;

    return open_target(n->copy, n->target, n->key_secret, false, errp) && img_copy_run(job, n->copy, errp);
}

static bool check_stream(const ImgCopyTarget *target, Error **errp)
{
    if (target->format && !g_str_equal(target->format, "raw")) {
        error_setg(errp, "'%s' can only be written from start to end, which format '%s' does not allow",
                   target->filename, target->format);
        return false;
    }
    if (target->progress && img_stream_is_stdout(target->filename)) {
        error_setg(errp, "Cannot show progress (-p): the image is written to standard output");
        return false;
    }
    return true;
}

static bool is_stream(const ImgCopyTarget *target)
{
    return !target->image_opts && img_is_stream(target->filename);
}

static bool coroutine_fn copy_to_stream(ImgCopy *copy, const ImgCopyTarget *target, Error **errp)
{
    g_auto_fd int fd = check_stream(target, errp) ? img_stream_open(target->filename, errp) : -1;

    copy->stream_fd = fd;
    copy->out_of_order = false;
    return fd >= 0 && run_copy_job(copy, target, errp);
}

static NewImage new_image_for(const ImgCopy *copy, const ImgCopyTarget *target)
{
    return (NewImage){
        .filename = target->filename, .format = target->format, .bytes = img_copy_length(copy), .has_bytes = true,
        .overwrite = true,      /* as convert and dd always do */
        .quiet = copy->quiet,
        .key_secret = target->key_secret,
        .source = target->source,
        .source_secret = target->source_secret,
        .key_option = "--new-key-file FILE",
    };
}

static bool parse_new_image(NewImage *image, const ImgCopyTarget *target, Error **errp)
{
    if (!new_image_parse(image, target->options, errp)) {
        return false;
    }
    if (new_image_is_detached(image)) {
        error_setg(errp, "Cannot copy into a header without a payload");
        error_append_hint(errp, "Create header and payload with '%s create', then use -n "
                          "--target-image-opts driver=luks,file.filename=PAYLOAD,header.filename=HEADER\n",
                          g_get_prgname());
        return false;
    }
    return true;
}

static void prepend_target(const ImgCopyTarget *target, Error **errp)
{
    g_autofree char *shown = text_hide_secrets(target->filename);

    error_prepend(errp, "%s: error while converting %s: ", shown, target->format);
}

bool coroutine_fn img_copy_check_new(const ImgCopy *copy, const ImgCopyTarget *target, Error **errp)
{
    ERRP_GUARD();
    g_auto(NewImage) image = new_image_for(copy, target);

    if (is_stream(target)) {
        return check_stream(target, errp);
    }
    if (!parse_new_image(&image, target, errp) || !new_image_check(&image, errp)) {
        prepend_target(target, errp);
        return false;
    }
    return true;
}

bool coroutine_fn img_copy_to_new(ImgCopy *copy, const ImgCopyTarget *target, Error **errp)
{
    ERRP_GUARD();
    g_auto(NewImage) image = new_image_for(copy, target);

    if (is_stream(target)) {
        return copy_to_stream(copy, target, errp);
    }
    if (!parse_new_image(&image, target, errp) || !new_image_prepare(&image, errp) ||
        !new_image_create(&image, false, errp)) {
        prepend_target(target, errp);
        return false;
    }
    copy->target_is_zero = !new_image_key_secret(&image) && !new_image_is_device(&image);
    NewTarget new_target = { .copy = copy, .target = target, .key_secret = new_image_key_secret(&image) };
    bool ok = tool_run_job(COPY_JOB_TYPE, open_and_copy, &new_target, target->progress, errp);
    blk_co_unref(copy->target);
    if (!ok) {
        new_image_remove(&image);
    }
    return ok;
}

bool coroutine_fn img_copy_check_existing(const ImgCopy *copy, const ImgCopyTarget *target, Error **errp)
{
    ImgCopy look = *copy;

    if (is_stream(target)) {
        return check_stream(target, errp);
    }
    bool ok = open_target(&look, target, NULL, true, errp);
    blk_co_unref(look.target);
    return ok;
}

bool coroutine_fn img_copy_to_existing(ImgCopy *copy, const ImgCopyTarget *target, Error **errp)
{
    if (is_stream(target)) {
        return copy_to_stream(copy, target, errp);
    }
    bool ok = open_target(copy, target, target->key_secret, false, errp) && run_copy_job(copy, target, errp);
    blk_co_unref(copy->target);
    return ok;
}
