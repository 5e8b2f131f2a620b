"""Jobs of qemu-storage-daemon: create, format, passwords, erase, amend; their states, events and errors.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import base64
import time

import pytest

from programs import cryptsetup, qemu_img, qemu_img_json, secret_object
from qmp import StorageDaemon

MiB = 1 << 20


@pytest.fixture(name='daemon')
def fixture_daemon(tmp_path):
    with StorageDaemon(tmp_path) as daemon:
        for i in range(3):
            daemon.qmp.cmd('object-add', qom_type='secret', id=f's{i}', data=f'password {i}')
        yield daemon


@pytest.fixture(name='qmp')
def fixture_qmp(daemon):
    return daemon.qmp


def add_file(qmp, path, name, **options):
    qmp.cmd('blockdev-add', driver='file', filename=str(path), node_name=name, **options)


@pytest.fixture(name='volume')
def fixture_volume(qmp, tmp_path):
    """An encrypted volume as nodes 'storage' and 'format'; its path."""
    path = tmp_path / 'v.luks'
    assert 'error' not in qmp.run_job('blockdev-create', 'c0', options={
        'driver': 'file', 'filename': str(path), 'size': 0})
    add_file(qmp, path, 'storage')
    assert 'error' not in qmp.run_job('blockdev-create', 'c1', options={
        'driver': 'luks', 'file': 'storage', 'size': MiB, 'key-secret': 's0', 'iter-time': 10})
    qmp.cmd('blockdev-add', driver='luks', file='storage', node_name='format', key_secret='s0')
    qmp.events.clear()
    return path


def opens(path, number):
    done = cryptsetup('open', '--test-passphrase', path, password=f'password {number}'.encode(), status=None)
    assert done.returncode in (0, 1, 2)     # 1: no active keyslot
    return done.returncode == 0


def states(qmp, ident):
    qmp.wait_event('JOB_STATUS_CHANGE', id=ident, status='null')
    return [e['data']['status'] for e in qmp.events if e['event'] == 'JOB_STATUS_CHANGE' and e['data']['id'] == ident]


def test_create_goes_through_qemus_states(qmp, tmp_path):
    qmp.cmd('blockdev-create', job_id='j', options={'driver': 'file', 'filename': str(tmp_path / 'f'), 'size': MiB})
    while qmp.cmd('query-jobs')[0]['status'] != 'concluded':
        pass
    info, = qmp.cmd('query-jobs')
    assert info == {'id': 'j', 'type': 'create', 'status': 'concluded', 'current-progress': MiB, 'total-progress': MiB}
    assert qmp.cmd('query-block-jobs') == []
    qmp.cmd('job-dismiss', id='j')
    assert states(qmp, 'j') == ['created', 'running', 'waiting', 'pending', 'concluded']
    assert qmp.cmd('query-jobs') == []
    assert (tmp_path / 'f').stat().st_size == MiB


def test_failed_job(qmp, tmp_path):
    info = qmp.run_job('blockdev-create', 'j', options={'driver': 'file', 'filename': str(tmp_path / 'no/f'), 'size': 1})
    assert info['status'] == 'concluded' and 'No such file' in info['error']
    assert [s for s in states(qmp, 'j') if s != 'concluded'] == ['created', 'running', 'aborting']


def test_job_errors(qmp, tmp_path):
    options = {'driver': 'file', 'filename': str(tmp_path / 'f'), 'size': 512}
    assert 'Invalid job ID' in qmp.error('blockdev-create', job_id='', options=options).desc
    assert 'Invalid job ID' in qmp.error('blockdev-create', job_id='1x', options=options).desc
    qmp.cmd('blockdev-create', job_id='j', options=options)
    assert "'j' already in use" in qmp.error('blockdev-create', job_id='j', options=options).desc
    qmp.wait_event('JOB_STATUS_CHANGE', id='j', status='concluded')
    for verb in ('pause', 'resume', 'cancel', 'complete', 'finalize'):
        assert "'j' in state 'concluded' cannot accept command verb" in qmp.error(f'job-{verb}', id='j').desc
        assert 'Job not found' in qmp.error(f'job-{verb}', id='nope').desc
    for command in ('pause', 'resume', 'cancel', 'complete'):
        err = qmp.error(f'block-job-{command}', device='j')
        assert err.cls == 'DeviceNotActive' and "'j' not found" in err.desc
    for command in ('finalize', 'dismiss'):
        assert qmp.error(f'block-job-{command}', id='nope').cls == 'DeviceNotActive'
    assert qmp.error('block-job-set-speed', device='j', speed=1).cls == 'DeviceNotActive'
    qmp.cmd('job-dismiss', id='j')
    assert 'does not support' in qmp.error('blockdev-create', job_id='j', options={'driver': 'raw'}).desc


def test_keyslots(qmp, volume):
    assert 'error' not in qmp.run_job('blockdev-keyslot-add', 'k', node_name='format', new_secret='s1', iter_time=10)
    assert opens(volume, 0) and opens(volume, 1)
    assert 'error' not in qmp.run_job('blockdev-keyslot-change', 'k', node_name='format', old_secret='s1',
                                      new_secret='s2', keyslot=5, iter_time=10)
    assert not opens(volume, 1) and opens(volume, 2)
    assert 'error' not in qmp.run_job('blockdev-keyslot-remove', 'k', node_name='format', keyslot=0)
    assert not opens(volume, 0) and opens(volume, 2)
    info = qmp.run_job('blockdev-keyslot-remove', 'k', node_name='format', old_secret='s2')
    assert 'inaccessible' in info['error'] and opens(volume, 2)
    info = qmp.run_job('blockdev-keyslot-remove', 'k', node_name='format', old_secret='s0')
    assert 'error' in info
    slots = [n for n in qmp.cmd('query-named-block-nodes') if n['node-name'] == 'format'][0]['image'][
        'format-specific']['data']['slots']
    assert [s['active'] for s in slots] == [i == 5 for i in range(8)]


def test_keyslot_arguments(qmp, volume):
    error = qmp.error
    assert 'exactly one' in error('blockdev-keyslot-remove', job_id='k', node_name='format').desc
    assert 'exactly one' in error('blockdev-keyslot-remove', job_id='k', node_name='format', keyslot=1,
                                  old_secret='s0').desc
    for keyslot in (-1, 2**31, 2**63 - 1):
        assert "'keyslot'" in error('blockdev-keyslot-add', job_id='k', node_name='format', new_secret='s1',
                                    keyslot=keyslot).desc
    assert "'iter-time'" in error('blockdev-keyslot-add', job_id='k', node_name='format', new_secret='s1', iter_time=0).desc
    assert "'nope'" in error('blockdev-keyslot-add', job_id='k', node_name='nope', new_secret='s1').desc
    for keyslot, part in ((8, 'keyslot'), (0, 'active')):
        info = qmp.run_job('blockdev-keyslot-add', 'k', node_name='format', new_secret='s1', keyslot=keyslot)
        assert part in info['error'].lower()
    assert "'nope'" in qmp.run_job('blockdev-keyslot-add', 'k', node_name='format', new_secret='nope')['error']
    info = qmp.run_job('blockdev-keyslot-add', 'k', node_name='storage', new_secret='s1')
    assert "'storage'" in info['error'] and 'no keyslots' in info['error']
    assert qmp.cmd('query-jobs') == []
    assert opens(volume, 0) and not opens(volume, 1)


def test_amend(qmp, volume):
    def amend(force=False, **options):
        return qmp.run_job('x-blockdev-amend', 'a', node_name='format', options={'driver': 'luks', **options}, force=force)
    assert 'error' not in amend(**{'state': 'active', 'new-secret': 's1', 'iter-time': 10})
    assert opens(volume, 1)
    assert 'error' not in amend(**{'state': 'inactive', 'old-secret': 's0'})
    assert not opens(volume, 0)
    assert 'error' in amend(**{'state': 'inactive', 'keyslot': 1})
    assert 'error' not in amend(force=True, **{'state': 'inactive', 'keyslot': 1})
    assert not opens(volume, 1)
    info = qmp.run_job('x-blockdev-amend', 'a', node_name='storage', options={'driver': 'luks', 'state': 'active'})
    assert "driver 'file'" in info['error']


def test_erase(qmp, volume):
    info = qmp.run_job('blockdev-secure-erase', 'e', node_name='format', scope='key-material', passes=1)
    event = qmp.wait_event('BLOCKDEV_SECURE_ERASE_COMPLETED')
    report = info['report']
    assert event['data'] == {'job-id': 'e', 'node-name': 'format', 'report': report}
    assert report['scope'] == 'key-material' and len(report['regions']) == 8
    assert [layer['node-name'] for layer in report['layers']] == ['format', 'storage']
    assert not opens(volume, 0)
    # the volume below, including the header
    info = qmp.run_job('blockdev-secure-erase', 'e', node_name='storage', force=True)
    assert info['report']['scope'] == 'header'
    assert volume.read_bytes()[:6] != b'LUKS\xba\xbe'
    assert "'passes'" in qmp.error('blockdev-secure-erase', job_id='e', node_name='format', passes=0).desc
    assert "'scope'" in qmp.error('blockdev-secure-erase', job_id='e', node_name='format', scope='all').desc


def test_erase_refuses_a_volume_in_use(qmp, tmp_path):
    path = tmp_path / 'raw.img'
    path.write_bytes(bytes(MiB))
    add_file(qmp, path, 'plain')
    info = qmp.run_job('blockdev-secure-erase', 'e', node_name='plain')
    assert 'error' in info and 'report' not in info
    assert path.read_bytes() == bytes(MiB)


def test_format(qmp, tmp_path):
    path, header = tmp_path / 'disk.img', tmp_path / 'header.img'
    path.write_bytes(bytes(4 * MiB))
    options = {'driver': 'luks', 'key-secret': 's1', 'iter-time': 10}
    assert 'error' not in qmp.run_job('blockdev-format', 'f', options=options,
                                      file={'driver': 'file', 'filename': str(path)})
    assert opens(path, 1) and path.stat().st_size == 4 * MiB
    add_file(qmp, path, 'disk')
    info = qmp.run_job('blockdev-format', 'f', options=options, file='disk')
    assert 'LUKS' in info['error']
    options['key-secret'] = 's2'
    assert 'error' not in qmp.run_job('blockdev-format', 'f', options=options, file='disk', force=True)
    assert opens(path, 2) and not opens(path, 1)
    header.touch()
    assert 'error' not in qmp.run_job('blockdev-format', 'f', options=options, file='disk', force=True,
                                      header={'driver': 'file', 'filename': str(header)})
    assert opens(header, 2)
    assert qemu_img_json('info', header)['format'] == 'luks'
    assert "'nope'" in qmp.run_job('blockdev-format', 'f', options=options, file='nope')['error']
    names = [n['node-name'] for n in qmp.cmd('query-named-block-nodes')]
    assert names == ['disk']


def test_queries_answer_while_a_key_is_derived(qmp, volume):
    qmp.cmd('blockdev-keyslot-add', job_id='slow', node_name='format', new_secret='s1', iter_time=1000)
    slowest = 0
    n = 0
    while qmp.cmd('query-jobs')[0]['status'] != 'concluded':
        begin = time.monotonic()
        qmp.cmd('query-version')
        slowest = max(slowest, time.monotonic() - begin)
        n += 1
    assert n > 10 and slowest < 0.5      # the machine may be busy; tests/bench measures
    qmp.cmd('job-dismiss', id='slow')
    assert opens(volume, 1)


@pytest.mark.parametrize('command, arguments', [
    ('blockdev-keyslot-add', {'node_name': 'format', 'new_secret': 's1', 'iter_time': 400}),
    ('blockdev-keyslot-change', {'node_name': 'format', 'old_secret': 's0', 'new_secret': 's1', 'iter_time': 400}),
    ('x-blockdev-amend', {'node_name': 'format', 'options': {
        'driver': 'luks', 'state': 'active', 'secret': 's0', 'new-secret': 's1', 'iter-time': 400}}),
])
def test_progress_while_a_key_is_derived(qmp, volume, command, arguments):
    qmp.cmd(command, job_id='j', **arguments)
    steps = []
    while not steps or job['status'] != 'concluded':
        job, = qmp.cmd('query-jobs')
        steps.append(job['current-progress'] / max(job['total-progress'], 1))
        time.sleep(0.02)
    assert 'error' not in job
    assert steps == sorted(steps) and steps[-1] == 1
    assert len({step for step in steps if 0.05 < step < 0.95}) >= 3, steps


def test_shutdown_cancels_jobs(daemon, volume):
    qmp = daemon.qmp
    qmp.cmd('blockdev-keyslot-add', job_id='slow', node_name='format', new_secret='s1', iter_time=2000)
    qmp.cmd('quit')
    assert daemon.wait()[0] == 0
    assert opens(volume, 0)


def test_two_jobs_on_one_volume(qmp, volume):
    for i in (1, 2):
        qmp.cmd('blockdev-keyslot-add', job_id=f'k{i}', node_name='format', new_secret=f's{i}', iter_time=50)
    for i in (1, 2):
        qmp.wait_event('JOB_STATUS_CHANGE', id=f'k{i}', status='concluded')
    assert all('error' not in job for job in qmp.cmd('query-jobs'))
    assert opens(volume, 1) and opens(volume, 2)
    assert 'in use' in qmp.error('blockdev-del', node_name='storage').desc


def test_secrets_of_any_bytes(qmp, volume):
    secret = bytes(range(256))
    qmp.cmd('object-add', qom_type='secret', id='b64', format='base64', data=base64.b64encode(secret).decode())
    assert 'error' not in qmp.run_job('blockdev-keyslot-add', 'k', node_name='format', new_secret='b64', iter_time=10)
    cryptsetup('open', '--test-passphrase', volume, password=secret)


def test_nodes_of_a_concluded_job(tmp_path):
    """A concluded job blocks nothing, and its result can still be read."""
    path = tmp_path / 'a.luks'
    qemu_img('create', '-q', '-f', 'luks', *secret_object(tmp_path, 's', b'pw'), '-o', 'key-secret=s,iter-time=10', path, '1M')
    with StorageDaemon(tmp_path, '--blockdev', f'file,node-name=f,filename={path}') as daemon:
        qmp = daemon.qmp
        qmp.cmd('blockdev-secure-erase', job_id='j', node_name='f', scope='key-material')
        qmp.wait_event('JOB_STATUS_CHANGE', id='j', status='concluded')
        qmp.cmd('blockdev-set-active', node_name='f', active=False)
        qmp.cmd('blockdev-del', node_name='f')
        info, = qmp.cmd('query-jobs')
        assert info['report']['regions'] and 'error' not in info
        qmp.cmd('job-dismiss', id='j')


def test_nodes_of_a_job_at_work(tmp_path):
    """The error names the job."""
    path = tmp_path / 'a.luks'
    qemu_img('create', '-q', '-f', 'luks', *secret_object(tmp_path, 's', b'pw'), '-o', 'key-secret=s,iter-time=10', path, '1M')
    with StorageDaemon(tmp_path, *secret_object(tmp_path, 's', b'pw'),
                       '--blockdev', f'luks,node-name=l,key-secret=s,file.driver=file,file.filename={path}') as daemon:
        qmp = daemon.qmp
        qmp.cmd('blockdev-keyslot-add', job_id='slow', node_name='l', new_secret='s', iter_time=1000000)
        assert "in use by job 'slow'" in qmp.error('blockdev-del', node_name='l').desc
        assert "in use by job 'slow'" in qmp.error('blockdev-set-active', node_name='l', active=False).desc
        qmp.cmd('job-cancel', id='slow')
        qmp.wait_event('JOB_STATUS_CHANGE', id='slow', status='concluded')
        qmp.cmd('blockdev-del', node_name='l')
