/*
 * What tests of the file, host_device and raw drivers share
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef FILE_NODE_H
#define FILE_NODE_H

#include "block/block-backend.h"

/* Directory for the files of a test run; set by the program. */
extern char *test_dir;

char *path_of(const char *name);
/* Create a file of @bytes bytes with the value @byte. */
char *make_file(const char *name, size_t bytes, int byte);
/* Length in bytes; -1 if there is no such file. */
int64_t file_length(const char *path);

/* The output of the shell command @fmt, without the last newline; NULL if it failed. */
char *output_of(const char *fmt, ...) G_GNUC_PRINTF(1, 2);

/* Open a node with the options in @fmt. */
BlockBackend *coroutine_fn open_as(uint64_t perm, uint64_t shared, Error **errp, const char *fmt, ...)
    G_GNUC_PRINTF(4, 5);
#define open_all(...) open_as(BLK_PERM_ALL, BLK_PERM_ALL, &error_abort, __VA_ARGS__)
#define open_read(...) open_as(BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL, &error_abort, __VA_ARGS__)

/* Create a file with the file driver. */
bool coroutine_fn create_file(const char *path, uint64_t size, PreallocMode prealloc, Error **errp);

/* Check that *@err is set and contains @text; frees it. */
void assert_error(Error **err, const char *text);
/* Check that all bytes of the range read as @byte. */
void coroutine_fn assert_bytes(BlockBackend *blk, int64_t offset, int64_t bytes, int byte);
/*
 * Check that the block status of the whole range, at the same offset of its file, is @want: BDRV_BLOCK_DATA or
 * BDRV_BLOCK_ZERO.
 */
void coroutine_fn check_status(BlockBackend *blk, int64_t offset, int64_t bytes, int want);

#endif
