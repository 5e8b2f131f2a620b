/*
 * main() of fuzz targets built without libFuzzer: runs files, and random mutations of them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "fuzz.h"

/* Change up to eight places: a bit, a byte, or four bytes of extreme numbers. */
static void mutate(GRand *rand, uint8_t *data, size_t size)
{
    static const uint8_t extremes[][4] = {
        { 0, 0, 0, 0 }, { 0, 0, 0, 1 }, { 0xff, 0xff, 0xff, 0xff }, { 0x7f, 0xff, 0xff, 0xff },
        { 0, 0, 1, 0 }, { 0, 0x7f, 0xff, 0xff },
    };

    for (int n = g_rand_int_range(rand, 1, 9); n > 0; n--) {
        size_t at = g_rand_int_range(rand, 0, size);

        switch (g_rand_int_range(rand, 0, 3)) {
        case 0:
            data[at] ^= 1 << g_rand_int_range(rand, 0, 8);
            break;
        case 1:
            data[at] = g_rand_int(rand);
            break;
        default:
            at = ROUND_DOWN(at, 4) + 2;     /* numbers are aligned, after two bytes of length */
            if (at + 4 <= size) {
                memcpy(data + at, extremes[g_rand_int_range(rand, 0, G_N_ELEMENTS(extremes))], 4);
            }
        }
    }
}

int main(int argc, char **argv)
{
    int mutations = 0;

    for (int i = 1; i < argc; i++) {
        g_autoptr(GRand) rand = g_rand_new_with_seed(i);
        g_autoptr(GError) err = NULL;
        g_autofree char *data = NULL;
        gsize size;

        if (sscanf(argv[i], "-mutate=%d", &mutations) == 1) {
            continue;
        }
        if (!g_file_get_contents(argv[i], &data, &size, &err)) {
            fprintf(stderr, "%s\n", err->message);
            return 1;
        }
        LLVMFuzzerTestOneInput((uint8_t *)data, size);
        for (int n = 0; n < mutations && size > 0; n++) {
            g_autofree uint8_t *copy = g_memdup2(data, size);

            mutate(rand, copy, size);
            LLVMFuzzerTestOneInput(copy, size);
        }
    }
    return 0;
}
