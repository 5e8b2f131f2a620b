/*
 * Pid files: ownership, even if it changes at the wrong moment
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <glib/gstdio.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "tools/common/pidfile.h"
#include "util/aio.h"
#include "util/thread-pool.h"

static char *path;
static void (*before_lock)(void);

/* Replaces the C library's function: simulates what others do between opening and locking. */
int fcntl64(int fd, int cmd, ...);
int fcntl64(int fd, int cmd, ...)
{
    va_list ap;

    va_start(ap, cmd);
    void *arg = va_arg(ap, void *);
    va_end(ap);
    if (cmd == F_SETLK && before_lock) {
        void (*func)(void) = before_lock;

        before_lock = NULL;
        func();
    }
    return syscall(SYS_fcntl, fd, cmd, arg);
}

/* Closing it here ends the lock, as for any descriptor of the file. */
static char *content(void)
{
    char *text = NULL;

    g_file_get_contents(path, &text, NULL, NULL);
    return text;
}

static void coroutine_fn write_it(void *opaque)
{
    pidfile_write(opaque);
}

/* The error, or NULL. */
static Error *write_taken(void)
{
    Error *err = NULL;

    aio_context_run(write_it, &err);
    return err;
}

static Error *take_and_write(void)
{
    Error *err = NULL;

    return pidfile_take(path, &err) ? write_taken() : err;
}

/* Whether another process, whose locks end with it, gets the file. */
static bool other_gets_it(void)
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
        int fd = open(path, O_RDWR);
        _exit(fd < 0 || syscall(SYS_fcntl, fd, F_SETLK, &lock) < 0);
    }
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    return status == 0;
}

static void expect_ours(void)
{
    g_autofree char *pid = g_strdup_printf("%d\n", (int)getpid());

    g_assert_false(other_gets_it());
    g_autofree char *text = content();
    g_assert_cmpstr(text, ==, pid);
    pidfile_remove();
    g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
}

/* It does not appear before everything is ready. */
static void test_new(void)
{
    g_assert_true(pidfile_take(path, &error_abort));
    g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
    g_assert_null(write_taken());
    expect_ours();
}

static void test_left_behind(void)
{
    g_assert_true(g_file_set_contents(path, "123456789012\n", -1, NULL));
    g_assert_true(pidfile_take(path, &error_abort));
    g_assert_false(other_gets_it());
    g_assert_null(write_taken());
    expect_ours();
}

static void replace_file(void)
{
    g_unlink(path);
    g_assert_true(g_file_set_contents(path, "", -1, NULL));
}

static void remove_file(void)
{
    g_unlink(path);
}

/*
 * The previous owner, just ending, removes the file that we have opened, and maybe another process creates a new one.
 */
static void expect_retry(void (*others)(void))
{
    g_assert_true(g_file_set_contents(path, "", -1, NULL));
    before_lock = others;
    g_assert_null(take_and_write());
    g_assert_null(before_lock);
    expect_ours();
}

static void test_replaced(void)
{
    expect_retry(replace_file);
}

static void test_removed(void)
{
    expect_retry(remove_file);
}

static void test_not_ours_any_more(void)
{
    g_assert_null(take_and_write());
    replace_file();
    pidfile_remove();
    g_assert_true(g_file_test(path, G_FILE_TEST_EXISTS));
    g_unlink(path);
}

static void test_not_a_file(void)
{
    g_assert_cmpint(mkfifo(path, 0600), ==, 0);
    g_autoptr(Error) err = take_and_write();
    g_assert_nonnull(strstr(error_get_pretty(err), "not a regular file"));
    g_unlink(path);
}

/* Each test has a process of its own, since the pid file belongs to the program. */
static void run_test(gconstpointer test)
{
    if (g_test_subprocess()) {
        ((void (*)(void))test)();
        thread_pool_cleanup();
        return;
    }
    g_test_trap_subprocess(NULL, 0, (GTestSubprocessFlags)0);
    g_test_trap_assert_passed();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_autofree char *dir = g_dir_make_tmp("test-pidfile-XXXXXX", NULL);
    path = g_build_filename(dir, "pid", NULL);
    g_test_add_data_func("/pidfile/new", test_new, run_test);
    g_test_add_data_func("/pidfile/left-behind", test_left_behind, run_test);
    g_test_add_data_func("/pidfile/replaced", test_replaced, run_test);
    g_test_add_data_func("/pidfile/removed", test_removed, run_test);
    g_test_add_data_func("/pidfile/not-ours-any-more", test_not_ours_any_more, run_test);
    g_test_add_data_func("/pidfile/not-a-file", test_not_a_file, run_test);
    int status = g_test_run();
    g_rmdir(dir);
    g_free(path);
    return status;
}
