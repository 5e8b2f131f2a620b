/*
 * Filenames of the rbd driver
 *
 *   rbd:POOL[/NAMESPACE]/IMAGE[@SNAPSHOT][:KEY=VALUE]...
 *
 * The keys are id (the option user), conf, mon_host (the option server) and auth_client_required, or its old name
 * auth_supported. A backslash escapes the next character.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <json.h>

#include "block/drivers/rbd.h"
#include "qapi/json.h"
#include "qapi/qapi.h"

#define PREFIX "rbd:"
/* Characters to escape in a name, and in the value of a key. */
#define SPECIAL_IN_NAME "\\/@:"
#define SPECIAL_IN_VALUE "\\:"
/* Default port of monitors: the older of the two. */
#define DEFAULT_MON_PORT "6789"

/* The end of the part of @text before the first of @ends. */
static const char *part_end(const char *text, const char *ends)
{
    while (*text && !strchr(ends, *text)) {
        text += text[0] == '\\' && text[1] ? 2 : 1;
    }
    return text;
}

/* The part of @text up to @end, without the backslashes. Caller frees. */
static char *unescape(const char *text, const char *end)
{
    GString *part = g_string_new(NULL);

    while (text < end) {
        text += text[0] == '\\' && text + 1 < end;
        g_string_append_c(part, *text++);
    }
    return g_string_free(part, false);
}

/* Take the part of *@text before the first of @ends off it. Caller frees. */
static char *next_part(const char **text, const char *ends)
{
    const char *begin = *text;

    *text = part_end(begin, ends);
    return unescape(begin, *text);
}

/* One of the monitors in mon_host: HOST, HOST:PORT, or either with an IPv6 address in brackets. */
static bool add_monitor(struct json_object *servers, const char *text, Error **errp)
{
    struct json_object *server = json_object_new_object();
    const char *host = text, *end = text + strcspn(text, ":"), *port = NULL;

    json_object_array_add(servers, server);
    if (*text == '[') {
        host = text + 1;
        end = host + strcspn(host, "]");
        port = *end ? end + 1 : NULL;
    } else {
        port = end;
    }
    if (!port || end == host || (*port && (*port != ':' || !port[1] || strchr(port + 1, ':')))) {
        error_setg(errp, "Invalid monitor '%s' in mon_host: it has the form HOST[:PORT]", text);
        error_append_hint(errp, "An IPv6 address needs brackets. Several monitors are separated by \"\\;\".\n");
        return false;
    }
    g_autofree char *name = g_strndup(host, end - host);
    qapi_json_set_string(server, "host", name);
    qapi_json_set_string(server, "port", *port ? port + 1 : DEFAULT_MON_PORT);
    return true;
}

static bool set_monitors(struct json_object *options, const char *value, Error **errp)
{
    g_auto(GStrv) names = g_strsplit_set(value, ";, ", -1);
    struct json_object *servers = json_object_new_array();

    json_object_object_add(options, "server", servers);
    for (char **name = names; *name; name++) {
        if (**name && !add_monitor(servers, *name, errp)) {
            return false;
        }
    }
    if (json_object_array_length(servers) == 0) {
        error_setg(errp, "mon_host in the RBD filename names no monitor");
        error_append_hint(errp, "Without mon_host, those of the configuration file are used.\n");
        return false;
    }
    return true;
}

static void set_auth(struct json_object *options, const char *value)
{
    g_auto(GStrv) modes = g_strsplit_set(value, ";, ", -1);
    struct json_object *list = json_object_new_array();

    json_object_object_add(options, "auth-client-required", list);
    for (char **mode = modes; *mode; mode++) {
        if (**mode) {
            json_object_array_add(list, json_object_new_string(*mode));
        }
    }
}

/* Messages do not repeat the value, which may be a secret. */
static bool set_key_value(struct json_object *options, const char *key, const char *value, Error **errp)
{
    if (g_str_equal(key, "id")) {
        qapi_json_set_string(options, "user", value);
    } else if (g_str_equal(key, "conf")) {
        qapi_json_set_string(options, "conf", value);
    } else if (g_str_equal(key, "mon_host")) {
        return set_monitors(options, value, errp);
    } else if (g_str_equal(key, "auth_client_required") || g_str_equal(key, "auth_supported")) {
        set_auth(options, value);
    } else if (g_str_equal(key, "key")) {
        error_setg(errp, "The key of a Ceph client does not belong in a filename");
        error_append_hint(errp, "Other users could read it in the process list. Create an object of type secret with "
                          "format=base64, and specify it with the option key-secret=ID; or use a keyring.\n");
        return false;
    } else {
        error_setg(errp, "Key '%s' is not known in an RBD filename", key);
        error_append_hint(errp, "Known keys are id, conf, mon_host and auth_client_required. Other settings belong in "
                          "the configuration file that conf=FILE names.\n");
        return false;
    }
    return true;
}

static bool parse_key_values(const char *rest, struct json_object *options, Error **errp)
{
    while (*rest == ':') {
        rest++;
        g_autofree char *key = next_part(&rest, ":=");

        if (*rest != '=') {
            error_setg(errp, "Option '%s' of the RBD filename needs a value, as in id=NAME", key);
            return false;
        }
        rest++;
        g_autofree char *value = next_part(&rest, ":");
        bool ok = set_key_value(options, key, value, errp);
        secret_wipe(value, strlen(value));
        if (!ok) {
            return false;
        }
    }
    return true;
}

bool qemu_rbd_parse_filename(const char *filename, struct json_object *options, Error **errp)
{
    const char *rest = filename + strlen(PREFIX);
    g_autofree char *pool = next_part(&rest, "/:");
    g_autofree char *image = NULL, *namespace = NULL, *snapshot = NULL;

    if (*rest == '/') {
        rest++;
        image = next_part(&rest, "/@:");
    }
    if (*rest == '/') {
        rest++;
        namespace = g_steal_pointer(&image);
        image = next_part(&rest, "@:");
    }
    if (*rest == '@') {
        rest++;
        snapshot = next_part(&rest, ":");
    }
    if (!*pool || !image || !*image || (snapshot && !*snapshot)) {
        error_setg(errp, "An RBD filename has the form rbd:POOL[/NAMESPACE]/IMAGE[@SNAPSHOT][:id=NAME][:conf=FILE]");
        error_append_hint(errp, "In names, escape / @ : \\ with a backslash.\n");
        return false;
    }
    qapi_json_set_string(options, "pool", pool);
    if (namespace && *namespace) {
        qapi_json_set_string(options, "namespace", namespace);
    }
    qapi_json_set_string(options, "image", image);
    if (snapshot) {
        qapi_json_set_string(options, "snapshot", snapshot);
    }
    return parse_key_values(rest, options, errp);
}

static void append_part(GString *name, const char *before, const char *part, const char *special)
{
    if (part) {
        g_string_append(name, before);
    }
    for (; part && *part; part++) {
        if (strchr(special, *part)) {
            g_string_append_c(name, '\\');
        }
        g_string_append_c(name, *part);
    }
}

static void append_monitors(GString *name, const InetSocketAddressBaseList *servers)
{
    g_autoptr(GString) list = g_string_new(NULL);

    for (size_t i = 0; i < servers->n; i++) {
        const InetSocketAddressBase *server = servers->items[i];
        bool is_ipv6 = strchr(server->host, ':');

        g_string_append_printf(list, "%s%s%s%s:%s", i ? ";" : "", is_ipv6 ? "[" : "", server->host, is_ipv6 ? "]" : "",
                               server->port);
    }
    append_part(name, ":mon_host=", list->str, SPECIAL_IN_VALUE);
}

static char *json_filename(const BlockdevOptionsRbd *o)
{
    g_autoptr(json_object) options = QAPI_TO_JSON(BlockdevOptionsRbd, o);

    json_object_object_add(options, "driver", json_object_new_string("rbd"));
    return bdrv_json_filename(options);
}

char *qemu_rbd_filename(const BlockdevOptionsRbd *o)
{
    GString *name = g_string_new(NULL);

    /* No filename names secrets. */
    if (o->key_secret || o->encrypt) {
        g_string_free(name, true);
        return json_filename(o);
    }
    append_part(name, PREFIX, o->pool, SPECIAL_IN_NAME);
    append_part(name, "/", o->namespace && *o->namespace ? o->namespace : NULL, SPECIAL_IN_NAME);
    append_part(name, "/", o->image, SPECIAL_IN_NAME);
    append_part(name, "@", o->snapshot, SPECIAL_IN_NAME);
    append_part(name, ":id=", o->user, SPECIAL_IN_VALUE);
    append_part(name, ":conf=", o->conf, SPECIAL_IN_VALUE);
    if (o->server && o->server->n) {
        append_monitors(name, o->server);
    }
    if (o->auth_client_required && o->auth_client_required->n) {
        for (size_t i = 0; i < o->auth_client_required->n; i++) {
            g_string_append_printf(name, "%s%s", i ? ";" : ":auth_client_required=",
                                   RbdAuthMode_str(o->auth_client_required->items[i]));
        }
    }
    return g_string_free(name, false);
}
