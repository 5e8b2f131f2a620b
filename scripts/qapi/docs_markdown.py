"""Writes the reference in Markdown.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import re

import docs

_WRITERS = {
    'text': lambda s: re.sub(r'[*<]', r'\\\g<0>', s),
    'code': lambda s: f'`{s}`',
    'builtin': lambda s: f'*{s}*',
    'link': lambda s: f'[{s}](#{s.lower()})',
}


def _text(pieces):
    return ''.join(_WRITERS[kind](string) for kind, string in pieces)


def _block(kind, content):
    if kind == 'members':
        return '\n'.join(f'- {_text(term)}' + (f': {_text(text)}' if text else '') for term, text in content)
    return f'```\n{content}\n```' if kind == 'code' else _text(content)


def generate(schema):
    parts = ['# QMP reference', _text([('text', docs.INTRODUCTION)])]
    for subject in docs.subjects(schema):
        parts += [f'## {subject.title}'] + [_text(paragraph) for paragraph in subject.paragraphs]
        for definition in subject.definitions:
            parts += [f'### {definition.name}', f'({definition.kind})']
            parts += [_block(kind, content) for kind, content in definition.blocks]
    return '\n\n'.join(parts) + '\n'
