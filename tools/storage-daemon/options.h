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
    int status;                 /* exit status, if the program must exit */
} DaemonOptions;

/*
 * First pass over the command line: options that need no set-up, or must come first. Returns false if the program must
 * exit with @o->status: after help, or a reported error.
 */
bool daemon_options_parse(DaemonOptions *o, int argc, char **argv);

/* Second pass: set up what the options define, in the order given. Overwrites secrets in @argv. */
bool coroutine_fn daemon_options_apply(int argc, char **argv, Error **errp);

#endif
