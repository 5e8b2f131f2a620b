"""How qemu-img shows progress, and how it can be stopped.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import re
import signal
import subprocess
import time

import pytest

from programs import QEMU_IMG, qemu_img, secret_object

SLOW = 'key-secret=s,iter-time=2000'


@pytest.fixture(name='slow_create')
def fixture_slow_create(tmp_path):
    """A command line that works for seconds, and the image that it makes."""
    image = tmp_path / 'slow.luks'
    return [QEMU_IMG, 'create', '-q', '-f', 'luks', *secret_object(tmp_path, 's', b'pw'), '-o', SLOW, image, '64k'], image


def start(argv):
    """Start ARGV and let it get to work."""
    proc = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    time.sleep(0.5)
    assert proc.poll() is None
    return proc


def test_progress_as_cdi_reads_it(tmp_path):
    image = tmp_path / 'a.luks'
    qemu_img('create', '-q', '-f', 'luks', *secret_object(tmp_path, 's', b'pw'), '-o', 'key-secret=s,iter-time=10', image,
             '8M')
    text = qemu_img('erase', '-q', '-p', '--scope', 'image', image, text=False).stdout.decode()
    assert text.startswith('    (0.00/100%)\r') and text.endswith('    (100.00/100%)\r\n')
    steps = [float(step) for step in re.findall(r'\((\d?\d\.\d\d)\/100%\)', text)]
    assert steps == sorted(steps)


def test_sigusr1_prints_the_state(slow_create):
    argv, _image = slow_create
    with start(argv) as proc:
        proc.send_signal(signal.SIGUSR1)
        stdout, stderr = proc.communicate(timeout=60)
    assert proc.returncode == 0
    assert re.search(rb'^    \(\d+\.\d\d/100%\)\n', stderr, re.MULTILINE)
    assert stdout == b''


@pytest.mark.parametrize('sig', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_cancels_in_good_order(slow_create, sig):
    argv, image = slow_create
    with start(argv) as proc:
        proc.send_signal(sig)
        stderr = proc.communicate(timeout=60)[1]
    assert proc.returncode == 1
    assert b'cancel' in stderr.lower()
    assert not image.exists()


def test_a_second_signal_kills(slow_create):
    argv, _image = slow_create
    with start(argv) as proc:
        proc.send_signal(signal.SIGINT)
        proc.send_signal(signal.SIGINT)     # at once: counts as the same
        time.sleep(0.4)
        if proc.poll() is None:         # not yet at a point where it can stop
            proc.send_signal(signal.SIGINT)
            proc.communicate(timeout=5)
            assert proc.returncode == -signal.SIGINT
