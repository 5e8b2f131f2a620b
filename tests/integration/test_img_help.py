"""qemu-img: help, version, and mistakes on the command line.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import re

import pytest

from programs import QEMU_IMG, qemu_img, qemu_img_commands, run


def test_version():
    for option in '--version', '-V':
        first = qemu_img(option).stdout.splitlines()[0]
        assert re.fullmatch(r'qemu-img version 10\.2\.0 \(strongbox [0-9.]+\)', first)


def test_help_as_clients_read_it():
    text = qemu_img('--help').stdout
    assert re.search(r'\binfo\b.*-U\b', text)           # libguestfs
    assert qemu_img('-h').stdout == text


def test_help_of_every_command():
    names = qemu_img_commands()
    assert {'create', 'info', 'keyslot add', 'header restore'} <= set(names)
    for name in names:
        text = qemu_img(*name.split(), '--help').stdout
        assert text.startswith(f'Usage: qemu-img {name} ')
        assert '\nOptions:\n' in text and '\nExamples:\n' in text


@pytest.mark.parametrize('argv, message', [
    ([], 'Not enough arguments'),
    (['frobnicate'], "unknown command 'frobnicate'"),
    (['keyslot', 'frobnicate'], "unknown command 'keyslot frobnicate'"),
    (['snapshot', '-l', 'x'], "unknown command 'snapshot'"),
    (['info', '--frobnicate', 'x'], "unrecognized option '--frobnicate'"),
    (['info', '-U', '-z', 'x'], "unrecognized option '-z'"),
    (['info', '-f'], "option '-f' requires an argument"),
    (['info'], "'info' expects FILE"),
    (['info', 'a', 'b'], "'info' expects FILE"),
    (['info', '--image-opts', '-f', 'raw', 'x'], '--image-opts and --format are mutually exclusive'),
    (['info', '--output', 'xml', 'x'], '--output must be used with human or json as argument.'),
])
def test_mistakes(argv, message):
    done = qemu_img(*argv, status=1)
    assert done.stdout == ''
    assert done.stderr.splitlines()[0] == f'qemu-img: {message}'
    assert re.fullmatch(r"Try 'qemu-img.* --help' for more information", done.stderr.splitlines()[1])


def test_objects_help():
    assert re.search(r'\bsecret\b', qemu_img('info', '--object', 'help').stdout)
    assert re.search(r'^ *file=', qemu_img('info', '--object', 'secret,help').stdout, re.MULTILINE)


def test_full_output_is_a_failure():
    with open('/dev/full', 'wb') as full:
        assert 'standard output' in run(QEMU_IMG, '--help', status=1, stdout=full).stderr
