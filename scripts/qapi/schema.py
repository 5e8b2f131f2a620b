"""The checked schema: types, commands and events that refer to each other.

All generators work from these objects. All names are resolved.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import re

from common import SchemaError, arg_type_name, c_enum_const, c_name, camel_to_upper
from parser import Parser

# name: (C type, JSON type, kind of the descriptor)
BUILTINS = {
    'str': ('char *', 'string', 'STR'),
    'number': ('double', 'number', 'NUMBER'),
    'int': ('int64_t', 'number', 'INT'),
    'int8': ('int8_t', 'number', 'INT'),
    'int16': ('int16_t', 'number', 'INT'),
    'int32': ('int32_t', 'number', 'INT'),
    'int64': ('int64_t', 'number', 'INT'),
    'uint8': ('uint8_t', 'number', 'UINT'),
    'uint16': ('uint16_t', 'number', 'UINT'),
    'uint32': ('uint32_t', 'number', 'UINT'),
    'uint64': ('uint64_t', 'number', 'UINT'),
    'size': ('uint64_t', 'number', 'SIZE'),
    'bool': ('bool', 'boolean', 'BOOL'),
    'null': ('QAPINull', 'null', 'NULL'),
    'any': ('struct json_object *', 'any', 'ANY'),
}

_QTYPES = {'null': 'QTYPE_QNULL', 'number': 'QTYPE_QNUM', 'string': 'QTYPE_QSTRING', 'boolean': 'QTYPE_QBOOL',
           'array': 'QTYPE_QLIST', 'object': 'QTYPE_QDICT'}

# expression: (mandatory keys, optional keys)
_KEYS = {
    'enum': ({'data'}, {'prefix', 'features'}),
    'struct': ({'data'}, {'base', 'features'}),
    'union': ({'base', 'discriminator', 'data'}, {'features'}),
    'alternate': ({'data'}, {'features'}),
    'command': (set(), {'data', 'returns', 'boxed', 'coroutine', 'allow-oob', 'allow-preconfig', 'gen', 'features'}),
    'event': (set(), {'data', 'boxed', 'features'}),
}


class Member:
    """A member of a struct, a branch of a union or alternate, or a value of an enum (type is None)."""

    def __init__(self, name, type_, optional=False, doc='', features=()):
        self.name = name
        self.type = type_
        self.optional = optional
        self.doc = doc
        self.features = list(features)

    @property
    def c_name(self):
        return c_name(self.name)

    @property
    def unsupported(self):
        """Known by name, since QEMU has it, but refused."""
        return 'unsupported' in self.features


class Type:
    """Any type; by_value tells whether members of it are embedded, rather than pointers."""

    by_value = False

    def __init__(self, name, where, doc):
        self.name = name
        self.where = where
        self.doc = doc
        self.features = []

    @property
    def c_name(self):
        return self.name

    @property
    def c_member(self):
        """C type of a member, to which the name can be appended."""
        return self.c_name + (' ' if self.by_value else ' *')

    @property
    def qtype(self):
        return _QTYPES[self.json_type]


class Builtin(Type):
    def __init__(self, name):
        super().__init__(name, None, None)
        ctype, self.json_type, self.kind = BUILTINS[name]
        self.ctype = ctype
        self.by_value = not ctype.endswith('*')

    @property
    def qtype(self):
        return 'QTYPE_NONE' if self.json_type == 'any' else super().qtype

    @property
    def c_member(self):
        return self.ctype if self.ctype.endswith('*') else self.ctype + ' '


class Enum(Type):
    by_value = True
    json_type = 'string'

    def __init__(self, name, where, doc, prefix):
        super().__init__(name, where, doc)
        self.prefix = prefix or camel_to_upper(name)
        self.values = []

    def const(self, value):
        return c_enum_const(self.prefix, value)


class Object(Type):
    """A struct or union. members begins with those of the base; branches is None in a struct."""

    json_type = 'object'

    def __init__(self, name, where, doc):
        super().__init__(name, where, doc)
        self.base = None
        self.base_is_implicit = False
        self.own_members = []
        self.tag = None
        self.branches = None
        self.command = None         # of inline arguments: the command or event

    @property
    def c_name(self):
        return arg_type_name(self.command) if self.command else self.name

    @property
    def members(self):
        return (self.base.members if self.base else []) + self.own_members

    def all_names(self):
        """Names of all members, including those of all branches."""
        names = {m.name for m in self.members}
        for branch in self.branches or []:
            names |= branch.type.all_names()
        return names


class Alternate(Type):
    json_type = None

    def __init__(self, name, where, doc):
        super().__init__(name, where, doc)
        self.branches = []


class Array(Type):
    json_type = 'array'

    def __init__(self, element):
        super().__init__(element.name + 'List', element.where, None)
        self.element = element


class Command:
    """A command. arg is an object type, without members if there are no arguments; ret is None if it returns nothing."""

    def __init__(self, name, where, doc, arg, ret, options, features):
        self.name, self.where, self.doc, self.arg, self.ret, self.options = name, where, doc, arg, ret, options
        self.features = features

    @property
    def c_name(self):
        return c_name(self.name)


class Event:
    """An event. arg is an object type, without members if there is no data."""

    def __init__(self, name, where, doc, arg, features):
        self.name, self.where, self.doc, self.arg, self.features = name, where, doc, arg, features

    @property
    def c_name(self):
        return c_name(self.name).lower()


def _check_name(where, name, upper=False):
    pattern = r'[A-Z][A-Za-z0-9]*' if upper else r'(x-)?[A-Za-z0-9][\w-]*'
    if not isinstance(name, str) or not re.fullmatch(pattern, name):
        raise SchemaError(where, f"invalid name '{name}'")


def _check_member_name(where, name):
    _check_name(where, name)
    ident = c_name(name)
    if ident == 'u' or ident.startswith('has_'):
        raise SchemaError(where, f"name '{name}' is reserved for generated code")


class Schema:
    """Reads fname and the files that it includes. Raises SchemaError."""

    def __init__(self, fname):
        parser = Parser(fname)
        self.files = parser.files
        self.subjects = parser.subjects
        self.types = {name: Builtin(name) for name in BUILTINS}
        self.commands = {}
        self.events = {}
        self.definitions = []       # types, commands and events in the order of the schema
        self._pending = []
        for expr in parser.exprs:
            self._declare(expr)
        for kind, expr, entity in self._pending:
            getattr(self, '_define_' + kind)(expr, entity)
        self._check_bases()
        self.objects = self._in_order()
        for kind, expr, entity in self._pending:
            self._check(kind, expr, entity)

    # Pass 1: names

    def _declare(self, expr):
        where, value = expr.where, expr.value
        kinds = [key for key in value if key in _KEYS]
        if len(kinds) != 1:
            raise SchemaError(where, 'expected one of ' + ', '.join(f"'{key}'" for key in _KEYS))
        kind = kinds[0]
        name = value[kind]
        needed, allowed = _KEYS[kind]
        keys = set(value) - {kind}
        for key in sorted(needed - keys):
            raise SchemaError(where, f"{kind} '{name}' lacks '{key}'")
        for key in sorted(keys - needed - allowed):
            raise SchemaError(where, f"{kind} '{name}' has unknown key '{key}'")
        _check_name(where, name, upper=kind not in ('command', 'event'))
        if not expr.doc:
            raise SchemaError(where, f"{kind} '{name}' has no documentation")
        if expr.doc.symbol != name:
            raise SchemaError(expr.doc.where, f"documentation is of '{expr.doc.symbol}', the definition of '{name}'")
        entity = None
        if kind in ('enum', 'struct', 'union', 'alternate'):
            if name in self.types or name.endswith('List'):
                raise SchemaError(where, f"name '{name}' is " + ('taken' if name in self.types else 'reserved'))
            if kind == 'enum':
                entity = Enum(name, where, expr.doc, value.get('prefix'))
            else:
                entity = (Alternate if kind == 'alternate' else Object)(name, where, expr.doc)
            self.types[name] = entity
            self.definitions.append(entity)
        self._pending.append((kind, expr, entity))

    # Pass 2: contents

    def _resolve(self, where, ref):
        if isinstance(ref, list):
            if len(ref) != 1 or not isinstance(ref[0], str):
                raise SchemaError(where, 'an array type is a list of one type name')
            element = self._resolve(where, ref[0])
            name = element.name + 'List'
            if name not in self.types:
                self.types[name] = Array(element)
            return self.types[name]
        if not isinstance(ref, str) or ref not in self.types or ref.endswith(('List', '-arg')):
            raise SchemaError(where, f"unknown type '{ref}'")
        return self.types[ref]

    def _features(self, where, spec):
        names = []
        for item in spec.get('features', []):
            name = item.get('name') if isinstance(item, dict) else item
            _check_name(where, name)
            names.append(name)
        return names

    def _members(self, where, data, doc):
        if not isinstance(data, dict):
            raise SchemaError(where, 'members must be an object')
        members = []
        for key, spec in data.items():
            optional = key.startswith('*')
            name = key[1:] if optional else key
            _check_member_name(where, name)
            features = []
            if isinstance(spec, dict):
                if 'type' not in spec or set(spec) - {'type', 'features'}:
                    raise SchemaError(where, f"member '{name}' takes 'type' and 'features'")
                features = self._features(where, spec)
                spec = spec['type']
            members.append(Member(name, self._resolve(where, spec), optional, doc.members.get(name, ''), features))
        return members

    def _implicit(self, name, where, doc, data):
        """The unnamed object type of an inline member list."""
        obj = Object(name, where, doc)
        obj.own_members = self._members(where, data, doc)
        return obj

    def _object_ref(self, where, ref):
        type_ = self._resolve(where, ref)
        if not isinstance(type_, Object):
            raise SchemaError(where, f"'{ref}' is not a struct or union")
        return type_

    def _define_enum(self, expr, enum):
        data = expr.value['data']
        if not isinstance(data, list):
            raise SchemaError(expr.where, 'the values of an enum are a list')
        for item in data:
            name = item.get('name') if isinstance(item, dict) else item
            _check_name(expr.where, name)
            if any(c_name(v.name) == c_name(name) for v in enum.values):
                raise SchemaError(expr.where, f"value '{name}' is listed twice")
            features = self._features(expr.where, item) if isinstance(item, dict) else []
            enum.values.append(Member(name, None, False, expr.doc.members.get(name, ''), features))

    def _define_struct(self, expr, obj):
        obj.features = self._features(expr.where, expr.value)
        if 'base' in expr.value:
            obj.base = self._object_ref(expr.where, expr.value['base'])
        obj.own_members = self._members(expr.where, expr.value['data'], expr.doc)

    def _define_union(self, expr, obj):
        where, base = expr.where, expr.value['base']
        obj.features = self._features(where, expr.value)
        obj.base_is_implicit = isinstance(base, dict)
        if obj.base_is_implicit:
            obj.base = self._implicit(obj.name + 'Base', where, expr.doc, base)
        else:
            obj.base = self._object_ref(where, base)
        obj.branches = []
        for value, ref in expr.value['data'].items():
            if isinstance(ref, dict):
                ref = ref.get('type')
            obj.branches.append(Member(value, self._object_ref(where, ref)))

    def _define_alternate(self, expr, alt):
        seen = set()
        for name, ref in expr.value['data'].items():
            _check_member_name(expr.where, name)
            type_ = self._resolve(expr.where, ref)
            if type_.json_type in seen or type_.json_type in (None, 'any'):
                raise SchemaError(expr.where, f"branch '{name}' cannot be told from the others by its JSON type")
            seen.add(type_.json_type)
            alt.branches.append(Member(name, type_, False, expr.doc.members.get(name, '')))

    def _arg(self, expr, name):
        data = expr.value.get('data')
        if data is None or isinstance(data, dict):
            arg = self._implicit(name + '-arg', expr.where, expr.doc, data or {})
            arg.command = name
            self._check_unique(expr.where, arg.members)
            if arg.members:
                if any(t.c_name == arg.c_name for t in self.types.values()):
                    raise SchemaError(expr.where, f"the type of the arguments of '{name}' collides with '{arg.c_name}'")
                self.types[arg.name] = arg
            return arg
        return self._object_ref(expr.where, data)

    def _define_command(self, expr, _):
        value = expr.value
        name = value['command']
        if name in self.commands:
            raise SchemaError(expr.where, f"command '{name}' is defined twice")
        ret = self._resolve(expr.where, value['returns']) if 'returns' in value else None
        options = {key: value[key] for key in ('boxed', 'coroutine', 'allow-oob', 'allow-preconfig', 'gen') if key in value}
        command = Command(name, expr.where, expr.doc, self._arg(expr, name), ret, options,
                          self._features(expr.where, value))
        self.commands[name] = command
        self.definitions.append(command)

    def _define_event(self, expr, _):
        name = expr.value['event']
        if name in self.events:
            raise SchemaError(expr.where, f"event '{name}' is defined twice")
        event = Event(name, expr.where, expr.doc, self._arg(expr, name), self._features(expr.where, expr.value))
        self.events[name] = event
        self.definitions.append(event)

    # Pass 3: checks that need resolved names

    def _check_bases(self):
        for type_ in self.types.values():
            base = type_.base if isinstance(type_, Object) else None
            seen = {type_}
            while base:
                if base in seen:
                    raise SchemaError(base.where, f"'{base.name}' contains itself")
                seen.add(base)
                if base.branches is not None:
                    raise SchemaError(type_.where, f"base '{base.name}' is a union")
                base = base.base

    def _in_order(self):
        """Structs, unions and alternates, each after those that it embeds."""
        done = {}
        ordered = []

        def visit(type_):
            if done.get(type_) == 'doing':
                raise SchemaError(type_.where, f"'{type_.name}' contains itself")
            if type_ in done or not isinstance(type_, (Object, Alternate)):
                return
            done[type_] = 'doing'
            for branch in type_.branches or []:
                visit(branch.type)
            done[type_] = 'done'
            ordered.append(type_)

        for type_ in self.types.values():
            visit(type_)
        return ordered

    def _check(self, kind, expr, entity):
        if kind in ('struct', 'union'):
            self._check_unique(expr.where, entity.members)
        if kind == 'union':
            self._check_union(expr, entity)
        self._check_doc(kind, expr, entity)

    @staticmethod
    def _check_unique(where, members):
        seen = {}
        for member in members:
            if member.c_name in seen:
                raise SchemaError(where, f"member '{member.name}' collides with '{seen[member.c_name]}'")
            seen[member.c_name] = member.name

    def _check_union(self, expr, obj):
        where = expr.where
        tag = expr.value['discriminator']
        obj.tag = next((m for m in obj.members if m.name == tag), None)
        if obj.tag is None or obj.tag.optional or not isinstance(obj.tag.type, Enum):
            raise SchemaError(where, f"discriminator '{tag}' is not a mandatory enum member of the base")
        values = {v.name for v in obj.tag.type.values}
        for branch in obj.branches:
            if branch.name not in values:
                raise SchemaError(where, f"branch '{branch.name}' is not a value of '{obj.tag.type.name}'")
            clash = {m.name for m in obj.members} & branch.type.all_names()
            for name in sorted(clash):
                raise SchemaError(where, f"member '{name}' of branch '{branch.name}' collides with the base")

    @staticmethod
    def _check_doc(kind, expr, entity):
        doc = expr.doc
        if kind == 'enum':
            names = [v.name for v in entity.values]
        elif kind == 'alternate':
            names = [b.name for b in entity.branches]
        else:
            data = expr.value['base'] if kind == 'union' else expr.value.get('data', {})
            names = [key.lstrip('*') for key in data] if isinstance(data, dict) else []
        for name in names:
            if name not in doc.members:
                raise SchemaError(doc.where, f"'{name}' of '{doc.symbol}' is not documented")
        for name in doc.members:
            if name not in names:
                raise SchemaError(doc.where, f"'{doc.symbol}' has no member '{name}' to document")
