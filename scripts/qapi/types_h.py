"""Writes the declarations of all types: qapi-types.h.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from schema import Array, Builtin, Enum, Object

_HEAD = """\
/*
 * C types of QAPI. Generated from the schema in qapi/. See include/qapi/qapi.h for how to use them.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef QAPI_QAPI_TYPES_H
#define QAPI_QAPI_TYPES_H

#include "qapi/qapi.h"
"""


def has_flag(member):
    """Whether the member has a has_ field."""
    return member.optional and member.type.by_value


def _enum(enum):
    lines = [f'typedef enum {enum.c_name} {{']
    lines += [f'    {enum.const(v.name)},' for v in enum.values]
    lines += [f'    {enum.prefix}__MAX,', f'}} {enum.c_name};', f'extern const QAPIType qapi_type_{enum.c_name};', '',
              f'static inline const char *{enum.c_name}_str({enum.c_name} value)', '{',
              f'    return qapi_enum_str(&qapi_type_{enum.c_name}, value);', '}']
    return lines


def _fields(members):
    lines = []
    for member in members:
        if has_flag(member):
            lines.append(f'    bool has_{member.c_name};')
        lines.append(f'    {member.type.c_member}{member.c_name};')
    return lines


def _branches(branches):
    lines = ['    union {']
    for branch in branches:
        space = '' if isinstance(branch.type, Builtin) and not branch.type.by_value else ' '
        ctype = branch.type.ctype if isinstance(branch.type, Builtin) else branch.type.c_name
        star = '*' if isinstance(branch.type, Array) else ''
        lines.append(f'        {ctype}{space}{star}{branch.c_name};')
    if not branches:
        lines.append('        char unused;')
    return lines + ['    } u;']


def _object(obj):
    lines = [f'struct {obj.c_name} {{'] + _fields(obj.members)
    if not obj.members:
        lines.append('    char unused;')
    if obj.branches is not None:
        lines += _branches(obj.branches)
    return lines + ['};']


def _alternate(alt):
    return [f'struct {alt.c_name} {{', '    QType type;'] + _branches(alt.branches) + ['};']


def _array(array):
    element = array.element
    star = '' if element.by_value or isinstance(element, Builtin) else '*'
    ctype = element.ctype if isinstance(element, Builtin) else element.c_name
    space = '' if ctype.endswith('*') else ' '
    return [f'struct {array.c_name} {{', '    size_t n;', f'    {ctype}{space}{star}*items;', '};']


def _functions(type_):
    name = type_.c_name
    lines = [f'static inline void qapi_free_{name}({name} *obj)', '{', f'    qapi_free(&qapi_type_{name}, obj);', '}',
             f'G_DEFINE_AUTOPTR_CLEANUP_FUNC({name}, qapi_free_{name})']
    if isinstance(type_, Object) and type_.base and not type_.base_is_implicit:
        base = type_.base.c_name
        lines += ['', f'/* The first members of {name} are those of {base}. */',
                  f'static inline {base} *qapi_{name}_base(const {name} *obj)', '{', f'    return ({base} *)obj;', '}']
    return lines


def generate(schema):
    types = schema.types.values()
    objects = schema.objects
    arrays = [t for t in types if isinstance(t, Array)]
    blocks = [_HEAD]
    blocks += ['\n'.join(_enum(t)) for t in types if isinstance(t, Enum)]
    blocks.append('\n'.join(f'typedef struct {t.c_name} {t.c_name};\nextern const QAPIType qapi_type_{t.c_name};'
                            for t in objects + arrays))
    for type_ in objects:
        blocks.append('\n'.join(_object(type_) if isinstance(type_, Object) else _alternate(type_)))
    blocks += ['\n'.join(_array(t)) for t in arrays]
    blocks += ['\n'.join(_functions(t)) for t in objects + arrays]
    return '\n\n'.join(blocks) + '\n\n#endif\n'
