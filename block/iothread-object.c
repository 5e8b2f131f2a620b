/*
 * I/O threads as objects
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/export.h"
#include "block/iothread-object.h"
#include "crypto/object.h"

static void *iothread_create(const ObjectOptions *options, Error **errp)
{
    ERRP_GUARD();
    g_autofree char *name = g_strconcat("IO ", options->id, NULL);
    IOThread *iothread = iothread_new(name, errp);

    if (!iothread) {
        error_prepend(errp, "I/O thread '%s': ", options->id);
    }
    return iothread;
}

static void iothread_free(void *obj)
{
    iothread_unref(obj);
}

static char *iothread_used_by(void *obj)
{
    for (BlockExport *exp = blk_exp_next(NULL); exp; exp = blk_exp_next(exp)) {
        if (exp->iothread == obj) {
            return g_strdup_printf("export '%s'", exp->id);
        }
    }
    return NULL;
}

static const UserCreatableType iothread_type = {
    .type = OBJECT_TYPE_IOTHREAD,
    .create = iothread_create,
    .free = iothread_free,
    .used_by = iothread_used_by,
};

void iothread_object_register(void)
{
    user_creatable_register(&iothread_type);
}

IOThread *iothread_lookup(const char *id, Error **errp)
{
    IOThread *iothread = user_creatable_lookup(id, OBJECT_TYPE_IOTHREAD, errp);

    return iothread ? iothread_ref(iothread) : NULL;
}
