"""blockdev-mirror: contents, the switch to the target, states and events, and what it refuses.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import subprocess

import pytest

from mirrors import MiB, SIZE, conclude, contents, exported_node, fill, mirror_daemon, start_mirror
from programs import cryptsetup
from writer import connect, writers


@pytest.fixture(name='daemon')
def fixture_daemon(tmp_path):
    with mirror_daemon(tmp_path) as daemon:
        yield daemon


PAIRS = [('raw', 'raw'), ('raw', 'luks'), ('luks', 'raw'), ('luks', 'luks')]


@pytest.mark.threads
@pytest.mark.parametrize('mode', ['background', 'write-blocking'])
@pytest.mark.parametrize('source, target', PAIRS)
def test_pivot(tmp_path, source, target, mode):
    """Clients write through the whole mirror, and beyond."""
    with mirror_daemon(tmp_path, source, target) as daemon:
        qmp = daemon.qmp
        with writers(tmp_path, SIZE):
            start_mirror(qmp, copy_mode=mode)
            qmp.wait_event('BLOCK_JOB_READY', device='m0')
            qmp.cmd('job-complete', id='m0')
            assert conclude(qmp) is None
            assert exported_node(qmp) == 'target'
            # Nothing but the monitor has the old node.
            qmp.cmd('blockdev-del', node_name='source')


@pytest.mark.threads
@pytest.mark.parametrize('mode', ['background', 'write-blocking'])
@pytest.mark.parametrize('source, target', PAIRS)
def test_equal(tmp_path, source, target, mode):
    """Byte by byte, read by a program that is not ours."""
    with mirror_daemon(tmp_path, source, target) as daemon:
        qmp = daemon.qmp
        fill(tmp_path)
        with writers(tmp_path, SIZE // 2):
            start_mirror(qmp, copy_mode=mode)
            qmp.wait_event('BLOCK_JOB_READY', device='m0')
        qmp.cmd('job-complete', id='m0')
        assert conclude(qmp) is None
    assert contents(tmp_path, 'source', source) == contents(tmp_path, 'target', target)
    if target == 'luks':
        cryptsetup('open', '--test-passphrase', tmp_path / 'target.img', password=b'password of target')


@pytest.mark.threads
def test_drained(daemon, tmp_path):
    """Commands that drain both nodes, while clients write to both."""
    qmp = daemon.qmp
    nodes = [{'driver': 'file', 'node-name': name, 'filename': str(tmp_path / f'{name}.img'), 'discard': 'unmap'}
             for name in ('target', 'source')]
    with writers(tmp_path, SIZE):
        for _ in range(20):
            start_mirror(qmp, copy_mode='write-blocking')
            for _ in range(10):
                qmp.cmd('blockdev-reopen', options=nodes)
            qmp.cmd('block-job-cancel', device='m0', force=True)
            conclude(qmp)
        qmp.events = []
        start_mirror(qmp, ready=True, copy_mode='write-blocking')
        qmp.cmd('blockdev-reopen', options=nodes)
        qmp.cmd('job-complete', id='m0')
        assert conclude(qmp) is None


def test_states(daemon):
    """The states and events of a mirror, in QEMU's order."""
    qmp = daemon.qmp
    start_mirror(qmp)
    qmp.wait_event('BLOCK_JOB_READY', type='mirror', device='m0', len=SIZE, offset=SIZE, speed=0)
    info, = qmp.cmd('query-block-jobs')
    assert (info['type'], info['ready'], info['status'], info['actively-synced']) == ('mirror', True, 'ready', False)
    qmp.events = []
    qmp.cmd('job-complete', id='m0')
    event = qmp.wait_event('BLOCK_JOB_COMPLETED')
    assert event['data'] == {'type': 'mirror', 'device': 'm0', 'len': SIZE, 'offset': SIZE, 'speed': 0}
    assert [event['data']['status'] for event in qmp.events] == ['waiting', 'pending']
    assert conclude(qmp) is None
    assert [event['data']['status'] for event in qmp.events] == ['waiting', 'pending', 'null']


@pytest.mark.threads
def test_cancel_ready(daemon, tmp_path):
    """A copy as of the moment of the cancel; the source stays in use."""
    qmp = daemon.qmp
    fill(tmp_path)
    start_mirror(qmp)
    qmp.wait_event('BLOCK_JOB_READY')
    handle = connect(tmp_path)
    handle.pwrite(b'before', 1000)
    qmp.cmd('block-job-cancel', device='m0')
    qmp.wait_event('BLOCK_JOB_COMPLETED')
    assert conclude(qmp) is None
    copy = (tmp_path / 'target.img').read_bytes()
    assert copy == (tmp_path / 'source.img').read_bytes()
    handle.pwrite(b'after', 1000)
    handle.flush()
    handle.shutdown()
    assert copy == (tmp_path / 'target.img').read_bytes()
    assert exported_node(qmp) == 'source'
    qmp.cmd('blockdev-del', node_name='target')


@pytest.mark.threads
@pytest.mark.parametrize('command', [('job-cancel', {'id': 'm0'}), ('block-job-cancel', {'device': 'm0', 'force': True})])
def test_abort(daemon, tmp_path, command):
    qmp = daemon.qmp
    with writers(tmp_path, SIZE):
        start_mirror(qmp)
        qmp.wait_event('BLOCK_JOB_READY')
        qmp.cmd_raw(*command)
        qmp.wait_event('BLOCK_JOB_CANCELLED')
        assert conclude(qmp) == 'Operation was cancelled'
        assert exported_node(qmp) == 'source'
        qmp.cmd('blockdev-del', node_name='target')


def test_complete_early(daemon, tmp_path):
    """Refused, and the job goes on."""
    qmp = daemon.qmp
    fill(tmp_path)
    start_mirror(qmp, speed=MiB)
    qmp.wait_event('JOB_STATUS_CHANGE', id='m0', status='running')
    assert qmp.error('job-complete', id='m0').desc == "Job 'm0' in state 'running' cannot accept command verb 'complete'"
    qmp.cmd('block-job-set-speed', device='m0', speed=0)
    qmp.wait_event('BLOCK_JOB_READY')
    qmp.cmd('block-job-complete', device='m0')
    assert conclude(qmp) is None
    assert (tmp_path / 'source.img').read_bytes() == (tmp_path / 'target.img').read_bytes()


@pytest.mark.threads
def test_fio(tmp_path):
    """fio writes, and verifies what it wrote, on one node and then the other."""
    with mirror_daemon(tmp_path, 'luks', 'luks') as daemon:
        qmp = daemon.qmp
        argv = ['fio', '--name=w', '--ioengine=nbd', f'--uri=nbd+unix:///disk?socket={tmp_path}/nbd.sock', '--rw=randwrite',
                '--bs=4k', f'--size={SIZE}', '--iodepth=8', '--verify=crc32c', '--do_verify=1', '--loops=2',
                '--rate_iops=4000', '--output-format=terse']
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              cwd=tmp_path) as fio:
            start_mirror(qmp)
            qmp.wait_event('BLOCK_JOB_READY')
            qmp.cmd('job-complete', id='m0')
            assert conclude(qmp) is None
            assert fio.poll() is None, 'fio ended before the mirror'
            output, _ = fio.communicate(timeout=60)
            assert fio.returncode == 0, output


@pytest.mark.parametrize('options, error', [
    ({'sync': 'incremental'}, "Sync mode 'incremental' not supported"),
    ({'sync': 'bitmap'}, "Sync mode 'bitmap' not supported"),
    *(({'granularity': bytes_}, "Parameter 'granularity' expects a power of 2 in range [512B, 64MB]")
      for bytes_ in (3, 256, 128 * MiB, 3000)),
    ({'buf_size': -1}, "Invalid parameter 'buf-size'"),
    ({'speed': -1}, "Parameter 'speed' expects a non-negative value"),
    ({'replaces': 'nobody'}, "Failed to find node with node-name='nobody'"),
    ({'replaces': 'target'}, "Cannot replace 'target' by a node mirrored from 'source'"),
    ({'device': 'nobody'}, "Cannot find device='' nor node-name='nobody'"),
    ({'target': 'nobody'}, "Cannot find device='' nor node-name='nobody'"),
    ({'target': 'source'}, "Can't mirror node into itself"),
    ({'target': 'above'}, "Node 'above' cannot be the target for node 'source': it is above it"),
    ({'device': 'above', 'target': 'source'}, "Node 'source' cannot be the target for node 'above': it is below it"),
    ({'target': 'small'}, f"The target has {MiB} bytes, fewer than the {SIZE} bytes of node 'source'"),
    ({'filter_node_name': 'target'}, "Duplicate nodes with node-name='target'"),
])
def test_refused(daemon, options, error):
    """Bad input changes nothing."""
    qmp = daemon.qmp
    qmp.cmd('blockdev-add', driver='null-co', node_name='small', size=MiB)
    qmp.cmd('blockdev-add', driver='raw', node_name='above', file='source')
    nodes = qmp.cmd('query-named-block-nodes')
    arguments = {'job_id': 'm0', 'device': 'source', 'target': 'target', 'sync': 'full', **options}
    assert error in qmp.error('blockdev-mirror', **arguments).desc
    assert not qmp.cmd('query-jobs')
    assert [n['node-name'] for n in qmp.cmd('query-named-block-nodes')] == [n['node-name'] for n in nodes]
    assert exported_node(qmp) == 'source'


@pytest.mark.parametrize('options', [{}, {'target_is_zero': True}])
def test_sparse(daemon, tmp_path, options):
    """Holes stay holes."""
    qmp = daemon.qmp
    connect(tmp_path).pwrite(b'x' * 65536, MiB)
    start_mirror(qmp, ready=True, **options)
    qmp.cmd('job-complete', id='m0')
    assert conclude(qmp) is None
    assert (tmp_path / 'source.img').read_bytes() == (tmp_path / 'target.img').read_bytes()
    assert (tmp_path / 'target.img').stat().st_blocks * 512 <= MiB


def test_replaces(daemon, tmp_path):
    """The target replaces the node below a filter, which stays."""
    qmp = daemon.qmp
    qmp.cmd('object-add', qom_type='throttle-group', id='limits')
    qmp.cmd('blockdev-add', driver='throttle', node_name='above', throttle_group='limits', file='source')
    fill(tmp_path)
    # Its clients would bypass the mirror.
    assert "export 'e0' needs permission 'write'" in qmp.error('blockdev-mirror', job_id='m0', device='above',
                                                              target='target', sync='full').desc
    qmp.cmd('block-export-del', id='e0')
    qmp.wait_event('BLOCK_EXPORT_DELETED')
    qmp.cmd('block-export-add', type='nbd', id='e1', node_name='above', writable=True)
    start_mirror(qmp, ready=True, device='above', replaces='source')
    qmp.cmd('job-complete', id='m0')
    assert conclude(qmp) is None
    assert exported_node(qmp) == 'above'
    qmp.cmd('blockdev-del', node_name='source')
    assert (tmp_path / 'source.img').read_bytes() == (tmp_path / 'target.img').read_bytes()


@pytest.mark.threads
@pytest.mark.slow
def test_several(tmp_path):
    """Two mirrors at once, of volumes that are written, to targets that are slow."""
    limits = ['--object', 'throttle-group,id=slow,limits.bps-write=8388608']
    with mirror_daemon(tmp_path, more=limits) as daemon:
        qmp = daemon.qmp
        for name in 'source2', 'target2':
            (tmp_path / f'{name}.img').write_bytes(bytes(SIZE))
            qmp.cmd('blockdev-add', driver='file', node_name=name, filename=str(tmp_path / f'{name}.img'))
        qmp.cmd('blockdev-add', driver='throttle', node_name='slow', throttle_group='slow', file='target')
        with writers(tmp_path, SIZE // 4):
            start_mirror(qmp, target='slow')
            start_mirror(qmp, job_id='m1', device='source2', target='target2')
            for job in 'm0', 'm1':
                qmp.wait_event('BLOCK_JOB_READY', device=job)
            for job in 'm0', 'm1':
                qmp.cmd('job-complete', id=job)
                assert conclude(qmp, job) is None
        assert exported_node(qmp) == 'slow'
