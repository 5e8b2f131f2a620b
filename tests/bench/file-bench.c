/*
 * Measure the speed of the file driver: file-bench [read|write] OPTIONS BYTES DEPTH
 *
 *     file-bench read driver=file,filename=/tmp/x,aio=threads 4096 32
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "block/block-backend.h"
#include "qapi/keyval.h"
#include "util/aio.h"

#define RUN_NS (NANOSECONDS_PER_SECOND)

typedef struct Bench {
    BlockBackend *blk;
    bool write;
    int64_t bytes;
    int64_t end_ns;
    int64_t done;
    int running;
} Bench;

static Bench bench;
static const char *options_text;
static int depth;

static void coroutine_fn worker(void *opaque)
{
    int64_t blocks = blk_getlength(bench.blk) / bench.bytes;
    void *buf = qemu_blockalign(blk_bs(bench.blk), bench.bytes);

    memset(buf, 1, bench.bytes);
    while (qemu_clock_get_ns() < bench.end_ns) {
        int64_t offset = (random() % blocks) * bench.bytes;
        int ret = bench.write ? blk_co_pwrite(bench.blk, offset, bench.bytes, buf, 0)
                              : blk_co_pread(bench.blk, offset, bench.bytes, buf);
        g_assert_cmpint(ret, ==, 0);
        bench.done++;
    }
    qemu_vfree(buf);
    bench.running--;
}

static void coroutine_fn bench_entry(void *opaque)
{
    g_autoptr(json_object) options = keyval_parse(options_text, NULL, NULL, &error_abort);
    uint64_t perm = BLK_PERM_CONSISTENT_READ | (bench.write ? BLK_PERM_WRITE : 0);

    bench.blk = blk_co_new_open("bench", NULL, options, 0, perm, BLK_PERM_ALL, &error_fatal);
    int64_t start = qemu_clock_get_ns();
    bench.end_ns = start + RUN_NS;
    bench.running = depth;
    for (int i = 0; i < depth; i++) {
        qemu_coroutine_enter(qemu_coroutine_create(worker, NULL));
    }
    while (bench.running) {
        co_sleep_ns(SCALE_MS);
    }
    double seconds = (qemu_clock_get_ns() - start) / 1e9;
    printf("%-60s %8" PRId64 " bytes x %3d: %9.0f/s %8.1f MB/s\n", options_text, bench.bytes, depth,
           bench.done / seconds, bench.done * bench.bytes / seconds / 1e6);
    blk_co_unref(bench.blk);
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: %s read|write OPTIONS BYTES DEPTH\n", argv[0]);
        return 1;
    }
    bench.write = !strcmp(argv[1], "write");
    options_text = argv[2];
    bench.bytes = g_ascii_strtoll(argv[3], NULL, 10);
    depth = g_ascii_strtoll(argv[4], NULL, 10);
    aio_context_run(bench_entry, NULL);
    return 0;
}
