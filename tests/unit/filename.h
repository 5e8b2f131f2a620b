/*
 * Filenames of network storage, for the tests of their parsers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TEST_FILENAME_H
#define TEST_FILENAME_H

#include <json.h>

#include "qapi/json.h"

/*
 * The options that @filename means, in JSON with " as '; NULL if it is refused. The error must not show the password
 * hunter2.
 */
static char *parse_filename(bool (*parser)(const char *filename, json_object *options, Error **errp),
                            const char *filename)
{
    g_autoptr(json_object) options = json_object_new_object();
    Error *err = NULL;

    if (!parser(filename, options, &err)) {
        g_assert_nonnull(err);
        g_assert_null(strstr(error_get_pretty(err), "hunter2"));
        error_free(err);
        return NULL;
    }
    g_assert_null(err);
    return g_strdelimit(g_strdup(json_object_to_json_string_ext(options, JSON_C_TO_STRING_PLAIN |
                                                                JSON_C_TO_STRING_NOSLASHESCAPE)), "\"", '\'');
}

#endif
