/*
 * Progress of a command, drawn on standard output
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <signal.h>

#include "tools/common/progress.h"

/* Draw again when it moved by this many percent. */
#define MIN_STEP 0.01

static struct {
    bool show;
    double percent;
    double drawn;
} progress;

static volatile sig_atomic_t asked;

void tool_progress_note_signal(int sig)
{
    asked = 1;
}

static void draw(void)
{
    printf("    (%3.2f/100%%)\r", progress.percent);
    fflush(stdout);
    progress.drawn = progress.percent;
}

void tool_progress_start(bool show)
{
    progress.show = show;
    progress.percent = 0;
    if (show) {
        draw();
    }
}

void tool_progress_set(uint64_t done, uint64_t total)
{
    progress.percent = total ? 100.0 * MIN(done, total) / total : 0;
    if (progress.show &&
        (progress.percent >= progress.drawn + MIN_STEP || progress.percent < progress.drawn)) {
        draw();
    }
    if (asked) {
        asked = 0;
        if (!progress.show) {
            fprintf(stderr, "    (%3.2f/100%%)\n", progress.percent);
        }
    }
}

void tool_progress_end(void)
{
    if (progress.show) {
        putchar('\n');
        progress.show = false;
    }
}
