"""How mirrors end: errors, targets that die or hang, shutdown, job-finalize.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import contextlib
import signal
import subprocess
import threading
import time

import pytest

from mirrors import MiB, SIZE, conclude, exported_node, fill, mirror_daemon, source_daemon, start_mirror
from nbd_server import DEBIAN_QEMU_NBD, is_listening, wait_until
from programs import qemu_img, qemu_io
from qmp import StorageDaemon
from writer import Writer, connect, writers

pytestmark = pytest.mark.threads


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
        self.process.send_signal(how)
        if how == signal.SIGKILL:
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
            assert error == "Node 'target' does not answer: the copy is not complete"
            assert qmp.wait_event('BLOCK_JOB_COMPLETED')['data']['error'] == error
        writer.join(20)
        assert not writer.is_alive()
        check_source(tmp_path, qmp)
        with at_most(2):
            qmp.cmd('blockdev-del', node_name='target')


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
        with at_most(2):
            qmp.cmd('quit')
            status, errors = daemon.wait()
        assert status == 0, errors
        writer.join(10)


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
        with at_most(2):
            if how == 'quit':
                qmp.cmd('quit')
            else:
                daemon.process.send_signal(signal.SIGTERM)
            status, errors = daemon.wait()
        assert status == 0, errors
        writer.join(10)


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
        qmp.cmd('job-complete' if finalize else 'job-finalize', id='m0')
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
        with at_most(1):
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


@MODES
def test_finalize(tmp_path, mode):
    """While the job is pending, clients write on, and it is all there after the switch."""
    with mirror_daemon(tmp_path) as daemon:
        qmp = daemon.qmp
        with writers(tmp_path, SIZE) as threads:
            start_mirror(qmp, ready=True, copy_mode=mode, auto_finalize=False)
            qmp.cmd('job-complete', id='m0')
            qmp.wait_event('BLOCK_JOB_PENDING')
            before = [thread.writes for thread in threads]
            wait_until(lambda: all(t.error or t.writes > n + 20 for t, n in zip(threads, before)), 'writes')
            assert exported_node(qmp) != 'target'
            qmp.cmd('job-finalize', id='m0')
            assert conclude(qmp) is None
            assert exported_node(qmp) == 'target'


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
        with at_most(2):
            assert daemon.wait()[0] == 0


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
