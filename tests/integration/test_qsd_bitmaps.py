"""Dirty bitmaps: commands, transactions that are undone, what bitmaps survive.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import subprocess
import time

import nbd
import pytest

from programs import qemu_img, secret_object
from qmp import DEBIAN_QSD, Qmp, StorageDaemon

KiB = 1 << 10
MiB = 1 << 20
SIZE = 4 * MiB


class Daemon:
    """A storage daemon with nodes "disk" (raw on "file") and "other" of the same size; disk is exported."""

    def __init__(self, directory, daemon):
        self.directory = directory
        self.daemon = daemon
        self.qmp = daemon.qmp
        self.socket = directory / 'nbd.sock'

    def connect(self, name='disk', context=None):
        handle = nbd.NBD()
        if context:
            handle.add_meta_context(context)
        handle.set_export_name(name)
        handle.connect_unix(str(self.socket))
        return handle

    def write(self, *ranges):
        """Write OFFSET, BYTES to the disk."""
        handle = self.connect()
        for offset, size in ranges:
            handle.pwrite(b'x' * size, offset)
        handle.shutdown()

    def add(self, name, node='disk', **more):
        self.qmp.cmd('block-dirty-bitmap-add', node=node, name=name, **more)

    def bitmap(self, command, name, node='disk'):
        return self.qmp.cmd(f'block-dirty-bitmap-{command}', node=node, name=name)

    def error(self, command, **arguments):
        return self.qmp.error(f'block-dirty-bitmap-{command}', **arguments).desc

    def merge(self, target, *bitmaps, node='disk'):
        self.qmp.cmd('block-dirty-bitmap-merge', node=node, target=target, bitmaps=list(bitmaps))

    def infos(self, node='disk'):
        """The named bitmaps of a node."""
        info, = [info for info in self.qmp.cmd('query-named-block-nodes') if info['node-name'] == node]
        return {bitmap['name']: bitmap for bitmap in info.get('dirty-bitmaps', []) if 'name' in bitmap}

    def count(self, name, node='disk'):
        return self.infos(node)[name]['count']

    def sha256(self, name, node='disk'):
        return self.qmp.cmd('x-debug-block-dirty-bitmap-sha256', node=node, name=name)['sha256']

    def transaction(self, *actions):
        return self.qmp.cmd('transaction', actions=[{'type': kind if kind == 'abort' else f'block-dirty-bitmap-{kind}',
                                                     'data': data} for kind, data in actions])

    def undone(self, *actions):
        """A transaction that fails at its end."""
        before = self.infos(), self.infos('other')
        err = self.qmp.error('transaction', actions=[
            *[{'type': f'block-dirty-bitmap-{kind}', 'data': data} for kind, data in actions],
            {'type': 'abort', 'data': {}}])
        assert err.desc == 'Transaction aborted using Abort action'
        assert (self.infos(), self.infos('other')) == before


def arguments(directory):
    return ['--blockdev', f'file,node-name=file,filename={directory}/disk.raw',
            '--blockdev', 'raw,node-name=disk,file=file',
            '--blockdev', f'null-co,node-name=other,size={SIZE}',
            '--nbd-server', f'addr.type=unix,addr.path={directory}/nbd.sock',
            '--export', 'nbd,id=e0,node-name=disk,name=disk,writable=on']


@pytest.fixture(name='disk')
def fixture_disk(tmp_path):
    (tmp_path / 'disk.raw').write_bytes(bytes(SIZE))
    with StorageDaemon(tmp_path, '--object', 'iothread,id=io0', *arguments(tmp_path)[:-1],
                       'nbd,id=e0,node-name=disk,name=disk,writable=on,iothread=io0') as daemon:
        yield Daemon(tmp_path, daemon)


def test_life(disk):
    """Every command once."""
    assert disk.infos() == {}
    disk.add('b0')
    disk.add('fine', granularity=512, persistent=False, disabled=True)
    assert disk.infos() == {
        'b0': {'name': 'b0', 'count': 0, 'granularity': 65536, 'recording': True, 'busy': False, 'persistent': False},
        'fine': {'name': 'fine', 'count': 0, 'granularity': 512, 'recording': False, 'busy': False,
                 'persistent': False}}
    disk.write((1 * MiB, 4096))
    assert (disk.count('b0'), disk.count('fine')) == (65536, 0)
    disk.qmp.cmd('block-dirty-bitmap-enable', node='disk', name='fine')
    disk.write((SIZE - 512, 512), (1000, 24))
    assert (disk.count('b0'), disk.count('fine')) == (3 * 65536, 1024)
    disk.bitmap('disable', 'b0')
    assert not disk.infos()['b0']['recording']
    disk.write((2 * MiB, 1 * MiB))
    assert (disk.count('b0'), disk.count('fine')) == (3 * 65536, 1024 + 1 * MiB)
    disk.merge('b0', 'fine')
    assert disk.count('b0') == 3 * 65536 + 1 * MiB
    disk.bitmap('clear', 'fine')
    assert disk.count('fine') == 0
    disk.bitmap('remove', 'fine')
    assert set(disk.infos()) == {'b0'}
    disk.add('fine')


def test_merge_other_node(disk):
    """Also from coarser to finer."""
    disk.write((0, 512))
    disk.add('coarse', granularity=1 * MiB)
    disk.add('sum', node='other', granularity=4096)
    disk.add('tiny', node='other', granularity=512)
    disk.write((3 * MiB + 5, 1), (1 * MiB - 1, 2))
    disk.merge('sum', {'node': 'disk', 'name': 'coarse'}, 'tiny', node='other')
    assert disk.count('sum', 'other') == 3 * MiB
    disk.merge('sum', 'sum', node='other')
    assert disk.count('sum', 'other') == 3 * MiB


@pytest.mark.parametrize('arguments, words', [
    ({'node': 'nope', 'name': 'x'}, ["'nope'"]),
    ({'node': 'disk', 'name': ''}, ['empty']),
    ({'node': 'disk', 'name': 'x' * 1024}, ['too long', '1024', '1023']),
    ({'node': 'disk', 'name': 'b0'}, ['Bitmap already exists: b0']),
    ({'node': 'disk', 'name': 'x', 'granularity': 0}, ['power of 2', '512', 'not 0']),
    ({'node': 'disk', 'name': 'x', 'granularity': 256}, ['power of 2', '512']),
    ({'node': 'disk', 'name': 'x', 'granularity': 4097}, ['power of 2', '4097']),
    ({'node': 'disk', 'name': 'x', 'granularity': 2**31 + 512}, ['power of 2']),
    ({'node': 'disk', 'name': 'x', 'persistent': True}, ["'x'", 'persistent', "'raw'", "'disk'"]),
    ({'node': 'huge', 'name': 'x', 'granularity': 512}, ["'huge'", 'not enough memory']),
])
def test_add_refused(disk, arguments, words):
    disk.qmp.cmd('blockdev-add', driver='null-co', node_name='huge', size=1 << 50)
    disk.add('b0')
    desc = disk.error('add', **arguments)
    assert all(word in desc for word in words), desc
    assert set(disk.infos()) == {'b0'}


def test_bounds(disk):
    disk.add('x' * 1023, granularity=1 << 31)
    disk.add('ü:" \n')
    assert set(disk.infos()) == {'x' * 1023, 'ü:" \n'}
    for i in range(1022):
        disk.add(f'n{i}')
    assert '1024' in disk.error('add', node='disk', name='one-more')
    disk.qmp.cmd('blockdev-add', driver='null-co', node_name='large', size=1 << 42)
    for i in range(3):
        disk.add(f'l{i}', node='large', granularity=512)
    assert 'not enough memory' in disk.error('add', node='large', name='l3', granularity=512)
    disk.bitmap('remove', 'l0', node='large')
    disk.add('l3', node='large', granularity=512)


@pytest.mark.parametrize('command', ['remove', 'clear', 'enable', 'disable'])
def test_unknown(disk, command):
    assert disk.error(command, node='nope', name='b0') == "Node 'nope' not found"
    assert disk.error(command, node='disk', name='nope').startswith("Dirty bitmap 'nope' not found")


def test_merge_refused(disk):
    """If one source is wrong, the target does not change."""
    disk.add('b0')
    disk.add('b1')
    disk.qmp.cmd('blockdev-add', driver='null-co', node_name='small', size=65536)
    disk.add('b2', node='small')
    disk.write((0, 512))
    disk.bitmap('clear', 'b0')
    for bitmaps, words in ((['b1', 'nope'], ["'nope'"]), (['b1', {'node': 'nope', 'name': 'b0'}], ["'nope'"]),
                           (['b1', {'node': 'small', 'name': 'b2'}], ["'b2'", "'small'", '65536', "'disk'", str(SIZE)])):
        desc = disk.error('merge', node='disk', target='b0', bitmaps=bitmaps)
        assert all(word in desc for word in words), desc
    assert 'nope' in disk.error('merge', node='disk', target='nope', bitmaps=['b1'])
    assert disk.count('b0') == 0
    disk.merge('b0')
    assert disk.count('b0') == 0


B0 = {'node': 'disk', 'name': 'b0'}
B1 = {'node': 'disk', 'name': 'b1'}
NEW = {'node': 'disk', 'name': 'new'}
MERGE = {'node': 'disk', 'target': 'b0', 'bitmaps': ['b1']}


@pytest.mark.parametrize('actions', [
    [('add', NEW)],
    [('remove', B0)],
    [('clear', B0)],
    [('enable', B1)],
    [('disable', B0)],
    [('merge', MERGE)],
    [('clear', B0), ('merge', MERGE), ('disable', B0), ('clear', B0), ('remove', B0), ('add', B0)],
    [('add', NEW), ('merge', {'node': 'disk', 'target': 'new', 'bitmaps': ['b0', 'b1']}), ('clear', NEW), ('remove', NEW),
     ('add', NEW), ('disable', NEW)],
    [('merge', {'node': 'other', 'target': 'o', 'bitmaps': [B0, 'o']}), ('clear', B0)],
])
def test_transaction(disk, actions):
    """Undone, everything is as before; committed, it is as if the commands had been given one by one."""
    disk.add('o', node='other')
    disk.add('b0')
    disk.write((0, 512))
    disk.add('b1', disabled=True)
    disk.bitmap('enable', 'b1')
    disk.write((1 * MiB, 512))
    disk.bitmap('disable', 'b1')
    disk.write((2 * MiB, 512))
    assert (disk.count('b0'), disk.count('b1')) == (3 * 65536, 65536)
    digests = disk.sha256('b0'), disk.sha256('b1')
    disk.undone(*actions)
    assert (disk.sha256('b0'), disk.sha256('b1')) == digests
    disk.write((3 * MiB, 512))
    assert (disk.count('b0'), disk.count('b1')) == (4 * 65536, 65536)
    disk.transaction(*actions)
    together = disk.infos(), disk.infos('other')

    for name in list(disk.infos()):
        disk.bitmap('remove', name)
    disk.bitmap('clear', 'o', node='other')
    disk.add('b0')
    disk.write((0, 512))
    disk.add('b1')
    disk.write((1 * MiB, 512))
    disk.bitmap('disable', 'b1')
    disk.write((2 * MiB, 512), (3 * MiB, 512))
    for kind, data in actions:
        disk.qmp.cmd_raw(f'block-dirty-bitmap-{kind}', data)
    assert (disk.infos(), disk.infos('other')) == together


def test_transaction_fails_in_the_middle(disk):
    disk.add('b0')
    disk.write((0, 512))
    before = disk.infos()
    for wrong in (('remove', {'node': 'disk', 'name': 'nope'}), ('add', B0), ('add', {**NEW, 'granularity': 3}),
                  ('merge', {'node': 'disk', 'target': 'b0', 'bitmaps': ['nope']})):
        err = disk.qmp.error('transaction', actions=[
            {'type': f'block-dirty-bitmap-{kind}', 'data': data}
            for kind, data in (('clear', B0), ('disable', B0), ('add', NEW), wrong, ('remove', B0))])
        assert err.desc
        assert disk.infos() == before
    err = disk.qmp.error('transaction', properties={'completion-mode': 'grouped'},
                         actions=[{'type': 'block-dirty-bitmap-clear', 'data': B0}])
    assert 'block-dirty-bitmap-clear' in err.desc


def slow_disk(directory, seconds=2):
    """A node whose writes take SECONDS each, exported as disk, and a second monitor."""
    return StorageDaemon(directory, '--blockdev', f'null-aio,node-name=disk,size={SIZE},latency-ns={seconds}000000000',
                         '--blockdev', f'null-co,node-name=other,size={SIZE}',
                         '--nbd-server', f'addr.type=unix,addr.path={directory}/nbd.sock',
                         '--export', 'nbd,id=e0,node-name=disk,name=disk,writable=on',
                         '--chardev', f'socket,id=qmp1,path={directory}/qmp1.sock,server=on,wait=off',
                         '--monitor', 'qmp1')


@pytest.mark.threads
def test_transaction_that_waits(tmp_path):
    """While it waits for a write, its bitmaps belong to it; undone, they have what was written meanwhile."""
    with slow_disk(tmp_path) as daemon:
        disk = Daemon(tmp_path, daemon)
        disk.add('b0')
        disk.add('o', node='other')
        handle = disk.connect()
        other = Qmp(tmp_path / 'qmp1.sock')
        cookie = handle.aio_pwrite(nbd.Buffer.from_bytearray(b'x' * 512), 1 * MiB)
        time.sleep(0.2)
        started = time.monotonic()
        other.send({'execute': 'transaction', 'arguments': {'actions': [
            {'type': 'block-dirty-bitmap-clear', 'data': {'node': 'other', 'name': 'o'}},
            {'type': 'block-dirty-bitmap-remove', 'data': {'node': 'other', 'name': 'o'}},
            {'type': 'block-dirty-bitmap-clear', 'data': B0},
            {'type': 'abort', 'data': {}}]}})
        time.sleep(0.2)
        # What is removed in the transaction is gone for others, but its name is not free.
        assert 'not found' in disk.error('clear', node='other', name='o')
        assert 'already exists' in disk.error('add', node='other', name='o')
        for command in ('clear', 'remove', 'disable', 'enable'):
            assert 'transaction' in disk.error(command, **B0)
        assert 'Abort' in other.answer()['error']['desc']
        assert time.monotonic() - started > 1
        while not handle.aio_command_completed(cookie):
            handle.poll(-1)
        assert disk.count('b0') == 65536
        assert disk.count('o', 'other') == 0
        disk.bitmap('clear', 'b0')
        other.close()
        handle.shutdown()


@pytest.mark.slow
@pytest.mark.parametrize('action', [
    {'type': 'block-dirty-bitmap-clear', 'data': B0},
    {'type': 'blockdev-backup', 'data': {'job-id': 'j', 'device': 'disk', 'target': 'target', 'sync': 'full'}},
])
def test_transaction_that_waits_too_long(tmp_path, action):
    """A node whose requests do not end makes the transaction fail, and the users of other nodes go on."""
    with slow_disk(tmp_path, 60) as daemon:
        disk = Daemon(tmp_path, daemon)
        disk.qmp.cmd('blockdev-add', driver='null-co', node_name='target', size=SIZE)
        disk.qmp.cmd('block-export-add', type='nbd', id='e1', node_name='other', name='other', writable=True)
        disk.add('b0')
        disk.add('o', node='other')
        hanging, writer = disk.connect(), disk.connect('other')
        hanging.aio_pwrite(nbd.Buffer.from_bytearray(b'x' * 512), 0)
        writer.pwrite(b'x' * 512, 0)
        time.sleep(0.2)
        other = Qmp(tmp_path / 'qmp1.sock')
        other.send({'execute': 'transaction', 'arguments': {'actions': [
            {'type': 'block-dirty-bitmap-clear', 'data': {'node': 'other', 'name': 'o'}}, action]}})
        time.sleep(0.2)
        started = time.monotonic()
        writer.pwrite(b'x' * 512, MiB)
        assert 5 < time.monotonic() - started < 15
        assert "Node 'disk' cannot be drained" in other.answer()['error']['desc']
        assert disk.count('o', 'other') == 2 * 65536
        assert disk.qmp.cmd('query-jobs') == []
        other.close()
        writer.shutdown()


def test_same_bits_as_qemu(tmp_path, disk):
    """Digests and counts of Debian's storage daemon, after the same commands and writes."""
    theirs_dir = tmp_path / 'theirs'
    theirs_dir.mkdir()
    (theirs_dir / 'disk.raw').write_bytes(bytes(SIZE))
    with StorageDaemon(theirs_dir, *arguments(theirs_dir), program=DEBIAN_QSD) as daemon:
        theirs = Daemon(theirs_dir, daemon)
        for both in (disk, theirs):
            both.add('fine', granularity=512)
            both.add('b0')
            both.add('coarse', granularity=1 * MiB)
            both.write((0, 1), (700, 5000), (1 * MiB - 1, 2), (SIZE - 10, 10), (2 * MiB + 100, 300000))
            both.add('sum', granularity=4096, disabled=True)
            both.merge('sum', 'fine', 'b0')
            both.transaction(('clear', B0), ('add', NEW), ('merge', {**MERGE, 'bitmaps': ['coarse']}))
            both.write((3 * MiB, 512))
        names = 'fine', 'b0', 'coarse', 'sum', 'new'
        assert [disk.sha256(name) for name in names] == [theirs.sha256(name) for name in names]
        assert disk.infos() == theirs.infos()
        for arguments_ in ({'node': 'disk', 'name': 'b0'}, {'node': 'disk', 'name': ''}):
            assert disk.error('add', **arguments_).splitlines()[0] == theirs.error('add', **arguments_).splitlines()[0]


def test_survival(tmp_path):
    """Bitmaps survive changes of their node, and grow with it; they go with it."""
    image = tmp_path / 'a.luks'
    secret = secret_object(tmp_path, 's0', b'pw')
    qemu_img('create', '-q', '-f', 'luks', *secret, '-o', 'key-secret=s0,iter-time=10', image, 1 * MiB)
    with StorageDaemon(tmp_path, *secret, '--blockdev', f'file,node-name=file,filename={image}',
                       '--blockdev', 'luks,node-name=disk,file=file,key-secret=s0',
                       '--nbd-server', f'addr.type=unix,addr.path={tmp_path}/nbd.sock',
                       '--export', 'nbd,id=e0,node-name=disk,name=disk,writable=on') as daemon:
        disk = Daemon(tmp_path, daemon)
        disk.add('b0')
        disk.add('old', disabled=True)
        disk.write((0, 512))
        luks = {'driver': 'luks', 'node-name': 'disk', 'file': 'file', 'key-secret': 's0'}
        disk.qmp.cmd('blockdev-reopen', options=[{**luks, 'discard': 'unmap'}])
        assert (disk.count('b0'), disk.count('old')) == (65536, 0)
        disk.write((65536, 512))
        disk.qmp.cmd('block_resize', node_name='disk', size=2 * MiB)
        assert (disk.count('b0'), disk.count('old')) == (2 * 65536 + 1 * MiB, 1 * MiB)
        disk.qmp.cmd('block-export-del', id='e0', mode='hard')
        disk.qmp.wait_event('BLOCK_EXPORT_DELETED', id='e0')
        for active in (False, True):
            disk.qmp.cmd('blockdev-set-active', node_name='disk', active=active)
            assert (disk.count('b0'), disk.count('old')) == (2 * 65536 + 1 * MiB, 1 * MiB)
        disk.qmp.cmd('block_resize', node_name='disk', size=65536 + 512)
        assert disk.count('b0') == 65536 + 512
        disk.qmp.cmd('blockdev-del', node_name='disk')
        disk.qmp.cmd('blockdev-add', **{name.replace('-', '_'): value for name, value in luks.items()})
        assert disk.infos() == {}


@pytest.mark.threads
def test_while_writing(disk):
    """Commands and transactions while a client writes: whatever is written after the last clear is dirty."""
    disk.add('b0', granularity=4096)
    fio = subprocess.Popen(['fio', '--name=t', '--ioengine=nbd', f'--uri=nbd+unix:///disk?socket={disk.socket}',
                            '--rw=randwrite', '--bs=4k', '--iodepth=16', f'--size={SIZE}', '--time_based', '--runtime=3'],
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=disk.directory)
    rounds = 0
    while fio.poll() is None:
        disk.add('b1')
        disk.transaction(('clear', B0), ('disable', B1), ('enable', B1), ('add', NEW), ('merge', MERGE))
        disk.transaction(('clear', B0), ('remove', B1), ('remove', NEW))
        disk.qmp.error('transaction', actions=[{'type': 'block-dirty-bitmap-clear', 'data': B0},
                                               {'type': 'block-dirty-bitmap-disable', 'data': B0},
                                               {'type': 'block-dirty-bitmap-add', 'data': B0}])
        disk.merge('b0', 'b0')
        rounds += 1
    assert fio.wait() == 0, fio.stdout.read().decode()
    assert rounds > 5
    disk.bitmap('clear', 'b0')
    disk.write((4096, 4096))
    assert disk.count('b0') == 4096
