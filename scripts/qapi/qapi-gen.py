#!/usr/bin/env python3
"""Generate C types, the tables of commands and events, introspection data, and the reference from the QAPI schema.

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
    ('types-h', types_h.generate, 'declarations of types'),
    ('types-c', types_c.generate, 'descriptor tables of types'),
    ('commands-h', commands.generate_h, 'prototypes of command handlers'),
    ('commands-c', commands.generate_c, 'table of commands'),
    ('events-h', events.generate_h, 'declarations of functions that send events'),
    ('events-c', events.generate_c, 'functions that send events'),
    ('introspect-c', introspect.generate, 'the reply to query-qmp-schema'),
    ('reference-md', docs_markdown.generate, 'the reference, in Markdown'),
    ('reference-html', docs_html.generate, 'the reference, in HTML'),
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for option, _, text in OUTPUTS:
        parser.add_argument('--' + option, metavar='FILE', help='write ' + text)
    parser.add_argument('schema', help='schema file that includes all others')
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
