/*
 * The options of qemu-storage-daemon that define something, in the order in which they are given
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef STORAGE_DAEMON_OPTIONS_H
#define STORAGE_DAEMON_OPTIONS_H

#include "util/coroutine.h"
#include "util/error.h"

typedef struct DaemonOption {
    const char *name;
    const char *arg;            /* what its value is called */
    const char *help;           /* lines */
    /* Do what the option says. @arg is the program's own and may be overwritten. */
    bool coroutine_fn (*apply)(char *arg, Error **errp);
    /* Whether @arg asks for help, which was then printed. */
    bool (*is_help)(const char *arg);
} DaemonOption;

/* Up to one without a name. */
extern const DaemonOption daemon_options[];

#endif
