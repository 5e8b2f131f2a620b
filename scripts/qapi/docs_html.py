"""Writes the reference as one self-contained HTML page.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from html import escape

import docs

_HEAD = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>QMP reference</title>
<style>
:root { --text: #1a1a1a; --page: #fff; --soft: #5a5a5a; --box: #f2f3f5; --link: #0b57a4; --line: #d4d7dc }
@media (prefers-color-scheme: dark) {
  :root { --text: #e4e4e4; --page: #16181c; --soft: #a3a8b0; --box: #23262c; --link: #82b8f5; --line: #3a3f47 }
}
body { max-width: 54rem; margin: 0 auto; padding: 0 1rem 4rem; color: var(--text); background: var(--page);
       font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: break-word }
a { color: var(--link) }
h2 { margin-top: 3rem; border-bottom: 1px solid var(--line) }
h3 { margin: 2.5rem 0 0.5rem }
h3 a { color: inherit; text-decoration: none }
h3 small { color: var(--soft); font-weight: normal }
code, pre { font: 0.9em/1.4 ui-monospace, monospace }
pre { padding: 0.75rem; overflow-x: auto; background: var(--box); border-radius: 0.3rem }
nav ul, .index { padding-left: 0; list-style: none; columns: 15rem }
.members { padding-left: 1.25rem }
:target { background: var(--box) }
</style>
</head>
<body>
<h1>QMP reference</h1>"""

_WRITERS = {
    'text': lambda s: escape(s, quote=False),
    'code': lambda s: f'<code>{escape(s)}</code>',
    'builtin': lambda s: f'<i>{escape(s)}</i>',
    'link': lambda s: f'<a href="#{escape(s)}">{escape(s)}</a>',
}


def _text(pieces):
    return ''.join(_WRITERS[kind](string) for kind, string in pieces)


def _paragraph(pieces):
    return f'<p>{_text(pieces)}</p>'


def _links(names, css_class=''):
    items = [f'<li>{_text([("link", name)])}</li>' for name in names]
    return '\n'.join([f'<ul{css_class}>', *items, '</ul>'])


def _members(rows):
    items = [f'<li>{_text(term)}' + (f': {_text(text)}' if text else '') + '</li>' for term, text in rows]
    return '\n'.join(['<ul class="members">', *items, '</ul>'])


def _definition(definition):
    name = escape(definition.name)
    writers = {'paragraph': _paragraph, 'members': _members, 'code': lambda s: f'<pre>{escape(s, quote=False)}</pre>'}
    blocks = [writers[kind](content) for kind, content in definition.blocks]
    heading = f'<h3 id="{name}"><a href="#{name}"><code>{name}</code></a> <small>{definition.kind}</small></h3>'
    return '\n'.join(['<article>', heading, *blocks, '</article>'])


def _contents(subjects):
    """Subjects with their commands and events. Types are in the index."""
    lines = ['<nav>', '<h2>Contents</h2>']
    for subject in subjects:
        names = [d.name for d in subject.definitions if d.kind in ('command', 'event')]
        lines.append(f'<p><a href="#{subject.anchor}">{escape(subject.title)}</a></p>')
        lines += [_links(names)] if names else []
    return '\n'.join(lines + ['<p><a href="#index">Index</a></p>', '</nav>'])


def generate(schema):
    subjects = docs.subjects(schema)
    parts = [_HEAD, _paragraph([('text', docs.INTRODUCTION)]), _contents(subjects), '<main>']
    for subject in subjects:
        parts += [f'<section>\n<h2 id="{subject.anchor}">{escape(subject.title)}</h2>']
        parts += [_paragraph(paragraph) for paragraph in subject.paragraphs]
        parts += [_definition(definition) for definition in subject.definitions]
        parts.append('</section>')
    names = sorted((d.name for subject in subjects for d in subject.definitions), key=str.lower)
    parts += ['</main>', '<h2 id="index">Index</h2>', _links(names, ' class="index"'), '</body>', '</html>']
    return '\n'.join(parts) + '\n'
