"""Passwords typed at a terminal: no echo, new ones typed twice, and the terminal is restored.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import os
import signal
import subprocess
import time

import pytest

from images import new_luks
from programs import DEBIAN_QEMU_IO, QEMU_IMG, cryptsetup, qemu_img, qemu_img_json, run
from terminal import Terminal


@pytest.fixture(name='image')
def fixture_image(tmp_path):
    return new_luks(tmp_path, '64k', b'secret one')


def test_create(tmp_path):
    image = tmp_path / 'a.luks'
    terminal = Terminal('create', '-f', 'luks', '-o', 'iter-time=10', image, '64k')
    terminal.read_until(b'New password for')
    assert not terminal.echoes()
    os.write(terminal.fd, b'\n')                            # empty: asks again
    terminal.answer(b'New password for', b'correct horse')
    terminal.answer(b'again', b'battery')                   # differs: asks again
    terminal.answer(b'New password for', b'correct horse')
    terminal.answer(b'again', b'correct horse')
    assert terminal.finish() == 0, terminal.output
    assert b'correct' not in terminal.output and b'battery' not in terminal.output
    cryptsetup('open', '--test-passphrase', image, password=b'correct horse')


def test_open(image):
    terminal = Terminal('resize', image, '128k')
    terminal.answer(b'Password for', b'secret one')
    assert terminal.finish() == 0, terminal.output
    assert qemu_img_json('info', image)['virtual-size'] == 128 << 10


def test_three_tries(image):
    terminal = Terminal('resize', image, '128k')
    terminal.answer(b'Password for', b'secret two')
    terminal.answer(b'No keyslot opens with this password. Try again.\r\nPassword for', b'')
    terminal.answer(b'Password for', b'secret one')
    assert terminal.finish() == 0, terminal.output
    assert qemu_img_json('info', image)['virtual-size'] == 128 << 10


def test_three_wrong_ones(image):
    terminal = Terminal('resize', image, '128k')
    for _ in range(3):
        terminal.answer(b'Password for', b'secret two')
    assert terminal.finish() == 1
    assert terminal.output.count(b'Password for') == 3
    assert b'secret' not in terminal.output and b'#object' not in terminal.output
    assert terminal.output.count(b'Invalid password') == 1
    assert qemu_img_json('info', image)['virtual-size'] == 64 << 10


def test_below_another_node(image):
    terminal = Terminal('map', '--image-opts', f'driver=raw,file.driver=luks,file.file.filename={image}')
    terminal.answer(b'Password for', b'secret one')
    assert terminal.finish() == 0, terminal.output


@pytest.mark.parametrize('argv, named', [
    (['resize', 'IMAGE.none', '128k'], b'No such file'),
    (['resize', '--image-opts', 'driver=luks,file.filename=IMAGE,frob=1', '128k'], b'frob'),
    (['resize', 'IMAGE', '128x'], b'Invalid image size'),
    (['resize', 'IMAGE', '1k'], b'--shrink'),
    (['resize', '--object', 'secret,id=x', 'IMAGE', '128k'], b'data'),
    (['bench', '-w', '--image-opts', 'driver=luks,file.filename=IMAGE,read-only=on'], b'read-only'),
])
def test_what_is_wrong_is_told_first(image, argv, named):
    """And not only after a password was typed."""
    terminal = Terminal(*[arg.replace('IMAGE', str(image)) for arg in argv])
    assert terminal.finish() == 1
    assert b'Password' not in terminal.output and named in terminal.output


def test_image_in_use(image):
    with subprocess.Popen([DEBIAN_QEMU_IO, '-f', 'raw', image], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as other:
        other.stdin.write(b'length\n')
        other.stdin.flush()
        other.stdout.readline()
        terminal = Terminal('resize', image, '128k')
        assert terminal.finish() == 1
        other.communicate(b'quit\n')
    assert b'Password' not in terminal.output and b'lock' in terminal.output


def test_keyslots(image):
    terminal = Terminal('keyslot', 'add', '--iter-time', '10', image)
    terminal.answer(b'Password for', b'secret one')
    terminal.answer(b'New password for', b'secret two')
    terminal.answer(b'again', b'secret two')
    assert terminal.finish() == 0, terminal.output
    cryptsetup('open', '--test-passphrase', image, password=b'secret two')

    terminal = Terminal('keyslot', 'change', '--iter-time', '10', image)
    terminal.answer(b'Password for', b'secret one')
    terminal.answer(b'New password for', b'secret three')
    terminal.answer(b'again', b'secret three')
    assert terminal.finish() == 0, terminal.output
    cryptsetup('open', '--test-passphrase', image, password=b'secret three')
    cryptsetup('open', '--test-passphrase', image, password=b'secret one', status=2)

    terminal = Terminal('keyslot', 'remove', image)
    terminal.answer(b'Password for', b'secret two')
    assert terminal.finish() == 0, terminal.output
    cryptsetup('open', '--test-passphrase', image, password=b'secret two', status=2)


def test_format(tmp_path):
    volume = tmp_path / 'volume'
    volume.write_bytes(bytes(4 << 20))
    terminal = Terminal('format', '-o', 'iter-time=10', volume)
    terminal.answer(b'New password for', b'x')
    terminal.answer(b'again', b'x')
    assert terminal.finish() == 0, terminal.output
    cryptsetup('open', '--test-passphrase', volume, password=b'x')


def test_metadata_needs_none(image):
    terminal = Terminal('info', image)
    assert terminal.finish() == 0
    assert b'assword' not in terminal.output


@pytest.mark.parametrize('end', [signal.SIGINT, signal.SIGTERM])
def test_terminal_is_restored(image, end):
    terminal = Terminal('resize', image, '128k')
    terminal.read_until(b'Password for')
    time.sleep(0.1)
    assert not terminal.echoes()
    os.kill(terminal.pid, end)
    os.waitid(os.P_PID, terminal.pid, os.WEXITED | os.WNOWAIT)
    assert terminal.echoes()
    assert terminal.finish() == -end


@pytest.fixture(name='shell')
def fixture_shell():
    """A shell with job control, which stops and resumes programs."""
    terminal = Terminal('--norc', '--noprofile', '--noediting', '-i', program='/bin/bash')
    terminal.answer(b'bash', b'PS1="rea""dy "')
    terminal.read_until(b'ready ')
    yield terminal
    os.write(terminal.fd, b'kill -9 %1; exit\n')
    terminal.finish()


@pytest.mark.parametrize('how', ['ctrl-z', 'SIGSTOP', 'background'])
def test_stopped_and_continued(image, shell, how):
    """The shell gets its terminal back; then the question is repeated, still without echo."""
    if how == 'background':
        shell.answer(b'', f'{QEMU_IMG} resize {image} 128k &'.encode())
        shell.read_until(b'ready ')
        time.sleep(0.2)
    else:
        shell.answer(b'', f'{QEMU_IMG} resize {image} 128k'.encode())
        shell.read_until(b'Password for')
        time.sleep(0.1)
        assert not shell.echoes()
        if how == 'ctrl-z':
            os.write(shell.fd, b'secr\x1a')                 # what was typed before is dropped
        else:
            run('pkill', '-STOP', '-P', shell.pid)
        shell.read_until(b'Stopped')
        shell.read_until(b'ready ')
        assert shell.echoes()
        shell.answer(b'', b'echo ty""ped')
        shell.read_until(b'typed')
    shell.answer(b'', b'fg')
    shell.read_until(b'Password for')
    time.sleep(0.1)
    assert not shell.echoes()
    os.write(shell.fd, b'secret one\n')
    shell.read_until(b'Image resized')
    shell.read_until(b'ready ')
    assert shell.echoes()
    assert b'secret' not in shell.output
    assert qemu_img_json('info', image)['virtual-size'] == 128 << 10


@pytest.mark.parametrize('command', [['resize', 'IMAGE', '128k'], ['create', '-f', 'luks', 'NEW', '1M']])
def test_end_of_input(image, command):
    terminal = Terminal(*[arg.replace('IMAGE', str(image)).replace('NEW', f'{image}.new') for arg in command])
    terminal.read_until(b'assword for')
    time.sleep(0.1)
    os.write(terminal.fd, b'\x04')
    assert terminal.finish() == 1
    assert b'gave no answer' in terminal.output


def test_too_long(image):
    terminal = Terminal('resize', image, '128k')
    terminal.answer(b'Password for', b'x' * 513)
    assert terminal.finish() == 1
    assert b'longer than 512 bytes' in terminal.output


def test_without_a_terminal(image, tmp_path):
    assert 'key-secret' in qemu_img('resize', image, '128k', status=1).stderr
    assert 'key-secret' in qemu_img('create', '-f', 'luks', tmp_path / 'new', '64k', status=1).stderr
    assert not (tmp_path / 'new').exists()
