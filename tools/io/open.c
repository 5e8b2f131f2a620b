/*
 * qemu-io open, close, reopen, and opening the image of the command line
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <getopt.h>

#include "qapi/qapi-types.h"
#include "tools/io/io.h"
#include "util/text.h"

/* Report that @value is not a value of @type; returns false. */
static bool report_bad_option(const char *option, const char *value, const QAPIType *type)
{
    g_autofree char *guess = text_did_you_mean(qapi_enum_nearest(type, value));

    error_report("Invalid %s option: %s%s", option, value, guess);
    return false;
}

bool io_take_open_option(ToolImage *image, int option, const char *value)
{
    g_autoptr(Error) err = NULL;
    bool unused;

    switch (option) {
    case 'r':
        image->writable = false;
        return true;
    case 'U':
        image->force_share = true;
        return true;
    case 'k':
        value = "native";
        /* FALLTHROUGH */
    case 'i':
        image->aio = value;
        if (qapi_enum_parse(&qapi_type_BlockdevAioOptions, value, -1, NULL) < 0) {
            return report_bad_option("aio", value, &qapi_type_BlockdevAioOptions);
        }
        return true;
    case 'n':
        value = "none";
        /* FALLTHROUGH */
    case 't':
        image->cache = value;
        if (!tool_parse_cache_mode(value, NULL, &unused, &err)) {
            return report_bad_option("cache", value, &qapi_type_ImgCacheMode);
        }
        return true;
    case 'd':
        image->discard = g_str_equal(value, "unmap") || g_str_equal(value, "on") ? "unmap" : NULL;
        if (!image->discard && !g_str_equal(value, "ignore") && !g_str_equal(value, "off")) {
            return report_bad_option("discard", value, &qapi_type_BlockdevDiscardOptions);
        }
        return true;
    default:
        g_assert_not_reached();
    }
}

static ToolImage tool_image_copy(const ToolImage *image)
{
    ToolImage copy = *image;

    copy.name = g_strdup(image->name);
    copy.format = g_strdup(image->format);
    copy.options = g_strdup(image->options);
    copy.cache = g_strdup(image->cache);
    copy.aio = g_strdup(image->aio);
    copy.header = g_strdup(image->header);
    copy.key_secret = g_strdup(image->key_secret);
    return copy;
}

static void tool_image_clear(ToolImage *image)
{
    g_free((char *)image->name);
    g_free((char *)image->format);
    g_free((char *)image->options);
    g_free((char *)image->cache);
    g_free((char *)image->aio);
    g_free((char *)image->header);
    g_free((char *)image->key_secret);
    *image = (ToolImage){ 0 };
}

bool coroutine_fn io_open_image(QemuIO *io, const ToolImage *image)
{
    ToolImage copy = tool_image_copy(image);
    g_autoptr(Error) err = NULL;

    if (io->blk) {
        error_report("file open already, try 'help close'");
        tool_image_clear(&copy);
        return false;
    }
    copy.perm = BLK_PERM_CONSISTENT_READ | (copy.writable ? BLK_PERM_WRITE : 0);
    copy.shared_perm = BLK_PERM_ALL;
    io->writethrough = false;
    if (!copy.cache || tool_parse_cache_mode(copy.cache, NULL, &io->writethrough, &err)) {
        io->blk = tool_image_open(&copy, &err);
    }
    if (!io->blk) {
        g_autofree char *shown = text_hide_secrets(copy.name ?: "");

        error_prepend(&err, "can't open device %s: ", shown);
        error_report_err(g_steal_pointer(&err));
        tool_image_clear(&copy);
        return false;
    }
    io->image = copy;
    io->perm = copy.perm;
    return true;
}

void coroutine_fn io_close_image(QemuIO *io)
{
    io_drain(io);
    if (io->blk && blk_co_flush(io->blk) < 0) {
        error_report("could not flush the image");
        io->failed = true;
    }
    blk_co_unref(io->blk);
    io->blk = NULL;
    tool_image_clear(&io->image);
}

static int coroutine_fn open_run(QemuIO *io, const IOCommand *cmd, int argc, char **argv)
{
    ToolImage image = { .writable = true, .discard = "unmap", .typed_command = true };
    int c;

    optind = 0;
    while ((c = getopt(argc, argv, "rnUki:t:d:o:")) != -1) {
        if (c == '?') {
            return io_usage(cmd);
        }
        if (c == 'o') {
            image.options = optarg;
        } else if (!io_take_open_option(&image, c, optarg)) {
            return -EINVAL;
        }
    }
    if (argc - optind > 1 || (argc == optind && !image.options)) {
        return io_usage(cmd);
    }
    image.name = argv[optind];
    return io_open_image(io, &image) ? 0 : -EINVAL;
}

static int coroutine_fn close_run(QemuIO *io, const IOCommand *cmd, int argc, char **argv)
{
    io_close_image(io);
    return 0;
}

/* Apply the arguments of reopen to @image; 0 or -errno. */
static int take_reopen_options(const IOCommand *cmd, ToolImage *image, int argc, char **argv)
{
    bool mode_given = false;
    int c;

    optind = 0;
    while ((c = getopt(argc, argv, "c:o:rw")) != -1) {
        switch (c) {
        case 'c':
            if (!io_take_open_option(image, 't', optarg)) {
                return -EINVAL;
            }
            break;
        case 'o':
            image->options = optarg;
            break;
        case 'r':
        case 'w':
            if (mode_given) {
                error_report("Only one -r/-w option may be given");
                return -EINVAL;
            }
            mode_given = true;
            image->writable = c == 'w';
            break;
        default:
            return io_usage(cmd);
        }
    }
    return optind == argc ? 0 : io_usage(cmd);
}

/* Close the image and open it again; if that fails, restore the old options. */
static int coroutine_fn reopen_run(QemuIO *io, const IOCommand *cmd, int argc, char **argv)
{
    ToolImage before = tool_image_copy(&io->image), wanted = before;
    g_autofree char *options = NULL;
    int ret = take_reopen_options(cmd, &wanted, argc, argv);

    if (ret == 0) {
        if (before.options && wanted.options != before.options) {
            options = g_strconcat(before.options, ",", wanted.options, NULL);
            wanted.options = options;
        }
        io_close_image(io);
        if (!io_open_image(io, &wanted)) {
            ret = -EINVAL;
            io_open_image(io, &before);
        }
    }
    tool_image_clear(&before);
    return ret;
}

const IOCommand io_open = {
    .name = "open",
    .letter = "o",
    .min_args = 1,
    .max_args = -1,
    .without_image = true,
    .args = "[-rnkU] [-i aio] [-t cache] [-d discard] [-o options] [path]",
    .summary = "open the file specified by path",
    .help =
        "Example: 'open -n -o driver=raw /tmp/data' opens raw data, bypassing the page cache.\n\n"
        " -r, -- open file read-only\n"
        " -n, -- disable host cache, short for -t none\n"
        " -U, -- open it even while another program writes to it; needs -r\n"
        " -k, -- short for -i native\n"
        " -i, -- use AIO mode (threads, native or io_uring)\n"
        " -t, -- use the given cache mode for the image\n"
        " -d, -- use the given discard mode for the image (unmap or ignore)\n"
        " -o, -- options of the node: driver=luks,key-secret=sec0",
    .run = open_run,
};

const IOCommand io_close = {
    .name = "close",
    .letter = "c",
    .args = "",
    .summary = "close the current open file",
    .run = close_run,
};

const IOCommand io_reopen = {
    .name = "reopen",
    .max_args = -1,
    .args = "[(-r|-w)] [-c cache] [-o options]",
    .summary = "reopens an image with new options",
    .help =
        " -r, -- reopen the image read-only\n"
        " -w, -- reopen the image read-write\n"
        " -c, -- change the cache mode\n"
        " -o, -- change options of the node",
    .run = reopen_run,
};
