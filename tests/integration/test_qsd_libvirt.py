"""The QMP commands of libvirt's VM driver, in its words and order.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import itertools
import json
import socket

import nbd
import pytest

from images import debian_contents
from nbd_server import connect_wire
from programs import cryptsetup, debian_qemu_img, password_file, secret_object
from qmp import QmpError, StorageDaemon

MIB = 1 << 20
# A secret encrypted with the key 00 01 .. 1f, recorded from libvirt, and its contents.
SECRET = {'data': '9eao5F8qtkGt+seB1HYivWIxbtwUu6MQtg1zpj/oDtUsPr1q8wBYM91uEHCn6j/1', 'keyid': 'masterKey0',
          'iv': 'AAECAwQFBgcICQoLDA0ODw==', 'format': 'base64'}
PASSWORD = b'AQCVn5hO6HzFAhAAq0NCv8jtJcIcE+HOBlMQ1A'


class Libvirt:
    """A client that numbers its requests as libvirt does, and follows the events of jobs."""

    def __init__(self, qmp):
        self.qmp = qmp
        self._numbers = itertools.count(1)

    def cmd(self, command, arguments=None, fds=()):
        """Execute COMMAND and return its result; raises QmpError."""
        ident = f'libvirt-{next(self._numbers)}'
        request = {'execute': command, **({'arguments': arguments} if arguments is not None else {}), 'id': ident}
        self.qmp.send(request, fds)
        answer = self.qmp.answer()
        assert answer.pop('id') == ident
        if 'error' in answer:
            raise QmpError(answer['error'])
        return answer['return']

    def error(self, command, arguments=None):
        """The error with which COMMAND must fail."""
        with pytest.raises(QmpError) as caught:
            self.cmd(command, arguments)
        return caught.value

    def run_job(self, command, arguments):
        """Wait until the job is concluded, and dismiss it; return its JobInfo and all its states."""
        ident = arguments['job-id']
        states = []
        assert self.cmd(command, arguments) == {}
        while 'concluded' not in states:
            states.append(self.qmp.wait_event('JOB_STATUS_CHANGE', id=ident)['data']['status'])
        info, = self.cmd('query-jobs')
        assert self.cmd('query-block-jobs') == []
        assert self.cmd('job-dismiss', {'id': ident}) == {}
        states.append(self.qmp.wait_event('JOB_STATUS_CHANGE', id=ident)['data']['status'])
        return info, states

    def nodes(self):
        """{name: virtual size}"""
        return {node['node-name']: node['image']['virtual-size']
                for node in self.cmd('query-named-block-nodes', {'flat': True}) if node['image']['actual-size'] >= 0}


@pytest.fixture(name='libvirt')
def fixture_libvirt(tmp_path):
    """A daemon that was started with the key of all secrets, and a client past the negotiation."""
    key = password_file(tmp_path, bytes(range(32)), 'master-key.aes')
    master = {'qom-type': 'secret', 'id': 'masterKey0', 'format': 'raw', 'file': str(key)}
    with StorageDaemon(tmp_path, '--object', json.dumps(master)) as daemon:
        daemon.qmp.close()
        daemon.qmp = daemon.connect(negotiate=False)
        libvirt = Libvirt(daemon.qmp)
        assert libvirt.cmd('qmp_capabilities') == {}
        yield libvirt


def storage(path, name, size):
    """The arguments that create a file, and those that open it."""
    return ({'job-id': f'create-{name}', 'options': {'driver': 'file', 'filename': str(path), 'size': size}},
            {'driver': 'file', 'filename': str(path), 'node-name': name, 'auto-read-only': True, 'discard': 'unmap',
             'cache': {'direct': False, 'no-flush': False}})


CREATED = ['created', 'running', 'waiting', 'pending', 'concluded', 'null']


def test_encrypted_volume(libvirt, tmp_path):
    """The whole life of a volume: created, written, resized, read-only, deleted."""
    path = tmp_path / 'v.luks'
    secret = 'libvirt-1-format-encryption-secret0'
    assert libvirt.cmd('object-add', {'qom-type': 'secret', 'id': secret, **SECRET}) == {}
    create, add = storage(path, 'libvirt-1-storage', 2 * MIB + 8 * MIB)
    info, states = libvirt.run_job('blockdev-create', create)
    assert states == CREATED
    assert info == {'id': 'create-libvirt-1-storage', 'type': 'create', 'status': 'concluded',
                    'current-progress': 10 * MIB, 'total-progress': 10 * MIB}
    assert libvirt.cmd('blockdev-add', add) == {}
    info, states = libvirt.run_job('blockdev-create', {'job-id': 'create-libvirt-1-format', 'options': {
        'driver': 'luks', 'file': 'libvirt-1-storage', 'size': 8 * MIB, 'key-secret': secret, 'cipher-alg': 'aes-256',
        'cipher-mode': 'xts', 'hash-alg': 'sha256', 'ivgen-alg': 'plain64', 'ivgen-hash-alg': 'sha256',
        'iter-time': 10}})       # libvirt omits this one, but it makes the test fast
    assert states == CREATED and 'error' not in info
    node = {'node-name': 'libvirt-1-format', 'read-only': False, 'driver': 'luks', 'key-secret': secret,
            'file': 'libvirt-1-storage'}
    assert libvirt.cmd('blockdev-add', node) == {}
    assert libvirt.nodes()['libvirt-1-format'] == 8 * MIB
    cryptsetup('open', '--test-passphrase', path, password=PASSWORD)

    assert libvirt.cmd('block_resize', {'node-name': 'libvirt-1-format', 'size': 12 * MIB}) == {}
    assert libvirt.nodes()['libvirt-1-format'] == 12 * MIB
    assert libvirt.cmd('blockdev-reopen', {'options': [{**node, 'read-only': True}]}) == {}
    assert 'read-only' in libvirt.error('block_resize', {'node-name': 'libvirt-1-format', 'size': MIB}).desc
    assert libvirt.cmd('blockdev-reopen', {'options': [node]}) == {}
    for active in (False, True):
        assert libvirt.cmd('blockdev-set-active', {'node-name': 'libvirt-1-format', 'active': active}) == {}
    for name in ('libvirt-1-format', 'libvirt-1-storage'):
        assert libvirt.cmd('blockdev-del', {'node-name': name}) == {}
    assert libvirt.nodes() == {}
    for ident in (secret, 'masterKey0'):
        assert libvirt.cmd('object-del', {'id': ident}) == {}
    info = json.loads(debian_qemu_img('info', '--output=json', *secret_object(tmp_path, 's', PASSWORD), '--image-opts',
                                      f'driver=luks,key-secret=s,file.filename={path}').stdout)
    assert info['virtual-size'] == 12 * MIB


def test_failed_job(libvirt, tmp_path):
    create, _ = storage(tmp_path / 'no' / 'file', 'libvirt-1-storage', MIB)
    info, states = libvirt.run_job('blockdev-create', create)
    assert states == ['created', 'running', 'aborting', 'concluded', 'null']
    assert info['status'] == 'concluded' and 'No such file or directory' in info['error']


def test_jobs_that_are_not_there(libvirt):
    """libvirt takes a block job to be over if the error class says so."""
    for arguments in ({'device': 'pull-vda-libvirt-1-format'}, {'device': 'pull-vda-libvirt-1-format', 'force': True}):
        assert libvirt.error('block-job-cancel', arguments).cls == 'DeviceNotActive'
    assert libvirt.error('block-job-set-speed', {'device': 'copy-vda', 'speed': 1048576}).cls == 'DeviceNotActive'
    for command in ('job-complete', 'job-finalize', 'job-dismiss', 'job-cancel'):
        assert libvirt.error(command, {'id': 'copy-vda'}).cls == 'GenericError'
    assert libvirt.cmd('query-jobs') == libvirt.cmd('query-block-jobs') == []


@pytest.mark.parametrize('how', ['unix', 'inet', 'fd', 'tls'])
def test_nbd_server(libvirt, tmp_path, pki, how):
    """A volume served to another host, as in libvirt's storage migration."""
    path = tmp_path / 'nbd.sock'
    create, add = storage(tmp_path / 'disk', 'libvirt-1-storage', 4 * MIB)
    libvirt.run_job('blockdev-create', create)
    libvirt.cmd('blockdev-add', add)
    libvirt.cmd('blockdev-add', {'node-name': 'libvirt-1-format', 'read-only': False, 'driver': 'raw',
                                 'file': 'libvirt-1-storage'})
    handle = nbd.NBD()
    handle.set_export_name('drive-virtio-disk0')
    if how == 'inet':
        with socket.socket() as probe:
            probe.bind(('127.0.0.1', 0))
            port = str(probe.getsockname()[1])
        start = {'addr': {'type': 'inet', 'data': {'host': '127.0.0.1', 'port': port}}}
    elif how == 'fd':
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            assert libvirt.cmd('getfd', {'fdname': 'libvirt-nbd'}, fds=[listener.fileno()]) == {}
        start = {'addr': {'type': 'fd', 'data': {'str': 'libvirt-nbd'}}}
    else:
        start = {'addr': {'type': 'unix', 'data': {'path': str(path)}}}
    if how == 'tls':
        libvirt.cmd('object-add', {'qom-type': 'tls-creds-x509', 'id': 'objlibvirt_migrate_tls0', 'dir': str(pki),
                                   'endpoint': 'server', 'verify-peer': True})
        start['tls-creds'] = 'objlibvirt_migrate_tls0'
        handle.set_tls(nbd.TLS_REQUIRE)
        handle.set_tls_certificates(str(pki))
    assert libvirt.cmd('nbd-server-start', start) == {}
    assert libvirt.cmd('block-export-add', {'type': 'nbd', 'id': 'libvirt-nbd-libvirt-1-format', 'writable': True,
                                            'node-name': 'libvirt-1-format', 'name': 'drive-virtio-disk0'}) == {}
    if how == 'inet':
        handle.connect_tcp('127.0.0.1', port)
    else:
        handle.connect_unix(str(path))
    handle.pwrite(b'x' * 512, 4 * MIB - 512)
    assert 'libvirt-nbd-libvirt-1-format' in libvirt.error('blockdev-del', {'node-name': 'libvirt-1-format'}).desc
    # libvirt does not wait for clients to leave
    assert libvirt.cmd('nbd-server-stop') == {}
    with pytest.raises(nbd.Error):
        handle.pread(512, 0)
    libvirt.qmp.wait_event('BLOCK_EXPORT_DELETED', id='libvirt-nbd-libvirt-1-format')
    for name in ('libvirt-1-format', 'libvirt-1-storage'):
        libvirt.cmd('blockdev-del', {'node-name': name})
    assert (tmp_path / 'disk').read_bytes() == bytes(4 * MIB - 512) + b'x' * 512
    if how == 'unix':
        with pytest.raises(OSError):
            connect_wire(path)


def add_luks(libvirt, path, name, secret, **options):
    """Create a volume of 8 MiB and open it; libvirt-NAME-format is its node."""
    create, add = storage(path, f'libvirt-{name}-storage', 10 * MIB)
    assert 'error' not in libvirt.run_job('blockdev-create', create)[0]
    libvirt.cmd('blockdev-add', add)
    info, _ = libvirt.run_job('blockdev-create', {'job-id': f'create-libvirt-{name}-format', 'options': {
        'driver': 'luks', 'file': f'libvirt-{name}-storage', 'size': 8 * MIB, 'key-secret': secret, 'iter-time': 10,
        **options}})
    assert 'error' not in info
    libvirt.cmd('blockdev-add', {'node-name': f'libvirt-{name}-format', 'read-only': False, 'driver': 'luks',
                                 'key-secret': secret, 'file': f'libvirt-{name}-storage'})


def del_luks(libvirt, name):
    for node in (f'libvirt-{name}-format', f'libvirt-{name}-storage'):
        assert libvirt.cmd('blockdev-del', {'node-name': node}) == {}


READY = ['created', 'running', 'ready']


class Blockcopy:
    """A disk of 8 MiB with a client, and the start of virsh blockcopy to an encrypted volume."""

    def __init__(self, libvirt, tmp_path, extra):
        self.libvirt, self.paths = libvirt, {name: tmp_path / name for name in ('source', 'target')}
        for name in self.paths:
            libvirt.cmd('object-add', {'qom-type': 'secret', 'id': f'{name}-secret0', 'data': f'pw of {name}'})
        add_luks(libvirt, self.paths['source'], '1', 'source-secret0', **{'cipher-alg': 'aes-128'})
        libvirt.cmd('nbd-server-start', {'addr': {'type': 'unix', 'data': {'path': str(tmp_path / 'nbd.sock')}}})
        libvirt.cmd('block-export-add', {'type': 'nbd', 'id': 'libvirt-nbd-libvirt-1-format', 'writable': True,
                                         'node-name': 'libvirt-1-format', 'name': 'vda'})
        self.client = nbd.NBD()
        self.client.set_export_name('vda')
        self.client.connect_unix(str(tmp_path / 'nbd.sock'))
        self.client.pwrite(b'1' * MIB + bytes(7 * MIB), 0)
        add_luks(libvirt, self.paths['target'], '2', 'target-secret0')
        self.states = []
        assert libvirt.cmd('blockdev-mirror', {
            'job-id': 'copy-vda-libvirt-2-format', 'device': 'libvirt-1-format', 'target': 'libvirt-2-format',
            'sync': 'full', 'auto-finalize': True, 'auto-dismiss': False, **extra}) == {}
        self.wait('ready')
        self.event = libvirt.qmp.wait_event('BLOCK_JOB_READY', device='copy-vda-libvirt-2-format')['data']
        self.client.pwrite(b'2' * MIB, 2 * MIB)

    def wait(self, state):
        """Wait for this state of the job; returns all since the start."""
        while state not in self.states:
            event = self.libvirt.qmp.wait_event('JOB_STATUS_CHANGE', id='copy-vda-libvirt-2-format')
            self.states.append(event['data']['status'])
        return self.states

    def job(self):
        info, = self.libvirt.cmd('query-block-jobs')
        return info

    def dismiss(self):
        info, = self.libvirt.cmd('query-jobs')
        assert self.libvirt.cmd('job-dismiss', {'id': 'copy-vda-libvirt-2-format'}) == {}
        return info


@pytest.mark.parametrize('extra', [{}, {'copy-mode': 'write-blocking'},
                                   {'granularity': 65536, 'buf-size': 1048576, 'speed': 104857600}])
def test_blockcopy_pivot(libvirt, tmp_path, extra):
    """virsh blockcopy --pivot: the client goes on, on the new volume."""
    copy = Blockcopy(libvirt, tmp_path, extra)
    assert copy.states == READY
    assert copy.event['type'] == 'mirror' and copy.event['len'] == copy.event['offset']
    info = copy.job()
    assert (info['device'], info['type'], info['ready']) == ('copy-vda-libvirt-2-format', 'mirror', True)
    assert info['len'] == info['offset']
    assert info['speed'] == extra.get('speed', 0)

    assert libvirt.cmd('job-complete', {'id': 'copy-vda-libvirt-2-format'}) == {}
    assert copy.wait('concluded') == READY + ['waiting', 'pending', 'concluded']
    libvirt.qmp.wait_event('BLOCK_JOB_COMPLETED', device='copy-vda-libvirt-2-format', type='mirror')
    assert 'error' not in copy.dismiss()
    del_luks(libvirt, '1')
    libvirt.cmd('object-del', {'id': 'source-secret0'})
    copy.client.pwrite(b'3' * MIB, 4 * MIB)
    libvirt.cmd('nbd-server-stop')
    del_luks(libvirt, '2')
    expected = b'1' * MIB + bytes(MIB) + b'2' * MIB + bytes(MIB) + b'3' * MIB + bytes(3 * MIB)
    assert debian_contents(tmp_path, copy.paths['target'], b'pw of target') == expected
    assert debian_contents(tmp_path, copy.paths['source'], b'pw of source') == expected[:4 * MIB] + bytes(4 * MIB)


def test_blockcopy_abort(libvirt, tmp_path):
    """virsh blockcopy --finish: the client stays at the old volume; the new one is a copy of this moment."""
    copy = Blockcopy(libvirt, tmp_path, {})
    assert libvirt.cmd('block-job-cancel', {'device': 'copy-vda-libvirt-2-format'}) == {}
    copy.wait('concluded')
    assert 'error' not in copy.dismiss()
    del_luks(libvirt, '2')
    copy.client.pwrite(b'3' * MIB, 4 * MIB)
    libvirt.cmd('nbd-server-stop')
    del_luks(libvirt, '1')
    then = b'1' * MIB + bytes(MIB) + b'2' * MIB
    assert debian_contents(tmp_path, copy.paths['target'], b'pw of target') == then + bytes(5 * MIB)
    assert debian_contents(tmp_path, copy.paths['source'], b'pw of source') == then + bytes(MIB) + b'3' * MIB + bytes(3 * MIB)
