#!/usr/bin/env python3
"""Turn the QAPI schema into C types, tables of commands and events, its description for clients, and a reference.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import argparse
import sys

import commands
import docs_html
import docs_markdown
import events
import introspect
import types_c
import types_h
from common import SchemaError
from schema import Schema

OUTPUTS = (
    ('types-h', types_h.generate, 'the declarations of the types'),
    ('types-c', types_c.generate, 'their descriptor tables'),
    ('commands-h', commands.generate_h, 'the prototypes of command handlers'),
    ('commands-c', commands.generate_c, 'the table of commands'),
    ('events-h', events.generate_h, 'the declarations of functions that send events'),
    ('events-c', events.generate_c, 'these functions'),
    ('introspect-c', introspect.generate, 'what query-qmp-schema answers'),
    ('reference-md', docs_markdown.generate, 'the reference, in Markdown'),
    ('reference-html', docs_html.generate, 'the reference, in HTML'),
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for option, _, text in OUTPUTS:
        parser.add_argument('--' + option, metavar='FILE', help='write ' + text)
    parser.add_argument('schema', help='the schema file that includes all others')
    args = parser.parse_args()

    try:
        schema = Schema(args.schema)
        for option, generate, _ in OUTPUTS:
            fname = getattr(args, option.replace('-', '_'))
            if fname:
                text = generate(schema)
                with open(fname, 'w', encoding='utf-8') as out:
                    out.write(text)
    except SchemaError as err:
        print(err, file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
