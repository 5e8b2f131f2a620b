"""A thousand encrypted images, a hundred clients, and too few file descriptors.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import ctypes
import os
import pathlib
import random
import re
import resource
import shutil
import socket
import struct

import nbd
import pytest

from nbd_server import connect_wire, wait_until
from programs import build_option, qemu_img, qemu_io, secret_object
from qmp import StorageDaemon

MiB = 1 << 20
SIZE = 4 * MiB
IMAGES = 10
NODES = 1000
CLIENTS = 100
PR_CAPBSET_DROP, CAP_IPC_LOCK = 24, 14


@pytest.fixture(name='images')
def fixture_images(tmp_path):
    """Encrypted images with the same key, and the byte i + 1 at the start of number i."""
    first = tmp_path / '0.luks'
    qemu_img('create', '-q', '-f', 'luks', *secret_object(tmp_path, 's', b'pw'), '-o', 'key-secret=s,iter-time=1', first, SIZE)
    paths = [tmp_path / f'{i}.luks' for i in range(IMAGES)]
    for path in paths[1:]:
        shutil.copy(first, path)
    for i, path in enumerate(paths):
        qemu_io(*secret_object(tmp_path, 's', b'pw'), '-c', f'write -P {i + 1} 0 64k', '--image-opts',
                f'driver=luks,key-secret=s,file.filename={path}')
    return paths


def daemon_args(tmp_path):
    return [*secret_object(tmp_path, 's', b'pw'), '--nbd-server', f'addr.type=unix,addr.path={tmp_path}/nbd.sock']


def add_luks(qmp, name, path, **options):
    qmp.cmd('blockdev-add', driver='luks', node_name=name, key_secret='s',
            file={'driver': 'file', 'filename': str(path)}, **options)


def export(qmp, name, **options):
    qmp.cmd('block-export-add', type='nbd', id=name, node_name=name, name=name, **options)


def connect(tmp_path, name):
    handle = nbd.NBD()
    handle.set_export_name(name)
    handle.connect_unix(str(tmp_path / 'nbd.sock'))
    return handle


def open_files(daemon):
    return len(os.listdir(f'/proc/{daemon.process.pid}/fd'))


def memory_kib(daemon, file='smaps_rollup', what='Private_Dirty'):
    text = pathlib.Path(f'/proc/{daemon.process.pid}/{file}').read_text(encoding='utf-8')
    return int(re.search(fr'^{what}:\s+(\d+) kB', text, re.MULTILINE).group(1))


def lower_limits():
    """The limits of an ordinary user's daemon: few files, unless it asks for more, and little locked memory."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 4096))
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536))
    ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_IPC_LOCK)      # otherwise the limit does not apply to root


def test_thousand_nodes(tmp_path, images):
    with StorageDaemon(tmp_path, *daemon_args(tmp_path), preexec_fn=lower_limits) as daemon:
        qmp = daemon.qmp
        add_luks(qmp, 'warm-up', images[0], read_only=True)
        qmp.cmd('query-named-block-nodes')
        files = open_files(daemon)
        for i in range(NODES):
            add_luks(qmp, f'n{i}', images[i % IMAGES], read_only=True)
        assert "'n500'" in qmp.error('blockdev-add', driver='null-co', node_name='n500').desc
        for flat in (False, True):
            nodes = {node['node-name']: node for node in qmp.cmd('query-named-block-nodes', flat=flat)}
            assert len(nodes) == 2 * (NODES + 1)
            assert all(nodes[f'n{i}']['encrypted'] and nodes[f'n{i}']['image']['virtual-size'] == SIZE for i in range(NODES))
        assert memory_kib(daemon, 'status', 'VmLck') <= 64
        for i in range(0, NODES, 97):
            export(qmp, f'n{i}')
            handle = connect(tmp_path, f'n{i}')
            assert handle.pread(4096, 0) == bytes([i % IMAGES + 1]) * 4096
            handle.shutdown()
            qmp.cmd('block-export-del', id=f'n{i}', mode='hard')
            qmp.wait_event('BLOCK_EXPORT_DELETED', id=f'n{i}')
        for i in range(NODES):
            qmp.cmd('blockdev-del', node_name=f'n{i}')
        assert len(qmp.cmd('query-named-block-nodes')) == 2
        wait_until(lambda: open_files(daemon) == files, 'files to be closed')
        # the heap keeps some of it, but not more each time
        memory = memory_kib(daemon)
        for i in range(NODES // 2):
            add_luks(qmp, f'n{i}', images[i % IMAGES], read_only=True)
        for i in range(NODES // 2):
            qmp.cmd('blockdev-del', node_name=f'n{i}')
        assert memory_kib(daemon) < memory + NODES or build_option('b_sanitize') != 'none'


def test_quit_with_many_nodes(tmp_path, images):
    with StorageDaemon(tmp_path, *daemon_args(tmp_path)) as daemon:
        for i in range(NODES // 4):
            add_luks(daemon.qmp, f'n{i}', images[i % IMAGES], read_only=True)
            export(daemon.qmp, f'n{i}')
        daemon.qmp.cmd('quit')
        assert daemon.wait() == (0, '')


def test_too_few_file_descriptors(tmp_path, images):
    """Operations that need another one fail and say why; others continue."""
    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
    with StorageDaemon(tmp_path, *daemon_args(tmp_path), preexec_fn=limit) as daemon:
        qmp = daemon.qmp
        add_luks(qmp, 'rw', images[0])
        export(qmp, 'rw', writable=True)
        client = connect(tmp_path, 'rw')
        count = 0
        with pytest.raises(Exception, match='Too many open files') as caught:
            while True:
                add_luks(qmp, f'n{count}', images[1], read_only=True)
                count += 1
        assert str(images[1]) in str(caught.value) and 5 < count < 40
        names = {node['node-name'] for node in qmp.cmd('query-named-block-nodes') if node['drv'] == 'luks'}
        assert names == {'rw', *(f'n{i}' for i in range(count))}
        for command, arguments in (
                ('object-add', {'qom_type': 'iothread', 'id': 'thread0'}),
                ('object-add', {'qom_type': 'secret', 'id': 's2', 'file': str(tmp_path / 'password-7077')}),
                ('chardev-add', {'id': 'c', 'backend': {'type': 'file', 'data': {'out': str(tmp_path / 'log')}}}),
                ('blockdev-reopen', {'options': [{'driver': 'file', 'node-name': 'no', 'filename': str(images[0])}]})):
            assert qmp.error(command, **arguments).desc
        job = qmp.run_job('blockdev-create', 'j', options={'driver': 'file', 'filename': str(tmp_path / 'new'), 'size': 512})
        assert 'Too many open files' in job['error']
        # a new client has to wait, and does not harm the one that is connected
        waiting = socket.socket(socket.AF_UNIX)
        waiting.connect(str(tmp_path / 'nbd.sock'))
        client.pwrite(b'x' * 65536, MiB)
        assert client.pread(65536, MiB) == b'x' * 65536
        assert 'error' not in qmp.run_job('blockdev-keyslot-add', 'j', node_name='rw', new_secret='s', iter_time=1)
        qmp.cmd('blockdev-del', node_name='n0')
        waiting.settimeout(60)
        assert waiting.recv(8) == b'NBDMAGIC'
        waiting.close()
        client.shutdown()


def on_all(handles, start):
    """Make each client start START(i, handle), then wait for them all."""
    cookies = [start(i, handle) for i, handle in enumerate(handles)]
    for handle, cookie in zip(handles, cookies, strict=True):
        while not handle.aio_command_completed(cookie):
            handle.poll(-1)


def write_and_read_back(handles):
    """Adjacent blocks, each written by one client and read by another, four times."""
    for turn in range(4):
        data = [random.randbytes(4096) for _ in handles]
        buffers = [nbd.Buffer(4096) for _ in handles]
        base = turn * len(handles)
        on_all(handles, lambda i, h: h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(data[i])), (base + i) * 4096))
        on_all(handles, lambda i, h: h.aio_pread(buffers[i], (base + (i + 7) % len(handles)) * 4096))
        for i, buffer in enumerate(buffers):
            assert buffer.to_bytearray() == data[(i + 7) % len(handles)]


@pytest.mark.parametrize('iothread', [False, True])
def test_hundred_clients(tmp_path, images, iothread):
    """All use one encrypted export; then they vanish with requests in flight, and the server keeps nothing of them."""
    args = ['--object', 'iothread,id=t0'] if iothread else []
    with StorageDaemon(tmp_path, *args, *daemon_args(tmp_path)) as daemon:
        add_luks(daemon.qmp, 'n', images[0])
        export(daemon.qmp, 'n', writable=True, **({'iothread': 't0'} if iothread else {}))
        warm_up = connect(tmp_path, 'n')
        warm_up.pwrite(b'a' * 512, 0)
        files = open_files(daemon) - 1
        warm_up.shutdown()
        handles = [connect(tmp_path, 'n') for _ in range(CLIENTS)]
        write_and_read_back(handles)
        for handle in handles:
            handle.shutdown()
        del handles
        wait_until(lambda: open_files(daemon) == files, 'connections to be closed')

        wires = [connect_wire(tmp_path / 'nbd.sock').greet().go(b'n') for _ in range(CLIENTS)]
        for i, wire in enumerate(wires):
            for _ in range(16):
                wire.request(i % 2, (i % 64) * 65536, 65536, data=bytes(65536) if i % 2 else b'')
            if i % 3 == 0:
                wire.sock.sendall(struct.pack('>IHH', wire.REQUEST_MAGIC, 0, 1))    # the beginning of another one
        for wire in wires:
            wire.sock.close()
        wait_until(lambda: open_files(daemon) == files, 'connections to be closed')
        handle = connect(tmp_path, 'n')
        handle.pwrite(b'y' * 512, 0)
        assert handle.pread(512, 0) == b'y' * 512
        handle.shutdown()
        wait_until(lambda: open_files(daemon) == files, 'the connection to be closed')
        daemon.qmp.cmd('block-export-del', id='n')
        daemon.qmp.wait_event('BLOCK_EXPORT_DELETED', id='n')
        daemon.qmp.cmd('blockdev-del', node_name='n')


@pytest.mark.slow
@pytest.mark.plain_build
def test_far_more_clients_than_usual(tmp_path):
    """If connections are unlimited, the requests of all clients together are limited all the same."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4096:
        pytest.skip('too few file descriptors')
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with StorageDaemon(tmp_path, '--blockdev', f'null-co,node-name=n,size={64 * MiB}', '--nbd-server',
                           f'addr.type=unix,addr.path={tmp_path}/nbd.sock,max-connections=0',
                           '--export', 'nbd,id=n,node-name=n,name=n') as daemon:
            wires = [connect_wire(tmp_path / 'nbd.sock').greet().go(b'n') for _ in range(1500)]
            for wire in wires:
                for i in range(20):
                    wire.request(0, i * MiB, MiB)
            daemon.qmp.cmd('query-block-exports')
            # clients that do not read do not delay the answers of those that do
            for wire in wires[::100]:
                for _ in range(20):
                    assert wire.simple_reply()[0] == 0
                    assert len(wire.receive(MiB)) == MiB
            for wire in wires:
                wire.sock.close()
            daemon.qmp.cmd('block-export-del', id='n', mode='hard')
            daemon.qmp.wait_event('BLOCK_EXPORT_DELETED', id='n')
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
