/*
 * Asking a person for a passphrase
 *
 * The terminal's echo is off meanwhile. A signal that ends or stops the program first gets the terminal back
 * to how it was.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <signal.h>
#include <termios.h>

#include "crypto/object.h"
#include "tools/common/passphrase.h"

#define PASSPHRASE_MAX_BYTES 512

static const int caught_signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP };

static volatile sig_atomic_t pending_signal;

static void note_signal(int sig)
{
    pending_signal = sig;
}

bool tool_can_prompt(void)
{
    return isatty(STDIN_FILENO);
}

/* Read a line into @buf, whose length becomes the line's. */
static bool read_line(int fd, SecretBuffer *buf, Error **errp)
{
    size_t len = 0;

    while (len <= PASSPHRASE_MAX_BYTES) {
        ssize_t n = read(fd, buf->data + len, 1);

        if (n < 0 && errno == EINTR && !pending_signal) {
            continue;
        }
        if (pending_signal) {
            error_setg(errp, "Interrupted while waiting for a passphrase");
            return false;
        }
        if (n < 0) {
            error_setg_errno(errp, errno, "Could not read a passphrase from the terminal");
            return false;
        }
        if (n == 0 || buf->data[len] == '\n') {
            buf->len = len;
            return true;
        }
        len++;
    }
    error_setg(errp, "The passphrase is longer than %d bytes; use a secret object with file=",
               PASSPHRASE_MAX_BYTES);
    return false;
}

/* One question and answer, the terminal being set up and back. */
static bool ask_once(int tty, const char *question, SecretBuffer *answer, Error **errp)
{
    struct sigaction note = { .sa_handler = note_signal }, old_actions[G_N_ELEMENTS(caught_signals)];
    struct termios saved, quiet;
    bool ok;

    if (tcgetattr(tty, &saved) < 0) {
        error_setg_errno(errp, errno, "Could not set up the terminal");
        return false;
    }
    pending_signal = 0;
    for (size_t i = 0; i < G_N_ELEMENTS(caught_signals); i++) {
        sigaction(caught_signals[i], &note, &old_actions[i]);
    }
    quiet = saved;
    quiet.c_lflag &= ~(ECHO | ECHOE | ECHOK | ECHONL);
    quiet.c_lflag |= ICANON;
    tcsetattr(tty, TCSAFLUSH, &quiet);

    dprintf(tty, "%s", question);
    ok = read_line(tty, answer, errp);
    dprintf(tty, "\n");

    tcsetattr(tty, TCSAFLUSH, &saved);
    for (size_t i = 0; i < G_N_ELEMENTS(caught_signals); i++) {
        sigaction(caught_signals[i], &old_actions[i], NULL);
    }
    if (pending_signal) {
        raise(pending_signal);
    }
    return ok;
}

static bool ask(const char *what, bool new_one, SecretBuffer *answer, Error **errp)
{
    g_autoptr(SecretBuffer) again = secret_buffer_new(PASSPHRASE_MAX_BYTES + 1);
    g_autofree char *question = g_strdup_printf("%s for %s: ", new_one ? "New passphrase" : "Passphrase",
                                                what);
    g_auto_fd int tty = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);

    if (tty < 0) {
        error_setg_errno(errp, errno, "Could not open '/dev/tty' to ask for a passphrase");
        return false;
    }
    for (;;) {
        if (!ask_once(tty, question, answer, errp)) {
            return false;
        }
        if (!new_one) {
            return true;
        }
        if (!answer->len) {
            dprintf(tty, "An empty passphrase protects nothing.\n");
            continue;
        }
        if (!ask_once(tty, "The same again: ", again, errp)) {
            return false;
        }
        if (secret_buffer_equal(answer, again)) {
            return true;
        }
        dprintf(tty, "They differ.\n");
    }
}

/* Register @passphrase as a secret object. Freeing the options wipes the copy that they hold. */
static bool add_secret(const char *id, const SecretBuffer *passphrase, Error **errp)
{
    g_autoptr(ObjectOptions) options = g_new0(ObjectOptions, 1);

    options->qom_type = OBJECT_TYPE_SECRET;
    options->id = g_strdup(id);
    options->u.secret.data = g_strndup((const char *)passphrase->data, passphrase->len);
    return user_creatable_add(options, errp);
}

char *coroutine_fn tool_prompt_secret(const char *what, bool new_one, Error **errp)
{
    static unsigned count;
    g_autoptr(SecretBuffer) answer = secret_buffer_new(PASSPHRASE_MAX_BYTES + 1);
    g_autofree char *id = g_strdup_printf("prompt.%u", count++);

    /* Blocks the loop, so that signals come to the thread that waits; nothing else is under way. */
    if (!ask(what, new_one, answer, errp) || !add_secret(id, answer, errp)) {
        return NULL;
    }
    return g_steal_pointer(&id);
}

char *coroutine_fn tool_secret_or_prompt(const char *given, const char *option, const char *what,
                                         bool new_one, Error **errp)
{
    if (given) {
        return g_strdup(given);
    }
    if (!tool_can_prompt()) {
        error_setg(errp, "Parameter '%s' is required", option);
        error_append_hint(errp, "Define a secret with --object secret,id=ID,file=FILE and name its ID, or run "
                          "this on a terminal\n");
        return NULL;
    }
    return tool_prompt_secret(what, new_one, errp);
}
