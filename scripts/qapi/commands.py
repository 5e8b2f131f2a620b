"""Writes the prototypes of QMP command handlers, and the table for calling them: qapi-commands.h and .c.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from common import c_string
from types_c import c_bool

_HEAD_H = """\
/*
 * Handlers of QMP commands, which monitor/ implements. Generated from the schema in qapi/.
 *
 * Each runs in a coroutine of its own. A bool result is false on failure, with @errp set. Any other result belongs to
 * the caller, and an error set means failure, whatever the result. NULL is an empty list.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef QAPI_QAPI_COMMANDS_H
#define QAPI_QAPI_COMMANDS_H

#include "qapi/qapi-types.h"
#include "qapi/qmp.h"

/* All commands, sorted by name. */
extern const QAPICommand qmp_commands[];
extern const size_t qmp_n_commands;
"""

_HEAD_C = """\
/*
 * The table of QMP commands. Generated from the schema in qapi/.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "qapi/json.h"
#include "qapi/qapi-commands.h"
"""


def _raw(command):
    """The handler takes and returns JSON values."""
    return command.options.get('gen') is False


def _ret_type(command):
    if _raw(command):
        return 'struct json_object *'
    return command.ret.c_member if command.ret else 'bool '


def _prototype(command):
    arg = f'const {command.arg.c_name} *arg, ' if command.arg.members else ''
    return f'{_ret_type(command)}coroutine_fn qmp_{command.c_name}({arg}Error **errp);'


def _trampoline(command):
    call = f'qmp_{command.c_name}({"arg, " if command.arg.members else ""}errp)'
    lines = [f'static struct json_object *coroutine_fn call_{command.c_name}(const void *arg, Error **errp)', '{']
    if _raw(command):
        lines.append(f'    return {call};')
    elif command.ret is None:
        lines.append(f'    return {call} ? json_object_new_object() : NULL;')
    elif command.ret.json_type == 'any':
        lines.append(f'    return {call};')
    else:
        name = command.ret.c_name
        lines += [f'    g_autoptr({name}) ret = {call};', '',
                  f'    return *errp ? NULL : qapi_to_json(&qapi_type_{name}, ret);']
    return lines + ['}']


def generate_h(schema):
    prototypes = '\n'.join(_prototype(c) for c in schema.commands.values())
    return _HEAD_H + '\n' + prototypes + '\n\n#endif\n'


def generate_c(schema):
    commands = sorted(schema.commands.values(), key=lambda c: c.name)
    blocks = [_HEAD_C] + ['\n'.join(_trampoline(c)) for c in commands]
    rows = []
    for c in commands:
        arg = f'&qapi_type_{c.arg.c_name}' if c.arg.members else 'NULL'
        rows.append(f'    {{ {c_string(c.name)}, {arg}, {c_bool(c.options.get("allow-oob"))}, call_{c.c_name} }},')
    blocks.append('\n'.join(['const QAPICommand qmp_commands[] = {'] + rows +
                            ['    { NULL, NULL, false, NULL }', '};', 'const size_t qmp_n_commands = '
                             'G_N_ELEMENTS(qmp_commands) - 1;']))
    return '\n\n'.join(blocks) + '\n'
