/*
 * Descriptors that a client passes over a unix socket, and names
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "monitor-int.h"
#include "qapi/qapi-commands.h"

/* The descriptor that came with the command; -1 with @errp. */
static int take_passed_fd(Error **errp)
{
    QmpSession *s = qmp_session_cur();
    int fd = s->in ? io_channel_take_fd(s->in) : -1;

    if (fd < 0) {
        error_setg(errp, "No file descriptor supplied via SCM_RIGHTS");
    }
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
    g_hash_table_replace(qmp_session_cur()->fds, g_strdup(arg->fdname), GINT_TO_POINTER(fd));
    return true;
}

bool coroutine_fn qmp_closefd(const ClosefdArg *arg, Error **errp)
{
    if (!g_hash_table_remove(qmp_session_cur()->fds, arg->fdname)) {
        error_setg(errp, "File descriptor named '%s' not found", arg->fdname);
        return false;
    }
    return true;
}

int monitor_take_fd(const char *name, Error **errp)
{
    QmpSession *s = qmp_session_cur();
    gpointer key, fd;

    if (!s || !g_hash_table_steal_extended(s->fds, name, &key, &fd)) {
        error_setg(errp, "File descriptor named '%s' has not been found", name);
        return -1;
    }
    g_free(key);
    return GPOINTER_TO_INT(fd);
}
