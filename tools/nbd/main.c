/*
 * qemu-nbd: serves a disk image over NBD
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <signal.h>

#include "block/throttle-group.h"
#include "crypto/object.h"
#include "tools/common/daemonize.h"
#include "tools/common/pidfile.h"
#include "tools/common/startup.h"
#include "tools/nbd/serve.h"
#include "util/aio.h"
#include "util/thread-pool.h"

typedef struct NbdMain {
    NbdOptions options;
    ToolArgs args;
    int status;
} NbdMain;

static void coroutine_fn nbd_co_main(void *opaque)
{
    NbdMain *m = opaque;
    Error *err = NULL;

    if (!(m->options.list ? tool_args_make_objects(&m->args, &err) && nbd_list(&m->options, &err)
          : nbd_serve(&m->options, &m->args, &err))) {
        error_report_err(err);
        m->status = 1;
    }
}

int main(int argc, char **argv)
{
    NbdMain m = { .args = { .argc = argc, .argv = argv } };
    Error *err = NULL;

    tool_startup(argv[0], "qemu-nbd");
    throttle_group_register();

    if (!nbd_options_parse(&m.options, &m.args)) {
        m.status = m.args.status;
    } else if ((m.options.fork && !daemonize_begin(&err)) || !pidfile_take(m.options.pid_file, &err)) {
        error_report_err(err);
        m.status = 1;
    } else {
        sigset_t set;

        if (!m.options.list) {
            nbd_block_signals(&set);
        }
        aio_context_run(nbd_co_main, &m);
        user_creatable_cleanup();
        thread_pool_cleanup();
    }
    nbd_options_clear(&m.options);
    tool_args_clear(&m.args);
    return m.status;
}
