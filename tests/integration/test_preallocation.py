"""Preallocation of images: it takes long, so it shows progress, and ends soon after Ctrl-C.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import re
import shutil
import signal
import subprocess
import time

import pytest

from images import FAST, MIB, luks_opts, secret
from programs import QEMU_IMG, qemu_img

LARGE = '12G'       # more than any disk can write before the interrupt
PERCENT = re.compile(r'\((\d?\d\.\d\d)/100%\)')


def interrupt(argv, directory):
    """Start qemu-img ARGV, let it write for a moment, and interrupt it; return its output."""
    if shutil.disk_usage(directory).free < 16 << 30:
        pytest.skip('there is not enough space')
    with subprocess.Popen([QEMU_IMG, *map(str, argv)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        time.sleep(1)
        assert process.poll() is None, process.stderr.read()
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
        took = time.monotonic() - start
    assert process.returncode == 1 and 'cancelled' in stderr
    # One second is the promise; the rest is for a busy machine, and for freeing the space.
    assert took < 3
    return stdout


@pytest.mark.parametrize('fmt', ['raw', 'luks'])
def test_create_is_interrupted(tmp_path, fmt):
    image = tmp_path / 'image'
    more = ['-o', f'key-secret=sec0,{FAST}', *secret(tmp_path)] if fmt == 'luks' else []
    stdout = interrupt(['create', '-p', '-f', fmt, *more, '-o', 'preallocation=full', image, LARGE], tmp_path)
    assert not image.exists()
    assert any(0 < float(step) < 100 for step in PERCENT.findall(stdout))


def test_resize_is_interrupted(tmp_path):
    image = tmp_path / 'image'
    image.write_bytes(b'x' * 1000)
    stdout = interrupt(['resize', '-p', '-f', 'raw', '--preallocation=full', image, LARGE], tmp_path)
    assert image.read_bytes() == b'x' * 1000
    assert any(0 < float(step) < 100 for step in PERCENT.findall(stdout))


def test_resize_of_luks_is_interrupted(tmp_path):
    image = tmp_path / 'image'
    qemu_img('create', '-f', 'luks', *secret(tmp_path), '-o', f'key-secret=sec0,{FAST}', image, '1M')
    before = image.read_bytes()
    interrupt(['resize', '--preallocation=full', *secret(tmp_path), '--image-opts', luks_opts(image), LARGE], tmp_path)
    assert image.read_bytes() == before


@pytest.mark.parametrize('mode', ['off', 'falloc', 'full'])
def test_progress_of_resize(tmp_path, mode):
    image = tmp_path / 'image'
    image.write_bytes(bytes(MIB))
    done = qemu_img('resize', '-p', '-f', 'raw', f'--preallocation={mode}', image, '40M')
    assert image.stat().st_size == 40 * MIB
    assert (image.stat().st_blocks * 512 >= 39 * MIB) == (mode != 'off')
    # Carriage returns are line ends here, too.
    assert done.stdout.startswith('    (0.00/100%)\n') and done.stdout.endswith('    (100.00/100%)\nImage resized.\n')
    quiet = qemu_img('resize', '-p', '-q', '-f', 'raw', f'--preallocation={mode}', image, '41M')
    assert quiet.stdout == ''
