"""The help of all programs: that it can be asked for in every way, and fits a terminal.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import re

import pytest

from programs import BUILD_DIR, QEMU_IMG, QEMU_IO, qemu_img, qemu_img_commands, qemu_io, run

QEMU_NBD = BUILD_DIR / 'qemu-nbd'
QSD = BUILD_DIR / 'qemu-storage-daemon'
WIDTH = 80


def qemu_io_commands():
    return re.findall(r'^(\w+) ', qemu_io('-c', 'help').stdout.split('\n\n')[0], re.MULTILINE)


def object_types():
    """The values that "--object help" lists."""
    return re.findall(r'^    (\S+) ', qemu_img('info', '--object', 'help').stdout, re.MULTILINE)


def all_help():
    """Every command line that prints a help text."""
    yield QEMU_IMG, '--help'
    for name in qemu_img_commands():
        yield QEMU_IMG, *name.split(), '--help'
    for name in 'keyslot', 'header':
        yield QEMU_IMG, name, 'help'
    for name in 'create', 'convert', 'measure':
        for target in 'luks', 'raw':
            yield QEMU_IMG, name, '-f' if name == 'create' else '-O', target, '-o', 'help'
    for name in 'format', 'amend':
        yield QEMU_IMG, name, '-o', 'help'
    yield QEMU_IO, '--help'
    yield QEMU_IO, '-c', 'help'
    for name in qemu_io_commands():
        yield QEMU_IO, '-c', f'help {name}'
    yield QEMU_NBD, '--help'
    yield QSD, '--help'
    for kind in object_types():
        yield QEMU_IMG, 'info', '--object', f'{kind},help'
    for option in 'blockdev', 'chardev', 'export', 'monitor', 'nbd-server', 'object':
        values = run(QSD, f'--{option}', 'help').stdout
        yield QSD, f'--{option}', 'help'
        if option not in ('monitor', 'nbd-server'):
            for value in re.findall(r'^    (\S+) ', values, re.MULTILINE):
                yield QSD, f'--{option}', f'{value},help'


def test_every_help_fits_a_terminal():
    for argv in all_help():
        done = run(*argv)
        assert done.stdout and not done.stderr, argv
        assert done.stdout == done.stdout.expandtabs()
        too_long = [line for line in done.stdout.splitlines() if len(line) > WIDTH]
        # A name alone may be longer.
        assert not [line for line in too_long if ' ' in line.strip()], argv
    assert len(list(all_help())) > 80


def test_img_help_has_a_line_for_each_command():
    lines = qemu_img('--help').stdout.split('\nCommands ')[1].split('\n\n')[0].splitlines()[1:]
    assert len(lines) == len(qemu_img_commands())


def test_img_help_ends_with_the_formats():
    formats = qemu_img('--help').stdout.split('\nSupported image formats:\n')[1]
    assert {'luks', 'raw', 'throttle'} <= set(formats.split())
    assert all(line.startswith(' ') for line in formats.splitlines())


def test_img_help_command():
    assert qemu_img('help').stdout == qemu_img('--help').stdout == qemu_img('-h').stdout
    for name in qemu_img_commands():
        assert qemu_img('help', *name.split()).stdout == qemu_img(*name.split(), '--help').stdout
    text = qemu_img('keyslot', 'help').stdout
    assert text == qemu_img('help', 'keyslot').stdout == qemu_img('keyslot', '--help').stdout
    assert 'keyslot change' in text and 'create' not in text
    assert qemu_img('keyslot', 'help', 'add').stdout == qemu_img('keyslot', 'add', '--help').stdout
    assert "unknown command 'frobnicate'" in qemu_img('help', 'frobnicate', status=1).stderr
    assert "unknown command 'create frobnicate'" in qemu_img('help', 'create', 'frobnicate', status=1).stderr


@pytest.mark.parametrize('argv', [
    ['create', '-f', 'luks', '-o', 'help'],
    ['create', '-f', 'luks', '-o', '?', 'disk.luks'],
    ['create', '-f', 'luks', '-o', 'cipher-alg=aes-128,help'],
    ['convert', '-O', 'luks', '-o', 'help'],
    ['convert', '-f', 'raw', '-O', 'luks', '-o', 'help', 'no-such-file', 'disk.luks'],
    ['measure', '-O', 'luks', '-o', 'help'],
    ['format', '-o', 'help'],
])
def test_luks_options_without_a_file(argv, tmp_path):
    text = qemu_img(*argv, cwd=tmp_path).stdout
    assert text.startswith('Supported luks options:\n')
    assert re.search(r'^  cipher-alg=<str> +- ', text, re.MULTILINE)
    assert not list(tmp_path.iterdir())


def test_options_of_other_formats_without_a_file():
    for argv in ['create', '-o', 'help'], ['convert', '-f', 'luks', '-o', 'help'], ['measure', '-o', 'help']:
        text = qemu_img(*argv).stdout
        assert text.startswith('Supported raw options:\n') and 'nocow=<' in text
    assert 'new-secret=<' in qemu_img('amend', '-o', 'help').stdout
    assert "'raw'" in qemu_img('amend', '-f', 'raw', '-o', 'help', status=1).stderr
    assert "'qcow2'" in qemu_img('create', '-f', 'qcow2', '-o', 'help', status=1).stderr


def test_examples_are_complete_lines():
    """An example that was broken in two is one command for a shell."""
    for name in qemu_img_commands():
        examples = qemu_img('help', *name.split()).stdout.split('\nExamples:\n')[1]
        for line in examples.replace(' \\\n', '').splitlines():
            assert line.startswith('  qemu-img '), (name, line)
