/*
 * What every fuzz target defines, and libFuzzer or fuzz-main.c calls
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* Run the target on @size bytes at @data; returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
