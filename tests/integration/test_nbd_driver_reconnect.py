"""The nbd driver when servers die and come back: reconnect-delay and open-timeout.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import random
import signal
import subprocess
import threading
import time

import pytest

from images import MIB, write_pieces
from nbd_peer import READ_ONLY, Nbdkit, ScriptedServer, connections
from programs import DEBIAN_QEMU_IO, QEMU_IMG, QEMU_IO, freeze, password_file, qemu_img, qemu_io
from qmp import Qmp, StorageDaemon

# What ends at once; the sanitizers take their time.
SOON = 8


def options(server, delay, **more):
    """Of a raw node on the server, for --image-opts."""
    path = getattr(server, 'socket', None) or server.path
    opts = f'driver=raw,file.driver=nbd,file.server.type=unix,file.server.path={path},file.reconnect-delay={delay}'
    return opts + ''.join(f',{key.replace("__", ".").replace("_", "-")}={value}' for key, value in more.items())


def wait_for(condition, seconds=SOON):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def random_writes(depth):
    """Writes with FUA, DEPTH at a time: (commands, what they leave). Those in flight together do not overlap."""
    rng = random.Random(1)
    expected = bytearray(16 * MIB)
    commands = []
    command = 'write' if depth == 1 else 'aio_write'
    for i in range(3072):
        part = 16 * MIB // depth
        offset, pattern = i % depth * part + rng.randrange(0, part - 65536, 512), i % 255 + 1
        length = rng.choice((512, 4096, 65536))
        commands += ['-c', f'{command} -f -P {pattern} {offset} {length}']
        expected[offset:offset + length] = bytes([pattern]) * length
        if i % depth == depth - 1:
            commands += ['-c', 'aio_flush']
    return commands, expected


@pytest.mark.slow
@pytest.mark.threads
@pytest.mark.parametrize('depth', [1, 16])
def test_ten_restarts(tmp_path, depth):
    """Of a server with writes in flight, on one connection or several: each of them is made, and in order."""
    image = write_pieces(tmp_path / 'image', 16 * MIB)
    log = tmp_path / 'log'
    rng = random.Random(2)
    commands, expected = random_writes(depth)
    with Nbdkit(tmp_path, '--filter=log', '--filter=delay', 'file', image, f'logfile={log}', 'logappend=true',
                f'wdelay={2 * depth}ms') as server:
        with subprocess.Popen([QEMU_IO, '--image-opts', *commands, options(server, 30)], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True) as client:
            said = []
            readers = [threading.Thread(target=lambda pipe=pipe: said.append(pipe.read()))
                       for pipe in (client.stdout, client.stderr)]
            for reader in readers:
                reader.start()
            restarts = 0
            for _ in range(10):
                time.sleep(0.4)
                if client.poll() is None:
                    server.kill()
                    time.sleep(rng.random() / 4)
                    server.start()
                    restarts += 1
            assert client.wait(timeout=120) == 0, said
            for reader in readers:
                reader.join()
            assert restarts == 10 and 'failed' not in ''.join(said)
    assert len(connections(log)) == (1 if depth == 1 else 4)
    assert image.read_bytes() == expected


def test_requests_in_flight(tmp_path):
    """All are made again, and each gets its own answer."""
    with ScriptedServer(tmp_path) as server:
        held = []
        server.on_request = lambda wire, request: server.connections == 1 and request.command in (0, 1) and \
            not held.append(request)
        with subprocess.Popen([QEMU_IO, '--image-opts', *[x for i in range(8) for x in ('-c', f'aio_read -P 0 {i}k 512')],
                               *[x for i in range(8) for x in ('-c', f'aio_write {i + 64}k 512')],
                               '-c', 'aio_flush', options(server, 10)], stdout=subprocess.PIPE, text=True) as client:
            wait_for(lambda: len(held) == 16)
            server.hang_up()
            output = client.communicate(timeout=SOON)[0]
        assert client.returncode == 0 and 'failed' not in output
        assert output.count('read 512/512') == 8 and output.count('wrote 512/512') == 8
        assert server.connections >= 2


def test_server_ends_in_order(tmp_path):
    """It refuses requests (ESHUTDOWN) before it hangs up: they are made again, too."""
    with ScriptedServer(tmp_path) as server:
        server.on_request = lambda wire, request: server.connections == 1 and request.command in (0, 1) and \
            server.answer(wire, request, error=108) is None
        done = qemu_io('--image-opts', '-c', 'read -P 0 0 512', '-c', 'write 0 512', '-c', 'flush', options(server, 10))
        assert 'read 512/512' in done.stdout and 'wrote 512/512' in done.stdout and server.connections == 2


def test_nbdkit_ends_in_order(tmp_path):
    """It refuses what it has not begun, and waits for its clients to hang up."""
    image = write_pieces(tmp_path / 'image', MIB)
    commands = [x for i in range(400) for x in ('-c', f'aio_write -f -P {i % 255 + 1} {512 * i} 512')]
    with Nbdkit(tmp_path, '--filter=delay', 'file', image, 'wdelay=20ms') as server:
        with subprocess.Popen([QEMU_IO, '--image-opts', *commands, '-c', 'aio_flush', options(server, 20)],
                              stdout=subprocess.PIPE, text=True) as client:
            wait_for(lambda: any(image.read_bytes()))
            begin = time.monotonic()
            server.kill(signal.SIGTERM)
            assert time.monotonic() - begin < SOON
            server.start()
            output = client.communicate(timeout=SOON)[0]
        assert client.returncode == 0 and 'failed' not in output
    assert image.read_bytes() == b''.join(bytes([i % 255 + 1]) * 512 for i in range(400)).ljust(MIB, b'\0')


def failing(server, delay, command='read 0 512', seconds=None, before=lambda: None):
    """The request fails after about DELAY seconds: standard error."""
    with subprocess.Popen([QEMU_IO, '--image-opts', '-c', command, '-c', 'read 4k 512', options(server, delay)],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as client:
        wait_for(lambda: any(request.command in (0, 1) for request in server.requests))
        begin = time.monotonic()
        before()
        output, errors = client.communicate(timeout=delay + 2 * SOON)
        took = time.monotonic() - begin
    assert 'Input/output error' in output + errors
    assert delay - 0.5 <= took <= delay + SOON
    return errors


def test_no_delay(tmp_path):
    """By default requests fail at once."""
    with ScriptedServer(tmp_path) as server:
        server.on_request = lambda wire, request: request.command == 0
        failing(server, 0, before=server.hang_up)


def test_poison(tmp_path):
    """A server that dies at the same request each time."""
    with ScriptedServer(tmp_path) as server:
        server.on_request = lambda wire, request: request.command == 0 and request.offset == 0 and not wire.sock.shutdown(2)
        failing(server, 2)
        assert server.connections > 3


@pytest.mark.parametrize('change, message', [
    ({'size': 4096}, 'has shrunk from 1048576 to 4096 bytes'), ({'flags': 0b1101101 | READ_ONLY}, 'has become read-only'),
    ({'flags': 1}, 'can do less than before'), ({'block_sizes': (4096, 4096, 65536)}, 'other block sizes'),
])
def test_changed_server(tmp_path, change, message):
    """One that is not the same any more is none."""
    with ScriptedServer(tmp_path) as server:
        server.on_request = lambda wire, request: request.command == 0

        def replace():
            for name, value in change.items():
                setattr(server, name, value)
            server.hang_up()
        errors = failing(server, 1, before=replace)
        assert message in errors


def test_larger_server(tmp_path):
    """That is no loss."""
    with ScriptedServer(tmp_path) as server:
        held = []
        server.on_request = lambda wire, request: server.connections == 1 and request.command == 0 and \
            not held.append(request)
        with subprocess.Popen([QEMU_IO, '--image-opts', '-c', 'read -P 0 0 4k', options(server, 10)],
                              stdout=subprocess.PIPE, text=True) as client:
            wait_for(lambda: held)
            server.size *= 2
            server.hang_up()
            assert 'read 4096/4096' in client.communicate(timeout=SOON)[0]


@pytest.mark.parametrize('flushed', [True, False])
def test_lost_writes(tmp_path, flushed):
    """What was not flushed may be gone with the server: a flush must not say otherwise."""
    with ScriptedServer(tmp_path) as server, StorageDaemon(tmp_path) as daemon:
        path = tmp_path / 'export.sock'
        daemon.qmp.cmd('blockdev-add', driver='nbd', node_name='n0', reconnect_delay=10,
                       server={'type': 'unix', 'path': str(server.path)})
        daemon.qmp.cmd('nbd-server-start', addr={'type': 'unix', 'data': {'path': str(path)}})
        daemon.qmp.cmd('block-export-add', type='nbd', id='e0', node_name='n0', writable=True)
        uri = f'nbd+unix:///n0?socket={path}'
        with subprocess.Popen([QEMU_IO, '-f', 'raw', uri], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True) as client:
            client.stdin.write('write 0 512\n' + ('flush\n' if flushed else ''))
            client.stdin.flush()
            wait_for(lambda: any(request.command == (3 if flushed else 1) for request in server.requests))
            time.sleep(0.2)
            server.hang_up()
            output = client.communicate('read 0 512\nwrite 0 512\nflush\n', timeout=SOON)[0]
        assert output.count('read 512/512') == 1 and output.count('wrote 512/512') == 2
        assert ('Input/output error' in output) == (not flushed)
        assert server.connections == 2


def waiting_daemon(tmp_path, server, delay=600):
    """A daemon with an export whose client has a read that waits for a connection."""
    path = tmp_path / 'export.sock'
    daemon = StorageDaemon(
        tmp_path, '--object', 'iothread,id=io0', '--blockdev',
        f'nbd,node-name=n0,server.type=unix,server.path={server.socket},reconnect-delay={delay}',
        '--nbd-server', f'addr.type=unix,addr.path={path}', '--export', 'nbd,id=e0,node-name=n0,iothread=io0')
    return daemon, f'nbd+unix:///n0?socket={path}'


@pytest.mark.parametrize('end', ['delete', 'quit', 'signal', 'drain'])
def test_end_while_waiting(tmp_path, end):
    """Ten minutes are not waited for."""
    with Nbdkit(tmp_path, 'memory', '1M') as server:
        daemon, uri = waiting_daemon(tmp_path, server)
        with daemon, subprocess.Popen([DEBIAN_QEMU_IO, '-r', '-f', 'raw', uri], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, text=True) as client:
            client.stdin.write('read 0 512\n')
            client.stdin.flush()
            assert 'read 512/512' in client.stdout.readline()
            server.kill()
            client.stdin.write('read 0 512\n')
            client.stdin.flush()
            time.sleep(0.5)
            begin = time.monotonic()
            if end == 'delete':
                daemon.qmp.cmd('block-export-del', id='e0', mode='hard')
                daemon.qmp.wait_event('BLOCK_EXPORT_DELETED')
                daemon.qmp.cmd('blockdev-del', node_name='n0')
            elif end == 'drain':
                daemon.qmp.cmd('blockdev-reopen', options=[{
                    'driver': 'nbd', 'node-name': 'n0', 'reconnect-delay': 600,
                    'server': {'type': 'unix', 'path': str(server.socket)}}])
            elif end == 'quit':
                daemon.qmp.cmd('quit')
                daemon.wait()
            else:
                daemon.process.send_signal(signal.SIGTERM)
                daemon.wait()
            assert time.monotonic() - begin < 2 * SOON
            client.kill()
        server.start()


def test_signal_while_waiting(tmp_path):
    """qemu-img ends some seconds later."""
    image = write_pieces(tmp_path / 'image', 8 * MIB, (0, 8 * MIB))
    with Nbdkit(tmp_path, '--filter=delay', 'memory', '8M', 'wdelay=1') as server:
        with subprocess.Popen([QEMU_IMG, 'convert', '-n', '-O', 'raw', '--target-image-opts', image, options(server, 600)],
                              stderr=subprocess.PIPE) as client:
            time.sleep(0.5)
            server.kill()
            time.sleep(0.3)
            client.send_signal(signal.SIGINT)
            client.communicate(timeout=2 * SOON)
            assert client.returncode != 0
        server.start()


def test_open_timeout(tmp_path):
    """Opening waits for a server that is not there yet, and not longer than it may."""
    server = Nbdkit(tmp_path, 'memory', '1M')
    opts = f'driver=raw,file.driver=nbd,file.server.type=unix,file.server.path={server.socket}'
    begin = time.monotonic()
    error = qemu_img('info', '--image-opts', f'{opts},file.open-timeout=2', status=1).stderr
    assert 2 <= time.monotonic() - begin + 0.6 and 'NBD server' in error
    with subprocess.Popen([QEMU_IMG, 'info', '--image-opts', f'{opts},file.open-timeout=60'],
                          stdout=subprocess.PIPE) as client:
        time.sleep(1)
        assert client.poll() is None
        with server:
            client.communicate(timeout=SOON)
        assert client.returncode == 0


def test_open_timeout_of_a_silent_server(tmp_path):
    """The option bounds each attempt, too."""
    with ScriptedServer(tmp_path) as server:
        server.silent = True
        begin = time.monotonic()
        qemu_img('info', '--image-opts', f'driver=nbd,server.type=unix,server.path={server.path},open-timeout=2', status=1)
        assert time.monotonic() - begin < 2 + SOON


def test_cancel_open(tmp_path):
    """While it waits to try again."""
    socket = tmp_path / 'other.sock'
    with StorageDaemon(tmp_path, '--chardev', f'socket,id=c1,path={socket},server=on,wait=off', '--monitor', 'c1') as daemon:
        daemon.qmp.send({'execute': 'blockdev-add', 'arguments': {
            'driver': 'nbd', 'node-name': 'n0', 'open-timeout': 600, 'server': {'type': 'unix', 'path': str(tmp_path / 'no')}}})
        time.sleep(0.3)
        other = Qmp(socket)
        begin = time.monotonic()
        other.cmd('blockdev-del', node_name='n0')
        assert 'desc' in daemon.qmp.answer()['error']
        assert time.monotonic() - begin < SOON
        daemon.process.send_signal(signal.SIGTERM)


@pytest.mark.parametrize('end', ['restart', 'stop'])
def test_tls(tmp_path, end):
    """A new connection is as safe as the first; a server that stands still does not hold up the end."""
    keys = password_file(tmp_path, f'alice:{"12" * 32}\n'.encode(), 'keys.psk')
    creds = f'tls-creds-psk,id=tls0,endpoint=client,dir={tmp_path},username=alice'
    with Nbdkit(tmp_path, '--tls=require', f'--tls-psk={keys}', 'memory', '1M') as server:
        with subprocess.Popen([QEMU_IO, '--object', creds, '--image-opts', options(server, 10, file__tls_creds='tls0')],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
            client.stdin.write('read 0 512\n')
            client.stdin.flush()
            time.sleep(0.5)
            if end == 'restart':
                server.kill()
                server.start()
                assert client.communicate('read 0 512\n', timeout=SOON)[0].count('read 512/512') == 2
            else:
                freeze(server.process.pid)
                assert client.communicate('quit\n', timeout=SOON)[0].count('read 512/512') == 1
                server.process.send_signal(signal.SIGCONT)


def test_idle_loss(tmp_path):
    """A server that restarts while nobody asks for anything."""
    with Nbdkit(tmp_path, 'memory', '1M') as server:
        with subprocess.Popen([QEMU_IO, '--image-opts', options(server, 10)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              text=True) as client:
            client.stdin.write('read 0 512\n')
            client.stdin.flush()
            time.sleep(0.3)
            server.kill()
            server.start()
            time.sleep(0.2)
            assert client.communicate('read 0 512\n', timeout=SOON)[0].count('read 512/512') == 2


def test_flush_in_flight(tmp_path):
    """Made again on a new connection, it would say nothing about what the old server had."""
    with ScriptedServer(tmp_path) as server:
        held = []
        server.on_request = lambda wire, request: request.command == 3 and not held and not held.append(request)
        with subprocess.Popen([QEMU_IO, '--image-opts', '-c', 'write 0 512', '-c', 'flush', options(server, 10)],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as client:
            wait_for(lambda: held)
            server.hang_up()
            output = client.communicate(timeout=SOON)[0]
        assert 'wrote 512/512' in output and 'Input/output error' in output
