"""qemu-nbd --list: what it prints, also of servers that are hostile.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import itertools
import socket
import threading
import time

import pytest

from nbd_peer import Nbdkit, ScriptedServer
from nbd_server import DEBIAN_QEMU_NBD, QEMU_NBD, qemu_nbd
from programs import run

# Seconds within which what waits for nobody ends; the sanitizers take their time.
SOON = 8
STEP_TIMEOUT = 20
HANDSHAKE_BYTES = 330


@pytest.fixture(name='server')
def fixture_server(tmp_path):
    with ScriptedServer(tmp_path) as server:
        yield server


def listed(server, **kwargs):
    return qemu_nbd('--list', '-k', server.path, timeout=SOON, **kwargs)


@pytest.mark.parametrize('arguments', [
    ['memory', '1M'], ['-e', 'a', 'memory', '1M'], ['--filter=exportname', 'memory', '1000', 'exportname=a',
                                                    'exportname=b c', 'exportname-list=explicit', 'exportdesc=fixed:text'],
    ['-r', 'memory', '1M'], ['--filter=blocksize-policy', 'memory', '1M', 'blocksize-minimum=4k', 'blocksize-preferred=64k'],
    ['--filter=cache', 'memory', '1M'],
    ['-n', 'null', '1T'], ['memory', '7E'], ['--mask-handshake=0', 'memory', '1M'], ['--no-sr', 'memory', '1M'],
])
def test_same_as_qemu(tmp_path, arguments):
    with Nbdkit(tmp_path, *arguments) as server:
        ours, theirs = (run(program, '-L', '-k', server.socket, status=None) for program in (QEMU_NBD, DEBIAN_QEMU_NBD))
        assert ours.stdout == theirs.stdout
        assert ours.returncode == theirs.returncode


def test_text_of_the_server(server):
    """Control characters are not printed."""
    server.exports = [b'\x1b[2Jx', b'a\nb', b'\xff', b'']
    server.contexts = [b'x:\x1b[31m', b'base:allocation']
    server.block_sizes = (512, 4096, 1 << 20)
    out = listed(server).stdout
    assert out.startswith('exports available: 4\n') and out.count('size:  1048576\n') == 4
    assert '\x1b' not in out and "'a\\nb'" in out and out.count('   base:allocation\n') == 4
    assert out.count('  min block: 512\n  opt block: 4096\n  max block: 1048576\n') == 4


def test_export_that_is_not_described(server):
    server.refusal = (1 << 31 | 6, b'\x1b[31mno\n')
    assert listed(server).stdout == "exports available: 1\n export: ''\n"


def test_endless_list(server):
    server.exports = itertools.repeat(b'x' * 1000)
    assert 'more than 10000 exports' in listed(server, status=1).stderr


@pytest.mark.slow
def test_death_at_any_byte(server):
    server.contexts = [b'base:allocation']
    whole = listed(server).stdout
    for limit in range(HANDSHAKE_BYTES):
        server.limit = limit
        done = listed(server, status=None)
        assert done.returncode == 0 and done.stdout == whole or 'NBD server' in done.stderr, limit
    assert done.returncode == 0


def test_nobody_and_others(tmp_path):
    assert 'Failed to connect' in qemu_nbd('-L', '-k', tmp_path / 'nobody', status=1).stderr
    with socket.socket(socket.AF_UNIX) as http:
        http.bind(str(tmp_path / 'http'))
        http.listen()
        threading.Thread(target=lambda: http.accept()[0].sendall(b'HTTP/1.1 400 Bad Request\r\n\r\n'), daemon=True).start()
        assert 'handshake failed' in qemu_nbd('-L', '-k', tmp_path / 'http', status=1, timeout=SOON).stderr


def test_old_style(tmp_path):
    with Nbdkit(tmp_path, '-o', 'memory', '1M') as server:
        assert 'fixed newstyle' in qemu_nbd('-L', '-k', server.socket, status=1, timeout=SOON).stderr


@pytest.mark.slow
@pytest.mark.plain_build
@pytest.mark.parametrize('how', ['silent', 'trickle'])
def test_timeout(server, how):
    server.silent = how == 'silent'
    server.pause = 0 if server.silent else 1.5
    begin = time.monotonic()
    error = qemu_nbd('-L', '-k', server.path, status=1, timeout=STEP_TIMEOUT * 2 + SOON).stderr
    assert time.monotonic() - begin >= STEP_TIMEOUT - 1
    assert f"NBD server 'unix:{server.path}': Timed out waiting" in error
