/*
 * User-creatable objects: what --object and object-add make, found again by id
 *
 * One program-wide list holds all of them: secrets, TLS credentials, I/O threads, throttle groups.
 * Each type is a UserCreatableType; those of this library are known from the start, and a library
 * above registers its own when the program starts:
 *
 *     static const UserCreatableType iothread_type = {
 *         .type = OBJECT_TYPE_IOTHREAD,
 *         .create = iothread_create,
 *         .free = iothread_free,
 *     };
 *
 *     user_creatable_register(&iothread_type);
 *
 *     if (!user_creatable_parse(argv_text, errp)) {         // "secret,id=sec0,file=passwd.txt"
 *         return false;
 *     }
 *     void *obj = user_creatable_lookup("sec0", OBJECT_TYPE_SECRET, errp);
 *     ...
 *     user_creatable_cleanup();                             // at exit
 *
 * All of it belongs to the main thread. What makes an object may wait for a file: in a coroutine
 * others run meanwhile.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef CRYPTO_OBJECT_H
#define CRYPTO_OBJECT_H

#include "qapi/qapi-types.h"
#include "util/coroutine.h"
#include "util/error.h"

struct json_object;

typedef struct UserCreatableType {
    ObjectType type;

    /* Make the object; NULL with an error that names @options->id on failure, or where the coroutine is cancelled. */
    void *coroutine_mixed_fn (*create)(const ObjectOptions *options, Error **errp);
    void (*free)(void *obj);

    /*
     * Who still uses @obj, for people ("export 'e0'"): it cannot be deleted then. NULL: nobody; the caller frees.
     * Optional: without it the object may go at any time, as its users hold what they need themselves.
     */
    char *(*used_by)(void *obj);

    /*
     * Properties that may be set later, up to NULL, and what does that: take over those of @options, which hold the
     * new value of one. False with @errp where it cannot, and nothing changed. Optional.
     */
    const char *const *writable;
    bool (*set)(void *obj, const ObjectOptions *options, Error **errp);
    /* Bring @options up to date with what @obj made of them; after it was made and after set. Optional. */
    void (*get)(void *obj, ObjectOptions *options);
} UserCreatableType;

/* Make @type known. It must not be registered already, and must stay valid. */
void user_creatable_register(const UserCreatableType *type);

/*
 * Create the object that @options describe. Fails where the id is not well formed (a letter, then
 * letters, digits, '-', '.', '_'), is taken, the type is not available in this program, or the type
 * says no.
 */
bool coroutine_mixed_fn user_creatable_add(const ObjectOptions *options, Error **errp);

/*
 * The same from the argument of --object: key=value pairs of which the first may be the type alone,
 * or JSON if it begins with '{'. Whatever secret text @arg holds is overwritten in place once it
 * was read, so that a list of processes does not show it: @arg is the program's own argument, or a
 * private copy.
 */
bool coroutine_mixed_fn user_creatable_parse(char *arg, Error **errp);

/*
 * Whether the argument of --object asks for help ("help", "secret,help"): it was then printed to
 * standard output, and the program ends.
 */
bool user_creatable_is_help(const char *arg);

/* Delete the object @id; fails where there is none, or it is in use. One that is still being made is given up. */
bool coroutine_mixed_fn user_creatable_del(const char *id, Error **errp);

/*
 * Set property @name of the object @id, which there is, to @value. False with @errp where the type does not allow that,
 * or the value is wrong.
 */
bool user_creatable_set(const char *id, const char *name, struct json_object *value, Error **errp);

/* The object @id, which must be of the type @type; it stays owned by the list. */
void *user_creatable_lookup(const char *id, ObjectType type, Error **errp);

/*
 * As user_creatable_lookup() for any type: NULL without an error where there is none; sets *@type.
 */
void *user_creatable_find(const char *id, ObjectType *type);

/*
 * Iterate over the options of objects, in the order of their making; NULL: the first. Secret text is left out of them,
 * what was set later is in them.
 */
const ObjectOptions *user_creatable_next(const ObjectOptions *options);

/* Delete all objects, last made first, whether they are in use or not. */
void user_creatable_cleanup(void);

#endif
