"""What else may be done to source and target while a mirror runs, and while it is ready; docs/mirror.md has the table.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import pytest

from programs import DEBIAN_QEMU_IO, qemu_img, run, secret_object
from qmp import StorageDaemon

MIB = 1 << 20


@pytest.fixture(name='daemon')
def fixture_daemon(tmp_path):
    """Encrypted nodes source, which is exported, and target, with source-file and target-file; and a node spare."""
    args = []
    for name in ('source', 'target'):
        qemu_img('create', '-q', '-f', 'luks', *secret_object(tmp_path, 's', name.encode()),
                 '-o', 'key-secret=s,iter-time=10', tmp_path / name, '16M')
        args += ['--object', f'secret,id={name},data={name}',
                 '--blockdev', f'file,node-name={name}-file,filename={tmp_path}/{name}',
                 '--blockdev', f'luks,node-name={name},file={name}-file,key-secret={name}']
    (tmp_path / 'spare').write_bytes(bytes(16 * MIB))
    with StorageDaemon(tmp_path, *args, '--object', 'secret,id=new,data=new',
                       '--blockdev', f'file,node-name=spare,filename={tmp_path}/spare',
                       '--nbd-server', f'addr.type=unix,addr.path={tmp_path}/nbd.sock',
                       '--export', 'nbd,id=e0,node-name=source,name=disk,writable=on') as daemon:
        yield daemon


@pytest.fixture(name='qmp', params=['running', 'ready'])
def fixture_qmp(daemon, request):
    """A mirror m in this state."""
    qmp = daemon.qmp
    speed = {'speed': MIB} if request.param == 'running' else {}
    qmp.cmd('blockdev-mirror', job_id='m', device='source', target='target', sync='full', **speed)
    qmp.wait_event('JOB_STATUS_CHANGE', id='m', status=request.param)
    yield qmp
    job, = [job for job in qmp.cmd('query-jobs') if job['id'] == 'm']
    assert job['status'] == request.param
    qmp.cmd('block-job-cancel', device='m', force=True)
    qmp.wait_event('JOB_STATUS_CHANGE', id='m', status='null')


def reopen(name, **options):
    return 'blockdev-reopen', {'options': [{'driver': 'luks', 'node-name': name, 'file': f'{name}-file',
                                            'key-secret': name, **options}]}


def export(node, **options):
    return 'block-export-add', {'type': 'nbd', 'id': 'e1', 'name': 'other', 'node-name': node, **options}


def mirror(source, target):
    return 'blockdev-mirror', {'job-id': 'm2', 'device': source, 'target': target, 'sync': 'full'}


def backup(source, target):
    return 'blockdev-backup', {'job-id': 'b', 'device': source, 'target': target, 'sync': 'full'}


# Each is refused, with a message that has this.
REFUSED = [
    *(command for name in ('source', 'target') for command in (
        (*mirror(name, 'spare'), "job 'm'"),
        (*mirror('spare', name), "job 'm'"),
        (*backup(name, 'spare'), "job 'm'"),
        (*backup('spare', name), "job 'm'"),
        ('block_resize', {'node-name': name, 'size': 20 * MIB}, "job 'm'"),
        ('blockdev-del', {'node-name': name}, "job 'm'"),
        ('blockdev-set-active', {'node-name': name, 'active': False}, "job 'm'"),
        (*reopen(name, **{'read-only': True}), "job 'm'"),
        (*export(name, writable=True), "job 'm'"),
        (*mirror('spare', f'{name}-file'), f"node '{name}'"),
        ('block_resize', {'node-name': f'{name}-file', 'size': 20 * MIB}, f"node '{name}'"),
        ('blockdev-del', {'node-name': f'{name}-file'}, f"node '{name}'"),
        (*export(f'{name}-file', writable=True), f"node '{name}'"))),
    (*export('target'), "job 'm'"),
    (*export('target-file'), "node 'target'"),
]


def test_refused(qmp):
    for command, arguments, expected in REFUSED:
        assert expected in qmp.error_raw(command, arguments).desc, command


def test_refused_jobs(qmp):
    """These commands start a job, which fails."""
    for name in ('source', 'target'):
        info = qmp.run_job('blockdev-secure-erase', 'e', node_name=name)
        assert "job 'm'" in info['error'] and 'which secure erase does not allow' in info['error']
        info = qmp.run_job('blockdev-create', 'c', options={'driver': 'luks', 'file': f'{name}-file', 'size': MIB,
                                                            'key-secret': 'new'})
        assert f"node '{name}'" in info['error']
        info = qmp.run_job('blockdev-format', 'f', options={'driver': 'luks', 'key-secret': 'new'}, file=f'{name}-file',
                           force=True)
        assert f"node '{name}'" in info['error']


def test_other_process(qmp, tmp_path):
    """No other process can write to the files."""
    for name in ('source', 'target'):
        done = run(DEBIAN_QEMU_IO, '-f', 'raw', '-c', 'write 0 512', tmp_path / name, status=1)
        assert 'lock' in done.stderr
    assert qmp.cmd('query-block-jobs')[0]['device'] == 'm'


def test_allowed(qmp):
    for name in ('source', 'target'):
        info = qmp.run_job('blockdev-keyslot-add', 'k', node_name=name, new_secret='new', iter_time=10)
        assert 'error' not in info
        info = qmp.run_job('x-blockdev-amend', 'k', node_name=name, options={
            'driver': 'luks', 'state': 'inactive', 'old-secret': 'new'})
        assert 'error' not in info
        command, arguments = reopen(name)
        qmp.cmd_raw(command, arguments)
        qmp.cmd('object-del', id=name)
    for node in ('source', 'source-file'):
        command, arguments = export(node)
        qmp.cmd_raw(command, arguments)
        qmp.cmd('block-export-del', id='e1')
        qmp.wait_event('BLOCK_EXPORT_DELETED', id='e1')
    qmp.cmd('block-export-del', id='e0', mode='hard')
    qmp.wait_event('BLOCK_EXPORT_DELETED', id='e0')
