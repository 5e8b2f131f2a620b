/*
 * Fuzz target: QMP input, through the parser and into the arguments of commands
 *
 * The input is fed in pieces whose lengths its bytes choose. Arguments that fit a command's type must be the same after
 * conversion to JSON and back. No command is executed.
 *
 *     clang -fsanitize=fuzzer,address ...       with libFuzzer, which has a main() of its own
 *     fuzz-qmp [-mutate=N] FILE...              runs each file, and N random mutations of it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <json-c/json.h>

#include "fuzz.h"
#include "monitor/qmp-parser.h"
#include "qapi/qapi-commands.h"

static const QAPICommand *find_command(struct json_object *request)
{
    struct json_object *name;

    if (!json_object_is_type(request, json_type_object) || !json_object_object_get_ex(request, "execute", &name)) {
        return NULL;
    }
    for (size_t i = 0; i < qmp_n_commands; i++) {
        if (g_strcmp0(qmp_commands[i].name, json_object_get_string(name)) == 0) {
            return &qmp_commands[i];
        }
    }
    return NULL;
}

static void check_arguments(const QAPICommand *cmd, struct json_object *request)
{
    struct json_object *args;

    if (!cmd->arg || !json_object_object_get_ex(request, "arguments", &args) ||
        !json_object_is_type(args, json_type_object)) {
        return;
    }
    void *arg = qapi_from_json(cmd->arg, args, QAPI_INPUT_JSON, NULL);
    if (!arg) {
        return;
    }
    g_autoptr(json_object) out = qapi_to_json(cmd->arg, arg);
    void *again = qapi_from_json(cmd->arg, out, QAPI_INPUT_JSON, &error_abort);
    qapi_free(cmd->arg, again);
    qapi_free(cmd->arg, arg);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    QmpParser parser;

    qmp_parser_init(&parser);
    while (size) {
        size_t piece = MIN(size, 1 + data[0] * (size_t)4);

        while (piece) {
            g_autoptr(Error) err = NULL;
            struct json_object *value;
            size_t used = qmp_parser_feed(&parser, (const char *)data, piece, &value, &err);

            assert(used > 0 && used <= piece && !(value && err));
            if (value) {
                const QAPICommand *cmd = find_command(value);
                if (cmd) {
                    check_arguments(cmd, value);
                }
                json_object_put(value);
            }
            data += used;
            size -= used;
            piece -= used;
        }
    }
    qmp_parser_cleanup(&parser);
    return 0;
}
