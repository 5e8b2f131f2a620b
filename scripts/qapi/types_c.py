"""Writes the descriptor tables of all types: qapi-types.c.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import re

from common import c_string
from schema import Alternate, Array, Enum, Object
from types_h import has_flag

_HEAD = """\
/*
 * Descriptors of QAPI types. Generated from the schema in qapi/.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "qapi/qapi-types.h"
"""


def c_bool(value):
    return 'true' if value else 'false'


def _c_doc(text):
    """Help does not mark the names of members as @NAME."""
    return c_string(re.sub(r'(?<![\w-])@(?=\w)', '', text))


def _table(ctype, name, rows):
    return [f'static const {ctype} {name}[] = {{'] + [f'    {{ {row} }},' for row in rows] + ['};', '']


def _descriptor(type_, kind, fields):
    name = type_.c_name
    doc = _c_doc(type_.doc.text) if type_.doc else 'NULL'
    lines = [f'const QAPIType qapi_type_{name} = {{', f'    .name = {c_string(type_.name)},', f'    .doc = {doc},',
             f'    .kind = QAPI_KIND_{kind},', f'    .size = sizeof({name}),']
    return lines + [f'    .{field},' for field in fields] + ['};']


def _enum(enum):
    table = 'values_' + enum.c_name
    rows = [f'{c_string(v.name)}, {_c_doc(v.doc)}, {c_bool(v.unsupported)}' for v in enum.values]
    return _table('QAPIEnumValue', table, rows) + _descriptor(
        enum, 'ENUM', [f'values = {table}', f'n_values = G_N_ELEMENTS({table})'])


def _object(obj):
    name = obj.c_name
    lines, fields = [], []
    if obj.members:
        rows = []
        for m in obj.members:
            has = f'offsetof({name}, has_{m.c_name})' if has_flag(m) else '-1'
            rows.append(f'{c_string(m.name)}, {_c_doc(m.doc)},\n      &qapi_type_{m.type.c_name}, '
                        f'{c_bool(m.optional)}, {c_bool(m.unsupported)}, offsetof({name}, {m.c_name}), {has}')
        lines += _table('QAPIMember', 'members_' + name, rows)
        fields += [f'members = members_{name}', f'n_members = G_N_ELEMENTS(members_{name})']
    if obj.branches is not None:
        index = obj.members.index(obj.tag)
        fields += [f'tag = &members_{name}[{index}]', f'u_offset = offsetof({name}, u)']
        lines += _branches(name, [(obj.tag.type.const(b.name), b) for b in obj.branches], fields)
    return lines + _descriptor(obj, 'STRUCT', fields)


def _branches(name, branches, fields):
    if not branches:
        return []
    fields += [f'branches = branches_{name}', f'n_branches = G_N_ELEMENTS(branches_{name})']
    return _table('QAPIBranch', 'branches_' + name, [f'{const}, &qapi_type_{b.type.c_name}' for const, b in branches])


def _alternate(alt):
    name = alt.c_name
    fields = [f'u_offset = offsetof({name}, u)']
    lines = _branches(name, [(b.type.qtype, b) for b in alt.branches], fields)
    return lines + _descriptor(alt, 'ALTERNATE', fields)


def _array(array):
    return _descriptor(array, 'LIST', [f'element = &qapi_type_{array.element.c_name}'])


def generate(schema):
    writers = {Enum: _enum, Object: _object, Alternate: _alternate, Array: _array}
    blocks = [_HEAD]
    for type_ in schema.types.values():
        if type(type_) in writers:
            blocks.append('\n'.join(writers[type(type_)](type_)))
    return '\n\n'.join(blocks) + '\n'
