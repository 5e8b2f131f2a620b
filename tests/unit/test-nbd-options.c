/*
 * The command line of qemu-nbd
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "tools/nbd/options.h"

/* Parse words separated by spaces. Returns whether to continue; if not, *@status is the exit status. */
static bool parse(NbdOptions *o, ToolArgs *args, char ***argv, const char *line, int *status)
{
    g_autofree char *full = g_strconcat("qemu-nbd", *line ? " " : "", line, NULL);

    *argv = g_strsplit(full, " ", -1);
    *args = (ToolArgs){ .argc = g_strv_length(*argv), .argv = *argv };
    bool ok = nbd_options_parse(o, args);
    *status = args->status;
    return ok;
}

#define PARSED(line)                                                            \
    g_auto(NbdOptions) o = { 0 };                                               \
    g_auto(ToolArgs) args = { 0 };                                              \
    g_auto(GStrv) argv = NULL;                                                  \
    int status;                                                                 \
    bool ok = parse(&o, &args, &argv, line, &status)

static void test_defaults(void)
{
    PARSED("disk.img");

    g_assert_true(ok);
    g_assert_cmpstr(o.image, ==, "disk.img");
    g_assert_false(o.persistent || o.read_only || o.image_opts || o.list || o.fork || o.has_offset);
    g_assert_null(o.format);
    g_assert_null(o.cache);
    g_assert_cmpint(o.server->max_connections, ==, 1);
    g_assert_cmpint(o.server->addr->type, ==, SOCKET_ADDRESS_TYPE_INET);
    g_assert_cmpstr(o.server->addr->u.inet.host, ==, "0.0.0.0");
    g_assert_cmpstr(o.server->addr->u.inet.port, ==, "10809");
}

/* As libguestfs calls it. */
static void test_libguestfs(void)
{
    PARSED("-t --shared=0 --discard=unmap --pid-file P --socket S --format raw DISK");

    g_assert_true(ok);
    g_assert_true(o.persistent);
    g_assert_true(o.server->has_max_connections);
    g_assert_cmpint(o.server->max_connections, ==, 0);
    g_assert_cmpstr(o.discard, ==, "unmap");
    g_assert_cmpstr(o.pid_file, ==, "P");
    g_assert_cmpint(o.server->addr->type, ==, SOCKET_ADDRESS_TYPE_UNIX);
    g_assert_cmpstr(o.server->addr->u.q_unix.path, ==, "S");
    g_assert_cmpstr(o.format, ==, "raw");
    g_assert_cmpstr(o.image, ==, "DISK");
}

static void test_everything(void)
{
    PARSED("-p 1234 -b ::1 -e 5 -f luks -r -x name -D text -n --aio threads --detect-zeroes unmap -o 1k "
           "--tls-creds t0 --tls-authz a0 --handshake-limit 3 -v --fork -A disk.img --object secret,id=s,data=x");

    g_assert_true(ok);
    g_assert_cmpstr(o.server->addr->u.inet.host, ==, "::1");
    g_assert_cmpstr(o.server->addr->u.inet.port, ==, "1234");
    g_assert_cmpint(o.server->max_connections, ==, 5);
    g_assert_cmpstr(o.server->tls_creds, ==, "t0");
    g_assert_cmpstr(o.server->tls_authz, ==, "a0");
    g_assert_true(o.server->has_handshake_max_seconds);
    g_assert_cmpint(o.server->handshake_max_seconds, ==, 3);
    g_assert_true(o.read_only && o.verbose && o.fork && o.allocation_depth && o.has_offset);
    g_assert_cmpint(o.offset, ==, 1024);
    g_assert_cmpstr(o.export_name, ==, "name");
    g_assert_cmpstr(o.description, ==, "text");
    g_assert_cmpstr(o.cache, ==, "none");
    g_assert_cmpstr(o.aio, ==, "threads");
    g_assert_cmpstr(o.detect_zeroes, ==, "unmap");
    g_assert_cmpint(args.objects->len, ==, 1);
}

static void test_list(void)
{
    PARSED("-L --tls-creds t --tls-hostname h");

    g_assert_true(ok);
    g_assert_true(o.list);
    g_assert_cmpstr(o.tls_hostname, ==, "h");
    g_assert_cmpstr(o.server->addr->u.inet.host, ==, "localhost");
}

static void test_refused(void)
{
    static const char *const lines[] = {
        "", "a b", "-k s -p 1 a", "-k s -b h a", "-L a", "-L -t", "-L --fork", "-L -x n", "--tls-hostname h a",
        "-e -1 a", "-e x a", "-o -1 a", "-o x a", "--handshake-limit x a", "--image-opts -f raw a", "-s a",
        "-l x a", "-c /dev/nbd0 a", "-d a", "-B b a", "--selinux-label x a", "-P 1 a", "--nonsense a", "-k",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(lines); i++) {
        PARSED(lines[i]);

        if (ok || status != 1) {
            g_error("'%s' was taken, or ends with status %d", lines[i], status);
        }
    }
}

/* One socket, and only if it is meant for this process. */
static void test_socket_activation(void)
{
    g_autofree char *pid = g_strdup_printf("%d", (int)getpid());
    static const struct {
        bool for_us;
        const char *fds;
        const char *line;
        bool ok;
        bool used;
    } cases[] = {
        { true, "1", "disk", true, true },
        { false, "1", "disk", true, false },
        { true, "2", "disk", false, false },
        { true, "1", "-k s disk", false, false },
        { true, "x", "disk", true, false },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_setenv("LISTEN_PID", cases[i].for_us ? pid : "1", true);
        g_setenv("LISTEN_FDS", cases[i].fds, true);
        PARSED(cases[i].line);

        g_assert_cmpint(ok, ==, cases[i].ok);
        if (ok) {
            g_assert_cmpint(o.server->addr->type == SOCKET_ADDRESS_TYPE_FD, ==, cases[i].used);
        }
    }
    g_unsetenv("LISTEN_PID");
    g_unsetenv("LISTEN_FDS");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_set_prgname("qemu-nbd");
    g_test_add_func("/nbd-options/defaults", test_defaults);
    g_test_add_func("/nbd-options/libguestfs", test_libguestfs);
    g_test_add_func("/nbd-options/everything", test_everything);
    g_test_add_func("/nbd-options/list", test_list);
    g_test_add_func("/nbd-options/refused", test_refused);
    g_test_add_func("/nbd-options/socket-activation", test_socket_activation);
    return g_test_run();
}
