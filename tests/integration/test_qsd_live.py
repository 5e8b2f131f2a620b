"""Changes while an export is written and verified: passwords, erase refused, resize, reopen; I/O errors.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import os
import subprocess

import nbd
import pytest

from programs import cryptsetup, qemu_img, run, secret_object
from qmp import StorageDaemon
from writer import connect, writers

pytestmark = pytest.mark.threads

MiB = 1 << 20
SIZE = 16 * MiB


@pytest.fixture(name='luks')
def fixture_luks(tmp_path):
    path = tmp_path / 'a.luks'
    qemu_img('create', '-q', '-f', 'luks', *secret_object(tmp_path, 's', b'pw'), '-o', 'key-secret=s,iter-time=10', path, SIZE)
    return path


@pytest.fixture(name='daemon')
def fixture_daemon(tmp_path, luks):
    """A daemon that exports the volume, writable."""
    with StorageDaemon(tmp_path, *secret_object(tmp_path, 's0', b'pw'), '--object', 'secret,id=s1,data=one',
                       '--object', 'secret,id=s2,data=two',
                       '--blockdev', f'file,node-name=file,filename={luks}',
                       '--blockdev', 'luks,node-name=luks,file=file,key-secret=s0',
                       '--nbd-server', f'addr.type=unix,addr.path={tmp_path}/nbd.sock',
                       '--export', 'nbd,id=e0,node-name=luks,name=disk,writable=on') as daemon:
        yield daemon


def opens(path, password):
    done = cryptsetup('open', '--test-passphrase', path, password=password, status=None)
    return done.returncode == 0


def test_passwords(daemon, tmp_path, luks):
    qmp = daemon.qmp
    with writers(tmp_path, SIZE):
        for _ in range(3):
            info = qmp.run_job('blockdev-keyslot-add', 'k', node_name='luks', new_secret='s1', iter_time=30)
            assert 'error' not in info, info
            info = qmp.run_job('blockdev-keyslot-change', 'k', node_name='luks', old_secret='s1', new_secret='s2',
                               iter_time=30)
            assert 'error' not in info, info
            assert opens(luks, b'two') and opens(luks, b'pw') and not opens(luks, b'one')
            info = qmp.run_job('blockdev-keyslot-remove', 'k', node_name='luks', old_secret='s2')
            assert 'error' not in info, info
    assert not opens(luks, b'two')


def test_header_backup(daemon, tmp_path, luks):
    """By another program, while passwords change: the backup is complete, and opens the payload."""
    with writers(tmp_path, SIZE):
        for i in range(3):
            backup = tmp_path / f'backup{i}'
            qemu_img('header', 'backup', luks, backup)
            assert opens(backup, b'pw') and opens(backup, b'one') == (i > 0)
            if i == 0:
                assert 'error' not in daemon.qmp.run_job('blockdev-keyslot-add', 'k', node_name='luks', new_secret='s1',
                                                         iter_time=30)
        assert 'lock' in qemu_img('header', 'restore', '--force', luks, backup, status=1).stderr
    assert opens(luks, b'one')


def test_erase_is_refused(daemon, tmp_path, luks):
    before = luks.read_bytes()[:4096]
    with writers(tmp_path, SIZE):
        for node in ('luks', 'file'):
            for scope in ('key-material', 'header', 'image'):
                info = daemon.qmp.run_job('blockdev-secure-erase', 'x', node_name=node, scope=scope)
                assert "export 'e0'" in info['error'] or "node 'luks'" in info['error'], info
    assert luks.read_bytes()[:4096] == before
    # the key stays in memory: the volume in use remains readable
    info = daemon.qmp.run_job('blockdev-secure-erase', 'x', node_name='luks', scope='key-material', force=True)
    assert info.get('report', {}).get('scope') == 'key-material', info
    assert not opens(luks, b'pw')
    assert connect(tmp_path).pread(512, 0)


def test_reopen(daemon, tmp_path, luks):
    qmp = daemon.qmp
    file = {'driver': 'file', 'node-name': 'file', 'filename': str(luks)}
    node = {'driver': 'luks', 'node-name': 'luks', 'file': 'file', 'key-secret': 's0'}
    try:
        os.close(os.open(luks, os.O_RDONLY | os.O_DIRECT))
        direct = [True, False]
    except OSError:
        direct = [False]
    with writers(tmp_path, SIZE):
        for i in range(30):
            cache = {'direct': direct[i % len(direct)], 'no-flush': i % 3 == 0}
            qmp.cmd('blockdev-reopen', options=[{**file, 'cache': cache, 'discard': 'unmap'}, node])
        err = qmp.error('blockdev-reopen', options=[{**node, 'read-only': True}])
        assert "'luks' is read-only" in err.desc
        err = qmp.error('blockdev-reopen', options=[{**file, 'read-only': True}])
        assert "'file' is read-only" in err.desc
        qmp.cmd('blockdev-reopen', options=[file, node])
    qmp.cmd('block-export-del', id='e0')
    qmp.wait_event('BLOCK_EXPORT_DELETED', id='e0')
    qmp.cmd('blockdev-reopen', options=[{**node, 'read-only': True}, {**file, 'read-only': True}])
    qmp.cmd('block-export-add', type='nbd', id='e1', node_name='luks', name='disk')
    handle = connect(tmp_path)
    assert handle.is_read_only() and len(handle.pread(4096, 0)) == 4096
    handle.shutdown()
    assert 'read-only' in qmp.error('block-export-add', type='nbd', id='e2', node_name='luks', writable=True).desc


def test_resize(daemon, tmp_path):
    qmp = daemon.qmp
    with writers(tmp_path, SIZE):
        for i in range(1, 9):
            qmp.cmd('block_resize', node_name='luks', size=SIZE + i * MiB)
        handle = connect(tmp_path)
        assert handle.get_size() == SIZE + 8 * MiB
        handle.pwrite(b'x' * 4096, SIZE + 8 * MiB - 4096)
        handle.shutdown()


def test_delete_in_use(daemon, tmp_path):
    handle = connect(tmp_path)
    assert "export 'e0'" in daemon.qmp.error('blockdev-del', node_name='luks').desc
    assert "node 'luks'" in daemon.qmp.error('blockdev-del', node_name='file').desc
    assert "export 'e0'" in daemon.qmp.error('blockdev-set-active', node_name='luks', active=False).desc
    assert 'in use' in daemon.qmp.error('block-export-del', id='e0').desc
    daemon.qmp.cmd('block-export-del', id='e0', mode='hard')
    daemon.qmp.wait_event('BLOCK_EXPORT_DELETED', id='e0')
    daemon.qmp.cmd('blockdev-del', node_name='luks')
    daemon.qmp.cmd('blockdev-del', node_name='file')
    with pytest.raises(nbd.Error):
        handle.pread(512, 0)


@pytest.mark.slow
def test_fio(daemon, tmp_path):
    """fio writes and verifies while all of this happens at once."""
    qmp = daemon.qmp
    try:
        subprocess.run(['fio', '--enghelp=nbd'], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip('no fio with its nbd engine')
    argv = ['fio', '--name=w', '--ioengine=nbd', f'--uri=nbd+unix:///disk?socket={tmp_path}/nbd.sock', '--rw=randwrite',
            '--bsrange=512-65536', '--bs_unaligned=0', f'--size={SIZE}', '--io_size=256m', '--iodepth=8',
            '--verify=crc32c', '--do_verify=1', '--verify_fatal=1', '--randseed=7', '--allow_file_create=0']
    file = {'driver': 'file', 'node-name': 'file', 'filename': str(tmp_path / 'a.luks')}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=tmp_path) as fio:
        i = 0
        while fio.poll() is None:
            i += 1
            assert 'error' not in qmp.run_job('blockdev-keyslot-add', 'k', node_name='luks', new_secret='s1', iter_time=20)
            qmp.cmd('blockdev-reopen', options=[{**file, 'cache': {'no-flush': i % 2 == 0}}])
            assert 'error' in qmp.run_job('blockdev-secure-erase', 'x', node_name='luks')
            assert 'error' not in qmp.run_job('blockdev-keyslot-remove', 'k', node_name='luks', old_secret='s1')
        output = fio.stdout.read().decode()
    assert fio.returncode == 0 and i > 1, output


def test_io_error_event(tmp_path):
    """A full disk: the client gets the error, and the user an event, at most one per second."""
    disk = tmp_path / 'full'
    disk.mkdir()
    if os.geteuid() != 0 or run('mount', '-t', 'tmpfs', '-o', 'size=256k', 'none', disk, status=None).returncode:
        pytest.skip('cannot mount a tmpfs here')
    try:
        with open(disk / 'sparse', 'wb') as image:
            image.truncate(8 * MiB)
        with StorageDaemon(tmp_path, '--blockdev', f'file,node-name=n,filename={disk}/sparse',
                           '--nbd-server', f'addr.type=unix,addr.path={tmp_path}/nbd.sock',
                           '--export', 'nbd,id=e0,node-name=n,name=disk,writable=on') as daemon:
            handle = connect(tmp_path)
            for _ in range(20):
                with pytest.raises(nbd.Error) as caught:
                    handle.pwrite(b'x' * MiB, 0)
                assert caught.value.errnum == 28
            event = daemon.qmp.wait_event('BLOCK_IO_ERROR')
            assert event['data'] == {'qom-path': 'e0', 'device': '', 'node-name': 'n', 'operation': 'write',
                                     'action': 'report', 'nospace': True, 'reason': 'No space left on device'}
            second = daemon.qmp.wait_event('BLOCK_IO_ERROR')
            times = [e['timestamp']['seconds'] + e['timestamp']['microseconds'] / 1e6 for e in (event, second)]
            assert times[0] <= times[1]
            daemon.qmp.cmd('query-version')
            assert daemon.qmp.events == []
            handle.shutdown()
    finally:
        run('umount', disk)
