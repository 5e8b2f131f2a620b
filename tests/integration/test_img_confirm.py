"""Questions before something is destroyed irreversibly: erase, and the last password.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import os
import signal
import subprocess
import time

import pytest

from images import new_luks, secret
from programs import DEBIAN_QEMU_IO, SYSTEM_ENV, cryptsetup, qemu_img, qemu_img_json, run
from terminal import Terminal


@pytest.fixture(name='image')
def fixture_image(tmp_path):
    return new_luks(tmp_path, '64k')


def active_slots(image):
    slots = qemu_img_json('info', '-f', 'luks', image)['format-specific']['data']['slots']
    return sum(slot['active'] for slot in slots)


def test_erase_asks(image):
    before = image.read_bytes()
    uuid = run('blkid', '-p', '-s', 'UUID', '-o', 'value', image, env=SYSTEM_ENV).stdout.strip()
    for answer in b'', b'yes', b'YES!', b'no':
        terminal = Terminal('erase', image)
        terminal.answer(b'Type YES', answer)
        assert terminal.finish() == 1
        assert f"'{image}', LUKS volume UUID {uuid}".encode() in terminal.output
        assert b'nothing was changed' in terminal.output
        assert image.read_bytes() == before
    terminal = Terminal('erase', image)
    terminal.answer(b'Type YES', b'YES')
    assert terminal.finish() == 0, terminal.output
    assert b'Erased (scope header)' in terminal.output
    assert not image.read_bytes().startswith(b'LUKS')


@pytest.mark.parametrize('content', ['a damaged header', 'a file system', 'nothing'])
@pytest.mark.parametrize('scope', ['header', 'image', 'volume'])
def test_erase_asks_whatever_it_holds(image, scope, content):
    """A file without a LUKS header may be left by an erase that ended early, or be named by mistake."""
    with image.open('r+b') as file:
        if content == 'nothing':
            file.truncate(0)
            file.truncate(1 << 20)
        file.seek(1080 if content == 'a file system' else 0)
        file.write(b'\x53\xef' if content == 'a file system' else b'LUKS' if content == 'a damaged header' else b'')
        if content == 'a file system':
            file.seek(0)
            file.write(bytes(1024))
    before = image.read_bytes()
    if scope != 'volume' and content != 'a damaged header':
        terminal = Terminal('erase', '--scope', scope, image)
        assert terminal.finish() == 1
        assert b'YES' not in terminal.output and b'--scope volume' in terminal.output and image.read_bytes() == before
        return
    for answer in b'no', b'\x03':
        terminal = Terminal('erase', '--scope', scope, image)
        terminal.answer(b'Type YES', answer)
        assert terminal.finish() == (1 if answer == b'no' else -signal.SIGINT)
        assert image.read_bytes() == before
    terminal = Terminal('erase', '--scope', scope, image)
    terminal.answer(b'Type YES', b'YES')
    status = terminal.finish()
    if scope == 'volume':
        assert status == 0 and image.read_bytes() != before


def test_resumed_on_a_terminal(image):
    """The question comes again, and afterwards nothing is left."""
    qemu_img('resize', *secret(image.parent), '--image-opts', f'driver=luks,key-secret=sec0,file.filename={image}', '8M')
    terminal = Terminal('erase', '--scope', 'image', '--passes', '100', image)
    terminal.answer(b'Type YES', b'YES')
    with image.open('rb') as file:
        before = file.read(512)
        while os.pread(file.fileno(), 512, 0) == before:
            time.sleep(0.01)
    os.write(terminal.fd, b'\x03')
    assert terminal.finish() == 1
    assert b'ended early' in terminal.output and b'keyslots' in terminal.output
    terminal = Terminal('erase', '--scope', 'volume', image)
    terminal.answer(b'everything that is stored in the volume', b'YES')
    assert terminal.finish() == 0 and b'Erased (scope volume)' in terminal.output


@pytest.mark.parametrize('option', ['-q', '--force'])
def test_erase_does_not_ask(image, option):
    terminal = Terminal('erase', option, image)
    assert terminal.finish() == 0, terminal.output
    assert b'YES' not in terminal.output
    assert not image.read_bytes().startswith(b'LUKS')


def test_erase_in_scripts(image):
    assert qemu_img('erase', '--scope', 'key-material', image).stderr == ''
    assert active_slots(image) == 0


def test_erase_beneath_a_writer(image, tmp_path):
    """--force only skips the question."""
    with subprocess.Popen([DEBIAN_QEMU_IO, *secret(tmp_path), '--image-opts',
                           f'driver=luks,key-secret=sec0,file.filename={image}'],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdin.write(b'length\n')
        other.stdin.flush()
        other.stdout.readline()
        assert '--in-use' in qemu_img('erase', '--force', image, status=1).stderr
        qemu_img('erase', '--in-use', image)
        other.communicate(b'quit\n')
    assert not image.read_bytes().startswith(b'LUKS')


REMOVALS = [
    (['keyslot', 'remove', '--slot', '0'], None),
    (['keyslot', 'remove'], b'password'),
    (['amend', '-o', 'state=inactive,keyslot=0'], None),
]


@pytest.mark.parametrize('command, password', REMOVALS)
def test_the_last_password(image, command, password):
    """Needs a confirmation if there is a terminal."""
    def run_it(answer, *options):
        terminal = Terminal(*command, *options, image)
        if password:
            terminal.answer(b'Password for', password)
        if answer:
            terminal.answer(b'Type YES', answer)
        return terminal.finish(), terminal.output

    before = image.read_bytes()
    status, output = run_it(b'no')
    assert status == 1 and b'last password' in output and image.read_bytes() == before
    status, output = run_it(b'YES')
    assert status == 0, output
    assert active_slots(image) == 0


@pytest.mark.parametrize('command, password', REMOVALS)
def test_the_last_password_with_force(image, command, password):
    terminal = Terminal(*command, '--force', image)
    if password:
        terminal.answer(b'Password for', password)
    assert terminal.finish() == 0 and b'YES' not in terminal.output
    assert active_slots(image) == 0


def test_the_last_password_in_scripts(image):
    before = image.read_bytes()
    assert '--force' in qemu_img('keyslot', 'remove', '-q', '--slot', 0, image, status=1).stderr
    assert image.read_bytes() == before
    qemu_img('keyslot', 'remove', '--force', '--slot', 0, image)
    assert active_slots(image) == 0


def test_one_of_two_passwords(image, tmp_path):
    qemu_img('keyslot', 'add', *secret(tmp_path), *secret(tmp_path, 'sec1', b'other'), '--secret', 'sec0',
             '--new-secret', 'sec1', '--iter-time', 10, image)
    terminal = Terminal('keyslot', 'remove', '--slot', '0', image)
    assert terminal.finish() == 0 and b'YES' not in terminal.output
    cryptsetup('open', '--test-passphrase', image, password=b'other')
    terminal = Terminal('keyslot', 'remove', '--slot', '5', image)      # not active
    terminal.finish()
    assert b'YES' not in terminal.output and active_slots(image) == 1
