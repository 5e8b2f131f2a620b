/*
 * The main thread
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "util/main-thread.h"

static __thread bool is_main_thread;

/* Constructors run on the thread that goes on to run main(). */
__attribute__((constructor)) static void mark_main_thread(void)
{
    is_main_thread = true;
}

bool qemu_in_main_thread(void)
{
    return is_main_thread;
}
