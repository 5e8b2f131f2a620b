"""Nodes of qemu-storage-daemon: adding, deleting, reopening, resizing, (in)activating, queries; objects.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import os

import pytest

from programs import cryptsetup, debian_qemu_img, qemu_img, run, secret_object
from qmp import QSD, StorageDaemon

MiB = 1 << 20


@pytest.fixture(name='qmp')
def fixture_qmp(tmp_path):
    with StorageDaemon(tmp_path) as daemon:
        yield daemon.qmp


@pytest.fixture(name='image')
def fixture_image(tmp_path):
    path = tmp_path / 'a.img'
    path.write_bytes(bytes(MiB))
    return str(path)


@pytest.fixture(name='luks')
def fixture_luks(tmp_path):
    path = tmp_path / 'a.luks'
    qemu_img('create', '-q', '-f', 'luks', *secret_object(tmp_path, 's', b'pw'), '-o', 'key-secret=s,iter-time=10', path, '1M')
    return str(path)


def nodes(qmp):
    return {n['node-name']: n for n in qmp.cmd('query-named-block-nodes')}


def test_add_and_delete(qmp, image):
    qmp.cmd('blockdev-add', driver='raw', node_name='top', file={'driver': 'file', 'filename': image, 'node-name': 'below'})
    info = nodes(qmp)
    assert info['top']['children'] == [{'child': 'file', 'node-name': 'below'}]
    assert info['below']['image']['virtual-size'] == MiB and info['below']['file'] == image
    assert not info['top']['ro'] and info['top']['active'] and info['top']['drv'] == 'raw'
    assert info['below']['cache'] == {'writeback': True, 'direct': False, 'no-flush': False}
    assert 'not owned by the monitor' in qmp.error('blockdev-del', node_name='below').desc
    qmp.cmd('blockdev-add', driver='raw', node_name='other', file='below', read_only=True)
    qmp.cmd('blockdev-del', node_name='top')
    assert set(nodes(qmp)) == {'below', 'other'}
    qmp.cmd('blockdev-del', node_name='other')
    assert nodes(qmp) == {}


def test_add_errors(qmp, image):
    def add_error(**options):
        return qmp.error('blockdev-add', **options).desc
    assert 'node-name' in add_error(driver='file', filename=image)
    assert "'driver' is missing" in add_error(filename=image, node_name='n')
    assert "'nope'" in add_error(driver='nope', node_name='n')
    assert "'filename' is missing" in add_error(driver='file', node_name='n')
    assert "'foo'" in add_error(driver='file', filename=image, node_name='n', foo=1)
    assert "'read-only'" in add_error(driver='file', filename=image, node_name='n', read_only='on')
    assert 'Invalid node-name' in add_error(driver='file', filename=image, node_name='1')
    assert 'Invalid node-name' in add_error(driver='file', filename=image, node_name='x' * 32)
    assert 'No such file' in add_error(driver='file', filename=image + 'x', node_name='n')
    assert "'n9'" in add_error(driver='raw', node_name='n', file='n9')
    assert "'n'" in add_error(driver='raw', node_name='n', file='n')
    assert "'pr-manager'" in add_error(driver='file', filename=image, node_name='n', pr_manager='x')
    assert "'max-pbkdf-iterations'" in add_error(driver='luks', node_name='n', file='x', max_pbkdf_iterations=2**63)
    assert nodes(qmp) == {}
    qmp.cmd('blockdev-add', driver='file', filename=image, node_name='n')
    assert "Duplicate nodes with node-name='n'" in add_error(driver='null-co', node_name='n')
    assert "'nope'" in qmp.error('blockdev-del', node_name='nope').desc
    assert set(nodes(qmp)) == {'n'}


def test_deep_nesting(qmp, image):
    options = {'driver': 'file', 'filename': image}
    for _ in range(40):
        options = {'driver': 'raw', 'file': options}
    assert 'error' not in qmp.cmd_raw('blockdev-add', {**options, 'node-name': 'deep'})
    qmp.cmd('blockdev-del', node_name='deep')
    for _ in range(100):
        options = {'driver': 'raw', 'file': options}
    qmp.send({'execute': 'blockdev-add', 'arguments': {**options, 'node-name': 'deep'}})
    assert 'error' in qmp.answer()
    assert nodes(qmp) == {}


def test_many_nodes(qmp):
    for i in range(300):
        qmp.cmd('blockdev-add', driver='null-co', size=i, node_name=f'n{i}')
    assert len(nodes(qmp)) == 300
    for i in range(300):
        qmp.cmd('blockdev-del', node_name=f'n{i}')


def test_options_of_the_command_line(tmp_path, image, luks):
    with StorageDaemon(tmp_path, *secret_object(tmp_path, 's0', b'pw'),
                       '--blockdev', f'file,node-name=st,filename={luks}',
                       '--blockdev', 'driver=luks,node-name=fmt,file=st,key-secret=s0,read-only=on',
                       '--blockdev', '{"driver": "raw", "node-name": "r", "file": {"driver": "file", "filename": "%s"}}'
                       % image) as daemon:
        info = nodes(daemon.qmp)
        assert info['fmt']['encrypted'] and info['fmt']['ro'] and info['fmt']['image']['virtual-size'] == MiB
        assert 'r' in info
    assert 'file=' in run(QSD, '--blockdev', 'luks,help').stdout
    assert 'driver=' in run(QSD, '--blockdev', 'help').stdout
    assert 'node-name' in run(QSD, '--blockdev', f'file,filename={image}', status=1).stderr
    assert 'No such file' in run(QSD, '--blockdev', 'file,node-name=a,filename=/nonexistent', status=1).stderr
    no_secret = run(QSD, '--blockdev', f'driver=luks,node-name=a,file.driver=file,file.filename={luks}', status=1).stderr
    assert '--object secret,id=sec0,file=FILE' in no_secret and 'key-secret=sec0' in no_secret


def test_a_second_daemon_is_refused(tmp_path, luks):
    other = tmp_path / 'other'
    other.mkdir()
    args = [*secret_object(tmp_path, 's0', b'pw')]
    options = {'driver': 'luks', 'node-name': 'f', 'key-secret': 's0', 'file': {'driver': 'file', 'filename': luks}}
    with StorageDaemon(tmp_path, *args) as first, StorageDaemon(other, *args) as second:
        for daemon in (first, second):
            daemon.qmp.cmd_raw('blockdev-add', options)
        # a writer in one locks out the other's writers
        first.qmp.cmd('blockdev-keyslot-add', job_id='j', node_name='f', new_secret='s0', iter_time=1000)
        first.qmp.wait_event('JOB_STATUS_CHANGE', id='j', status='running')
        first.qmp.cmd('query-version')
        info = second.qmp.run_job('blockdev-keyslot-add', 'j', node_name='f', new_secret='s0', iter_time=10)
        assert 'lock' in info['error'].lower()
        first.qmp.wait_event('JOB_STATUS_CHANGE', id='j', status='concluded')
        assert 'error' not in second.qmp.run_job('blockdev-keyslot-add', 'j', node_name='f', new_secret='s0', iter_time=10)


def test_passwords_while_another_daemon_reads(tmp_path, luks):
    """A reader of the payload allows changes to the header: it has the master key."""
    other = tmp_path / 'other'
    other.mkdir()
    args = [*secret_object(tmp_path, 's0', b'pw'), '--blockdev', f'file,node-name=f,filename={luks}',
            '--blockdev', 'luks,node-name=l,file=f,key-secret=s0']
    reading = ['--nbd-server', f'addr.type=unix,addr.path={tmp_path}/n.sock', '--export', 'nbd,id=e,node-name=l']
    uri = f'nbd+unix:///l?socket={tmp_path}/n.sock'
    with StorageDaemon(tmp_path, *args, *reading), StorageDaemon(other, *args, '--object', 'secret,id=s1,data=new') as second:
        debian_qemu_img('dd', '-O', 'raw', f'if={uri}', f'of={tmp_path}/before')
        assert 'error' not in second.qmp.run_job('blockdev-keyslot-change', 'j', node_name='l', old_secret='s0',
                                                 new_secret='s1', iter_time=10)
        debian_qemu_img('compare', '-f', 'raw', '-F', 'raw', tmp_path / 'before', uri)
    cryptsetup('open', '--test-passphrase', luks, password=b'new')


def test_reopen(qmp, image):
    file = {'driver': 'file', 'node-name': 'f', 'filename': image}
    raw = {'driver': 'raw', 'node-name': 'r', 'file': 'f'}
    qmp.cmd_raw('blockdev-add', file)
    qmp.cmd_raw('blockdev-add', raw)

    def reopen(*options):
        qmp.cmd('blockdev-reopen', options=list(options))

    def reopen_error(*options):
        before = nodes(qmp)
        desc = qmp.error('blockdev-reopen', options=list(options)).desc
        assert nodes(qmp) == before
        return desc
    reopen({**raw, 'read-only': True}, {**file, 'read-only': True})
    assert nodes(qmp)['f']['ro'] and nodes(qmp)['r']['ro']
    assert "node 'r' is read-only" in qmp.error('block_resize', node_name='r', size=2 * MiB).desc
    # both orders, and all or none
    reopen(file, raw)
    assert not nodes(qmp)['f']['ro'] and not nodes(qmp)['r']['ro']
    assert "'nope'" in reopen_error({**raw, 'read-only': True}, {'driver': 'raw', 'node-name': 'nope', 'file': 'f'})
    assert "cannot change the option 'filename'" in reopen_error({**raw, 'read-only': True}, {**file, 'filename': '/etc/passwd'})
    assert "cannot change the option 'driver'" in reopen_error({'driver': 'null-co', 'node-name': 'f'})
    assert "cannot change the option 'offset'" in reopen_error({**raw, 'offset': 512})
    assert "cannot change the option 'file'" in reopen_error({**raw, 'file': file})
    assert 'twice' in reopen_error(raw, raw)
    assert 'node-name not specified' in reopen_error({'driver': 'raw', 'file': 'f'})
    assert 'force-share' in reopen_error({**file, 'force-share': True})
    # cache modes and the rest
    reopen({**file, 'cache': {'no-flush': True}, 'discard': 'unmap', 'detect-zeroes': 'unmap'})
    info = nodes(qmp)['f']
    assert info['cache']['no-flush'] and info['detect_zeroes'] == 'unmap'
    reopen(file)
    assert not nodes(qmp)['f']['cache']['no-flush']
    os.chmod(image, 0o600)
    os.rename(image, image + '.moved')
    reopen({**file, 'read-only': True}, {**raw, 'read-only': True})
    reopen({**file}, {**raw})


def test_reopen_direct(qmp, image):
    file = {'driver': 'file', 'node-name': 'f', 'filename': image}
    qmp.cmd_raw('blockdev-add', file)
    try:
        os.close(os.open(image, os.O_RDONLY | os.O_DIRECT))
    except OSError:
        pytest.skip('no O_DIRECT here')
    qmp.cmd('blockdev-reopen', options=[{**file, 'cache': {'direct': True}}])
    info = nodes(qmp)['f']
    assert info['cache']['direct'] and info['image']['limits']['request-alignment'] >= 512
    qmp.cmd('blockdev-reopen', options=[file])
    assert nodes(qmp)['f']['image']['limits']['request-alignment'] == 1


def test_reopen_keeps_the_image_locks(qmp, image):
    """A reopened node keeps its locks: another program is kept out as before."""
    file = {'driver': 'file', 'node-name': 'f', 'filename': image}
    qmp.cmd_raw('blockdev-add', file)
    for options in ({**file, 'cache': {'no-flush': True}}, {**file, 'read-only': True}, file):
        qmp.cmd('blockdev-reopen', options=[options])
        locks = [line for line in open('/proc/locks', encoding='ascii') if f':{os.stat(image).st_ino} ' in line]
        assert len({line.split()[-2] for line in locks}) == len(locks)


def test_resize(qmp, image):
    qmp.cmd('blockdev-add', driver='file', node_name='f', filename=image)
    qmp.cmd('block_resize', node_name='f', size=2 * MiB)
    assert os.stat(image).st_size == 2 * MiB and nodes(qmp)['f']['image']['virtual-size'] == 2 * MiB
    qmp.cmd('block_resize', device='f', size=MiB)
    assert os.stat(image).st_size == MiB
    assert 'size' in qmp.error('block_resize', node_name='f', size=-1).desc
    assert 'exactly one' in qmp.error('block_resize', size=1).desc
    assert 'exactly one' in qmp.error('block_resize', size=1, device='f', node_name='f').desc
    assert 'too big' in qmp.error('block_resize', node_name='f', size=2**63 - 1).desc
    assert "'x'" in qmp.error('block_resize', node_name='x', size=1).desc


def test_set_active(qmp, image):
    qmp.cmd('blockdev-add', driver='file', node_name='f', filename=image)
    qmp.cmd('blockdev-add', driver='raw', node_name='r', file='f')
    assert "active parent node 'r'" in qmp.error('blockdev-set-active', node_name='f', active=False).desc
    qmp.cmd('blockdev-set-active', active=False)
    assert [n['active'] for n in nodes(qmp).values()] == [False, False]
    assert 'not active' in qmp.error('block_resize', node_name='f', size=1).desc
    debian_qemu_img('resize', '-q', '-f', 'raw', image, '2M')
    qmp.cmd('blockdev-set-active', active=True)
    assert nodes(qmp)['r']['active'] and nodes(qmp)['f']['image']['virtual-size'] == 2 * MiB
    # with nodes below, unless an active node uses them, too
    qmp.cmd('blockdev-add', driver='raw', node_name='other', file='f')
    qmp.cmd('blockdev-set-active', node_name='r', active=False)
    assert {name: n['active'] for name, n in nodes(qmp).items()} == {'f': True, 'r': False, 'other': True}
    qmp.cmd('blockdev-set-active', node_name='other', active=False)
    assert not any(n['active'] for n in nodes(qmp).values())
    qmp.cmd('blockdev-set-active', node_name='r', active=True)
    assert {name: n['active'] for name, n in nodes(qmp).items()} == {'f': True, 'r': True, 'other': False}
    qmp.cmd('blockdev-add', driver='null-co', node_name='z', active=False)
    assert not nodes(qmp)['z']['active']
    qmp.cmd('blockdev-set-active', node_name='z', active=True)
    assert nodes(qmp)['z']['active']
    # children may be created before or after their parents
    qmp.cmd('blockdev-add', driver='raw', node_name='young', file={'driver': 'null-co'})
    for active in (False, True):
        qmp.cmd('blockdev-set-active', active=active)
        assert {n['active'] for n in nodes(qmp).values()} == {active}


def test_read_what_is_inactive(qmp, luks):
    """Also through a filter, which requests nothing itself."""
    qmp.cmd('object-add', qom_type='secret', id='s', data='pw')
    qmp.cmd('blockdev-add', driver='raw', node_name='r', active=False, file={'driver': 'file', 'filename': luks, 'active': False})
    qmp.cmd('blockdev-add', driver='luks', node_name='l', key_secret='s', file='r')
    assert nodes(qmp)['l']['image']['virtual-size'] == MiB
    desc = qmp.error('block_resize', node_name='l', size=2 * MiB).desc
    assert desc == "Block node 'r' is not active, but node 'l' needs permission 'resize'"


def test_graph_and_stats(qmp, luks):
    qmp.cmd('object-add', qom_type='secret', id='s', data='pw')
    qmp.cmd('blockdev-add', driver='luks', node_name='l', key_secret='s', file={'driver': 'file', 'filename': luks,
                                                                              'node-name': 'f'})
    graph = qmp.cmd('x-debug-query-block-graph')
    ids = {n['name']: n['id'] for n in graph['nodes']}
    assert [n['type'] for n in graph['nodes']] == ['block-driver'] * 2
    edge, = graph['edges']
    assert (edge['parent'], edge['child'], edge['name']) == (ids['l'], ids['f'], 'file')
    assert edge['perm'] == ['consistent-read'] and 'resize' not in edge['shared-perm']
    assert qmp.cmd('query-block') == [] and qmp.cmd('query-blockstats') == []
    stats = {s['node-name']: s for s in qmp.cmd('query-blockstats', query_nodes=True)}
    assert stats['l']['parent']['node-name'] == 'f' and stats['f']['stats']['wr_highest_offset'] == 0
    assert 'error' not in qmp.run_job('blockdev-keyslot-add', 'j', node_name='l', new_secret='s', keyslot=3, iter_time=10)
    stats = {s['node-name']: s['stats']['wr_highest_offset'] for s in qmp.cmd('query-blockstats', query_nodes=True)}
    assert stats == {'l': 0, 'f': 778240 + 256000}


def test_passed_file(tmp_path, image):
    with StorageDaemon(tmp_path) as daemon:
        qmp = daemon.qmp
        with open(image, 'rb') as ro:
            info = qmp.cmd('add-fd', fds=[ro.fileno()], opaque='read-only')
        number = info['fdset-id']
        path = f'/dev/fdset/{number}'
        os.rename(image, image + '.hidden')
        assert 'Permission denied' in qmp.error('blockdev-add', driver='file', node_name='n', filename=path).desc
        qmp.cmd('blockdev-add', driver='file', node_name='n', filename=path, read_only=True)
        assert nodes(qmp)['n']['image']['virtual-size'] == MiB
        qmp.cmd('blockdev-del', node_name='n')
        with open(image + '.hidden', 'r+b') as rw:
            assert qmp.cmd('add-fd', fds=[rw.fileno()], fdset_id=number)['fdset-id'] == number
            assert qmp.cmd('add-fd', fds=[rw.fileno()], fdset_id=9)['fdset-id'] == 9
            assert qmp.cmd('add-fd', fds=[rw.fileno()])['fdset-id'] == 1
        sets = qmp.cmd('query-fdsets')
        assert [(s['fdset-id'], len(s['fds'])) for s in sets] == [(0, 2), (1, 1), (9, 1)]
        assert sets[0]['fds'][0]['opaque'] == 'read-only'
        qmp.cmd('blockdev-add', driver='file', node_name='n', filename=path)
        qmp.cmd('remove-fd', fdset_id=number, fd=info['fd'])
        for i in (0, 1, 9):
            qmp.cmd('remove-fd', fdset_id=i)
        assert 'not found' in qmp.error('remove-fd', fdset_id=0).desc
        assert 'not found' in qmp.error('remove-fd', fdset_id=0, fd=-1).desc
        qmp.cmd('block_resize', node_name='n', size=4096)
        assert qmp.cmd('query-fdsets') == []
        for bad in ('/dev/fdset/0', '/dev/fdset/', '/dev/fdset/x', '/dev/fdset/-1'):
            assert 'Could not open' in qmp.error('blockdev-add', driver='file', node_name='m', filename=bad).desc
    assert os.stat(image + '.hidden').st_size == 4096


def test_objects(qmp, tmp_path):
    qmp.cmd('object-add', qom_type='secret', id='s0', data='top secret')
    assert "'s0' already" in qmp.error('object-add', qom_type='secret', id='s0', data='x').desc
    assert 'not a valid' in qmp.error('object-add', qom_type='secret', id='0', data='x').desc
    assert "'qom-type'" in qmp.error('object-add', qom_type='nope', id='x').desc
    assert "'id' is missing" in qmp.error('object-add', qom_type='secret', data='x').desc
    assert 'No such file' in qmp.error('object-add', qom_type='secret', id='f', file=str(tmp_path / 'no')).desc
    listing = {p['name']: p['type'] for p in qmp.cmd('qom-list', path='/objects')}
    assert listing == {'type': 'string', 's0': 'child<secret>'}
    assert {'objects'} < {p['name'] for p in qmp.cmd('qom-list', path='/')}
    assert 'format' in [p['name'] for p in qmp.cmd('qom-list', path='/objects/s0')]
    assert qmp.cmd('qom-get', path='/objects/s0', property='type') == 'secret'
    assert qmp.cmd('qom-get', path='s0', property='keyid') is None
    assert 'not readable' in qmp.error('qom-get', path='s0', property='data').desc
    assert 'not found' in qmp.error('qom-get', path='s0', property='zz').desc
    assert qmp.error('qom-get', path='/objects/zz', property='type').cls == 'DeviceNotFound'
    assert 'not writable' in qmp.error('qom-set', path='s0', property='keyid', value='a').desc
    qmp.cmd('object-del', id='s0')
    assert "'s0'" in qmp.error('object-del', id='s0').desc


def test_transaction(qmp):
    assert qmp.cmd('transaction', actions=[]) == {}
    abort = [{'type': 'abort', 'data': {}}]
    assert 'Abort' in qmp.error('transaction', actions=abort).desc
    assert 'Abort' in qmp.error('transaction', actions=abort, properties={'completion-mode': 'individual'}).desc
    assert qmp.error('transaction', actions=abort, properties={'completion-mode': 'grouped'}).desc == (
        "Action 'abort' does not support transaction property completion-mode = grouped")
    assert "'actions[0].type'" in qmp.error('transaction', actions=[{'type': 'blockdev-snapshot', 'data': {}}]).desc
