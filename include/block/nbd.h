/*
 * The NBD server: listens for clients, and serves the exports of type nbd
 *
 *     if (!nbd_server_start(options, errp)) {
 *         return false;
 *     }
 *     blk_exp_add(export_options, errp);          // of type nbd, now or later
 *     ...
 *     nbd_server_stop();
 *
 * There is one server in a program. Clients choose their export by name in a handshake on the main loop, for which
 * their time is limited. Then they are served in the loop of the export. Requests of a client run concurrently, up to a
 * certain number and amount of memory.
 *
 * Source: https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_NBD_H
#define BLOCK_NBD_H

#include "block/block-common.h"

/* Start listening. False with @errp, for example if there is a server already. */
bool coroutine_fn nbd_server_start(const NbdServerOptions *options, Error **errp);

bool nbd_server_is_running(void);

/*
 * Fail if @bs, or a node below it, is a client of our own server, and reads and writes @other, or a node above or below
 * it. An address that reaches us by detours may not be recognised.
 */
bool coroutine_fn nbd_server_check_no_loop(BlockDriverState *bs, BlockDriverState *other, Error **errp);

/* Stop listening, delete all exports of type nbd and wait until their clients are gone. */
void coroutine_fn nbd_server_stop(void);

/*
 * Set the function that is called when a client is gone. @served: it had chosen an export. @remaining: number of
 * clients left, including those in their handshake.
 */
void nbd_server_set_client_hook(void (*hook)(bool served, unsigned remaining));

#endif
