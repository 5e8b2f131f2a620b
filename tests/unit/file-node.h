/*
 * What tests of the file, host_device and raw drivers share
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef FILE_NODE_H
#define FILE_NODE_H

#include "block/block-backend.h"

/* For the files of a test run; the program sets it. */
extern char *test_dir;

char *path_of(const char *name);
/* A new file of @bytes bytes, all of value @byte. */
char *make_file(const char *name, size_t bytes, int byte);
/* Bytes; -1: there is none. */
int64_t file_length(const char *path);

/* What @fmt prints, without the newline at its end; NULL: it failed. */
char *output_of(const char *fmt, ...) G_GNUC_PRINTF(1, 2);

/* Open what the options in @fmt say. */
BlockBackend *coroutine_fn open_as(uint64_t perm, uint64_t shared, Error **errp, const char *fmt, ...)
    G_GNUC_PRINTF(4, 5);
#define open_all(...) open_as(BLK_PERM_ALL, BLK_PERM_ALL, &error_abort, __VA_ARGS__)
#define open_read(...) open_as(BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL, &error_abort, __VA_ARGS__)

/* A file made by the file driver. */
bool coroutine_fn create_file(const char *path, uint64_t size, PreallocMode prealloc, Error **errp);

/* *@err is set and has @text in it; frees it. */
void assert_error(Error **err, const char *text);
/* All bytes of the range read as @byte. */
void coroutine_fn assert_bytes(BlockBackend *blk, int64_t offset, int64_t bytes, int byte);
/* All of the range, at the same offset of its file, is @want: BDRV_BLOCK_DATA or BDRV_BLOCK_ZERO. */
void coroutine_fn check_status(BlockBackend *blk, int64_t offset, int64_t bytes, int want);

#endif
