/*
 * Loading librbd and librados
 *
 * Programs are not linked with them, but load them with the first RBD image: their 30 dependencies would make every
 * start of a program five times slower (docs/decisions/0013-librbd-on-demand.md).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <dlfcn.h>

#include "block/drivers/rbd.h"

#define LIBRADOS_SO "librados.so.2"
#define LIBRBD_SO "librbd.so.1"

LibRBD librbd;

/* NULL, or why they are missing. */
static gpointer library_load(gpointer unused)
{
    void *rados = dlopen(LIBRADOS_SO, RTLD_NOW | RTLD_GLOBAL);
    void *rbd = rados ? dlopen(LIBRBD_SO, RTLD_NOW | RTLD_GLOBAL) : NULL;
    const char *why = rbd ? NULL : dlerror();

#define LOAD(name)                                                              \
    librbd.name = rbd ? (__typeof__(librbd.name))dlsym(rbd, #name) : NULL;      \
    if (!librbd.name && !why) {                                                 \
        why = LIBRBD_SO " is too old: it has no " #name "()";                   \
    }
    /* The library's own dependencies are searched, too. */
    LIBRBD_FUNCTIONS(LOAD)
#undef LOAD
#define LOAD(name) librbd.name = rbd ? (__typeof__(librbd.name))dlsym(rbd, #name) : NULL;
    LIBRBD_OPTIONAL_FUNCTIONS(LOAD)
#undef LOAD
    return g_strdup(why);
}

bool qemu_rbd_load_library(Error **errp)
{
    static GOnce once = G_ONCE_INIT;
    const char *why = g_once(&once, library_load, NULL);

    if (why) {
        error_setg(errp, "Driver 'rbd' needs librbd, which could not be loaded: %s", why);
        error_append_hint(errp, "Install it (Debian: package librbd1).\n");
    }
    return !why;
}
