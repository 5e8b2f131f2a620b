"""qemu-nbd as a program: when it ends, running in the background, and what it refuses.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import os
import re
import signal
import socket
import subprocess
import time

import nbd
import pytest

from nbd_server import QEMU_NBD, NbdServer, is_listening, qemu_nbd, wait_until
from programs import run

MIB = 1 << 20


@pytest.fixture(name='image')
def fixture_image(tmp_path):
    """A raw image."""
    path = tmp_path / 'disk.raw'
    path.write_bytes(b'x' * MIB)
    return path


def first_byte(uri):
    """Connect, read a byte, disconnect."""
    handle = nbd.NBD()
    handle.connect_uri(uri)
    data = handle.pread(512, 0)[:1]
    handle.shutdown()
    return data


def test_version():
    first = qemu_nbd('--version').stdout.split('\n')[0]
    assert first == 'qemu-nbd 10.2.0 (strongbox 0.1.0)'
    assert re.search(r'\d+\.\d+\.\d+', first)
    assert qemu_nbd('-V').stdout == qemu_nbd('--version').stdout


def test_help():
    text = qemu_nbd('--help').stdout
    for option in ('--socket', '--persistent', '--tls-creds', '--discard', '--object'):
        assert option in text
    assert 'secret' in qemu_nbd('--object', 'help').stdout
    assert 'verify-peer' in qemu_nbd('--object', 'tls-creds-x509,help').stdout


def test_ends_with_the_last_client(tmp_path, image):
    """Not with one that only listed the exports."""
    with NbdServer(tmp_path, '-f', 'raw', image, persistent=False, shared=2) as server:
        server.connect().sock.close()
        with server.connect().greet() as wire:
            wire.option(3)
        time.sleep(0.2)
        assert server.process.poll() is None
        a, b = server.connect().greet().go(), server.connect().greet().go()
        a.sock.close()
        time.sleep(0.2)
        assert server.process.poll() is None
        b.sock.close()
        assert server.process.wait(timeout=30) == 0
    assert not server.socket.exists()


def test_one_client_is_the_default(tmp_path, image):
    with NbdServer(tmp_path, '-f', 'raw', image, shared=1) as server:
        handle = nbd.NBD()
        handle.connect_uri(server.uri())
        assert not handle.can_multi_conn()
        handle.shutdown()
        assert first_byte(server.uri()) == b'x'


@pytest.mark.parametrize('signum', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals(tmp_path, image, signum):
    with NbdServer(tmp_path, '-f', 'raw', image) as server, server.connect().greet().go():
        server.process.send_signal(signum)
        assert server.process.wait(timeout=30) == 0
    assert not server.socket.exists()


def test_fork(tmp_path, image):
    """When it returns, clients can connect, and none of our descriptors is kept open."""
    pid_file, sock = tmp_path / 'pid', tmp_path / 'sock'
    done = qemu_nbd('--fork', '--pid-file', pid_file, '-t', '-k', sock, '-f', 'raw', image)
    assert done.stdout == done.stderr == ''
    pid = int(pid_file.read_text())
    try:
        assert is_listening(sock)
        assert first_byte(f'nbd+unix:///?socket={sock}') == b'x'
        assert os.getsid(pid) != os.getsid(0)
    finally:
        os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not os.path.exists(f'/proc/{pid}'), 'the end of the daemon')
    assert not pid_file.exists() and not sock.exists()


def test_fork_that_fails(tmp_path, image):
    done = qemu_nbd('--fork', '-k', tmp_path / 'no' / 'sock', '-f', 'raw', image, status=1)
    assert 'sock' in done.stderr
    done = qemu_nbd('--fork', '-k', tmp_path / 'sock', '-f', 'luks', image, status=1)
    assert done.stderr and not (tmp_path / 'sock').exists()


def test_relative_names(tmp_path, image):
    """--fork does not change the meaning of relative names."""
    qemu_nbd('--fork', '--pid-file', 'pid', '-t', '-k', 'sock', '-f', 'raw', image.name, cwd=tmp_path)
    pid = int((tmp_path / 'pid').read_text())
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not os.path.exists(f'/proc/{pid}'), 'the end of the daemon')
    assert not (tmp_path / 'pid').exists() and not (tmp_path / 'sock').exists()


def test_socket_activation(tmp_path, image):
    """A listening socket as descriptor 3, as systemd hands it over."""
    path = tmp_path / 'sock'
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        code = ('import os, sys\n'
                'os.dup2(int(sys.argv[1]), 3, inheritable=True)\n'
                'os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))\n'
                'os.execv(sys.argv[2], sys.argv[2:])\n')
        server = subprocess.Popen(['/usr/bin/python3', '-c', code, str(listener.fileno()), str(QEMU_NBD), '-f', 'raw',
                                   str(image)], pass_fds=[listener.fileno()])
    assert first_byte(f'nbd+unix:///?socket={path}') == b'x'
    assert server.wait(timeout=30) == 0
    assert path.exists()


@pytest.mark.parametrize('more', [[], ['--format', 'raw']])
def test_libguestfs(tmp_path, image, more):
    """Its command line."""
    pid_file, sock = tmp_path / 'pid', tmp_path / 'sock'
    server = subprocess.Popen([QEMU_NBD, '-t', '--shared=0', '--discard=unmap', '--pid-file', pid_file, '--socket', sock,
                               *more, image])
    try:
        wait_until(pid_file.exists, 'the pid file')
        assert int(pid_file.read_text()) == server.pid
        assert first_byte(f'nbd+unix:///?socket={sock}') == b'x'
    finally:
        server.terminate()
    assert server.wait(timeout=30) == 0


def test_pid_file_in_use(tmp_path, image):
    pid_file = tmp_path / 'pid'
    with NbdServer(tmp_path, '--pid-file', pid_file, '-f', 'raw', image):
        other = tmp_path / 'other.raw'
        other.write_bytes(bytes(MIB))
        wait_until(pid_file.exists, 'the pid file')
        done = qemu_nbd('--pid-file', pid_file, '-k', tmp_path / 'other.sock', '-f', 'raw', other, status=1)
        assert 'pid file' in done.stderr
        assert pid_file.exists()


@pytest.mark.parametrize('arguments, expected', [
    (['-s'], 'overlays'),
    (['-c', '/dev/nbd0'], 'not supported'),
    (['-d'], 'not supported'),
    (['-l', 'snap'], 'snapshots'),
    (['-B', 'bitmap'], 'bitmaps'),
    (['--selinux-label', 'x'], 'SELinux'),
    (['-x', 'n' * 4097], '4096'),
    (['-D', 'd' * 4097], '4096'),
    (['--discard', 'perhaps'], 'perhaps'),
    (['--detect-zeroes', 'perhaps'], 'perhaps'),
    (['--detect-zeroes', 'unmap'], 'discard'),
    (['--aio', 'perhaps'], 'perhaps'),
    (['--cache', 'perhaps'], 'perhaps'),
    (['-e', 'many'], 'many'),
    (['-k', '/nonexistent/sock'], '/nonexistent/sock'),
    (['-k', 'x' * 200], 'x' * 100),
    (['--object', 'secret,id=s'], 's'),
    (['--object', 'nonsense,id=s'], 'nonsense'),
])
def test_refused(tmp_path, image, arguments, expected):
    done = qemu_nbd('-k', 'sock', *arguments, '-f', 'raw', image, status=1, cwd=tmp_path)
    assert expected in done.stderr
    assert not (tmp_path / 'sock').exists()


@pytest.mark.parametrize('arguments', [
    ['-p', '99999'], ['-p', '65536'], ['-p', '-1'], ['-e', '-1'], ['-e', '99999999999'], ['-e', '1x'], ['-o', '-1'],
    ['-o', '16E'], ['--handshake-limit', '-1'],
])
@pytest.mark.parametrize('more', [[], ['-L']])
def test_impossible_numbers(arguments, more):
    done = qemu_nbd('-b', '127.0.0.1', *arguments, *(more or ['/nonexistent']), status=1)
    assert arguments[1] in done.stderr or 'offset' in done.stderr
    assert 'nonexistent' not in done.stderr


def test_no_such_image(tmp_path):
    assert 'missing.raw' in qemu_nbd('-k', tmp_path / 'sock', tmp_path / 'missing.raw', status=1).stderr
    assert 'expects' in qemu_nbd('-k', tmp_path / 'sock', status=1).stderr


def test_file_in_place_of_the_socket(tmp_path, image):
    """A stale socket is replaced, a file of another type is not."""
    path = tmp_path / 'precious'
    path.write_text('data')
    assert 'precious' in qemu_nbd('-k', path, '-f', 'raw', image, status=1).stderr
    assert path.read_text() == 'data'
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(tmp_path / 'stale'))
    stale.close()
    server = subprocess.Popen([QEMU_NBD, '-k', tmp_path / 'stale', '-f', 'raw', image])
    wait_until(lambda: is_listening(tmp_path / 'stale'), 'qemu-nbd to listen')
    run('nbdinfo', '--size', f'nbd+unix:///?socket={tmp_path}/stale')
    assert server.wait(timeout=30) == 0
