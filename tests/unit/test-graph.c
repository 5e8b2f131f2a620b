/*
 * A graph that changes while it is in use: draining, replacing, permissions, depth, lengths
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <json-c/json.h>

#include "block/block-backend.h"
#include "block/graph/graph_int.h"
#include "memory-driver.h"
#include "qapi/keyval.h"
#include "qapi/qapi.h"

#define SIZE 65536

static BlockDriverState *coroutine_fn open_node(const char *options)
{
    g_autoptr(json_object) json = keyval_parse(options, NULL, NULL, &error_abort);

    return bdrv_co_open(NULL, json, 0, &error_abort);
}

static BlockDriverState *coroutine_fn open_above(const char *name, const char *file)
{
    g_autofree char *options = g_strdup_printf("driver=raw,node-name=%s,file=%s", name, file);

    return open_node(options);
}

static BlockBackend *use(const char *name, BlockDriverState *bs, uint64_t perm, uint64_t shared)
{
    BlockBackend *blk = blk_new(name, perm, shared);

    g_assert_true(blk_insert_bs(blk, bs, &error_abort));
    return blk;
}

static void assert_error(Error **err, const char *part)
{
    g_assert_nonnull(*err);
    if (!strstr(error_get_pretty(*err), part)) {
        g_error("'%s' lacks '%s'", error_get_pretty(*err), part);
    }
    error_free(*err);
    *err = NULL;
}

/* Reads one block after the other until it is stopped. */
typedef struct Reader {
    BlockBackend *blk;
    bool stop;
    bool stopped;
    int done;
} Reader;

static void coroutine_fn reader_entry(void *opaque)
{
    Reader *r = opaque;
    uint8_t buf[512];

    while (!r->stop) {
        g_assert_cmpint(blk_co_pread(r->blk, 0, sizeof(buf), buf), ==, 0);
        r->done++;
    }
    r->stopped = true;
}

static void reader_start(Reader *r, BlockBackend *blk)
{
    *r = (Reader){ .blk = blk };
    aio_co_start(qemu_get_aio_context(), reader_entry, r);
}

static void coroutine_fn reader_stop(Reader *r)
{
    r->stop = true;
    while (!r->stopped) {
        co_sleep_ns(SCALE_MS);
    }
}

static void coroutine_fn reader_wait_for(Reader *r, int more)
{
    for (int target = r->done + more; r->done < target;) {
        co_sleep_ns(SCALE_MS);
    }
}

/* A drained section of one of two nodes above a third waits for its own requests, but not for those of the other. */
static void coroutine_fn drain_shared_entry(void *opaque)
{
    BlockDriverState *n = open_node("driver=null-co,node-name=n,size=65536");
    BlockDriverState *a = open_above("a", "n"), *b = open_above("b", "n");
    BlockBackend *blk = use("reader", b, BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL);
    Reader readers[4];

    for (int i = 0; i < 4; i++) {
        reader_start(&readers[i], blk);
        /* So that one is always in flight. */
        co_sleep_ns(SCALE_MS / 4);
    }
    reader_wait_for(&readers[0], 2);
    bdrv_co_drained_begin(a);
    g_assert_cmpint(n->in_flight, >, 0);
    reader_wait_for(&readers[3], 5);
    bdrv_co_drained_end(a);
    for (int i = 0; i < 4; i++) {
        reader_stop(&readers[i]);
    }
    blk_co_unref(blk);
    bdrv_co_unref(b);
    bdrv_co_unref(a);
    bdrv_co_unref(n);
}

/* Requests in flight below the drained node are waited for. */
static void coroutine_fn drain_below_entry(void *opaque)
{
    BlockDriverState *n = open_node("driver=null-co,node-name=n,size=65536");
    BlockDriverState *a = open_above("a", "n");
    BlockBackend *blk = use("reader", a, BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL);
    Reader reader;

    reader_start(&reader, blk);
    reader_wait_for(&reader, 2);
    bdrv_co_drained_begin(a);
    g_assert_cmpint(((MemoryState *)n->opaque)->busy, ==, 0);
    int done = reader.done;
    co_sleep_ns(10 * SCALE_MS);
    g_assert_cmpint(reader.done, ==, done);
    bdrv_co_drained_end(a);
    reader_wait_for(&reader, 2);
    reader_stop(&reader);
    blk_co_unref(blk);
    bdrv_co_unref(a);
    bdrv_co_unref(n);
}

/* Insert a filter above a node in use, and remove it. */
static void coroutine_fn filter_entry(void *opaque)
{
    BlockDriverState *n = open_node("driver=null-co,node-name=n,size=65536");
    BlockBackend *export = use("export", n, BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL);
    BlockBackend *job = use("job", n, BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL);
    Reader reader;

    blk_set_follow(export);
    reader_start(&reader, export);
    for (int i = 0; i < 5; i++) {
        reader_wait_for(&reader, 2);
        BlockDriverState *filter = open_above("filter", "n");

        g_assert_true(bdrv_co_replace_node(n, filter, &error_abort));
        g_assert_true(blk_bs(export) == filter && blk_bs(job) == n);
        g_assert_cmpuint(filter->file->perm, ==, BLK_PERM_CONSISTENT_READ);
        g_assert_cmpint(filter->refcnt, ==, 2);
        reader_wait_for(&reader, 2);
        g_assert_true(bdrv_co_replace_node(filter, n, &error_abort));
        g_assert_true(blk_bs(export) == n);
        g_assert_cmpint(filter->refcnt, ==, 1);
        bdrv_co_unref(filter);
    }
    reader_stop(&reader);
    g_assert_cmpint(n->refcnt, ==, 3);
    blk_co_unref(job);
    blk_co_unref(export);
    bdrv_co_unref(n);
}

/* A conflict on one edge undoes the change of the others. */
static void coroutine_fn replace_conflict_entry(void *opaque)
{
    BlockDriverState *n = open_node("driver=null-co,node-name=n,size=65536");
    BlockDriverState *ro = open_node("driver=null-co,node-name=ro,size=65536,read-only=on");
    BlockDriverState *above = open_node("driver=raw,node-name=above,file=n");
    BlockBackend *reader = use("reader", n, BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL);
    BlockBackend *writer = use("the writer", above, BLK_PERM_WRITE, BLK_PERM_ALL);
    Error *err = NULL;
    uint8_t byte = 1;

    blk_set_follow(reader);
    g_assert_false(bdrv_co_replace_node(n, ro, &err));
    assert_error(&err, "node 'above' needs permission 'write'");
    g_assert_true(blk_bs(reader) == n && above->file->bs == n);
    g_assert_cmpuint(n->parents->len, ==, 2);
    g_assert_cmpuint(ro->parents->len, ==, 0);
    g_assert_cmpint(n->refcnt, ==, 3);
    g_assert_cmpint(ro->refcnt, ==, 1);
    g_assert_cmpint(n->quiesce_counter + ro->quiesce_counter + above->quiesce_counter, ==, 0);

    g_assert_false(bdrv_co_replace_child(above->file, ro, &err));
    assert_error(&err, "read-only");
    g_assert_false(bdrv_co_replace_child(above->file, above, &err));
    assert_error(&err, "cycle");
    g_assert_true(above->file->bs == n);
    g_assert_cmpint(blk_co_pwrite(writer, 0, 1, &byte, 0), ==, 0);

    BlockDriverState *other = open_node("driver=null-co,node-name=other,size=4096");
    g_assert_true(bdrv_co_replace_child(above->file, other, &error_abort));
    g_assert_true(above->file->bs == other);
    g_assert_cmpint(blk_getlength(writer), ==, 4096);
    g_assert_cmpuint(above->file->perm, ==, BLK_PERM_WRITE);
    blk_co_unref(writer);
    blk_co_unref(reader);
    bdrv_co_unref(above);
    bdrv_co_unref(other);
    bdrv_co_unref(ro);
    bdrv_co_unref(n);
}

/* A node that is drained by another user: a parent that moves there stops, and one that leaves it resumes. */
static void coroutine_fn replace_drained_entry(void *opaque)
{
    BlockDriverState *n = open_node("driver=null-co,node-name=n,size=65536");
    BlockDriverState *m = open_node("driver=null-co,node-name=m,size=65536");
    BlockBackend *blk = use("reader", n, BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL);
    Reader reader;

    blk_set_follow(blk);
    reader_start(&reader, blk);
    reader_wait_for(&reader, 1);
    bdrv_co_drained_begin(m);
    g_assert_true(bdrv_co_replace_node(n, m, &error_abort));
    int done = reader.done;
    co_sleep_ns(10 * SCALE_MS);
    g_assert_cmpint(reader.done, ==, done);
    g_assert_true(bdrv_co_replace_node(m, n, &error_abort));
    reader_wait_for(&reader, 2);
    bdrv_co_drained_end(m);
    reader_stop(&reader);
    blk_co_unref(blk);
    bdrv_co_unref(m);
    bdrv_co_unref(n);
}

/* A stack of the maximum depth serves a request; a deeper one is refused. */
static void coroutine_fn depth_entry(void *opaque)
{
    BlockDriverState *nodes[BDRV_MAX_DEPTH + 1] = { open_node("driver=null-co,node-name=n0,size=65536") };
    Error *err = NULL;
    uint8_t byte;

    for (int i = 1; i <= BDRV_MAX_DEPTH; i++) {
        g_autofree char *name = g_strdup_printf("n%d", i);
        nodes[i] = open_above(name, nodes[i - 1]->node_name);
    }
    BlockBackend *blk = use("reader", nodes[BDRV_MAX_DEPTH], BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE, BLK_PERM_ALL);
    g_assert_cmpint(blk_co_pread(blk, 0, 1, &byte), ==, 0);
    g_assert_cmpint(blk_co_pwrite(blk, 0, 1, &byte, BDRV_REQ_FUA), ==, 0);
    g_assert_cmpint(blk_co_flush(blk), ==, 0);
    bdrv_co_drained_begin(nodes[0]);
    bdrv_co_drained_end(nodes[0]);

    g_autofree char *options = g_strdup_printf("driver=raw,file=n%d", BDRV_MAX_DEPTH);
    g_autoptr(json_object) json = keyval_parse(options, NULL, NULL, &error_abort);
    g_assert_null(bdrv_co_open(NULL, json, 0, &err));
    assert_error(&err, "more than 100 nodes would be stacked");

    /* The same for nodes inserted at the bottom. */
    BlockDriverState *m = open_node("driver=null-co,node-name=m0,size=65536"), *m1 = open_above("m1", "m0");
    g_assert_true(bdrv_co_replace_child(nodes[1]->file, m, &error_abort));
    g_assert_false(bdrv_co_replace_child(nodes[1]->file, m1, &err));
    assert_error(&err, "more than 100 nodes would be stacked");
    blk_co_unref(blk);
    for (int i = BDRV_MAX_DEPTH; i >= 0; i--) {
        bdrv_co_unref(nodes[i]);
    }
    bdrv_co_unref(m1);
    bdrv_co_unref(m);
}

/* 2^60 paths, 61 nodes. */
static void coroutine_fn ladder_entry(void *opaque)
{
    BlockDriverState *nodes[61] = { open_node("driver=null-co,node-name=n0,size=65536") };

    for (int i = 1; i <= 60; i++) {
        g_autofree char *name = g_strdup_printf("n%d", i);
        nodes[i] = open_above(name, nodes[i - 1]->node_name);
        g_assert_nonnull(bdrv_attach_child(&child_of_bds, nodes[i], nodes[i - 1], "backing", BDRV_CHILD_COW,
                                           0, BLK_PERM_ALL, &error_abort));
    }
    BlockBackend *blk = use("reader", nodes[60], BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL);
    bdrv_co_drained_begin(nodes[0]);
    g_assert_cmpint(nodes[60]->quiesce_counter, ==, 2);
    bdrv_co_drained_end(nodes[0]);
    g_assert_cmpint(nodes[60]->quiesce_counter, ==, 0);
    bdrv_co_resized(nodes[0]);
    blk_co_unref(blk);
    for (int i = 60; i >= 0; i--) {
        bdrv_co_unref(nodes[i]);
    }
}

/* All users above a resized node see its new length, no matter who resized it. */
static void coroutine_fn resize_entry(void *opaque)
{
    BlockDriverState *n = open_node("driver=null-co,node-name=n,size=65536");
    BlockDriverState *a = open_above("a", "n"), *b = open_above("b", "a");
    BlockBackend *reader = use("reader", b, BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL);
    BlockBackend *resizer = use("resizer", n, BLK_PERM_RESIZE, BLK_PERM_ALL);

    g_assert_true(blk_co_truncate(resizer, 3 * SIZE, true, PREALLOC_MODE_OFF, NULL, &error_abort));
    g_assert_cmpint(bdrv_getlength(a), ==, 3 * SIZE);
    g_assert_cmpint(blk_co_getlength(reader), ==, 3 * SIZE);
    blk_co_unref(resizer);
    blk_co_unref(reader);
    bdrv_co_unref(b);
    bdrv_co_unref(a);
    bdrv_co_unref(n);
}

/* A backing file is found by its name, is only read, and allows writers if our users do. */
static void coroutine_fn backing_entry(void *opaque)
{
    BlockDriverState *n = open_node("driver=null-co,node-name=n,size=65536");
    BlockDriverState *base = open_node("driver=null-co,node-name=base,size=65536");
    BlockDriverState *top = open_above("top", "n");
    BdrvChild *backing = bdrv_attach_child(&child_of_bds, top, base, "backing", BDRV_CHILD_COW, 0, BLK_PERM_ALL,
                                           &error_abort);
    Error *err = NULL;

    g_assert_true(top->backing == backing);
    BlockBackend *blk = use("guest", top, BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE, BLK_PERM_CONSISTENT_READ);
    g_assert_cmpuint(backing->perm, ==, BLK_PERM_CONSISTENT_READ);
    g_assert_cmpuint(backing->shared_perm, ==, BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE_UNCHANGED);
    BlockBackend *writer = blk_new("writer", BLK_PERM_WRITE, BLK_PERM_ALL);
    g_assert_false(blk_insert_bs(writer, base, &err));
    assert_error(&err, "node 'top' does not allow");
    g_assert_true(blk_set_perm(blk, BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL, &error_abort));
    g_assert_true(blk_insert_bs(writer, base, &error_abort));
    blk_co_unref(writer);
    blk_co_unref(blk);
    bdrv_co_unref(top);
    bdrv_co_unref(base);
    bdrv_co_unref(n);
}

/* If one of several nodes cannot become inactive, none does. */
static void coroutine_fn inactive_entry(void *opaque)
{
    BlockDriverState *n = open_node("driver=null-co,node-name=n,size=65536");
    BlockDriverState *a = open_above("a", "n");
    BlockDriverState *m = open_node("driver=null-co,node-name=m,size=65536");
    BlockBackend *blk = use("export 'e'", n, BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL);
    GPtrArray *nodes = bdrv_get_nodes();
    Error *err = NULL;

    g_assert_false(bdrv_co_set_active(nodes, false, &err));
    assert_error(&err, "in use by export 'e'");
    g_assert_false(n->inactive || a->inactive || m->inactive);
    blk_co_unref(blk);
    g_assert_true(bdrv_co_set_active(nodes, false, &error_abort));
    g_assert_true(n->inactive && a->inactive && m->inactive);
    g_assert_true(bdrv_co_set_active(nodes, true, &error_abort));
    g_assert_false(n->inactive || a->inactive || m->inactive);
    bdrv_co_put_nodes(nodes);
    bdrv_co_unref(m);
    bdrv_co_unref(a);
    bdrv_co_unref(n);
}

static void coroutine_fn write_and_leave(void *opaque)
{
    BlockBackend *blk = opaque;
    uint8_t byte = 1;

    g_assert_cmpint(blk_co_pwrite(blk, 0, 1, &byte, 0), ==, 0);
    blk_co_unref(blk);
}

/* Writes made while a node is about to become inactive are flushed first. */
static void coroutine_fn inactive_flush_entry(void *opaque)
{
    BlockDriverState *n = open_node("driver=null-co,node-name=n,size=65536");
    MemoryState *s = n->opaque;
    GPtrArray *nodes = bdrv_get_nodes();

    aio_co_start(qemu_get_aio_context(), write_and_leave, use("writer", n, BLK_PERM_WRITE, BLK_PERM_ALL));
    while (!s->busy) {
        co_sleep_ns(SCALE_MS / 10);
    }
    g_assert_true(bdrv_co_set_active(nodes, false, &error_abort));
    g_assert_cmpint(s->data[0], ==, 1);
    g_assert_cmpint(s->flushes, ==, 1);
    g_assert_cmpuint(n->flushed_gen, ==, n->write_gen);
    bdrv_co_put_nodes(nodes);
    bdrv_co_unref(n);
}

typedef struct ReopenTwo {
    const char *first;
    const char *second;
    int *pending;
} ReopenTwo;

static void coroutine_fn reopen_two_entry(void *opaque)
{
    ReopenTwo *r = opaque;
    g_autoptr(BlockdevOptionsList) list = NULL;
    const char *names[] = { r->first, r->second };

    for (int i = 0; i < 2; i++) {
        BlockdevOptions *o = QAPI_CLONE(BlockdevOptions, bdrv_find_node(names[i])->options);

        o->has_discard = true;
        o->discard = BLOCKDEV_DISCARD_OPTIONS_UNMAP;
        QAPI_LIST_APPEND(list, o);
    }
    g_assert_true(bdrv_co_reopen(list, &error_abort));
    --*r->pending;
}

/* Operations on the same nodes, named in a different order, take turns. */
static void coroutine_fn claim_entry(void *opaque)
{
    BlockDriverState *n = open_node("driver=null-co,node-name=n,size=65536");
    BlockDriverState *m = open_node("driver=null-co,node-name=m,size=65536");
    BlockBackend *blk = use("reader", n, BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL);
    BlockBackend *resizer = use("resizer", m, BLK_PERM_RESIZE, BLK_PERM_ALL);
    int pending = 2;
    ReopenTwo a = { "n", "m", &pending }, b = { "m", "n", &pending };
    Reader reader;

    reader_start(&reader, blk);
    reader_wait_for(&reader, 1);
    aio_co_start(qemu_get_aio_context(), reopen_two_entry, &a);
    aio_co_start(qemu_get_aio_context(), reopen_two_entry, &b);
    g_assert_true(blk_co_truncate(resizer, SIZE / 2, true, PREALLOC_MODE_OFF, NULL, &error_abort));
    while (pending) {
        co_sleep_ns(SCALE_MS);
    }
    g_assert_true(n->discard_unmap && m->discard_unmap);
    g_assert_true(!n->claimed_by && !m->claimed_by);
    reader_stop(&reader);
    blk_co_unref(resizer);
    blk_co_unref(blk);
    bdrv_co_unref(m);
    bdrv_co_unref(n);
}

static void run(gconstpointer entry)
{
    memory_latency_ns = SCALE_MS;
    aio_context_run((CoroutineEntry *)entry, NULL);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/graph/drain/shared", drain_shared_entry, run);
    g_test_add_data_func("/graph/drain/below", drain_below_entry, run);
    g_test_add_data_func("/graph/replace/filter", filter_entry, run);
    g_test_add_data_func("/graph/replace/conflict", replace_conflict_entry, run);
    g_test_add_data_func("/graph/replace/drained", replace_drained_entry, run);
    g_test_add_data_func("/graph/depth", depth_entry, run);
    g_test_add_data_func("/graph/ladder", ladder_entry, run);
    g_test_add_data_func("/graph/resize", resize_entry, run);
    g_test_add_data_func("/graph/backing", backing_entry, run);
    g_test_add_data_func("/graph/inactive", inactive_entry, run);
    g_test_add_data_func("/graph/inactive-flush", inactive_flush_entry, run);
    g_test_add_data_func("/graph/claim", claim_entry, run);
    return g_test_run();
}
