"""blockdev-backup and the filter copy-before-write: the target shows the source at one point in time.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import random
import signal
import time

import nbd
import pytest

from disks import MIB, SIZE, Disks, Writer, is_completed
from nbd_peer import Nbdkit
from nbd_server import wait_until
from images import debian_contents
from programs import cryptsetup, freeze, qemu_img, secret_object
from qmp import StorageDaemon


@pytest.fixture(name='disks')
def fixture_disks(tmp_path):
    with StorageDaemon(tmp_path) as daemon:
        yield Disks(tmp_path, daemon)


@pytest.mark.threads
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


@pytest.mark.threads
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
    disks.qmp.cmd('blockdev-add', driver='raw', node_name='above', file='a')
    disks.export('above', writable=True)
    disks.start(speed=MIB, filter_node_name='f')
    # Nothing writes to the source without the filter.
    assert "job 'j'" in disks.qmp.error('blockdev-reopen',
                                        options=[{'driver': 'raw', 'node-name': 'above', 'file': 'a'}]).desc
    disks.qmp.cmd('blockdev-add', driver='raw', node_name='new', file='a')
    assert "job 'j'" in disks.qmp.error('block-export-add', type='nbd', id='new', node_name='new', name='new',
                                        writable=True).desc
    disks.qmp.cmd('blockdev-del', node_name='new')
    assert "job 'j'" in disks.qmp.error('block_resize', node_name='a', size=2 * SIZE).desc
    assert "'f'" in disks.qmp.error('block_resize', node_name='a-target', size=2 * SIZE).desc
    assert "job 'j'" in disks.qmp.error('blockdev-del', node_name='a').desc
    assert "'f'" in disks.qmp.error('blockdev-del', node_name='a-target').desc
    disks.qmp.error('blockdev-del', node_name='f')
    assert "node 'f'" in disks.qmp.error('block-export-add', type='nbd', id='e', node_name='a-target', name='e',
                                         writable=True).desc
    assert "'j'" in disks.qmp.error('blockdev-backup', job_id='k', device='b-target', target='a-target', sync='full').desc
    # A mirror from or to them, and a backup from a mirror's source.
    disks.add('c')
    mirror = {'job_id': 'm', 'sync': 'full'}
    assert "'j'" in disks.qmp.error('blockdev-mirror', device='a-target', target='b-target', **mirror).desc
    assert "'j'" in disks.qmp.error('blockdev-mirror', device='c', target='a-target', **mirror).desc
    disks.qmp.cmd('blockdev-mirror', device='c', target='c-target', speed=1, **mirror)
    assert "'m'" in disks.qmp.error('blockdev-backup', job_id='k', device='c', target='b-target', sync='full').desc
    disks.qmp.cmd('job-cancel', id='m')
    disks.qmp.wait_event('JOB_STATUS_CHANGE', id='m', status='null')
    # A second backup of the same source.
    disks.qmp.cmd('blockdev-backup', job_id='k', device='a', target='b-target', sync='full')
    disks.wait('k')
    disks.qmp.cmd('block-job-cancel', device='j')
    disks.qmp.wait_event('BLOCK_JOB_CANCELLED', device='j')
    disks.qmp.cmd('block_resize', node_name='a', size=2 * SIZE)


@pytest.mark.threads
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


@pytest.mark.threads
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


@pytest.mark.threads
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


@pytest.mark.threads
@pytest.mark.parametrize('how', ['job-cancel', 'quit', 'SIGTERM'])
def test_hanging_target(disks, how):
    """A target that no longer answers, with writes that wait for it: the job ends at once, and the writes go on."""
    disks.add('a', target=False)
    client = disks.connect('a')
    with Nbdkit(disks.directory, 'memory', SIZE) as server:
        disks.add_nbd_target('a', server, reconnect_delay=60)
        freeze(server.process.pid)
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


@pytest.mark.threads
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


def backup_action(name, job, **options):
    return {'type': 'blockdev-backup', 'data': {'job-id': job, 'device': name, 'target': f'{name}-target', 'sync': 'full',
                                                **options}}


@pytest.mark.threads
def test_several_disks(disks):
    """Backups of one transaction show their disks at the same moment, between two writes."""
    before = {name: disks.add(name) for name in 'abc'}
    writer = Writer(disks, *'abc')
    writer.start()
    writer.wait_for(30)
    first = len(writer.writes) - 1
    disks.qmp.cmd('transaction', actions=[backup_action(name, f'j{name}', speed=64 * MIB) for name in 'abc'],
                  properties={'completion-mode': 'grouped'})
    writer.wait_for(60)
    for name in 'abc':
        disks.wait(f'j{name}')
    writer.stop()
    assert writer.is_state(before, {name: disks.content(f'{name}-target') for name in 'abc'}, first)


def test_transaction_undone(disks):
    """If an action fails, no filter and no job is left, and the target can be used."""
    disks.add('a')
    with Nbdkit(disks.directory, 'memory', SIZE) as server:
        disks.add('b', target=False)
        disks.add_nbd_target('b', server)
        nodes = [node['node-name'] for node in disks.qmp.cmd('query-named-block-nodes')]
        client = disks.connect('a')
        assert 'Abort action' in disks.qmp.error('transaction', actions=[
            backup_action('a', 'j'), backup_action('b', 'k'), {'type': 'abort', 'data': {}}]).desc
        assert "'nope'" in disks.qmp.error('transaction', actions=[
            backup_action('a', 'j'), backup_action('b', 'k', target='nope')]).desc
        client.pwrite(b'x' * MIB, 0)
        assert disks.qmp.cmd('query-jobs') == []
        assert [node['node-name'] for node in disks.qmp.cmd('query-named-block-nodes')] == nodes
        assert disks.content('a-target') == bytes(SIZE)
        disks.start('b')
        disks.wait()


@pytest.mark.threads
def test_grouped_failure(disks):
    """If one job fails, the other is cancelled; with completion-mode=individual it is not."""
    disks.add('a')
    disks.add('b', target=False)
    for i, grouped in enumerate((True, False)):
        with Nbdkit(disks.directory, 'memory', SIZE) as server:
            disks.add_nbd_target('b', server)
            disks.qmp.cmd('transaction', actions=[backup_action('a', f'a{i}', speed=MIB),
                                                  backup_action('b', f'b{i}', speed=MIB)],
                          properties={'completion-mode': 'grouped' if grouped else 'individual'})
            server.kill()
            disks.wait(f'b{i}', error='error')
            if grouped:
                disks.qmp.wait_event('BLOCK_JOB_CANCELLED', device=f'a{i}')
            else:
                disks.qmp.cmd('block-job-set-speed', device=f'a{i}', speed=0)
                disks.wait(f'a{i}')
            disks.qmp.cmd('blockdev-del', node_name='b-target')


def dirty(disks, name='a'):
    """Number of dirty bytes of the bitmap of NAME."""
    info, = [node for node in disks.qmp.cmd('query-named-block-nodes') if node['node-name'] == name]
    bitmap, = info['dirty-bitmaps']
    return bitmap['count']


def test_incremental(disks):
    """A full backup, then the changes: each time the target is as the source was."""
    disks.add('a')
    disks.qmp.cmd('transaction', actions=[
        {'type': 'block-dirty-bitmap-add', 'data': {'node': 'a', 'name': 'b'}}, backup_action('a', 'j')])
    disks.wait()
    client = disks.connect('a')
    for i in range(3):
        client.pwrite(bytes([i]) * (3 * MIB), i * 2 * MIB + 12345 * 512)
        before = disks.content('a')
        assert 3 * MIB <= dirty(disks) <= 3 * MIB + 65536
        disks.start(sync='incremental', bitmap='b', speed=1)
        assert "job 'j'" in disks.qmp.error('block-dirty-bitmap-clear', node='a', name='b').desc
        client.pwrite(b'y' * 512, i * 2 * MIB + 12345 * 512)
        client.pwrite(b'z' * 512, 15 * MIB)
        disks.qmp.cmd('block-job-set-speed', device='j', speed=0)
        event = disks.qmp.wait_event('BLOCK_JOB_COMPLETED', device='j')['data']
        assert 'error' not in event and event['len'] <= 4 * MIB
        assert disks.content('a-target') == before
        assert dirty(disks) == 2 * 65536
        disks.start(sync='incremental', bitmap='b')
        disks.wait()
        assert dirty(disks) == 0
        assert disks.content('a-target') == disks.content('a')


@pytest.mark.parametrize('mode', ['on-success', 'never', 'always'])
@pytest.mark.parametrize('success', [True, False])
def test_bitmap_modes(disks, mode, success):
    """What a bitmap has after the job has ended."""
    disks.add('a')
    disks.qmp.cmd('block-dirty-bitmap-add', node='a', name='b', granularity=65536)
    client = disks.connect('a')
    client.pwrite(bytes(8 * MIB), 0)
    disks.start(sync='bitmap', bitmap='b', bitmap_mode=mode, speed=1, x_perf={'max-workers': 1})
    wait_until(lambda: disks.qmp.cmd('query-block-jobs')[0]['offset'], 'the first piece')
    copied = disks.qmp.cmd('query-block-jobs')[0]['offset']
    client.pwrite(bytes(65536), 15 * MIB)
    if success:
        disks.qmp.cmd('block-job-set-speed', device='j', speed=0)
        disks.wait()
        expected = {'on-success': 65536, 'never': 8 * MIB + 65536, 'always': 65536}
    else:
        disks.qmp.cmd('job-cancel', id='j')
        disks.qmp.wait_event('JOB_STATUS_CHANGE', id='j', status='null')
        expected = {'on-success': 8 * MIB + 65536, 'never': 8 * MIB + 65536, 'always': 8 * MIB + 65536 - copied}
    assert dirty(disks) == expected[mode]
    disks.qmp.cmd('block-dirty-bitmap-remove', node='a', name='b')


@pytest.mark.threads
def test_no_bit_is_lost(disks):
    """After backups by bitmap, each cancelled, and writes meanwhile, one more has all that is missing."""
    disks.add('a')
    disks.qmp.cmd('block-dirty-bitmap-add', node='a', name='x')
    disks.start(bitmap='x', bitmap_mode='always')
    disks.wait()
    choice = random.Random(1)
    writer = Writer(disks, 'a')
    writer.start()
    for _ in range(30):
        disks.start(sync='bitmap', bitmap='x', bitmap_mode=choice.choice(['always', 'on-success', 'never']),
                    speed=16 * MIB, auto_finalize=False)
        writer.wait_for(choice.randrange(1, 20))
        disks.qmp.cmd('job-cancel', id='j')
        disks.qmp.wait_event('JOB_STATUS_CHANGE', id='j', status='null')
    writer.stop()
    disks.start(job='last', sync='incremental', bitmap='x')
    disks.wait('last')
    assert disks.content('a-target') == disks.content('a')


def test_bitmap_arguments(disks):
    disks.add('a')
    disks.qmp.cmd('block-dirty-bitmap-add', node='a', name='b')

    def error(**options):
        return disks.qmp.error('blockdev-backup', job_id='j', device='a', target='a-target', **options).desc
    assert "bitmap name for 'incremental'" in error(sync='incremental')
    assert "bitmap name for 'bitmap'" in error(sync='bitmap', bitmap_mode='never')
    assert 'without a bitmap' in error(sync='full', bitmap_mode='never')
    assert "'nope' could not be found" in error(sync='incremental', bitmap='nope')
    assert 'must be given' in error(sync='bitmap', bitmap='b')
    assert "must be 'on-success'" in error(sync='incremental', bitmap='b', bitmap_mode='never')
    assert 'no meaningful effect' in error(sync='full', bitmap='b', bitmap_mode='never')
    assert "'none'" in error(sync='none', bitmap='b', bitmap_mode='always')
    assert disks.qmp.cmd('query-jobs') == []


PASSWORDS = {'s0': b'of the source', 's1': b'of the target'}


@pytest.fixture(name='luks_disks')
def fixture_luks_disks(tmp_path):
    """The disk 'a' is encrypted, with unusual options."""
    secrets = [arg for name, password in PASSWORDS.items() for arg in secret_object(tmp_path, name, password)]
    (tmp_path / 'plain').write_bytes(bytes(range(256)) * (SIZE // 256))
    qemu_img('convert', '-f', 'raw', '-O', 'luks', *secrets, '-o',
             'key-secret=s0,cipher-alg=aes-128,cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha256,iter-time=10',
             tmp_path / 'plain', tmp_path / 'a.img')
    with StorageDaemon(tmp_path, *secrets, '--blockdev', f'file,node-name=file,filename={tmp_path}/a.img',
                       '--blockdev', 'luks,node-name=a,file=file,key-secret=s0') as daemon:
        disks = Disks(tmp_path, daemon)
        disks.export('a', writable=True)
        yield disks


@pytest.mark.parametrize('options, secret, cipher', [
    ({'create_options': {'iter-time': 10}}, 's0', 'aes cbc-essiv:sha256'),
    ({'key_secret': 's1', 'create_options': {'cipher-alg': 'serpent-256', 'cipher-mode': 'xts', 'ivgen-alg': 'plain64',
                                             'iter-time': 10}}, 's1', 'serpent xts-plain64'),
])
def test_drive_backup_of_luks(luks_disks, options, secret, cipher):
    """The target of an encrypted disk is encrypted: like the source, or as the options say."""
    disks, path = luks_disks, luks_disks.path('copy')
    before = (disks.directory / 'plain').read_bytes()
    disks.qmp.cmd('drive-backup', job_id='j', device='a', target=str(path), sync='full', speed=MIB, **options)
    with disks.fio('a', '--size=4M') as fio:
        output = fio.communicate()[0].decode()
    assert fio.returncode == 0, output
    disks.qmp.cmd('block-job-set-speed', device='j', speed=0)
    disks.wait()
    dump = ' '.join(cryptsetup('luksDump', path).stdout.split())
    name, mode = cipher.split()
    assert f'Cipher name: {name}' in dump and f'Cipher mode: {mode}' in dump
    assert debian_contents(disks.directory, path, PASSWORDS[secret]) == before


@pytest.mark.parametrize('changes', [
    {'sync': 'incremental', 'bitmap': 'nope'}, {'sync': 'bitmap', 'bitmap': 'nope', 'bitmap-mode': 'never'},
    {'filter-node-name': 'a'}, {'filter-node-name': '1x'}, {'x-perf': {'max-chunk': 4096}},
    {'x-perf': {'min-cluster-size': 100}}, {'x-perf': {'max-workers': 0}}, {'speed': -1}, {'job-id': '1x'},
    {'key-secret': 'nope'}, {'sync': 'bitmap'}])
def test_drive_backup_refused(luks_disks, changes):
    """Before anything is written to a target that exists."""
    path = luks_disks.path('copy')
    path.write_bytes(b'other data' * 1000)
    luks_disks.qmp.error_raw('drive-backup', {'job-id': 'j', 'device': 'a', 'target': str(path), 'sync': 'full', **changes})
    assert path.read_bytes() == b'other data' * 1000
    assert luks_disks.qmp.cmd('query-jobs') == []


def test_drive_backup_undone(luks_disks):
    """Whatever fails, a target that was created is removed."""
    disks, path = luks_disks, luks_disks.path('copy')
    arguments = {'job-id': 'j', 'device': 'a', 'target': str(path), 'sync': 'full'}
    for changes in ({'sync': 'bitmap'}, {'key-secret': 'nope'}, {'filter-node-name': 'file'},
                    {'sync': 'incremental', 'bitmap': 'nope'}, {'device': 'nope'}):
        disks.qmp.error_raw('drive-backup', {**arguments, **changes})
        assert not path.exists() and disks.qmp.cmd('query-jobs') == []
    disks.qmp.error('transaction', actions=[{'type': 'drive-backup', 'data': arguments}, {'type': 'abort', 'data': {}}])
    assert not path.exists() and disks.qmp.cmd('query-jobs') == []
    disks.qmp.cmd('transaction', actions=[{'type': 'drive-backup', 'data': arguments}])
    disks.wait()
    assert debian_contents(disks.directory, path, PASSWORDS['s0']) == (disks.directory / 'plain').read_bytes()
