"""C names for names in the schema, and the exception of the generator.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import re

# Not usable as C identifiers: keywords, and macros that gnu11 compilers or headers define.
_C_WORDS = frozenset(
    """auto break case char const continue default do double else enum extern float for goto if inline int long
    register restrict return short signed sizeof static struct switch typedef union unsigned void volatile while
    asm typeof linux unix i386 mips errno environ stdin stdout stderr""".split())


class SchemaError(Exception):
    """An error in a schema file, printed as FILE:LINE: MESSAGE."""

    def __init__(self, where, message):
        super().__init__(f'{where}: {message}')


def c_name(name):
    """C identifier of a member, value or type."""
    ident = re.sub(r'[^A-Za-z0-9_]', '_', name)
    if ident in _C_WORDS or ident[0].isdigit():
        return 'q_' + ident
    return ident


def camel_to_upper(name):
    """BlockdevDriver -> BLOCKDEV_DRIVER, QCryptoIVGenAlgo -> QCRYPTO_IV_GEN_ALGO."""
    split = re.sub(r'(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Za-z0-9][A-Z])(?=[A-Z][a-z])', '_', name)
    return c_name(split).upper()


def arg_type_name(command):
    """C type of inline arguments: block_resize -> BlockResizeArg, JOB_STATUS_CHANGE -> JobStatusChangeArg."""
    return ''.join(word.capitalize() for word in re.split(r'[-_]', command)) + 'Arg'


def c_enum_const(prefix, value):
    return prefix + '_' + re.sub(r'[^A-Za-z0-9_]', '_', value).upper()


def c_string(text):
    """A C string literal."""
    out = text.replace('\\', '\\\\').replace('"', '\\"').replace('\n', '\\n')
    return f'"{out}"'
