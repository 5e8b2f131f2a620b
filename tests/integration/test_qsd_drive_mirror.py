"""drive-mirror: targets that it creates or opens, how they are encrypted, and what it refuses.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest

from images import debian_contents, write_pieces
from iscsi_target import free_port
from nbd_peer import Nbdkit
from programs import cryptsetup, qemu_img, qemu_img_json, secret_object
from qmp import QmpError, StorageDaemon
from writer import connect, writers

MiB = 1 << 20
SIZE = 16 * MiB
# What is written while the mirror runs; the rest stays as it was.
BUSY = 8 * MiB
FAST = {'iter-time': 10}
UNUSUAL = 'cipher-alg=aes-128,cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha256,hash-alg=sha1,iter-time=10'
PASSWORDS = {'s0': b'of the source', 's1': b'of the target', 's2': b'second'}
CRYPTO = ('cipher-alg', 'cipher-mode', 'ivgen-alg', 'ivgen-hash-alg', 'hash-alg')


def secrets(directory):
    return [arg for name, password in PASSWORDS.items() for arg in secret_object(directory, name, password)]


def new_source(directory, fmt):
    """An image with data in both halves, encrypted with unusual options and a second password if FMT is luks."""
    data = write_pieces(directory / 'data', SIZE, (0, MiB), (BUSY, MiB), (SIZE - MiB, MiB))
    path = directory / 'source'
    if fmt == 'raw':
        os.rename(data, path)
        return path
    qemu_img('convert', '-f', 'raw', '-O', 'luks', *secrets(directory), '-o', f'key-secret=s0,{UNUSUAL}', data, path)
    qemu_img('amend', *secrets(directory), '--image-opts', '-o', 'state=active,new-secret=s2,iter-time=10',
             f'driver=luks,key-secret=s0,file.filename={path}')
    return path


def mirror_daemon(directory, fmt):
    """A daemon with a writable export of the node "source"."""
    path = new_source(directory, fmt)
    node = ['file,node-name=source', f'filename={path}'] if fmt == 'raw' else \
        ['luks,node-name=source,key-secret=s0,file.driver=file,file.node-name=storage', f'file.filename={path}']
    return StorageDaemon(directory, *secrets(directory), '--blockdev', ','.join(node),
                         '--nbd-server', f'addr.type=unix,addr.path={directory}/nbd.sock',
                         '--export', 'nbd,id=e0,node-name=source,name=disk,writable=on')


@pytest.fixture(name='luks_daemon')
def fixture_luks_daemon(tmp_path):
    with mirror_daemon(tmp_path, 'luks') as daemon:
        yield daemon


def request(target, **options):
    return {'job_id': 'm0', 'device': 'source', 'target': str(target), 'sync': 'full', 'auto_dismiss': False, **options}


def start(qmp, target, **options):
    qmp.cmd('drive-mirror', **request(target, **options))


def refuse(qmp, target, **options):
    """The error, after which there is neither a job nor a node of it."""
    nodes = len(qmp.cmd('query-named-block-nodes'))
    desc = qmp.error('drive-mirror', **request(target, **options)).desc
    assert qmp.cmd('query-jobs') == []
    assert len(qmp.cmd('query-named-block-nodes')) == nodes
    return desc


def conclude(qmp):
    """Wait for the end of the job, and dismiss it; its error."""
    qmp.wait_event('JOB_STATUS_CHANGE', id='m0', status='concluded')
    info, = qmp.cmd('query-jobs')
    qmp.cmd('job-dismiss', id='m0')
    return info.get('error')


def complete(qmp):
    qmp.wait_event('BLOCK_JOB_READY', device='m0')
    qmp.cmd('job-complete', id='m0')
    assert conclude(qmp) is None


def exported_node(qmp):
    return qmp.cmd('query-block-exports')[0]['node-name']


def decrypted(directory, image, secret, header=None):
    """What Debian's qemu-img reads, or if a header is detached, which it does not know, ours."""
    if not header:
        return debian_contents(directory, image, PASSWORDS[secret])[:SIZE]
    out = directory / 'decrypted'
    qemu_img('convert', *secrets(directory), '--image-opts', '-O', 'raw',
             f'driver=luks,key-secret={secret},file.filename={image},header.filename={header}', out)
    return out.read_bytes()[:SIZE]


def opens(image, secret):
    return cryptsetup('open', '--test-passphrase', image, password=PASSWORDS[secret], status=None).returncode == 0


def header_info(image):
    return qemu_img_json('info', '-f', 'luks', image)['format-specific']['data']


def dump(image):
    """Fields of cryptsetup luksDump."""
    return dict(re.findall(r'^([A-Z][^:\n]*):\s*(\S.*)$', cryptsetup('luksDump', image).stdout, re.MULTILINE))


def crypto(image):
    return [header_info(image).get(name) for name in CRYPTO]


UNUSUAL_INFO = ['aes-128', 'cbc', 'essiv', 'sha256', 'sha1']
AES_INFO = ['aes-256', 'xts', 'plain64', None, 'sha256']

# source, arguments, the secret that opens the copy (None: it is not encrypted), crypto options of the copy
PAIRS = {
    'plain to luks': ('raw', {'format': 'luks', 'key-secret': 's1', 'create-options': FAST}, 's1', AES_INFO),
    'plain to plain': ('raw', {}, None, None),
    'luks to plain': ('luks', {'format': 'raw'}, None, None),
    'luks to luks': ('luks', {'create-options': FAST}, 's0', UNUSUAL_INFO),
    'other cipher': ('luks', {'format': 'luks', 'create-options': {'cipher-alg': 'aes-256', 'cipher-mode': 'xts',
                                                                   'ivgen-alg': 'plain64', 'hash-alg': 'sha256', **FAST}},
                     's0', AES_INFO),
    'other password': ('luks', {'key-secret': 's1', 'create-options': FAST}, 's1', UNUSUAL_INFO),
    'clone': ('luks', {'clone-header': True}, 's0', UNUSUAL_INFO),
}
PLACES = ['file', 'nbd', 'existing']


class Place:
    """Where a target is: what drive-mirror calls it, and the file that holds it."""

    def __init__(self, directory, where, fmt, secret):
        self.arguments = {}
        self.image = directory / 'target'
        self.name = self.image
        self._server = None
        if where == 'nbd':
            # Devices are seldom as large as one asks for.
            write_pieces(self.image, SIZE + 4 * MiB, (0, SIZE + 4 * MiB), seed=3)
            self._server = Nbdkit(directory, 'file', self.image)
            self.name = self._server.uri()
        elif where == 'existing' and fmt == 'luks':
            qemu_img('create', '-q', '-f', 'luks', *secrets(directory), '-o', f'key-secret={secret},{UNUSUAL}', self.image,
                     SIZE)
        elif where == 'existing':
            size = (directory / 'source').stat().st_size if fmt == 'clone' else SIZE
            write_pieces(self.image, size, (0, size), seed=3)
        if where == 'existing':
            self.arguments = {'mode': 'existing'}

    def __enter__(self):
        if self._server:
            self._server.start()
        return self

    def __exit__(self, *_):
        if self._server:
            self._server.kill()


def check_header(directory, image, pair, expected):
    source, _, secret, _ = PAIRS[pair]
    clone = pair == 'clone'
    assert crypto(image) == expected
    mode = '-'.join(expected[1:3]) + (f':{expected[3]}' if expected[3] else '')
    fields = dump(image)
    assert (fields['Cipher name'], fields['Cipher mode'], fields['Hash spec']) == ('aes', mode, expected[4])
    if source == 'luks':
        assert (dump(image)['UUID'] == dump(directory / 'source')['UUID']) == clone
    assert opens(image, 's2') == clone
    assert opens(image, 's0') == (secret == 's0')
    assert opens(image, 's1') == (secret == 's1')


@pytest.mark.parametrize('where', PLACES)
@pytest.mark.parametrize('pair', PAIRS)
def test_pairs(tmp_path, pair, where):
    """Clients write and verify through the whole mirror, and beyond."""
    source, arguments, secret, expected = PAIRS[pair]
    arguments = {**arguments, 'node-name': 'copy'}
    fmt = 'clone' if pair == 'clone' else arguments.get('format', source)
    if where == 'existing':
        arguments.pop('create-options', None)
        expected = UNUSUAL_INFO if expected else None
    with mirror_daemon(tmp_path, source) as daemon, Place(tmp_path, where, fmt, secret) as place:
        qmp = daemon.qmp
        with writers(tmp_path, BUSY) as clients:
            start(qmp, place.name, **place.arguments, **{k.replace('-', '_'): v for k, v in arguments.items()})
            complete(qmp)
            # A clone replaces the storage below the exported node.
            assert exported_node(qmp) == ('source' if pair == 'clone' else 'copy')
        handle = connect(tmp_path)
        assert handle.get_size() == SIZE
        handle.flush()
        handle.shutdown()
        written = b''.join(bytes(client.content) for client in clients)
        nodes = {node['node-name']: node for node in qmp.cmd('query-named-block-nodes')}
        if pair == 'clone':
            assert 'storage' not in nodes
        else:
            assert nodes['copy']['image']['virtual-size'] == SIZE
            qmp.cmd('blockdev-del', node_name='source')
    assert ('its copy' in daemon.errors and 'is not' in daemon.errors) == (pair == 'luks to plain')
    assert ('same volume key' in daemon.errors) == (pair == 'clone')
    before = decrypted(tmp_path, tmp_path / 'source', 's0') if source == 'luks' else (tmp_path / 'source').read_bytes()
    after = decrypted(tmp_path, place.image, secret) if secret else place.image.read_bytes()[:SIZE]
    assert after == written + before[BUSY:]
    if secret:
        check_header(tmp_path, place.image, pair, expected)


@pytest.mark.parametrize('pair', ['plain to luks', 'luks to plain', 'other cipher', 'clone'])
def test_equal_at_the_pivot(tmp_path, pair):
    source, arguments, secret, _ = PAIRS[pair]
    with mirror_daemon(tmp_path, source) as daemon:
        qmp = daemon.qmp
        with writers(tmp_path, BUSY):
            start(qmp, tmp_path / 'target', **{k.replace('-', '_'): v for k, v in arguments.items()})
            qmp.wait_event('BLOCK_JOB_READY')
        qmp.cmd('job-complete', id='m0')
        assert conclude(qmp) is None
    before = decrypted(tmp_path, tmp_path / 'source', 's0') if source == 'luks' else (tmp_path / 'source').read_bytes()
    after = decrypted(tmp_path, tmp_path / 'target', secret) if secret else (tmp_path / 'target').read_bytes()
    assert before == after
    if pair == 'clone':
        assert (tmp_path / 'source').read_bytes() == (tmp_path / 'target').read_bytes()


def test_passwords_of_a_clone(luks_daemon, tmp_path):
    """They change in both volumes, as long as the mirror runs."""
    qmp = luks_daemon.qmp
    start(qmp, tmp_path / 'target', clone_header=True)
    qmp.wait_event('BLOCK_JOB_READY')
    for keyslot in ({'new_secret': 's1', 'iter_time': 10}, {'old_secret': 's2'}):
        command = 'blockdev-keyslot-add' if 'new_secret' in keyslot else 'blockdev-keyslot-remove'
        qmp.cmd(command, job_id='k0', node_name='source', **keyslot)
        qmp.wait_event('JOB_STATUS_CHANGE', id='k0', status='concluded')
        assert not [info for info in qmp.cmd('query-jobs') if 'error' in info]
        qmp.cmd('job-dismiss', id='k0')
    qmp.cmd('job-complete', id='m0')
    assert conclude(qmp) is None
    for image in (tmp_path / 'source', tmp_path / 'target'):
        assert [opens(image, secret) for secret in PASSWORDS] == [True, True, False]


def test_resize_during_a_clone(luks_daemon, tmp_path):
    """The message names the command, not only the job whose filter it goes through."""
    qmp = luks_daemon.qmp
    start(qmp, tmp_path / 'target', clone_header=True)
    desc = qmp.error('block_resize', node_name='source', size=2 * SIZE).desc
    assert "block_resize needs permission 'resize' as 'root' through job 'm0', which job 'm0' does not allow" in desc
    complete(qmp)


@pytest.mark.slow
@pytest.mark.plain_build
@pytest.mark.parametrize('pair', PAIRS)
def test_fio(tmp_path, pair):
    """fio writes and verifies through the whole mirror, and beyond."""
    source, arguments, _, _ = PAIRS[pair]
    with mirror_daemon(tmp_path, source) as daemon:
        argv = ['fio', '--name=w', '--ioengine=nbd', f'--uri=nbd+unix:///disk?socket={tmp_path}/nbd.sock', '--rw=randwrite',
                '--bs=4k', f'--size={SIZE}', '--iodepth=8', '--verify=crc32c', '--do_verify=1', '--loops=4',
                '--rate_iops=2000', '--output-format=terse']
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path) as fio:
            start(daemon.qmp, tmp_path / 'target', **{k.replace('-', '_'): v for k, v in arguments.items()})
            complete(daemon.qmp)
            assert fio.poll() is None, 'fio ended before the mirror'
            output, _ = fio.communicate(timeout=120)
            assert fio.returncode == 0, output


def copy_equal(directory, image, pair):
    """Where nobody has written, and how it is encrypted."""
    source, _, secret, _ = PAIRS[pair]
    before = decrypted(directory, directory / 'source', 's0') if source == 'luks' else (directory / 'source').read_bytes()
    after = decrypted(directory, image, secret) if secret else image.read_bytes()[:SIZE]
    assert after[BUSY:] == before[BUSY:]
    if secret:
        assert [opens(image, name) for name in ('s0', 's1')] == [secret == 's0', secret == 's1']


REMOTE_PAIRS = ['other password', 'plain to luks', 'luks to plain']


@pytest.mark.parametrize('lun', [1, 2])
@pytest.mark.parametrize('pair', REMOTE_PAIRS)
def test_iscsi(tmp_path, iscsi, lun, pair):
    """A LUN that is larger than the copy, with blocks of 512 or 4096 bytes."""
    source, arguments, _, _ = PAIRS[pair]
    iscsi.clear(lun)
    with mirror_daemon(tmp_path, source) as daemon:
        with writers(tmp_path, BUSY):
            start(daemon.qmp, iscsi.uri(lun), **{k.replace('-', '_'): v for k, v in arguments.items()})
            complete(daemon.qmp)
    copy_equal(tmp_path, iscsi.image(lun), pair)
    iscsi.clear(lun)


@pytest.mark.parametrize('mode', ['absolute-paths', 'existing'])
@pytest.mark.parametrize('pair', REMOTE_PAIRS)
def test_rbd(tmp_path, ceph, pair, mode):
    source, arguments, secret, expected = PAIRS[pair]
    image = ceph.unused_name()
    if mode == 'existing':
        arguments = {'mode': mode, **{k: v for k, v in arguments.items() if k != 'create-options'}}
        expected = UNUSUAL_INFO
        if secret:
            qemu_img('create', '-q', '-f', 'luks', *secrets(tmp_path), '-o', f'key-secret={secret},{UNUSUAL}',
                     tmp_path / 'new', SIZE)
        else:
            write_pieces(tmp_path / 'new', SIZE, (0, SIZE), seed=3)
        image = ceph.import_file(tmp_path / 'new')
    with mirror_daemon(tmp_path, source) as daemon:
        with writers(tmp_path, BUSY):
            start(daemon.qmp, ceph.uri(image), **{k.replace('-', '_'): v for k, v in arguments.items()})
            complete(daemon.qmp)
    ceph.export(image, tmp_path / 'copy')
    copy_equal(tmp_path, tmp_path / 'copy', pair)
    if secret:
        assert crypto(tmp_path / 'copy') == expected


@pytest.mark.parametrize('unmap', [True, False])
def test_unmap(tmp_path, unmap):
    """Zeroes deallocate what the target has, or overwrite it."""
    target = write_pieces(tmp_path / 'target', SIZE, (0, SIZE), seed=3)
    with mirror_daemon(tmp_path, 'raw') as daemon:
        start(daemon.qmp, target, mode='existing', format='raw', unmap=unmap)
        complete(daemon.qmp)
    assert target.read_bytes() == (tmp_path / 'source').read_bytes()
    allocated = target.stat().st_blocks * 512
    assert allocated < SIZE // 2 if unmap else allocated >= SIZE


def test_rbd_refused(luks_daemon, tmp_path, ceph):
    """What the command has created is deleted, but not what existed."""
    image = ceph.create(SIZE)
    header = {'create_options': {**FAST, 'header': f'{tmp_path}/none/header'}}
    assert 'exists already' in refuse(luks_daemon.qmp, ceph.uri(image))
    created = ceph.unused_name()
    assert 'No such file' in refuse(luks_daemon.qmp, ceph.uri(created), **header)
    names = ceph.rbd_json('ls')
    assert image.split('/')[1] in names and created.split('/')[1] not in names


@pytest.mark.parametrize('mode', ['absolute-paths', 'existing'])
def test_detached_header(tmp_path, luks_daemon, mode):
    qmp = luks_daemon.qmp
    target, header = tmp_path / 'target', tmp_path / 'header'
    options = {'header': str(header), **FAST}
    if mode == 'existing':
        qemu_img('create', '-q', '-f', 'luks', *secrets(tmp_path), '-o', f'key-secret=s1,{UNUSUAL}', '--header', header,
                 target, SIZE)
        options = {'header': str(header)}
    with writers(tmp_path, BUSY):
        start(qmp, target, mode=mode, key_secret='s1', create_options=options)
        complete(qmp)
    qmp.cmd('block-export-del', id='e0')
    qmp.wait_event('BLOCK_EXPORT_DELETED', id='e0')
    assert target.stat().st_size == SIZE and header.stat().st_mode & 0o077 == 0 or mode == 'existing'
    qmp.cmd('blockdev-del', node_name='source')
    assert crypto(header) == UNUSUAL_INFO
    assert decrypted(tmp_path, target, 's1', header)[BUSY:] == decrypted(tmp_path, tmp_path / 'source', 's0')[BUSY:]


def test_events(luks_daemon, tmp_path):
    """The key derivation, a job of its own, sends none."""
    qmp = luks_daemon.qmp
    start(qmp, tmp_path / 'target', create_options=FAST)
    complete(qmp)
    assert [event['data']['status'] for event in qmp.events if event['event'] == 'JOB_STATUS_CHANGE'] == \
        ['created', 'running', 'ready', 'waiting', 'pending', 'null']


def second_monitor(directory):
    return ['--chardev', f'socket,id=qmp1,path={directory}/qmp1.sock,server=on,wait=off', '--monitor', 'qmp1']


class Background(threading.Thread):
    """A command that takes long; error is set at its end."""

    def __init__(self, qmp, *args, **kwargs):
        super().__init__(daemon=True)
        self._qmp, self._args, self._kwargs = qmp, args, kwargs
        self.error = None
        self.start()

    def run(self):
        try:
            self._qmp.cmd(*self._args, **self._kwargs)
        except QmpError as err:
            self.error = err.desc

    def finish(self, seconds):
        self.join(seconds)
        assert not self.is_alive()
        return self.error


@pytest.mark.threads
@pytest.mark.parametrize('how', ['cancel', 'quit', 'sigterm'])
def test_end_while_deriving(tmp_path, how):
    """Other monitors go on, and the command ends at once."""
    from qmp import Qmp     # pylint: disable=import-outside-toplevel
    path = new_source(tmp_path, 'luks')
    with StorageDaemon(tmp_path, *secrets(tmp_path), *second_monitor(tmp_path), '--blockdev',
                       f'luks,node-name=source,key-secret=s0,file.driver=file,file.filename={path}') as daemon:
        other = Qmp(tmp_path / 'qmp1.sock')
        command = Background(daemon.qmp, 'drive-mirror', **request(tmp_path / 'target', create_options={'iter-time': 60000}))
        while not (jobs := other.cmd('query-jobs')) or not (tmp_path / 'target').exists():
            time.sleep(0.01)
        assert (jobs[0]['id'], jobs[0]['type']) == ('m0', 'create')
        assert "job 'm0'" in other.error('blockdev-del', node_name='source').desc
        assert "job 'm0'" in other.error('block_resize', node_name='source', size=2 * SIZE).desc
        begin = time.monotonic()
        if how == 'cancel':
            other.cmd('job-cancel', id='m0')
        elif how == 'quit':
            other.cmd('quit')
        else:
            daemon.process.terminate()
        assert 'cancelled' in command.finish(10)
        assert time.monotonic() - begin < 5
        other.close()
    assert not (tmp_path / 'target').exists()


@pytest.mark.threads
def test_storage_replaced_during_a_clone(tmp_path):
    """The storage of the source is replaced and deleted while the target of a clone is being opened."""
    from qmp import Qmp     # pylint: disable=import-outside-toplevel
    path = new_source(tmp_path, 'luks')
    shutil.copy(path, tmp_path / 'moved')
    with StorageDaemon(tmp_path, *secrets(tmp_path), *second_monitor(tmp_path),
                       '--blockdev', f'file,node-name=storage,filename={path}',
                       '--blockdev', f'file,node-name=moved,filename={tmp_path}/moved',
                       '--blockdev', 'luks,node-name=source,key-secret=s0,file=storage') as daemon, \
            Nbdkit(tmp_path, 'memory', 2 * SIZE) as server:
        other = Qmp(tmp_path / 'qmp1.sock')
        server.process.send_signal(signal.SIGSTOP)
        command = Background(daemon.qmp, 'drive-mirror', **request(server.uri(), clone_header=True, mode='existing'))
        while not other.cmd('query-jobs'):
            time.sleep(0.01)
        other.cmd('blockdev-mirror', job_id='m1', device='storage', target='moved', sync='full')
        other.wait_event('BLOCK_JOB_READY', device='m1')
        other.cmd('job-complete', id='m1')
        other.wait_event('JOB_STATUS_CHANGE', id='m1', status='null')
        deletion = Background(other, 'blockdev-del', node_name='storage')
        time.sleep(0.5)
        server.process.send_signal(signal.SIGCONT)
        assert "'source' is not stored in node 'storage' any more" in command.finish(10)
        assert deletion.finish(10) is None
        other.close()


def test_failed_mirror_closes_the_target(luks_daemon, tmp_path):
    qmp = luks_daemon.qmp
    start(qmp, tmp_path / 'target', node_name='copy', create_options=FAST)
    qmp.wait_event('BLOCK_JOB_READY')
    qmp.cmd('job-cancel', id='m0')
    assert 'cancelled' in conclude(qmp)
    assert 'copy' not in [node['node-name'] for node in qmp.cmd('query-named-block-nodes')]
    assert exported_node(qmp) == 'source'
    # The file is not in use, and stays, as in QEMU.
    assert header_info(tmp_path / 'target')
    qemu_img('resize', *secrets(tmp_path), '--image-opts', f'driver=luks,key-secret=s0,file.filename={tmp_path}/target',
             SIZE + MiB)


def test_overwrite(luks_daemon, tmp_path):
    """A file is overwritten, as in QEMU (a LUKS volume in it is not), unless the mirror cannot start."""
    qmp = luks_daemon.qmp
    target = write_pieces(tmp_path / 'target', SIZE + MiB, (0, SIZE + MiB))
    content = target.read_bytes()
    start(qmp, tmp_path / 'first', create_options=FAST)
    assert "block job 'm0'" in qmp.error('drive-mirror', **request(target, format='raw', job_id='m1')).desc
    assert target.read_bytes() == content
    qmp.cmd('job-cancel', id='m0')
    conclude(qmp)
    start(qmp, target, format='raw')
    complete(qmp)
    assert target.stat().st_size == SIZE
    assert target.read_bytes() == decrypted(tmp_path, tmp_path / 'source', 's0')


def test_refused(luks_daemon, tmp_path):
    """Before anything is created or written."""
    qmp = luks_daemon.qmp
    target = tmp_path / 'target'
    assert 'nobody' in refuse(qmp, target, key_secret='nobody')
    assert "'qcow2'" in refuse(qmp, target, format='qcow2')
    assert 'does not encrypt' in refuse(qmp, target, format='raw', key_secret='s1')
    assert 'exclude each other' in refuse(qmp, target, key_secret='s1', create_options={'key-secret': 's1'})
    assert "only 'header'" in refuse(qmp, target, mode='existing', create_options=FAST)
    assert 'essiv' in refuse(qmp, target, create_options={'ivgen-hash-alg': 'sha512'})
    assert 'node-name' in refuse(qmp, target, node_name='1st')
    assert 'source' in refuse(qmp, target, node_name='source')
    assert 'node-name must be' in refuse(qmp, target, replaces='source')
    assert "'replaces' exclude" in refuse(qmp, target, replaces='source', node_name='copy', clone_header=True)
    assert "'metadata'" in refuse(qmp, target, create_options={'preallocation': 'metadata'})
    assert 'granularity' in refuse(qmp, target, granularity=1000)
    assert 'nope' in refuse(qmp, target, device='nope')
    assert 'No such file' in refuse(qmp, tmp_path / 'none' / 'target')
    assert 'not a protocol' in refuse(qmp, 'json:{"driver": "raw", "file": "source"}')
    for other in ('format', 'key_secret', 'create_options'):
        value = {'format': 'luks', 'key_secret': 's1', 'create_options': FAST}[other]
        assert 'exclude' in refuse(qmp, target, clone_header=True, **{other: value})
    assert 'needs an encrypted source' in refuse(qmp, target, device='storage', clone_header=True)
    header = str(tmp_path / 'no' / 'header')
    assert 'No such file' in refuse(qmp, target, create_options={**FAST, 'header': header})
    assert "cannot be the target's header" in refuse(qmp, target, create_options={**FAST, 'header': str(target)})
    assert not target.exists()


def test_refused_targets(luks_daemon, tmp_path):
    """Existing volumes stay as they are."""
    qmp = luks_daemon.qmp
    source = tmp_path / 'source'
    before = source.read_bytes()
    link = tmp_path / 'link'
    link.symlink_to(source)
    for name in (source, link):
        for mode in ('existing', 'absolute-paths'):
            assert "cannot be the target" in refuse(qmp, name, mode=mode)
    luks = tmp_path / 'other.luks'
    qemu_img('create', '-q', '-f', 'luks', *secrets(tmp_path), '-o', 'key-secret=s1,iter-time=10', luks, SIZE - 512)
    content = luks.read_bytes()
    assert header_info(luks)['uuid'] in refuse(qmp, luks)
    assert f'can store {SIZE - 512}' in refuse(qmp, luks, mode='existing', key_secret='s1')
    with StorageDaemon(tmp_path / 'user', '--blockdev', f'file,node-name=f,filename={luks}', *secrets(tmp_path),
                       '--blockdev', 'luks,node-name=l,key-secret=s1,file=f', '--nbd-server',
                       f'addr.type=unix,addr.path={tmp_path}/user.sock',
                       '--export', 'nbd,id=e,node-name=l,writable=on') if (tmp_path / 'user').mkdir() is None else None:
        assert 'lock' in refuse(qmp, luks, format='raw')
    assert 'different sizes' in refuse(qmp, luks, mode='existing', format='raw')
    small = write_pieces(tmp_path / 'small', SIZE, (0, SIZE))
    small_content = small.read_bytes()
    with Nbdkit(tmp_path, 'file', small) as server:
        assert f'but needs {len(before)}' in refuse(qmp, server.uri(), clone_header=True)
        assert 'but needs' in refuse(qmp, server.uri(), create_options=FAST)
    assert small.read_bytes() == small_content
    assert luks.read_bytes() == content
    assert source.read_bytes() == before


def test_target_in_use(luks_daemon, tmp_path):
    """The message says by whom, if it is the daemon itself."""
    qmp = luks_daemon.qmp
    target = tmp_path / 'target'
    qmp.cmd('blockdev-add', driver='null-co', node_name='other', size=SIZE)
    start(qmp, target, format='raw')
    link = tmp_path / 'link'
    link.symlink_to(target)
    other = {'job_id': 'm1', 'device': 'other'}
    for command, name in (('drive-mirror', target), ('drive-mirror', link), ('drive-backup', target)):
        desc = qmp.error(command, **{**request(name), **other}).desc
        assert desc == f"The target '{name}' is in use by job 'm0'"
    header = {'key_secret': 's1', 'format': 'luks', 'create_options': {**FAST, 'header': str(target)}}
    desc = qmp.error('drive-mirror', **{**request(tmp_path / 'new', **header), **other}).desc
    assert desc == f"The target's header '{target}' is in use by job 'm0'"
    assert not (tmp_path / 'new').exists()
    complete(qmp)
    assert "is in use by export 'e0'" in qmp.error('drive-mirror', **{**request(target), **other}).desc


def test_target_in_use_in_a_transaction(luks_daemon, tmp_path):
    qmp = luks_daemon.qmp
    qmp.cmd('blockdev-add', driver='null-co', node_name='other', size=SIZE)
    actions = [{'type': 'drive-backup', 'data': {'job-id': f'b{i}', 'device': device, 'sync': 'full', 'format': 'raw',
                                                 'target': str(tmp_path / 'target')}}
               for i, device in enumerate(('source', 'other'))]
    assert qmp.error('transaction', actions=actions).desc == f"The target '{tmp_path}/target' is in use by job 'b0'"
    assert qmp.cmd('query-jobs') == []


def test_target_in_use_over_nbd(luks_daemon, tmp_path):
    """There are no locks as for files."""
    write_pieces(tmp_path / 'target', SIZE, (0, SIZE))
    qmp = luks_daemon.qmp
    qmp.cmd('blockdev-add', driver='null-co', node_name='other', size=SIZE)
    with Nbdkit(tmp_path, 'file', tmp_path / 'target') as server:
        start(qmp, server.uri(), format='raw')
        desc = qmp.error('drive-mirror', **{**request(server.uri()), 'job_id': 'm1', 'device': 'other'}).desc
        assert desc.endswith("is in use by job 'm0'")
        qmp.cmd('job-cancel', id='m0')
        conclude(qmp)


def test_own_export(luks_daemon, tmp_path):
    """The copy would go where it comes from, and never end."""
    qmp = luks_daemon.qmp
    (tmp_path / 'link').symlink_to(tmp_path / 'nbd.sock')
    for device in 'source', 'storage':
        for name in 'nbd.sock', 'link':
            desc = refuse(qmp, f'nbd+unix:///disk?socket={tmp_path}/{name}', device=device, format='raw', mode='existing')
            assert "it is an export of node 'source' by this daemon" in desc
    assert 'by this daemon' in qmp.error('drive-backup', **request(f'nbd+unix:///disk?socket={tmp_path}/nbd.sock',
                                                                   format='raw', mode='existing')).desc
    # The same with a node that is open already.
    nbd = {'driver': 'nbd', 'server': {'type': 'unix', 'path': f'{tmp_path}/link'}, 'export': 'disk'}
    qmp.cmd('blockdev-add', driver='raw', node_name='loop', file=nbd)
    job = {'job_id': 'm0', 'target': 'loop', 'sync': 'full'}
    for device in 'source', 'storage':
        assert "'loop' cannot be the target" in qmp.error('blockdev-mirror', device=device, **job).desc
    assert "'loop' cannot be the target" in qmp.error('blockdev-backup', device='source', **job).desc
    action = {'type': 'blockdev-backup', 'data': {'job-id': 'm0', 'device': 'source', 'target': 'loop', 'sync': 'full'}}
    assert "'loop' cannot be the target" in qmp.error('transaction', actions=[action]).desc
    # To another node of the daemon, it is only a detour.
    qmp.cmd('blockdev-add', driver='null-co', node_name='other', size=SIZE)
    qmp.cmd('block-export-add', type='nbd', id='e1', node_name='other', name='other', writable=True)
    start(qmp, f'nbd+unix:///other?socket={tmp_path}/nbd.sock', format='raw', mode='existing')
    complete(qmp)


def resolves(host):
    try:
        return socket.getaddrinfo(host, None)
    except socket.gaierror:
        return None


@pytest.mark.parametrize('listen, host', [('127.0.0.1', '127.0.0.1'), ('127.0.0.1', 'localhost'), ('0.0.0.0', '127.0.0.1'),
                                          ('::', '[::1]')])
def test_own_export_over_tcp(tmp_path, listen, host):
    if host == 'localhost' and not resolves(host):
        pytest.skip('this machine does not know its name')
    port = free_port()
    path = new_source(tmp_path, 'raw')
    with StorageDaemon(tmp_path, '--blockdev', f'file,node-name=source,filename={path}',
                       '--nbd-server', f'addr.type=inet,addr.host={listen},addr.port={port}',
                       '--export', 'nbd,id=e0,node-name=source,name=disk,writable=on') as daemon:
        assert 'by this daemon' in refuse(daemon.qmp, f'nbd://{host}:{port}/disk', format='raw', mode='existing')


def test_plain_source_needs_a_secret(tmp_path):
    with mirror_daemon(tmp_path, 'raw') as daemon:
        assert "'key-secret' is required" in refuse(daemon.qmp, tmp_path / 'target', format='luks')
        assert "is for format 'luks'" in refuse(daemon.qmp, tmp_path / 'target', create_options=FAST)
        assert not (tmp_path / 'target').exists()
        # An existing volume of either format is recognised.
        qemu_img('create', '-q', '-f', 'luks', *secrets(tmp_path), '-o', f'key-secret=s1,{UNUSUAL}', tmp_path / 'luks', SIZE)
        assert "'key-secret' is required" in refuse(daemon.qmp, tmp_path / 'luks', mode='existing')
        start(daemon.qmp, tmp_path / 'luks', mode='existing', key_secret='s1')
        complete(daemon.qmp)
    assert decrypted(tmp_path, tmp_path / 'luks', 's1') == (tmp_path / 'source').read_bytes()
