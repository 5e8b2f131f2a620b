"""Several connections of one nbd node: that they are used, and what happens when some are refused or lost.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import subprocess
import time

import pytest

from images import FAST, MIB, luks_opts, write_pieces
from nbd_peer import FLAGS, MULTI_CONN, Hangup, Nbdkit, ScriptedServer, connections
from nbd_server import DEBIAN_QEMU_NBD, NbdServer, wait_until
from programs import QEMU_IO, debian_qemu_img, password_file, qemu_img, qemu_io, run, secret_object
from qmp import StorageDaemon

DEPTH = 32


def options(server, driver='raw', **more):
    path = getattr(server, 'socket', None) or server.path
    opts = f'driver={driver},file.driver=nbd,file.server.type=unix,file.server.path={path}'
    return opts + ''.join(f',file.{key.replace("_", "-")}={value}' for key, value in more.items())


def many(command, size='64k', count=DEPTH):
    """qemu-io commands for COUNT requests at a time."""
    step = {'4k': 4096, '64k': 65536}[size]
    return [arg for i in range(count) for arg in ('-c', f'{command} {i * step} {size}')] + ['-c', 'aio_flush']


@pytest.mark.threads
@pytest.mark.parametrize('layer', ['raw', 'luks'])
def test_all_are_used(tmp_path, layer):
    """By many requests at a time, and no more than one by few."""
    image = write_pieces(tmp_path / 'image', 16 * MIB)
    log = tmp_path / 'log'
    s0 = secret_object(tmp_path, 's0', b'password')
    with Nbdkit(tmp_path, '--filter=log', '--filter=delay', 'file', image, f'logfile={log}', 'wdelay=20ms',
                'rdelay=20ms') as server:
        opts = options(server)
        if layer == 'luks':
            qemu_img('format', *s0, '-o', f'key-secret=s0,{FAST}', server.uri())
            opts = options(server, 'luks') + ',key-secret=s0'
        assert len(connections(log, 'Read')) == log.read_text().count(' Connect ')
        log.write_text('')
        qemu_io(*s0, '--image-opts', *many('aio_write -P 5') * 5, *many('aio_read -P 5') * 5, '-c', 'flush', opts)
        # How soon there are all four depends on the machine.
        assert len(connections(log)) > 1 and len(connections(log, 'Read')) > 1
        assert log.read_text().count(' Connect ') <= 4
    plain = luks_opts(image, secret='s0') if layer == 'luks' else f'driver=raw,file.filename={image}'
    debian_qemu_img('convert', *s0, '--image-opts', '-O', 'raw', plain, tmp_path / 'plain')
    data = (tmp_path / 'plain').read_bytes()
    assert data[:DEPTH << 16] == b'\5' * (DEPTH << 16)


@pytest.mark.threads
def test_tls(tmp_path):
    """Each connection is encrypted in its own thread."""
    image = write_pieces(tmp_path / 'image', 16 * MIB)
    log = tmp_path / 'log'
    keys = password_file(tmp_path, f'alice:{"12" * 32}\n'.encode(), 'keys.psk')
    creds = ['--object', f'tls-creds-psk,id=tls0,endpoint=client,dir={tmp_path},username=alice']
    with Nbdkit(tmp_path, '--tls=require', f'--tls-psk={keys}', '--filter=log', '--filter=delay', 'file', image,
                f'logfile={log}', 'wdelay=20ms', 'rdelay=20ms') as server:
        qemu_io(*creds, '--image-opts', *many('aio_write -P 5') * 5, *many('aio_read -P 5') * 5, '-c', 'flush',
                options(server, tls_creds='tls0'))
    assert len(connections(log)) > 1
    assert image.read_bytes()[:DEPTH << 16] == b'\5' * (DEPTH << 16)


def test_one_at_a_time(tmp_path):
    """A program that waits for each request has no use for a second connection, nor has a node whose server refuses it."""
    for mode, commands in (('auto', ['-c', 'write 0 64k', '-c', 'read 0 64k', '-c', 'flush']),
                           ('disable', many('aio_write') + many('aio_read'))):
        log = tmp_path / mode
        with Nbdkit(tmp_path, '--filter=log', '--filter=multi-conn', '--filter=delay', 'memory', '16M', f'logfile={log}',
                    f'multi-conn-mode={mode}', 'rdelay=5ms') as server:
            qemu_io('--image-opts', *commands, options(server))
        assert log.read_text().count(' Connect ') == 1


def bench_time(server, *args):
    begin = time.monotonic()
    qemu_img('bench', '--image-opts', '-d', '16', '-s', '64k', *args, options(server))
    return time.monotonic() - begin


def test_they_help(tmp_path):
    """A server that handles the requests of a connection one by one, and those of several at the same time."""
    took = {}
    for mode in ('auto', 'disable'):
        with Nbdkit(tmp_path, '--filter=multi-conn', '--filter=delay', '--filter=noparallel', 'memory', '16M',
                    f'multi-conn-mode={mode}', 'rdelay=5ms', 'serialize=requests') as server:
            took[mode] = bench_time(server, '-c', '300')
    assert took['disable'] > 2 * took['auto']


@pytest.mark.parametrize('which', ['limit', 'exitlast', 'qemu-nbd'])
def test_no_more_than_one(tmp_path, which):
    """A server that says that it takes several clients, and does not."""
    image = write_pieces(tmp_path / 'image', 4 * MIB, (0, 4 * MIB))
    if which == 'qemu-nbd':
        # It accepts the second connection only when the first one ends.
        server = NbdServer(tmp_path, '-r', '-f', 'raw', image, program=DEBIAN_QEMU_NBD, shared=1)
    else:
        more = ['limit=1'] if which == 'limit' else []
        server = Nbdkit(tmp_path, f'--filter={which}', '--filter=delay', 'file', image, 'rdelay=20ms', *more)
    if which == 'qemu-nbd':
        with server:
            done = qemu_io('-r', '--image-opts', *many('aio_read'), *many('aio_read'), options(server))
    else:
        server.start()
        done = qemu_io('-r', '--image-opts', *many('aio_read'), *many('aio_read'), options(server))
        if which == 'exitlast':
            wait_until(lambda: server.process.poll() is not None, 'nbdkit to exit with its last client')
        else:
            server.kill()
    assert done.stdout.count('read 65536/65536') == 2 * DEPTH and 'failed' not in done.stdout and done.stderr == ''


@pytest.fixture(name='server')
def fixture_server(tmp_path):
    """A scripted one for several connections, which takes 10 ms for a write."""
    with ScriptedServer(tmp_path, size=4 * MIB, flags=FLAGS | MULTI_CONN) as server:
        server.on_request = lambda wire, request: request.command == 1 and bool(time.sleep(0.01))
        yield server


def test_different_export(server):
    """On the second connection: only the first is used."""
    handshake = server._handshake       # pylint: disable=protected-access

    def smaller(wire):
        server.size = 4 * MIB if server.connections == 1 else MIB
        handshake(wire)
    server._handshake = smaller
    qemu_io('--image-opts', *many('aio_write') * 5, options(server))
    assert server.connections == 2 and sum(r.command == 1 for r in server.requests) == 5 * DEPTH


def on_wires(server, hook):
    """Note which connection each request comes from: {wire: [request]}. HOOK may answer. Reads and writes take 10 ms."""
    seen = {}

    def on_request(wire, request):
        seen.setdefault(wire, []).append(request)
        if request.command in (0, 1):
            time.sleep(0.01)
        return hook(wire, request)
    server.on_request = on_request
    return seen


def test_flush(server):
    """Each connection is asked whether what was written to it lasts."""
    seen = on_wires(server, lambda wire, request: False)
    qemu_io('--image-opts', *many('aio_write') * 5, '-c', 'flush', options(server))
    writers = [requests for requests in seen.values() if any(r.command == 1 for r in requests)]
    assert len(writers) > 1
    for requests in writers:
        commands = [r.command for r in requests]
        assert commands.count(3) == 1 and commands.index(3) > max(i for i, c in enumerate(commands) if c == 1)


@pytest.mark.parametrize('what', ['writes', 'reads', 'flushed'])
def test_one_is_lost(server, what):
    """Flushes fail if it had acknowledged writes that were not flushed, and only then."""
    def hook(wire, request):
        # The end of one that has been used, but not of the first, at a request that another one then gets.
        used = what == 'reads' or any(r.command == 1 for r in seen[wire])
        if request.command == 0 and request.offset >= 2 * MIB and wire is not first[0] and used and not lost:
            lost.append(wire)
            raise Hangup
        return False
    first, lost = [], []
    seen = on_wires(server, hook)
    commands = many('aio_read' if what == 'reads' else 'aio_write') * 5 + (['-c', 'flush'] if what == 'flushed' else [])
    reads = [arg for i in range(DEPTH) for arg in ('-c', f'aio_read {2 * MIB + i * 65536} 64k')] + ['-c', 'aio_flush']
    with subprocess.Popen([QEMU_IO, '--image-opts', options(server, reconnect_delay=10)], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as client:
        client.stdin.write('read 0 512\n')
        client.stdin.flush()
        wait_until(lambda: len(seen) == 1, 'the first read')
        first.append(next(iter(seen)))
        output = client.communicate('\n'.join(c for c in commands + reads if c != '-c') + '\nflush\n', timeout=60)[0]
    assert lost and output.count('read 65536/65536') == (6 if what == 'reads' else 1) * DEPTH
    assert ('Input/output error' in output or 'could not flush' in output) == (what == 'writes')


@pytest.mark.threads
def test_from_io_threads(tmp_path):
    """Requests of several loops."""
    log = tmp_path / 'log'
    with Nbdkit(tmp_path, '--filter=log', 'memory', '64M', f'logfile={log}') as server:
        path = tmp_path / 'export.sock'
        with StorageDaemon(tmp_path, '--object', 'iothread,id=io0', '--object', 'iothread,id=io1',
                           '--blockdev', f'nbd,node-name=n0,server.type=unix,server.path={server.socket}',
                           '--nbd-server', f'addr.type=unix,addr.path={path}',
                           '--export', 'nbd,id=e0,node-name=n0,name=e0,writable=on,iothread=io0',
                           '--export', 'nbd,id=e1,node-name=n0,name=e1,writable=on,iothread=io1'):
            for name in ('e0', 'e1'):
                run('/usr/bin/qemu-img', 'bench', '-w', '-f', 'raw', '-c', '2000', '-d', '16', '-s', '64k', '-t', 'none',
                    f'nbd+unix:///{name}?socket={path}')
    assert len(connections(log)) > 1
