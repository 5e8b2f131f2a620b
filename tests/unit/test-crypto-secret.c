/*
 * Secrets: every source, encoding and encryption, and errors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "config-host.h"

#include <glib/gstdio.h>
#include <sys/stat.h>
#ifdef CONFIG_KEYRING
#include <keyutils.h>
#endif

#include "crypto/base64.h"
#include "crypto/object.h"
#include "crypto/secret.h"

static char *dir;

static char *write_file(const char *name, const void *data, gssize len)
{
    char *path = g_build_filename(dir, name, NULL);

    g_assert_true(g_file_set_contents(path, data, len, NULL));
    return path;
}

static bool G_GNUC_PRINTF(2, 3) add(Error **errp, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    g_autofree char *arg = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    return user_creatable_parse(arg, errp);
}

/* Check that *@err contains @expected; frees it. */
static void assert_error(Error **err, const char *expected)
{
    g_assert_nonnull(*err);
    if (!strstr(error_get_pretty(*err), expected)) {
        g_error("'%s' does not mention '%s'", error_get_pretty(*err), expected);
    }
    g_clear_pointer(err, error_free);
}

static void assert_secret(const char *id, const void *expected, size_t len)
{
    g_autoptr(SecretBuffer) secret = qcrypto_secret_lookup(id, &error_abort);

    g_assert_cmpmem(secret->data, secret->len, expected, len);
}

static void test_any_bytes(void)
{
    uint8_t bytes[256];
    g_autofree char *text = NULL;

    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = i;
    }
    g_autofree char *path = write_file("bytes", (char *)bytes, sizeof(bytes));
    g_autofree char *empty = write_file("empty", "", 0);

    add(&error_abort, "secret,id=a,file=%s", path);
    assert_secret("a", bytes, sizeof(bytes));
    add(&error_abort, "secret,id=b,file=%s", empty);
    assert_secret("b", "", 0);

    text = g_base64_encode(bytes, sizeof(bytes));
    add(&error_abort, "secret,id=c,format=base64,data=%s", text);
    assert_secret("c", bytes, sizeof(bytes));
    add(&error_abort, "secret,id=d,data=%s", "p\xc3\xa4ss\xff");
    assert_secret("d", "p\xc3\xa4ss\xff", 6);

    /* Line ends are content in a raw file, but ignored in base64. */
    g_autofree char *lines = write_file("lines", "YWJj\nZGVm\r\n", -1);
    add(&error_abort, "secret,id=e,file=%s", lines);
    assert_secret("e", "YWJj\nZGVm\r\n", 11);
    add(&error_abort, "secret,id=f,format=base64,file=%s", lines);
    assert_secret("f", "abcdef", 6);
    user_creatable_cleanup();
}

static void test_files(void)
{
    g_autoptr(Error) err = NULL;
    g_autofree char *missing = g_build_filename(dir, "missing", NULL);
    g_autofree char *big = g_build_filename(dir, "big", NULL);
    g_autofree char *fill = g_malloc0(QCRYPTO_SECRET_MAX_BYTES);

    g_assert_false(add(&err, "secret,id=who,file=%s", missing));
    g_assert_nonnull(strstr(error_get_pretty(err), "'who'"));
    assert_error(&err, missing);
    g_assert_false(add(&err, "secret,id=who,file=%s", dir));
    assert_error(&err, dir);
    g_assert_false(add(&err, "secret,id=who,file=/dev/zero"));
    assert_error(&err, "/dev/zero");
    g_assert_false(add(&err, "secret,id=who"));
    assert_error(&err, "'who'");
    g_assert_false(add(&err, "secret,id=who,data=x,file=%s", missing));
    assert_error(&err, "'who'");

    g_assert_true(g_file_set_contents(big, fill, QCRYPTO_SECRET_MAX_BYTES, NULL));
    add(&error_abort, "secret,id=most,file=%s", big);
    assert_secret("most", fill, QCRYPTO_SECRET_MAX_BYTES);
    g_assert_cmpint(truncate(big, QCRYPTO_SECRET_MAX_BYTES + 1), ==, 0);
    g_assert_false(add(&err, "secret,id=more,file=%s", big));
    assert_error(&err, big);
    user_creatable_cleanup();
}

static void *write_slowly(void *opaque)
{
    g_auto_fd int fd = open(opaque, O_WRONLY);

    g_assert_cmpint(write(fd, "to", 2), ==, 2);
    g_usleep(20000);
    g_assert_cmpint(write(fd, "gether", 6), ==, 6);
    return NULL;
}

static void test_pipe(void)
{
    g_autofree char *path = g_build_filename(dir, "pipe", NULL);

    g_assert_cmpint(mkfifo(path, 0600), ==, 0);
    GThread *writer = g_thread_new("writer", write_slowly, path);
    add(&error_abort, "secret,id=a,file=%s", path);
    g_thread_join(writer);
    assert_secret("a", "together", 8);
    user_creatable_cleanup();
}

/* From libvirt's own tests. */
#define LIBVIRT_IV "AAECAwQFBgcICQoLDA0ODw=="
#define LIBVIRT_DATA "9eao5F8qtkGt+seB1HYivWIxbtwUu6MQtg1zpj/oDtUsPr1q8wBYM91uEHCn6j/1"
#define LIBVIRT_TEXT "AQCVn5hO6HzFAhAAq0NCv8jtJcIcE+HOBlMQ1A"

static char *add_master_key(size_t len)
{
    char key[64];

    for (size_t i = 0; i < sizeof(key); i++) {
        key[i] = i;
    }
    char *path = write_file("key", key, len);
    add(&error_abort, "secret,id=masterKey0,format=raw,file=%s", path);
    return path;
}

static void test_encrypted(void)
{
    g_autofree char *path = add_master_key(32);
    gsize len;
    g_autofree guchar *raw = g_base64_decode(LIBVIRT_DATA, &len);
    g_autofree char *file = write_file("encrypted", (char *)raw, len);

    add(&error_abort, "secret,id=S,keyid=masterKey0,iv=" LIBVIRT_IV ",format=base64,data="
        LIBVIRT_DATA);
    assert_secret("S", LIBVIRT_TEXT, strlen(LIBVIRT_TEXT));

    /* The same as JSON, as libvirt sends it, and as raw bytes in a file. */
    add(&error_abort, "{\"qom-type\":\"secret\",\"id\":\"T\",\"data\":\"" LIBVIRT_DATA "\","
        "\"keyid\":\"masterKey0\",\"iv\":\"" LIBVIRT_IV "\",\"format\":\"base64\"}");
    assert_secret("T", LIBVIRT_TEXT, strlen(LIBVIRT_TEXT));
    add(&error_abort, "secret,id=U,keyid=masterKey0,iv=" LIBVIRT_IV ",file=%s", file);
    assert_secret("U", LIBVIRT_TEXT, strlen(LIBVIRT_TEXT));

    /* It is a copy: the key can be deleted. */
    user_creatable_del("masterKey0", &error_abort);
    assert_secret("S", LIBVIRT_TEXT, strlen(LIBVIRT_TEXT));
    user_creatable_cleanup();
}

static void test_encrypted_refused(void)
{
    g_autofree char *path = add_master_key(32);
    g_autoptr(Error) err = NULL;

    g_assert_false(add(&err, "secret,id=S,keyid=masterKey0,format=base64,data=" LIBVIRT_DATA));
    assert_error(&err, "'iv'");
    g_assert_false(add(&err, "secret,id=S,iv=" LIBVIRT_IV ",data=x"));
    assert_error(&err, "'keyid'");
    g_assert_false(add(&err, "secret,id=S,keyid=nobody,iv=" LIBVIRT_IV ",format=base64,data="
                       LIBVIRT_DATA));
    assert_error(&err, "'nobody'");
    g_assert_false(add(&err, "secret,id=S,keyid=S,iv=" LIBVIRT_IV ",format=base64,data="
                       LIBVIRT_DATA));
    assert_error(&err, "No secret with id 'S'");
    g_assert_false(add(&err, "secret,id=S,keyid=masterKey0,iv=AAEC,format=base64,data="
                       LIBVIRT_DATA));
    assert_error(&err, "'iv'");
    g_assert_false(add(&err, "secret,id=S,keyid=masterKey0,iv=#,format=base64,data="
                       LIBVIRT_DATA));
    assert_error(&err, "'iv'");
    g_assert_false(add(&err, "secret,id=S,keyid=masterKey0,iv=" LIBVIRT_IV ",data=short"));
    assert_error(&err, "5 bytes");
    g_assert_false(add(&err, "secret,id=S,keyid=masterKey0,iv=" LIBVIRT_IV ",data="));
    assert_error(&err, "0 bytes");
    g_assert_false(add(&err, "secret,id=S,keyid=masterKey0,iv=" LIBVIRT_IV ",data="
                       "0123456789abcdef0123456789abcdef"));
    assert_error(&err, "padding");
    user_creatable_cleanup();

    g_autofree char *other = add_master_key(31);
    g_assert_false(add(&err, "secret,id=S,keyid=masterKey0,iv=" LIBVIRT_IV ",format=base64,data="
                       LIBVIRT_DATA));
    assert_error(&err, "31 bytes");
    user_creatable_cleanup();
}

/* All 16 valid paddings, and some invalid ones, created by OpenSSL with a zero key and IV. */
static void test_padding(void)
{
    static const struct {
        const char *data;
        const char *text;       /* NULL: refused */
    } cases[] = {
        { "7jQx9hdX1nEdBze++Hx42g==", "xxxxxxxxxxxxxxx" },
        { "1ihJ3fEHyM5TBiuCi5VFsw==", "xxxxxxxxxxxxxx" },
        { "tM3UItMFNy7rPXnlrMD9Mw==", "xxxxxxxxxxxxx" },
        { "XUZ8zfjT8D4OUb8I6EEgMA==", "xxxxxxxxxxxx" },
        { "hfWyAJjo8TdBfToynY3c/A==", "xxxxxxxxxxx" },
        { "PzfDkRxUT56CJ8RhHz0bTA==", "xxxxxxxxxx" },
        { "UnCRZ1Q7n9kF1LuLIsu55Q==", "xxxxxxxxx" },
        { "C2hp0gXITzkiU6SnlogKXg==", "xxxxxxxx" },
        { "gkGo4pUSc5BpDs7y7kXiNQ==", "xxxxxxx" },
        { "ICRAEYfCUod497yi+aES3w==", "xxxxxx" },
        { "bbZFaIQVpuOjLAmazQNpHQ==", "xxxxx" },
        { "cAfELPt8G6AL7Bhd7EMJmQ==", "xxxx" },
        { "w0J5nBTlBkD6C6BbsdZrNA==", "xxx" },
        { "Reta4sByKowMkBVSwP1YkQ==", "xx" },
        { "NkRuRPxxNXs3/PdWlWpLKw==", "x" },
        { "H3iP5thsMXVJaX+/DAf6Qw==", "" },
        { "yx4cob9dVDMaFmg8bThrPA==", NULL },
        { "kt3O5CoHzOmjyXa83DRuDg==", NULL },
        { "p0ERRpcUWQSFWW094BxJug==", NULL },
        { "yrWeeh7sbTVtT/ajOss1SQ==", NULL },
        { "+VSeZqrafmOFtVrJf66nLQ==", NULL },
        { "PlNseRemlUhe8Ea9p8aj5k9DnYeqDeszgCklO+oLpU8=", NULL },
        { "iOqWeEbyOIXA1PHXCmw7PA1a60sSTqEImIUN1i6j6dI=", NULL },
    };
    char key[32] = { 0 };
    g_autofree char *path = write_file("zeroes", key, sizeof(key));

    add(&error_abort, "secret,id=zero,file=%s", path);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(Error) err = NULL;
        bool ok = add(&err, "secret,id=p%zu,keyid=zero,iv=AAAAAAAAAAAAAAAAAAAAAA==,"
                      "format=base64,data=%s", i, cases[i].data);

        g_assert_true(ok == !!cases[i].text);
        if (ok) {
            g_autofree char *id = g_strdup_printf("p%zu", i);
            assert_secret(id, cases[i].text, strlen(cases[i].text));
        } else {
            assert_error(&err, "padding");
        }
    }
    user_creatable_cleanup();
}

static void test_base64(void)
{
    static const struct {
        const char *text;
        const char *bytes;      /* NULL: refused */
    } cases[] = {
        /* RFC 4648, section 10 */
        { "", "" }, { "Zg==", "f" }, { "Zm8=", "fo" }, { "Zm9v", "foo" }, { "Zm9vYg==", "foob" },
        { "Zm9vYmE=", "fooba" }, { "Zm9vYmFy", "foobar" },
        { "/+A=", "\xff\xe0" }, { "\nZm\n9v\r\n", "foo" }, { "Zg=\n=\n", "f" },
        { "Z", NULL }, { "Zg", NULL }, { "Zg=", NULL }, { "Zg===", NULL }, { "Z===", NULL },
        { "A===", NULL }, { "Zm=8", NULL },
        { "Zm9", NULL }, { "Zm9v=", NULL }, { "====", NULL }, { "=", NULL }, { "Zg==Zg==", NULL },
        { "Zh==", NULL }, { "Zm9=", NULL }, { "Zm9v ", NULL }, { "Zm9_", NULL }, { "Zm9-", NULL },
        { "Zm9@", NULL }, { "Zm9[", NULL }, { "Zm9`", NULL }, { "Zm9{", NULL }, { "Zm9:", NULL },
        { "Zm9.", NULL }, { "Zm9\x80", NULL }, { "Zm9,", NULL },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(Error) err = NULL;
        g_autoptr(SecretBuffer) out =
            qcrypto_base64_decode(cases[i].text, strlen(cases[i].text), &err);

        g_assert_true(!!out == !!cases[i].bytes);
        g_assert_true(!out == !!err);
        if (out) {
            g_assert_cmpmem(out->data, out->len, cases[i].bytes, strlen(cases[i].bytes));
        }
    }
    g_assert_null(qcrypto_base64_decode("Zm9\0", 4, NULL));
}

/* All lengths, compared with glib's encoder. */
static void test_base64_lengths(void)
{
    uint8_t bytes[100];

    for (size_t len = 0; len < sizeof(bytes); len++) {
        for (size_t i = 0; i < len; i++) {
            bytes[i] = g_test_rand_int();
        }
        g_autofree char *text = g_base64_encode(bytes, len);
        g_autoptr(SecretBuffer) out = qcrypto_base64_decode(text, strlen(text), &error_abort);

        g_assert_cmpmem(out->data, out->len, bytes, len);
    }
}

#ifdef CONFIG_KEYRING
static void test_keyring(void)
{
    g_autofree char *payload = g_malloc(8000);
    g_autoptr(Error) err = NULL;
    key_serial_t serial;

    memset(payload, 'k', 8000);
    payload[3] = '\0';
    serial = add_key("user", "strongbox-test", payload, 8000, KEY_SPEC_PROCESS_KEYRING);
    if (serial < 0) {
        g_test_skip("no kernel keyring here");
        return;
    }
    add(&error_abort, "secret_keyring,id=a,serial=%d", serial);
    assert_secret("a", payload, 8000);
    keyctl_unlink(serial, KEY_SPEC_PROCESS_KEYRING);
    user_creatable_cleanup();
}

static void test_keyring_missing(void)
{
    g_autoptr(Error) err = NULL;

    g_assert_false(add(&err, "secret_keyring,id=who,serial=0"));
    assert_error(&err, "'who'");
    g_assert_false(add(&err, "secret_keyring,id=who"));
    assert_error(&err, "serial");
}
#endif

static void remove_files(void)
{
    static const char *const names[] = {
        "bytes", "empty", "lines", "big", "pipe", "key", "encrypted", "zeroes",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *path = g_build_filename(dir, names[i], NULL);
        g_unlink(path);
    }
    g_rmdir(dir);
    g_free(dir);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    dir = g_dir_make_tmp("strongbox-secret-XXXXXX", NULL);
    g_test_add_func("/crypto/secret/any-bytes", test_any_bytes);
    g_test_add_func("/crypto/secret/files", test_files);
    g_test_add_func("/crypto/secret/pipe", test_pipe);
    g_test_add_func("/crypto/secret/encrypted", test_encrypted);
    g_test_add_func("/crypto/secret/encrypted-refused", test_encrypted_refused);
    g_test_add_func("/crypto/secret/padding", test_padding);
    g_test_add_func("/crypto/secret/base64", test_base64);
    g_test_add_func("/crypto/secret/base64-lengths", test_base64_lengths);
#ifdef CONFIG_KEYRING
    g_test_add_func("/crypto/secret/keyring", test_keyring);
    g_test_add_func("/crypto/secret/keyring-missing", test_keyring_missing);
#endif
    int ret = g_test_run();
    remove_files();
    return ret;
}
