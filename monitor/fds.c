/*
 * Descriptors that a client passes over a unix socket, and their names
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "monitor/monitor-int.h"
#include "qapi/qapi-commands.h"
#include "util/fdset.h"

/* The first descriptor that came with the command; -1 with @errp. */
static int take_passed_fd(Error **errp)
{
    GArray *fds = qmp_request_cur()->fds;

    if (fds->len == 0) {
        error_setg(errp, "No file descriptor supplied via SCM_RIGHTS");
        return -1;
    }
    int fd = g_array_index(fds, int, 0);
    g_array_remove_index(fds, 0);
    return fd;
}

bool coroutine_fn qmp_getfd(const GetfdArg *arg, Error **errp)
{
    int fd = take_passed_fd(errp);

    if (fd < 0) {
        return false;
    }
    if (g_ascii_isdigit(arg->fdname[0])) {
        error_setg(errp, "Parameter 'fdname' expects a name not starting with a digit");
        close(fd);
        return false;
    }
    g_hash_table_replace(qmp_request_cur()->s->named_fds, g_strdup(arg->fdname), GINT_TO_POINTER(fd));
    return true;
}

bool coroutine_fn qmp_closefd(const ClosefdArg *arg, Error **errp)
{
    if (!g_hash_table_remove(qmp_request_cur()->s->named_fds, arg->fdname)) {
        error_setg(errp, "File descriptor named '%s' not found", arg->fdname);
        return false;
    }
    return true;
}

int monitor_take_fd(const char *name, Error **errp)
{
    QmpRequest *r = qmp_request_cur();
    gpointer key, fd;

    if (!r || !g_hash_table_steal_extended(r->s->named_fds, name, &key, &fd)) {
        error_setg(errp, "File descriptor named '%s' has not been found", name);
        return -1;
    }
    g_free(key);
    return GPOINTER_TO_INT(fd);
}

AddfdInfo *coroutine_fn qmp_add_fd(const AddFdArg *arg, Error **errp)
{
    int fd = take_passed_fd(errp);
    int64_t id = arg->has_fdset_id ? arg->fdset_id : -1;

    if (fd < 0) {
        return NULL;
    }
    if (arg->has_fdset_id && id < 0) {
        error_setg(errp, "Parameter 'fdset-id' expects a non-negative value");
        close(fd);
        return NULL;
    }
    fdset_add(&id, fd, arg->opaque);
    AddfdInfo *info = g_new(AddfdInfo, 1);
    *info = (AddfdInfo){ .fdset_id = id, .fd = fd };
    return info;
}

bool coroutine_fn qmp_remove_fd(const RemoveFdArg *arg, Error **errp)
{
    return fdset_remove(arg->fdset_id, arg->has_fd ? MAX(arg->fd, 0) : -1, errp);
}

static void add_fd_info(int64_t id, int fd, const char *fd_opaque, void *opaque)
{
    FdsetInfoList **list = opaque;
    FdsetInfo *set = *list && (*list)->n ? (*list)->items[(*list)->n - 1] : NULL;
    FdsetFdInfo *info = g_new(FdsetFdInfo, 1);

    if (!set || set->fdset_id != id) {
        set = g_new0(FdsetInfo, 1);
        set->fdset_id = id;
        QAPI_LIST_APPEND(*list, set);
    }
    *info = (FdsetFdInfo){ .fd = fd, .opaque = g_strdup(fd_opaque) };
    QAPI_LIST_APPEND(set->fds, info);
}

FdsetInfoList *coroutine_fn qmp_query_fdsets(Error **errp)
{
    FdsetInfoList *list = NULL;

    fdset_foreach(add_fd_info, &list);
    return list;
}
