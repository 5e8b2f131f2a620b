/*
 * Channels and sockets: data arrives, waits end, errors are distinguished
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <glib/gstdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "io/channel.h"
#include "io/sockets.h"
#include "util/aio.h"
#include "util/thread-pool.h"

#define BIG (4 * MiB)

static char *dir;

typedef struct Pair {
    IOChannel *a, *b;
    int ret;
    bool done;
} Pair;

static void pair_init(Pair *p)
{
    int fds[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
    *p = (Pair){ .a = io_channel_new(fds[0]), .b = io_channel_new(fds[1]) };
}

static void pair_cleanup(Pair *p)
{
    io_channel_unref(p->a);
    io_channel_unref(p->b);
}

static void coroutine_fn write_big(void *opaque)
{
    Pair *p = opaque;
    g_autofree uint8_t *buf = g_malloc(BIG);

    for (size_t i = 0; i < BIG; i++) {
        buf[i] = i * 7 >> 3;
    }
    struct iovec iov[] = {
        { buf, 1000 }, { buf, 0 }, { buf + 1000, BIG / 2 }, { buf + 1000 + BIG / 2, BIG / 2 - 1000 },
    };
    p->ret = io_channel_co_writev_all(p->a, iov, G_N_ELEMENTS(iov));
    io_channel_shutdown(p->a);
    p->done = true;
}

static void coroutine_fn big_transfer(void *opaque)
{
    g_autofree uint8_t *buf = g_malloc(BIG);
    Pair p;

    pair_init(&p);
    qemu_coroutine_enter(qemu_coroutine_create(write_big, &p));
    g_assert_false(p.done);     /* more than a socket's buffer holds */
    g_assert_cmpint(io_channel_co_read_all(p.b, buf, BIG), ==, 1);
    for (size_t i = 0; i < BIG; i++) {
        if (buf[i] != (uint8_t)(i * 7 >> 3)) {
            g_error("wrong byte at %zu", i);
        }
    }
    g_assert_cmpint(io_channel_co_read_all(p.b, buf, 1), ==, 0);
    g_assert_true(p.done);
    g_assert_cmpint(p.ret, ==, 0);
    pair_cleanup(&p);
}

static void coroutine_fn read_one(void *opaque)
{
    Pair *p = opaque;
    char c[2];

    p->ret = io_channel_co_read_all(p->b, c, sizeof(c));
    p->done = true;
}

static void coroutine_fn ends(void *opaque)
{
    Pair p;
    char c = 'x';

    /* the peer closes in the middle */
    pair_init(&p);
    qemu_coroutine_enter(qemu_coroutine_create(read_one, &p));
    g_assert_cmpint(io_channel_co_write_all(p.a, &c, 1), ==, 0);
    io_channel_shutdown(p.a);
    g_assert_cmpint(io_channel_co_write_all(p.a, &c, 1), ==, -ESHUTDOWN);
    co_sleep_ns(10 * SCALE_MS);
    g_assert_true(p.done);
    g_assert_cmpint(p.ret, ==, -ECONNRESET);
    /* the peer is gone: an error, not a signal */
    g_assert_cmpint(io_channel_co_write_all(p.b, &c, 1), ==, -EPIPE);
    pair_cleanup(&p);

    /* we close while waiting */
    pair_init(&p);
    qemu_coroutine_enter(qemu_coroutine_create(read_one, &p));
    co_sleep_ns(SCALE_MS);
    g_assert_false(p.done);
    io_channel_shutdown(p.b);
    co_sleep_ns(SCALE_MS);
    g_assert_true(p.done);
    g_assert_cmpint(p.ret, ==, 0);
    pair_cleanup(&p);
}

/* Swaps case, and wants the wrong direction first, as TLS may. */
static int filter_waits, filter_freed;

static ssize_t swap_read(void *opaque, void *buf, size_t len, IOWait *wait)
{
    if (filter_waits++ == 0) {
        *wait = IO_WAIT_OUT;
        return -EAGAIN;
    }
    ssize_t n = io_channel_raw_read(opaque, buf, len);
    for (ssize_t i = 0; i < n; i++) {
        ((char *)buf)[i] ^= 0x20;
    }
    return n;
}

static ssize_t swap_write(void *opaque, const void *buf, size_t len, IOWait *wait)
{
    char c = *(const char *)buf ^ 0x20;

    return io_channel_raw_write(opaque, &c, 1);
}

static void swap_free(void *opaque)
{
    filter_freed++;
}

static void coroutine_fn filter(void *opaque)
{
    static const IOChannelFilter swap = { swap_read, swap_write, NULL, swap_free };
    char buf[6] = "";
    Pair p;

    pair_init(&p);
    io_channel_set_filter(p.b, &swap, p.b);
    g_assert_cmpint(io_channel_co_write_all(p.a, "hello", 5), ==, 0);
    g_assert_cmpint(io_channel_co_read_all(p.b, buf, 5), ==, 1);
    g_assert_cmpstr(buf, ==, "HELLO");
    g_assert_cmpint(io_channel_co_write_all(p.b, "THERE", 5), ==, 0);
    g_assert_cmpint(io_channel_co_read_all(p.a, buf, 5), ==, 1);
    g_assert_cmpstr(buf, ==, "there");
    pair_cleanup(&p);
    co_sleep_ns(SCALE_MS);      /* the loop that woke us still held a reference */
    g_assert_cmpint(filter_freed, ==, 1);
}

static void send_with_fd(int sock, const char *text, int fd)
{
    union {
        struct cmsghdr align;
        char buf[CMSG_SPACE(sizeof(int))];
    } control = { .buf = "" };
    struct iovec iov = { .iov_base = (char *)text, .iov_len = strlen(text) };
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control),
    };
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &fd, sizeof(fd));
    g_assert_cmpint(sendmsg(sock, &msg, 0), ==, strlen(text));
}

static void coroutine_fn fd_passing(void *opaque)
{
    g_autofree char *path = g_strdup_printf("%s/passed", dir);
    struct stat sent, got;
    char buf[40];
    Pair p;

    pair_init(&p);
    io_channel_accept_fds(p.b);
    int fd = open(path, O_CREAT | O_RDWR, 0600);
    g_assert_cmpint(fstat(fd, &sent), ==, 0);
    for (int i = 0; i < 20; i++) {      /* more than are kept; valgrind and the descriptor count see leaks */
        send_with_fd(io_channel_get_fd(p.a), "x", fd);
    }
    close(fd);
    g_assert_cmpint(io_channel_co_read_all(p.b, buf, 20), ==, 1);
    fd = io_channel_take_fd(p.b);
    g_assert_cmpint(fstat(fd, &got), ==, 0);
    g_assert_cmpuint(got.st_ino, ==, sent.st_ino);
    g_assert_cmpint(fcntl(fd, F_GETFD) & FD_CLOEXEC, !=, 0);
    close(fd);
    for (int i = 0; i < 10; i++) {
        close(io_channel_take_fd(p.b));
    }
    pair_cleanup(&p);
    unlink(path);
}

/* Descriptors come with the byte they were sent with, even if the kernel joins messages. */
static void coroutine_fn fd_positions(void *opaque)
{
    g_autoptr(GString) seen = g_string_new(NULL);
    char buf[100];
    ssize_t n;
    Pair p;

    pair_init(&p);
    io_channel_accept_fds(p.b);
    int sock = io_channel_get_fd(p.a);
    g_assert_cmpint(write(sock, "abc", 3), ==, 3);
    g_assert_cmpint(write(sock, "de", 2), ==, 2);
    send_with_fd(sock, "FGH", sock);
    send_with_fd(sock, "IJ", sock);
    g_assert_cmpint(write(sock, "klm", 3), ==, 3);
    while (seen->len < 15 && (n = io_channel_co_read(p.b, buf, sizeof(buf))) > 0) {
        int fd = io_channel_take_fd(p.b);

        if (fd >= 0) {
            g_string_append_c(seen, '+');
            close(fd);
        }
        g_string_append_len(seen, buf, n);
    }
    g_assert_cmpstr(seen->str, ==, "abcde+FGH+IJklm");
    pair_cleanup(&p);
}

static SocketAddress *unix_address(const char *path)
{
    SocketAddress *addr = g_new0(SocketAddress, 1);

    addr->type = SOCKET_ADDRESS_TYPE_UNIX;
    addr->u.q_unix.path = g_strdup(path);
    return addr;
}

static SocketAddress *inet_address(const char *host, const char *port)
{
    SocketAddress *addr = g_new0(SocketAddress, 1);

    addr->type = SOCKET_ADDRESS_TYPE_INET;
    addr->u.inet.host = g_strdup(host);
    addr->u.inet.port = g_strdup(port);
    return addr;
}

static void coroutine_fn greet(void *opaque)
{
    IOChannel *ch = opaque;

    g_assert_cmpint(io_channel_co_write_all(ch, "hi", 2), ==, 0);
    io_channel_unref(ch);
}

static void new_client(IOChannel *ch, void *opaque)
{
    (*(int *)opaque)++;
    qemu_coroutine_enter(qemu_coroutine_create(greet, ch));
}

static void coroutine_fn expect_greeting(const SocketAddress *addr)
{
    char buf[3] = "";
    g_autoptr(IOChannel) ch = socket_connect(addr, NANOSECONDS_PER_SECOND, &error_abort);

    g_assert_cmpint(io_channel_co_read_all(ch, buf, 2), ==, 1);
    g_assert_cmpstr(buf, ==, "hi");
    g_assert_cmpint(io_channel_co_read(ch, buf, 2), ==, 0);
}

static void assert_fails(const SocketAddress *addr, bool listen, const char *part)
{
    g_autoptr(Error) err = NULL;

    if (listen) {
        g_assert_null(net_listener_open(addr, 1, &err));
    } else {
        g_assert_null(socket_connect(addr, 0, &err));
    }
    g_assert_nonnull(strstr(error_get_pretty(err), part));
}

static void coroutine_fn unix_sockets(void *opaque)
{
    g_autofree char *path = g_strdup_printf("%s/sock", dir);
    g_autoptr(SocketAddress) addr = unix_address(path);
    int clients = 0;

    assert_fails(addr, false, "No such file");
    for (int i = 0; i < 2; i++) {
        NetListener *l = net_listener_open(addr, 8, &error_abort);
        net_listener_set_client_func(l, new_client, &clients);
        expect_greeting(addr);
        expect_greeting(addr);
        /* The socket of a running server stays, and the server does not notice. */
        assert_fails(addr, true, "Address already in use");
        expect_greeting(addr);
        net_listener_free(l);
        g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
    }
    g_assert_cmpint(clients, ==, 6);

    g_assert_true(g_file_set_contents(path, "precious", -1, NULL));
    assert_fails(addr, true, "Address already in use");
    g_assert_true(g_file_test(path, G_FILE_TEST_IS_REGULAR));
    unlink(path);

    g_autofree char *name = g_strdup_printf("strongbox-test-%d", getpid());
    g_autoptr(SocketAddress) abstract = unix_address(name);
    abstract->u.q_unix.has_abstract = abstract->u.q_unix.abstract = true;
    NetListener *l = net_listener_open(abstract, 8, &error_abort);
    net_listener_set_client_func(l, new_client, &clients);
    expect_greeting(abstract);
    net_listener_free(l);

    g_autofree char *long_name = g_strnfill(200, 'x');
    g_autoptr(SocketAddress) too_long = unix_address(long_name);
    assert_fails(too_long, true, "too long");
}

/* A stale socket is replaced, others are not; another program's socket is not removed. */
static void coroutine_fn unix_sockets_of_others(void *opaque)
{
    g_autofree char *path = g_strdup_printf("%s/sock", dir);
    g_autoptr(SocketAddress) addr = unix_address(path);
    struct sockaddr_un name = { .sun_family = AF_UNIX };

    g_strlcpy(name.sun_path, path, sizeof(name.sun_path));
    for (int type = SOCK_STREAM; type <= SOCK_DGRAM; type++) {
        int fd = socket(AF_UNIX, type, 0);
        g_assert_cmpint(bind(fd, (struct sockaddr *)&name, sizeof(name)), ==, 0);
        assert_fails(addr, true, "Address already in use");     /* bound, but does not listen yet */
        close(fd);
        NetListener *first = net_listener_open(addr, 8, &error_abort);
        unlink(path);
        NetListener *second = net_listener_open(addr, 8, &error_abort);
        net_listener_free(first);
        g_assert_true(g_file_test(path, G_FILE_TEST_EXISTS));
        net_listener_free(second);
        g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
    }
}

static void coroutine_fn tcp_sockets(void *opaque)
{
    static const char *const hosts[] = { "127.0.0.1", "::1", "localhost" };
    int clients = 0;

    for (size_t i = 0; i < G_N_ELEMENTS(hosts); i++) {
        g_autofree char *port = g_strdup_printf("%d", 20000 + (int)(getpid() % 20000) + (int)i * 200);
        g_autoptr(SocketAddress) addr = inet_address(hosts[i], port);
        g_autoptr(Error) err = NULL;

        addr->u.inet.has_keep_alive = addr->u.inet.keep_alive = true;
        NetListener *l = net_listener_open(addr, 8, &err);
        if (!l) {
            g_test_message("%s", error_get_pretty(err));
            continue;       /* no IPv6 here, or the port is taken */
        }
        net_listener_set_client_func(l, new_client, &clients);
        expect_greeting(addr);
        assert_fails(addr, true, "Address already in use");
        addr->u.inet.has_to = true;
        addr->u.inet.to = 65535;
        NetListener *next = net_listener_open(addr, 8, &error_abort);
        net_listener_free(next);
        net_listener_free(l);
        assert_fails(addr, false, "Connection refused");
    }
    g_assert_cmpint(clients, >, 0);

    g_autoptr(SocketAddress) none = inet_address("127.0.0.1", "1");
    none->u.inet.has_ipv4 = none->u.inet.has_ipv6 = true;
    assert_fails(none, false, "Cannot disable");
    g_autoptr(SocketAddress) name = inet_address("not a host", "1");
    name->u.inet.has_numeric = name->u.inet.numeric = true;
    assert_fails(name, false, "address resolution failed");
    static const char *const bad_ports[] = { "65536", "99999", "-1", "70000000000", "1+" };
    for (size_t i = 0; i < G_N_ELEMENTS(bad_ports); i++) {
        g_autoptr(SocketAddress) port = inet_address("127.0.0.1", bad_ports[i]);

        assert_fails(port, true, "is not a number from 0 to 65535");
    }
}

static void coroutine_fn fd_addresses(void *opaque)
{
    g_autoptr(SocketAddress) addr = g_new0(SocketAddress, 1);
    Pair p;

    pair_init(&p);
    addr->type = SOCKET_ADDRESS_TYPE_FD;
    addr->u.fd.str = g_strdup_printf("%d", io_channel_get_fd(p.a));
    assert_fails(addr, true, "not a listening socket");
    g_autoptr(IOChannel) ch = socket_connect(addr, 0, &error_abort);
    g_assert_cmpint(io_channel_co_write_all(ch, "y", 1), ==, 0);
    pair_cleanup(&p);

    static const char *const bad[] = { "", "-1", "99999", "1x", "2" };
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_free(addr->u.fd.str);
        addr->u.fd.str = g_strdup(bad[i]);
        assert_fails(addr, false, i == 4 ? "not a socket" : "Invalid file descriptor");
    }
}

static void run(gconstpointer entry)
{
    aio_context_run((CoroutineEntry *)entry, NULL);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    dir = g_dir_make_tmp("test-io-XXXXXX", NULL);
    g_test_add_data_func("/io/big-transfer", big_transfer, run);
    g_test_add_data_func("/io/ends", ends, run);
    g_test_add_data_func("/io/filter", filter, run);
    g_test_add_data_func("/io/fd-passing", fd_passing, run);
    g_test_add_data_func("/io/fd-positions", fd_positions, run);
    g_test_add_data_func("/io/unix", unix_sockets, run);
    g_test_add_data_func("/io/unix-of-others", unix_sockets_of_others, run);
    g_test_add_data_func("/io/tcp", tcp_sockets, run);
    g_test_add_data_func("/io/fd-address", fd_addresses, run);
    int ret = g_test_run();
    thread_pool_cleanup();
    g_rmdir(dir);
    g_free(dir);
    return ret;
}
