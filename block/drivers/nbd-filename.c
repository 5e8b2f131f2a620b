/*
 * Filenames of the nbd driver
 *
 *   nbd:unix:PATH[:exportname=NAME]
 *   nbd:HOST:PORT[:exportname=NAME]
 *   nbd://HOST[:PORT][/NAME]                   TCP; also nbd+tcp:
 *   nbd+unix:///[NAME]?socket=PATH
 *   nbds://..., nbds+unix://...                the same with TLS
 *
 * The older options that QEMU accepts on the command line are understood, too.
 *
 * The parts of URIs are percent-encoded. Options tls-creds=ID and tls-hostname=NAME may follow as query parameters.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <json.h>

#include "block/drivers/nbd.h"
#include "qapi/json.h"

#define DEFAULT_PORT "10809"
#define EXPORT_OPTION ":exportname="

static void set_unix(struct json_object *options, const char *path)
{
    struct json_object *server = json_object_new_object();

    qapi_json_set_string(server, "type", "unix");
    qapi_json_set_string(server, "path", path);
    json_object_object_add(options, "server", server);
}

static void set_inet(struct json_object *options, const char *host, const char *port)
{
    struct json_object *server = json_object_new_object();

    qapi_json_set_string(server, "type", "inet");
    qapi_json_set_string(server, "host", host);
    qapi_json_set_string(server, "port", port);
    json_object_object_add(options, "server", server);
}

/* HOST:PORT or [HOST]:PORT */
static bool parse_host_port(const char *text, struct json_object *options, Error **errp)
{
    const char *colon = strrchr(text, ':');
    const char *host = text, *end = colon;

    if (*text == '[') {
        host = text + 1;
        end = strchr(text, ']');
        colon = end && end[1] == ':' ? end + 1 : NULL;
    }
    if (!colon || end == host || !colon[1] || (*text != '[' && memchr(text, ':', end - text))) {
        error_setg(errp, "Invalid NBD server '%s': it has the form HOST:PORT or unix:PATH", text);
        error_append_hint(errp, "An IPv6 address needs brackets, as in nbd:[::1]:10809.\n");
        return false;
    }
    g_autofree char *name = g_strndup(host, end - host);
    set_inet(options, name, colon + 1);
    return true;
}

/* nbd:unix:PATH and nbd:HOST:PORT */
static bool parse_old_form(const char *rest, struct json_object *options, Error **errp)
{
    const char *export = strstr(rest, EXPORT_OPTION);
    g_autofree char *server = export ? g_strndup(rest, export - rest) : g_strdup(rest);

    if (export) {
        qapi_json_set_string(options, "export", export + strlen(EXPORT_OPTION));
    }
    if (!g_str_has_prefix(server, "unix:")) {
        return parse_host_port(server, options, errp);
    }
    if (!server[strlen("unix:")]) {
        error_setg(errp, "The path of the NBD server's socket is missing");
        return false;
    }
    set_unix(options, server + strlen("unix:"));
    return true;
}

typedef struct Uri {
    bool tls;
    bool is_unix;
    char *host;         /* percent-decoded, as all of them; NULL: none */
    int port;           /* -1: none */
    char *export_name;
    char *socket;
    char *tls_creds;
    char *tls_hostname;
} Uri;

static void uri_clear(Uri *uri)
{
    g_free(uri->host);
    g_free(uri->export_name);
    g_free(uri->socket);
    g_free(uri->tls_creds);
    g_free(uri->tls_hostname);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Uri, uri_clear)

/* Decode @text; false with @errp if it is malformed. NULL stays NULL. */
static bool decode(const char *text, char **decoded, const char *what, Error **errp)
{
    g_free(*decoded);
    *decoded = text ? g_uri_unescape_string(text, NULL) : NULL;
    if (text && !*decoded) {
        error_setg(errp, "The %s in the NBD URI is not properly percent-encoded", what);
    }
    return !text || *decoded;
}

static bool parse_query(const char *query, Uri *uri, Error **errp)
{
    g_auto(GStrv) params = g_strsplit_set(query ?: "", "&;", -1);

    for (char **param = params; *param; param++) {
        char *value = strchr(*param, '=');
        char **to;

        if (!**param) {
            continue;
        }
        if (value) {
            *value++ = '\0';
        }
        if (g_str_equal(*param, "socket") && uri->is_unix) {
            to = &uri->socket;
        } else if (g_str_equal(*param, "tls-creds") && uri->tls) {
            to = &uri->tls_creds;
        } else if (g_str_equal(*param, "tls-hostname") && uri->tls) {
            to = &uri->tls_hostname;
        } else {
            error_setg(errp, "Parameter '%s' is not known in this NBD URI", *param);
            error_append_hint(errp, "Use socket=PATH with nbd+unix: and nbds+unix:, and tls-creds=ID and "
                              "tls-hostname=NAME with nbds: and nbds+unix:.\n");
            return false;
        }
        if (*to || !value || !*value) {
            error_setg(errp, "Parameter '%s' of the NBD URI needs one value", *param);
            return false;
        }
        if (!decode(value, to, *param, errp)) {
            return false;
        }
    }
    return true;
}

/* Set @uri from text. Messages do not repeat the text, which may contain a password. */
static bool parse_uri(const char *text, Uri *uri, Error **errp)
{
    g_autofree char *scheme = NULL, *user = NULL, *host = NULL, *path = NULL, *query = NULL, *fragment = NULL;

    if (!g_uri_split(text, G_URI_FLAGS_ENCODED, &scheme, &user, &host, &uri->port, &path, &query, &fragment, NULL)) {
        error_setg(errp, "Invalid NBD URI");
        error_append_hint(errp, "It has the form nbd://HOST[:PORT]/EXPORT or nbd+unix:///EXPORT?socket=PATH, with "
                          "special characters percent-encoded.\n");
        return false;
    }
    if (user) {
        error_setg(errp, "An NBD URI cannot contain a user or a password");
        error_append_hint(errp, "Other users could read them in the process list. Create an object of type "
                          "tls-creds-psk or tls-creds-x509, and specify it with tls-creds=ID.\n");
        return false;
    }
    if (fragment) {
        error_setg(errp, "An NBD URI cannot have a fragment ('#')");
        return false;
    }
    uri->tls = g_str_has_prefix(scheme, "nbds");
    uri->is_unix = g_str_has_suffix(scheme, "+unix");
    if (host && strchr(host, ':')) {
        uri->host = g_strdup(host);     /* an IPv6 address, decoded already */
    } else if (!decode(host && *host ? host : NULL, &uri->host, "host", errp)) {
        return false;
    }
    return decode(path + strspn(path, "/"), &uri->export_name, "export name", errp) && parse_query(query, uri, errp);
}

static bool parse_uri_form(const char *filename, struct json_object *options, Error **errp)
{
    g_auto(Uri) uri = { .port = -1 };

    if (!parse_uri(filename, &uri, errp)) {
        return false;
    }
    if (uri.is_unix) {
        if (uri.host || uri.port >= 0 || !uri.socket) {
            error_setg(errp, "An NBD URI of a unix socket has the form nbd+unix:///EXPORT?socket=PATH");
            return false;
        }
        set_unix(options, uri.socket);
    } else {
        g_autofree char *port = uri.port >= 0 ? g_strdup_printf("%d", uri.port) : g_strdup(DEFAULT_PORT);

        if (!uri.host) {
            error_setg(errp, "The host is missing in the NBD URI");
            return false;
        }
        set_inet(options, uri.host, port);
    }
    if (*uri.export_name) {
        qapi_json_set_string(options, "export", uri.export_name);
    }
    if (uri.tls) {
        /* Unless other options name them, opening refuses the empty name. */
        qapi_json_set_string(options, "tls-creds", uri.tls_creds ?: "");
    }
    if (uri.tls_hostname) {
        qapi_json_set_string(options, "tls-hostname", uri.tls_hostname);
    }
    return true;
}

bool nbd_parse_filename(const char *filename, struct json_object *options, Error **errp)
{
    const char *rest = strchr(filename, ':') + 1;

    if (g_str_has_prefix(rest, "//")) {
        return parse_uri_form(filename, options, errp);
    }
    if (!g_str_has_prefix(filename, "nbd:")) {
        error_setg(errp, "'%.*s' must be followed by '//'", (int)(rest - filename), filename);
        return false;
    }
    return parse_old_form(rest, options, errp);
}

bool nbd_modernize_options(struct json_object *options, Error **errp)
{
    struct json_object *path, *host, *port;
    bool has_path = json_object_object_get_ex(options, "path", &path);
    bool has_host = json_object_object_get_ex(options, "host", &host);
    bool has_port = json_object_object_get_ex(options, "port", &port);

    if (!has_path && !has_host && !has_port) {
        return true;
    }
    if (has_path + has_host != 1 || json_object_object_get_ex(options, "server", NULL)) {
        error_setg(errp, "Options 'server', 'path' and 'host' of nbd exclude each other, and 'port' goes with 'host'");
        return false;
    }
    if (has_path) {
        set_unix(options, json_object_get_string(path));
    } else {
        set_inet(options, json_object_get_string(host), has_port ? json_object_get_string(port) : DEFAULT_PORT);
    }
    json_object_object_del(options, "path");
    json_object_object_del(options, "host");
    json_object_object_del(options, "port");
    return true;
}

/* Options that cannot be part of a filename. */
static bool needs_json(const BlockdevOptionsNbd *o)
{
    const SocketAddress *addr = o->server;

    switch (addr->type) {
    case SOCKET_ADDRESS_TYPE_UNIX:
        return addr->u.q_unix.has_abstract && addr->u.q_unix.abstract;
    case SOCKET_ADDRESS_TYPE_INET:
        return !addr->u.inet.host[0] || strspn(addr->u.inet.port, "0123456789") != strlen(addr->u.inet.port) ||
               addr->u.inet.has_ipv4 || addr->u.inet.has_ipv6 || (addr->u.inet.has_mptcp && addr->u.inet.mptcp);
    default:
        return true;
    }
}

static char *json_filename(const BlockdevOptionsNbd *o)
{
    g_autoptr(json_object) options = QAPI_TO_JSON(BlockdevOptionsNbd, o);

    json_object_object_add(options, "driver", json_object_new_string("nbd"));
    return bdrv_json_filename(options);
}

static void append_param(GString *uri, const char *key, const char *value)
{
    if (value) {
        g_string_append_printf(uri, "%c%s=", strchr(uri->str, '?') ? '&' : '?', key);
        g_string_append_uri_escaped(uri, value, "/", false);
    }
}

char *nbd_filename(const BlockdevOptionsNbd *o)
{
    GString *uri = g_string_new(o->tls_creds ? "nbds" : "nbd");
    const SocketAddress *addr = o->server;
    const char *export = o->export ?: "";
    bool is_unix = addr->type == SOCKET_ADDRESS_TYPE_UNIX;

    if (needs_json(o)) {
        g_string_free(uri, true);
        return json_filename(o);
    }
    if (is_unix) {
        g_string_append(uri, "+unix:///");
    } else {
        bool is_ipv6 = strchr(addr->u.inet.host, ':');

        g_string_append(uri, is_ipv6 ? "://[" : "://");
        g_string_append_uri_escaped(uri, addr->u.inet.host, is_ipv6 ? ":" : NULL, false);
        g_string_append_printf(uri, "%s:%s%s", is_ipv6 ? "]" : "", addr->u.inet.port, *export ? "/" : "");
    }
    /* Slashes at its beginning would be taken for that of the path. */
    for (; *export == '/'; export++) {
        g_string_append(uri, "%2F");
    }
    g_string_append_uri_escaped(uri, export, "/:@+,!$'()*=", false);
    append_param(uri, "socket", is_unix ? addr->u.q_unix.path : NULL);
    append_param(uri, "tls-creds", o->tls_creds);
    append_param(uri, "tls-hostname", o->tls_creds ? o->tls_hostname : NULL);
    return g_string_free(uri, false);
}
