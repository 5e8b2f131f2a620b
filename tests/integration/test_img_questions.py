"""Nobody is asked for a password before everything else is known to be right.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import os
import subprocess

import pytest

from images import FAST, MIB, write_pieces
from nbd_server import QEMU_NBD, NbdServer
from programs import DEBIAN_QEMU_IO, password_file, qemu_img
from terminal import Terminal


@pytest.fixture(name='directory', scope='module')
def fixture_directory(tmp_path_factory):
    """Two encrypted images, a plain one, and smaller ones."""
    directory = tmp_path_factory.mktemp('files')
    key = password_file(directory, b'pw', 'key')
    write_pieces(directory / 'plain', 2 * MIB, (0, MIB))
    for name in 'a.luks', 'b.luks':
        qemu_img('convert', '-O', 'luks', '-o', FAST, '--new-key-file', key, 'plain', name, cwd=directory)
    qemu_img('create', '-q', '-f', 'luks', '-o', FAST, '--key-file', key, 'small.luks', '1M', cwd=directory)
    (directory / 'small').write_bytes(bytes(MIB))
    (directory / 'a.qcow2').write_bytes(b'QFI\xfb\0\0\0\3' + bytes(65536))
    return directory


@pytest.fixture(name='files')
def fixture_files(directory, monkeypatch):
    """These images in the working directory. No test changes them."""
    monkeypatch.chdir(directory)
    return directory


@pytest.mark.parametrize('command, named', [
    ('compare a.luks none', 'none'),
    ('compare a.luks a.qcow2', 'qcow2'),
    ('compare a.luks -F luks plain', 'LUKS'),
    ('compare -f luks -F nope a.luks plain', 'nope'),
    ('convert a.luks none/out', 'none/out'),
    ('convert a.luks none out', 'none'),
    ('convert a.luks .', "'.'"),
    ('convert a.luks a.luks', 'lock'),
    ('convert -O nope a.luks out', 'nope'),
    ('convert -O luks -o cipher-alg=nope a.luks out', 'nope'),
    ('convert -O luks -o detached-header=on a.luks out', 'payload'),
    ('convert -O luks --new-key-file key -o nope=1 a.luks out', 'nope'),
    ('convert -n a.luks none', 'none'),
    ('convert -n a.luks small', 'smaller'),
    ('convert -n -O luks a.luks plain', 'LUKS'),
    ('convert -n -O luks a.luks small.luks', 'smaller'),
    ('convert -n -O luks --target-is-zero a.luks b.luks', '--target-is-zero'),
    ('convert -n --image-opts --target-image-opts driver=luks,file.filename=a.luks driver=nope', 'nope'),
    ('convert -p a.luks /dev/stdout', 'standard output'),
    ('convert -O luks a.luks /dev/stdout', 'start to end'),
    ('convert -O luks plain none/out', 'none/out'),
    ('convert -O luks plain .', "'.'"),
    ('dd if=a.luks of=none/out', 'none/out'),
    ('dd if=a.luks of=a.luks', 'lock'),
    ('dd -O nope if=a.luks of=out', 'nope'),
    ('dd -O luks if=plain of=none/out', 'none/out'),
    ('create -f luks none/out 1M', 'none/out'),
    ('create -f luks . 1M', "'.'"),
    ('create --header none/header new 1M', 'none/header'),
    ('create --header a.luks new 1M', 'signature'),
    ('format none', 'none'),
    ('format a.luks', 'signature'),
    ('keyslot add --slot 0 a.luks', 'Keyslot 0'),
    ('amend -f luks -o state=active,keyslot=0 --new-key-file key a.luks', 'Keyslot 0'),
    ('resize a.luks -1G', ''),
], ids=str)
def test_mistakes_come_first(files, command, named):
    before = {name: (files / name).read_bytes() for name in os.listdir(files)}
    terminal = Terminal(*command.split())
    assert terminal.finish() > 0
    assert b'assword for' not in terminal.output and named.encode() in terminal.output
    assert {name: (files / name).read_bytes() for name in os.listdir(files)} == before


@pytest.mark.parametrize('command', ['convert a.luks plain', 'convert -n a.luks plain', 'convert -O luks plain b.luks',
                                     'convert -n -O luks plain b.luks', 'create -f luks --force b.luks 1M',
                                     'dd if=a.luks of=plain', 'compare a.luks b.luks'])
def test_locks_come_first(files, command):
    """One of the images is in use."""
    used = command.split()[-1] if '1M' not in command else 'b.luks'
    with subprocess.Popen([DEBIAN_QEMU_IO, '-f', 'raw', used.removeprefix('of=')], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as other:
        other.stdin.write(b'length\n')
        other.stdin.flush()
        other.stdout.readline()
        terminal = Terminal(*command.split())
        status = terminal.finish()
        other.communicate(b'quit\n')
    assert status > 0 and b'lock' in terminal.output and b'assword for' not in terminal.output


def test_server(files):
    terminal = Terminal('-k', files / 'sock', '-o', '8G', 'a.luks', program=QEMU_NBD)
    assert terminal.finish() == 1
    assert b'beyond the end' in terminal.output and b'assword for' not in terminal.output


def test_server_on_a_socket_in_use(files, tmp_path):
    with NbdServer(tmp_path, '-f', 'raw', files / 'plain') as server:
        terminal = Terminal('-k', server.socket, 'a.luks', program=QEMU_NBD)
        assert terminal.finish() == 1
        assert b'in use' in terminal.output and b'assword for' not in terminal.output
        assert server.socket.exists()


def test_all_is_asked_where_all_is_right(files):
    terminal = Terminal('convert', '-O', 'luks', '-o', FAST, 'a.luks', 'out')
    terminal.answer(b'Password for a.luks', b'pw')
    terminal.answer(b'New password for out', b'new')
    terminal.answer(b'again', b'new')
    assert terminal.finish() == 0
    qemu_img('convert', '--key-file', password_file(files, b'new', 'new'), 'out', 'copy')
    assert (files / 'copy').read_bytes() == (files / 'plain').read_bytes()
    terminal = Terminal('compare', 'a.luks', 'out')
    terminal.answer(b'Password for a.luks', b'pw')
    terminal.answer(b'Password for out', b'new')
    assert terminal.finish() == 0 and b'identical' in terminal.output
