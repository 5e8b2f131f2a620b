/*
 * qemu-img: creates, inspects, converts and encrypts disk images
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "block/block.h"
#include "block/throttle-group.h"
#include "crypto/object.h"
#include "tools/common/complete.h"
#include "tools/common/startup.h"
#include "tools/img/commands.h"
#include "util/aio.h"
#include "util/thread-pool.h"

static const ToolCommand *const commands[] = {
    &img_amend,
    &img_bench,
    &img_check,
    &img_compare,
    &img_convert,
    &img_create,
    &img_dd,
    &img_erase,
    &img_format,
    &img_header,
    &img_info,
    &img_keyslot,
    &img_map,
    &img_measure,
    &img_resize,
    NULL
};

/* Columns of the list of formats. */
#define FORMATS_WIDTH 76

static void print_driver(const BlockDriver *drv, void *opaque)
{
    const char *name = bdrv_get_driver_name(drv);
    size_t *column = opaque;

    if (*column + strlen(name) >= FORMATS_WIDTH) {
        printf("\n");
        *column = 0;
    }
    *column += printf(" %s", name);
}

/* The last lines, in QEMU's format: programs look for formats there. */
static void print_formats(void)
{
    size_t column = 0;

    printf("\nSupported image formats:\n");
    bdrv_iterate_drivers(print_driver, &column);
    printf("\n");
}

static const ToolCommand program = {
    .summary = "create, inspect, convert and encrypt disk images",
    .description =
        "Sizes are in bytes, or take a suffix: k, M, G, T, P and E are powers of 1024. "
        "FILE is a filename, nbd://..., iscsi://..., rbd:..., json:{...}, or with --image-opts the options of a node. "
        "OBJDEF defines an object that options name by its ID, such as a secret with a password.",
    .commands = commands,
    .print_more_help = print_formats,
};

typedef struct ImgMain {
    int argc;
    char **argv;
    int status;
} ImgMain;

static void coroutine_fn img_co_main(void *opaque)
{
    ImgMain *m = opaque;

    m->status = tool_command_run(&program, m->argc - 1, m->argv + 1);
}

/* Fail if output could not be written: it may be a disk image, or input of a script. */
static int finish_stdout(int status)
{
    if (fflush(stdout) == EOF || ferror(stdout)) {
        error_report("Could not write to standard output: %s", g_strerror(errno));
        return status ? status : 1;
    }
    return status;
}

int main(int argc, char **argv)
{
    ImgMain m = { .argc = argc, .argv = argv };

    tool_startup(argv[0], "qemu-img");
    if (tool_complete(&program, argc, argv)) {
        return finish_stdout(0);
    }
    throttle_group_register();

    if (argc > 1 && (g_str_equal(argv[1], "--version") || g_str_equal(argv[1], "-V"))) {
        tool_print_version();
        return finish_stdout(0);
    }
    aio_context_run(img_co_main, &m);
    user_creatable_cleanup();
    thread_pool_cleanup();
    return finish_stdout(m.status);
}
