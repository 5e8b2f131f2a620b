/*
 * Creating a new image, from options of -o
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <json-c/json.h>
#include <sys/stat.h>

#include "block/block-backend.h"
#include "crypto/luks.h"
#include "crypto/secret.h"
#include "qapi/keyval.h"
#include "tools/common/password.h"
#include "tools/common/progress.h"
#include "tools/common/terminal.h"
#include "tools/img/new-image.h"
#include "tools/img/private-file.h"
#include "util/text.h"

static bool is_luks(const NewImage *image)
{
    return g_str_equal(image->format, "luks");
}

bool new_image_is_detached(const NewImage *image)
{
    struct json_object *value;

    return json_object_object_get_ex(image->options, "detached-header", &value) &&
           json_object_get_boolean(value);
}

static const char *volume_path(const NewImageVolume *v)
{
    return json_object_get_string(json_object_object_get(v->protocol, "filename"));
}

static const char *volume_driver(const NewImageVolume *v)
{
    return json_object_get_string(json_object_object_get(v->protocol, "driver"));
}

/* Whether it is created on a server. One that exists is never replaced. */
static bool volume_is_remote(const NewImageVolume *v)
{
    return bdrv_supports_delete(bdrv_find_format(volume_driver(v)));
}

static bool volume_is_device(const NewImageVolume *v)
{
    return !g_str_equal(volume_driver(v), "file") && !volume_is_remote(v);
}

/* Whether @v holds only a header. */
static bool is_header(const NewImage *image, const NewImageVolume *v)
{
    return v == &image->header_volume || new_image_is_detached(image);
}

const QAPIType *new_image_options_type(const char *format, Error **errp)
{
    if (g_str_equal(format, "luks")) {
        return &qapi_type_ImgCreateOptionsLUKS;
    }
    if (g_str_equal(format, "raw")) {
        return &qapi_type_ImgCreateOptionsFile;
    }
    if (!bdrv_find_format(format)) {
        g_autofree char *guess = text_did_you_mean(qapi_enum_nearest(&qapi_type_BlockdevDriver, format));

        error_setg(errp, "Unknown file format '%s'%s", format, guess);
    } else {
        error_setg(errp, "Format driver '%s' does not support image creation", format);
    }
    return NULL;
}

/* A copy inherits the options of its source. */
static void inherit_luks_options(const NewImage *image, ImgCreateOptionsLUKS *luks)
{
    bdrv_inherit_luks_options(image->source, qapi_ImgCreateOptionsLUKS_base(luks));
    if (!luks->key_secret && !image->key_secret) {
        luks->key_secret = g_strdup(image->source_secret);
    }
}

/* Determine image->bytes and add it to the options. */
static bool new_image_set_size(NewImage *image, Error **errp)
{
    struct json_object *size;

    if (image->has_bytes) {
        /* overrides -o size */
    } else if (json_object_object_get_ex(image->options, "size", &size)) {
        image->bytes = json_object_get_uint64(size);
    } else if (!new_image_is_detached(image)) {
        error_setg(errp, "Image creation needs a size parameter");
        return false;
    }
    if (image->bytes > (uint64_t)BDRV_MAX_LENGTH) {
        error_setg(errp, "Image size must be less than 8 EiB");
        return false;
    }
    json_object_object_add(image->options, "size", json_object_new_uint64(image->bytes));
    return true;
}

bool new_image_parse(NewImage *image, const char *text, Error **errp)
{
    const QAPIType *type = new_image_options_type(image->format, errp);
    g_autoptr(json_object) in = NULL;
    void *typed;

    if (!type) {
        return false;
    }
    /* Convert to typed options and back, which checks all, and turns strings into numbers. */
    in = keyval_parse(text ? text : "", NULL, NULL, errp);
    if (!in) {
        return false;
    }
    typed = qapi_from_json(type, in, QAPI_INPUT_KEYVAL, errp);
    if (!typed) {
        return false;
    }
    if (image->source && is_luks(image)) {
        inherit_luks_options(image, typed);
    }
    image->options = qapi_to_json(type, typed);
    qapi_free(type, typed);
    return new_image_set_size(image, errp);
}

static bool check_luks_options(const NewImage *image, Error **errp)
{
    g_autoptr(ImgCreateOptionsLUKS) luks = QAPI_FROM_JSON(ImgCreateOptionsLUKS, image->options, QAPI_INPUT_JSON, errp);

    return luks && qcrypto_luks_create_bytes(qapi_ImgCreateOptionsLUKS_base(luks), NULL, errp);
}

/* Check that a device is large enough for the image and, unless detached, its header. */
static bool coroutine_fn check_room(const NewImage *image, int64_t length, Error **errp)
{
    g_autoptr(BlockMeasureInfo) info = new_image_measure(image, errp);
    int64_t needs = !info ? INT64_MAX : image->header ? (int64_t)image->bytes : info->required;

    if (info && needs > length) {
        error_setg(errp, "The device has %" PRId64 " bytes, but the image needs %" PRId64, length, needs);
    }
    return needs <= length;
}

/* Check that the file can be created, or written to if it exists. */
static bool coroutine_fn check_volume_writable(const NewImage *image, const NewImageVolume *v, Error **errp)
{
    g_autoptr(json_object) options = json_object_new_object();

    if (v->is_new && volume_is_remote(v)) {
        return true;
    }
    if (v->is_new) {
        g_autofree char *dir = g_path_get_dirname(volume_path(v));

        if (access(dir, W_OK | X_OK) < 0) {
            error_setg_errno(errp, errno, "Could not create '%s'", volume_path(v));
            return false;
        }
        return true;
    }
    json_object_object_add(options, "driver", json_object_new_string("raw"));
    BlockBackend *blk = blk_co_new_open(g_get_prgname(), v->filename, options, 0, BLK_PERM_WRITE | BLK_PERM_RESIZE,
                                        BLK_PERM_ALL & ~(BLK_PERM_WRITE | BLK_PERM_RESIZE), errp);
    bool ok = blk && (!volume_is_device(v) || is_header(image, v) || check_room(image, blk_getlength(blk), errp));
    blk_co_unref(blk);
    return ok;
}

static bool coroutine_fn check_writable(const NewImage *image, Error **errp)
{
    return check_volume_writable(image, &image->volume, errp) &&
           (!image->header || check_volume_writable(image, &image->header_volume, errp));
}

/* Get a password, prompting for it if none is named, and check that it can be used. */
static bool coroutine_fn new_image_get_password(NewImage *image, Error **errp)
{
    g_autoptr(SecretBuffer) password = NULL;
    const char *given = new_image_key_secret(image);
    g_autofree char *secret = NULL;

    if (image->key_secret && given) {
        error_setg(errp, "A key file and the option 'key-secret' exclude each other");
        return false;
    }
    if (!image->key_secret && !given && tool_can_prompt() && !check_writable(image, errp)) {
        return false;
    }
    secret = tool_secret_or_prompt(image->key_secret ?: given, "key-secret", image->key_option, image->filename, true,
                                   errp);

    if (!secret) {
        return false;
    }
    password = qcrypto_secret_lookup(secret, errp);
    json_object_object_add(image->options, "key-secret", json_object_new_string(secret));
    return password;
}

/*
 * Do not lose an existing LUKS volume by mistake: refuse a file, unless overwriting was requested. Devices are not
 * refused, since programs reuse them for new images.
 */
static bool coroutine_fn check_existing(const NewImage *image, NewImageVolume *v, Error **errp)
{
    g_autoptr(json_object) options = json_object_new_object();
    bool refuse = !image->overwrite && !volume_is_device(v);
    BlockDriverState *bs;
    bool ok = true;

    json_object_object_add(options, "driver", json_object_new_string("raw"));
    json_object_object_add(options, "read-only", json_object_new_boolean(true));
    bs = bdrv_co_open(v->filename, options, 0, refuse ? errp : NULL);
    if (!bs) {
        return !refuse;     /* writing to it fails, too, with an error */
    }
    if (refuse) {
        ok = bdrv_check_overwrite(bs, true, errp);
    } else {
        v->lost_uuid = bdrv_probe_luks_uuid(bs);
    }
    bdrv_co_unref(bs);
    return ok;
}

/* Find out whether the volume exists, and check that it may be overwritten. */
static bool coroutine_fn check_volume(const NewImage *image, NewImageVolume *v, const char *filename, Error **errp)
{
    v->filename = filename;
    v->protocol = bdrv_filename_to_options(filename, errp);
    if (!v->protocol) {
        return false;
    }
    /* Others than files, such as exports of a server, must exist. */
    v->is_new = volume_is_remote(v) || (volume_path(v) && access(volume_path(v), F_OK) < 0);
    return v->is_new || check_existing(image, v, errp);
}

static bool is_same_file(const char *a, const char *b)
{
    g_autofree char *full_a = g_canonicalize_filename(a, NULL), *full_b = g_canonicalize_filename(b, NULL);
    struct stat sta, stb;

    return g_str_equal(full_a, full_b) ||
           (stat(a, &sta) == 0 && stat(b, &stb) == 0 && sta.st_dev == stb.st_dev && sta.st_ino == stb.st_ino);
}

static bool coroutine_fn check_header(NewImage *image, Error **errp)
{
    if (new_image_is_detached(image)) {
        error_setg(errp, "--header and detached-header=on exclude each other");
        error_append_hint(errp, "With --header, FILE is the payload; with detached-header=on, it is the header.\n");
        return false;
    }
    if (is_same_file(image->filename, image->header)) {
        error_setg(errp, "The header and the payload cannot both be in '%s'", image->header);
        return false;
    }
    return check_volume(image, &image->header_volume, image->header, errp);
}

static bool coroutine_fn check_volumes(NewImage *image, Error **errp)
{
    return check_volume(image, &image->volume, image->filename, errp) &&
           (!image->header || check_header(image, errp));
}

/* Check everything except whether the target can be written to. */
static bool coroutine_fn check_options_and_target(NewImage *image, Error **errp)
{
    if (!is_luks(image) && image->header) {
        error_setg(errp, "Format '%s' has no header to put into '%s'", image->format, image->header);
        return false;
    }
    if (!is_luks(image) && image->key_secret) {
        error_setg(errp, "Format '%s' does not encrypt, so a password cannot be used", image->format);
        error_append_hint(errp, "For an encrypted image, specify format luks\n");
        return false;
    }
    return (!is_luks(image) || check_luks_options(image, errp)) && check_volumes(image, errp);
}

bool coroutine_fn new_image_check(NewImage *image, Error **errp)
{
    return check_options_and_target(image, errp) && check_writable(image, errp);
}

bool coroutine_fn new_image_prepare(NewImage *image, Error **errp)
{
    return check_options_and_target(image, errp) && (!is_luks(image) || new_image_get_password(image, errp));
}

/* Returns what was created, which the caller frees; NULL with @errp. */
static BlockdevCreateOptions *coroutine_fn create_from_json(struct json_object *options, Job *job, Error **errp)
{
    g_autoptr(BlockdevCreateOptions) typed = QAPI_FROM_JSON(BlockdevCreateOptions, options, QAPI_INPUT_KEYVAL,
                                                            errp);

    return typed && bdrv_create(typed, job, errp) ? g_steal_pointer(&typed) : NULL;
}

bool new_image_is_device(const NewImage *image)
{
    return volume_is_device(&image->volume);
}

/* A device cannot be created, so check that it is large enough. */
static bool coroutine_fn check_device(const NewImage *image, const NewImageVolume *v, Error **errp)
{
    BlockDriverState *bs = bdrv_co_open(NULL, v->protocol, 0, errp);
    bool ok;

    if (!bs) {
        return false;
    }
    ok = v == &image->header_volume || (uint64_t)bdrv_getlength(bs) >= image->bytes;
    if (!ok) {
        error_setg(errp, "The device has %" PRId64 " bytes, which is less than the image size", bdrv_getlength(bs));
    }
    bdrv_co_unref(bs);
    return ok;
}

/* Probing must not find what the device held before. QEMU clears the same sector. */
static bool coroutine_fn clear_first_sector(const NewImageVolume *v, Error **errp)
{
    BlockBackend *blk = blk_co_new_open(g_get_prgname(), NULL, v->protocol, 0, BLK_PERM_WRITE, BLK_PERM_ALL, errp);
    int ret = blk ? blk_co_pwrite_zeroes(blk, 0, MIN(blk_getlength(blk), BDRV_SECTOR_SIZE), 0) : 0;

    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not clear the first sector of '%s'", v->filename);
    }
    bool ok = blk && ret == 0;
    blk_co_unref(blk);
    return ok;
}

/* Only the owner can read a detached header; the mode of images depends on the umask. */
static bool create_header_file(const NewImageVolume *v, Error **errp)
{
    g_auto_fd int fd = img_create_private_file(volume_path(v), errp);

    return fd >= 0;
}

/* Where to create a volume on a server: how to open it, without the driver. */
static struct json_object *location_of(const NewImageVolume *v)
{
    struct json_object *location = json_object_new_object();

    json_object_object_foreach(v->protocol, key, value) {
        if (!g_str_equal(key, "driver")) {
            json_object_object_add(location, key, json_object_get(value));
        }
    }
    return location;
}

/* Create a volume: the whole image if it is raw, else an empty one. */
static bool coroutine_fn create_volume(const NewImage *image, NewImageVolume *v, Job *job, Error **errp)
{
    g_autoptr(json_object) options = json_object_new_object();

    if (volume_is_device(v)) {
        return check_device(image, v, errp) && (is_luks(image) || clear_first_sector(v, errp));
    }
    if (v->is_new && is_header(image, v) && !volume_is_remote(v) && !create_header_file(v, errp)) {
        return false;
    }
    if (!is_luks(image)) {
        json_object_object_foreach(image->options, key, value) {
            /* -o extent_size_hint is "extent-size-hint" in QMP. */
            g_autofree char *qmp_key = g_strdelimit(g_strdup(key), "_", '-');

            json_object_object_add(options, qmp_key, json_object_get(value));
        }
        json_object_object_add(options, "size", json_object_new_uint64(ROUND_UP(image->bytes, BDRV_SECTOR_SIZE)));
    } else {
        json_object_object_add(options, "size", json_object_new_int(0));
    }
    if (volume_is_remote(v)) {
        json_object_object_add(options, "driver", json_object_new_string(volume_driver(v)));
        json_object_object_add(options, "location", location_of(v));
    } else {
        json_object_object_foreach(v->protocol, key, value) {
            json_object_object_add(options, key, json_object_get(value));
        }
    }
    v->created = create_from_json(options, job, errp);
    return v->created;
}

/* BlockdevCreateOptions without the volumes. */
static struct json_object *luks_create_options(const NewImage *image)
{
    struct json_object *options = json_object_new_object();

    json_object_object_foreach(image->options, key, value) {
        if (!g_str_equal(key, "detached-header")) {
            json_object_object_add(options, key, json_object_get(value));
        }
    }
    json_object_object_add(options, "driver", json_object_new_string("luks"));
    return options;
}

static bool coroutine_fn create_luks(const NewImage *image, Job *job, Error **errp)
{
    g_autoptr(json_object) options = luks_create_options(image);

    json_object_object_add(options, new_image_is_detached(image) ? "header" : "file",
                           json_object_get(image->volume.protocol));
    if (image->header) {
        json_object_object_add(options, "header", json_object_get(image->header_volume.protocol));
    }
    g_autoptr(BlockdevCreateOptions) created = create_from_json(options, job, errp);
    return created;
}

static bool coroutine_fn create_job(Job *job, void *opaque, Error **errp)
{
    NewImage *image = opaque;

    return create_volume(image, &image->volume, job, errp) &&
           (!image->header || create_volume(image, &image->header_volume, job, errp)) &&
           (!is_luks(image) || create_luks(image, job, errp));
}

BlockMeasureInfo *new_image_measure(const NewImage *image, Error **errp)
{
    g_autoptr(BlockdevCreateOptions) luks = NULL;
    const BlockdevCreateOptions raw = { .driver = BLOCKDEV_DRIVER_FILE };

    if (is_luks(image)) {
        g_autoptr(json_object) options = luks_create_options(image);

        luks = QAPI_FROM_JSON(BlockdevCreateOptions, options, QAPI_INPUT_KEYVAL, errp);
        if (!luks) {
            return NULL;
        }
    }
    return bdrv_measure(bdrv_find_format(image->format), luks ?: &raw, image->bytes, errp);
}

static void warn_of_loss(const NewImageVolume *v)
{
    if (v->lost_uuid) {
        warn_report("overwriting LUKS volume UUID %s in '%s'", v->lost_uuid, v->filename);
    }
}

bool coroutine_fn new_image_create(NewImage *image, bool progress, Error **errp)
{
    if (!image->quiet) {
        warn_of_loss(&image->volume);
        warn_of_loss(&image->header_volume);
    }
    if (!tool_run_job(JOB_TYPE_CREATE, create_job, image, progress, errp)) {
        new_image_remove(image);
        return false;
    }
    return true;
}

static void coroutine_fn volume_remove(const NewImageVolume *v)
{
    if (v->created && volume_is_remote(v)) {
        Error *err = NULL;

        if (!bdrv_delete(v->created, &err)) {
            warn_report("%s", error_get_pretty(err));
            error_free(err);
        }
    } else if (v->is_new && volume_path(v)) {
        unlink(volume_path(v));
    }
}

void coroutine_fn new_image_remove(const NewImage *image)
{
    volume_remove(&image->volume);
    if (image->header) {
        volume_remove(&image->header_volume);
    }
}

const char *new_image_key_secret(const NewImage *image)
{
    return json_object_get_string(json_object_object_get(image->options, "key-secret"));
}

static void volume_clear(NewImageVolume *v)
{
    g_clear_pointer(&v->protocol, json_object_put);
    qapi_free(&qapi_type_BlockdevCreateOptions, v->created);
    g_clear_pointer(&v->lost_uuid, g_free);
}

void new_image_clear(NewImage *image)
{
    g_clear_pointer(&image->options, json_object_put);
    volume_clear(&image->volume);
    volume_clear(&image->header_volume);
}
