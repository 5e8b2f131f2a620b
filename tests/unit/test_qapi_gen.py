#!/usr/bin/env python3
"""The schema generator: what it reads, and the errors for what it refuses.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(__file__), '../../scripts/qapi'))

# pylint: disable=wrong-import-position
import commands
import events
import introspect
import types_c
import types_h
from common import SchemaError, c_enum_const, c_name, camel_to_upper
from schema import Schema

COLOR = "##\n# @Color:\n#\n# A colour.\n#\n# @red: like blood\n#\n# @sky-blue: not\n#     @red\n##\n" \
        "{ 'enum': 'Color', 'data': [ 'red', 'sky-blue' ] }\n"


def doc(name, *members):
    return f'##\n# @{name}:\n#\n# Text.\n' + ''.join(f'#\n# @{m}: text\n' for m in members) + '##\n'


class GeneratorTest(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.addCleanup(self.dir.cleanup)

    def write(self, text, name='s.json'):
        path = os.path.join(self.dir.name, name)
        with open(path, 'w', encoding='utf-8') as out:
            out.write(text)
        return path

    def schema(self, text):
        return Schema(self.write(text))

    def refuses(self, text, line, message, name='s.json'):
        with self.assertRaises(SchemaError) as caught:
            self.schema(text)
        self.assertEqual(str(caught.exception), f'{os.path.join(self.dir.name, name)}:{line}: {message}')


class NamesTest(unittest.TestCase):
    def test_c_names(self):
        self.assertEqual(c_name('node-name'), 'node_name')
        self.assertEqual(c_name('unix'), 'q_unix')
        self.assertEqual(c_name('default'), 'q_default')
        for camel, upper in (('BlockdevDriver', 'BLOCKDEV_DRIVER'), ('QCryptoIVGenAlgo', 'QCRYPTO_IV_GEN_ALGO'),
                             ('QCryptoBlockLUKSKeyslotState', 'QCRYPTO_BLOCK_LUKS_KEYSLOT_STATE'),
                             ('OnOffAuto', 'ON_OFF_AUTO'), ('QType', 'QTYPE')):
            self.assertEqual(camel_to_upper(camel), upper)
        self.assertEqual(c_enum_const('QCRYPTO_CIPHER_ALGO', '3des'), 'QCRYPTO_CIPHER_ALGO_3DES')


class GoodTest(GeneratorTest):
    def test_types(self):
        schema = self.schema(
            COLOR +
            doc('Base', 'a') + "{ 'struct': 'Base', 'data': { 'a': 'int' } }\n" +
            doc('Leaf', 'b', 'c', 'd') +
            "{ 'struct': 'Leaf', 'base': 'Base',\n"
            "  'data': { '*b': 'Color', '*c': 'str', 'd': { 'type': [ 'Base' ], 'features': [ 'unstable' ] } } }\n" +
            doc('Either', 'x', 'y') + "{ 'alternate': 'Either', 'data': { 'x': 'Leaf', 'y': 'str' } }\n" +
            doc('Choice', 'color') +
            "{ 'union': 'Choice', 'base': { 'color': 'Color' }, 'discriminator': 'color', 'data': { 'red': 'Leaf' } }\n")
        header = types_h.generate(schema)
        self.assertIn('COLOR_SKY_BLUE,\n    COLOR__MAX,\n} Color;', header)
        self.assertIn('struct Leaf {\n    int64_t a;\n    bool has_b;\n    Color b;\n    char *c;\n    BaseList *d;\n};',
                      header)
        self.assertIn('    QType type;\n    union {\n        Leaf x;\n        char *y;\n    } u;', header)
        self.assertIn('    Color color;\n    union {\n        Leaf red;\n    } u;', header)
        self.assertIn('struct BaseList {\n    size_t n;\n    Base **items;\n};', header)
        self.assertIn('static inline Base *qapi_Leaf_base(const Leaf *obj)', header)
        tables = types_c.generate(schema)
        self.assertIn('{ "sky-blue", "not red", false }', tables)
        self.assertIn('{ COLOR_RED, &qapi_type_Leaf }', tables)

    def test_commands_and_events(self):
        schema = self.schema(
            doc('Info') + "{ 'struct': 'Info', 'data': { } }\n" +
            doc('do-it', 'a', 'b').replace('##\n{', '#\n# Since: 1.0\n##\n{') +
            "{ 'command': 'do-it', 'data': { 'a': 'str', '*b': 'int' }, 'returns': [ 'Info' ], 'allow-oob': true }\n" +
            doc('quit') + "{ 'command': 'quit' }\n" +
            doc('DONE') + "{ 'event': 'DONE', 'data': 'Info' }\n")
        command = schema.commands['do-it']
        self.assertEqual([(m.name, m.optional) for m in command.arg.members], [('a', False), ('b', True)])
        self.assertEqual(command.ret.element.name, 'Info')
        self.assertEqual(command.options, {'allow-oob': True})
        self.assertEqual(schema.commands['quit'].arg.members, [])
        self.assertEqual(schema.events['DONE'].arg.name, 'Info')

    def test_command_code(self):
        schema = self.schema(
            doc('Info') + "{ 'struct': 'Info', 'data': { } }\n" +
            doc('do-it', 'a') + "{ 'command': 'do-it', 'data': { 'a': 'str' }, 'returns': [ 'Info' ], 'allow-oob': true }\n" +
            doc('all') + "{ 'command': 'all', 'data': 'Info', 'returns': 'any', 'gen': false }\n" +
            doc('quit') + "{ 'command': 'quit' }\n" +
            doc('DONE_IT', 'b') + "{ 'event': 'DONE_IT', 'data': { '*b': 'int' } }\n" +
            doc('STOP') + "{ 'event': 'STOP' }\n")
        self.assertIn('struct DoItArg {\n    char *a;\n};', types_h.generate(schema))
        header = commands.generate_h(schema)
        self.assertIn('InfoList *coroutine_fn qmp_do_it(const DoItArg *arg, Error **errp);\n'
                      'struct json_object *coroutine_fn qmp_all(Error **errp);\n'
                      'bool coroutine_fn qmp_quit(Error **errp);', header)
        self.assertIn('    { "all", NULL, false, call_all },\n    { "do-it", &qapi_type_DoItArg, true, call_do_it },\n'
                      '    { "quit", NULL, false, call_quit },\n', commands.generate_c(schema))
        self.assertIn('void qapi_event_send_done_it(const DoneItArg *arg);\nvoid qapi_event_send_stop(void);',
                      events.generate_h(schema))
        self.assertIn('    qapi_event_emit("DONE_IT", &qapi_type_DoneItArg, arg);', events.generate_c(schema))
        self.assertIn('    qapi_event_emit("STOP", NULL, NULL);', events.generate_c(schema))

    def test_introspection(self):
        schema = self.schema(
            COLOR.replace("'red',", "'red', { 'name': 'grey', 'features': [ 'unsupported' ] },")
            .replace('#\n# @sky', '#\n# @grey: no\n#\n# @sky') +
            doc('Leaf', 'b', 'x') + "{ 'struct': 'Leaf', 'data': {\n"
            "  'b': { 'type': [ 'uint8' ], 'features': [ 'unstable' ] },\n"
            "  '*x': { 'type': 'str', 'features': [ 'unsupported' ] } } }\n" +
            doc('Choice', 'color') +
            "{ 'union': 'Choice', 'base': { 'color': 'Color' }, 'discriminator': 'color', 'data': { 'red': 'Leaf' } }\n" +
            doc('Either', 'x', 'y') + "{ 'alternate': 'Either', 'data': { 'x': 'Leaf', 'y': 'null' } }\n" +
            doc('go', 'e', 's') + "{ 'command': 'go', 'data': { '*e': 'Either', 's': 'size' }, 'returns': [ 'Choice' ],\n"
            "  'allow-oob': true, 'features': [ 'deprecated' ] }\n" +
            doc('DONE') + "{ 'event': 'DONE' }\n")
        infos = {i['name']: i for i in introspect.Introspection(schema, unmask=True).infos}
        empty = 'no members'
        self.assertEqual(infos['go'], {'name': 'go', 'meta-type': 'command', 'arg-type': 'go-arg', 'ret-type': '[Choice]',
                                       'allow-oob': True, 'features': ['deprecated']})
        self.assertEqual(infos['DONE'], {'name': 'DONE', 'meta-type': 'event', 'arg-type': empty})
        self.assertEqual(infos[empty], {'name': empty, 'meta-type': 'object', 'members': []})
        self.assertEqual(infos['go-arg']['members'], [{'name': 'e', 'type': 'Either', 'default': None},
                                                      {'name': 's', 'type': 'int'}])
        self.assertEqual(infos['[Choice]'], {'name': '[Choice]', 'meta-type': 'array', 'element-type': 'Choice'})
        self.assertEqual(infos['Choice']['tag'], 'color')
        self.assertEqual(infos['Choice']['variants'], [{'case': 'red', 'type': 'Leaf'}, {'case': 'sky-blue', 'type': empty}])
        self.assertEqual(infos['Color']['values'], ['red', 'sky-blue'])
        self.assertEqual(infos['Leaf']['members'], [{'name': 'b', 'type': '[int]', 'features': ['unstable']}])
        self.assertEqual(infos['Either']['members'], [{'type': 'Leaf'}, {'type': 'null'}])
        self.assertEqual(infos['int'], {'name': 'int', 'meta-type': 'builtin', 'json-type': 'int'})
        names = [i['name'] for i in introspect.Introspection(schema).infos]
        self.assertNotIn('Leaf', names)
        self.assertEqual(len(names), len(set(names)))

    def test_include_once(self):
        self.write(COLOR, 'color.json')
        schema = self.schema("# both mean one file\n{ 'include': 'color.json' }\n{ 'include': './color.json' }\n")
        self.assertEqual([d.name for d in schema.definitions], ['Color'])
        self.assertEqual(len(schema.files), 2)


class SyntaxTest(GeneratorTest):
    def test_tokens(self):
        self.refuses("# comment\n{ 'a': ; }\n", 2, "unexpected ';'")
        self.refuses('{ "a": "b" }\n', 1, "unexpected '\"'")
        self.refuses("{ 'a\n': 'b' }\n", 1, "unexpected \"'\"")
        self.refuses("{ 'a': 'b' 'c': 'd' }\n", 1, "expected ','")
        self.refuses("{ 'a' 'b' }\n", 1, "expected ':'")
        self.refuses("{ true: 'b' }\n", 1, 'expected a key')
        self.refuses("{ 'a': }\n", 1, 'expected a string, boolean, object or array')
        self.refuses("\n[ 'a' ]\n", 2, 'expected an object')
        self.refuses("{ 'a': 'b',\n  'a': 'c' }\n", 2, "duplicate key 'a'")
        self.refuses("{ 'a': [ 'b'\n", 2, "expected ','")

    def test_documentation(self):
        self.refuses('##\n# @A:\n', 1, "documentation is not closed by '##'")
        self.refuses('##\n# @A:\nx\n##\n', 3, "documentation lines must begin with '#'")
        self.refuses('##\n# text\n##\n', 2, "documentation must begin with '@NAME:'")
        self.refuses('\n##\n##\n', 2, "documentation must begin with '@NAME:'")
        self.refuses('##\n# @A:\n##\n', 1, 'documentation without a definition after it')
        self.refuses('##\n# @A:\n##\n##\n# @B:\n##\n', 1, 'documentation without a definition after it')
        self.refuses('##\n# @A:\n# @b: x\n# @b: y\n##\n', 4, "'b' is documented twice")
        self.refuses('##\n# @A:\n# @b: x\n# y\n##\n', 4, 'the text of a member must be indented')
        self.refuses('##\n# @A:\n# @b:\n##\n', 1, "documentation of 'b' is empty")

    def test_includes(self):
        self.refuses("{ 'include': 'no.json' }\n", 1,
                     f"cannot read '{self.dir.name}/no.json': No such file or directory")
        self.refuses("{ 'include': 'a', 'b': 'c' }\n", 1, "'include' takes one file name")
        self.write('\n\n?\n', 'inner.json')
        self.refuses("{ 'include': 'inner.json' }\n", 3, "unexpected '?'", name='inner.json')


class MeaningTest(GeneratorTest):
    def test_definitions(self):
        self.refuses("{ 'thing': 'A' }\n", 1, "expected one of 'enum', 'struct', 'union', 'alternate', 'command', 'event'")
        self.refuses("{ 'struct': 'A' }\n", 1, "struct 'A' lacks 'data'")
        self.refuses("{ 'struct': 'A', 'data': { }, 'x': 'y' }\n", 1, "struct 'A' has unknown key 'x'")
        self.refuses("{ 'struct': 'a', 'data': { } }\n", 1, "invalid name 'a'")
        self.refuses("{ 'struct': 'A', 'data': { } }\n", 1, "struct 'A' has no documentation")
        self.refuses(doc('B') + "{ 'struct': 'A', 'data': { } }\n", 1,
                     "documentation is of 'B', the definition of 'A'")
        self.refuses(COLOR + COLOR, 22, "name 'Color' is taken")
        self.refuses(doc('AList') + "{ 'struct': 'AList', 'data': { } }\n", 6, "name 'AList' is reserved")

    def test_members(self):
        head = doc('A', 'b')
        self.refuses(head + "{ 'struct': 'A', 'data': { 'b': 'Nope' } }\n", 8, "unknown type 'Nope'")
        self.refuses(head + "{ 'struct': 'A', 'data': { 'b': [ 'int', 'str' ] } }\n", 8,
                     'an array type is a list of one type name')
        self.refuses(head + "{ 'struct': 'A', 'data': { 'b': { 'typ': 'int' } } }\n", 8,
                     "member 'b' takes 'type' and 'features'")
        self.refuses(doc('A', 'u') + "{ 'struct': 'A', 'data': { 'u': 'int' } }\n", 8,
                     "name 'u' is reserved for generated code")
        self.refuses(doc('A', 'a-b', 'a_b') + "{ 'struct': 'A', 'data': { 'a-b': 'int', 'a_b': 'int' } }\n", 10,
                     "member 'a_b' collides with 'a-b'")
        self.refuses(doc('A') + "{ 'struct': 'A', 'data': { 'b': 'int' } }\n", 1, "'b' of 'A' is not documented")
        self.refuses(head + "{ 'struct': 'A', 'data': { } }\n", 1, "'A' has no member 'b' to document")
        self.refuses(doc('A') + "{ 'struct': 'A', 'base': 'A', 'data': { } }\n", 6, "'A' contains itself")
        self.refuses(doc('A') + "{ 'struct': 'A', 'base': 'B', 'data': { } }\n" +
                     doc('B') + "{ 'struct': 'B', 'base': 'B', 'data': { } }\n", 12, "'B' contains itself")
        self.refuses(doc('A', 'b', 'c') + "{ 'enum': 'A', 'data': [ 'b', 'c', 'b' ] }\n", 10, "value 'b' is listed twice")

    def test_unions(self):
        def union(base, tag, data):
            return (COLOR + doc('S', 'red') + "{ 'struct': 'S', 'data': { 'red': 'int' } }\n" +
                    doc('U', *[name.lstrip('*') for name in base]) +
                    f"{{ 'union': 'U', 'base': {base}, 'discriminator': '{tag}', 'data': {data} }}\n")
        tag_error = "discriminator 'c' is not a mandatory enum member of the base"
        self.refuses(union({'c': 'int'}, 'c', {}), 27, tag_error)
        self.refuses(union({'*c': 'Color'}, 'c', {}), 27, tag_error)
        self.refuses(union({'d': 'Color'}, 'c', {}), 27, tag_error)
        self.refuses(union({'c': 'Color'}, 'c', {'green': 'S'}), 27, "branch 'green' is not a value of 'Color'")
        self.refuses(union({'c': 'Color'}, 'c', {'red': 'str'}), 27, "'str' is not a struct or union")
        self.refuses(union({'c': 'Color'}, 'c', {'red': 'U'}), 27, "'U' contains itself")
        self.refuses(union({'c': 'Color', 'red': 'int'}, 'c', {'red': 'S'}), 29,
                     "member 'red' of branch 'red' collides with the base")

    def test_alternates(self):
        head = doc('A', 'b', 'c')
        self.refuses(head + "{ 'alternate': 'A', 'data': { 'b': 'int', 'c': 'number' } }\n", 10,
                     "branch 'c' cannot be told from the others by its JSON type")

    def test_commands(self):
        command = doc('go') + "{ 'command': 'go' }\n"
        self.refuses(command + command, 12, "command 'go' is defined twice")
        self.refuses(doc('go') + "{ 'command': 'go', 'data': 'str' }\n", 6, "'str' is not a struct or union")
        self.refuses(doc('go') + "{ 'command': 'go', 'returns': 'Nope' }\n", 6, "unknown type 'Nope'")
        self.refuses(doc('GoArg') + "{ 'struct': 'GoArg', 'data': { } }\n" +
                     doc('go', 'a') + "{ 'command': 'go', 'data': { 'a': 'int' } }\n", 14,
                     "the type of the arguments of 'go' collides with 'GoArg'")


if __name__ == '__main__':
    unittest.main()
