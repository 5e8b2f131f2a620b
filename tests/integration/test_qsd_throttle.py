"""Throttle groups and the throttle driver: limits are kept, shared, checked and changed; everything else passes.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import os
import signal
import subprocess
import time

import nbd
import pytest

from nbd_server import NbdServer, wait_until
from programs import QEMU_IMG, cryptsetup, debian_qemu_img, qemu_img, qemu_img_json, qemu_io
from qmp import StorageDaemon

pytestmark = pytest.mark.threads

MIB = 1 << 20
# Limits under which the first request starts, and the next one does not while a test runs.
AGES = {'bps_total': 1}
NULL = {'driver': 'null-co', 'size': MIB}


@pytest.fixture(name='daemon')
def fixture_daemon(tmp_path):
    """A daemon with an NBD server and two I/O threads."""
    with StorageDaemon(tmp_path, '--object', 'iothread,id=io0', '--object', 'iothread,id=io1',
                       '--nbd-server', f'addr.type=unix,addr.path={tmp_path}/nbd.sock') as daemon:
        yield daemon


@pytest.fixture(name='qmp')
def fixture_qmp(daemon):
    return daemon.qmp


def add_group(qmp, ident='g', **limits):
    qmp.cmd('object-add', qom_type='throttle-group', id=ident,
            limits={name.replace('_', '-'): value for name, value in limits.items()})


def add_node(qmp, name='t', group='g', file=None, **options):
    qmp.cmd('blockdev-add', driver='throttle', node_name=name, throttle_group=group, file=file or NULL, **options)


def export(qmp, name='t', **options):
    """Export a node under its name, writable."""
    qmp.cmd('block-export-add', type='nbd', id=name, node_name=name, writable=True, **options)


def set_limits(qmp, ident='g', **limits):
    qmp.cmd('qom-set', path=ident, property='limits', value={n.replace('_', '-'): v for n, v in limits.items()})


class Client:
    """A client that makes requests without waiting for them."""

    def __init__(self, directory, name='t'):
        self.nbd = nbd.NBD()
        self.nbd.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
        self.nbd.connect_uri(f'nbd+unix:///{name}?socket={directory}/nbd.sock')
        self._cookies = []

    def read(self, n, length=512):
        for _ in range(n):
            self._cookies.append(self.nbd.aio_pread(nbd.Buffer(length), 0))

    def write(self, n, length=512):
        for _ in range(n):
            self._cookies.append(self.nbd.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(length)), 0))

    def left(self):
        """Number of requests that have not been answered yet."""
        while self.nbd.poll(0):
            pass
        self._cookies = [cookie for cookie in self._cookies if not self.nbd.aio_command_completed(cookie)]
        return len(self._cookies)

    def wait_left(self, n):
        """Wait until no more than N are left."""
        deadline = time.monotonic() + 60
        while self.left() > n:
            assert time.monotonic() < deadline, f'{self.left()} requests are left'
            self.nbd.poll(100)


def all_limits(**given):
    """What qom-get shows if only these limits are set."""
    names = [f'{kind}-{part}' for kind in ('iops', 'bps') for part in ('total', 'read', 'write')]
    limits = {'iops-size': 0}
    for name in names:
        limits.update({name: 0, f'{name}-max': 0, f'{name}-max-length': 1})
    return {**limits, **{name.replace('_', '-'): value for name, value in given.items()}}


def test_properties(qmp):
    def limits():
        return qmp.cmd('qom-get', path='/objects/g', property='limits')

    qmp.cmd('object-add', qom_type='throttle-group', id='g', x_iops_total=10, x_iops_total_max=20, limits={'iops-total': 11})
    assert limits() == all_limits(iops_total=11, iops_total_max=20)
    assert qmp.cmd('qom-get', path='g', property='x-iops-total') == 11
    assert qmp.cmd('qom-get', path='g', property='x-bps-read-max-length') == 1
    properties = {p['name']: p['type'] for p in qmp.cmd('qom-list', path='/objects/g')}
    assert properties['limits'] == 'ThrottleLimits' and properties['x-iops-size'] == 'int' and len(properties) == 21
    # omitted limits do not change
    set_limits(qmp, bps_read=5, iops_size=4096)
    assert limits() == all_limits(iops_total=11, iops_total_max=20, bps_read=5, iops_size=4096)
    assert qmp.cmd('qom-get', path='g', property='x-bps-read') == 5
    # from a total to one for each direction
    set_limits(qmp, iops_total=0, iops_total_max=0, iops_write=7)
    assert limits() == all_limits(iops_write=7, bps_read=5, iops_size=4096)

    def set_error(name, value):
        return qmp.error('qom-set', path='g', property=name, value=value).desc
    assert set_error('x-iops-total', 1) == "Property 'throttle-group.x-iops-total' is not writable"
    assert "'limits'" in set_error('limits', 5) and "'limits'" in set_error('limits', None)
    assert "'limits.bps-read'" in set_error('limits', {'bps-read': 'many'})
    assert "'limits.nope'" in set_error('limits', {'nope': 1})
    assert set_error('limits', {'bps-total': 1}) == \
        "Throttle group 'g': bps-total and bps-read cannot be used at the same time"
    assert limits() == all_limits(iops_write=7, bps_read=5, iops_size=4096)
    qmp.cmd('object-add', qom_type='secret', id='s', data='x')
    assert "'secret.data' is not writable" in qmp.error('qom-set', path='s', property='data', value='y').desc
    qmp.cmd('object-del', id='g')


BAD = {
    'bps-total=1,bps-read=1': 'bps-total and bps-read ',
    'iops-total=1,iops-write=1': 'iops-total and iops-write ',
    'bps-read=2,bps-read-max=3,bps-total-max=3': 'bps-total-max needs bps-total',
    'bps-read=-1': 'bps-read must be',
    'iops-read=1000000000000001': 'iops-read must be',
    'iops-read=1,iops-read-max=1000000000000001': 'iops-read-max must be',
    'iops-read=1,iops-read-max=1,iops-read-max-length=0': 'iops-read-max-length must be',
    'iops-read=1,iops-read-max=1,iops-read-max-length=4294967296': 'iops-read-max-length must be',
    'iops-read=1,iops-read-max-length=2': 'iops-read-max-length needs iops-read-max',
    'iops-read-max=2': 'iops-read-max needs iops-read',
    'iops-read=3,iops-read-max=2': 'iops-read-max cannot be lower than iops-read',
    'bps-write=1,bps-write-max=1000000000,bps-write-max-length=1000001': 'bps-write-max-length is too high',
    'bps-read=1,iops-size=512': 'iops-size needs',
}
GOOD = ('', 'iops-total=1,bps-read=1,bps-write=1', 'bps-read=1000000000000000', 'iops-read=1,iops-size=512',
        'bps-write=1,bps-write-max=1000000000,bps-write-max-length=1000000', 'iops-read=2,iops-read-max=2')


def test_bad_limits(qmp, tmp_path):
    """As in QEMU, on the command line and over QMP; nothing is left behind."""
    (tmp_path / 'a').write_bytes(bytes(512))

    def info(qemu_img_, limits, status):
        single = ''.join(f',limits.{limit}' for limit in limits.split(',') if limit)
        return qemu_img_('info', '--object', f'throttle-group,id=g{single}', tmp_path / 'a', status=status).stderr
    add_group(qmp, 'h')
    for limits, error in BAD.items():
        given = {name: int(value) for name, value in (limit.split('=') for limit in limits.split(','))}
        assert f"Throttle group 'g': {error}" in info(qemu_img, limits, 1), limits
        assert info(debian_qemu_img, limits, 1), limits
        assert error in qmp.error('object-add', qom_type='throttle-group', id='g', limits=given).desc
        x_given = {f'x-{name}': value for name, value in given.items()}
        assert error in qmp.error('object-add', qom_type='throttle-group', id='g', **x_given).desc
        assert error in qmp.error('qom-set', path='h', property='limits', value=given).desc
        assert qmp.cmd('qom-get', path='h', property='limits') == all_limits()
    for limits in GOOD:
        info(qemu_img, limits, 0)
        info(debian_qemu_img, limits, 0)


def test_node_errors(qmp, tmp_path):
    def add_error(**options):
        return qmp.error('blockdev-add', driver='throttle', node_name='t', **options).desc
    add_group(qmp)
    assert "'throttle-group' is missing" in add_error(file=NULL)
    assert "'file' is missing" in add_error(throttle_group='g')
    assert add_error(throttle_group='h', file=NULL) == "There is no object with id 'h'"
    assert "'io0' is of type 'iothread'" in add_error(throttle_group='io0', file=NULL)
    assert 'No such file' in add_error(throttle_group='g', file={'driver': 'file', 'filename': str(tmp_path / 'none')})
    assert "node-name='nope'" in add_error(throttle_group='g', file='nope')
    # none of them is a member of the group
    qmp.cmd('object-del', id='g')


@pytest.mark.parametrize('limit, make, seconds', [
    ({'iops_total': 20}, lambda c: (c.read(6), c.write(6)), 9 / 20),
    ({'iops_write': 20}, lambda c: c.write(12), 9 / 20),
    ({'bps_read': 10240}, lambda c: c.read(12), 9 / 20),
    ({'iops_total': 20, 'iops_size': 512}, lambda c: c.read(6, 1024), 8 / 20),
])
def test_limit(qmp, tmp_path, limit, make, seconds):
    """A bucket holds a tenth of a second: 2 requests. So 3 of 12 start at once, and the last 9/20 of a second later."""
    add_group(qmp, **limit)
    add_node(qmp)
    export(qmp)
    client = Client(tmp_path)
    start = time.monotonic()
    make(client)
    client.wait_left(0)
    assert time.monotonic() - start >= seconds


def test_passes_freely(qmp, tmp_path):
    """What has no limit passes while writes wait: reads, flushes, queries."""
    add_group(qmp, bps_write=1)
    add_node(qmp)
    export(qmp)
    client = Client(tmp_path)
    client.write(4)
    client.wait_left(3)
    for _ in range(3):
        client.nbd.pread(4096, 0)
        client.nbd.flush()
        client.nbd.block_status(MIB, 0, lambda *_: 0)
    assert client.left() == 3


def test_shared(qmp, tmp_path):
    """Two nodes with requests on two threads share one limit; a third, in another group, is not affected."""
    add_group(qmp, iops_total=40)
    add_group(qmp, 'other', bps_total=1000000000)
    for name, group, iothread in (('a', 'g', 'io0'), ('b', 'g', 'io1'), ('c', 'other', 'io0')):
        add_node(qmp, name, group)
        export(qmp, name, iothread=iothread)
    clients = [Client(tmp_path, name) for name in 'abc']
    start = time.monotonic()
    for client in clients:
        client.read(15)
    for client in clients:
        client.wait_left(0)
    # 5 of 30 at once
    assert time.monotonic() - start >= 25 / 40


def test_live_change(qmp, tmp_path):
    """Requests that would wait for ages continue; while they wait, nothing can be deleted below them."""
    add_group(qmp, **AGES)
    for name, iothread in (('a', 'io0'), ('b', 'io1')):
        add_node(qmp, name)
        export(qmp, name, iothread=iothread)
    clients = [Client(tmp_path, name) for name in 'ab']
    clients[0].read(1)
    clients[0].wait_left(0)
    for client in clients:
        client.read(8)
        client.write(8)
    assert qmp.error('object-del', id='g').desc == "object 'g' is in use, can not be deleted: it is used by node 'a'"
    assert "export 'a'" in qmp.error('blockdev-del', node_name='a').desc
    assert 'bps-total and bps-read' in qmp.error('qom-set', path='g', property='limits', value={'bps-read': 1}).desc
    assert sum(client.left() for client in clients) == 32
    set_limits(qmp, bps_total=0)
    for client in clients:
        client.wait_left(0)
    for name in 'ab':
        qmp.cmd('block-export-del', id=name, mode='hard')
        qmp.wait_event('BLOCK_EXPORT_DELETED', id=name)
        qmp.cmd('blockdev-del', node_name=name)
    qmp.cmd('object-del', id='g')


def test_reopen(qmp, tmp_path):
    """Into another group while requests wait: they continue, the next ones obey its limits."""
    def reopen(group, **options):
        return {'options': [{'driver': 'throttle', 'node-name': 't', 'throttle-group': group, 'file': 'f', **options}]}
    add_group(qmp, **AGES)
    add_group(qmp, 'h', iops_total=1000)
    qmp.cmd('blockdev-add', node_name='f', **NULL)
    add_node(qmp, file='f')
    export(qmp, iothread='io0')
    client = Client(tmp_path)
    client.read(8)
    client.wait_left(7)
    # a failure does not change the group
    assert "no object with id 'nope'" in qmp.error_raw('blockdev-reopen', reopen('nope')).desc
    assert 'read-only' in qmp.error_raw('blockdev-reopen', reopen('h', **{'read-only': True})).desc
    assert "throttle-group' is missing" in qmp.error_raw('blockdev-reopen', {
        'options': [{'driver': 'throttle', 'node-name': 't', 'file': 'f'}]}).desc
    qmp.cmd('object-del', id='h')
    assert "node 't'" in qmp.error('object-del', id='g').desc
    add_group(qmp, 'h', iops_total=1000)
    client.read(2)
    qmp.cmd_raw('blockdev-reopen', reopen('h'))
    qmp.cmd('object-del', id='g')
    client.read(20)
    client.wait_left(0)
    assert "node 't'" in qmp.error('object-del', id='h').desc


def test_drain(qmp, tmp_path):
    """Commands that drain requests do not wait for the limits."""
    (tmp_path / 'a').write_bytes(bytes(MIB))
    add_group(qmp, **AGES)
    add_node(qmp, file={'driver': 'file', 'node-name': 'f', 'filename': str(tmp_path / 'a')})
    export(qmp, iothread='io0')
    client = Client(tmp_path)
    client.read(8)
    client.write(8)
    client.wait_left(15)
    for size, node in ((2 * MIB, 't'), (3 * MIB, 'f')):
        qmp.cmd('block_resize', node_name=node, size=size)
    assert (tmp_path / 'a').stat().st_size == 3 * MIB
    set_limits(qmp, bps_total=0)
    client.wait_left(0)


@pytest.mark.parametrize('iothread', [None, 'io0'])
def test_end(daemon, tmp_path, iothread):
    """The daemon ends even though requests and a job are waiting."""
    add_group(daemon.qmp, **AGES)
    add_node(daemon.qmp)
    add_node(daemon.qmp, 'u')
    export(daemon.qmp, **({'iothread': iothread} if iothread else {}))
    client = Client(tmp_path)
    client.read(8)
    client.write(4)
    daemon.qmp.cmd('object-add', qom_type='secret', id='s', data='pw')
    daemon.qmp.cmd('blockdev-create', job_id='j', options={'driver': 'luks', 'file': 'u', 'size': 4096, 'key-secret': 's',
                                                           'iter-time': 10})
    daemon.qmp.cmd('quit')
    status, stderr = daemon.wait()
    assert status == 0, stderr


def test_filter(qmp, tmp_path):
    """Zeroes, discards, status and permissions are those of the file."""
    path = tmp_path / 'a'
    path.write_bytes(b'x' * MIB)
    add_group(qmp, iops_total=1000000)
    add_node(qmp, discard='unmap', file={'driver': 'file', 'node-name': 'f', 'filename': str(path)})
    export(qmp)
    client = Client(tmp_path)
    client.nbd.trim(256 * 1024, 0)
    client.nbd.zero(256 * 1024, 512 * 1024)
    client.nbd.pwrite(b'y' * 1000, MIB - 1000, nbd.CMD_FLAG_FUA)
    content = path.read_bytes()
    assert content == bytes(256 * 1024) + b'x' * 256 * 1024 + bytes(256 * 1024) + b'x' * (256 * 1024 - 1000) + b'y' * 1000
    extents = []
    client.nbd.block_status(MIB, 0, lambda _context, _offset, entries, _error: extents.extend(entries) or 0)
    # unless the file system of the test has no holes
    assert extents[::2] == [256 * 1024] * 4 or os.stat(path).st_blocks * 512 >= MIB
    info, = [n for n in qmp.cmd('query-named-block-nodes') if n['node-name'] == 't']
    assert info['drv'] == 'throttle' and info['image']['virtual-size'] == MIB
    assert info['file'].startswith('json:') and str(path) in info['file']
    # it passes on what its users need and share
    qmp.cmd('blockdev-add', driver='raw', node_name='reader', file='f', read_only=True)
    # auto-read-only follows the file
    qmp.cmd('blockdev-add', driver='throttle', node_name='ro', throttle_group='g', auto_read_only=True,
            file={'driver': 'file', 'filename': str(path), 'read-only': True})
    assert [n['ro'] for n in qmp.cmd('query-named-block-nodes') if n['node-name'] == 'ro'] == [True]


@pytest.mark.parametrize('throttled', ['file', 'luks'])
def test_encrypted(qmp, tmp_path, throttled):
    """Passwords and erasing, with the filter below or above the encryption."""
    path = tmp_path / 'a.luks'
    for i in range(2):
        qmp.cmd('object-add', qom_type='secret', id=f's{i}', data=f'password {i}')
    qemu_img('create', '-q', '-f', 'luks', '--object', 'secret,id=s0,data=password 0', '-o', 'key-secret=s0,iter-time=10',
             path, MIB)
    add_group(qmp, iops_total=10000)
    file = {'driver': 'raw', 'node-name': 'r', 'file': {'driver': 'file', 'node-name': 'f', 'filename': str(path)}}
    luks = {'driver': 'luks', 'node-name': 'l', 'key-secret': 's0'}
    throttle = {'driver': 'throttle', 'node-name': 't', 'throttle-group': 'g'}
    top = {**luks, 'file': {**throttle, 'file': file}} if throttled == 'file' else {**throttle, 'file': {**luks, 'file': file}}
    qmp.cmd_raw('blockdev-add', top)
    name = top['node-name']

    def opens(password):
        return cryptsetup('open', '--test-passphrase', path, password=password, status=None).returncode == 0
    for command, arguments in (
            ('blockdev-keyslot-add', {'new-secret': 's1', 'iter-time': 10}),
            ('blockdev-keyslot-remove', {'old-secret': 's0'})):
        info = qmp.run_job(command, 'j', node_name=name, **arguments)
        assert 'error' not in info, info
    assert opens(b'password 1') and not opens(b'password 0')
    info = qmp.run_job('x-blockdev-amend', 'j', node_name=name, options={
        'driver': 'luks', 'state': 'active', 'new-secret': 's0', 'iter-time': 10})
    assert 'error' not in info and opens(b'password 0'), info
    if throttled == 'luks':
        export(qmp)
        info = qmp.run_job('blockdev-secure-erase', 'j', node_name=name, scope='header')
        assert "node 't'" in info['error'] and opens(b'password 0'), info
        qmp.cmd('block-export-del', id='t')
        qmp.wait_event('BLOCK_EXPORT_DELETED', id='t')
    info = qmp.run_job('blockdev-secure-erase', 'j', node_name=name, scope='header')
    assert 'error' not in info, info
    layers = [layer['node-name'] for layer in info['report']['layers']]
    assert layers == (['l', 't', 'r', 'f'] if throttled == 'file' else ['l', 'r', 'f'])
    assert not opens(b'password 0') and not opens(b'password 1')


GROUP = ('--object', 'throttle-group,id=g,limits.iops-total=100')
THROTTLE = 'driver=throttle,throttle-group=g'


def test_programs(tmp_path):
    """qemu-img and qemu-io support groups, too, with the same names as Debian's."""
    path, copy = tmp_path / 'a', tmp_path / 'b'
    path.write_bytes(b'x' * MIB)
    assert 'throttle' in qemu_img('--help').stdout
    assert 'limits.bps-read-max-length' in qemu_img('info', '--object', 'throttle-group,help').stdout
    options = f'{THROTTLE},file.driver=file,file.filename={path}'
    assert debian_qemu_img('info', *GROUP, '--image-opts', options).stdout
    assert qemu_img_json('info', *GROUP, '--image-opts', options)['virtual-size'] == MIB
    qemu_img('convert', *GROUP, '--image-opts', options, '-O', 'raw', copy)
    assert copy.read_bytes() == path.read_bytes()
    qemu_io(*GROUP, '--image-opts', '-c', 'write -P 0x79 0 4096', '-c', 'flush', '-c', 'read -P 0x79 0 4096', options)
    assert path.read_bytes() == b'y' * 4096 + b'x' * (MIB - 4096)
    qemu_img('resize', *GROUP, '--image-opts', options, '2M')
    assert path.stat().st_size == 2 * MIB
    assert "no object with id 'g'" in qemu_img('info', '--image-opts', options, status=1).stderr


def test_convert_encrypted(tmp_path):
    """A copy inherits the encryption of its source also through a filter."""
    secret = ('--object', 'secret,id=s,data=pw')
    path, copy = tmp_path / 'a', tmp_path / 'b'
    qemu_img('create', '-q', '-f', 'luks', *secret, '-o', 'key-secret=s,iter-time=10,cipher-alg=aes-128', path, MIB)
    options = f'{THROTTLE},file.driver=luks,file.key-secret=s,file.file.driver=file,file.file.filename={path}'
    qemu_img('convert', *secret, *GROUP, '--image-opts', options, '-O', 'luks', '-o', 'key-secret=s,iter-time=10', copy)
    assert qemu_img_json('info', copy)['format-specific']['data']['cipher-alg'] == 'aes-128'


def test_interrupt(tmp_path):
    """A command can be interrupted while most of its work is still to be done."""
    path = tmp_path / 'a'
    path.write_bytes(b'x' * 64 * MIB)
    with subprocess.Popen([QEMU_IMG, 'convert', '--object', 'throttle-group,id=g,limits.bps-total=1', '--image-opts',
                           f'{THROTTLE},file.driver=file,file.filename={path}', '-O', 'raw', tmp_path / 'b'],
                          stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_until((tmp_path / 'b').exists, 'the copy to begin')
            process.send_signal(signal.SIGINT)
            _, stderr = process.communicate(timeout=60)
        finally:
            process.kill()
        assert process.returncode == 1 and 'cancelled' in stderr


def test_nbd_program(tmp_path):
    """qemu-nbd ends even though requests wait."""
    path = tmp_path / 'a'
    path.write_bytes(b'x' * MIB)
    with NbdServer(tmp_path, '--object', 'throttle-group,id=g,limits.bps-total=1', '--image-opts',
                   f'{THROTTLE},file.driver=file,file.filename={path}') as server:
        handle = nbd.NBD()
        handle.connect_uri(server.uri())
        for _ in range(4):
            handle.aio_pread(nbd.Buffer(512), 0)
        while handle.aio_in_flight() > 3:
            handle.poll(1000)
        server.process.terminate()
        assert server.process.wait(60) == 0
