"""How mirrors end: errors, targets that die or hang, shutdown, job-finalize.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import contextlib
import json
import random
import signal
import subprocess
import threading
import time

import nbd
import pytest

from mirrors import MiB, SIZE, conclude, contents, exported_node, fill, mirror_daemon, source_daemon, start_mirror
from nbd_server import DEBIAN_QEMU_NBD, is_listening, wait_until
from programs import build_option, freeze, qemu_img, qemu_io
from qmp import QmpError, StorageDaemon
from writer import Writer, connect, writers

# How long quit and SIGTERM may take.
END_SECONDS = 1 if build_option('b_sanitize') == 'none' else 5


class Target:
    """A process that serves DIRECTORY/target.img over NBD, and can be stopped."""

    def __init__(self, directory):
        self.socket = directory / 'target.sock'
        qemu_img('create', '-q', '-f', 'raw', directory / 'target.img', SIZE)
        self.process = subprocess.Popen([DEBIAN_QEMU_NBD, '-t', '-f', 'raw', '-k', self.socket, '--discard=unmap',
                                         directory / 'target.img'])
        wait_until(lambda: is_listening(self.socket), 'the target')

    def end(self, how):
        """Kill it, or let it hang."""
        if how == signal.SIGSTOP:
            freeze(self.process.pid)
        else:
            self.process.kill()
            self.process.wait()

    def close(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture(name='target')
def fixture_target(tmp_path):
    target = Target(tmp_path)
    yield target
    target.close()


def target_daemon(directory, target, delay=60):
    return source_daemon(directory, ['--blockdev', f'nbd,node-name=target,server.type=unix,server.path={target.socket},'
                                                   f'reconnect-delay={delay}'])


@contextlib.contextmanager
def at_most(seconds):
    begin = time.monotonic()
    yield
    assert time.monotonic() - begin < seconds


def check_source(directory, qmp, ended=True):
    """The source is exported, and can be written; unless the job has ENDED, through its filter."""
    assert ended == (exported_node(qmp) == 'source')
    handle = connect(directory)
    handle.pwrite(b'still there', 4242)
    assert handle.pread(11, 4242) == b'still there'
    handle.flush()
    handle.shutdown()


def wait_for_writes(threads):
    """Each client has written on, or failed."""
    before = [thread.writes for thread in threads]
    wait_until(lambda: all(t.error or t.writes > n + 20 for t, n in zip(threads, before)), 'writes')


HOW = pytest.mark.parametrize('how', [signal.SIGKILL, signal.SIGSTOP], ids=['dead', 'hung'])
MODES = pytest.mark.parametrize('mode', ['background', 'write-blocking'])


@HOW
@MODES
@pytest.mark.parametrize('command, seconds', [('job-cancel', 2), ('block-job-cancel', 9)])
def test_cancel_ready(tmp_path, target, how, mode, command, seconds):
    """Cancelling works without the target. If it was to leave a consistent copy, the job says that it could not."""
    with target_daemon(tmp_path, target) as daemon:
        qmp = daemon.qmp
        fill(tmp_path)
        start_mirror(qmp, ready=True, copy_mode=mode)
        target.end(how)
        writer = threading.Thread(target=fill, args=[tmp_path, 2])
        writer.start()
        time.sleep(0.3)
        with at_most(seconds):
            qmp.cmd(command, **{'id' if command == 'job-cancel' else 'device': 'm0'})
            error = conclude(qmp)
        if command == 'job-cancel':
            assert error == 'Operation was cancelled'
            qmp.wait_event('BLOCK_JOB_CANCELLED')
        else:
            assert error == "Node 'target' does not respond: the copy is incomplete"
            assert qmp.wait_event('BLOCK_JOB_COMPLETED')['data']['error'] == error
        writer.join(20)
        assert not writer.is_alive()
        check_source(tmp_path, qmp)
        with at_most(2):
            qmp.cmd('blockdev-del', node_name='target')


@pytest.mark.threads
@HOW
def test_cancel_running(tmp_path, target, how):
    with target_daemon(tmp_path, target) as daemon:
        qmp = daemon.qmp
        fill(tmp_path)
        start_mirror(qmp, speed=4 * MiB)
        target.end(how)
        time.sleep(0.5)
        with at_most(2):
            qmp.cmd('job-cancel', id='m0')
            assert conclude(qmp) == 'Operation was cancelled'
        check_source(tmp_path, qmp)


@pytest.mark.threads
@HOW
@MODES
@pytest.mark.parametrize('ready', [True, False])
def test_shutdown(tmp_path, target, how, mode, ready):
    """quit with a target that does not answer, and a client that writes."""
    with target_daemon(tmp_path, target) as daemon:
        qmp = daemon.qmp
        fill(tmp_path)
        start_mirror(qmp, ready=ready, copy_mode=mode, **({} if ready else {'speed': MiB}))
        target.end(how)
        writer = Writer(tmp_path, 1, 0, SIZE)
        writer.start()
        time.sleep(0.3)
        with at_most(END_SECONDS):
            qmp.cmd('quit')
            status, errors = daemon.wait()
        assert status == 0, errors
        writer.join(10)


@HOW
@pytest.mark.parametrize('ready', [True, False])
@pytest.mark.parametrize('command', ['job-cancel', 'quit'])
def test_drive_mirror(tmp_path, target, how, ready, command):
    """The node of the target is the job's own, and is closed with it."""
    options = {'driver': 'nbd', 'server': {'type': 'unix', 'path': str(target.socket)}, 'reconnect-delay': 60}
    with source_daemon(tmp_path, []) as daemon:
        qmp = daemon.qmp
        qmp.cmd('drive-mirror', job_id='m0', device='source', target=f'json:{json.dumps(options)}', sync='full',
                mode='existing', format='raw', auto_dismiss=False, **({} if ready else {'speed': MiB}))
        qmp.wait_event('BLOCK_JOB_READY' if ready else 'JOB_STATUS_CHANGE', **({} if ready else {'status': 'running'}))
        target.end(how)
        writer = threading.Thread(target=fill, args=[tmp_path, 2])
        writer.start()
        writer.join(10)
        with at_most(END_SECONDS):
            if command == 'quit':
                qmp.cmd('quit')
                assert daemon.wait()[0] == 0
                return
            qmp.cmd('job-cancel', id='m0')
            assert conclude(qmp) == 'Operation was cancelled'
        check_source(tmp_path, qmp)
        assert len(qmp.cmd('query-named-block-nodes')) == 1


@pytest.mark.threads
@pytest.mark.parametrize('how', ['quit', 'SIGTERM'])
@pytest.mark.parametrize('ready', [True, False])
def test_shutdown_healthy(tmp_path, how, ready):
    """Nothing that was acknowledged is lost."""
    with mirror_daemon(tmp_path, 'luks', 'luks') as daemon:
        qmp = daemon.qmp
        writer = Writer(tmp_path, 1, 0, SIZE)
        writer.fill()
        start_mirror(qmp, ready=ready, **({} if ready else {'speed': MiB}))
        writer.start()
        wait_until(lambda: writer.writes > 50, 'writes')
        with at_most(END_SECONDS):
            if how == 'quit':
                qmp.cmd('quit')
            else:
                daemon.process.send_signal(signal.SIGTERM)
            status, errors = daemon.wait()
        assert status == 0, errors
        writer.join(10)


@pytest.mark.threads
@MODES
def test_target_dies(tmp_path, target, mode):
    """Without a delay for reconnecting, the job ends at once; clients notice nothing."""
    with target_daemon(tmp_path, target, delay=0) as daemon:
        qmp = daemon.qmp
        with writers(tmp_path, SIZE):
            start_mirror(qmp, ready=True, copy_mode=mode)
            target.end(signal.SIGKILL)
            event = qmp.wait_event('BLOCK_JOB_ERROR')
            assert event['data'] == {'device': 'm0', 'operation': 'write', 'action': 'report'}
            assert 'error while' in conclude(qmp)
            assert 'error' in qmp.wait_event('BLOCK_JOB_COMPLETED')['data']
        check_source(tmp_path, qmp)


@pytest.mark.parametrize('finalize', [True, False])
def test_target_died_unnoticed(tmp_path, target, finalize):
    """Nobody writes, so nothing is sent to the dead target before the switch, except to ask."""
    with target_daemon(tmp_path, target, delay=0) as daemon:
        qmp = daemon.qmp
        start_mirror(qmp, ready=True, auto_finalize=finalize)
        if not finalize:
            qmp.cmd('job-complete', id='m0')
            qmp.wait_event('JOB_STATUS_CHANGE', id='m0', status='pending')
        target.end(signal.SIGKILL)
        try:
            qmp.cmd('job-complete' if finalize else 'job-finalize', id='m0')
        except QmpError as e:
            # It has just noticed.
            assert "in state 'concluded'" in e.desc
        assert 'error while' in conclude(qmp)
        assert 'error' in qmp.wait_event('BLOCK_JOB_COMPLETED')['data']
        assert exported_node(qmp) == 'source'


@pytest.mark.parametrize('policy', ['report', 'stop'])
def test_target_dies_idle(tmp_path, target, policy):
    """Nobody writes or asks for anything, and the job notices."""
    with target_daemon(tmp_path, target, delay=0) as daemon:
        qmp = daemon.qmp
        start_mirror(qmp, ready=True, on_target_error=policy)
        target.end(signal.SIGKILL)
        with at_most(4):
            assert qmp.wait_event('BLOCK_JOB_ERROR')['data']['action'] == policy
        if policy == 'stop':
            qmp.wait_event('JOB_STATUS_CHANGE', status='standby')
            qmp.cmd('job-cancel', id='m0')
            conclude(qmp)
        else:
            assert "error while reading node 'target'" in conclude(qmp)
        check_source(tmp_path, qmp)


@pytest.mark.slow
def test_target_dies_idle_ignored(tmp_path, target):
    """Nobody writes: an error that is ignored is reported once, until the job has something to copy."""
    with target_daemon(tmp_path, target, delay=0) as daemon:
        qmp = daemon.qmp
        start_mirror(qmp, ready=True, on_target_error='ignore')
        target.end(signal.SIGKILL)
        assert qmp.wait_event('BLOCK_JOB_ERROR')['data']['action'] == 'ignore'
        qmp.events.clear()
        time.sleep(5)
        assert qmp.cmd('query-jobs')[0]['status'] == 'ready'
        assert 'BLOCK_JOB_ERROR' not in [event['event'] for event in qmp.events]
        check_source(tmp_path, qmp, ended=False)
        qmp.wait_event('BLOCK_JOB_ERROR')
        qmp.cmd('job-cancel', id='m0')
        conclude(qmp)


@HOW
@pytest.mark.parametrize('command', ['block-job-cancel', 'job-pause', 'quit', 'job-cancel'])
def test_idle(tmp_path, target, how, command):
    """The target has everything, so its silence stops nobody."""
    with target_daemon(tmp_path, target) as daemon:
        qmp = daemon.qmp
        start_mirror(qmp, ready=True)
        target.end(how)
        # The job asks the target meanwhile.
        time.sleep(2.5)
        with at_most(END_SECONDS):
            if command == 'quit':
                qmp.cmd('quit')
                assert daemon.wait()[0] == 0
                return
            qmp.cmd(command, **{'device' if command.startswith('block') else 'id': 'm0'})
            if command == 'job-pause':
                qmp.wait_event('JOB_STATUS_CHANGE', status='standby')
                qmp.cmd('job-resume', id='m0')
                qmp.cmd('block-job-cancel', device='m0')
            assert conclude(qmp) == ('Operation was cancelled' if command == 'job-cancel' else None)
        check_source(tmp_path, qmp)


def test_target_hangs_unnoticed(tmp_path, target):
    """The job does not switch to a target that does not answer; clients go on."""
    with target_daemon(tmp_path, target, delay=0) as daemon:
        qmp = daemon.qmp
        start_mirror(qmp, ready=True)
        target.end(signal.SIGSTOP)
        qmp.cmd('job-complete', id='m0')
        with writers(tmp_path, SIZE):
            assert exported_node(qmp) != 'target'
        qmp.cmd('block-job-cancel', device='m0', force=True)
        conclude(qmp)
        assert exported_node(qmp) == 'source'


def blkdebug(directory, errno):
    """Arguments of a daemon whose target fails one write."""
    qemu_img('create', '-q', '-f', 'raw', directory / 'target.img', SIZE)
    return ['--blockdev', f'file,node-name=target-file,filename={directory}/target.img',
            '--blockdev', 'blkdebug,node-name=target,image=target-file,inject-error.0.event=none,inject-error.0.iotype=write,'
                          f'inject-error.0.errno={errno},inject-error.0.once=on']


def complete_equal(qmp, directory):
    qmp.wait_event('BLOCK_JOB_READY')
    qmp.cmd('job-complete', id='m0')
    assert conclude(qmp) is None
    assert (directory / 'source.img').read_bytes() == (directory / 'target.img').read_bytes()


@pytest.mark.threads
@MODES
@pytest.mark.parametrize('policy', ['stop', 'enospc', 'auto'])
def test_enospc(tmp_path, policy, mode):
    """The job pauses; after resuming it, it completes."""
    with source_daemon(tmp_path, blkdebug(tmp_path, 28)) as daemon:
        qmp = daemon.qmp
        fill(tmp_path)
        start_mirror(qmp, on_target_error=policy, copy_mode=mode)
        event = qmp.wait_event('BLOCK_JOB_ERROR')
        assert event['data'] == {'device': 'm0', 'operation': 'write', 'action': 'stop'}
        qmp.wait_event('JOB_STATUS_CHANGE', status='paused')
        info, = qmp.cmd('query-block-jobs')
        assert (info['io-status'], info['paused']) == ('nospace', True)
        check_source(tmp_path, qmp, ended=False)
        qmp.cmd('block-job-resume', device='m0')
        complete_equal(qmp, tmp_path)


@pytest.mark.parametrize('policy, action', [('report', 'report'), ('enospc', 'report'), ('ignore', 'ignore'), ('stop', 'stop')])
def test_policy(tmp_path, policy, action):
    with source_daemon(tmp_path, blkdebug(tmp_path, 5)) as daemon:
        qmp = daemon.qmp
        fill(tmp_path)
        start_mirror(qmp, on_target_error=policy)
        assert qmp.wait_event('BLOCK_JOB_ERROR')['data']['action'] == action
        if action == 'report':
            assert conclude(qmp).endswith('Input/output error')
            check_source(tmp_path, qmp)
            return
        if action == 'stop':
            qmp.wait_event('JOB_STATUS_CHANGE', status='paused')
            qmp.cmd('job-resume', id='m0')
        complete_equal(qmp, tmp_path)


@pytest.mark.parametrize('policy, action', [('report', 'report'), ('enospc', 'report'), ('ignore', 'ignore'), ('stop', 'stop')])
def test_source_policy(tmp_path, policy, action):
    """The source cannot be read, once."""
    (tmp_path / 'source.img').write_bytes(random.Random(1).randbytes(SIZE))
    qemu_img('create', '-q', '-f', 'raw', tmp_path / 'target.img', SIZE)
    with StorageDaemon(tmp_path, '--blockdev', f'file,node-name=file,filename={tmp_path}/source.img',
                       '--blockdev', 'blkdebug,node-name=source,image=file,inject-error.0.event=none,'
                                     'inject-error.0.iotype=read,inject-error.0.errno=5,inject-error.0.once=on',
                       '--blockdev', f'file,node-name=target,filename={tmp_path}/target.img') as daemon:
        qmp = daemon.qmp
        start_mirror(qmp, on_source_error=policy)
        assert qmp.wait_event('BLOCK_JOB_ERROR')['data'] == {'device': 'm0', 'operation': 'read', 'action': action}
        if action == 'report':
            assert 'error while reading' in conclude(qmp)
            assert 'Input/output error' in qmp.wait_event('BLOCK_JOB_COMPLETED')['data']['error']
            return
        if action == 'stop':
            qmp.wait_event('JOB_STATUS_CHANGE', status='paused')
            assert qmp.cmd('query-block-jobs')[0]['io-status'] == 'failed'
            qmp.cmd('job-resume', id='m0')
        complete_equal(qmp, tmp_path)


@pytest.mark.threads
@pytest.mark.parametrize('policy', ['report', 'stop'])
def test_guest_write_survives(tmp_path, policy):
    """With write-blocking, an error of the target is the job's, not the guest's."""
    with source_daemon(tmp_path, blkdebug(tmp_path, 5)) as daemon:
        qmp = daemon.qmp
        start_mirror(qmp, ready=True, sync='none', copy_mode='write-blocking', on_target_error=policy)
        assert qmp.cmd('query-block-jobs')[0]['actively-synced']
        fill(tmp_path)
        qmp.wait_event('BLOCK_JOB_ERROR')
        if policy == 'report':
            assert 'error while writing' in conclude(qmp)
            return
        qmp.wait_event('JOB_STATUS_CHANGE', status='standby')
        assert not qmp.cmd('query-block-jobs')[0]['actively-synced']
        fill(tmp_path, 3)
        qmp.cmd('job-resume', id='m0')
        wait_until(lambda: qmp.cmd('query-block-jobs')[0]['actively-synced'], 'the copy')
        qmp.cmd('job-complete', id='m0')
        assert conclude(qmp) is None
        assert (tmp_path / 'source.img').read_bytes() == (tmp_path / 'target.img').read_bytes()


@pytest.mark.threads
@MODES
def test_pause(tmp_path, mode):
    """Of a healthy job, before and after it is ready; writers go on."""
    with mirror_daemon(tmp_path) as daemon:
        qmp = daemon.qmp
        with writers(tmp_path, SIZE) as threads:
            start_mirror(qmp, speed=MiB, copy_mode=mode)
            qmp.cmd('job-pause', id='m0')
            qmp.wait_event('JOB_STATUS_CHANGE', status='paused')
            assert 'already paused' in qmp.error('job-pause', id='m0').desc
            qmp.cmd('block-job-set-speed', device='m0', speed=0)
            qmp.cmd('job-resume', id='m0')
            qmp.wait_event('BLOCK_JOB_READY')
            qmp.cmd('block-job-pause', device='m0')
            qmp.wait_event('JOB_STATUS_CHANGE', status='standby')
            assert "in state 'standby'" in qmp.error('job-complete', id='m0').desc
            wait_for_writes(threads)
            qmp.cmd('block-job-resume', device='m0')
        qmp.cmd('job-complete', id='m0')
        assert conclude(qmp) is None
        assert [e['event'] for e in qmp.events].count('BLOCK_JOB_READY') == 0
    assert (tmp_path / 'source.img').read_bytes() == (tmp_path / 'target.img').read_bytes()


@pytest.mark.threads
@MODES
def test_finalize(tmp_path, mode):
    """While the job is pending, clients write on, and it is all there after the switch."""
    with mirror_daemon(tmp_path) as daemon:
        qmp = daemon.qmp
        with writers(tmp_path, SIZE) as threads:
            start_mirror(qmp, ready=True, copy_mode=mode, auto_finalize=False)
            qmp.cmd('job-complete', id='m0')
            qmp.wait_event('BLOCK_JOB_PENDING')
            wait_for_writes(threads)
            assert exported_node(qmp) != 'target'
            qmp.cmd('job-finalize', id='m0')
            assert conclude(qmp) is None
            assert exported_node(qmp) == 'target'


@pytest.mark.threads
def test_cancel_pending(tmp_path):
    with mirror_daemon(tmp_path) as daemon:
        qmp = daemon.qmp
        with writers(tmp_path, SIZE):
            start_mirror(qmp, ready=True, auto_finalize=False)
            qmp.cmd('job-complete', id='m0')
            qmp.wait_event('BLOCK_JOB_PENDING')
            qmp.cmd('job-cancel', id='m0')
            assert conclude(qmp) == 'Operation was cancelled'
            assert exported_node(qmp) == 'source'


@pytest.mark.threads
def test_hung_at_finalize(tmp_path, target):
    """The target hangs while the job is pending: clients go on, and cancelling works."""
    with target_daemon(tmp_path, target) as daemon, contextlib.closing(daemon.qmp):
        qmp = daemon.qmp
        with writers(tmp_path, SIZE):
            start_mirror(qmp, ready=True, auto_finalize=False)
            qmp.cmd('job-complete', id='m0')
            qmp.wait_event('BLOCK_JOB_PENDING')
            target.end(signal.SIGSTOP)
            qmp.send({'execute': 'job-finalize', 'arguments': {'id': 'm0'}})
            time.sleep(0.5)
        check_source_written = connect(tmp_path)
        check_source_written.pwrite(b'x', 0)
        check_source_written.shutdown()
        daemon.process.send_signal(signal.SIGTERM)
        with at_most(END_SECONDS):
            assert daemon.wait()[0] == 0


class FlushingWriter(threading.Thread):
    """Writes and flushes one block after the other, until the connection ends."""

    BLOCK = 4096

    def __init__(self, directory):
        super().__init__(daemon=True)
        self._handle = connect(directory)
        self.flushed = 0

    def block(self, i):
        return i.to_bytes(4, 'little') * (self.BLOCK // 4)

    def run(self):
        with contextlib.suppress(nbd.Error):
            while True:
                self._handle.pwrite(self.block(self.flushed + 1), self.flushed * self.BLOCK % SIZE)
                self._handle.flush()
                self.flushed += 1


@MODES
@pytest.mark.parametrize('ready', [True, False])
@pytest.mark.parametrize('source', ['raw', 'luks'])
def test_killed_with_a_writer(tmp_path, source, ready, mode):
    """What was flushed is in the source."""
    with mirror_daemon(tmp_path, source, 'luks') as daemon:
        start_mirror(daemon.qmp, ready=ready, copy_mode=mode, **({} if ready else {'speed': MiB}))
        writer = FlushingWriter(tmp_path)
        writer.start()
        wait_until(lambda: writer.flushed > 50, 'writes')
        daemon.process.kill()
        daemon.wait()
        daemon.process.returncode = 0
        writer.join(10)
    content = contents(tmp_path, 'source', source)
    last = SIZE // FlushingWriter.BLOCK
    for i in range(max(writer.flushed - last + 1, 0), writer.flushed):
        offset = i * FlushingWriter.BLOCK % SIZE
        assert content[offset:offset + FlushingWriter.BLOCK] == writer.block(i + 1)


def test_killed(tmp_path):
    """A daemon that is killed and started again copies anew."""
    with mirror_daemon(tmp_path) as daemon:
        fill(tmp_path)
        start_mirror(daemon.qmp, speed=4 * MiB)
        time.sleep(0.2)
        daemon.process.kill()
        daemon.wait()
        daemon.process.returncode = 0
    (tmp_path / 'qmp.sock').unlink()
    (tmp_path / 'nbd.sock').unlink()
    nodes = [arg for name in ('source', 'target')
             for arg in ('--blockdev', f'file,node-name={name},filename={tmp_path}/{name}.img')]
    with StorageDaemon(tmp_path, *nodes) as daemon:
        start_mirror(daemon.qmp)
        complete_equal(daemon.qmp, tmp_path)


def test_locked(tmp_path):
    """No other process can write to the file of an encrypted source."""
    with mirror_daemon(tmp_path, 'luks', 'luks') as daemon:
        start_mirror(daemon.qmp, ready=True)
        for name in 'source', 'target':
            done = qemu_io('-f', 'raw', '-c', 'write 0 512', tmp_path / f'{name}.img', status=1)
            assert 'lock' in done.stderr
