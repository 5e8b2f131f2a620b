/*
 * qemu-io: reads and writes parts of disk images, for testing and debugging
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "block/throttle-group.h"
#include "crypto/object.h"
#include "tools/common/command.h"
#include "tools/common/complete.h"
#include "tools/common/startup.h"
#include "tools/io/io.h"
#include "util/aio.h"
#include "util/thread-pool.h"

enum {
    KEY_VERSION = TOOL_KEY_OWN,
};

typedef struct IOMain {
    int argc;
    char **argv;
    int status;
    QemuIO io;
    GPtrArray *lines;           /* of -c */
} IOMain;

static void coroutine_fn run_line(IOMain *m, char *line)
{
    if (io_run_line(&m->io, line) < 0) {
        m->status = 1;
    }
    fflush(stdout);
}

typedef struct ReadLine {
    char *line;
    size_t size;
    ssize_t len;
} ReadLine;

/* Runs on a worker, so that requests can complete meanwhile. */
static int read_line(void *opaque)
{
    ReadLine *r = opaque;

    r->len = getline(&r->line, &r->size, stdin);
    return 0;
}

static void coroutine_fn run_interactive(IOMain *m)
{
    ReadLine r = { 0 };

    while (!m->io.quit) {
        printf("%s> ", g_get_prgname());
        fflush(stdout);
        thread_pool_submit_co(THREAD_POOL_IO, read_line, &r);
        if (r.len < 0) {
            break;
        }
        run_line(m, r.line);
    }
    free(r.line);
}

static const ToolOption options[] = {
    TOOL_OPTION_HEADER,
    TOOL_OPTIONS_KEY_FILE,
    TOOL_OPTION_OBJECT,
    { 0, "image-opts", NULL, "FILE is a list of options, such as driver=luks,file.filename=...",
      TOOL_KEY_IMAGE_OPTS },
    { 'c', "cmd", "COMMAND", "run a command and exit; may be repeated", 'c' },
    TOOL_OPTION_FORMAT,
    { 'r', "read-only", NULL, "open the image read-only", 'r' },
    { 'n', "nocache", NULL, "bypass the host's page cache; the same as -t none", 'n' },
    { 'm', "misalign", NULL, "misalign buffers for direct I/O", 'm' },
    { 'k', "native-aio", NULL, "the same as -i native", 'k' },
    { 'i', "aio", "AIO", "threads, native or io_uring", 'i' },
    { 't', "cache", "CACHE", "none, writeback (default), writethrough, directsync or unsafe", 't' },
    { 'd', "discard", "DISCARD", "unmap (default) or ignore", 'd' },
    TOOL_OPTION_FORCE_SHARE,
    { 'V', "version", NULL, "show the version", KEY_VERSION },
    { 0 }
};

static const ToolCommand program = {
    .args = "[FILE]",
    .max_args = -1,
    .summary = "read and write parts of disk images",
    .description =
        "Commands come from -c or standard input. 'qemu-io -c help' lists them, and 'qemu-io -c \"help read\"'\n"
        "explains one. The exit status is 1 if a command failed.",
    .examples =
        "  qemu-io -f raw -c 'write -P 0x11 0 64k' -c 'read -v 0 32' disk.img\n"
        "  qemu-io --key-file pw -c 'read -v 0 512' disk.luks\n"
        "  qemu-io --object secret,id=s0,file=pw --image-opts -c 'read -v 0 512' \\\n"
        "      driver=luks,key-secret=s0,file.filename=disk.luks",
    .options = options,
};

/* Handle one option; false if the program must exit, with the exit status set. */
static bool main_take_option(IOMain *m, ToolImage *image, int key, char *value)
{
    switch (key) {
    case 'c':
        g_ptr_array_add(m->lines, value);
        return true;
    case 'm':
        m->io.misalign = true;
        return true;
    case KEY_VERSION:
        tool_print_version();
        return false;
    default:
        if (!io_take_open_option(image, key, value)) {
            m->status = 1;
            return false;
        }
        return true;
    }
}

/* Handle the command line; false if the program must exit, with the exit status set. */
static bool coroutine_fn main_start(IOMain *m)
{
    g_auto(ToolArgs) args = { .cmd = &program, .argc = m->argc, .argv = m->argv };
    ToolImage image = { .writable = true, .discard = "unmap" };
    int c;

    while ((c = tool_args_next(&args)) != TOOL_ARGS_END) {
        if (!main_take_option(m, &image, c, args.value)) {
            return false;
        }
    }
    if (args.stop) {
        m->status = args.status;
        return false;
    }
    if (args.n_positional > 1) {
        tool_args_fail(&args, "Only one image can be opened");
        m->status = args.status;
        return false;
    }
    if (!args.n_positional) {
        return true;
    }
    image.name = args.positional[0];
    image.image_opts = args.image_opts;
    image.format = args.format;
    image.force_share = args.force_share;
    image.header = args.header;
    image.key_secret = args.key_secret;
    if (!io_open_image(&m->io, &image)) {
        m->status = 1;
        return false;
    }
    return true;
}

static void coroutine_fn io_co_main(void *opaque)
{
    IOMain *m = opaque;

    qemu_co_queue_init(&m->io.idle);
    if (!main_start(m)) {
        return;
    }
    for (guint i = 0; i < m->lines->len && !m->io.quit; i++) {
        run_line(m, m->lines->pdata[i]);
    }
    if (!m->lines->len) {
        run_interactive(m);
    }
    io_close_image(&m->io);
    if (m->io.failed) {
        m->status = 1;
    }
}

int main(int argc, char **argv)
{
    IOMain m = { .argc = argc, .argv = argv };

    tool_startup(argv[0], "qemu-io");
    if (tool_complete(&program, argc, argv)) {
        return 0;
    }
    throttle_group_register();

    m.lines = g_ptr_array_new();
    aio_context_run(io_co_main, &m);
    g_ptr_array_unref(m.lines);
    user_creatable_cleanup();
    thread_pool_cleanup();
    if (fflush(stdout) == EOF || ferror(stdout)) {
        error_report("Could not write to standard output: %s", g_strerror(errno));
        return 1;
    }
    return m.status;
}
