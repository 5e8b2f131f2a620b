/*
 * Character devices: the list of devices, and their front ends
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "monitor/chardev/chardev-int.h"
#include "io/sockets.h"
#include "util/id.h"

static const ChardevDriver *const drivers[CHARDEV_BACKEND_KIND__MAX] = {
    [CHARDEV_BACKEND_KIND_FILE] = &chardev_file,
    [CHARDEV_BACKEND_KIND_NULL] = &chardev_null,
    [CHARDEV_BACKEND_KIND_SOCKET] = &chardev_socket,
    [CHARDEV_BACKEND_KIND_STDIO] = &chardev_stdio,
};

static GPtrArray *chardevs;     /* of Chardev */

Chardev *chardev_find(const char *id)
{
    for (guint i = 0; chardevs && i < chardevs->len; i++) {
        Chardev *chr = g_ptr_array_index(chardevs, i);

        if (g_str_equal(chr->id, id)) {
            return chr;
        }
    }
    return NULL;
}

static bool chardev_id_is_free(const char *id, Error **errp)
{
    if (chardev_find(id)) {
        error_setg(errp, "Chardev with id '%s' already exists", id);
        return false;
    }
    return true;
}

static void chardev_free(Chardev *chr)
{
    g_free(chr->id);
    g_free(chr->filename);
    g_free(chr);
}

static char *chardev_describe(const ChardevBackend *backend)
{
    if (backend->type != CHARDEV_BACKEND_KIND_SOCKET) {
        return g_strdup(ChardevBackendKind_str(backend->type));
    }
    const ChardevSocket *socket = backend->u.socket.data;
    g_autoptr(SocketAddress) addr = socket_address_flatten(socket->addr);
    g_autofree char *where = socket_address_to_string(addr);

    return g_strconcat(where, !socket->has_server || socket->server ? ",server=on" : "", NULL);
}

bool coroutine_fn chardev_add(const char *id, const ChardevBackend *backend, Error **errp)
{
    const ChardevDriver *drv = drivers[backend->type];

    if (!id_wellformed(id)) {
        error_setg(errp, "'%s' is not a valid chardev id", id);
        error_append_hint(errp, "An id begins with a letter, followed by letters, digits, '-', '.' and '_'.\n");
        return false;
    }
    if (!chardev_id_is_free(id, errp)) {
        return false;
    }
    Chardev *chr = g_malloc0(drv->instance_size);
    chr->drv = drv;
    chr->id = g_strdup(id);
    chr->filename = chardev_describe(backend);
    if (!drv->open(chr, backend, errp)) {
        chardev_free(chr);
        return false;
    }
    /* Opening may have waited, so others may have run. */
    if (!chardev_id_is_free(id, errp)) {
        drv->close(chr);
        chardev_free(chr);
        return false;
    }
    if (!chardevs) {
        chardevs = g_ptr_array_new();
    }
    g_ptr_array_add(chardevs, chr);
    return true;
}

static void coroutine_fn chardev_delete(Chardev *chr)
{
    g_ptr_array_remove(chardevs, chr);
    if (chardevs->len == 0) {
        g_clear_pointer(&chardevs, g_ptr_array_unref);
    }
    chr->drv->close(chr);
    chardev_free(chr);
}

bool coroutine_fn chardev_remove(const char *id, Error **errp)
{
    Chardev *chr = chardev_find(id);

    if (!chr) {
        error_setg(errp, "Chardev '%s' not found", id);
        return false;
    }
    if (chr->attached) {
        error_setg(errp, "Chardev '%s' is busy", id);
        return false;
    }
    chardev_delete(chr);
    return true;
}

ChardevInfoList *chardev_query(void)
{
    ChardevInfoList *list = NULL;

    for (guint i = 0; chardevs && i < chardevs->len; i++) {
        const Chardev *chr = g_ptr_array_index(chardevs, i);
        ChardevInfo *info = g_new0(ChardevInfo, 1);

        info->label = g_strdup(chr->id);
        info->filename = g_strdup(chr->filename);
        info->frontend_open = chr->attached;
        QAPI_LIST_APPEND(list, info);
    }
    return list;
}

void coroutine_fn chardev_cleanup(void)
{
    while (chardevs) {
        chardev_delete(g_ptr_array_index(chardevs, chardevs->len - 1));
    }
}

Chardev *chardev_attach(const char *id, Error **errp)
{
    Chardev *chr = chardev_find(id);

    if (!chr) {
        error_setg(errp, "Chardev '%s' not found", id);
        return NULL;
    }
    if (chr->attached) {
        error_setg(errp, "Chardev '%s' is already in use", id);
        return NULL;
    }
    chr->attached = true;
    return chr;
}

void chardev_start(Chardev *chr, ChardevOpened *opened, void *opaque)
{
    chr->opened = opened;
    chr->opaque = opaque;
    chr->drv->start(chr);
}

void chardev_connected(Chardev *chr, IOChannel *in, IOChannel *out)
{
    assert(chr->opened && !chr->connected);
    chr->connected = true;
    chr->opened(in, out, chr->opaque);
}

void chardev_disconnected(Chardev *chr)
{
    chr->connected = false;
    if (chr->opened && chr->drv->disconnected) {
        chr->drv->disconnected(chr);
    }
}

void chardev_detach(Chardev *chr)
{
    if (chr->opened) {
        chr->drv->stop(chr);
        chr->opened = NULL;
    }
    chr->attached = false;
}
