"""Writes a function for each event, which sends it: qapi-events.h and .c.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from common import c_string

_HEAD_H = """\
/*
 * Functions that send QMP events. Generated from the schema in qapi/.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef QAPI_QAPI_EVENTS_H
#define QAPI_QAPI_EVENTS_H

#include "qapi/qapi-types.h"
"""

_HEAD_C = """\
/*
 * Functions that send QMP events. Generated from the schema in qapi/.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "qapi/qapi-events.h"
#include "qapi/qmp.h"
"""


def _signature(event):
    arg = f'const {event.arg.c_name} *arg' if event.arg.members else 'void'
    return f'void qapi_event_send_{event.c_name}({arg})'


def _function(event):
    args = f'&qapi_type_{event.arg.c_name}, arg' if event.arg.members else 'NULL, NULL'
    return '\n'.join([_signature(event), '{', f'    qapi_event_emit({c_string(event.name)}, {args});', '}'])


def generate_h(schema):
    return '\n'.join([_HEAD_H] + [_signature(e) + ';' for e in schema.events.values()]) + '\n\n#endif\n'


def generate_c(schema):
    return '\n\n'.join([_HEAD_C] + [_function(e) for e in schema.events.values()]) + '\n'
