"""Signals that must not end a program: SIGUSR1, which asks for progress, and SIGXFSZ, at a file size limit.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import os
import pathlib
import re
import resource
import signal
import subprocess
import time

import pytest

from nbd_server import QEMU_NBD, NbdServer, wait_until
from programs import DEBIAN_QEMU_IO, QEMU_IMG, QEMU_IO, qemu_img, qemu_io, run, secret_object
from qmp import QSD, StorageDaemon

LIMIT = 1 << 20


def small_files():
    """In a child: limit the size of files to LIMIT."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, LIMIT))


def wait_until_started(proc):
    """Until the program's own code runs, which is what catches SIGUSR1: loading libraries comes before it."""
    def catches():
        caught = re.search(r'^SigCgt:\t(\w+)$', pathlib.Path(f'/proc/{proc.pid}/status').read_text(), re.MULTILINE)
        return int(caught.group(1), 16) >> (signal.SIGUSR1 - 1) & 1
    wait_until(catches, 'the program')


@pytest.fixture(name='pipe')
def fixture_pipe(tmp_path):
    path = tmp_path / 'pipe'
    os.mkfifo(path)
    return path


@pytest.fixture(name='volume', scope='module')
def fixture_volume(tmp_path_factory):
    """A LUKS volume and the arguments that define its secret s0."""
    directory = tmp_path_factory.mktemp('volume')
    secret = secret_object(directory, 's0', b'pw')
    image = directory / 'a.luks'
    qemu_img('create', '-q', '-f', 'luks', *secret, '-o', 'key-secret=s0,iter-time=10', image, '64k')
    return image, secret


@pytest.mark.parametrize('program', ['qemu-img', 'qemu-io', 'qemu-nbd', 'qemu-storage-daemon'])
def test_sigusr1_before_anything_runs(tmp_path, pipe, volume, program):
    """Before the password is even known."""
    secret = ['--object', f'secret,id=s0,file={pipe}']
    opts = f'driver=luks,key-secret=s0,file.filename={volume[0]}'
    argv = {
        'qemu-img': [QEMU_IMG, 'compare', *secret, '--image-opts', opts, opts],
        'qemu-io': [QEMU_IO, *secret, '-c', 'read 0 4k', '--image-opts', opts],
        'qemu-nbd': [QEMU_NBD, *secret, '-k', tmp_path / 'sock', '--image-opts', opts],
        'qemu-storage-daemon': [QSD, *secret, '--pidfile', tmp_path / 'pid'],
    }[program]
    proc = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_until_started(proc)
    for _ in range(3):
        proc.send_signal(signal.SIGUSR1)
        time.sleep(0.05)
    assert proc.poll() is None
    pipe.write_bytes(b'pw')
    if program in ('qemu-nbd', 'qemu-storage-daemon'):
        up = tmp_path / ('sock' if program == 'qemu-nbd' else 'pid')
        wait_until(up.exists, 'the server')
        time.sleep(0.2)
        proc.send_signal(signal.SIGUSR1)
        time.sleep(0.1)
        assert proc.poll() is None
        proc.terminate()
    errors = proc.communicate(timeout=60)[1]
    assert proc.returncode == 0, errors


def test_sigusr1_while_a_password_is_tried(tmp_path):
    """Before the job that it asks about; then it prints progress once there is some."""
    secret = secret_object(tmp_path, 's0', b'pw')
    image = tmp_path / 'slow.luks'
    qemu_img('create', '-q', '-f', 'luks', *secret, '-o', 'key-secret=s0,iter-time=1000', image, '64k')
    opts = f'driver=luks,key-secret=s0,file.filename={image}'
    with subprocess.Popen([QEMU_IMG, 'convert', *secret, '--image-opts', opts, '-O', 'raw', tmp_path / 'out'],
                          stderr=subprocess.PIPE) as proc:
        wait_until_started(proc)
        for _ in range(20):
            proc.send_signal(signal.SIGUSR1)
            time.sleep(0.02)
        errors = proc.communicate(timeout=60)[1]
    assert proc.returncode == 0
    assert re.search(rb'^    \(\d+\.\d\d/100%\)\n', errors, re.MULTILINE)


SECRET = ['--object', 'secret,id=s0,data=pw']
LUKS = ['-o', 'key-secret=s0,iter-time=10']


@pytest.mark.parametrize('argv', [
    ['create', '-f', 'raw', 'out', '4M'],
    ['create', '-f', 'raw', '-o', 'preallocation=falloc', 'out', '4M'],
    ['create', '-f', 'raw', '-o', 'preallocation=full', 'out', '4M'],
    ['create', *SECRET, '-f', 'luks', *LUKS, 'out', '4M'],
    ['convert', '-f', 'raw', '-O', 'raw', 'src', 'out'],
    ['convert', *SECRET, '-f', 'raw', '-O', 'luks', *LUKS, 'src', 'out'],
    ['dd', '-f', 'raw', 'if=src', 'of=out'],
    ['header', 'backup', 'a.luks', 'out'],
])
def test_file_size_limit(tmp_path, volume, argv):
    """An error, and no file that could be taken for the result."""
    (tmp_path / 'src').write_bytes(os.urandom(4 << 20))
    os.symlink(volume[0], tmp_path / 'a.luks')
    done = run(QEMU_IMG, *argv, cwd=tmp_path, preexec_fn=small_files, status=1)
    assert 'File too large' in done.stderr
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('more', [[], ['--preallocation=full'], ['--preallocation=falloc']])
def test_file_size_limit_of_resize(tmp_path, more):
    image = tmp_path / 'a.raw'
    image.write_bytes(b'x' * 65536)
    done = run(QEMU_IMG, 'resize', '-f', 'raw', *more, image, '4M', preexec_fn=small_files, status=1)
    assert 'File too large' in done.stderr
    assert image.read_bytes() == b'x' * 65536


def test_file_size_limit_of_standard_output(tmp_path):
    """For an image written to standard output."""
    (tmp_path / 'src').write_bytes(os.urandom(4 << 20))
    with open(tmp_path / 'out', 'wb') as out:
        done = run(QEMU_IMG, 'convert', '-f', 'raw', '-O', 'raw', tmp_path / 'src', '/dev/stdout', status=1,
                   stdout=out, preexec_fn=small_files)
    assert 'File too large' in done.stderr


def test_file_size_limit_of_writers(tmp_path):
    """qemu-io, and clients of both servers, get an error, and the program continues."""
    image = tmp_path / 'a.raw'
    with open(image, 'wb') as file:
        file.truncate(4 << 20)
    done = qemu_io('-f', 'raw', '-c', 'write 2M 64k', '-c', 'write 0 64k', image, preexec_fn=small_files, status=1)
    assert 'File too large' in done.stdout + done.stderr and 'wrote 65536/65536 bytes at offset 0' in done.stdout
    write = ['-f', 'raw', '-c', 'write 2M 64k', '-c', 'write 0 64k']
    with StorageDaemon(tmp_path, '--blockdev', f'driver=file,node-name=n,filename={image}', '--nbd-server',
                       f'addr.type=unix,addr.path={tmp_path}/nbd.sock', '--export', 'nbd,id=e,node-name=n,writable=on',
                       preexec_fn=small_files):
        done = run(DEBIAN_QEMU_IO, *write, f'nbd+unix:///n?socket={tmp_path}/nbd.sock', status=1)
        assert 'write failed' in done.stdout and 'wrote 65536/65536 bytes at offset 0' in done.stdout
    with NbdServer(tmp_path, '-f', 'raw', image, preexec_fn=small_files) as server:
        done = run(DEBIAN_QEMU_IO, *write, server.uri(), status=1)
        assert 'write failed' in done.stdout and 'wrote 65536/65536 bytes at offset 0' in done.stdout
