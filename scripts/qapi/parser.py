"""Reads schema files: expressions with the documentation comment in front of each.

The language is QEMU's: objects and arrays of single-quoted strings and booleans, "#" comments, and blocks between two
"##" lines. A block documents the expression after it, or starts a subject: "# = Heading", and optional text.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import re
import textwrap

from common import SchemaError

_SECTION = re.compile(r'(Since|Returns|Errors|Features|Example|Examples|Notes?|TODO|\.\. \w+):')
_TOKEN = re.compile(r"""(?P<space>[ \t\r]+)|(?P<newline>\n)|(?P<comment>\#[^\n]*)|(?P<punct>[{}\[\]:,])
                        |'(?P<string>[^'\\\n]*)'|(?P<word>true|false)""", re.X)


class Where:
    """A location in a schema file, printed as FILE:LINE."""

    def __init__(self, fname, line):
        self.fname = fname
        self.line = line

    def __str__(self):
        return f'{self.fname}:{self.line}'


def _join_lines(lines):
    """Join the lines of each paragraph; paragraphs stay separated by a blank line."""
    return re.sub(r'[ \t]*\n(?!\n)(?<!\n\n)[ \t]*', ' ', '\n'.join(lines).strip())


class Subject:
    """A part of the reference: a heading, and introductory text."""

    def __init__(self, title, text):
        self.title = title
        self.text = text


class Doc:
    """A documentation block: the symbol, its text, a text for each member and feature, and tagged sections."""

    def __init__(self, where, subject, lines):
        self.where = where
        self.subject = subject      # title; None before the first heading
        self.symbol = None
        self.members = {}
        self.features = {}
        self.sections = {}
        self._texts = {None: []}
        self._parse(lines)
        self.text = self._finish(None)

    def _finish(self, key):
        if key in ('Example', 'Examples'):
            return textwrap.dedent('\n'.join(self._texts[key])).strip('\n')
        return _join_lines(self._texts[key])

    def _parse(self, lines):
        key = None
        kinds = {}
        for number, line in lines:
            where = Where(self.where.fname, number)
            match = re.match(r'@([A-Za-z_][\w.-]*|\d[\w-]*):(?:\s+|$)(.*)', line)
            section = _SECTION.match(line)
            if match and self.symbol is None:
                self.symbol = match.group(1)
                line = match.group(2)
            elif match:
                name = match.group(1)
                kind = 'feature' if kinds.get(key) == 'feature' or key == 'Features' else 'member'
                key = (kind, name)
                if key in self._texts:
                    raise SchemaError(where, f"'{name}' is documented twice")
                kinds[key] = kind
                self._texts[key] = []
                line = match.group(2)
            elif section:
                key = section.group(1)
                kinds[key] = 'section'
                if key in self._texts:
                    raise SchemaError(where, f"a second section '{key}'")
                self._texts[key] = []
                line = line[section.end():]
            elif line and not line.startswith(' ') and kinds.get(key) in ('member', 'feature'):
                raise SchemaError(where, 'the text of a member must be indented')
            if self.symbol is None and line:
                raise SchemaError(where, "documentation must begin with '@NAME:'")
            self._texts[key].append(line)
        if self.symbol is None:
            raise SchemaError(self.where, "documentation must begin with '@NAME:'")
        for key, kind in kinds.items():
            text = self._finish(key)
            if kind != 'section' and not text:
                raise SchemaError(self.where, f"documentation of '{key[1]}' is empty")
            if kind == 'member':
                self.members[key[1]] = text
            elif kind == 'feature':
                self.features[key[1]] = text
            else:
                self.sections[key] = text


class Expr:
    """A top-level expression."""

    def __init__(self, where, value, doc):
        self.where = where
        self.value = value
        self.doc = doc


class Parser:
    """Parses a file and the files that it includes. Adds to the results of PARENT, the parser of the including file.

    Results, in order of appearance: exprs, the expressions; subjects, by title; files, the paths.
    """

    def __init__(self, fname, parent=None, included_at=None):
        self.files = parent.files if parent else []
        self.exprs = parent.exprs if parent else []
        self.subjects = parent.subjects if parent else {}
        self._subject = None
        self._fname = fname
        self._line = 1
        self._pos = 0
        try:
            with open(fname, encoding='utf-8') as src:
                self._src = src.read()
        except OSError as err:
            raise SchemaError(included_at or fname, f"cannot read '{fname}': {err.strerror}") from err
        self.files.append(os.path.realpath(fname))
        self._doc_lines = None
        self._doc = None
        self._tok = None
        self._advance()
        while self._tok[0] != 'eof':
            self._top_level()
        if self._doc:
            raise SchemaError(self._doc.where, 'documentation without a definition after it')

    def _where(self):
        return Where(self._fname, self._line)

    def _fail(self, message):
        raise SchemaError(self._tok_where, message)

    def _doc_block(self):
        """Parse a block. The cursor is after its first '##' line."""
        start = self._where()
        lines = []
        if self._doc:
            raise SchemaError(self._doc.where, 'documentation without a definition after it')
        while True:
            end = self._src.find('\n', self._pos)
            if end < 0:
                raise SchemaError(start, "documentation is not closed by '##'")
            line = self._src[self._pos:end].rstrip()
            self._pos = end + 1
            self._line += 1
            if line == '##':
                break
            if not line.startswith('#'):
                raise SchemaError(self._where(), "documentation lines must begin with '#'")
            lines.append((self._line, line[2:] if line.startswith('# ') else line[1:]))
        if lines and lines[0][1].startswith('= '):
            self._begin_subject(start, [line for _, line in lines])
        else:
            self._doc = Doc(start, self._subject, lines)

    def _begin_subject(self, where, lines):
        """Files can share a heading: their definitions are one subject."""
        title, text = lines[0][2:].strip(), _join_lines(lines[1:])
        subject = self.subjects.setdefault(title, Subject(title, ''))
        if text and subject.text:
            raise SchemaError(where, f"a second text under '{title}'")
        subject.text = subject.text or text
        self._subject = title

    def _advance(self):
        """Read the next token into self._tok as (kind, value)."""
        while self._pos < len(self._src):
            match = _TOKEN.match(self._src, self._pos)
            if not match:
                raise SchemaError(self._where(), f"unexpected {self._src[self._pos]!r}")
            self._pos = match.end()
            kind = match.lastgroup
            if kind == 'newline':
                self._line += 1
            elif kind == 'comment' and match.group() == '##':
                self._pos += 1
                self._doc_block()
                self._line += 1
            elif kind not in ('space', 'comment'):
                self._tok = (kind, match.group(kind))
                self._tok_where = self._where()
                return
        self._tok = ('eof', None)
        self._tok_where = self._where()

    def _expect(self, char):
        if self._tok != ('punct', char):
            self._fail(f"expected '{char}'")
        self._advance()

    def _value(self):
        kind, value = self._tok
        if kind == 'string':
            self._advance()
            return value
        if kind == 'word':
            self._advance()
            return value == 'true'
        if (kind, value) == ('punct', '{'):
            return self._object()
        if (kind, value) == ('punct', '['):
            return self._array()
        return self._fail('expected a string, boolean, object or array')

    def _object(self):
        obj = {}
        self._expect('{')
        while self._tok != ('punct', '}'):
            if self._tok[0] != 'string':
                self._fail('expected a key')
            key = self._tok[1]
            if key in obj:
                self._fail(f"duplicate key '{key}'")
            self._advance()
            self._expect(':')
            obj[key] = self._value()
            if self._tok != ('punct', '}'):
                self._expect(',')
        self._advance()
        return obj

    def _array(self):
        arr = []
        self._expect('[')
        while self._tok != ('punct', ']'):
            arr.append(self._value())
            if self._tok != ('punct', ']'):
                self._expect(',')
        self._advance()
        return arr

    def _top_level(self):
        where = self._tok_where
        doc, self._doc = self._doc, None
        if self._tok != ('punct', '{'):
            self._fail('expected an object')
        value = self._object()
        if 'include' in value:
            if doc:
                raise SchemaError(doc.where, 'an include takes no documentation')
            if len(value) != 1 or not isinstance(value['include'], str):
                raise SchemaError(where, "'include' takes one file name")
            fname = os.path.join(os.path.dirname(self._fname), value['include'])
            if os.path.realpath(fname) not in self.files:
                Parser(fname, self, where)
        else:
            self.exprs.append(Expr(where, value, doc))
