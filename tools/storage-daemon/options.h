/*
 * The command line of qemu-storage-daemon
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef STORAGE_DAEMON_OPTIONS_H
#define STORAGE_DAEMON_OPTIONS_H

#include "util/coroutine.h"
#include "util/error.h"

typedef struct DaemonOptions {
    bool daemonize;
    const char *pidfile;        /* points into argv; NULL: none */
    int status;                 /* where the program is to end: its exit status */
} DaemonOptions;

/*
 * First look at the command line: what needs no set-up, or must come first. Returns false where that is all, with
 * @o->status: after help, or an error that was reported.
 */
bool daemon_options_parse(DaemonOptions *o, int argc, char **argv);

/* Second look: set up what the options define, in their order. Secrets in @argv are overwritten. */
bool coroutine_fn daemon_options_apply(int argc, char **argv, Error **errp);

#endif
