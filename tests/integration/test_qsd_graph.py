"""A graph that changes while in use: locks, drained sections, lengths, slow opening, depth.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import pathlib
import subprocess
import threading
import time

import nbd
import pytest

import luks_header
from programs import DEBIAN_QEMU_IO, QEMU_IMG, qemu_img, run, secret_object
from qmp import Qmp, QmpError, StorageDaemon

MiB = 1 << 20
SOON = 10       # seconds within which every command must be answered


@pytest.fixture(name='daemon')
def fixture_daemon(tmp_path):
    """A daemon with two monitors, the second at other.sock, and an NBD server."""
    with StorageDaemon(tmp_path, *secret_object(tmp_path, 's0', b'pw'),
                       '--chardev', f'socket,id=qmp1,path={tmp_path}/other.sock,server=on,wait=off',
                       '--monitor', 'qmp1', '--nbd-server', f'addr.type=unix,addr.path={tmp_path}/nbd.sock') as daemon:
        daemon.qmp.sock.settimeout(SOON)
        yield daemon


def connect(tmp_path, name):
    handle = nbd.NBD()
    handle.set_export_name(name)
    handle.connect_unix(str(tmp_path / 'nbd.sock'))
    return handle


def raw_file(path, length=MiB):
    path.write_bytes(bytes(length))
    return {'driver': 'file', 'filename': str(path)}


def detached(tmp_path):
    """One file with a LUKS header at its start and its payload at 4 MiB."""
    path = tmp_path / 'both.img'
    qemu_img('create', '-q', '-f', 'luks', *secret_object(tmp_path, 's', b'pw'),
             '-o', 'key-secret=s,iter-time=10,detached-header=true', path, MiB)
    with open(path, 'r+b') as file:
        file.truncate(8 * MiB)
    return path


def test_locks_of_a_file_with_two_users(tmp_path):
    """Header and payload in one file, opened at once by a program that writes: the file is locked for writing."""
    path = detached(tmp_path)
    image = f'driver=luks,key-secret=s,header.driver=file,header.node-name=f,header.filename={path},' \
            f'file.driver=raw,file.offset={4 * MiB},file.file=f'
    argv = [QEMU_IMG, 'bench', '-w', '-c', '1000000000', *secret_object(tmp_path, 's', b'pw'), '--image-opts', image]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as writer:
        try:
            inode = f':{path.stat().st_ino} '
            while inode not in pathlib.Path('/proc/locks').read_text(encoding='ascii'):
                assert writer.poll() is None, writer.stderr.read()
            time.sleep(0.3)
            error = run(DEBIAN_QEMU_IO, '-f', 'raw', '-c', 'write 7M 512', path, status=None)
            assert 'Failed to get "write" lock' in error.stdout + error.stderr
        finally:
            writer.kill()


@pytest.mark.threads
def test_drain_beside_another_user(daemon, tmp_path):
    """Reads through one filter without a pause, while the other one is reopened and deleted."""
    qmp = daemon.qmp
    qmp.cmd('object-add', qom_type='throttle-group', id='g')
    qmp.cmd('blockdev-add', driver='null-co', node_name='n', size=MiB, latency_ns=20000000, read_zeroes=True)
    for name in 'ab':
        qmp.cmd('blockdev-add', driver='throttle', node_name=name, throttle_group='g', file='n')
    qmp.cmd('block-export-add', type='nbd', id='e', node_name='b')
    stopping = threading.Event()
    done = [0] * 4

    def read(number):
        handle = connect(tmp_path, 'b')
        while not stopping.is_set():
            handle.pread(4096, 0)
            done[number] += 1
        handle.shutdown()

    readers = [threading.Thread(target=read, args=(number,)) for number in range(4)]
    for reader in readers:
        reader.start()
        time.sleep(0.005)      # so that one is always in flight
    while min(done) < 5:
        time.sleep(0.001)
    try:
        for _ in range(20):
            qmp.cmd('blockdev-reopen', options=[{
                'driver': 'throttle', 'node-name': 'a', 'throttle-group': 'g', 'file': 'n', 'discard': 'unmap'}])
        qmp.cmd('blockdev-del', node_name='a')
    finally:
        stopping.set()
        for reader in readers:
            reader.join()


def test_lengths_above_a_resized_node(daemon, tmp_path):
    qmp = daemon.qmp
    qmp.cmd('object-add', qom_type='throttle-group', id='g')
    qmp.cmd('blockdev-add', node_name='f', **raw_file(tmp_path / 'f'))
    qmp.cmd('blockdev-add', driver='raw', node_name='r', file='f')
    qmp.cmd('blockdev-add', driver='throttle', node_name='t', throttle_group='g', file='r')
    qmp.cmd('block-export-add', type='nbd', id='e', node_name='t', writable=True)
    handle = connect(tmp_path, 't')
    qmp.cmd('block_resize', node_name='f', size=3 * MiB)
    sizes = {node['node-name']: node['image']['virtual-size'] for node in qmp.cmd('query-named-block-nodes')}
    assert sizes == {'f': 3 * MiB, 'r': 3 * MiB, 't': 3 * MiB}
    new = connect(tmp_path, 't')
    assert new.get_size() == 3 * MiB
    new.pwrite(b'x' * 512, 3 * MiB - 512)
    for client in (handle, new):
        client.shutdown()


def test_lengths_above_a_resized_luks_node(daemon, tmp_path):
    qmp = daemon.qmp
    path = tmp_path / 'a.luks'
    qemu_img('create', '-q', '-f', 'luks', *secret_object(tmp_path, 's', b'pw'), '-o', 'key-secret=s,iter-time=10', path, MiB)
    qmp.cmd('blockdev-add', driver='luks', node_name='luks', key_secret='s0', file={'driver': 'file', 'filename': str(path)})
    qmp.cmd('blockdev-add', driver='raw', node_name='above', file='luks')
    qmp.cmd('block-export-add', type='nbd', id='e', node_name='above')
    qmp.cmd('block_resize', node_name='luks', size=2 * MiB)
    handle = connect(tmp_path, 'above')
    assert handle.get_size() == 2 * MiB
    handle.pread(512, 2 * MiB - 512)
    handle.shutdown()


@pytest.mark.threads
def test_opening_that_takes_long(daemon, tmp_path):
    """A key that would take hours to derive keeps nobody waiting, and deleting the node ends that."""
    path = tmp_path / 'a.luks'
    qemu_img('create', '-q', '-f', 'luks', *secret_object(tmp_path, 's', b'pw'), '-o', 'key-secret=s,iter-time=10', path, MiB)
    luks_header.put(path, 'iterations', 1 << 31, slot=0)
    qmp = daemon.qmp
    qmp.send({'execute': 'blockdev-add', 'arguments': {
        'driver': 'raw', 'node-name': 'slow', 'file': {
            'driver': 'luks', 'key-secret': 's0', 'max-pbkdf-iterations': 2**32 - 1,
            'file': {'driver': 'file', 'node-name': 'slow-file', 'filename': str(path)}}}})
    other = Qmp(tmp_path / 'other.sock')
    other.sock.settimeout(SOON)
    while not any(node['node-name'] == 'slow-file' for node in other.cmd('query-named-block-nodes')):
        time.sleep(0.01)
    other.cmd('blockdev-add', node_name='f', **raw_file(tmp_path / 'f'))
    other.cmd('blockdev-reopen', options=[{'node-name': 'f', 'read-only': True, **raw_file(tmp_path / 'f')}])
    other.cmd('blockdev-set-active', active=False, node_name='f')
    other.cmd('blockdev-del', node_name='f')
    assert "'slow'" in other.error('block_resize', node_name='slow', size=MiB).desc
    assert 'not owned' in other.error('blockdev-del', node_name='slow-file').desc
    other.cmd('blockdev-del', node_name='slow')
    assert qmp.answer()['error']['desc'] == 'Operation was cancelled'
    assert other.cmd('query-named-block-nodes') == []
    other.close()


def test_depth(daemon, tmp_path):
    """A stack of the maximum depth can be read; one more node is refused."""
    qmp = daemon.qmp
    qmp.cmd('blockdev-add', driver='null-co', node_name='n0', size=MiB, read_zeroes=True)
    last = 0
    with pytest.raises(QmpError) as error:
        for number in range(1, 1000):
            qmp.cmd('blockdev-add', driver='raw', node_name=f'n{number}', file=f'n{number - 1}')
            last = number
    assert 'nodes would be stacked' in error.value.desc
    assert last == 100
    qmp.cmd('block-export-add', type='nbd', id='e', node_name=f'n{last}')
    handle = connect(tmp_path, f'n{last}')
    assert handle.pread(4096, MiB - 4096) == bytes(4096)
    handle.shutdown()


def test_another_child_for_a_filter(daemon, tmp_path):
    """blockdev-reopen puts another node below a filter that clients read through."""
    qmp = daemon.qmp
    for name in 'xy':
        (tmp_path / name).write_bytes(name.encode() * 4096)
        qmp.cmd('blockdev-add', driver='file', node_name=name, filename=str(tmp_path / name), read_only=True)
    qmp.cmd('object-add', qom_type='throttle-group', id='g')
    throttle = {'driver': 'throttle', 'node-name': 't', 'throttle-group': 'g', 'read-only': True}
    qmp.cmd_raw('blockdev-add', {**throttle, 'file': 'x'})
    qmp.cmd('block-export-add', type='nbd', id='e', node_name='t')
    handle = connect(tmp_path, 't')
    for name in 'yxy':
        qmp.cmd('blockdev-reopen', options=[{**throttle, 'file': name}])
        assert handle.pread(4096, 0) == name.encode() * 4096
        with pytest.raises(QmpError, match="'file' of node 't'"):
            qmp.cmd('blockdev-del', node_name=name)
    for wrong, message in [('t', 'cycle'), ('nope', "'nope'")]:
        with pytest.raises(QmpError, match=message):
            qmp.cmd('blockdev-reopen', options=[{**throttle, 'file': wrong}])
    # one of two nodes is refused: the other does not change
    with pytest.raises(QmpError, match='nope'):
        qmp.cmd('blockdev-reopen', options=[{**throttle, 'file': 'x'},
                                            {'driver': 'raw', 'node-name': 'nope', 'file': 'x'}])
    assert handle.pread(4096, 0) == b'y' * 4096
    qmp.cmd('blockdev-del', node_name='x')
    handle.shutdown()


def test_set_active_as_a_job_ends(daemon, tmp_path):
    """An inline node is deleted with its job, at any moment of another command on it."""
    qmp = daemon.qmp
    other = Qmp(tmp_path / 'other.sock')
    for number in range(20):
        file = {'node-name': 'f', **raw_file(tmp_path / f'f{number}', 4 * MiB)}
        other.cmd('blockdev-format', job_id='j', file=file, options={
            'driver': 'luks', 'key-secret': 's0', 'iter-time': 10})
        while True:
            try:
                qmp.cmd('blockdev-set-active', node_name='f', active=number % 2 == 0)
            except QmpError as error:
                if 'Cannot find' in error.desc and other.cmd('query-jobs')[0]['status'] == 'concluded':
                    break
        other.cmd('job-dismiss', id='j')
    other.close()


def test_delete_beside_queries(daemon, tmp_path):
    """Queries hold references to nodes: a command that deletes one waits for them."""
    qmp = daemon.qmp
    other = Qmp(tmp_path / 'other.sock')
    stopping = threading.Event()
    thread = threading.Thread(target=lambda: [other.cmd('query-named-block-nodes') for _ in iter(stopping.is_set, True)])
    thread.start()
    try:
        for _ in range(100):
            qmp.cmd('blockdev-add', node_name='f', **raw_file(tmp_path / 'f'))
            qmp.cmd('blockdev-del', node_name='f')
    finally:
        stopping.set()
        thread.join()
    other.close()


def test_cancel_a_job_that_opens(daemon, tmp_path):
    """A job whose own node takes long to open ends when it is cancelled."""
    path = tmp_path / 'a.luks'
    qemu_img('create', '-q', '-f', 'luks', *secret_object(tmp_path, 's', b'pw'), '-o', 'key-secret=s,iter-time=10', path, MiB)
    luks_header.put(path, 'iterations', 1 << 31, slot=0)
    daemon.qmp.cmd('blockdev-format', job_id='j', options={'driver': 'luks', 'key-secret': 's0'}, file={
        'driver': 'luks', 'node-name': 'slow', 'key-secret': 's0', 'max-pbkdf-iterations': 2**32 - 1,
        'file': {'driver': 'file', 'filename': str(path)}})
    assert 'Failed to find' in daemon.qmp.error('blockdev-del', node_name='slow').desc
    daemon.qmp.cmd('job-cancel', id='j')
    daemon.qmp.wait_event('JOB_STATUS_CHANGE', id='j', status='concluded')
    assert daemon.qmp.cmd('query-jobs')[0]['error'] == 'Operation was cancelled'
