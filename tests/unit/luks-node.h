/*
 * LUKS nodes over files in a scratch directory, for tests of the luks driver
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TESTS_LUKS_NODE_H
#define TESTS_LUKS_NODE_H

#include "block/block-backend.h"
#include "block/block_int.h"

/* The payload of the volumes that tests make. */
#define TEST_SIZE (4 * MiB)

/* Make the scratch directory and the secrets "pw0" to "pw9", whose passwords are different. */
void luks_node_init(int *argc, char ***argv);
/* A test whose body is a coroutine. */
void luks_node_add(const char *path, CoroutineEntry *entry);
/* Run the tests and remove what luks_node_init() made; the program's exit status. */
int luks_node_run(void);

/* The path of @name in the scratch directory; caller frees. */
char *scratch_path(const char *name);

/* Make the file @name of @bytes, overwriting what was there. */
void scratch_file(const char *name, int64_t bytes);
/* All of the file @name. */
GBytes *scratch_read(const char *name);
/* Change @bytes at @offset of the file @name. */
void scratch_write(const char *name, int64_t offset, const void *buf, size_t bytes);

/* Options of a node of driver file over @name: "driver=file,filename=...", with @prefix before each key. */
char *file_options(const char *prefix, const char *name);

/* A LUKS volume of TEST_SIZE in the file @name, opened by "pw0"; more @options may follow. */
void coroutine_fn make_volume(const char *name, const char *options);

/*
 * Open the volume in the file @name, with the password "pw0" unless @flags are those of metadata alone, and
 * @options.
 */
BlockDriverState *coroutine_fn open_volume(const char *name, const char *options, BdrvOpenFlags flags,
                                           Error **errp);

/* The same, held by a user that reads, writes and resizes, and shares everything; fails the test on error. */
BlockBackend *coroutine_fn open_volume_blk(const char *name, const char *options);

/* Check that @err is set and says @text somewhere; frees it. */
void assert_error(Error **err, const char *text);

#endif
