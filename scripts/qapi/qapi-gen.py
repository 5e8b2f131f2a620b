#!/usr/bin/env python3
"""Turn the QAPI schema into C types (--types-h, --types-c) and a reference (--reference).

SPDX-License-Identifier: GPL-2.0-or-later
"""

import argparse
import sys

import docs
import types_c
import types_h
from common import SchemaError
from schema import Schema


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--types-h', metavar='FILE', help='write the declarations of the types')
    parser.add_argument('--types-c', metavar='FILE', help='write their descriptor tables')
    parser.add_argument('--reference', metavar='FILE', help='write the reference, in Markdown')
    parser.add_argument('schema', help='the schema file that includes all others')
    args = parser.parse_args()

    try:
        schema = Schema(args.schema)
    except SchemaError as err:
        print(err, file=sys.stderr)
        return 1
    for fname, generate in ((args.types_h, types_h.generate), (args.types_c, types_c.generate),
                            (args.reference, docs.generate)):
        if fname:
            with open(fname, 'w', encoding='utf-8') as out:
                out.write(generate(schema))
    return 0


if __name__ == '__main__':
    sys.exit(main())
