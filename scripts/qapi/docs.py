"""Builds the reference from the schema: definitions by subject, as blocks of text without markup.

docs_html.py and docs_markdown.py add the markup. A text is a list of pieces (kind, string), where kind is 'text',
'code', 'builtin' for a built-in type, or 'link' for the name of a definition.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import re

from common import SchemaError
from examples import examples
from schema import Alternate, Array, Builtin, Command, Enum, Event, Object

INTRODUCTION = 'Generated from the schema in qapi/. Types in italics are built in; optional members can be left out. ' \
    'In examples, the client sends what follows ->, and the server what follows <-; three dots stand for what is left out.'


class Definition:
    """A command, event or type; blocks are ('paragraph', text), ('members', list of (term, text)) or ('code', string)."""

    def __init__(self, name, kind, blocks):
        self.name = name
        self.kind = kind
        self.blocks = blocks


class Subject:
    """A heading, introductory paragraphs, and definitions: commands, then events, then types."""

    def __init__(self, title, paragraphs, definitions):
        self.title = title
        self.anchor = re.sub(r'[^a-z0-9]+', '-', title.lower())
        self.paragraphs = paragraphs
        self.definitions = definitions


def _type_ref(type_):
    if isinstance(type_, Array):
        return [('text', 'list of ')] + _type_ref(type_.element)
    return [('builtin' if isinstance(type_, Builtin) else 'link', type_.name)]


class _Walk:
    def __init__(self, schema):
        self._definitions = {entity.name: entity for entity in schema.definitions}
        # In running text, names that cannot be ordinary words become links.
        names = [name for name in self._definitions if re.search(r'[-_]|[A-Z]\w*[A-Z]', name)]
        self._pattern = re.compile(r'(?<![\w-])(?:@(?P<member>[\w-]*\w)|(?P<name>' +
                                   '|'.join(sorted(map(re.escape, names), key=len, reverse=True)) + r'))(?![\w-])')
        if not names:
            self._pattern = re.compile(r'(?<![\w-])@(?P<member>[\w-]*\w)(?P<name>)')

    def text(self, string):
        """@member is code, the names of definitions are links."""
        pieces, end = [], 0
        for match in self._pattern.finditer(string):
            pieces += [('text', string[end:match.start()])] if match.start() > end else []
            pieces.append(('code', match['member']) if match['member'] else ('link', match['name']))
            end = match.end()
        return pieces + ([('text', string[end:])] if end < len(string) else [])

    def _row(self, member):
        notes = _type_ref(member.type) if member.type else []
        words = (['optional'] if member.optional else []) + ['not supported' if f == 'unsupported' else f
                                                              for f in member.features]
        if words:
            notes.append(('text', (', ' if notes else '') + ', '.join(words)))
        term = [('code', member.name)] + ([('text', ' (')] + notes + [('text', ')')] if notes else [])
        return term, self.text(member.doc)

    def _object_rows(self, obj):
        rows = []
        if obj.base and not obj.base_is_implicit:
            rows.append(([('text', 'all members of ')] + _type_ref(obj.base), []))
        own = obj.own_members + (obj.base.own_members if obj.base_is_implicit else [])
        rows += [self._row(member) for member in own]
        for branch in obj.branches or []:
            where = [('text', 'where '), ('code', obj.tag.name), ('text', ' is '), ('code', branch.name)]
            rows.append((where, [('text', 'the members of ')] + _type_ref(branch.type)))
        return rows

    def _members(self, entity):
        if isinstance(entity, Enum):
            return 'enum', [self._row(value) for value in entity.values]
        if isinstance(entity, Object):
            return 'struct' if entity.branches is None else 'union', self._object_rows(entity)
        if isinstance(entity, Alternate):
            return 'alternate', [(_type_ref(b.type), self.text(b.doc)) for b in entity.branches]
        kind = 'command' if isinstance(entity, Command) else 'event'
        if entity.arg.name in self._definitions:
            return kind, [([('text', 'all members of ')] + _type_ref(entity.arg), [])]
        return kind, self._object_rows(entity.arg)

    def definition(self, entity):
        kind, rows = self._members(entity)
        blocks = [('paragraph', self.text(paragraph)) for paragraph in entity.doc.text.split('\n\n') if paragraph]
        if entity.features:
            blocks.append(('paragraph', [('text', 'This is ' + ', '.join(entity.features) + '.')]))
        if rows:
            blocks.append(('members', rows))
        if isinstance(entity, Command):
            if entity.ret:
                blocks.append(('paragraph', [('text', 'Returns ')] + _type_ref(entity.ret) + [('text', '.')]))
            if entity.options.get('allow-oob'):
                blocks.append(('paragraph', [('text', 'Can be executed out of band (exec-oob).')]))
        for tag, text in entity.doc.sections.items():
            if tag == 'Example':
                blocks += [('paragraph', [('text', 'Example:')]), ('code', text)]
            elif text:
                blocks.append(('paragraph', [('text', tag + ': ')] + self.text(text)))
        return Definition(entity.name, kind, blocks)


def subjects(schema):
    """The reference, a list of Subject. Raises SchemaError if a definition is under no heading, or an example is missing."""
    examples(schema)
    walk = _Walk(schema)
    order = sorted(schema.definitions, key=lambda e: (not isinstance(e, Command), not isinstance(e, Event)))
    for entity in order:
        if not entity.doc.subject:
            raise SchemaError(entity.doc.where, f"'{entity.name}' is under no heading")
    return [Subject(subject.title, [walk.text(p) for p in subject.text.split('\n\n') if p],
                    [walk.definition(entity) for entity in order if entity.doc.subject == subject.title])
            for subject in schema.subjects.values()]
