/*
 * qemu-img convert: copy images to a new one, in another format
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "crypto/object.h"
#include "tools/common/image.h"
#include "tools/common/output.h"
#include "tools/common/terminal.h"
#include "tools/img/commands.h"
#include "tools/img/copy-target.h"
#include "tools/img/new-image.h"

#define MAX_SPARSE_BYTES (16 * MiB)

enum {
    KEY_TARGET_IMAGE_OPTS = TOOL_KEY_OWN,
    KEY_TARGET_IS_ZERO,
    KEY_SALVAGE,
    KEY_CLONE_HEADER,
    KEY_REFUSED_COMPRESSED,
    KEY_REFUSED_BACKING,
    KEY_REFUSED_SNAPSHOT,
    KEY_REFUSED_BITMAPS,
};

typedef struct Convert {
    ImgCopy copy;
    ImgCopyTarget target;
    bool no_create;
    bool target_is_zero;
    bool clone_header;
    GArray *sources;            /* of ImgSegment */
} Convert;

static bool take_refused(int key, Error **errp)
{
    static const char *const texts[] = {
        [KEY_REFUSED_COMPRESSED] = "Compression not supported for this file format",
        [KEY_REFUSED_BACKING] = "Backing file not supported for this file format",
        [KEY_REFUSED_SNAPSHOT] = "Internal snapshots not supported for this file format",
        [KEY_REFUSED_BITMAPS] = "Format driver does not support bitmaps",
    };

    error_setg(errp, "%s", texts[key]);
    return false;
}

static bool set_sparse_size(Convert *cv, const char *value, Error **errp)
{
    uint64_t bytes;

    if (!tool_parse_size("buffer size for sparse output", value, 0, MAX_SPARSE_BYTES, &bytes, errp)) {
        return false;
    }
    if (!QEMU_IS_ALIGNED(bytes, BDRV_SECTOR_SIZE)) {
        error_setg(errp, "Invalid buffer size for sparse output specified. Valid sizes are multiples of %d up to "
                   "%" PRId64 ". Select 0 to disable sparse detection (fully allocates output).", BDRV_SECTOR_SIZE,
                   MAX_SPARSE_BYTES);
        return false;
    }
    cv->copy.sparse_bytes = bytes;
    return true;
}

static bool set_coroutines(Convert *cv, const char *value, Error **errp)
{
    int64_t n;

    if (!tool_parse_number("number of coroutines", value, 1, IMG_COPY_MAX_COROUTINES, &n, NULL)) {
        error_setg(errp, "Invalid number of coroutines. Allowed number of coroutines is between 1 and %d",
                   IMG_COPY_MAX_COROUTINES);
        return false;
    }
    cv->copy.coroutines = n;
    return true;
}

static bool set_rate(Convert *cv, const char *value, Error **errp)
{
    uint64_t bytes;

    if (!tool_parse_size("rate limit", value, 0, INT64_MAX, &bytes, errp)) {
        return false;
    }
    cv->copy.bytes_per_second = bytes;
    return true;
}

static bool set_option(Convert *cv, int key, const char *value, Error **errp)
{
    switch (key) {
    case 'n':
        cv->no_create = true;
        return true;
    case 'S':
        return set_sparse_size(cv, value, errp);
    case 'm':
        return set_coroutines(cv, value, errp);
    case 'r':
        return set_rate(cv, value, errp);
    case 'W':
        cv->copy.out_of_order = true;
        return true;
    case KEY_SALVAGE:
        cv->copy.salvage = true;
        return true;
    case KEY_CLONE_HEADER:
        cv->clone_header = true;
        return true;
    case KEY_TARGET_IMAGE_OPTS:
        cv->target.image_opts = true;
        return true;
    case KEY_TARGET_IS_ZERO:
        cv->target_is_zero = true;
        return true;
    default:
        return take_refused(key, errp);
    }
}

/* A clone is encrypted as its source is, and neither is opened with a password. */
static bool check_clone_options(const ToolArgs *args, Error **errp)
{
    const char *other = args->target_format ? "-O" : args->options ? "-o" : args->key_secret ? "--key-file" :
                        args->new_key_secret ? "--new-key-file" : args->header ? "--header" : NULL;

    if (other) {
        error_setg(errp, "--clone-header and %s exclude each other", other);
        return false;
    }
    if (args->n_positional > 2) {
        error_setg(errp, "--clone-header is for a single source");
        return false;
    }
    return true;
}

static bool check_options(Convert *cv, const ToolArgs *args, Error **errp)
{
    bool writethrough;

    if (cv->clone_header && !check_clone_options(args, errp)) {
        return false;
    }
    if (cv->target.image_opts && !cv->no_create) {
        error_setg(errp, "--target-image-opts requires use of -n flag");
        return false;
    }
    if (cv->target.image_opts && args->target_format) {
        error_setg(errp, "--target-image-opts and -O are mutually exclusive");
        return false;
    }
    if (args->header && args->n_positional > 2) {
        error_setg(errp, "--header is for a single source; name several with --image-opts");
        return false;
    }
    if (cv->target_is_zero && !cv->no_create) {
        error_setg(errp, "--target-is-zero requires use of -n flag");
        return false;
    }
    if (args->options && cv->no_create) {
        warn_report("-o has no effect when skipping image creation");
    }
    return (!args->cache || tool_parse_cache_mode(args->cache, NULL, &writethrough, errp)) &&
           (!args->source_cache || tool_parse_cache_mode(args->source_cache, NULL, &writethrough, errp));
}

/* Go on with what is stored below the luks node that was opened for its metadata. */
static bool coroutine_fn take_storage(ImgSegment *source, const char *name, bool warn, Error **errp)
{
    BlockDriverState *luks = bdrv_skip_filters(blk_bs(source->blk));

    if (!bdrv_is_encrypted(luks) || bdrv_get_child(luks, "header")) {
        error_setg(errp, "--clone-header needs a source that is a LUKS volume with its header inside, not '%s'", name);
        return false;
    }
    BlockBackend *blk = blk_new(g_get_prgname(), BLK_PERM_CONSISTENT_READ,
                                BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE_UNCHANGED);
    bool ok = blk_insert_bs(blk, bdrv_get_child(luks, "file"), errp);
    blk_co_unref(source->blk);
    source->blk = blk;
    if (ok && warn) {
        warn_report("the copy of '%s' has the same volume key: whoever can open one of the two can decrypt the other, "
                    "even after its passwords were changed", name);
    }
    return ok;
}

/* Open a source, or only its metadata, which needs no password. */
static bool coroutine_fn open_source(Convert *cv, const ToolArgs *args, const char *name, bool metadata, Error **errp)
{
    ToolImage image = {
        .name = name,
        .image_opts = args->image_opts,
        .header = args->header,
        .key_secret = args->key_secret,
        .key_optional = true,
        .format = args->format,
        .cache = args->source_cache,
        .force_share = args->force_share,
        .perm = BLK_PERM_CONSISTENT_READ,
        .shared_perm = BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE_UNCHANGED,
    };
    bool keyless = metadata || cv->clone_header;
    ImgSegment source = { .blk = keyless ? tool_image_open_metadata(&image, errp) : tool_image_open(&image, errp) };

    if (!source.blk) {
        return false;
    }
    bool ok = !cv->clone_header || take_storage(&source, name, !metadata && !args->quiet, errp);
    source.bytes = ok ? blk_getlength(source.blk) : 0;
    g_array_append_val(cv->sources, source);
    cv->copy.segments = (ImgSegment *)cv->sources->data;
    cv->copy.n_segments = cv->sources->len;
    if (!ok) {
        return false;
    }
    if (img_copy_length(&cv->copy) > BDRV_MAX_LENGTH) {
        error_setg(errp, "The images together are too large");
        return false;
    }
    return true;
}

static bool any_encrypted(const Convert *cv)
{
    for (guint i = 0; i < cv->sources->len; i++) {
        if (tool_image_is_encrypted(g_array_index(cv->sources, ImgSegment, i).blk)) {
            return true;
        }
    }
    return false;
}

static bool coroutine_fn open_sources(Convert *cv, const ToolArgs *args, bool metadata, Error **errp)
{
    for (int i = 0; i < args->n_positional - 1; i++) {
        if (!open_source(cv, args, args->positional[i], metadata, errp)) {
            return false;
        }
    }
    if (args->key_secret && !any_encrypted(cv)) {
        error_setg(errp, "No source is encrypted, so --key-file cannot be used");
        error_append_hint(errp, "The password of the target comes from --new-key-file\n");
        return false;
    }
    return true;
}

static void coroutine_fn close_sources(Convert *cv)
{
    for (guint i = 0; i < cv->sources->len; i++) {
        blk_co_unref(g_array_index(cv->sources, ImgSegment, i).blk);
    }
    g_array_set_size(cv->sources, 0);
}

static void set_target(Convert *cv, const ToolArgs *args)
{
    cv->target.filename = args->positional[args->n_positional - 1];
    cv->target.key_secret = args->new_key_secret;
    cv->target.cache = args->cache ? args->cache : "unsafe";
    cv->target.progress = args->progress && !args->quiet;
    cv->copy.quiet = args->quiet;
    cv->copy.target_is_zero = cv->target_is_zero;
    if (!cv->target.image_opts) {
        cv->target.format = args->target_format ?: "raw";
    }
}

/* The secret of an encrypted source; NULL if its password was typed: then the new one is typed, too. */
static const char *source_secret(BlockDriverState *source, const ToolArgs *args)
{
    const BlockDriverState *luks = bdrv_find_luks(source);
    const char *id = luks ? bdrv_get_options(luks)->u.luks.key_secret : NULL;

    return id && (args->key_secret || !user_creatable_is_unnamed(id)) ? id : NULL;
}

/* Copy the open sources, or with @check only check the target, for which their metadata is enough. */
static bool coroutine_fn copy_to_target(Convert *cv, const ToolArgs *args, bool check, Error **errp)
{
    if (cv->no_create) {
        return (check ? img_copy_check_existing(&cv->copy, &cv->target, errp)
                      : img_copy_to_existing(&cv->copy, &cv->target, errp));
    }
    cv->target.options = args->options;
    cv->target.source = blk_bs(cv->copy.segments[0].blk);
    cv->target.source_secret = source_secret(cv->target.source, args);
    if (!check && !args->quiet && !args->target_format && any_encrypted(cv)) {
        warn_report("'%s' will not be encrypted: -O luks keeps it encrypted, and -O raw avoids this warning",
                    cv->target.filename);
    }
    return (check ? img_copy_check_new(&cv->copy, &cv->target, errp)
                  : img_copy_to_new(&cv->copy, &cv->target, errp));
}

/* Check everything else before prompting for a password. */
static bool coroutine_fn check_images(Convert *cv, const ToolArgs *args, Error **errp)
{
    bool ok = open_sources(cv, args, true, errp) && copy_to_target(cv, args, true, errp);

    close_sources(cv);
    return ok;
}

static bool coroutine_fn convert(Convert *cv, const ToolArgs *args, Error **errp)
{
    if (!check_options(cv, args, errp)) {
        return false;
    }
    set_target(cv, args);
    return (!tool_can_prompt() || check_images(cv, args, errp)) && open_sources(cv, args, false, errp) &&
           copy_to_target(cv, args, false, errp);
}

static int coroutine_fn img_convert_run(const ToolCommand *cmd, int argc, char **argv)
{
    g_auto(ToolArgs) args = { .cmd = cmd, .argc = argc, .argv = argv };
    Convert cv = {
        .copy.sparse_bytes = IMG_COPY_SPARSE_BYTES,
        .copy.coroutines = IMG_COPY_COROUTINES,
    };
    Error *err = NULL;
    bool ok = true;
    int c;

    while (ok && (c = tool_args_next(&args)) != TOOL_ARGS_END) {
        ok = set_option(&cv, c, args.value, &err);
    }
    if (args.stop) {
        return args.status;
    }
    cv.sources = g_array_new(FALSE, FALSE, sizeof(ImgSegment));
    ok = ok && convert(&cv, &args, &err);
    close_sources(&cv);
    g_array_unref(cv.sources);
    if (!ok) {
        error_report_err(err);
    }
    return !ok;
}

static const ToolOption img_convert_options[] = {
    { 'f', "source-format", "FMT", "format of the sources (default: probed)", TOOL_KEY_FORMAT },
    TOOL_OPTION_TARGET_FORMAT('O', "target-format", "format of the target: raw (default) or luks"),
    { 'o', "target-format-options", "OPTS", "options NAME=VALUE,... of the target; -o help lists them",
      TOOL_KEY_OPTIONS },
    { 0, "header", "HEADER", "file or device that holds the detached LUKS header of the source", TOOL_KEY_HEADER },
    TOOL_OPTIONS_KEY_FILE_OF("read the password of the sources from this file; - for standard input"),
    TOOL_OPTION_NEW_KEY_FILE("the same for the target"),
    TOOL_OPTION_OBJECT,
    { 0, "image-opts", NULL, "sources are lists of options, such as driver=luks,file.filename=...",
      TOOL_KEY_IMAGE_OPTS },
    { 0, "target-image-opts", NULL, "the same for the target; requires -n", KEY_TARGET_IMAGE_OPTS },
    { 'n', "no-create", NULL, "write to a target that already exists", 'n' },
    { 0, "target-is-zero", NULL, "the target already reads as zeroes; requires -n", KEY_TARGET_IS_ZERO },
    { 't', "target-cache", "CACHE", "cache mode of the target: none, writeback, writethrough, directsync or "
      "unsafe (default)", TOOL_KEY_CACHE },
    { 'T', "source-cache", "CACHE", "cache mode of the sources (default: writeback)", TOOL_KEY_SOURCE_CACHE },
    { 'S', "sparse-size", "SIZE", "zeroes in a row that become a hole (default: 4k); 0: write everything", 'S' },
    { 'm', "parallel", "N", "requests in flight, 1 to 16 (default: 8)", 'm' },
    { 'W', "oob-writes", NULL, "write out of order: faster, but may fragment the target", 'W' },
    { 'r', "rate-limit", "RATE", "limit in bytes per second", 'r' },
    { 0, "clone-header", NULL, "copy a LUKS volume as it is stored, with its key and its passwords",
      KEY_CLONE_HEADER },
    { 0, "salvage", NULL, "write zeroes where the source cannot be read", KEY_SALVAGE },
    TOOL_OPTION_FORCE_SHARE,
    TOOL_OPTION_PROGRESS,
    TOOL_OPTION_QUIET,
    { 'c', "compressed", NULL, NULL, KEY_REFUSED_COMPRESSED },
    { 'b', "backing", "FILE", NULL, KEY_REFUSED_BACKING },
    { 'B', NULL, "FILE", NULL, KEY_REFUSED_BACKING },
    { 'F', "backing-format", "FMT", NULL, KEY_REFUSED_BACKING },
    { 'l', "snapshot", "SNAPSHOT", NULL, KEY_REFUSED_SNAPSHOT },
    { 0, "bitmaps", NULL, NULL, KEY_REFUSED_BITMAPS },
    { 0 }
};

const ToolCommand img_convert = {
    .name = "convert",
    .args = "FILE... TARGET",
    .min_args = 2,
    .max_args = -1,
    .summary = "copy images to a new one, in another format",
    .description =
        "Several sources are concatenated, each rounded up to 512 bytes. A luks target takes the crypto options and\n"
        "the secret of a luks source, unless others are given. A pipe, a socket or /dev/stdout as the target receives\n"
        "the raw bytes in order. If the copy fails, a new target is removed.",
    .examples =
        "  qemu-img convert -p -O luks --new-key-file pw disk.img disk.luks\n"
        "  qemu-img convert --key-file pw disk.luks disk.img\n"
        "  qemu-img convert --object secret,id=s0,file=pw --image-opts \\\n"
        "      driver=luks,key-secret=s0,file.filename=disk.luks -O raw disk.img\n"
        "  qemu-img convert -n --image-opts --target-image-opts driver=raw,file.filename=disk.img \\\n"
        "      driver=raw,offset=1M,file.filename=/dev/vg0/disk",
    .options = img_convert_options,
    .options_type = new_image_options_type,
    .default_format = "raw",
    .run = img_convert_run,
};
