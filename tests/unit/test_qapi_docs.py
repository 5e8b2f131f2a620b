#!/usr/bin/env python3
"""The reference generated from the schema, and its examples.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import html.parser
import os
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
TOP = os.path.join(os.path.dirname(__file__), '../..')
sys.path.insert(0, os.path.join(TOP, 'scripts/qapi'))

# pylint: disable=wrong-import-position
import docs
import docs_html
import docs_markdown
from common import SchemaError
from examples import check_value, examples, parse_example
from schema import Schema

VOID_TAGS = {'meta', 'br', 'hr'}
HEADING = '##\n# = Things & more\n#\n# About @both, go and Info-less.\n##\n'
INFO = "##\n# @Info:\n#\n# Text.\n#\n# @a: below 5 <*>\n#\n# @b: see do-it\n##\n" \
       "{ 'struct': 'Info', 'data': { 'a': 'uint8', '*b': { 'type': [ 'str' ], 'features': [ 'unstable' ] } } }\n"
AFTER = (HEADING + INFO).count('\n') + 1     # number of the line after these
COMMAND = "##\n# @do-it:\n#\n# Text.\n#\n# Example:\n#\n%s\n#\n# Since: 1.0\n##\n" \
          "{ 'command': 'do-it', 'data': { }, 'returns': 'Info', 'allow-oob': true }\n"
EXAMPLE = '#     -> { "execute": "do-it" }\n#     <- { "return": { "a": 1,\n#                      ... } }'
EVENT = "##\n# @DONE:\n#\n# Text.\n#\n# Example:\n#\n%s\n##\n{ 'event': 'DONE', 'data': 'Info' }\n"


class Page(html.parser.HTMLParser):
    """The parts of an HTML page, and problems with its tags."""

    def __init__(self, text):
        super().__init__()
        self.problems = []
        self.ids = []
        self.links = []
        self.headings = []
        self.tags = set()
        self._open = []
        self.feed(text)
        self.close()
        self.problems += [f'<{tag}> is not closed' for tag in self._open]

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.add(tag)
        self.ids += [attrs['id']] if 'id' in attrs else []
        self.links += [attrs[name] for name in ('href', 'src') if name in attrs]
        self.headings += [attrs['id']] if tag == 'h3' else []
        if tag not in VOID_TAGS:
            if tag == 'p' and 'p' in self._open:
                self.problems.append('<p> in <p>')
            self._open.append(tag)

    def handle_endtag(self, tag):
        if not self._open or self._open.pop() != tag:
            self.problems.append(f'</{tag}> at {self.getpos()}')


class ReferenceTest(unittest.TestCase):
    """The reference of this project's schema."""

    @classmethod
    def setUpClass(cls):
        cls.schema = Schema(os.path.join(TOP, 'qapi/qapi-schema.json'))
        cls.names = sorted([*cls.schema.commands, *cls.schema.events] +
                           [e.name for e in cls.schema.definitions if e.name in cls.schema.types])
        cls.html = docs_html.generate(cls.schema)
        cls.page = Page(cls.html)

    def test_everything_is_there_once(self):
        self.assertEqual(sorted(self.page.headings), self.names)
        markdown = docs_markdown.generate(self.schema)
        self.assertEqual(sorted(line[4:] for line in markdown.splitlines() if line.startswith('### ')), self.names)

    def test_html_is_valid(self):
        self.assertEqual(self.page.problems, [])
        self.assertEqual(len(set(self.page.ids)), len(self.page.ids))
        self.assertTrue(self.html.startswith('<!DOCTYPE html>\n<html lang="en">'))

    def test_html_needs_nothing_else(self):
        self.assertEqual({link for link in self.page.links if link[1:] not in self.page.ids or link[0] != '#'}, set())
        self.assertEqual(self.page.tags & {'script', 'link', 'img', 'iframe', 'object'}, set())
        self.assertNotIn('url(', self.html)

    def test_index_and_contents(self):
        """Each name is in the index, and each command and event in the contents, too."""
        contents = Page(self.html[self.html.index('<nav>'):self.html.index('</nav>') + 6])
        self.assertEqual(set(contents.links) & {f'#{n}' for n in self.names},
                         {f'#{n}' for n in [*self.schema.commands, *self.schema.events]})
        index = Page('<div>' + self.html[self.html.index('<h2 id="index">'):self.html.index('</body>')] + '</div>')
        self.assertEqual(sorted(index.links), [f'#{n}' for n in self.names])

    def test_subjects(self):
        titles = [subject.title for subject in docs.subjects(self.schema)]
        self.assertEqual(titles[0], 'Sessions')
        self.assertEqual(len(set(titles)), len(titles))
        by_name = {d.name: s.title for s in docs.subjects(self.schema) for d in s.definitions}
        self.assertEqual(by_name['blockdev-add'], by_name['BlockdevOptions'])
        self.assertNotEqual(by_name['blockdev-add'], by_name['job-pause'])


class DocsTest(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.addCleanup(self.dir.cleanup)

    def schema(self, text):
        path = os.path.join(self.dir.name, 's.json')
        with open(path, 'w', encoding='utf-8') as out:
            out.write(text)
        return Schema(path)

    def refuses(self, text, line, message):
        with self.assertRaises(SchemaError) as caught:
            docs.subjects(self.schema(text))
        self.assertEqual(str(caught.exception), f"{os.path.join(self.dir.name, 's.json')}:{line}: {message}")

    def refuses_example(self, messages, problem):
        self.refuses(HEADING + INFO + COMMAND % messages, AFTER, f"example of 'do-it': {problem}")

    def test_markdown(self):
        text = docs_markdown.generate(self.schema(HEADING + INFO + COMMAND % EXAMPLE))
        self.assertIn('## Things & more\n\nAbout `both`, go and Info-less.\n\n### do-it\n\n(command)\n\nText.\n\n'
                      'Returns [Info](#info).\n\nCan be executed out of band (exec-oob).\n\nExample:\n\n'
                      '```\n-> { "execute": "do-it" }\n<- { "return": { "a": 1,\n                 ... } }\n```\n\n'
                      'Since: 1.0\n\n### Info\n\n(struct)\n\nText.\n\n- `a` (*uint8*): below 5 \\<\\*>\n'
                      '- `b` (list of *str*, optional, unstable): see [do-it](#do-it)\n', text)

    def test_html(self):
        text = docs_html.generate(self.schema(HEADING + INFO + COMMAND % EXAMPLE))
        self.assertIn('<h2 id="things-more">Things &amp; more</h2>\n<p>About <code>both</code>, go', text)
        self.assertIn('<li><code>a</code> (<i>uint8</i>): below 5 &lt;*&gt;</li>', text)
        self.assertIn(': see <a href="#do-it">do-it</a></li>', text)
        self.assertIn('<pre>-&gt; { "execute": "do-it" }\n', text)
        self.assertEqual(Page(text).problems, [])

    def test_headings(self):
        self.refuses(INFO, 1, "'Info' is under no heading")
        with self.assertRaisesRegex(SchemaError, "s.json:16: a second text under 'Things & more'"):
            self.schema(HEADING + INFO + HEADING)
        command = COMMAND % EXAMPLE
        subjects = docs.subjects(self.schema(HEADING + INFO + '##\n# = Other\n##\n' + command.replace('do-it', 'go-on') +
                                             '##\n# = Things & more\n##\n' + command))
        self.assertEqual([(s.title, [d.name for d in s.definitions]) for s in subjects],
                         [('Things & more', ['do-it', 'Info']), ('Other', ['go-on'])])

    def test_commands_and_events_need_examples(self):
        self.refuses(HEADING + INFO + COMMAND.replace('# Example:\n#\n%s\n', ''), AFTER, "'do-it' has no example")
        self.refuses(HEADING + INFO + EVENT.replace('# Example:\n#\n%s\n', ''), AFTER, "'DONE' has no example")

    def test_examples_fit_the_schema(self):
        call = '#     -> { "execute": "do-it" }\n#     <- '
        self.refuses_example('#     { }', "an example is made of messages after '->' or '<-'")
        self.refuses_example('#     -> { "execute": "undo-it" }', "there is no command 'undo-it'")
        self.refuses_example('#     -> { "execute": "do-it", "arguments": { "a": 1 } }', "'a' is unknown")
        self.refuses_example('#     -> { "execute": "do-it", "id": }', 'Expecting value: line 1 column 29 (char 28)')
        self.refuses_example('#     <- { "return": {} }', 'a reply without a command')
        self.refuses_example(call + '{ "return": {} }', "'a' is missing")
        self.refuses_example(call + '{ "return": { "a": 256 } }', '256 is out of range')
        self.refuses_example(call + '{ "return": { "a": 1.5 } }', '1.5 is not an integer')
        self.refuses_example(call + '{ "return": { "a": "1" } }', "'a' is a JSON string, not number")
        self.refuses_example(call + '{ "return": { "a": 1, "b": [ "x", 2 ] } }', "'b.1' is a JSON number, not string")
        self.refuses_example(call + '{ "error": "no" }', "an error has members 'class' and 'desc'")
        self.refuses_example(call + '{ "result": 1 }', "a reply is 'return' or 'error'")
        self.refuses_example(call + '{ "event": "DONE" }', "there is no event 'DONE'")
        self.assertEqual(list(examples(self.schema(HEADING + INFO + COMMAND % EXAMPLE))), ['do-it'])

    def test_event_examples(self):
        stamp = ', "timestamp": { "seconds": 1, "microseconds": 2 } }'
        good = '#     <- { "event": "DONE", "data": { "a": 1 }' + stamp
        self.assertEqual(list(examples(self.schema(HEADING + INFO + EVENT % good))), ['DONE'])
        for bad, problem in (('#     <- { "event": "DONE"' + stamp, "'a' is missing"),
                             (good.replace('"microseconds": 2', '"ms": 2'),
                              "an event has members 'event', 'data' and 'timestamp'")):
            self.refuses(HEADING + INFO + EVENT % bad, AFTER, f"example of 'DONE': {problem}")

    def test_dots(self):
        self.assertEqual(parse_example('-> { "a": [ 1, ... ],\n     "b": { "c": "...", ... } }\n<- { }'),
                         [('->', {'a': [1, '...'], 'b': {'c': '...', '...': None}}), ('<-', {})])

    def test_values(self):
        schema = self.schema(
            INFO + "##\n# @Kind:\n#\n# Text.\n#\n# @x: text\n#\n# @y: text\n##\n"
            "{ 'enum': 'Kind', 'data': [ 'x', { 'name': 'y', 'features': [ 'unsupported' ] } ] }\n"
            "##\n# @One:\n#\n# Text.\n#\n# @kind: text\n##\n{ 'union': 'One', 'base': { 'kind': 'Kind' },\n"
            "'discriminator': 'kind', 'data': { 'x': 'Info' } }\n"
            "##\n# @Any:\n#\n# Text.\n#\n# @s: text\n#\n# @o: text\n##\n"
            "{ 'alternate': 'Any', 'data': { 's': 'str', 'o': 'One' } }\n")
        for value in ('text', {'kind': 'x', 'a': 255}, {'kind': 'x', '...': None}):
            check_value(schema.types['Any'], value)
        for value, problem in ((1, "'v' may not be a JSON number"), ({'kind': 'x'}, "'v.a' is missing"),
                               ({'kind': 'y'}, "'v.kind' may not be 'y'"), ({'a': 1}, "'v.kind' is missing")):
            with self.assertRaises(ValueError) as caught:
                check_value(schema.types['Any'], value, 'v.')
            self.assertEqual(str(caught.exception), problem)


if __name__ == '__main__':
    unittest.main()
