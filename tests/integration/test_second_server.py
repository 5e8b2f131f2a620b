"""A server does not take the socket or the pid file of another one that is running.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import os
import signal
import socket

import pytest

from nbd_server import QEMU_NBD, NbdServer, is_listening, qemu_nbd, wait_until
from programs import run
from qmp import QSD, StorageDaemon

IN_USE = 'Address already in use\nA server that is running may have it.\n'


@pytest.fixture(name='image')
def fixture_image(tmp_path):
    path = tmp_path / 'disk.raw'
    path.write_bytes(bytes(1 << 20))
    return path


def socket_options(kind, path):
    """The daemon's arguments for a server of KIND on the unix socket PATH."""
    if kind == 'nbd':
        return ['--nbd-server', f'addr.type=unix,addr.path={path}']
    return ['--chardev', f'socket,id=c0,path={path},server=on,wait=off', '--monitor', 'c0']


def refused(argv):
    """The error of a server that must not start."""
    return run(*argv, status=1).stderr


@pytest.mark.parametrize('kind', ['nbd', 'qmp'])
def test_daemon(tmp_path, kind):
    path = tmp_path / 'taken.sock'
    with StorageDaemon(tmp_path, *socket_options(kind, path)) as daemon:
        assert refused([QSD, *socket_options(kind, path)]).endswith(IN_USE)
        assert is_listening(path) and path.exists()
        backend = {'type': 'socket', 'data': {'addr': {'type': 'unix', 'data': {'path': str(path)}}, 'wait': False}}
        assert 'already in use' in daemon.qmp.error('chardev-add', id='c1', backend=backend).desc
        assert is_listening(path) and path.exists()
    assert not path.exists()


def test_qemu_nbd(tmp_path, image):
    """Without --persistent, too: the check whether it is running does not count as a client."""
    with NbdServer(tmp_path, '-f', 'raw', '-r', image, persistent=False) as server:
        for more in ([], ['--fork']):
            assert refused([QEMU_NBD, *more, '-r', '-f', 'raw', '-k', server.socket, image]).endswith(IN_USE)
        with server.connect() as wire:
            wire.greet().go()
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(timeout=30) == 0
    assert not server.socket.exists()


def test_the_pid_file_comes_first(tmp_path, image):
    """The second server fails before it opens the image, or looks at the socket."""
    pid_file = tmp_path / 'pid'
    with NbdServer(tmp_path, '--pid-file', pid_file, '-f', 'raw', image) as server:
        wait_until(pid_file.exists, 'the pid file')
        for image_name in (image, tmp_path / 'none.raw'):
            assert 'Cannot lock pid file' in refused([QEMU_NBD, '--pid-file', pid_file, '-k', server.socket, '-f', 'raw',
                                                      image_name])
        assert 'Cannot lock pid file' in refused([QSD, '--pidfile', pid_file, *socket_options('nbd', server.socket)])
        assert is_listening(server.socket) and int(pid_file.read_text()) == server.process.pid
    assert not pid_file.exists()


@pytest.mark.parametrize('kind', ['nbd', 'qmp'])
def test_sockets_and_pid_files_that_were_left_behind(tmp_path, kind):
    """After a crash, everything can be restarted."""
    path, pid_file = tmp_path / 'left.sock', tmp_path / 'pid'
    argv = [QSD, '--daemonize', '--pidfile', pid_file, *socket_options(kind, path)]
    run(*argv)
    os.kill(int(pid_file.read_text()), signal.SIGKILL)
    wait_until(lambda: not is_listening(path), 'the end of the daemon')
    assert path.exists() and pid_file.exists()
    run(*argv)
    assert is_listening(path)
    pid = int(pid_file.read_text())
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not os.path.exists(f'/proc/{pid}'), 'the end of the daemon')
    assert not path.exists() and not pid_file.exists()


def test_only_ones_own_is_removed(tmp_path, image):
    """If another program replaces the socket and the pid file of a running server, they are not removed."""
    pid_file = tmp_path / 'pid'
    with NbdServer(tmp_path, '--pid-file', pid_file, '-f', 'raw', image) as server:
        wait_until(pid_file.exists, 'the pid file')
        server.socket.unlink()
        pid_file.unlink()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(server.socket))
            pid_file.write_text('1\n')
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(timeout=30) == 0
            assert server.socket.exists() and pid_file.read_text() == '1\n'


def test_files_that_are_no_sockets(tmp_path, image):
    path = tmp_path / 'notes'
    path.write_text('precious')
    done = qemu_nbd('-k', path, '-f', 'raw', image, status=1)
    assert 'Address already in use' in done.stderr and path.read_text() == 'precious'
    done = run(QSD, '--pidfile', tmp_path, status=1)
    assert 'directory' in done.stderr
