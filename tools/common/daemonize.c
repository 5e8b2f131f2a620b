/*
 * Becoming a daemon
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "tools/common/daemonize.h"

static int ready_fd = -1;       /* the original process has the other end */

/* In the original process: wait until the daemon is ready or has exited, and exit. */
static G_GNUC_NORETURN void wait_for_daemon(int fd)
{
    char c;

    exit(RETRY_ON_EINTR(read(fd, &c, 1)) == 1 ? 0 : 1);
}

bool daemonize_begin(Error **errp)
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) < 0) {
        error_setg_errno(errp, errno, "Could not create a pipe");
        return false;
    }
    pid_t pid = fork();
    if (pid < 0) {
        error_setg_errno(errp, errno, "Could not fork");
        close(fds[0]);
        close(fds[1]);
        return false;
    }
    if (pid > 0) {
        close(fds[1]);
        wait_for_daemon(fds[0]);
    }
    close(fds[0]);
    ready_fd = fds[1];
    setsid();
    /* A session leader could acquire a terminal by opening one: continue as its child. */
    pid = fork();
    if (pid > 0) {
        _exit(0);
    }
    if (pid < 0) {
        error_setg_errno(errp, errno, "Could not fork");
        return false;
    }
    return true;
}

bool daemonize_done(bool keep_stderr, Error **errp)
{
    g_auto_fd int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (null < 0) {
        error_setg_errno(errp, errno, "Could not detach from the terminal");
        return false;
    }
    dup2(null, STDIN_FILENO);
    dup2(null, STDOUT_FILENO);
    if (!keep_stderr) {
        dup2(null, STDERR_FILENO);
    }
    (void)!write(ready_fd, "", 1);
    close(ready_fd);
    ready_fd = -1;
    return true;
}
