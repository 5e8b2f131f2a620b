"""Keys that would take minutes to derive: waiting for one can be ended at any time.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import signal
import subprocess
import time

import pytest

import luks_header
from nbd_server import QEMU_NBD
from programs import QEMU_IMG, cryptsetup, qemu_img, secret_object
from qmp import QSD, Qmp, StorageDaemon

MINUTES = 10**6     # as iter-time, in ms: more than any TIMEOUT of these tests
UNLIMITED = 2**32 - 1
MiB = 1 << 20


@pytest.fixture(name='volume')
def fixture_volume(tmp_path):
    path = tmp_path / 'v.luks'
    qemu_img('create', '-q', '-f', 'luks', *secret_object(tmp_path, 's', b'pw'), '-o', 'key-secret=s,iter-time=10', path, '1M')
    return path


@pytest.fixture(name='endless')
def fixture_endless(volume):
    """A volume whose only keyslot asks for 2^31 iterations."""
    luks_header.put(volume, 'iterations', 1 << 31, slot=0)
    return volume


@pytest.fixture(name='daemon')
def fixture_daemon(tmp_path):
    with StorageDaemon(tmp_path, *secret_object(tmp_path, 's0', b'pw'), '--object', 'secret,id=s1,data=new',
                       '--chardev', f'socket,id=qmp1,path={tmp_path}/other.sock,server=on,wait=off',
                       '--monitor', 'qmp1') as daemon:
        yield daemon


def endless_options(path, secret='s0'):
    return f'driver=luks,node-name=luks,key-secret={secret},max-pbkdf-iterations={UNLIMITED},file.driver=file,' \
           f'file.filename={path}'


def cancel(qmp, job):
    qmp.cmd('job-cancel', id=job)
    qmp.wait_event('JOB_STATUS_CHANGE', id=job, status='concluded')
    info, = qmp.cmd('query-jobs')
    assert info['error'] == 'Operation was cancelled'
    qmp.cmd('job-dismiss', id=job)


@pytest.mark.parametrize('command, arguments', [
    ('blockdev-keyslot-add', {'new_secret': 's1'}),
    ('blockdev-keyslot-change', {'old_secret': 's0', 'new_secret': 's1'}),
])
def test_keyslot_job(daemon, volume, command, arguments):
    before = volume.read_bytes()
    qmp = daemon.qmp
    qmp.cmd('blockdev-add', driver='luks', node_name='luks', key_secret='s0', max_pbkdf_iterations=UNLIMITED,
            file={'driver': 'file', 'filename': str(volume)})
    qmp.cmd(command, job_id='j', node_name='luks', iter_time=MINUTES, **arguments)
    time.sleep(0.5)
    # it can also be paused meanwhile
    qmp.cmd('job-pause', id='j')
    qmp.wait_event('JOB_STATUS_CHANGE', id='j', status='paused')
    qmp.cmd('job-resume', id='j')
    qmp.wait_event('JOB_STATUS_CHANGE', id='j', status='running')
    cancel(qmp, 'j')
    assert volume.read_bytes() == before
    assert 'error' not in qmp.run_job('blockdev-keyslot-add', 'j', node_name='luks', new_secret='s1', iter_time=10)
    cryptsetup('open', '--test-passphrase', volume, password=b'new')


def test_job_that_waits_for_another(daemon, volume):
    """Jobs that change one header take turns: those that wait can be cancelled, too."""
    qmp = daemon.qmp
    qmp.cmd('blockdev-add', driver='luks', node_name='luks', key_secret='s0', max_pbkdf_iterations=UNLIMITED,
            file={'driver': 'file', 'filename': str(volume)})
    for job in ('first', 'second', 'third'):
        qmp.cmd('blockdev-keyslot-add', job_id=job, node_name='luks', new_secret='s1',
                iter_time=MINUTES if job == 'first' else 10)
        qmp.wait_event('JOB_STATUS_CHANGE', id=job, status='running')
    qmp.cmd('job-pause', id='second')
    qmp.wait_event('JOB_STATUS_CHANGE', id='second', status='paused')
    qmp.cmd('job-resume', id='second')
    qmp.cmd('job-cancel', id='second')
    qmp.wait_event('JOB_STATUS_CHANGE', id='second', status='concluded')
    assert {job['id']: job['status'] for job in qmp.cmd('query-jobs')} == {
        'first': 'running', 'second': 'concluded', 'third': 'running'}
    qmp.cmd('job-cancel', id='first')
    qmp.wait_event('JOB_STATUS_CHANGE', id='third', status='concluded')
    assert [job.get('error') for job in qmp.cmd('query-jobs')] == ['Operation was cancelled'] * 2 + [None]
    cryptsetup('open', '--test-passphrase', volume, password=b'new')


def test_jobs_on_several_volumes(daemon, tmp_path):
    """More jobs than processors: each can be cancelled."""
    qmp = daemon.qmp
    for i in range(6):
        path = tmp_path / f'{i}.img'
        path.write_bytes(bytes(4 * MiB))
        qmp.cmd('blockdev-format', job_id=f'j{i}', options={'driver': 'luks', 'key-secret': 's0', 'iter-time': MINUTES,
                                                            'hash-alg': 'ripemd160'},
                file={'driver': 'file', 'filename': str(path)})
    for i in reversed(range(6)):
        qmp.cmd('job-cancel', id=f'j{i}')
        qmp.wait_event('JOB_STATUS_CHANGE', id=f'j{i}', status='concluded')
        assert not any((tmp_path / f'{i}.img').read_bytes())
    assert {job['error'] for job in qmp.cmd('query-jobs')} == {'Operation was cancelled'}


def test_quit_while_a_node_is_opened(daemon, endless, tmp_path):
    """The client that opened it gets an error before the end."""
    daemon.qmp.send({'execute': 'blockdev-add', 'arguments': {
        'driver': 'luks', 'node-name': 'luks', 'key-secret': 's0', 'max-pbkdf-iterations': UNLIMITED,
        'file': {'driver': 'file', 'filename': str(endless)}}})
    time.sleep(0.5)
    other = Qmp(tmp_path / 'other.sock')
    assert other.cmd('query-named-block-nodes')[0]['drv'] == 'file'     # the file below is already open
    other.cmd('quit')
    assert daemon.qmp.answer()['error']['desc'] == 'Operation was cancelled'
    assert daemon.wait() == (0, '')
    other.close()


@pytest.mark.parametrize('signum', [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize('program', ['qemu-storage-daemon', 'qemu-nbd', 'qemu-img create', 'qemu-img convert'])
def test_signal(tmp_path, endless, program, signum):
    """One signal is enough, and nothing is left behind."""
    secret = secret_object(tmp_path, 's0', b'pw')
    target = tmp_path / 'new.luks'
    argv = {
        'qemu-storage-daemon': [QSD, *secret, '--pidfile', tmp_path / 'pid', '--blockdev', endless_options(endless)],
        'qemu-nbd': [QEMU_NBD, *secret, '-k', tmp_path / 'nbd.sock', '--image-opts', endless_options(endless)],
        'qemu-img create': [QEMU_IMG, 'create', '-q', '-f', 'luks', *secret, '-o',
                            f'key-secret=s0,hash-alg=ripemd160,iter-time={MINUTES}', target, '1M'],
        # must derive the key of its source
        'qemu-img convert': [QEMU_IMG, 'convert', *secret, '--image-opts', endless_options(endless), '-O', 'raw', target],
    }[program]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        time.sleep(1)
        assert process.poll() is None
        process.send_signal(signum)
        try:
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    if process.returncode != -signum:
        assert process.returncode == 1
        assert errors.strip().splitlines()[-1].endswith(b'Operation was cancelled')
    assert not target.exists() and not (tmp_path / 'nbd.sock').exists() and not (tmp_path / 'pid').exists()


def test_convert_to_a_new_volume(tmp_path):
    """The target is complete and is being opened, which derives its key again."""
    source, target = tmp_path / 'plain', tmp_path / 'new.luks'
    source.write_bytes(b'x' * MiB)
    with subprocess.Popen([QEMU_IMG, 'convert', *secret_object(tmp_path, 's0', b'pw'), '-O', 'luks', '-o',
                           'key-secret=s0,iter-time=3000', source, target], stderr=subprocess.PIPE) as process:
        while not (target.exists() and target.stat().st_size >= 592 and
                   luks_header.get(target, 'active', slot=0) == luks_header.SLOT_ACTIVE):
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1 and b'Operation was cancelled' in errors
    assert not target.exists()
