"""A real guest on an encrypted export: it writes and verifies while the volume below it is changed.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import hashlib

import pytest

import guest
from images import check_opens, debian_contents
from programs import cryptsetup, qemu_img, secret_object
from qmp import StorageDaemon

pytestmark = [pytest.mark.slow, pytest.mark.plain_build,
              pytest.mark.skipif(guest.missing() is not None, reason=f'needs {guest.missing()}')]

SIZE = 64 << 20


def block_sums(path, password, tmp_path):
    """The sums of the guest's blocks, as Debian's qemu-img reads them."""
    data = debian_contents(tmp_path, path, password)
    return [hashlib.md5(data[i * guest.BLOCK:][:guest.BLOCK]).hexdigest() for i in range(guest.BLOCKS)]


def test_change_password(tmp_path):
    luks = tmp_path / 'a.luks'
    qemu_img('create', '-q', '-f', 'luks', *secret_object(tmp_path, 's', b'one'), '-o', 'key-secret=s,iter-time=10', luks, SIZE)
    with StorageDaemon(tmp_path, '--object', 'secret,id=s1,data=one', '--object', 'secret,id=s2,data=two',
                       '--blockdev', f'file,node-name=file,filename={luks}',
                       '--blockdev', 'luks,node-name=luks,file=file,key-secret=s1',
                       '--nbd-server', f'addr.type=unix,addr.path={tmp_path}/nbd.sock',
                       '--export', 'nbd,id=e0,node-name=luks,name=disk,writable=on') as daemon:
        with guest.Guest(tmp_path, '-blockdev', 'nbd,node-name=disk,server.type=unix,'
                         f'server.path={tmp_path}/nbd.sock,export=disk') as vm:
            vm.wait_rounds(40)
            info = daemon.qmp.run_job('blockdev-keyslot-change', 'k', node_name='luks', old_secret='s1',
                                      new_secret='s2', iter_time=30)
            assert 'error' not in info, info
            vm.wait_rounds(10)
            sums = vm.finish()
    assert len(sums) == guest.BLOCKS
    assert block_sums(luks, b'two', tmp_path) == sums
    check_opens(luks, b'two')
    check_opens(luks, b'one', status=2)


def test_mirror(tmp_path):
    """The guest moves to a volume with another cipher, whose password then changes."""
    paths = {name: tmp_path / f'{name}.luks' for name in ('source', 'target')}
    for name, cipher in (('source', 'aes-256'), ('target', 'serpent-256')):
        qemu_img('create', '-q', '-f', 'luks', *secret_object(tmp_path, 's', name.encode()),
                 '-o', f'key-secret=s,iter-time=10,cipher-alg={cipher}', paths[name], SIZE)
    with StorageDaemon(tmp_path, *(arg for name in paths for arg in (
            '--object', f'secret,id={name},data={name}',
            '--blockdev', f'file,node-name={name}-file,filename={paths[name]}',
            '--blockdev', f'luks,node-name={name},file={name}-file,key-secret={name}')),
                       '--object', 'secret,id=new,data=new',
                       '--nbd-server', f'addr.type=unix,addr.path={tmp_path}/nbd.sock',
                       '--export', 'nbd,id=e0,node-name=source,name=disk,writable=on') as daemon:
        qmp = daemon.qmp
        with guest.Guest(tmp_path, '-blockdev', 'nbd,node-name=disk,server.type=unix,'
                         f'server.path={tmp_path}/nbd.sock,export=disk') as vm:
            vm.wait_rounds(40)
            qmp.cmd('blockdev-mirror', job_id='m', device='source', target='target', sync='full')
            qmp.wait_event('BLOCK_JOB_READY', device='m')
            vm.wait_rounds(10)
            qmp.cmd('job-complete', id='m')
            event = qmp.wait_event('BLOCK_JOB_COMPLETED', device='m')
            assert 'error' not in event['data'], event
            vm.wait_rounds(10)
            qmp.cmd('blockdev-del', node_name='source')
            info = qmp.run_job('blockdev-keyslot-change', 'k', node_name='target', old_secret='target',
                               new_secret='new', iter_time=30)
            assert 'error' not in info, info
            vm.wait_rounds(10)
            sums = vm.finish()
    assert len(sums) == guest.BLOCKS
    assert block_sums(paths['target'], b'new', tmp_path) == sums
    assert block_sums(paths['source'], b'source', tmp_path) != sums
    dump = cryptsetup('luksDump', paths['target']).stdout
    assert 'serpent' in dump
