"""Passphrases typed at a terminal: no echo, a new one twice, and a terminal that is left as it was.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import os
import pty
import signal
import termios
import time

import pytest

from programs import QEMU_IMG, cryptsetup, qemu_img, qemu_img_json, secret_object


class Terminal:
    """qemu-img on a terminal of its own."""

    def __init__(self, *argv):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execv(QEMU_IMG, ['qemu-img', *map(str, argv)])
        self.output = b''

    def read_until(self, text):
        """Read what it prints, up to TEXT behind what was read so far (None: to the end)."""
        start = len(self.output)
        while text is None or text not in self.output[start:]:
            try:
                piece = os.read(self.fd, 1000)
            except OSError:
                piece = b''
            self.output += piece
            if not piece:
                assert text is None, self.output
                break

    def answer(self, question, line):
        self.read_until(question)
        os.write(self.fd, line + b'\n')

    def echoes(self):
        return bool(termios.tcgetattr(self.fd)[3] & termios.ECHO)

    def finish(self):
        self.read_until(None)
        status = os.waitpid(self.pid, 0)[1]
        os.close(self.fd)
        return os.waitstatus_to_exitcode(status)


@pytest.fixture(name='image')
def fixture_image(tmp_path):
    image = tmp_path / 'a.luks'
    qemu_img('create', '-q', '-f', 'luks', *secret_object(tmp_path, 's', b'secret one'), '-o',
             'key-secret=s,iter-time=10', image, '64k')
    return image


def test_create(tmp_path):
    image = tmp_path / 'a.luks'
    terminal = Terminal('create', '-f', 'luks', '-o', 'iter-time=10', image, '64k')
    terminal.read_until(b'New passphrase for')
    assert not terminal.echoes()
    terminal.answer(b'', b'')                               # empty: asks again
    terminal.answer(b'New passphrase for', b'correct horse')
    terminal.answer(b'again', b'battery')                   # differs: asks again
    terminal.answer(b'New passphrase for', b'correct horse')
    terminal.answer(b'again', b'correct horse')
    assert terminal.finish() == 0, terminal.output
    assert b'correct' not in terminal.output and b'battery' not in terminal.output
    cryptsetup('open', '--test-passphrase', image, password=b'correct horse')


def test_open(image):
    terminal = Terminal('resize', image, '128k')
    terminal.answer(b'Passphrase for', b'secret one')
    assert terminal.finish() == 0, terminal.output
    assert qemu_img_json('info', image)['virtual-size'] == 128 << 10


def test_open_with_a_wrong_one(image):
    terminal = Terminal('resize', image, '128k')
    terminal.answer(b'Passphrase for', b'secret two')
    assert terminal.finish() == 1
    assert b'secret' not in terminal.output
    assert qemu_img_json('info', image)['virtual-size'] == 64 << 10


def test_keyslots(image):
    terminal = Terminal('keyslot', 'add', '--iter-time', '10', image)
    terminal.answer(b'Passphrase for', b'secret one')
    terminal.answer(b'New passphrase for', b'secret two')
    terminal.answer(b'again', b'secret two')
    assert terminal.finish() == 0, terminal.output
    cryptsetup('open', '--test-passphrase', image, password=b'secret two')

    terminal = Terminal('keyslot', 'change', '--iter-time', '10', image)
    terminal.answer(b'Passphrase for', b'secret one')
    terminal.answer(b'New passphrase for', b'secret three')
    terminal.answer(b'again', b'secret three')
    assert terminal.finish() == 0, terminal.output
    cryptsetup('open', '--test-passphrase', image, password=b'secret three')
    cryptsetup('open', '--test-passphrase', image, password=b'secret one', status=2)

    terminal = Terminal('keyslot', 'remove', image)
    terminal.answer(b'Passphrase for', b'secret two')
    assert terminal.finish() == 0, terminal.output
    cryptsetup('open', '--test-passphrase', image, password=b'secret two', status=2)


def test_format(tmp_path):
    volume = tmp_path / 'volume'
    volume.write_bytes(bytes(4 << 20))
    terminal = Terminal('format', '-o', 'iter-time=10', volume)
    terminal.answer(b'New passphrase for', b'x')
    terminal.answer(b'again', b'x')
    assert terminal.finish() == 0, terminal.output
    cryptsetup('open', '--test-passphrase', volume, password=b'x')


def test_metadata_needs_none(image):
    terminal = Terminal('info', image)
    assert terminal.finish() == 0
    assert b'assphrase' not in terminal.output


@pytest.mark.parametrize('end', [signal.SIGINT, signal.SIGTERM])
def test_terminal_is_restored(image, end):
    terminal = Terminal('resize', image, '128k')
    terminal.read_until(b'Passphrase for')
    time.sleep(0.1)
    assert not terminal.echoes()
    os.kill(terminal.pid, end)
    os.waitid(os.P_PID, terminal.pid, os.WEXITED | os.WNOWAIT)
    assert terminal.echoes()
    assert terminal.finish() == -end


def test_too_long(image):
    terminal = Terminal('resize', image, '128k')
    terminal.answer(b'Passphrase for', b'x' * 513)
    assert terminal.finish() == 1
    assert b'longer than 512 bytes' in terminal.output


def test_without_a_terminal(image, tmp_path):
    assert 'key-secret' in qemu_img('resize', image, '128k', status=1).stderr
    assert 'key-secret' in qemu_img('create', '-f', 'luks', tmp_path / 'new', '64k', status=1).stderr
    assert not (tmp_path / 'new').exists()
