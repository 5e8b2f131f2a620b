/*
 * User-creatable objects: created by --object and object-add, and found by id
 *
 * One program-wide list holds all of them: secrets, TLS credentials, I/O threads, throttle groups. Each type is a
 * UserCreatableType. The types of this library are always registered; libraries above it register theirs when the
 * program starts:
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
 * Everything runs on the main thread. Creating an object may wait for a file: in a coroutine, others run meanwhile.
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

    /* Create the object. NULL with an error that names @options->id on failure, or if the coroutine is cancelled. */
    void *coroutine_mixed_fn (*create)(const ObjectOptions *options, Error **errp);
    void (*free)(void *obj);

    /*
     * The user of @obj, for messages ("export 'e0'"): it cannot be deleted then. NULL: none; the caller frees.
     * Optional: without it the object can always be deleted, since its users hold what they need themselves.
     */
    char *(*used_by)(void *obj);

    /*
     * Properties that can be set later, NULL-terminated, and the function that sets one: its new value is in @options.
     * False with @errp, and no change, on failure. Optional.
     */
    const char *const *writable;
    bool (*set)(void *obj, const ObjectOptions *options, Error **errp);
    /* Update @options with the actual values of @obj, after create and set. Optional. */
    void (*get)(void *obj, ObjectOptions *options);
} UserCreatableType;

/* Register @type. It must not be registered already, and must stay valid. */
void user_creatable_register(const UserCreatableType *type);

/*
 * Create the object that @options describe. Fails if the id is malformed (a letter, then letters, digits, '-', '.',
 * '_') or taken, if the type is not available in this program, or if the type's create fails.
 */
bool coroutine_mixed_fn user_creatable_add(const ObjectOptions *options, Error **errp);

/* The same for an object that the user did not name: it gets an @options->id that nobody can give, nor needs to see. */
bool coroutine_mixed_fn user_creatable_add_unnamed(ObjectOptions *options, Error **errp);
bool user_creatable_is_unnamed(const char *id);

/*
 * The same from the argument of --object: key=value pairs, of which the first may be only the type, or JSON if it
 * begins with '{'. Any secret text in @arg is overwritten in place once it has been read, so that a list of processes
 * does not show it: @arg must be the program's own argument, or a private copy.
 */
bool coroutine_mixed_fn user_creatable_parse(char *arg, Error **errp);

/*
 * Whether the argument of --object asks for help ("help", "secret,help"). If so it has been printed to standard output,
 * and the program ends.
 */
bool user_creatable_is_help(const char *arg);

/*
 * Delete the object @id. Fails if there is none, or it is in use. The creation of an object can be ended like that,
 * too.
 */
bool coroutine_mixed_fn user_creatable_del(const char *id, Error **errp);

/*
 * Set property @name of the existing object @id to @value. False with @errp if the type does not allow that, or the
 * value is invalid.
 */
bool user_creatable_set(const char *id, const char *name, struct json_object *value, Error **errp);

/* Find the object @id, which must be of type @type. The list keeps owning it. */
void *user_creatable_lookup(const char *id, ObjectType type, Error **errp);

/* Like user_creatable_lookup() for any type: NULL without an error if there is none. Sets *@type. */
void *user_creatable_find(const char *id, ObjectType *type);

/*
 * Iterate over the options of objects in the order of creation; NULL: the first. They lack secret text, and include
 * later changes.
 */
const ObjectOptions *user_creatable_next(const ObjectOptions *options);

/* Delete all objects, the newest first, even if they are in use. */
void user_creatable_cleanup(void);

#endif
