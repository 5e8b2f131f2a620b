/*
 * Startup code that all programs share
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <signal.h>

#include "tools/common/progress.h"
#include "tools/common/startup.h"

static const char *own_name;

void tool_startup(const char *argv0, const char *name)
{
    struct sigaction note = { .sa_handler = tool_progress_note_signal, .sa_flags = SA_RESTART };
    const char *slash = argv0 ? strrchr(argv0, '/') : NULL;
    const char *called = slash ? slash + 1 : argv0;

    sigaction(SIGUSR1, &note, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    own_name = name;
    g_set_prgname(called && *called ? called : name);
    error_set_progname(g_get_prgname());
}

char *tool_own_text(const char *text)
{
    GString *s = g_string_new(text);

    g_string_replace(s, own_name, g_get_prgname(), 0);
    return g_string_free(s, FALSE);
}
