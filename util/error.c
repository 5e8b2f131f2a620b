/*
 * Error: messages for people, with a hint and a class
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "util/error.h"

struct Error {
    char *msg;
    GString *hint;
    ErrorClass cls;
};

/* Addresses that callers pass as errp; only compared, never set. */
Error *error_fatal;
Error *error_abort;

static const char *progname = "strongbox";

static const char *const class_names[] = {
    [ERROR_CLASS_GENERIC_ERROR] = "GenericError",
    [ERROR_CLASS_NO_PASSWORD] = "GenericError",
    [ERROR_CLASS_WRONG_PASSWORD] = "GenericError",
    [ERROR_CLASS_NOT_LUKS] = "GenericError",
    [ERROR_CLASS_COMMAND_NOT_FOUND] = "CommandNotFound",
    [ERROR_CLASS_DEVICE_NOT_ACTIVE] = "DeviceNotActive",
    [ERROR_CLASS_DEVICE_NOT_FOUND] = "DeviceNotFound",
};

/* Hand @err to the caller; ends the process where the caller asked for that. */
static void deliver(Error **errp, Error *err)
{
    if (errp == &error_abort) {
        error_report_err(err);
        abort();
    } else if (errp == &error_fatal) {
        error_report_err(err);
        exit(1);
    } else if (!errp) {
        error_free(err);
    } else {
        assert(!*errp);
        *errp = err;
    }
}

static void G_GNUC_PRINTF(4, 0)
set_va(Error **errp, ErrorClass cls, int os_errno, const char *fmt, va_list ap)
{
    int saved_errno = errno;

    if (errp) {
        Error *err = g_new0(Error, 1);

        err->cls = cls;
        err->msg = g_strdup_vprintf(fmt, ap);
        if (os_errno) {
            char *msg = g_strconcat(err->msg, ": ", g_strerror(os_errno), NULL);
            g_free(err->msg);
            err->msg = msg;
        }
        deliver(errp, err);
    }
    errno = saved_errno;
}

void error_setg(Error **errp, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    set_va(errp, ERROR_CLASS_GENERIC_ERROR, 0, fmt, ap);
    va_end(ap);
}

void error_set(Error **errp, ErrorClass cls, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    set_va(errp, cls, 0, fmt, ap);
    va_end(ap);
}

void error_setg_errno(Error **errp, int os_errno, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    set_va(errp, ERROR_CLASS_GENERIC_ERROR, os_errno, fmt, ap);
    va_end(ap);
}

void error_propagate(Error **errp, Error *local_err)
{
    if (local_err) {
        deliver(errp, local_err);
    }
}

void error_prepend(Error **errp, const char *fmt, ...)
{
    if (errp && *errp) {
        va_list ap;

        va_start(ap, fmt);
        g_autofree char *prefix = g_strdup_vprintf(fmt, ap);
        va_end(ap);
        char *msg = g_strconcat(prefix, (*errp)->msg, NULL);
        g_free((*errp)->msg);
        (*errp)->msg = msg;
    }
}

void error_append_hint(Error **errp, const char *fmt, ...)
{
    if (errp && *errp) {
        va_list ap;

        if (!(*errp)->hint) {
            (*errp)->hint = g_string_new(NULL);
        }
        va_start(ap, fmt);
        g_string_append_vprintf((*errp)->hint, fmt, ap);
        va_end(ap);
    }
}

const char *error_get_pretty(const Error *err)
{
    return err->msg;
}

const char *error_get_hint(const Error *err)
{
    return err->hint ? err->hint->str : NULL;
}

ErrorClass error_get_class(const Error *err)
{
    return err->cls;
}

const char *error_get_class_name(const Error *err)
{
    return class_names[err->cls];
}

Error *error_copy(const Error *err)
{
    Error *copy = g_new0(Error, 1);

    copy->msg = g_strdup(err->msg);
    copy->hint = err->hint ? g_string_new(err->hint->str) : NULL;
    copy->cls = err->cls;
    return copy;
}

void error_free(Error *err)
{
    if (err) {
        g_free(err->msg);
        if (err->hint) {
            g_string_free(err->hint, TRUE);
        }
        g_free(err);
    }
}

void error_set_progname(const char *name)
{
    progname = name;
}

static void G_GNUC_PRINTF(2, 0) report_va(const char *level, const char *fmt, va_list ap)
{
    g_autofree char *msg = g_strdup_vprintf(fmt, ap);

    fflush(stdout);
    fprintf(stderr, "%s: %s%s\n", progname, level, msg);
}

void error_report(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    report_va("", fmt, ap);
    va_end(ap);
}

void warn_report(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    report_va("warning: ", fmt, ap);
    va_end(ap);
}

void error_report_err(Error *err)
{
    error_report("%s", err->msg);
    if (err->hint) {
        fprintf(stderr, "%s%s", err->hint->str, g_str_has_suffix(err->hint->str, "\n") ? "" : "\n");
    }
    error_free(err);
}
