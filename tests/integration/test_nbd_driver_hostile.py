"""Servers that break the rules, die, or say nothing: the nbd driver tells what happened, and waits for nobody.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import json
import signal
import struct
import subprocess
import time

import pytest

from nbd_peer import Nbdkit, ScriptedServer
from nbd_server import wait_until
from programs import QEMU_IMG, QEMU_IO, password_file, qemu_img, qemu_io
from qmp import StorageDaemon, check_end_while_opening

# Seconds within which what waits for nobody ends; the sanitizers take their time.
SOON = 8
# The driver's own limit for a connection.
CONNECT_TIMEOUT = 20
# What a handshake takes.
HANDSHAKE_BYTES = 230


@pytest.fixture(name='server')
def fixture_server(tmp_path):
    with ScriptedServer(tmp_path) as server:
        yield server


def reads(server, hook):
    """Let HOOK answer reads."""
    server.on_request = lambda wire, request: hook(wire, request) if request.command == 0 else False


def failing_read(server, why=None):
    """A read fails, and standard error names the server and the step."""
    done = qemu_io('-r', '-f', 'raw', '-c', 'read -P 0 4096 4096', server.uri(), status=1, timeout=SOON)
    assert 'read failed' in done.stdout + done.stderr
    if why:
        assert f"NBD server 'unix:{server.path}': " in done.stderr and why in done.stderr


def test_well_behaved(server):
    """The script's own rules are right."""
    qemu_io('-f', 'raw', '-c', 'read -P 0 0 64k', '-c', 'write 0 64k', '-c', 'write -z 0 64k', '-c', 'discard 0 64k', '-c',
            'flush', server.uri())
    wait_until(lambda: {request.command for request in server.requests} >= {0, 1, 2, 3, 4, 6}, 'each command to arrive')


@pytest.mark.parametrize('pieces', [
    [(0, 2048), (2048, 2048)], [(2048, 2048), (0, 2048)], [(1024, 1024), (3072, 1024), (0, 1024), (2048, 1024)],
    [(i, 512) for i in (0, 1024, 2048, 3072, 512, 1536, 2560, 3584)],
])
def test_pieces_in_any_order(server, pieces):
    def answer(wire, request):
        for offset, length in pieces:
            server.data_chunk(wire, request, request.offset + offset, bytes(length))
        server.chunk(wire, request, 0)
    reads(server, answer)
    qemu_io('-r', '-f', 'raw', '-c', 'read -P 0 4096 4096', server.uri())


@pytest.mark.parametrize('pieces', [
    [], [(0, 4095)], [(1, 4095)], [(0, 1024), (2048, 2048)], [(0, 4096), (0, 4096)], [(0, 2048), (1024, 3072)],
    [(2048, 2048), (0, 2049)], [(0, 4096), (0, 1)], [(i, 1) for i in range(0, 4096, 2)],
])
@pytest.mark.parametrize('kind', ['data', 'hole'])
def test_incomplete_reads(server, pieces, kind):
    """Also where the last chunk says that it is."""
    def answer(wire, request):
        for offset, length in pieces:
            if kind == 'hole':
                server.chunk(wire, request, 2, struct.pack('>QI', request.offset + offset, length), done=False)
            else:
                server.data_chunk(wire, request, request.offset + offset, bytes(length))
        server.chunk(wire, request, 0)
    reads(server, answer)
    # The probe reads, too.
    failing_read(server, 'the answer to a read' if sum(n for _, n in pieces) < 2048 or pieces == [(0, 4095)] else None)


@pytest.mark.parametrize('offset, length', [(-1, 512), (4096, 1), (0, 4097), (4095, 2), (1 << 62, 512), (-4096, 4096)])
@pytest.mark.parametrize('kind', ['data', 'hole'])
def test_out_of_range(server, offset, length, kind):
    def answer(wire, request):
        where = (request.offset + offset) % (1 << 64)
        if kind == 'hole':
            server.chunk(wire, request, 2, struct.pack('>QI', where, length), done=False)
        else:
            server.data_chunk(wire, request, where, bytes(length))
        server.chunk(wire, request, 0)
    reads(server, answer)
    failing_read(server)


@pytest.mark.parametrize('magic', [0, 0x67446698, 0x12345678])
def test_wrong_answers(server, magic):
    def answer(wire, request):
        wire.send('IHHQI', magic, 1, 1, request.cookie + 7, 8 + request.length, data=bytes(8 + request.length))
    reads(server, answer)
    failing_read(server, 'lost the connection')


@pytest.mark.parametrize('kind, data', [(1, bytes(12)), (2, bytes(12)), (5, bytes(12)), (77, b''), (77, b'x' * 100), (5, b''),
                                        (1, bytes(4)), (1 << 15 | 1, b''), (1 << 15 | 1, struct.pack('>IH', 5, 500))])
def test_wrong_answers_to_a_write(server, kind, data):
    def answer(wire, request):
        if request.command != 1:
            return False
        server.chunk(wire, request, kind, data)
        return True
    server.on_request = answer
    done = qemu_io('-f', 'raw', '-c', 'write 0 4096', server.uri(), status=1, timeout=SOON)
    assert 'write failed' in done.stdout + done.stderr


@pytest.mark.parametrize('entries', [[(0, 0)], [(1, 3)], [(511, 3)], [(1 << 31, 3)], [(0, 0)] * 1000, [(700, 3), (5, 0)], []])
def test_block_status(server, entries):
    """Whatever it says, map ends, and tells of the whole image once."""
    def answer(wire, request):
        if request.command != 7:
            return False
        server.chunk(wire, request, 5, struct.pack('>I', 1) + b''.join(struct.pack('>II', *entry) for entry in entries))
        return True
    server.on_request = answer
    server.size = 64 << 10
    done = qemu_img('map', '-f', 'raw', '--output=json', server.uri(), status=None, timeout=SOON)
    if done.returncode == 0:
        assert sum(piece['length'] for piece in json.loads(done.stdout)) == server.size


@pytest.mark.parametrize('sizes', [(3, 4096, 4096), (1 << 20, 1 << 20, 1 << 20), (4096, 4096, 512), (1 << 31, 1, 1)])
def test_block_sizes(server, sizes):
    """That make no sense; libnbd does not hand them on."""
    server.block_sizes = sizes
    done = qemu_io('-f', 'raw', '-c', 'write 512 1024', server.uri(), status=None, timeout=SOON)
    assert done.returncode == 0 or 'NBD server' in done.stderr


@pytest.mark.parametrize('size', [1 << 63, (1 << 64) - 1, (1 << 63) - 1])
def test_too_large(server, size):
    server.size = size
    assert 'too large' in qemu_img('info', server.uri(), status=1, timeout=SOON).stderr


def test_empty(server):
    server.size = 0
    qemu_img('info', '-f', 'raw', server.uri(), timeout=SOON)


def test_text_is_printable(server):
    """What the server says may hold commands for a terminal."""
    server.refusal = (1 << 31 | 6, b'\x1b[31mno\n')
    # The second is CSI, in one character what ESC [ is in two.
    server.exports = [b'\x1b[2Jx', b'\xc2\x9b2Jx', b'a\nb', b'\xff']
    error = qemu_img('info', server.uri('n'), status=1, timeout=SOON).stderr
    assert "'?[2Jx', '?2Jx', 'a?b'" in error and '\x1b' not in error
    server.refusal = (1 << 31 | 2, b'\x1b[31mno\n')
    error = qemu_img('info', server.uri('n'), status=1, timeout=SOON).stderr
    assert '\x1b' not in error and "refuses export 'n'" in error


@pytest.mark.slow
def test_death_at_any_byte(server):
    """Of the handshake, and of the answers to the first requests."""
    for limit in list(range(0, HANDSHAKE_BYTES, 3)) + [HANDSHAKE_BYTES + 1000]:
        server.limit = limit
        error = qemu_img('convert', '-f', 'raw', '-O', 'raw', server.uri(), server.path.with_suffix('.copy'), status=1,
                         timeout=SOON).stderr
        assert 'NBD server' in error, limit


@pytest.mark.slow
@pytest.mark.plain_build
@pytest.mark.parametrize('how', ['silent', 'trickle'])
def test_timeout(server, how):
    """The handshake takes no longer than the driver allows."""
    server.silent = how == 'silent'
    server.pause = 0 if server.silent else 1
    begin = time.monotonic()
    error = qemu_img('info', server.uri(), status=1, timeout=CONNECT_TIMEOUT + 3 * SOON).stderr
    assert time.monotonic() - begin >= CONNECT_TIMEOUT
    assert f"NBD server 'unix:{server.path}': Timed out waiting for the end of the handshake" in error


def wait_for(condition):
    end = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize('sig', [signal.SIGINT, signal.SIGTERM])
def test_signal_while_connecting(server, sig):
    server.silent = True
    with subprocess.Popen([QEMU_IMG, 'info', server.uri()], stderr=subprocess.PIPE) as process:
        wait_for(lambda: server.connections)
        time.sleep(0.2)
        begin = time.monotonic()
        process.send_signal(sig)
        process.communicate(timeout=60)
        assert time.monotonic() - begin < SOON


@pytest.mark.parametrize('sig', [signal.SIGINT, signal.SIGTERM])
def test_signal_while_reading(server, sig):
    """After the time that requests have to end."""
    reads(server, lambda wire, request: True)
    with subprocess.Popen([QEMU_IO, '-r', '-f', 'raw', '-c', 'read 0 4096', server.uri()], stderr=subprocess.PIPE,
                          stdout=subprocess.PIPE) as process:
        wait_for(lambda: any(request.command == 0 for request in server.requests))
        begin = time.monotonic()
        process.send_signal(sig)
        process.communicate(timeout=60)
        assert time.monotonic() - begin < 3 * SOON


@pytest.mark.parametrize('end', ['blockdev-del', 'quit', 'signal'])
def test_daemon_while_connecting(tmp_path, server, end):
    server.silent = True
    check_end_while_opening(tmp_path, {'driver': 'nbd', 'server': {'type': 'unix', 'path': str(server.path)}}, end, SOON)
    assert server.connections


def test_job_cancel(tmp_path, server):
    """A job whose requests do not end is cancelled by force."""
    server.size = 16 << 20
    server.on_request = lambda wire, request: request.command == 1
    with StorageDaemon(tmp_path) as daemon:
        daemon.qmp.cmd('object-add', qom_type='secret', id='s0', file=str(password_file(tmp_path, b'password')))
        daemon.qmp.cmd('blockdev-add', driver='nbd', node_name='n0', server={'type': 'unix', 'path': str(server.path)})
        daemon.qmp.cmd('blockdev-format', job_id='j0', file='n0', options={
            'driver': 'luks', 'key-secret': 's0', 'iter-time': 10})
        wait_for(lambda: any(request.command == 1 for request in server.requests))
        begin = time.monotonic()
        daemon.qmp.cmd('job-cancel', id='j0')
        daemon.qmp.cmd('quit')
        daemon.wait()
        assert time.monotonic() - begin < 3 * SOON


def test_lost_connection(tmp_path):
    """All requests in flight fail, and later ones, at once; the node can still be removed."""
    with Nbdkit(tmp_path, '--filter=delay', 'memory', '1M', 'rdelay=60') as server, StorageDaemon(tmp_path) as daemon:
        path = tmp_path / 'export.sock'
        daemon.qmp.cmd('blockdev-add', driver='nbd', node_name='n0', server={'type': 'unix', 'path': str(server.socket)})
        daemon.qmp.cmd('nbd-server-start', addr={'type': 'unix', 'data': {'path': str(path)}})
        daemon.qmp.cmd('block-export-add', type='nbd', id='e0', node_name='n0', writable=True)
        with subprocess.Popen([QEMU_IO, '-f', 'raw', '-c', 'aio_read 0 4k', '-c', 'aio_read 4k 4k', '-c', 'aio_flush',
                               f'nbd+unix:///n0?socket={path}'], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True) as client:
            time.sleep(0.5)
            server.kill()
            output = client.communicate(timeout=SOON)[0]
            assert output.count('failed: Input/output error') == 2
        server.start()
        daemon.qmp.cmd('block-export-del', id='e0')
        daemon.qmp.wait_event('BLOCK_EXPORT_DELETED')
        daemon.qmp.cmd('blockdev-del', node_name='n0')
