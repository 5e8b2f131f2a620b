/*
 * Targets of copies: what they inherit of their source, and what is refused before anything is written
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <sys/stat.h>

#include "block/copy-target.h"
#include "block/job.h"
#include "luks-node.h"
#include "qapi/qapi.h"
#include "util/aio.h"

#define SERPENT ",cipher-alg=serpent-128,cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha256,hash-alg=sha1"

static const TargetCreateOptions fast = { .has_iter_time = true, .iter_time = 1 };

static bool exists(const char *name)
{
    g_autofree char *path = scratch_path(name);

    return access(path, F_OK) == 0;
}

/* A target in the file @name; NULL with @errp. */
static CopyTarget *coroutine_fn new_target(CopyTargetOptions o, const char *name, Error **errp)
{
    g_autofree char *path = scratch_path(name);

    o.filename = path;
    CopyTarget *t = copy_target_new("j", &o, errp);
    g_assert_null(job_get("j"));
    return t;
}

/* Check that @o is refused with @error, and that no target or header remains. */
static void coroutine_fn assert_refused(CopyTargetOptions o, const char *error)
{
    g_autoptr(Error) err = NULL;

    g_assert_null(new_target(o, "new", &err));
    assert_error(&err, error);
    g_assert_false(exists("new"));
    g_assert_false(exists("new-header"));
}

static BlockDriverState *coroutine_fn open_raw(const char *name, int64_t bytes)
{
    g_autofree char *path = scratch_path(name);
    const BlockdevOptions options = { .driver = BLOCKDEV_DRIVER_FILE, .u.file.filename = path };

    scratch_file(name, bytes);
    return bdrv_co_open_blockdev(&options, 0, &error_abort);
}

static QCryptoBlockInfoLUKS *luks_info(BlockDriverState *bs)
{
    g_autoptr(ImageInfoSpecific) info = bdrv_get_specific_info(bs);

    return g_steal_pointer(&info->u.luks.data);
}

static CopyTargetOptions create_for(BlockDriverState *source)
{
    return (CopyTargetOptions){
        .source = source, .mode = NEW_IMAGE_MODE_ABSOLUTE_PATHS, .create_options = &fast,
    };
}

static void coroutine_fn inherit_entry(void *opaque)
{
    make_volume("source", SERPENT);
    BlockDriverState *source = open_volume("source", "", 0, &error_abort);
    g_autoptr(QCryptoBlockInfoLUKS) from = luks_info(source);
    CopyTarget *t = new_target(create_for(source), "target", &error_abort);
    g_autoptr(QCryptoBlockInfoLUKS) to = luks_info(t->bs);

    g_assert_true(t->source == source);
    g_assert_cmpint(bdrv_getlength(t->bs), ==, TEST_SIZE);
    g_assert_cmpint(to->cipher_alg, ==, QCRYPTO_CIPHER_ALGO_SERPENT_128);
    g_assert_cmpint(to->cipher_mode, ==, QCRYPTO_CIPHER_MODE_CBC);
    g_assert_cmpint(to->ivgen_alg, ==, QCRYPTO_IV_GEN_ALGO_ESSIV);
    g_assert_cmpint(to->ivgen_hash_alg, ==, QCRYPTO_HASH_ALGO_SHA256);
    g_assert_cmpint(to->hash_alg, ==, QCRYPTO_HASH_ALGO_SHA1);
    g_assert_cmpstr(to->uuid, !=, from->uuid);
    copy_target_free(t, true);
    g_assert_true(exists("target"));

    /* A LUKS volume in a file is not overwritten. */
    g_autoptr(Error) err = NULL;
    g_assert_null(new_target(create_for(source), "target", &err));
    assert_error(&err, to->uuid);
    CopyTargetOptions existing = { .source = source, .mode = NEW_IMAGE_MODE_EXISTING };
    t = new_target(existing, "target", &error_abort);
    copy_target_free(t, false);
    g_assert_true(exists("target"));
    bdrv_co_unref(source);
}

static void coroutine_fn override_entry(void *opaque)
{
    TargetCreateOptions c = {
        .has_iter_time = true, .iter_time = 1, .has_ivgen_alg = true, .ivgen_alg = QCRYPTO_IV_GEN_ALGO_PLAIN64,
        .has_cipher_alg = true, .cipher_alg = QCRYPTO_CIPHER_ALGO_AES_256,
    };

    make_volume("source", SERPENT);
    BlockDriverState *source = open_volume("source", "", 0, &error_abort);
    CopyTargetOptions o = create_for(source);
    o.create_options = &c;
    o.key_secret = "pw1";
    o.node_name = "copy";
    CopyTarget *t = new_target(o, "override", &error_abort);
    g_autoptr(QCryptoBlockInfoLUKS) to = luks_info(t->bs);
    g_assert_true(bdrv_find_node("copy") == t->bs);
    g_assert_cmpint(to->cipher_alg, ==, QCRYPTO_CIPHER_ALGO_AES_256);
    g_assert_cmpint(to->cipher_mode, ==, QCRYPTO_CIPHER_MODE_CBC);
    g_assert_cmpint(to->ivgen_alg, ==, QCRYPTO_IV_GEN_ALGO_PLAIN64);
    g_assert_false(to->has_ivgen_hash_alg);
    g_assert_cmpstr(bdrv_get_options(t->bs)->u.luks.key_secret, ==, "pw1");

    /* The name is in use now. */
    assert_refused(o, "copy");
    copy_target_free(t, false);
    g_assert_false(exists("override"));
    bdrv_co_unref(source);
}

static void coroutine_fn header_entry(void *opaque)
{
    g_autofree char *header = scratch_path("header");
    TargetCreateOptions c = { .has_iter_time = true, .iter_time = 1, .header = header };
    struct stat st;

    make_volume("source", "");
    BlockDriverState *source = open_volume("source", "", 0, &error_abort);
    CopyTargetOptions o = create_for(source);
    o.create_options = &c;
    CopyTarget *t = new_target(o, "payload", &error_abort);
    g_autoptr(QCryptoBlockInfoLUKS) to = luks_info(t->bs);
    g_assert_true(to->detached_header);
    copy_target_free(t, true);
    g_autofree char *path = scratch_path("payload");
    g_assert_cmpint(stat(path, &st), ==, 0);
    g_assert_cmpint(st.st_size, ==, TEST_SIZE);
    g_assert_cmpint(stat(header, &st), ==, 0);
    g_assert_cmpint(st.st_mode & 077, ==, 0);

    TargetCreateOptions only_header = { .header = header };
    o.create_options = &only_header;
    o.mode = NEW_IMAGE_MODE_EXISTING;
    t = new_target(o, "payload", &error_abort);
    g_assert_cmpint(bdrv_getlength(t->bs), ==, TEST_SIZE);
    copy_target_free(t, true);

    /* The same file twice */
    g_autofree char *same = scratch_path("new");
    c.header = same;
    o = create_for(source);
    o.create_options = &c;
    assert_refused(o, "cannot be the target's header");
    bdrv_co_unref(source);
}

static void coroutine_fn clone_entry(void *opaque)
{
    make_volume("source", "");
    BlockDriverState *source = open_volume("source", "", 0, &error_abort), *plain = open_raw("plain", TEST_SIZE);
    CopyTargetOptions o = { .source = source, .mode = NEW_IMAGE_MODE_ABSOLUTE_PATHS, .clone_header = true };
    CopyTarget *t = new_target(o, "clone", &error_abort);

    g_assert_true(t->source == bdrv_get_child(source, "file"));
    g_assert_cmpint(bdrv_getlength(t->bs), ==, bdrv_getlength(t->source));
    g_assert_true(t->is_zero);
    copy_target_free(t, false);

    CopyTargetOptions with = o;
    with.source = plain;
    assert_refused(with, "needs an encrypted source");
    with = o;
    with.format = "luks";
    assert_refused(with, "'format' exclude");
    with = o;
    with.key_secret = "pw1";
    assert_refused(with, "'key-secret' exclude");
    with = o;
    with.create_options = &fast;
    assert_refused(with, "'create-options' exclude");
    bdrv_co_unref(plain);
    bdrv_co_unref(source);
}

static void coroutine_fn refused_entry(void *opaque)
{
    make_volume("source", "");
    BlockDriverState *source = open_volume("source", "", 0, &error_abort), *plain = open_raw("plain", TEST_SIZE);
    const CopyTargetOptions from_luks = create_for(source), from_plain = create_for(plain);
    CopyTargetOptions o = from_plain;

    o.format = "luks";
    assert_refused(o, "'key-secret' is required");
    o.key_secret = "nobody";
    assert_refused(o, "nobody");
    assert_refused(from_plain, "'create-options' is for format 'luks'");
    o = from_luks;
    o.format = "raw";
    o.key_secret = "pw0";
    o.create_options = NULL;
    assert_refused(o, "does not encrypt");
    o = from_luks;
    o.format = "qcow2";
    assert_refused(o, "'qcow2'");
    o = from_luks;
    o.mode = NEW_IMAGE_MODE_EXISTING;
    assert_refused(o, "only 'header'");
    o = from_luks;
    o.node_name = "1x";
    assert_refused(o, "Invalid node-name");

    /* The source's own files, and a target in use */
    g_autoptr(Error) err = NULL;
    g_assert_null(new_target(from_luks, "source", &err));
    assert_error(&err, "cannot be the target");
    o = from_plain;
    o.create_options = NULL;
    g_assert_null(new_target(o, "plain", &err));
    assert_error(&err, "cannot be the target");
    make_volume("used", "");
    BlockBackend *user = open_volume_blk("used", "");
    o.format = "raw";
    g_assert_null(new_target(o, "used", &err));
    assert_error(&err, "in use by test");
    blk_co_unref(user);

    /* Another length */
    scratch_file("small", TEST_SIZE - 512);
    o.mode = NEW_IMAGE_MODE_EXISTING;
    g_assert_null(new_target(o, "small", &err));
    assert_error(&err, "different sizes");
    g_assert_true(exists("small"));
    bdrv_co_unref(plain);
    bdrv_co_unref(source);
}

static void coroutine_fn raw_entry(void *opaque)
{
    BlockDriverState *plain = open_raw("plain", TEST_SIZE);
    CopyTargetOptions o = { .source = plain, .mode = NEW_IMAGE_MODE_ABSOLUTE_PATHS };

    scratch_file("old", 512);
    scratch_write("old", 0, "old", 3);
    CopyTarget *t = new_target(o, "old", &error_abort);
    g_assert_true(t->is_zero);
    g_assert_cmpint(bdrv_getlength(t->bs), ==, TEST_SIZE);
    copy_target_free(t, false);
    g_autoptr(GBytes) bytes = scratch_read("old");
    g_assert_cmpint(*(const char *)g_bytes_get_data(bytes, NULL), ==, 0);
    bdrv_co_unref(plain);
}

typedef struct Canceller {
    bool seen;
} Canceller;

/* Cancel the job as another client would, once it is listed. */
static void coroutine_fn cancel_entry_later(void *opaque)
{
    Canceller *c = opaque;

    for (int i = 0; i < 1000 && !job_get("j"); i++) {
        co_sleep_ns(SCALE_MS);
    }
    c->seen = job_get("j") && job_user_cancel(job_get("j"), true, &error_abort);
}

static void coroutine_fn cancel_entry(void *opaque)
{
    const TargetCreateOptions slow = { .has_iter_time = true, .iter_time = 60000 };
    Canceller canceller = { false };
    g_autoptr(Error) err = NULL;

    make_volume("source", "");
    BlockDriverState *source = open_volume("source", "", 0, &error_abort);
    CopyTargetOptions o = create_for(source);
    o.create_options = &slow;
    aio_co_start(qemu_get_current_aio_context(), cancel_entry_later, &canceller);
    int64_t start_ns = qemu_clock_get_ns();
    assert_refused(o, "cancelled");
    g_assert_true(canceller.seen);
    g_assert_cmpint(qemu_clock_get_ns() - start_ns, <, 10 * NANOSECONDS_PER_SECOND);
    bdrv_co_unref(source);
}

int main(int argc, char **argv)
{
    luks_node_init(&argc, &argv);
    luks_node_add("/copy-target/inherit", inherit_entry);
    luks_node_add("/copy-target/override", override_entry);
    luks_node_add("/copy-target/header", header_entry);
    luks_node_add("/copy-target/clone", clone_entry);
    luks_node_add("/copy-target/refused", refused_entry);
    luks_node_add("/copy-target/raw", raw_entry);
    luks_node_add("/copy-target/cancel", cancel_entry);
    return luks_node_run();
}
