"""Pull backups: a client reads the old state through snapshot-access, while others write.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import json
import re
import signal
import time

import nbd
import pytest

from disks import MIB, SIZE, Disks, is_completed
from nbd_peer import Nbdkit
from nbd_server import wait_until
from programs import SOURCE_DIR, freeze, qemu_img
from qmp import StorageDaemon

pytestmark = pytest.mark.threads


class Pull(Disks):
    """The export 'top' is on a raw node above the disk 'a', which copy-before-write can be inserted below."""

    def add_top(self):
        before = self.add('a', export=False)
        self.qmp.cmd('blockdev-add', driver='raw', node_name='top', file='a')
        self.export('top', writable=True)
        return before

    def insert(self, **options):
        """Insert the filter, and export the old state as 'old'."""
        self.qmp.cmd('blockdev-add', driver='copy-before-write', node_name='cbw', file='a', target='a-target', **options)
        self.reopen_top('cbw')
        self.qmp.cmd('blockdev-add', driver='snapshot-access', node_name='old', file='cbw')
        self.export('old')

    def reopen_top(self, file):
        self.qmp.cmd('blockdev-reopen', options=[{'driver': 'raw', 'node-name': 'top', 'file': file}])

    def remove(self):
        self.qmp.cmd('block-export-del', id='old', mode='hard')
        self.qmp.wait_event('BLOCK_EXPORT_DELETED', id='old')
        self.qmp.cmd('blockdev-del', node_name='old')
        self.reopen_top('a')
        self.qmp.cmd('blockdev-del', node_name='cbw')


@pytest.fixture(name='disks')
def fixture_disks(tmp_path):
    with StorageDaemon(tmp_path) as daemon:
        yield Pull(tmp_path, daemon)


def read_all(client):
    return b''.join(bytes(client.pread(4 * MIB, offset)) for offset in range(0, SIZE, 4 * MIB))


def test_read_while_writing(disks):
    """The old state stays the same, also for a reader of parts that are being written."""
    before = disks.add_top()
    disks.insert()
    client = disks.connect('old')
    with disks.fio('top', '--loops=2') as fio:
        while fio.poll() is None:
            assert read_all(client) == before
        output = fio.stdout.read().decode()
    assert fio.returncode == 0, output
    assert read_all(client) == before
    assert disks.content('a') != before
    with pytest.raises(nbd.Error):
        client.pwrite(bytes(512), 0)
    disks.remove()
    disks.qmp.cmd('blockdev-del', node_name='a-target')
    disks.connect('top').pwrite(bytes(MIB), 0)


@pytest.mark.parametrize('pause', [False, True])
def test_job_without_copying(disks, pause):
    """sync=none inserts the filter above a node that is exported, and removes it when it is cancelled."""
    before = disks.add('a')
    disks.start(sync='none', filter_node_name='cbw')
    disks.qmp.cmd('blockdev-add', driver='snapshot-access', node_name='old', file='cbw')
    disks.export('old')
    client, writer = disks.connect('old'), disks.connect('a')
    writer.pwrite(bytes(3 * MIB), MIB)
    writer.zero(MIB, 7 * MIB)
    writer.trim(MIB, 9 * MIB)
    assert read_all(client) == before
    assert disks.content('a-target')[MIB:4 * MIB] == before[MIB:4 * MIB]
    assert disks.content('a-target')[10 * MIB:] == bytes(6 * MIB)
    if pause:
        disks.qmp.cmd('job-pause', id='j')
        disks.qmp.wait_event('JOB_STATUS_CHANGE', id='j', status='paused')
    disks.qmp.cmd('block-job-cancel', device='j', force=pause)
    disks.qmp.wait_event('BLOCK_JOB_CANCELLED', device='j')
    disks.qmp.wait_event('JOB_STATUS_CHANGE', id='j', status='null')
    # Reading the old state fails; it never shows anything newer.
    with pytest.raises(nbd.Error):
        client.pread(512, 0)
    writer.pwrite(b'x' * MIB, 0)
    assert disks.content('a')[:MIB] == b'x' * MIB


def extents(client):
    """Block status of the export: [(length, flags)], merged."""
    result = []

    def add(_context, _offset, entries, _error):
        for length, flags in zip(entries[::2], entries[1::2]):
            if result and result[-1][1] == flags:
                result[-1] = (result[-1][0] + length, flags)
            else:
                result.append((length, flags))
    offset = 0
    while offset < SIZE:
        client.block_status(SIZE - offset, offset, add)
        offset = sum(length for length, _ in result)
    return result


def test_block_status(disks):
    """Holes of the old state are reported, wherever its data is now."""
    disks.add_top()
    with open(disks.path('a'), 'r+b') as file:
        file.truncate(0)
        file.truncate(SIZE)
        file.seek(4 * MIB)
        file.write(b'x' * MIB)
    disks.insert()
    client, writer = disks.connect('old'), disks.connect('top')
    hole = nbd.STATE_HOLE | nbd.STATE_ZERO
    expected = [(4 * MIB, hole), (MIB, 0), (11 * MIB, hole)]
    assert extents(client) == expected
    writer.pwrite(b'y' * (2 * MIB), 6 * MIB)
    writer.zero(MIB, 4 * MIB)
    assert extents(client) == expected


def test_bitmap(disks):
    """Only what the bitmap marks is preserved, and can be read."""
    before = disks.add_top()
    disks.qmp.cmd('block-dirty-bitmap-add', node='a', name='b')
    writer = disks.connect('top')
    writer.pwrite(b'1' * MIB, 5 * MIB)
    disks.insert(bitmap={'node': 'a', 'name': 'b'})
    client = disks.connect('old')
    writer.pwrite(b'2' * (4 * MIB), 4 * MIB)
    assert client.pread(MIB, 5 * MIB) == b'1' * MIB
    for offset in (0, 5 * MIB - 512, 6 * MIB):
        with pytest.raises(nbd.Error):
            client.pread(MIB, offset)
    assert disks.content('a-target') == bytes(5 * MIB) + b'1' * MIB + bytes(10 * MIB)
    assert disks.content('a')[8 * MIB:] == before[8 * MIB:]
    disks.add_target('b')
    error = disks.qmp.error('blockdev-add', driver='copy-before-write', node_name='c', file='a', target='b-target',
                            bitmap={'node': 'a', 'name': 'nope'})
    assert "'nope' not found" in error.desc


@pytest.mark.parametrize('policy', ['break-guest-write', 'break-snapshot'])
def test_timeout(disks, policy):
    """With a target that hangs, writes take at most cbw-timeout; then either they fail, or the old state is lost."""
    disks.add_top()
    disks.qmp.cmd('blockdev-del', node_name='a-target')
    with Nbdkit(disks.directory, 'memory', SIZE) as server:
        disks.add_nbd_target('a', server)
        disks.insert(cbw_timeout=1, on_cbw_error=policy)
        client, writer = disks.connect('old'), disks.connect('top')
        freeze(server.process.pid)
        start = time.monotonic()
        if policy == 'break-guest-write':
            with pytest.raises(nbd.Error):
                writer.pwrite(bytes(512), 0)
            assert time.monotonic() - start > 0.9
            server.process.send_signal(signal.SIGCONT)
            writer.pwrite(bytes(512), 0)
            assert client.pread(512, 0) != bytes(512)
        else:
            writer.pwrite(bytes(512), 0)
            assert 0.9 < time.monotonic() - start < 5
            start = time.monotonic()
            writer.pwrite(bytes(MIB), 5 * MIB)
            assert time.monotonic() - start < 0.9
            with pytest.raises(nbd.Error):
                client.pread(512, 8 * MIB)
        assert disks.content('a')[:512] == bytes(512)
        disks.remove()


def test_client_gone(disks):
    """A client that disconnects while its write waits for a copy: the old data is not lost."""
    before = disks.add_top()
    disks.qmp.cmd('blockdev-del', node_name='a-target')
    with Nbdkit(disks.directory, 'memory', SIZE) as server:
        disks.add_nbd_target('a', server)
        disks.insert()
        freeze(server.process.pid)
        writer = disks.connect('top')
        for i in range(8):
            writer.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(MIB)), i * MIB)
        assert not is_completed(writer, 1, 0.5)
        del writer
        time.sleep(0.5)
        server.process.send_signal(signal.SIGCONT)
        assert read_all(disks.connect('old')) == before
        disks.connect('top').pwrite(bytes(MIB), 0)
        assert read_all(disks.connect('old')) == before


@pytest.mark.parametrize('case', ['waiting', 'gone', 'reader'])
def test_quit_with_hanging_target(disks, case):
    """Nobody will read the old state, so the end does not wait for a copy to a target that hangs."""
    disks.add_top()
    disks.qmp.cmd('blockdev-del', node_name='a-target')
    with Nbdkit(disks.directory, 'memory', SIZE) as server:
        disks.add_nbd_target('a', server)
        disks.insert()
        writer = disks.connect('top')
        freeze(server.process.pid)
        write = writer.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(MIB)), 0)
        assert not is_completed(writer, write, 0.5)
        if case == 'gone':
            del writer
            time.sleep(0.5)
        elif case == 'reader':
            reader = disks.connect('old')
            reader.aio_pread(nbd.Buffer(MIB), 0)
            time.sleep(0.2)
        start = time.monotonic()
        disks.qmp.cmd('quit')
        disks.daemon.wait()
        assert time.monotonic() - start < 3
        server.process.send_signal(signal.SIGCONT)


def test_wrong_nodes(disks):
    disks.add_top()
    error = disks.qmp.error
    assert "'a' is not a copy-before-write node" in error('blockdev-add', driver='snapshot-access', node_name='s',
                                                          file='a').desc
    cbw = {'driver': 'copy-before-write', 'node_name': 'c', 'file': 'a'}
    assert 'same node' in error('blockdev-add', **{**cbw, 'file': 'a-target'}, target='a-target').desc
    disks.add_target('small', size=SIZE // 2)
    assert 'must have' in error('blockdev-add', **cbw, target='small-target').desc
    assert 'min-cluster-size' in error('blockdev-add', **cbw, target='a-target', min_cluster_size=1000).desc
    # A job's filter above the filter does not change what snapshot-access shows, nor does a second filter.
    disks.insert()
    disks.add_target('b')
    writer, client = disks.connect('top'), disks.connect('old')
    before = read_all(client)
    disks.qmp.cmd('blockdev-backup', job_id='j', device='cbw', target='b-target', sync='full', speed=1)
    writer.pwrite(bytes(MIB), 0)
    assert read_all(client) == before
    disks.qmp.cmd('job-cancel', id='j')
    disks.qmp.wait_event('JOB_STATUS_CHANGE', id='j', status='null')
    assert read_all(client) == before
    disks.remove()


def test_backup_of_the_old_state(disks):
    """A job can copy from a snapshot-access node."""
    before = disks.add_top()
    disks.insert()
    disks.add_target('b')
    writer = disks.connect('top')
    writer.pwrite(bytes(MIB), 0)
    disks.qmp.cmd('blockdev-backup', job_id='j', device='old', target='b-target', sync='full')
    disks.wait()
    assert disks.content('b-target') == before
    wait_until(lambda: not disks.qmp.cmd('query-jobs'), 'the end of the job')
    disks.remove()


def documented_commands():
    """The blocks of QMP commands in docs/backup.md, each a list."""
    text = (SOURCE_DIR / 'docs' / 'backup.md').read_text()
    decoder = json.JSONDecoder()
    for block in re.findall('```json\n(.*?)```', text, re.DOTALL):
        commands = []
        while block := block.strip():
            command, end = decoder.raw_decode(block)
            commands.append(command)
            block = block[end:]
        yield commands


def execute(qmp, commands):
    for command in commands:
        qmp.cmd_raw(command['execute'], command['arguments'])
        if command['execute'] == 'blockdev-create':
            qmp.wait_event('JOB_STATUS_CHANGE', id='create', status='concluded')
        elif command['execute'] == 'block-export-del':
            qmp.wait_event('BLOCK_EXPORT_DELETED')
        elif command['execute'] == 'job-cancel':
            qmp.wait_event('JOB_STATUS_CHANGE', id=command['arguments']['id'], status='null')


def test_documentation(tmp_path, monkeypatch):
    """The commands in the documentation work in that order."""
    monkeypatch.chdir(tmp_path)
    size = 1 << 30
    for name in ('disk', 'full'):
        with open(tmp_path / f'{name}.img', 'wb') as file:
            file.truncate(size)
    with StorageDaemon(tmp_path, '--blockdev', 'file,node-name=disk,filename=disk.img',
                       '--blockdev', 'file,node-name=full,filename=full.img') as daemon:
        disks = Disks(tmp_path, daemon)
        disks.export('disk', writable=True)
        client = disks.connect('disk')
        client.pwrite(b'x' * MIB, MIB)
        first, start, end = documented_commands()
        execute(disks.qmp, first)
        disks.wait('full')
        execute(disks.qmp, start)
        client.pwrite(b'y' * (2 * MIB), 0)
        qemu_img('convert', '-f', 'raw', '-O', 'raw', disks.uri('old'), 'backup.img')
        execute(disks.qmp, end)
        client.pwrite(b'z' * MIB, 0)
    assert qemu_img('compare', '-f', 'raw', '-F', 'raw', 'backup.img', 'full.img').returncode == 0
