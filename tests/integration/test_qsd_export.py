"""Exports of the storage daemon over QMP, with active clients.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import errno
import json
import os
import subprocess

import nbd
import pytest

from nbd_server import connect_wire
from programs import qemu_img, run, secret_object
from qmp import StorageDaemon

MIB = 1 << 20
SIZE = 16 * MIB


class Exports:
    """A storage daemon with nodes "raw" and "luks", and its NBD server."""

    def __init__(self, directory, daemon):
        self.directory = directory
        self.daemon = daemon
        self.qmp = daemon.qmp
        self.socket = directory / 'nbd.sock'

    def add(self, ident, node='raw', writable=True, **more):
        """Export NODE as ID, with the same name."""
        self.qmp.cmd('block-export-add', type='nbd', id=ident, node_name=node, name=ident, writable=writable, **more)

    def delete(self, ident, mode='safe'):
        """Delete an export, and wait until it is gone."""
        self.qmp.cmd('block-export-del', id=ident, mode=mode)
        self.qmp.wait_event('BLOCK_EXPORT_DELETED', id=ident)

    def connect(self, name):
        """A client of libnbd."""
        handle = nbd.NBD()
        handle.set_strict_mode(0)
        handle.connect_uri(self.uri(name))
        return handle

    def uri(self, name):
        """The address of an export."""
        return f'nbd+unix:///{name}?socket={self.socket}'

    def wire(self):
        """A connection after the greeting."""
        return connect_wire(self.socket).greet()

    def names(self):
        """The exports that clients list."""
        with self.wire() as wire:
            return [data[4:].decode() for kind, data in wire.option(3) if kind == 2]

    def start_fio(self, name, *args):
        """Random reads and writes, every byte of which is verified, in the background."""
        return subprocess.Popen(['fio', '--name=t', '--ioengine=nbd', f'--uri={self.uri(name)}', '--rw=randrw',
                                 '--bsrange=512-64k', '--bs_unaligned=0', '--iodepth=16', '--verify=crc32c',
                                 '--verify_fatal=1', '--do_verify=1', f'--size={SIZE}', *args],
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                cwd=self.directory)


def finish(process):
    """Wait for a client, which must succeed."""
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0, out.decode()


@pytest.fixture(name='exports')
def fixture_exports(tmp_path):
    """Nodes to export; the daemon must end successfully after the test."""
    secret = secret_object(tmp_path, 'sec0', b'swordfish')
    with (tmp_path / 'disk.raw').open('wb') as file:
        file.truncate(SIZE)
    qemu_img('create', '-q', '-f', 'luks', *secret, '-o', 'key-secret=sec0,iter-time=10', tmp_path / 'disk.luks', SIZE)
    with StorageDaemon(tmp_path, *secret,
                       '--blockdev', f'file,node-name=file,filename={tmp_path}/disk.raw,discard=unmap',
                       '--blockdev', 'raw,node-name=raw,file=file,discard=unmap',
                       '--blockdev', f'luks,node-name=luks,key-secret=sec0,file.driver=file,file.filename={tmp_path}/disk.luks',
                       '--nbd-server', f'addr.type=unix,addr.path={tmp_path}/nbd.sock,max-connections=0') as daemon:
        yield Exports(tmp_path, daemon)


def test_inactive_nodes(exports):
    """Exporting a node activates it, unless it says that it does not need to write."""
    def active():
        return {n['active'] for n in exports.qmp.cmd('query-named-block-nodes') if n['node-name'] in ('raw', 'file')}

    exports.add('luks', node='luks')
    assert "export 'luks'" in exports.qmp.error('blockdev-set-active', active=False).desc
    exports.delete('luks')
    exports.qmp.cmd('blockdev-set-active', active=False)
    assert not any(n['active'] for n in exports.qmp.cmd('query-named-block-nodes'))
    error = exports.qmp.error('block-export-add', type='nbd', id='e', node_name='raw', writable=True, allow_inactive=True)
    assert error.desc == "Block node 'raw' is not active, but export 'e' needs permission 'write'"
    exports.add('e', writable=False, allow_inactive=True)
    handle = exports.connect('e')
    assert handle.pread(512, 0) == bytes(512) and active() == {False}
    handle.shutdown()
    exports.delete('e', mode='hard')
    exports.add('e')
    assert active() == {True}
    handle = exports.connect('e')
    handle.pwrite(b'x' * 512, 0)
    handle.shutdown()


def test_add_and_delete(exports):
    qmp = exports.qmp
    for _ in range(3):
        exports.add('e0')
        exports.add('e1', 'luks', writable=False)
        assert qmp.cmd('query-block-exports') == [
            {'id': 'e0', 'type': 'nbd', 'node-name': 'raw', 'shutting-down': False},
            {'id': 'e1', 'type': 'nbd', 'node-name': 'luks', 'shutting-down': False}]
        assert exports.names() == ['e0', 'e1']
        handle = exports.connect('e0')
        handle.pwrite(b'x' * 512, 0)
        assert handle.pread(512, 0) == b'x' * 512
        handle.shutdown()
        handle = exports.connect('e1')
        assert handle.is_read_only()
        handle.shutdown()
        exports.delete('e0')
        assert exports.names() == ['e1']
        exports.delete('e1')
        assert qmp.cmd('query-block-exports') == []


def test_defaults(exports):
    """Read-only, and named after the node."""
    exports.qmp.cmd('block-export-add', type='nbd', id='e0', node_name='raw')
    assert exports.names() == ['raw']
    handle = exports.connect('raw')
    assert handle.is_read_only()
    handle.shutdown()


def test_refused(exports):
    """Errors name the fault, and leave nothing behind."""
    qmp = exports.qmp
    exports.add('e0')
    good = {'type': 'nbd', 'id': 'e1', 'node-name': 'raw', 'name': 'e1'}
    for change, expected in [({'id': 'e0'}, "'e0'"), ({'id': '1e'}, "'1e'"), ({'id': ''}, "''"), ({'name': 'e0'}, "'e0'"),
                             ({'node-name': 'none'}, "'none'"), ({'iothread': 'none'}, "'none'"),
                             ({'type': 'fuse'}, 'fuse'), ({'name': 'n' * 4097}, '4096'),
                             ({'description': 'd' * 4097}, '4096'), ({'bitmaps': ['b']}, "Bitmap 'b'"),
                             ({'writable': 'yes'}, 'writable'), ({'colour': 'red'}, 'colour')]:
        assert expected in qmp.error_raw('block-export-add', {**good, **change}).desc, change
    assert [e['id'] for e in qmp.cmd('query-block-exports')] == ['e0']
    assert "'e9'" in qmp.error('block-export-del', id='e9').desc
    qmp.cmd_raw('block-export-add', good)


def test_read_only_node(exports):
    path = exports.directory / 'disk.raw'
    exports.qmp.cmd('blockdev-add', driver='file', filename=str(path), node_name='ro', read_only=True)
    error = exports.qmp.error('block-export-add', type='nbd', id='e0', node_name='ro', writable=True)
    assert "'ro'" in error.desc and 'read-only' in error.desc
    exports.add('e0', 'ro', writable=False)


def test_node_in_use(exports):
    """A node can only be deleted after its export."""
    exports.add('e0')
    assert 'e0' in exports.qmp.error('blockdev-del', node_name='raw').desc
    exports.delete('e0')
    exports.qmp.cmd('blockdev-del', node_name='raw')


@pytest.mark.threads
@pytest.mark.parametrize('iothread', [False, True])
def test_delete_with_clients(exports, iothread):
    """Mode safe keeps the export, mode hard disconnects; others are not affected."""
    qmp = exports.qmp
    more = {}
    if iothread:
        qmp.cmd('object-add', qom_type='iothread', id='io0')
        more = {'iothread': 'io0'}
    exports.add('e0', **more)
    exports.add('other', **more)
    with exports.wire().go(b'e0') as wire, exports.wire().go(b'other') as other, exports.wire() as choosing:
        wire.request(0, 0, 512)
        assert wire.simple_reply() == (0, 1)
        assert wire.receive(512) == bytes(512)
        assert 'in use' in qmp.error('block-export-del', id='e0').desc
        wire.request(0, 0, 512)
        assert wire.simple_reply() == (0, 1)
        assert wire.receive(512) == bytes(512)
        exports.delete('e0', 'hard')
        assert wire.at_end()
        other.request(0, 0, 512)
        assert other.simple_reply() == (0, 1)
        assert exports.names() == ['other']
        choosing.go(b'other')
    exports.add('e0', **more)


@pytest.mark.threads
def test_clients_leave_export_that_is_going(exports):
    """Deleted while requests are in flight, again and again, in the main loop and in I/O threads."""
    exports.qmp.cmd('object-add', qom_type='iothread', id='io0')
    for i in range(40):
        exports.add('e0', 'luks', **({'iothread': 'io0'} if i % 2 else {}))
        wires = [exports.wire().go(b'e0') for _ in range(3)]
        for wire in wires:
            for _ in range(8):
                wire.request(1, 0, 64 * 1024, data=bytes(64 * 1024))
                wire.request(0, 0, MIB)
        exports.delete('e0', 'hard')
        for wire in wires:
            wire.sock.close()


@pytest.mark.threads
def test_server_stop(exports):
    """All exports and all clients go."""
    for i in range(5):
        exports.add(f'e{i}')
    wires = [exports.wire().go(f'e{i}'.encode()) for i in range(5)] + [exports.wire()]
    exports.qmp.cmd('nbd-server-stop')
    for i in range(5):
        exports.qmp.wait_event('BLOCK_EXPORT_DELETED', id=f'e{i}')
    for wire in wires:
        assert wire.at_end()
        wire.sock.close()
    assert exports.qmp.cmd('query-block-exports') == []
    assert 'not running' in exports.qmp.error('block-export-add', type='nbd', id='e0', node_name='raw').desc
    exports.qmp.cmd('nbd-server-start', addr={'type': 'unix', 'data': {'path': str(exports.socket)}})
    exports.add('e0')
    assert exports.names() == ['e0']


def test_older_commands(exports):
    """nbd-server-add and nbd-server-remove, which older libvirt uses."""
    qmp = exports.qmp
    qmp.cmd('nbd-server-add', device='raw', writable=True)
    qmp.cmd('nbd-server-add', device='luks', name='vol', description='text')
    assert exports.names() == ['raw', 'voltext']
    handle = exports.connect('raw')
    assert not handle.is_read_only()
    assert 'in use' in qmp.error('nbd-server-remove', name='raw').desc
    qmp.cmd('nbd-server-remove', name='raw', mode='hard')
    qmp.wait_event('BLOCK_EXPORT_DELETED', id='raw')
    qmp.cmd('nbd-server-remove', name='vol')
    assert "'vol'" in qmp.error('nbd-server-remove', name='vol').desc
    qmp.cmd('blockdev-add', driver='null-co', size=MIB, node_name='ro', read_only=True)
    qmp.cmd('nbd-server-add', device='ro', writable=True)
    handle = exports.connect('ro')
    assert handle.is_read_only()
    handle.shutdown()


def test_contexts_are_for_one_export(exports):
    """Metadata contexts chosen for one export do not count for another."""
    exports.add('e0')
    exports.add('e1')
    query = b'\0\0\0\2e0' + b'\0\0\0\1' + b'\0\0\0\x0fbase:allocation'
    for name, works in ((b'e0', True), (b'e1', False)):
        with exports.wire() as wire:
            assert wire.option(8) == [(1, b'')]
            assert len(wire.option(10, query)) == 2
            wire.go(name)
            wire.request(7, 0, 4096)
            assert (wire.chunk()[1] == 5) == works


@pytest.mark.threads
def test_many_exports(exports):
    for i in range(200):
        exports.qmp.cmd('blockdev-add', driver='null-co', size=MIB, node_name=f'n{i}')
        exports.add(f'e{i}', f'n{i}')
    assert exports.names() == [f'e{i}' for i in range(200)]
    assert exports.connect('e150').get_size() == MIB


@pytest.mark.threads
@pytest.mark.parametrize('node', ['raw', 'luks'])
def test_iothreads(exports, node):
    """One node exported through four I/O threads and the main loop, all active at once."""
    names = ['main']
    exports.add('main', node)
    for i in range(4):
        exports.qmp.cmd('object-add', qom_type='iothread', id=f'io{i}')
        exports.add(f'e{i}', node, iothread=f'io{i}')
        names.append(f'e{i}')
    share = SIZE // len(names) // 65536 * 65536
    clients = [exports.start_fio(name, f'--size={share}', f'--offset={i * share}') for i, name in enumerate(names)]
    for client in clients:
        finish(client)
    for i in range(4):
        err = exports.qmp.error('object-del', id=f'io{i}')
        assert err.desc == f"object 'io{i}' is in use, can not be deleted: it is used by export 'e{i}'"
    finish(exports.start_fio('e0', f'--size={share}'))
    exports.delete('e0')
    exports.qmp.cmd('object-del', id='io0')


def test_writethrough(exports):
    exports.add('e0', writethrough=True)
    handle = exports.connect('e0')
    handle.pwrite(b'x' * 4096, 0)
    handle.zero(4096, 4096)
    handle.trim(4096, 8192)
    assert handle.pread(4096, 0) == b'x' * 4096
    handle.shutdown()


@pytest.mark.threads
@pytest.mark.parametrize('iothread', [False, True])
def test_resize(exports, iothread):
    """New clients see the new size. Requests of all clients are checked against it, even of those told another."""
    qmp = exports.qmp
    more = {}
    if iothread:
        qmp.cmd('object-add', qom_type='iothread', id='io0')
        more = {'iothread': 'io0'}
    exports.add('e0', **more)
    old = exports.connect('e0')
    client = exports.start_fio('e0', f'--size={SIZE // 2}')
    with exports.wire() as waiting:
        qmp.cmd('block_resize', node_name='raw', size=2 * SIZE)
        sizes = [data[2:10] for _, data in waiting.option(6, b'\0\0\0\2e0\0\0') if data[:2] == b'\0\0']
        assert sizes == [(2 * SIZE).to_bytes(8, 'big')]
    assert old.get_size() == SIZE
    new = exports.connect('e0')
    assert new.get_size() == 2 * SIZE
    assert json.loads(run('nbdinfo', '--json', exports.uri('e0')).stdout)['exports'][0]['export-size'] == 2 * SIZE
    new.pwrite(b'x' * 512, 2 * SIZE - 512)
    assert old.pread(512, 2 * SIZE - 512) == b'x' * 512
    with pytest.raises(nbd.Error) as error:
        old.pwrite(b'x' * 512, 2 * SIZE)
    assert error.value.errnum == errno.ENOSPC
    finish(client)
    old.shutdown()
    new.shutdown()
    exports.delete('e0', mode='hard')

    exports.add('e1', writable=False, **more)
    reader = nbd.NBD()
    reader.set_strict_mode(0)
    reader.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
    reader.connect_uri(exports.uri('e1'))
    qmp.cmd('block_resize', node_name='raw', size=SIZE)
    for beyond in (lambda: reader.pread(512, 2 * SIZE - 512), lambda: reader.pread(1024, SIZE - 512),
                   lambda: reader.block_status(512, SIZE, lambda *_: 0), lambda: reader.cache(SIZE + 1, 0)):
        with pytest.raises(nbd.Error) as error:
            beyond()
        assert error.value.errnum == errno.EINVAL
    assert reader.pread(512, SIZE - 512) == bytes(512)
    reader.shutdown()
    qmp.cmd('query-version')
    assert not [event for event in qmp.events if event['event'] == 'BLOCK_IO_ERROR']


@pytest.mark.threads
@pytest.mark.parametrize('node, above', [('file', 'file'), ('raw', 'raw'), ('raw', 'file'), ('luks', 'luks'),
                                         ('luks', 'filter')])
def test_no_shrinking_under_a_writer(exports, node, above):
    """Its data beyond the new end would be lost without notice; growing is fine."""
    qmp = exports.qmp
    qmp.cmd('blockdev-add', driver='raw', node_name='filter', file='luks')
    length = {info['node-name']: info['image']['virtual-size'] for info in qmp.cmd('query-named-block-nodes')}[node]
    exports.add('e0', node)
    writer = exports.connect('e0')
    writer.pwrite(b'x' * 512, length - 512)
    desc = qmp.error('block_resize', node_name=above, size=length - 512).desc
    assert desc.startswith(f"Cannot shrink node '{above}': ") and "needs permission 'write'" in desc
    assert ("node 'raw'" if above == 'file' and node == 'raw' else "export 'e0'") in desc
    assert writer.pread(512, length - 512) == b'x' * 512
    qmp.cmd('block_resize', node_name=above, size=length)
    qmp.cmd('block_resize', node_name=above, size=length + MIB)
    writer.shutdown()
    exports.delete('e0', mode='hard')
    qmp.cmd('block_resize', node_name=above, size=length - 512)


def test_tls(exports, tmp_path):
    """With credentials created over QMP."""
    qmp = exports.qmp
    (tmp_path / 'keys.psk').write_text(f'alice:{"12" * 32}\n')
    qmp.cmd('nbd-server-stop')
    qmp.cmd('object-add', qom_type='tls-creds-psk', id='tls0', endpoint='server', dir=str(tmp_path))
    qmp.cmd('object-add', qom_type='authz-list', id='authz0', rules=[{'match': 'al*', 'policy': 'allow', 'format': 'glob'}])
    qmp.cmd('nbd-server-start', addr={'type': 'unix', 'data': {'path': str(exports.socket)}}, tls_creds='tls0',
            tls_authz='authz0')
    exports.add('e0')
    # The server keeps its credentials when the object is deleted.
    for _ in range(2):
        handle = nbd.NBD()
        handle.set_tls(nbd.TLS_REQUIRE)
        handle.set_tls_psk_file(str(tmp_path / 'keys.psk'))
        handle.set_tls_username('alice')
        handle.set_export_name('e0')
        handle.connect_unix(str(exports.socket))
        handle.pwrite(b'x' * 512, 0)
        handle.shutdown()
        if 'tls0' in [entry['name'] for entry in qmp.cmd('qom-list', path='/objects')]:
            qmp.cmd('object-del', id='tls0')
    with pytest.raises(nbd.Error):
        exports.connect('e0')


def test_command_line(tmp_path):
    """Everything from the command line, and no monitor."""
    with (tmp_path / 'disk.raw').open('wb') as file:
        file.truncate(SIZE)
    with StorageDaemon(tmp_path, '--object', 'iothread,id=io0',
                       '--blockdev', f'driver=file,node-name=f0,filename={tmp_path}/disk.raw',
                       '--nbd-server', f'addr.type=unix,addr.path={tmp_path}/nbd.sock',
                       '--export', 'type=nbd,id=e0,node-name=f0,writable=on,name=disk,iothread=io0'):
        run('nbdcopy', tmp_path / 'disk.raw', f'nbd+unix:///disk?socket={tmp_path}/nbd.sock')


@pytest.mark.threads
def test_end_of_the_daemon_with_clients(tmp_path):
    """A signal ends it, no matter what clients in other threads are doing."""
    with StorageDaemon(tmp_path, '--object', 'iothread,id=io0', '--blockdev', 'null-co,node-name=n0,size=1G',
                       '--nbd-server', f'addr.type=unix,addr.path={tmp_path}/nbd.sock',
                       '--export', 'nbd,id=e0,node-name=n0,writable=on,iothread=io0') as daemon:
        wires = [connect_wire(tmp_path / 'nbd.sock').greet().go(b'n0') for _ in range(5)]
        for wire in wires:
            for _ in range(20):
                wire.request(0, 0, MIB)
        daemon.process.terminate()
        assert daemon.process.wait(timeout=30) == 0
        for wire in wires:
            wire.sock.close()


@pytest.mark.threads
def test_keyslot_changes_under_load(exports):
    """Passwords are added and removed while an export is written to; not a byte is lost."""
    secret = secret_object(exports.directory, 'sec1', b'second')
    exports.qmp.cmd('object-add', qom_type='secret', id='sec1', file=secret[1].split('file=')[1])
    exports.qmp.cmd('object-add', qom_type='iothread', id='io0')
    exports.add('e0', 'luks', iothread='io0')
    client = exports.start_fio('e0', '--loops=3')
    for i in range(5):
        info = exports.qmp.run_job('blockdev-keyslot-add', f'add{i}', node_name='luks', new_secret='sec1', iter_time=10)
        assert 'error' not in info, info
        info = exports.qmp.run_job('blockdev-keyslot-remove', f'remove{i}', node_name='luks', old_secret='sec1')
        assert 'error' not in info, info
    finish(client)


@pytest.mark.threads
def test_nothing_is_left_open(exports):
    """Clients that have disconnected leave no descriptor open."""
    exports.add('e0')
    before = len(os.listdir(f'/proc/{exports.daemon.process.pid}/fd'))
    for _ in range(200):
        exports.connect('e0').shutdown()
    exports.names()
    exports.delete('e0')
    assert len(os.listdir(f'/proc/{exports.daemon.process.pid}/fd')) <= before
