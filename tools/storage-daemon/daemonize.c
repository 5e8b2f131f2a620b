/*
 * Becoming a daemon
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <sys/stat.h>

#include "daemonize.h"

static int ready_fd = -1;       /* the other end is with the process that was started */
static char *pidfile;

/* In the process that was started: wait for what becomes of the daemon, and exit. */
static G_GNUC_NORETURN void wait_for_daemon(int fd)
{
    char c;

    exit(RETRY_ON_EINTR(read(fd, &c, 1)) == 1 ? 0 : 1);
}

bool daemonize_begin(Error **errp)
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) < 0) {
        error_setg_errno(errp, errno, "Could not make a pipe");
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
    /* A leader of its session could get a terminal by opening one: go on as its child. */
    pid = fork();
    if (pid > 0) {
        _exit(0);
    }
    if (pid < 0) {
        error_setg_errno(errp, errno, "Could not fork");
        return false;
    }
    umask(027);
    return true;
}

bool daemonize_done(Error **errp)
{
    g_auto_fd int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (null < 0 || chdir("/") < 0) {
        error_setg_errno(errp, errno, "Could not detach from the terminal");
        return false;
    }
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        dup2(null, fd);
    }
    (void)!write(ready_fd, "", 1);
    close(ready_fd);
    ready_fd = -1;
    return true;
}

static bool lock_file(int fd, const char *path, Error **errp)
{
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

    if (fcntl(fd, F_SETLK, &lock) < 0) {
        error_setg_errno(errp, errno, "Cannot lock pid file '%s'", path);
        error_append_hint(errp, "Another process that uses it may be running.\n");
        return false;
    }
    return true;
}

bool pidfile_create(const char *path, Error **errp)
{
    g_autofree char *text = g_strdup_printf("%d\n", (int)getpid());
    g_auto_fd int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);

    if (fd < 0) {
        error_setg_errno(errp, errno, "Cannot open pid file '%s'", path);
        return false;
    }
    if (!lock_file(fd, path, errp)) {
        return false;
    }
    if (ftruncate(fd, 0) < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text)) {
        error_setg_errno(errp, errno, "Failed to write pid file '%s'", path);
        return false;
    }
    pidfile = realpath(path, NULL);
    /* It stays open, for the lock. */
    g_steal_auto_fd(&fd);
    return true;
}

void pidfile_remove(void)
{
    if (pidfile) {
        unlink(pidfile);
        free(pidfile);
        pidfile = NULL;
    }
}
