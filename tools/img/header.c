/*
 * qemu-img header: keep the header of an encrypted image in a file, and write it back
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <sys/stat.h>

#include "block/block.h"
#include "tools/common/image.h"
#include "tools/common/output.h"
#include "tools/common/progress.h"
#include "tools/img/commands.h"
#include "tools/img/private-file.h"

/* Longer than any LUKS header; keeps a wrong file from filling the memory. */
#define BACKUP_MAX_BYTES (64 * MiB)

enum {
    KEY_FORCE = TOOL_KEY_OWN,
};

static BlockBackend *coroutine_fn open_header(const ToolArgs *args, bool writable, Error **errp)
{
    ToolImage image = {
        .name = args->positional[0],
        .instead = { "convert -O luks", " NEW" },
        .image_opts = args->image_opts,
        .header = args->header,
        .format = args->format ? args->format : "luks",
        .shared_perm = BLK_PERM_ALL,
        .writable = writable,
        .force_share = args->force_share,
        .no_io = true,
        .damaged = writable,
    };

    return tool_image_open(&image, errp);
}

/* Write @data to a new file that only its owner can read. Remove it on failure. */
static bool write_new_file(const char *name, const SecretBuffer *data, Error **errp)
{
    g_auto_fd int fd = img_create_private_file(name, errp);
    size_t done = 0;

    if (fd < 0) {
        return false;
    }
    while (done < data->len) {
        ssize_t n = RETRY_ON_EINTR(write(fd, data->data + done, data->len - done));

        if (n < 0) {
            break;
        }
        done += n;
    }
    if (done < data->len || fsync(fd) < 0) {
        error_setg_errno(errp, errno, "Could not write '%s'", name);
        unlink(name);
        return false;
    }
    return true;
}

static SecretBuffer *read_file(const char *name, Error **errp)
{
    /* Do not wait for the other end of a pipe, which is refused below. */
    g_auto_fd int fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    g_autoptr(SecretBuffer) data = NULL;
    struct stat st;
    size_t done = 0;

    if (fd < 0 || fstat(fd, &st) < 0) {
        error_setg_errno(errp, errno, "Could not open '%s'", name);
        return NULL;
    }
    if (!S_ISREG(st.st_mode) || st.st_size > BACKUP_MAX_BYTES) {
        error_setg(errp, "'%s' is no header backup: it is not a file of at most %" PRId64 " bytes", name,
                   BACKUP_MAX_BYTES);
        return NULL;
    }
    data = secret_buffer_new(st.st_size);
    while (done < data->len) {
        ssize_t n = RETRY_ON_EINTR(read(fd, data->data + done, data->len - done));

        if (n < 0) {
            error_setg_errno(errp, errno, "Could not read '%s'", name);
            return NULL;
        }
        if (n == 0) {
            data->len = done;
        }
        done += n;
    }
    return g_steal_pointer(&data);
}

static void print_json(const ToolArgs *args, const SecretBuffer *header)
{
    const ImgHeaderCopy out = { .filename = args->positional[0], .backup = args->positional[1], .size = header->len };

    tool_print_qapi(&qapi_type_ImgHeaderCopy, &out);
}

static int coroutine_fn backup_run(const ToolCommand *cmd, int argc, char **argv)
{
    g_auto(ToolArgs) args = { .cmd = cmd, .argc = argc, .argv = argv };
    g_autoptr(SecretBuffer) header = NULL;
    Error *err = NULL;
    BlockBackend *blk;

    while (tool_args_next(&args) != TOOL_ARGS_END) {
    }
    if (args.stop) {
        return args.status;
    }
    blk = open_header(&args, false, &err);
    if (blk) {
        header = bdrv_header_backup(blk_bs(blk), &err);
        blk_co_unref(blk);
    }
    if (!header || !write_new_file(args.positional[1], header, &err)) {
        error_report_err(err);
        return 1;
    }
    if (args.json) {
        print_json(&args, header);
    } else if (!args.quiet) {
        g_autofree char *size = tool_size_and_bytes(header->len);

        printf("Header of '%s' saved in '%s': %s.\n"
               "Keep it safe: today's passwords open the image with it, even after they are removed.\n",
               args.positional[0], args.positional[1], size);
    }
    return 0;
}

typedef struct Restore {
    BlockDriverState *bs;
    const SecretBuffer *header;
    bool force;
} Restore;

static bool coroutine_fn restore_job(Job *job, void *opaque, Error **errp)
{
    Restore *r = opaque;

    return bdrv_header_restore(r->bs, r->header, r->force, job, errp);
}

static int coroutine_fn restore_run(const ToolCommand *cmd, int argc, char **argv)
{
    g_auto(ToolArgs) args = { .cmd = cmd, .argc = argc, .argv = argv };
    g_autoptr(SecretBuffer) header = NULL;
    Restore r = { 0 };
    Error *err = NULL;
    BlockBackend *blk;
    bool ok = false;
    int c;

    while ((c = tool_args_next(&args)) != TOOL_ARGS_END) {
        r.force |= c == KEY_FORCE;
    }
    if (args.stop) {
        return args.status;
    }
    header = read_file(args.positional[1], &err);
    blk = header ? open_header(&args, true, &err) : NULL;
    if (blk) {
        r.bs = blk_bs(blk);
        r.header = header;
        ok = tool_run_job(JOB_TYPE_KEYSLOT, restore_job, &r, args.progress && !args.json, &err);
        blk_co_unref(blk);
    }
    if (!ok) {
        error_report_err(err);
        return 1;
    }
    if (args.json) {
        print_json(&args, header);
    } else if (!args.quiet) {
        printf("Header of '%s' restored.\n", args.positional[0]);
    }
    if (!args.quiet) {
        warn_report("passwords that were removed since the backup was made work again");
    }
    return 0;
}

static const ToolOption backup_options[] = {
    TOOL_OPTION_FORCE_SHARE,
    TOOL_OPTION_FORMAT_OF("format of the image (default: luks)"),
    TOOL_OPTION_IMAGE_OPTS,
    TOOL_OPTION_HEADER,
    TOOL_OPTIONS_NO_KEY_FILE,
    TOOL_OPTION_OUTPUT,
    TOOL_OPTION_QUIET,
    { 0 }
};

static const ToolOption restore_options[] = {
    { 0, "force", NULL, "restore even if the backup does not match the image", KEY_FORCE },
    TOOL_OPTION_FORMAT_OF("format of the image (default: luks)"),
    TOOL_OPTION_IMAGE_OPTS,
    TOOL_OPTION_HEADER,
    TOOL_OPTIONS_NO_KEY_FILE,
    TOOL_OPTION_OUTPUT,
    TOOL_OPTION_PROGRESS,
    TOOL_OPTION_QUIET,
    { 0 }
};

static const ToolCommand header_backup = {
    .name = "header backup",
    .args = "FILE BACKUP",
    .min_args = 2,
    .max_args = 2,
    .summary = "save the header of an encrypted image to a new file",
    .description =
        "Without its header an image is lost, even if the password is known. BACKUP must not exist; only its owner\n"
        "can read it. A password that is removed later still works with the backup: destroy the backup, too.\n"
        "\n"
        "To detach the header, save it, erase it in the image, and open the image with --header BACKUP from then on.",
    .examples =
        "  qemu-img header backup disk.luks disk.luks-header\n"
        "  qemu-img erase disk.luks\n"
        "  qemu-img info --header disk.luks-header disk.luks",
    .options = backup_options,
    .run = backup_run,
};

static const ToolCommand header_restore = {
    .name = "header restore",
    .args = "FILE BACKUP",
    .min_args = 2,
    .max_args = 2,
    .summary = "restore the header of an encrypted image from a backup",
    .description =
        "Refused if the payload offset, key size or UUID of the backup differs from that of the image. Passwords\n"
        "that were removed since the backup was made work again.",
    .examples = "  qemu-img header restore disk.luks disk.luks-header",
    .options = restore_options,
    .run = restore_run,
};

static const ToolCommand *const header_commands[] = {
    &header_backup,
    &header_restore,
    NULL
};

const ToolCommand img_header = {
    .name = "header",
    .summary = "back up and restore the header of an encrypted image",
    .commands = header_commands,
};
