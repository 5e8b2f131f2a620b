"""blockdev-backup and the filter copy-before-write: the target shows the source at one point in time.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import random
import signal
import subprocess
import threading
import time

import nbd
import pytest

from nbd_peer import Nbdkit
from nbd_server import wait_until
from qmp import StorageDaemon

pytestmark = pytest.mark.threads

MIB = 1 << 20
KIB = 1 << 10
SIZE = 16 * MIB


class Disks:
    """A daemon with disks of random content, exported writable at NAME, each with a target node NAME-target."""

    def __init__(self, directory, daemon):
        self.directory = directory
        self.qmp = daemon.qmp
        self.daemon = daemon
        self.qmp.cmd('nbd-server-start', addr={'type': 'unix', 'data': {'path': f'{directory}/nbd.sock'}})

    def path(self, name):
        return self.directory / f'{name}.img'

    def add(self, name, export=True, target=True):
        """A disk; returns its content."""
        content = random.Random(name).randbytes(SIZE)
        self.path(name).write_bytes(content)
        self.add_file(name)
        if export:
            self.export(name, writable=True)
        if target:
            self.add_target(name)
        return content

    def add_file(self, name, **options):
        self.qmp.cmd('blockdev-add', driver='file', node_name=name, filename=str(self.path(name)), **options)

    def add_target(self, name, size=SIZE):
        with open(self.path(f'{name}-target'), 'wb') as file:
            file.truncate(size)
        self.add_file(f'{name}-target')

    def add_nbd_target(self, name, server, **options):
        self.qmp.cmd('blockdev-add', driver='nbd', node_name=f'{name}-target',
                     server={'type': 'unix', 'path': str(server.socket)}, **options)

    def export(self, name, **options):
        self.qmp.cmd('block-export-add', type='nbd', id=name, node_name=name, name=name, **options)

    def uri(self, name):
        return f'nbd+unix:///{name}?socket={self.directory}/nbd.sock'

    def connect(self, name):
        handle = nbd.NBD()
        handle.add_meta_context('base:allocation')
        handle.connect_uri(self.uri(name))
        return handle

    def start(self, name='a', job='j', **options):
        self.qmp.cmd('blockdev-backup', **{'job_id': job, 'device': name, 'target': f'{name}-target', 'sync': 'full',
                                           **options})

    def wait(self, job='j', error=None):
        """Wait for the end of a job, which fails with ERROR in its message, or succeeds."""
        event = self.qmp.wait_event('BLOCK_JOB_COMPLETED', device=job)['data']
        assert event['type'] == 'backup'
        if error:
            assert error in event['error']
        else:
            assert 'error' not in event and event['offset'] == event['len']
        self.qmp.wait_event('JOB_STATUS_CHANGE', id=job, status='null')

    def content(self, name):
        return self.path(name).read_bytes()

    def fio(self, name, *args):
        return subprocess.Popen(['fio', '--name=t', '--ioengine=nbd', f'--uri={self.uri(name)}', '--rw=randwrite',
                                 '--bsrange=512-128k', '--iodepth=16', f'--size={SIZE}', '--verify=crc32c',
                                 '--do_verify=1', '--randrepeat=0', *args],
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=self.directory)


@pytest.fixture(name='disks')
def fixture_disks(tmp_path):
    with StorageDaemon(tmp_path) as daemon:
        yield Disks(tmp_path, daemon)


def is_completed(client, cookie, seconds):
    """Whether a request of CLIENT has succeeded within this time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if client.aio_command_completed(cookie):
            return True
        client.poll(10)
    return False


class Writer(threading.Thread):
    """Writes to disks one after the other, and remembers the writes in order."""

    def __init__(self, disks, *names):
        super().__init__(daemon=True)
        self._handles = {name: disks.connect(name) for name in names}
        self._random = random.Random(7)
        self._stopping = threading.Event()
        self.writes = []
        self.error = None

    def run(self):
        try:
            while not self._stopping.is_set():
                for name, handle in self._handles.items():
                    length = self._random.randrange(1, 200) * 512
                    offset = self._random.randrange(0, SIZE - length, 512)
                    data = self._random.randbytes(length)
                    self.writes.append((name, offset, data))
                    handle.pwrite(data, offset)
        except nbd.Error as err:
            self.error = err

    def wait_for(self, count):
        """Wait for COUNT more writes."""
        end = len(self.writes) + count
        while len(self.writes) < end:
            assert self.is_alive(), self.error

    def stop(self):
        self._stopping.set()
        self.join()
        assert not self.error

    def is_state(self, before, states, first):
        """Whether STATES, by disk, are what the disks had after some number of writes, at least FIRST."""
        now = {name: bytearray(content) for name, content in before.items()}
        for i, (name, offset, data) in enumerate(self.writes):
            if i >= first and now == states:
                return True
            now[name][offset:offset + len(data)] = data
        return now == states


def test_point_in_time(disks):
    """A target has what its source had after the last write before the job, and none of those after."""
    before = disks.add('a')
    writer = Writer(disks, 'a')
    writer.start()
    writer.wait_for(20)
    first = len(writer.writes) - 1
    disks.start(speed=64 * MIB)
    writer.wait_for(50)
    disks.wait()
    writer.wait_for(20)
    writer.stop()
    assert writer.is_state({'a': before}, {'a': disks.content('a-target')}, first)
    assert not writer.is_state({'a': before}, {'a': disks.content('a-target')}, first + 60)
    assert writer.is_state({'a': before}, {'a': disks.content('a')}, len(writer.writes))


def test_fio(disks):
    """fio writes and verifies during the backup."""
    before = disks.add('a')
    disks.start(speed=1)
    with disks.fio('a') as fio:
        output = fio.communicate()[0].decode()
    assert fio.returncode == 0, output
    disks.qmp.cmd('block-job-set-speed', device='j', speed=0)
    disks.wait()
    assert disks.content('a-target') == before
    assert disks.content('a') != before


def test_arguments(disks):
    disks.add('a')
    disks.add_target('small', size=SIZE // 2)
    before = [node['node-name'] for node in disks.qmp.cmd('query-named-block-nodes')]

    def error(**options):
        arguments = {'job_id': 'j', 'device': 'a', 'target': 'a-target', 'sync': 'full', **options}
        return disks.qmp.error('blockdev-backup', **{k: v for k, v in arguments.items() if v is not None}).desc
    assert 'job ID is required' in error(job_id=None)
    assert "Cannot find device='nope'" in error(device='nope')
    assert "Cannot find device='nope'" in error(target='nope')
    assert 'cannot be the same' in error(target='a')
    assert 'different sizes' in error(target='small-target')
    assert "'compress'" in error(compress=True)
    assert "'speed'" in error(speed=-1)
    assert 'max-workers' in error(x_perf={'max-workers': 0})
    assert 'max-chunk' in error(x_perf={'max-chunk': -1})
    assert 'less than backup cluster size (65536)' in error(x_perf={'max-chunk': 4096})
    assert 'min-cluster-size' in error(x_perf={'min-cluster-size': 3 << 16})
    assert "'a-target'" in error(filter_node_name='a-target')
    disks.export('a-target', writable=True)
    assert "export 'a-target'" in error()
    assert disks.qmp.cmd('query-jobs') == []
    assert [node['node-name'] for node in disks.qmp.cmd('query-named-block-nodes')] == before


def test_neighbours(disks):
    """What else can be done with source and target meanwhile; refusals name the job or its filter."""
    disks.add('a')
    disks.add_target('b')
    disks.start(speed=MIB, filter_node_name='f')
    assert "job 'j'" in disks.qmp.error('block_resize', node_name='a', size=2 * SIZE).desc
    assert "'f'" in disks.qmp.error('block_resize', node_name='a-target', size=2 * SIZE).desc
    assert "job 'j'" in disks.qmp.error('blockdev-del', node_name='a').desc
    assert "'f'" in disks.qmp.error('blockdev-del', node_name='a-target').desc
    disks.qmp.error('blockdev-del', node_name='f')
    assert "node 'f'" in disks.qmp.error('block-export-add', type='nbd', id='e', node_name='a-target', name='e',
                                         writable=True).desc
    assert "'f'" in disks.qmp.error('blockdev-backup', job_id='k', device='b-target', target='a-target', sync='full').desc
    # A second backup of the same source.
    disks.qmp.cmd('blockdev-backup', job_id='k', device='a', target='b-target', sync='full')
    disks.wait('k')
    disks.qmp.cmd('block-job-cancel', device='j')
    disks.qmp.wait_event('BLOCK_JOB_CANCELLED', device='j')
    disks.qmp.cmd('block_resize', node_name='a', size=2 * SIZE)


def test_pause_and_cancel(disks):
    before = disks.add('a')
    disks.start(speed=MIB, auto_dismiss=False)
    disks.qmp.cmd('job-pause', id='j')
    disks.qmp.wait_event('JOB_STATUS_CHANGE', id='j', status='paused')
    client = disks.connect('a')
    client.pwrite(bytes(MIB), 5 * MIB)
    assert disks.content('a-target')[5 * MIB:6 * MIB] == before[5 * MIB:6 * MIB]
    disks.qmp.cmd('job-resume', id='j')
    disks.qmp.cmd('job-cancel', id='j')
    disks.qmp.wait_event('BLOCK_JOB_CANCELLED', device='j')
    disks.qmp.wait_event('JOB_STATUS_CHANGE', id='j', status='concluded')
    assert disks.qmp.cmd('query-jobs')[0]['error'] == 'Operation was cancelled'
    disks.qmp.cmd('job-dismiss', id='j')
    client.pwrite(b'x' * MIB, 15 * MIB)
    assert disks.content('a')[15 * MIB:] == b'x' * MIB
    assert disks.content('a-target')[15 * MIB:] == bytes(MIB)
    disks.qmp.cmd('blockdev-del', node_name='a-target')


def test_pending(disks):
    """Until a job is finalized, the source can be written."""
    before = disks.add('a')
    disks.start(auto_finalize=False)
    disks.qmp.wait_event('BLOCK_JOB_PENDING', id='j')
    client = disks.connect('a')
    client.pwrite(bytes(SIZE), 0)
    disks.qmp.cmd('job-finalize', id='j')
    disks.wait()
    client.pwrite(b'x' * 512, 0)
    assert disks.content('a-target') == before
    assert disks.content('a') == b'x' * 512 + bytes(SIZE - 512)


def test_no_space(disks):
    """The job pauses, and goes on after room was made."""
    before = disks.add('a', target=False)
    trigger = disks.directory / 'full'
    with Nbdkit(disks.directory, '--filter=error', 'memory', SIZE, 'error=ENOSPC', 'error-pwrite-rate=100%',
                f'error-file={trigger}') as server:
        disks.add_nbd_target('a', server)
        disks.start(on_target_error='enospc', speed=8 * MIB)
        trigger.touch()
        event = disks.qmp.wait_event('BLOCK_JOB_ERROR', device='j')['data']
        assert event == {'device': 'j', 'operation': 'write', 'action': 'stop'}
        disks.qmp.wait_event('JOB_STATUS_CHANGE', id='j', status='paused')
        assert disks.qmp.cmd('query-block-jobs')[0]['io-status'] == 'nospace'
        trigger.unlink()
        disks.qmp.cmd('block-job-resume', device='j')
        disks.wait()
        disks.export('a-target')
        client = disks.connect('a-target')
        assert client.pread(SIZE, 0) == before


@pytest.mark.parametrize('policy', ['break-guest-write', 'break-snapshot'])
def test_failing_target(disks, policy):
    """Either the write fails, and succeeds later, or the job."""
    disks.add('a', target=False)
    trigger = disks.directory / 'broken'
    with Nbdkit(disks.directory, '--filter=error', 'memory', SIZE, 'error=EIO', 'error-pwrite-rate=100%',
                f'error-file={trigger}') as server:
        disks.add_nbd_target('a', server)
        disks.start(on_cbw_error=policy, on_target_error='stop', speed=1)
        wait_until(lambda: disks.qmp.cmd('query-block-jobs')[0]['offset'], 'the first piece')
        trigger.touch()
        client = disks.connect('a')
        if policy == 'break-guest-write':
            with pytest.raises(nbd.Error):
                client.pwrite(bytes(512), 15 * MIB)
            trigger.unlink()
            client.pwrite(bytes(512), 15 * MIB)
            disks.qmp.cmd('block-job-set-speed', device='j', speed=0)
            disks.wait()
        else:
            client.pwrite(bytes(512), 15 * MIB)
            disks.wait(error="before a write to 'a'")
            client.pwrite(bytes(512), 14 * MIB)
        disks.qmp.cmd('blockdev-del', node_name='a-target')


@pytest.mark.parametrize('how', ['job-cancel', 'quit', 'SIGTERM'])
def test_hanging_target(disks, how):
    """A target that no longer answers, with writes that wait for it: the job ends at once, and the writes go on."""
    disks.add('a', target=False)
    client = disks.connect('a')
    with Nbdkit(disks.directory, 'memory', SIZE) as server:
        disks.add_nbd_target('a', server, reconnect_delay=60)
        server.process.send_signal(signal.SIGSTOP)
        disks.start()
        write = client.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(MIB)), 15 * MIB)
        assert not is_completed(client, write, 0.5)
        start = time.monotonic()
        if how == 'job-cancel':
            disks.qmp.cmd('job-cancel', id='j')
            disks.qmp.wait_event('BLOCK_JOB_CANCELLED', device='j')
            assert is_completed(client, write, 2)
        elif how == 'quit':
            disks.qmp.cmd('quit')
            disks.daemon.wait()
        else:
            disks.daemon.process.send_signal(signal.SIGTERM)
            disks.daemon.process.wait(timeout=60)
        assert time.monotonic() - start < 3
        if how != 'job-cancel':
            server.process.send_signal(signal.SIGCONT)


def test_dead_target(disks):
    """The job fails, and the source can be written."""
    disks.add('a', target=False)
    with Nbdkit(disks.directory, 'memory', SIZE) as server:
        disks.add_nbd_target('a', server)
        disks.start(speed=MIB)
        server.kill()
        disks.wait(error='error')
        client = disks.connect('a')
        client.pwrite(bytes(MIB), 15 * MIB)
