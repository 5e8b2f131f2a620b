/*
 * Measure the cost of a luks node above a null-co child: luks-bench [CREATE-OPTIONS]
 *
 *     luks-bench cipher-alg=aes-256
 *
 * Prints GB/s by request length, for reads, writes, and writes that own their buffer: per second of CPU time of all
 * threads, and of wall-clock time, which is only accurate on an idle machine.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <json-c/json.h>
#include <time.h>

#include "block/block-backend.h"
#include "crypto/object.h"
#include "qapi/json.h"
#include "qapi/keyval.h"
#include "qapi/qapi.h"
#include "util/aio.h"

#define RUN_SECONDS 0.1
#define MAX_BYTES (4 * MiB)

static char *header;

static double seconds(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void coroutine_fn create(const char *more)
{
    g_autofree char *text = g_strdup_printf("driver=luks,size=64M,key-secret=s0,iter-time=1,"
                                            "header.driver=file,header.filename=%s,%s", header, more);
    g_autoptr(json_object) json = keyval_parse(text, NULL, NULL, &error_abort);
    g_autoptr(BlockdevCreateOptions) options = QAPI_FROM_JSON(BlockdevCreateOptions, json,
                                                              QAPI_INPUT_KEYVAL, &error_abort);

    bdrv_create(options, NULL, &error_fatal);
}

static BlockBackend *coroutine_fn open_volume(void)
{
    g_autofree char *text = g_strdup_printf("driver=luks,key-secret=s0,header.driver=file,header.filename=%s,"
                                            "file.driver=null-co,file.size=1G", header);
    g_autoptr(json_object) options = keyval_parse(text, NULL, NULL, &error_abort);

    return blk_co_new_open("bench", NULL, options, 0, BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE,
                           BLK_PERM_ALL, &error_fatal);
}

static void coroutine_fn measure(BlockBackend *blk, void *buf, int64_t bytes, bool write,
                                 BdrvRequestFlags flags)
{
    double cpu = seconds(CLOCK_PROCESS_CPUTIME_ID), wall = seconds(CLOCK_MONOTONIC);
    int64_t done = 0;

    while (seconds(CLOCK_MONOTONIC) - wall < RUN_SECONDS) {
        int ret = write ? blk_co_pwrite(blk, 0, bytes, buf, flags) : blk_co_pread(blk, 0, bytes, buf);
        g_assert_cmpint(ret, ==, 0);
        done += bytes;
    }
    printf("  %6.2f %6.2f", done / 1e9 / (seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu),
           done / 1e9 / (seconds(CLOCK_MONOTONIC) - wall));
}

static void coroutine_fn bench_entry(void *opaque)
{
    create(opaque);
    BlockBackend *blk = open_volume();
    uint8_t *buf = qemu_blockalign(blk_bs(blk), MAX_BYTES);

    memset(buf, 1, MAX_BYTES);
    printf("     KiB  read: cpu clock  write: cpu clock  own: cpu clock\n");
    for (int64_t bytes = 4 * KiB; bytes <= MAX_BYTES; bytes *= 2) {
        printf("%8" PRId64, bytes / KiB);
        measure(blk, buf, bytes, false, 0);
        measure(blk, buf, bytes, true, 0);
        measure(blk, buf, bytes, true, BDRV_REQ_OWN_BUFFER);
        printf("\n");
    }
    qemu_vfree(buf);
    blk_co_unref(blk);
}

int main(int argc, char **argv)
{
    char secret[] = "secret,id=s0,data=bench";
    int fd = g_file_open_tmp("luks-bench-XXXXXX", &header, NULL);

    g_assert_cmpint(fd, >=, 0);
    close(fd);
    user_creatable_parse(secret, &error_abort);
    aio_context_run(bench_entry, argc > 1 ? argv[1] : (char *)"cipher-alg=aes-256");
    user_creatable_cleanup();
    unlink(header);
    g_free(header);
    return 0;
}
