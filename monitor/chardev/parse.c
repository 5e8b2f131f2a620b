/*
 * The argument of --chardev, whose names predate the schema's
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <json-c/json.h>

#include "monitor/chardev/chardev-int.h"
#include "io/sockets.h"
#include "qapi/keyval.h"

/* Options of a device type that have another name, or nesting, in the schema. */
typedef struct Rename {
    const char *from;
    const char *to;
} Rename;

static const Rename file_renames[] = { { "path", "out" }, { "input-path", "in" }, { NULL, NULL } };
static const Rename inet_members[] = {
    { "host", "host" }, { "port", "port" }, { "to", "to" }, { "ipv4", "ipv4" }, { "ipv6", "ipv6" },
    { "mptcp", "mptcp" }, { "keep-alive", "keep-alive" }, { NULL, NULL },
};
static const Rename unix_members[] = {
    { "path", "path" }, { "abstract", "abstract" }, { "tight", "tight" }, { NULL, NULL },
};
static const Rename fd_members[] = { { "fd", "str" }, { NULL, NULL } };

/* Move the members listed in @renames from @from to @to. */
static void move_members(struct json_object *from, struct json_object *to, const Rename *renames)
{
    for (; renames->from; renames++) {
        struct json_object *value;

        if (json_object_object_get_ex(from, renames->from, &value)) {
            json_object_get(value);
            json_object_object_del(from, renames->from);
            json_object_object_add(to, renames->to, value);
        }
    }
}

static void add_string(struct json_object *obj, const char *key, const char *value)
{
    json_object_object_add(obj, key, json_object_new_string(value));
}

static void chardev_set_default(struct json_object *obj, const char *key, const char *value)
{
    if (!json_object_object_get_ex(obj, key, NULL)) {
        add_string(obj, key, value);
    }
}

/* {"type": TYPE, "data": DATA}; takes over @data */
static struct json_object *new_wrapper(const char *type, struct json_object *data)
{
    struct json_object *out = json_object_new_object();

    add_string(out, "type", type);
    json_object_object_add(out, "data", data);
    return out;
}

/*
 * Convert the options of a socket: the address goes into an object of its own, and the defaults are those of the
 * command line.
 */
static void chardev_convert_socket(struct json_object *data)
{
    struct json_object *addr = json_object_new_object();
    const char *type = "inet";

    if (json_object_object_get_ex(data, "path", NULL)) {
        type = "unix";
        move_members(data, addr, unix_members);
    } else if (json_object_object_get_ex(data, "fd", NULL)) {
        type = "fd";
        move_members(data, addr, fd_members);
    } else {
        move_members(data, addr, inet_members);
        chardev_set_default(addr, "host", "");
    }
    json_object_object_add(data, "addr", new_wrapper(type, addr));
    chardev_set_default(data, "server", "off");
    chardev_set_default(data, "wait", "on");
}

/* Convert command line @options, which are freed, to those of the schema. */
static ChardevAddArg *chardev_convert(struct json_object *options, Error **errp)
{
    static const Rename common[] = { { "id", "id" }, { NULL, NULL } };
    static const Rename backend_type[] = { { "backend", "type" }, { NULL, NULL } };
    g_autoptr(json_object) in = json_object_new_object();
    struct json_object *backend = json_object_new_object(), *type;

    json_object_object_add(in, "backend", backend);
    move_members(options, in, common);
    move_members(options, backend, backend_type);
    const char *name = json_object_object_get_ex(backend, "type", &type) ? json_object_get_string(type) : "";
    if (g_str_equal(name, "socket")) {
        chardev_convert_socket(options);
    } else if (g_str_equal(name, "file")) {
        move_members(options, options, file_renames);
    }
    json_object_object_add(backend, "data", json_object_get(options));
    return QAPI_FROM_JSON(ChardevAddArg, in, QAPI_INPUT_KEYVAL, errp);
}

static const char *const option_help[CHARDEV_BACKEND_KIND__MAX] = {
    [CHARDEV_BACKEND_KIND_FILE] =
        "  path=<str>                - file to write to; required\n"
        "  append=<bool (on/off)>    - append to the file instead of truncating it (default: off)\n"
        "  input-path=<str>          - file to read from (default: none)\n",
    [CHARDEV_BACKEND_KIND_SOCKET] =
        "  path=<str>                - a unix socket\n"
        "  abstract=<bool (on/off)>  - the path is a name in the abstract namespace (default: off)\n"
        "  tight=<bool (on/off)>     - do not pad the abstract name with NUL (default: on)\n"
        "  host=<str>, port=<str>    - TCP, if there is no path (default for host: all addresses)\n"
        "  to=<num>                  - listen on the first free port from port up to this one\n"
        "  ipv4=, ipv6=<bool>        - IP version to use (default: both)\n"
        "  fd=<num>                  - an inherited socket\n"
        "  server=<bool (on/off)>    - listen instead of connecting (default: off)\n"
        "  wait=<bool (on/off)>      - wait for a client before starting (default: on)\n"
        "  reconnect-ms=<num>        - as a client, delay in milliseconds before reconnecting\n"
        "  tls-creds=<str>           - ID of TLS credentials, which require TLS (default: no TLS)\n"
        "  tls-authz=<str>           - ID of an authorization object that decides which clients may connect\n",
    [CHARDEV_BACKEND_KIND_STDIO] =
        "  signal=<bool (on/off)>    - let keys of the terminal, such as Ctrl-C, send signals (default: on)\n",
};

bool chardev_is_help(const char *arg)
{
    bool help = false;
    g_autoptr(json_object) options = keyval_parse(arg, "backend", &help, NULL);
    struct json_object *kind;

    if (help && options && json_object_object_get_ex(options, "backend", &kind)) {
        int index = qapi_enum_parse(&qapi_type_ChardevBackendKind, json_object_get_string(kind), -1, NULL);

        if (index >= 0) {
            printf("  id=<str>                  - the name that monitors refer to it by; required\n%s",
                   option_help[index] ?: "");
            return true;
        }
    }
    if (help) {
        printf("Character devices; TYPE,help lists the options of one:\n");
        for (size_t i = 0; i < qapi_type_ChardevBackendKind.n_values; i++) {
            const QAPIEnumValue *v = &qapi_type_ChardevBackendKind.values[i];
            printf("  %-8s %s\n", v->name, v->doc);
        }
    }
    return help;
}

static bool coroutine_fn chardev_wait_for_client(const char *id, const ChardevSocket *socket, Error **errp)
{
    g_autoptr(SocketAddress) addr = socket_address_flatten(socket->addr);
    g_autofree char *where = socket_address_to_string(addr);

    fprintf(stderr, "Waiting for a client on %s\n", where);
    return chardev_socket_wait(chardev_find(id), errp);
}

bool coroutine_fn chardev_parse(const char *arg, Error **errp)
{
    g_autoptr(json_object) options = keyval_parse(arg, "backend", NULL, errp);

    if (!options) {
        return false;
    }
    g_autoptr(ChardevAddArg) add = chardev_convert(options, errp);
    if (!add || !chardev_add(add->id, add->backend, errp)) {
        return false;
    }
    const ChardevSocket *socket = add->backend->u.socket.data;
    return add->backend->type != CHARDEV_BACKEND_KIND_SOCKET || !socket->server || !socket->wait ||
           chardev_wait_for_client(add->id, socket, errp);
}
