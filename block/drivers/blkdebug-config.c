/*
 * blkdebug: rules in files
 *
 * The form of QEMU's configuration files, which GKeyFile does not read, since it joins sections of the same name:
 *
 *     # fail the second write
 *     [set-state]
 *     event = "pwritev_done"
 *     new_state = "2"
 *
 *     [inject-error]
 *     event = "pwritev"
 *     state = "2"
 *     errno = "28"
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <json-c/json.h>

#include "block/drivers/blkdebug.h"
#include "crypto/secret.h"
#include "qapi/json.h"
#include "qapi/qapi.h"

typedef struct ConfigReader {
    const char *filename;
    unsigned line;
    unsigned section_line;
    const char *section;            /* "inject-error" or "set-state"; NULL before the first */
    struct json_object *values;     /* of the section, all strings */
    BlkdebugInjectErrorOptionsList **errors;
    BlkdebugSetStateOptionsList **states;
} ConfigReader;

/* The section is complete: make it a rule. */
static bool config_end_section(ConfigReader *r, Error **errp)
{
    bool ok = true;

    if (r->section && !strcmp(r->section, "inject-error")) {
        BlkdebugInjectErrorOptions *rule = QAPI_FROM_JSON(BlkdebugInjectErrorOptions, r->values, QAPI_INPUT_KEYVAL,
                                                          errp);

        ok = rule;
        if (ok) {
            QAPI_LIST_APPEND(*r->errors, rule);
        }
    } else if (r->section) {
        BlkdebugSetStateOptions *rule = QAPI_FROM_JSON(BlkdebugSetStateOptions, r->values, QAPI_INPUT_KEYVAL, errp);

        ok = rule;
        if (ok) {
            QAPI_LIST_APPEND(*r->states, rule);
        }
    }
    if (!ok) {
        error_prepend(errp, "%s: section at line %u: ", r->filename, r->section_line);
    }
    return ok;
}

/* @line without its brackets is "NAME", or "NAME "ID"". The ID has no meaning. */
static bool config_begin_section(ConfigReader *r, char *line, Error **errp)
{
    static const char *const names[] = { "inject-error", "set-state" };

    if (!config_end_section(r, errp)) {
        return false;
    }
    line[strcspn(line, " \t")] = '\0';
    r->section = NULL;
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        if (!strcmp(line, names[i])) {
            r->section = names[i];
        }
    }
    if (!r->section) {
        error_setg(errp, "%s: line %u: a section is [inject-error] or [set-state]", r->filename, r->line);
        return false;
    }
    r->section_line = r->line;
    json_object_put(r->values);
    r->values = json_object_new_object();
    return true;
}

static bool config_add_value(ConfigReader *r, char *line, Error **errp)
{
    char *value = strchr(line, '=');
    size_t len = 0;

    if (value) {
        *value = '\0';
        value = g_strchug(value + 1);
        len = strlen(value);
    }
    if (!value || len < 2 || value[0] != '"' || strchr(value + 1, '"') != value + len - 1) {
        error_setg(errp, "%s: line %u is neither a section nor NAME = \"VALUE\"", r->filename, r->line);
        return false;
    }
    if (!r->section) {
        error_setg(errp, "%s: line %u is before the first section", r->filename, r->line);
        return false;
    }
    json_object_object_add(r->values, g_strchomp(line), qapi_json_new_string(value + 1, len - 2));
    return true;
}

static bool config_parse_line(ConfigReader *r, char *line, Error **errp)
{
    size_t len;

    r->line++;
    line = g_strstrip(line);
    len = strlen(line);
    if (line[0] == '\0' || line[0] == '#') {
        return true;
    }
    if (line[0] == '[' && line[len - 1] == ']') {
        line[len - 1] = '\0';
        return config_begin_section(r, line + 1, errp);
    }
    return config_add_value(r, line, errp);
}

bool coroutine_fn blkdebug_read_config(const char *filename, BlkdebugInjectErrorOptionsList **errors,
                                       BlkdebugSetStateOptionsList **states, Error **errp)
{
    ConfigReader r = { .filename = filename, .errors = errors, .states = states };
    /* Not secret, but this reads files and pipes without blocking the loop. */
    SecretBuffer *text = qcrypto_secret_read_file(filename, 0, 0, errp);
    bool ok = true;

    if (!text) {
        error_prepend(errp, "Option 'config': ");
        return false;
    }
    size_t len = text->len;
    g_autofree char *copy = g_strndup((const char *)text->data, len);
    secret_buffer_free(text);
    if (strlen(copy) < len) {
        error_setg(errp, "%s: not a text file", filename);
        return false;
    }
    for (char *line = copy, *next; ok && line; line = next) {
        next = strchr(line, '\n');
        if (next) {
            *next++ = '\0';
        }
        ok = config_parse_line(&r, line, errp);
    }
    ok = ok && config_end_section(&r, errp);
    json_object_put(r.values);
    return ok;
}
