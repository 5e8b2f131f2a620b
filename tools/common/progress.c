/*
 * Progress of a command, drawn on standard output
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <signal.h>

#include "block/block.h"
#include "tools/common/progress.h"

/* Draw again when progress has changed by this many percent. */
#define MIN_STEP 0.01

/* An activity, shown on terminals only, since programs do not expect it. */
typedef struct Activity {
    const char *what;           /* NULL: nothing */
    int64_t end_ns;             /* its expected end; 0: not known */
} Activity;

static struct {
    bool words;                 /* show activities */
    bool percent_shown;
    double percent;
    double drawn_percent;
    Activity opening;           /* of opening an image */
    Activity job;               /* of the job */
    char *drawn_words;          /* NULL: none */
    int drawn_width;
} progress;

static volatile sig_atomic_t asked;

void tool_progress_note_signal(int sig)
{
    asked = 1;
}

static char *activity_words(void)
{
    const Activity *a = progress.job.what ? &progress.job : &progress.opening;
    int64_t ns = MAX(a->end_ns - qemu_clock_get_ns(), 1);

    if (!progress.words || !a->what) {
        return NULL;
    }
    return a->end_ns ? g_strdup_printf("%s, about %" PRId64 " s", a->what, DIV_ROUND_UP(ns, NANOSECONDS_PER_SECOND))
                     : g_strdup(a->what);
}

/* Draw over what was drawn before. */
static void progress_draw(char *words)
{
    int width = progress.percent_shown ? printf("    (%3.2f/100%%)", progress.percent) : 0;

    if (words) {
        width += printf("%s%s", width ? "  " : "", words);
    }
    printf("%*s\r", MAX(progress.drawn_width - width, 0), "");
    fflush(stdout);
    g_free(progress.drawn_words);
    progress.drawn_words = words;
    progress.drawn_width = progress.words ? width : 0;
    progress.drawn_percent = progress.percent;
}

static void progress_draw_if_changed(void)
{
    g_autofree char *words = activity_words();

    if ((progress.percent_shown && progress.percent >= progress.drawn_percent + MIN_STEP) ||
        g_strcmp0(words, progress.drawn_words)) {
        progress_draw(g_steal_pointer(&words));
    }
}

static void set_opening(const char *what, int64_t ns)
{
    progress.opening = (Activity){ what, ns ? qemu_clock_get_ns() + ns : 0 };
    progress_draw_if_changed();
}

void tool_progress_enable_words(void)
{
    progress.words = isatty(STDOUT_FILENO);
    bdrv_set_opening_hook(set_opening);
}

void tool_progress_start(bool show)
{
    progress.percent_shown = show;
    progress.percent = progress.drawn_percent = 0;
    if (show) {
        progress_draw(activity_words());
    }
}

void tool_progress_set_activity(const char *what, int64_t end_ns)
{
    progress.job = (Activity){ what, end_ns };
}

void tool_progress_set(uint64_t done, uint64_t total)
{
    /* The total may grow; progress must not go back. */
    progress.percent = MAX(progress.percent, total ? 100.0 * MIN(done, total) / total : 0);
    progress_draw_if_changed();
    if (asked) {
        asked = 0;
        if (!progress.percent_shown) {
            fprintf(stderr, "    (%3.2f/100%%)\n", progress.percent);
        }
    }
}

void tool_progress_end(void)
{
    tool_progress_set_activity(NULL, 0);
    progress_draw_if_changed();
    if (progress.percent_shown) {
        putchar('\n');
        progress.percent_shown = false;
        progress.drawn_width = 0;
    }
}
