/*
 * Error: one error type for everything that sets something up
 *
 * A function that can fail for a reason worth reporting takes "Error **errp" as its last parameter and returns false or
 * NULL on failure. Functions on the data path return -errno instead; none does both.
 *
 *     bool thing_open(Thing *t, const char *name, Error **errp)
 *     {
 *         int fd = open(name, O_RDWR);
 *         if (fd < 0) {
 *             error_setg_errno(errp, errno, "Could not open '%s'", name);
 *             return false;
 *         }
 *         ...
 *     }
 *
 *     g_autoptr(Error) err = NULL;
 *     if (!thing_open(t, "x", &err)) {
 *         error_report("%s", error_get_pretty(err));
 *     }
 *
 * The caller passes NULL to ignore the error, &error_fatal to exit(1) on it, &error_abort if failure would be a
 * programming error, or the address of an Error * that is NULL.
 *
 * A message is one line without a full stop. It names the node, option or field at fault. What the user
 * may do next is a hint (error_append_hint), printed on lines of its own; each ends with a newline.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef UTIL_ERROR_H
#define UTIL_ERROR_H

#include <glib.h>

typedef struct Error Error;

/* The "class" member of a QMP error; errors that clients need not distinguish are generic. */
typedef enum ErrorClass {
    ERROR_CLASS_GENERIC_ERROR,
    /* Only for programs, which know what may help. */
    ERROR_CLASS_NO_PASSWORD,        /* none was named */
    ERROR_CLASS_WRONG_PASSWORD,
    ERROR_CLASS_NOT_LUKS,           /* there is no LUKS header where one is expected */
    ERROR_CLASS_COMMAND_NOT_FOUND,
    ERROR_CLASS_DEVICE_NOT_ACTIVE,
    ERROR_CLASS_DEVICE_NOT_FOUND,
} ErrorClass;

extern Error *error_fatal;
extern Error *error_abort;

/* Set *@errp to a new error. @errp may be NULL; otherwise *@errp must be NULL. */
void error_setg(Error **errp, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
void error_set(Error **errp, ErrorClass cls, const char *fmt, ...) G_GNUC_PRINTF(3, 4);

/* Like error_setg(), with ": " and the description of @os_errno (positive) appended. */
void error_setg_errno(Error **errp, int os_errno, const char *fmt, ...) G_GNUC_PRINTF(3, 4);

/* Move @local_err (may be NULL) to *@errp; frees it if @errp is NULL. Takes ownership of @local_err. */
void error_propagate(Error **errp, Error *local_err);

/* Prepend text to the message of *@errp, or add a hint to it. No-op if *@errp is not set. */
void error_prepend(Error **errp, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
void error_append_hint(Error **errp, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

const char *error_get_pretty(const Error *err);
const char *error_get_hint(const Error *err);   /* NULL if there is none */
ErrorClass error_get_class(const Error *err);
const char *error_get_class_name(const Error *err);
Error *error_copy(const Error *err);
void error_free(Error *err);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Error, error_free)

/* Print "PROGRAM: MESSAGE" to standard error; error_report_err() adds the hint and frees @err. */
void error_report(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
void warn_report(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
void error_report_err(Error *err);

/* The program's name in messages. @name must stay valid. */
void error_set_progname(const char *name);

/*
 * For a function that reads *errp: makes errp point to a real variable even if the caller passed NULL or &error_fatal,
 * and propagates the error at the end of the scope.
 */
#define ERRP_GUARD()                                                            \
    g_auto(ErrorPropagator) errp_guard_ = { .errp = errp };                     \
    do {                                                                        \
        if (!errp || errp == &error_fatal) {                                    \
            errp = &errp_guard_.local_err;                                      \
        }                                                                       \
    } while (0)

typedef struct ErrorPropagator {
    Error *local_err;
    Error **errp;
} ErrorPropagator;

static inline void error_propagator_cleanup(ErrorPropagator *prop)
{
    if (prop->local_err) {
        error_propagate(prop->errp, prop->local_err);
    }
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(ErrorPropagator, error_propagator_cleanup)

#endif
