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
    bool on_terminal;           /* where people read what is going on, and not programs */
    double percent;
    double drawn;
    char *activity;             /* as it is drawn; NULL: none */
    bool stale;                 /* what was drawn is another activity */
    int drawn_width;
} progress;

static volatile sig_atomic_t asked;

void tool_progress_note_signal(int sig)
{
    asked = 1;
}

static void draw(void)
{
    int width = printf("    (%3.2f/100%%)", progress.percent);

    if (progress.on_terminal) {
        width += printf("%s", progress.activity ?: "");
        printf("%*s", MAX(progress.drawn_width - width, 0), "");
        progress.drawn_width = width;
    }
    printf("\r");
    fflush(stdout);
    progress.drawn = progress.percent;
    progress.stale = false;
}

void tool_progress_start(bool show)
{
    progress.show = show;
    progress.on_terminal = isatty(STDOUT_FILENO);
    progress.percent = 0;
    progress.drawn_width = 0;
    g_clear_pointer(&progress.activity, g_free);
    if (show) {
        draw();
    }
}

void tool_progress_set_activity(const char *what, int64_t remaining_ns)
{
    char *text = what ? g_strdup_printf("  %s", what) : NULL;

    if (what && remaining_ns > 0) {
        g_free(text);
        text = g_strdup_printf("  %s, about %" PRId64 " s", what, DIV_ROUND_UP(remaining_ns, NANOSECONDS_PER_SECOND));
    }
    progress.stale |= progress.on_terminal && g_strcmp0(text, progress.activity);
    g_free(progress.activity);
    progress.activity = text;
}

void tool_progress_set(uint64_t done, uint64_t total)
{
    /* Work may turn out to be more than expected: that is no step back. */
    progress.percent = MAX(progress.percent, total ? 100.0 * MIN(done, total) / total : 0);
    if (progress.show && (progress.stale || progress.percent >= progress.drawn + MIN_STEP)) {
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
