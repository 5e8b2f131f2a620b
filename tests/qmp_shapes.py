"""Compares what query-qmp-schema says with tests/data/qmp-shapes.txt, which says what QEMU 10.2's storage daemon has.

The file has blocks: a line "KIND NAME", where KIND is command, event, type or enum, and indented lines:

    name TYPE           a member; name? where it is optional
    tag=value           the indented members below are there where the member tag has this value
    = TYPE              the arguments are that type
    -> TYPE             what a command returns
    value               of an enum

TYPE is a built-in type, the name of a type or enum, [TYPE] for a list, "A or B", {} for no members, or the values of an
enum, a|b. A name or value may have a mark before it: ! what QEMU has and we do not offer, + what we alone have.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import dataclasses

BUILTINS = ('str', 'int', 'bool', 'number', 'any', 'null')


def offered(name):
    return not name.startswith('!')


def bare(name):
    return name.lstrip('!+')


@dataclasses.dataclass
class Member:
    name: str
    optional: bool
    type: str


@dataclasses.dataclass
class Definition:
    kind: str
    name: str
    members: list = dataclasses.field(default_factory=list)
    branches: dict = dataclasses.field(default_factory=dict)    # (tag, value) -> members
    values: list = dataclasses.field(default_factory=list)
    arg: str = None
    ret: str = None


def _parse_line(definition, line, branch):
    """Parse one indented line; return the branch that deeper lines belong to."""
    text = line.strip()
    if line.startswith('    '):
        name, _, type_ = text.partition(' ')
        branch.append(Member(name.rstrip('?'), name.endswith('?'), type_))
    elif text.startswith('-> '):
        definition.ret = text[3:]
    elif text.startswith('= '):
        definition.arg = text[2:]
    elif definition.kind == 'enum':
        definition.values.append(text)
    elif ' ' in text:
        name, _, type_ = text.partition(' ')
        definition.members.append(Member(name.rstrip('?'), name.endswith('?'), type_))
    else:
        return definition.branches.setdefault(tuple(text.split('=')), [])
    return branch


def parse(text):
    """The definitions by (kind, name); the name of a command may have a mark."""
    definitions = {}
    current = branch = None
    for line in text.splitlines():
        if not line.strip() or line.startswith('#'):
            continue
        if line.startswith(' '):
            branch = _parse_line(current, line, branch)
        else:
            kind, name = line.split(' ')
            current = Definition(kind, name)
            assert (kind, bare(name)) not in definitions, line
            definitions[kind, bare(name)] = current
    return definitions


class Comparison:
    """The differences between what is listed and what is offered, as texts."""

    def __init__(self, listed, schema):
        self._listed = listed
        self._schema = {info['name']: info for info in schema}
        self._seen = set()
        self.differences = []
        for kind in ('command', 'event'):
            names = {i['name'] for i in schema if i['meta-type'] == kind}
            expected = {bare(d.name) for d in listed.values() if d.kind == kind and offered(d.name)}
            self._compare_sets(kind + 's', expected, names)
            for name in sorted(expected & names):
                self._compare_entry(listed[kind, name], self._schema[name])

    def _differ(self, where, text):
        self.differences.append(f'{where}: {text}')

    def _compare_sets(self, where, expected, found):
        for name in sorted(expected - found):
            self._differ(where, f"'{name}' is not offered")
        for name in sorted(found - expected):
            self._differ(where, f"'{name}' is offered")

    def _compare_entry(self, definition, info):
        where = definition.name
        arg = self._schema[info['arg-type']]
        if definition.arg:
            self._compare_type(where, definition.arg, info['arg-type'])
        else:
            self._compare_object(where, definition, arg)
        if 'ret-type' in info:
            self._compare_type(where + ' ->', definition.ret or '{}', info['ret-type'])

    def _compare_type(self, where, expr, name):
        info = self._schema[name]
        meta = info['meta-type']
        if (expr, name) in self._seen:
            return
        self._seen.add((expr, name))
        if expr in BUILTINS:
            if name != expr:
                self._differ(where, f'is {name}, not {expr}')
        elif expr.startswith('['):
            if meta == 'array':
                self._compare_type(where, expr[1:-1], info['element-type'])
            else:
                self._differ(where, 'is no list')
        elif ' or ' in expr:
            self._compare_alternate(where, expr.split(' or '), info)
        elif expr == '{}':
            if meta != 'object' or info['members']:
                self._differ(where, 'has members')
        elif ('type', expr) in self._listed:
            if meta == 'object':
                self._compare_object(expr, self._listed['type', expr], info)
            else:
                self._differ(where, f'is no object of type {expr}')
        else:
            self._compare_enum(where, expr, info)

    def _compare_enum(self, where, expr, info):
        listed = self._listed.get(('enum', expr))
        values = listed.values if listed else expr.split('|')
        if info['meta-type'] != 'enum':
            self._differ(where, f'is no enum of {expr}')
            return
        self._compare_sets('enum ' + expr if listed else where, {bare(v) for v in values if offered(v)},
                           set(info['values']))

    def _compare_alternate(self, where, exprs, info):
        if info['meta-type'] != 'alternate' or len(info['members']) != len(exprs):
            self._differ(where, f'is not one of {exprs}')
            return
        names = [m['type'] for m in info['members']]
        for expr in exprs:
            fitting = [n for n in names if (n == expr) == (expr in BUILTINS) and (n in BUILTINS) == (expr in BUILTINS)]
            if len(fitting) == 1:
                self._compare_type(where, expr, fitting[0])
            else:
                self._differ(where, f'has no branch {expr}')

    def _compare_object(self, where, definition, info):
        self._compare_members(where, definition.members, info['members'])
        expected = {}
        for (tag, value), members in definition.branches.items():
            if tag != info.get('tag'):
                self._differ(where, f"the tag is '{info.get('tag')}', not '{tag}'")
            expected[value] = members
        for variant in info.get('variants', []):
            self._compare_members(f"{where} {info['tag']}={variant['case']}", expected.get(variant['case'], []),
                                  self._schema[variant['type']]['members'])

    def _compare_members(self, where, expected, found):
        found = {m['name']: m for m in found}
        self._compare_sets(where, {bare(m.name) for m in expected if offered(m.name)}, set(found))
        for member in expected:
            info = found.get(bare(member.name))
            if offered(member.name) and info:
                if member.optional != ('default' in info):
                    self._differ(where, f"'{member.name}' is {'mandatory' if member.optional else 'optional'}")
                self._compare_type(f'{where} {bare(member.name)}', member.type, info['type'])
