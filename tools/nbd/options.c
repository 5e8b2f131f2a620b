/*
 * The command line of qemu-nbd
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "config-host.h"

#include "io/sockets.h"
#include "tools/common/complete.h"
#include "tools/common/output.h"
#include "tools/nbd/options.h"

#define DEFAULT_PORT "10809"
#define DEFAULT_BIND "0.0.0.0"

enum {
    KEY_CACHE = TOOL_KEY_OWN,
    KEY_AIO,
    KEY_DISCARD,
    KEY_DETECT_ZEROES,
    KEY_TLS_CREDS,
    KEY_TLS_HOSTNAME,
    KEY_TLS_AUTHZ,
    KEY_PID_FILE,
    KEY_FORK,
    KEY_HANDSHAKE_LIMIT,
    KEY_SELINUX_LABEL,
};

static const ToolOption options[] = {
    { 'k', "socket", "PATH", "listen on a unix socket", 'k' },
    { 'p', "port", "PORT", "listen on this TCP port (default: " DEFAULT_PORT ")", 'p' },
    { 'b', "bind", "ADDR", "listen on this address (default: " DEFAULT_BIND ")", 'b' },
    { 'e', "shared", "NUM", "clients that may connect at once; 0: no limit (default: 1)", 'e' },
    { 't', "persistent", NULL, "keep running when the last client disconnects", 't' },
    { 'x', "export-name", "NAME", "name of the export (default: empty)", 'x' },
    { 'D', "description", "TEXT", "description of the export", 'D' },
    { 'A', "allocation-depth", NULL, "offer the qemu:allocation-depth context", 'A' },
    { 'L', "list", NULL, "list the exports of another server", 'L' },
    TOOL_OPTION_FORMAT,
    TOOL_OPTION_IMAGE_OPTS,
    { 'r', "read-only", NULL, "export the image read-only", 'r' },
    { 'o', "offset", "OFFSET", "export the image from this offset on", 'o' },
    { 'n', "nocache", NULL, "the same as --cache=none", 'n' },
    { 0, "cache", "CACHE", "none, writeback (default), writethrough, directsync or unsafe", KEY_CACHE },
    { 0, "aio", "AIO", "threads, io_uring or native (default: the best available)", KEY_AIO },
    { 0, "discard", "DISCARD", "ignore (default) or unmap", KEY_DISCARD },
    { 0, "detect-zeroes", "ZEROES", "off (default), on or unmap", KEY_DETECT_ZEROES },
    TOOL_OPTION_HEADER,
    TOOL_OPTIONS_KEY_FILE,
    TOOL_OPTION_OBJECT,
    { 0, "tls-creds", "ID", "use TLS, with these credentials", KEY_TLS_CREDS },
    { 0, "tls-hostname", "NAME", "with --list: name to expect in the server's certificate", KEY_TLS_HOSTNAME },
    { 0, "tls-authz", "ID", "accept only clients that this object allows", KEY_TLS_AUTHZ },
    { 0, "handshake-limit", "SECONDS", "time limit of a handshake; 0: none (default: 10)",
      KEY_HANDSHAKE_LIMIT },
    { 0, "fork", NULL, "run in the background once the server is ready", KEY_FORK },
    { 0, "pid-file", "PATH", "write the process id to a file", KEY_PID_FILE },
    { 'v', "verbose", NULL, "print more, and keep standard error open with --fork", 'v' },
    { 'V', "version", NULL, "print the version", 'V' },
    /* Options of QEMU that are refused with a reason. */
    { 's', "snapshot", NULL, NULL, 's' },
    { 'l', "load-snapshot", "SNAPSHOT", NULL, 'l' },
    { 'c', "connect", "DEV", NULL, 'c' },
    { 'd', "disconnect", NULL, NULL, 'd' },
    { 'B', "bitmap", "NAME", NULL, 'B' },
    { 0, "selinux-label", "LABEL", NULL, KEY_SELINUX_LABEL },
    { 0 }
};

static const ToolCommand command = {
    .args = "FILE",
    .min_args = 0,
    .max_args = 1,
    .summary = "serve a disk image over NBD",
    .description =
        "FILE is a filename, nbd://..., iscsi://..., rbd:..., json:{...}, or with --image-opts the options of a node.\n"
        "--list takes no FILE, only the address of the server.",
    .examples =
        "  qemu-nbd -t -k disk.sock --key-file pw.txt disk.luks\n"
        "  qemu-nbd -t -k disk.sock --object secret,id=s0,file=pw.txt \\\n"
        "      --image-opts driver=luks,key-secret=s0,file.filename=disk.luks\n"
        "  qemu-nbd -L -k disk.sock",
    .options = options,
};

static void print_version(void)
{
    printf("%s %s (strongbox %s)\n", g_get_prgname(), QEMU_VERSION, PACKAGE_VERSION);
    printf("Copyright (c) the strongbox authors. License GPL-2.0-or-later.\n");
}

/* Options for the address. */
typedef struct Address {
    const char *socket;
    const char *port;
    const char *bind;
} Address;

/* Whether an option is not supported; if so, reports why. */
static bool option_is_refused(ToolArgs *args, int key)
{
    switch (key) {
    case 's':
        tool_args_fail(args, "--snapshot is not supported: no image format has overlays");
        return true;
    case 'l':
        tool_args_fail(args, "--load-snapshot is not supported: no image format has snapshots");
        return true;
    case 'c':
    case 'd':
        tool_args_fail(args, "Kernel NBD devices are not supported");
        return true;
    case 'B':
        tool_args_fail(args, "--bitmap is not supported: no image format stores dirty bitmaps");
        return true;
    case KEY_SELINUX_LABEL:
        tool_args_fail(args, "SELinux labels are not supported");
        return true;
    default:
        return false;
    }
}

static bool parse_number(ToolArgs *args, const char *what, uint32_t *value)
{
    g_autoptr(Error) err = NULL;
    int64_t n;

    if (!tool_parse_number(what, args->value, 0, INT_MAX, &n, &err)) {
        tool_args_fail(args, "%s", error_get_pretty(err));
        return false;
    }
    *value = n;
    return true;
}

static void take_offset(NbdOptions *o, ToolArgs *args)
{
    g_autoptr(Error) err = NULL;

    o->has_offset = true;
    if (!tool_parse_size("offset", args->value, 0, INT64_MAX, &o->offset, &err)) {
        tool_args_fail(args, "%s", error_get_pretty(err));
    }
}

static void take_server_option(NbdOptions *o, ToolArgs *args, int key)
{
    NbdServerOptions *server = o->server;

    switch (key) {
    case 'e':
        parse_number(args, "--shared", &server->max_connections);
        break;
    case KEY_HANDSHAKE_LIMIT:
        server->has_handshake_max_seconds = true;
        parse_number(args, "--handshake-limit", &server->handshake_max_seconds);
        break;
    case KEY_TLS_CREDS:
        g_free(server->tls_creds);
        server->tls_creds = g_strdup(args->value);
        break;
    case KEY_TLS_AUTHZ:
        g_free(server->tls_authz);
        server->tls_authz = g_strdup(args->value);
        break;
    }
}

static void take_image_option(NbdOptions *o, ToolArgs *args, int key)
{
    switch (key) {
    case 'r':
        o->read_only = true;
        break;
    case 'o':
        take_offset(o, args);
        break;
    case 'n':
        o->cache = "none";
        break;
    case KEY_CACHE:
        o->cache = args->value;
        break;
    case KEY_AIO:
        o->aio = args->value;
        break;
    case KEY_DISCARD:
        o->discard = args->value;
        break;
    case KEY_DETECT_ZEROES:
        o->detect_zeroes = args->value;
        break;
    default:
        take_server_option(o, args, key);
        break;
    }
}

static void take_option(NbdOptions *o, ToolArgs *args, Address *addr, int key)
{
    switch (key) {
    case 'V':
        print_version();
        args->stop = true;
        break;
    case 'k':
        addr->socket = args->value;
        break;
    case 'p':
        addr->port = args->value;
        break;
    case 'b':
        addr->bind = args->value;
        break;
    case 't':
        o->persistent = true;
        break;
    case 'x':
        o->export_name = args->value;
        break;
    case 'D':
        o->description = args->value;
        break;
    case 'A':
        o->allocation_depth = true;
        break;
    case 'L':
        o->list = true;
        break;
    case 'v':
        o->verbose = true;
        break;
    case KEY_FORK:
        o->fork = true;
        break;
    case KEY_PID_FILE:
        o->pid_file = args->value;
        break;
    case KEY_TLS_HOSTNAME:
        o->tls_hostname = args->value;
        break;
    default:
        take_image_option(o, args, key);
        break;
    }
}

/*
 * Number of sockets passed by socket activation, from descriptor 3 on: see sd_listen_fds(3). 0 if they are for another
 * process.
 */
static int socket_activation(void)
{
    const char *pid = g_getenv("LISTEN_PID"), *fds = g_getenv("LISTEN_FDS");
    gint64 n, owner;

    if (!pid || !fds || !g_ascii_string_to_signed(pid, 10, 1, INT_MAX, &owner, NULL) || owner != getpid() ||
        !g_ascii_string_to_signed(fds, 10, 1, INT_MAX, &n, NULL)) {
        return 0;
    }
    /* Child processes must not see them. */
    g_unsetenv("LISTEN_PID");
    g_unsetenv("LISTEN_FDS");
    return n;
}

static void make_address(NbdOptions *o, ToolArgs *args, const Address *addr)
{
    int activated = o->list ? 0 : socket_activation();
    SocketAddress *sa = o->server->addr = g_new0(SocketAddress, 1);
    g_autoptr(Error) err = NULL;

    if (addr->socket && (addr->port || addr->bind)) {
        tool_args_fail(args, "A unix socket (-k) has neither port (-p) nor address (-b)");
    } else if (activated && (addr->socket || addr->port || addr->bind)) {
        tool_args_fail(args, "Socket activation cannot be combined with -k, -p or -b");
    } else if (activated > 1) {
        tool_args_fail(args, "Socket activation with more than one socket is not supported");
    } else if (addr->port && !socket_check_port(addr->port, &err)) {
        tool_args_fail(args, "%s", error_get_pretty(err));
    }
    if (activated) {
        sa->type = SOCKET_ADDRESS_TYPE_FD;
        sa->u.fd.str = g_strdup("3");
    } else if (addr->socket) {
        sa->type = SOCKET_ADDRESS_TYPE_UNIX;
        sa->u.q_unix.path = g_strdup(addr->socket);
    } else {
        sa->type = SOCKET_ADDRESS_TYPE_INET;
        sa->u.inet.host = g_strdup(addr->bind ?: (o->list ? "localhost" : DEFAULT_BIND));
        sa->u.inet.port = g_strdup(addr->port ?: DEFAULT_PORT);
    }
}

/* Refuse options that do not go together. */
static void options_check(NbdOptions *o, ToolArgs *args)
{
    if (o->list) {
        if (args->n_positional || o->fork || o->pid_file || o->export_name || o->description || o->persistent) {
            tool_args_fail(args, "--list takes an address and TLS credentials, but no image");
        }
    } else if (!args->n_positional) {
        tool_args_fail(args, "'%s' expects %s", g_get_prgname(), command.args);
    } else if (o->tls_hostname) {
        tool_args_fail(args, "--tls-hostname is only valid with --list");
    }
}

bool nbd_options_parse(NbdOptions *o, ToolArgs *args)
{
    Address addr = { NULL };
    int key;

    args->cmd = &command;
    args->defer_objects = true;
    o->server = g_new0(NbdServerOptions, 1);
    if (tool_complete(&command, args->argc, args->argv)) {
        return false;
    }
    o->server->has_max_connections = true;
    o->server->max_connections = 1;
    while ((key = tool_args_next(args)) != TOOL_ARGS_END) {
        if (!option_is_refused(args, key)) {
            take_option(o, args, &addr, key);
        }
    }
    if (!args->stop) {
        options_check(o, args);
    }
    if (!args->stop) {
        make_address(o, args, &addr);
    }
    if (!args->stop && !o->list) {
        o->image = args->positional[0];
    }
    o->image_opts = args->image_opts;
    o->format = args->format;
    return !args->stop;
}

void nbd_options_clear(NbdOptions *o)
{
    qapi_free_NbdServerOptions(o->server);
}
