/*
 * The function that each fuzz target defines, called by libFuzzer or fuzz-main.c
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
