"""What qemu-img prints for programs (--output=json) of commands that change something: one object, and nothing else.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import json

import pytest

from images import MIB
from programs import QEMU_IMG, password_file, qemu_img
from terminal import Terminal

HEADER_BYTES = 2068480


@pytest.fixture(name='key')
def fixture_key(tmp_path):
    return password_file(tmp_path, b'pw')


def result(*argv, warned=False):
    done = qemu_img(*argv, '--output=json')
    assert bool(done.stderr) == warned, done.stderr
    return json.loads(done.stdout)


def test_create(tmp_path, key):
    image = tmp_path / 'image'
    assert result('create', '-p', image, '1000') == {'filename': str(image), 'format': 'raw', 'virtual-size': 1024}
    luks = ['create', '-q', '-f', 'luks', '--key-file', key, '-o']
    assert result(*luks, 'iter-time=10', image, '1M') == {'filename': str(image), 'format': 'luks', 'virtual-size': MIB}
    header = tmp_path / 'header'
    assert result(*luks, 'iter-time=10,detached-header=on', header) == {'filename': str(header), 'format': 'luks'}


def test_format(tmp_path, key):
    volume, header = tmp_path / 'volume', tmp_path / 'header'
    volume.write_bytes(bytes(4 * MIB))
    argv = ['format', '-p', '--key-file', key, '-o', 'iter-time=10', volume]
    assert result(*argv) == {'filename': str(volume), 'format': 'luks', 'virtual-size': 4 * MIB - HEADER_BYTES}
    assert result(*argv, '--force', '--header', header) == {
        'filename': str(volume), 'format': 'luks', 'virtual-size': 4 * MIB, 'header': str(header)}


def test_header(tmp_path, key):
    image, backup = tmp_path / 'image', tmp_path / 'backup'
    qemu_img('create', '-q', '-f', 'luks', '--key-file', key, '-o', 'iter-time=10', image, '1M')
    expected = {'filename': str(image), 'backup': str(backup), 'size': HEADER_BYTES}
    assert result('header', 'backup', image, backup) == expected
    assert result('header', 'restore', '-p', image, backup, warned=True) == expected
    assert result('header', 'restore', '-q', image, backup) == expected


@pytest.mark.parametrize('argv', [['create', '/nonexistent/image', '1M'], ['format', 'VOLUME'],
                                  ['header', 'backup', 'VOLUME', 'X'], ['header', 'restore', 'VOLUME', 'VOLUME']])
def test_failure_prints_no_json(tmp_path, argv):
    volume = tmp_path / 'VOLUME'
    volume.write_bytes(b'LUKS\xba\xbe' + bytes(4 * MIB))
    argv = [str(tmp_path / arg) if arg.isupper() else arg for arg in argv]
    done = qemu_img(*argv, '--output=json', status=1)
    assert done.stdout == '' and done.stderr.startswith('qemu-img: ')


def test_prompts_go_to_the_terminal(tmp_path):
    """And not where the JSON goes."""
    image, out = tmp_path / 'image', tmp_path / 'out'
    command = f'{QEMU_IMG} create -p -f luks -o iter-time=10 --output=json {image} 1M > {out}'
    terminal = Terminal('-c', command, program='/bin/sh')
    terminal.answer(b'New password for', b'pw')
    terminal.answer(b'again', b'pw')
    assert terminal.finish() == 0, terminal.output
    assert json.loads(out.read_text())['filename'] == str(image)
