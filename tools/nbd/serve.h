/*
 * Serving an image, and listing the exports of a server
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TOOLS_NBD_SERVE_H
#define TOOLS_NBD_SERVE_H

#include <signal.h>

#include "tools/nbd/options.h"

/*
 * Block the signals that end nbd_serve() cleanly, and set *@set to them. Call this before threads are created, which
 * would receive them otherwise.
 */
void nbd_block_signals(sigset_t *set);

/*
 * Create the objects of @args, then export the image until a signal arrives or the last client disconnects; false with
 * @errp.
 */
bool coroutine_fn nbd_serve(const NbdOptions *o, ToolArgs *args, Error **errp);

/* Print the exports of the server at @o's address; false with @errp. */
bool coroutine_fn nbd_list(const NbdOptions *o, Error **errp);

#endif
