/*
 * Asking a person at the terminal
 *
 * Echo is off while a password is typed. If a signal ends or stops the program, the terminal is restored first. When a
 * stopped program continues, it sets up the terminal and prints the question again, since the shell may have changed
 * the terminal and the question may have scrolled away.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <termios.h>

#include "tools/common/terminal.h"

#define ANSWER_MAX_BYTES 512

/* SIGCONT: the program may have been stopped by SIGSTOP, which cannot be caught. */
static const int caught_signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT };

static volatile sig_atomic_t pending_signal;
/* Wakes the thread that waits for input, since another one may receive the signal. */
static int wake_fd;

static void note_signal(int sig)
{
    int saved_errno = errno;
    const uint64_t one = 1;

    /* SIGCONT must not replace a signal that ends the program. */
    if (sig != SIGCONT || !pending_signal) {
        pending_signal = sig;
    }
    if (write(wake_fd, &one, sizeof(one)) < 0) {
        /* it is awake already */
    }
    errno = saved_errno;
}

/* Signal handling to restore. */
typedef struct SignalState {
    struct sigaction actions[G_N_ELEMENTS(caught_signals)];
    sigset_t mask;
} SignalState;

/* Catch the signals, even those that the program blocks, but not those that it ignores. */
static bool catch_signals(SignalState *s, Error **errp)
{
    struct sigaction note = { .sa_handler = note_signal };
    sigset_t caught;

    wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (wake_fd < 0) {
        error_setg_errno(errp, errno, "Could not watch signals");
        return false;
    }
    pending_signal = 0;
    sigemptyset(&caught);
    for (size_t i = 0; i < G_N_ELEMENTS(caught_signals); i++) {
        sigaddset(&caught, caught_signals[i]);
        sigaction(caught_signals[i], NULL, &s->actions[i]);
        if (s->actions[i].sa_handler != SIG_IGN) {
            sigaction(caught_signals[i], &note, NULL);
        }
    }
    pthread_sigmask(SIG_UNBLOCK, &caught, &s->mask);
    return true;
}

static void release_signals(const SignalState *s)
{
    pthread_sigmask(SIG_SETMASK, &s->mask, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(caught_signals); i++) {
        sigaction(caught_signals[i], &s->actions[i], NULL);
    }
    close(wake_fd);
}

static int open_terminal(Error **errp)
{
    int tty = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);

    if (tty < 0) {
        error_setg_errno(errp, errno, "Could not open '/dev/tty' to ask");
    }
    return tty;
}

/* A daemon may have a terminal as its standard input, but no controlling terminal. */
bool tool_can_prompt(void)
{
    g_auto_fd int tty = isatty(STDIN_FILENO) ? open_terminal(NULL) : -1;

    return tty >= 0;
}

/* Read a line into @buf. False with pending_signal set if a signal arrived, or with @errp. */
static bool read_line(int tty, SecretBuffer *buf, Error **errp)
{
    struct pollfd pfds[] = { { .fd = tty, .events = POLLIN }, { .fd = wake_fd, .events = POLLIN } };

    secret_buffer_reserve(buf, ANSWER_MAX_BYTES + 1);
    for (buf->len = 0; buf->len <= ANSWER_MAX_BYTES; buf->len++) {
        ssize_t n = RETRY_ON_EINTR(poll(pfds, G_N_ELEMENTS(pfds), -1));

        if (pending_signal) {
            return false;
        }
        if (n >= 0) {
            n = RETRY_ON_EINTR(read(tty, buf->data + buf->len, 1));
        }
        if (n < 0) {
            error_setg_errno(errp, errno, "Could not read from the terminal");
            return false;
        }
        if (n == 0 && buf->len == 0) {
            error_setg(errp, "The terminal gave no answer");
            return false;
        }
        if (n == 0 || buf->data[buf->len] == '\n') {
            return true;
        }
    }
    error_setg(errp, "The answer is longer than %d bytes; use --key-file for a password that long", ANSWER_MAX_BYTES);
    return false;
}

/* Set up the terminal, ask once, and restore @saved. Returns the same as read_line(). */
static bool ask_once(int tty, const struct termios *saved, const char *question, bool echo, SecretBuffer *answer,
                     Error **errp)
{
    struct termios mode = *saved;
    SignalState signals;
    bool ok = false;

    mode.c_lflag |= ICANON | ISIG;
    if (!echo) {
        mode.c_lflag &= ~(ECHO | ECHOE | ECHOK | ECHONL);
    }
    if (!catch_signals(&signals, errp)) {
        return false;
    }
    /* This stops a background process. When it continues in the foreground, it starts again. */
    RETRY_ON_EINTR(tcsetattr(tty, TCSAFLUSH, &mode));
    if (!pending_signal) {
        dprintf(tty, "%s", question);
        ok = read_line(tty, answer, errp);
        if (!ok || !echo) {
            dprintf(tty, "\n");
        }
    }
    RETRY_ON_EINTR(tcsetattr(tty, TCSAFLUSH, saved));
    release_signals(&signals);
    return ok;
}

bool tool_terminal_ask(const char *question, bool echo, SecretBuffer *answer, Error **errp)
{
    ERRP_GUARD();
    g_auto_fd int tty = open_terminal(errp);
    struct termios saved;

    if (tty < 0) {
        return false;
    }
    if (tcgetattr(tty, &saved) < 0) {
        error_setg_errno(errp, errno, "Could not set up the terminal");
        return false;
    }
    for (;;) {
        bool ok = ask_once(tty, &saved, question, echo, answer, errp);
        int sig = pending_signal;

        if (*errp) {
            return false;
        }
        if (sig && sig != SIGCONT) {
            /* For SIGTSTP this returns when the program continues. */
            raise(sig);
        }
        if (sig && sig != SIGCONT && sig != SIGTSTP) {
            /* The program blocks the signal, and exits by itself. */
            error_setg(errp, "Interrupted while waiting for an answer");
            return false;
        }
        if (ok) {
            return true;
        }
    }
}

void tool_terminal_say(const char *fmt, ...)
{
    g_auto_fd int tty = open_terminal(NULL);
    va_list ap;

    if (tty >= 0) {
        va_start(ap, fmt);
        vdprintf(tty, fmt, ap);
        va_end(ap);
    }
}

bool tool_terminal_confirm(const char *question, Error **errp)
{
    g_autoptr(SecretBuffer) answer = secret_buffer_new(0);
    g_autofree char *text = g_strdup_printf("%s\nType YES (in capitals) to continue: ", question);

    if (!tool_terminal_ask(text, true, answer, errp)) {
        return false;
    }
    if (answer->len != 3 || memcmp(answer->data, "YES", 3) != 0) {
        error_setg(errp, "Not confirmed: nothing was changed");
        return false;
    }
    return true;
}
