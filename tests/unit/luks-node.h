/*
 * LUKS nodes over files in a scratch directory, for tests of the luks driver
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TESTS_LUKS_NODE_H
#define TESTS_LUKS_NODE_H

#include "block/block-backend.h"
#include "block/block_int.h"

/* Payload size of the test volumes. */
#define TEST_SIZE (4 * MiB)

/* Create the scratch directory and the secrets "pw0" to "pw9", with different passwords. */
void luks_node_init(int *argc, char ***argv);
/* Add a test whose body is a coroutine. */
void luks_node_add(const char *path, CoroutineEntry *entry);
/* Run the tests and remove what luks_node_init() created. Returns the program's exit status. */
int luks_node_run(void);

/* The path of @name in the scratch directory; caller frees. */
char *scratch_path(const char *name);

/* Create the file @name of @bytes, or overwrite it. */
void scratch_file(const char *name, int64_t bytes);
/* Read the file @name. */
GBytes *scratch_read(const char *name);
/* Write @bytes at @offset of the file @name. */
void scratch_write(const char *name, int64_t offset, const void *buf, size_t bytes);

/* Options for a file node on @name: "driver=file,filename=...", with @prefix before each key. */
char *file_options(const char *prefix, const char *name);

/* Create a LUKS volume of TEST_SIZE in the file @name, with password "pw0" and more @options. */
void coroutine_fn make_volume(const char *name, const char *options);

/*
 * Open the volume in the file @name with @options, and with the password "pw0" unless @flags ask for the metadata only.
 */
BlockDriverState *coroutine_fn open_volume(const char *name, const char *options, BdrvOpenFlags flags,
                                           Error **errp);

/* The same with a user that reads, writes and resizes, and shares everything. Fails the test on error. */
BlockBackend *coroutine_fn open_volume_blk(const char *name, const char *options);

/* Check that *@err is set and contains @text; frees it. */
void assert_error(Error **err, const char *text);

#endif
