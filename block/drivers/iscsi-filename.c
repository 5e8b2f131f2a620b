/*
 * Filenames of the iscsi driver
 *
 *   iscsi://[USER@]HOST[:PORT]/TARGET/LUN
 *
 * TARGET is percent-encoded.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <json.h>

#include "block/drivers/iscsi.h"
#include "qapi/json.h"
#include "qapi/qapi.h"

#define SCHEME "iscsi://"

bool iscsi_parse_portal(const char *portal, char **host, char **port, Error **errp)
{
    g_autofree char *address = g_strndup(portal, strcspn(portal, ","));
    char *begin = address, *colon = strrchr(address, ':');

    if (*address == '[') {
        char *end = strchr(address, ']');

        begin = address + 1;
        colon = end && end[1] == ':' ? end + 1 : NULL;
        if (!end || (end[1] && !colon)) {
            begin = end = address;
        }
        *end = '\0';
    } else if (colon) {
        *colon = '\0';
        if (strchr(address, ':')) {
            *address = '\0';
        }
    }
    if (!*begin || (colon && !colon[1])) {
        error_setg(errp, "The iSCSI portal does not have the form HOST[:PORT]");
        error_append_hint(errp, "An IPv6 address needs brackets, as in [::1]:" ISCSI_DEFAULT_PORT ".\n");
        return false;
    }
    *host = g_strdup(begin);
    *port = g_strdup(colon ? colon + 1 : ISCSI_DEFAULT_PORT);
    return true;
}

static bool report_form(Error **errp)
{
    /* Do not show the text, which may contain a password. */
    error_setg(errp, "Invalid iSCSI URL");
    error_append_hint(errp, "It has the form iscsi://[USER@]HOST[:PORT]/TARGET/LUN, with special characters of TARGET "
                      "percent-encoded.\n");
    return false;
}

/* USER@PORTAL, without a password. */
static bool parse_authority(const char *authority, struct json_object *options, Error **errp)
{
    g_autofree char *user = NULL, *host = NULL, *port = NULL;
    const char *at = strrchr(authority, '@');
    const char *portal = at ? at + 1 : authority;

    if (at) {
        user = g_strndup(authority, at - authority);
        if (strpbrk(user, "%:")) {
            error_setg(errp, "An iSCSI URL cannot contain a password");
            error_append_hint(errp, "Other users could read it in the process list. Create a secret object, and use "
                              "options user=NAME and password-secret=ID.\n");
            return false;
        }
        if (!*user) {
            return report_form(errp);
        }
        qapi_json_set_string(options, "user", user);
    }
    if (!iscsi_parse_portal(portal, &host, &port, errp)) {
        return false;
    }
    qapi_json_set_string(options, "portal", portal);
    return true;
}

bool iscsi_parse_filename(const char *filename, struct json_object *options, Error **errp)
{
    if (g_str_has_prefix(filename, "iser:")) {
        error_setg(errp, "iSER, iSCSI over RDMA, is not supported");
        error_append_hint(errp, "Use iscsi:// for iSCSI over TCP.\n");
        return false;
    }
    if (!g_str_has_prefix(filename, SCHEME)) {
        return report_form(errp);
    }
    /* Check for '@' first: a password can contain anything. */
    const char *authority = filename + strlen(SCHEME);
    const char *at = strrchr(authority, '@');
    const char *slash = strchr(at ? at : authority, '/');
    const char *last = slash ? strrchr(slash, '/') : NULL;

    if (!slash || last == slash || slash == authority) {
        return report_form(errp);
    }
    g_autofree char *before = g_strndup(authority, slash - authority);
    g_autofree char *encoded = g_strndup(slash + 1, last - slash - 1);
    g_autofree char *target = g_uri_unescape_string(encoded, "/");
    gint64 lun;

    if (!parse_authority(before, options, errp)) {
        return false;
    }
    if (strchr(last, '?')) {
        error_setg(errp, "An iSCSI URL cannot have parameters ('?')");
        error_append_hint(errp, "Use the options header-digest, initiator-name, password-secret and timeout.\n");
        return false;
    }
    if (!target || !*target || strchr(encoded, '/') ||
        !g_ascii_string_to_signed(last + 1, 10, 0, UINT16_MAX, &lun, NULL)) {
        return report_form(errp);
    }
    qapi_json_set_string(options, "transport", "tcp");
    qapi_json_set_string(options, "target", target);
    /* As a string, as from key=value: both are parsed alike. */
    qapi_json_set_string(options, "lun", last + 1);
    return true;
}

/* Options that cannot be part of a filename. */
static bool needs_json(const BlockdevOptionsIscsi *o)
{
    return o->password_secret || o->initiator_name || o->has_header_digest || o->has_timeout ||
           (o->user && (!*o->user || strpbrk(o->user, "%:@"))) || strpbrk(o->portal, "@/?%");
}

static char *json_filename(const BlockdevOptionsIscsi *o)
{
    g_autoptr(json_object) options = QAPI_TO_JSON(BlockdevOptionsIscsi, o);

    json_object_object_add(options, "driver", json_object_new_string("iscsi"));
    return bdrv_json_filename(options);
}

char *iscsi_filename(const BlockdevOptionsIscsi *o)
{
    if (needs_json(o)) {
        return json_filename(o);
    }
    GString *url = g_string_new(SCHEME);
    if (o->user) {
        g_string_append_printf(url, "%s@", o->user);
    }
    g_string_append_printf(url, "%s/", o->portal);
    g_string_append_uri_escaped(url, o->target, ":+,!$'()*=", false);
    g_string_append_printf(url, "/%" PRId64, o->has_lun ? o->lun : 0);
    return g_string_free(url, false);
}
