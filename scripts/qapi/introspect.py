"""Writes the reply to query-qmp-schema, as text in qapi-introspect.c.

The format is QEMU's SchemaInfo. Type names mean nothing to clients, so they are replaced by numbers, except those of
built-in types and arrays. Unsupported members and values are left out.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import json

from common import c_string
from schema import Alternate, Array, Builtin, Enum

_HEAD = """\
/*
 * The schema as query-qmp-schema shows it. Generated from the schema in qapi/.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "qapi/qmp.h"

const char qmp_schema_json[] =
"""

_JSON_TYPES = {'int': 'int', 'str': 'string', 'bool': 'boolean', 'number': 'number', 'null': 'null', 'any': 'value'}
_EMPTY = 'no members'


class Introspection:
    """Builds infos, the list of SchemaInfo. With unmask, types keep their names."""

    def __init__(self, schema, unmask=False):
        self.infos = []
        self._unmask = unmask
        self._numbers = {}
        self._queue = []
        for command in schema.commands.values():
            info = {'arg-type': self._object(command.arg), 'ret-type': self._use(command.ret or _EMPTY)}
            if command.options.get('allow-oob'):
                info['allow-oob'] = True
            self._add(command.name, 'command', info, command.features)
        for event in schema.events.values():
            self._add(event.name, 'event', {'arg-type': self._object(event.arg)}, event.features)
        for type_ in self._queue:       # grows during the loop
            self._visit(type_)

    def _add(self, name, meta_type, info, features=()):
        out = {'name': name, 'meta-type': meta_type, **info}
        if features:
            out['features'] = list(features)
        self.infos.append(out)

    def _object(self, type_):
        return self._use(type_ if type_.members or type_.branches else _EMPTY)

    def _use(self, type_):
        """Name of TYPE_ in the reply. Queues its description."""
        if isinstance(type_, Builtin) and type_.json_type == 'number' and type_.name != 'number':
            type_ = 'int'
        elif isinstance(type_, Builtin):
            type_ = type_.name
        elif isinstance(type_, Array):
            element = self._use(type_.element)
            type_ = ('array', element)
        if type_ not in self._queue:
            self._queue.append(type_)
        return self._name(type_)

    def _name(self, type_):
        if isinstance(type_, tuple):
            return f'[{type_[1]}]'
        if type_ in _JSON_TYPES:
            return type_
        if self._unmask:
            return getattr(type_, 'name', type_)
        return self._numbers.setdefault(type_, str(len(self._numbers)))

    def _visit(self, type_):
        name = self._name(type_)
        if isinstance(type_, tuple):
            self._add(name, 'array', {'element-type': type_[1]})
        elif type_ in _JSON_TYPES:
            self._add(name, 'builtin', {'json-type': _JSON_TYPES[type_]})
        elif type_ == _EMPTY:
            self._add(name, 'object', {'members': []})
        elif isinstance(type_, Enum):
            values = [v for v in type_.values if not v.unsupported]
            self._add(name, 'enum', {'members': [self._member(v, {}) for v in values],
                                     'values': [v.name for v in values]})
        elif isinstance(type_, Alternate):
            self._add(name, 'alternate', {'members': [{'type': self._use(b.type)} for b in type_.branches]})
        else:
            self._visit_object(name, type_)

    def _visit_object(self, name, type_):
        info = {'members': []}
        for m in type_.members:
            if not m.unsupported:
                extra = {'type': self._use(m.type)}
                if m.optional:
                    extra['default'] = None
                info['members'].append(self._member(m, extra))
        if type_.branches is not None:
            branches = {b.name: b.type for b in type_.branches}
            info['tag'] = type_.tag.name
            info['variants'] = [{'case': v.name, 'type': self._object(branches[v.name]) if v.name in branches
                                 else self._use(_EMPTY)}
                                for v in type_.tag.type.values if not v.unsupported]
        self._add(name, 'object', info, type_.features)

    @staticmethod
    def _member(member, extra):
        out = {'name': member.name, **extra}
        if member.features:
            out['features'] = list(member.features)
        return out


def generate(schema):
    lines = [json.dumps(info) for info in Introspection(schema).infos]
    text = ['    "["'] + [f'    {c_string(line + ("," if i + 1 < len(lines) else ""))}' for i, line in enumerate(lines)]
    return _HEAD + '\n'.join(text) + '\n    "]";\n'
