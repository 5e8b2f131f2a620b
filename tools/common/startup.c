/*
 * The first thing that each program does
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <signal.h>

#include "tools/common/progress.h"
#include "tools/common/startup.h"

void tool_startup(const char *name)
{
    struct sigaction note = { .sa_handler = tool_progress_note_signal, .sa_flags = SA_RESTART };

    sigaction(SIGUSR1, &note, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    g_set_prgname(name);
    error_set_progname(name);
}
