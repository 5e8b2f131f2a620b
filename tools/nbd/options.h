/*
 * The command line of qemu-nbd
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TOOLS_NBD_OPTIONS_H
#define TOOLS_NBD_OPTIONS_H

#include "qapi/qapi-types.h"
#include "tools/common/command.h"

typedef struct NbdOptions {
    const char *image;              /* a filename or, with image_opts, options; NULL with list */
    bool image_opts;
    const char *format;             /* NULL: probed */
    const char *cache;              /* mode; NULL: writeback */
    const char *aio;
    const char *discard;
    const char *detect_zeroes;
    bool read_only;
    bool has_offset;
    uint64_t offset;                /* bytes */

    const char *export_name;
    const char *description;
    bool allocation_depth;
    bool persistent;                /* keep running when the last client disconnects */
    bool list;                      /* be a client, and list the exports of a server */
    bool verbose;
    bool fork;
    const char *pid_file;
    const char *tls_hostname;
    NbdServerOptions *server;       /* with list, its address is that of the server */
} NbdOptions;

/*
 * Parse the command line, without creating objects. Returns false if the program must exit with @args->status: after
 * help, or a reported error.
 */
bool nbd_options_parse(NbdOptions *o, ToolArgs *args);

void nbd_options_clear(NbdOptions *o);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(NbdOptions, nbd_options_clear)

#endif
