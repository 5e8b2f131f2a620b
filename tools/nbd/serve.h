/*
 * What qemu-nbd does
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TOOLS_NBD_SERVE_H
#define TOOLS_NBD_SERVE_H

#include <signal.h>

#include "tools/nbd/options.h"

/*
 * Block the signals in *@set, which end nbd_serve() in good order. To be called before there are threads, which
 * would get them otherwise.
 */
void nbd_block_signals(sigset_t *set);

/*
 * Make the objects of @args, then export the image until a signal, or the end of the last client, ends it; false with
 * @errp.
 */
bool coroutine_fn nbd_serve(const NbdOptions *o, ToolArgs *args, Error **errp);

/* Print what the server at the address exports; false with @errp. */
bool coroutine_fn nbd_list(const NbdOptions *o, Error **errp);

#endif
