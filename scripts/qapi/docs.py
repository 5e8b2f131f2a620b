"""Writes the reference: every definition with its text and members, in Markdown.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from schema import Alternate, Array, Builtin, Command, Enum, Event, Object

_HEAD = """\
# QAPI reference

Generated from the schema in `qapi/`. Types in *italics* are built in; a member marked optional may be left out.
"""


def _type_ref(type_):
    if isinstance(type_, Array):
        return 'list of ' + _type_ref(type_.element)
    if isinstance(type_, Builtin):
        return f'*{type_.name}*'
    return f'[{type_.name}](#{type_.name.lower()})'


def _row(name, type_, doc, optional=False, features=()):
    note = ', optional' if optional else ''
    note += ''.join(f', {feature}' for feature in features)
    return f'- `{name}` ({_type_ref(type_)}{note}): {doc}' if type_ else f'- `{name}`: {doc}'


def _members(obj):
    rows = []
    if obj.base and not obj.base_is_implicit:
        rows.append(f'- all members of {_type_ref(obj.base)}')
    own = obj.own_members + (obj.base.own_members if obj.base_is_implicit else [])
    rows += [_row(m.name, m.type, m.doc, m.optional, m.features) for m in own]
    for branch in obj.branches or []:
        rows.append(f'- where `{obj.tag.name}` is `{branch.name}`: the members of {_type_ref(branch.type)}')
    return rows


def _section(tag, text):
    return f'{tag}:\n\n```\n{text}\n```' if tag.startswith('Example') else f'{tag}: {text}'


def _definition(entity):
    if isinstance(entity, Enum):
        kind, rows = 'enum', [_row(v.name, None, v.doc) for v in entity.values]
    elif isinstance(entity, Object):
        kind, rows = 'struct' if entity.branches is None else 'union', _members(entity)
    elif isinstance(entity, Alternate):
        kind, rows = 'alternate', [f'- {_type_ref(b.type)}: {b.doc}' for b in entity.branches]
    else:
        kind = 'command' if isinstance(entity, Command) else 'event'
        if entity.arg.name.endswith('-arg'):
            rows = _members(entity.arg)
        else:
            rows = [f'- all members of {_type_ref(entity.arg)}']
    parts = [f'## {entity.name}', f'({kind}) {entity.doc.text}']
    if rows:
        parts.append('\n'.join(rows))
    if isinstance(entity, Command) and entity.ret:
        parts.append(f'Returns {_type_ref(entity.ret)}.')
    parts += [_section(tag, text) for tag, text in entity.doc.sections.items() if text]
    return '\n\n'.join(parts)


def generate(schema):
    order = sorted(schema.definitions, key=lambda e: (isinstance(e, Event), not isinstance(e, Command), e.name.lower()))
    return '\n\n'.join([_HEAD.rstrip()] + [_definition(entity) for entity in order]) + '\n'
