"""block-set-write-threshold: one event for the first write beyond an offset, as oVirt uses it below LUKS.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import nbd
import pytest

from programs import qemu_img, secret_object
from qmp import StorageDaemon

pytestmark = pytest.mark.threads

KiB = 1 << 10
MiB = 1 << 20


def threshold(qmp, node='file'):
    info, = [info for info in qmp.cmd('query-named-block-nodes') if info['node-name'] == node]
    return info['write_threshold']


def connect(directory):
    handle = nbd.NBD()
    handle.set_export_name('disk')
    handle.connect_unix(str(directory / 'nbd.sock'))
    return handle


def exported(directory, node, *args):
    return StorageDaemon(directory, *args, '--object', 'iothread,id=io0',
                         '--nbd-server', f'addr.type=unix,addr.path={directory}/nbd.sock',
                         '--export', f'nbd,id=e0,node-name={node},name=disk,writable=on,iothread=io0')


@pytest.fixture(name='disk')
def fixture_disk(tmp_path):
    """QMP and NBD of a node of 4 MiB."""
    (tmp_path / 'disk.raw').write_bytes(bytes(4 * MiB))
    with exported(tmp_path, 'file', '--blockdev',
                  f'file,node-name=file,filename={tmp_path}/disk.raw,discard=unmap') as daemon:
        handle = connect(tmp_path)
        yield daemon.qmp, handle
        handle.shutdown()


def no_event(qmp):
    """None has come: everything sent before the answer of a command comes before it."""
    qmp.cmd('query-version')
    assert not [event for event in qmp.events if event['event'] == 'BLOCK_WRITE_THRESHOLD']


def test_once(disk):
    """The write that ends beyond it, by one byte at least, disarms it."""
    qmp, handle = disk
    handle.pwrite(b'x' * 512, 3 * MiB)
    assert threshold(qmp) == 0
    qmp.cmd('block-set-write-threshold', node_name='file', write_threshold=1 * MiB)
    assert threshold(qmp) == 1 * MiB
    handle.pwrite(b'x' * 512, 1 * MiB - 512)
    handle.pread(512, 3 * MiB)
    handle.flush()
    assert threshold(qmp) == 1 * MiB
    handle.pwrite(b'x' * 1024, 1 * MiB - 512)
    event = qmp.wait_event('BLOCK_WRITE_THRESHOLD')
    assert event['data'] == {'node-name': 'file', 'amount-exceeded': 512, 'write-threshold': 1 * MiB}
    assert threshold(qmp) == 0
    handle.pwrite(b'x' * 1024, 2 * MiB)
    no_event(qmp)


@pytest.mark.parametrize('request_', ['zero', 'trim'])
def test_zeroes_and_discards(disk, request_):
    qmp, handle = disk
    qmp.cmd('block-set-write-threshold', node_name='file', write_threshold=1)
    getattr(handle, request_)(64 * KiB, 0)
    qmp.wait_event('BLOCK_WRITE_THRESHOLD', **{'amount-exceeded': 64 * KiB - 1})


def test_changed_and_disarmed(disk):
    qmp, handle = disk
    qmp.cmd('block-set-write-threshold', node_name='file', write_threshold=4096)
    qmp.cmd('block-set-write-threshold', node_name='file', write_threshold=8192)
    handle.pwrite(b'x' * 8192, 0)
    qmp.cmd('block-set-write-threshold', node_name='file', write_threshold=0)
    handle.pwrite(b'x' * 512, 8192)
    no_event(qmp)
    for large in (1 << 63, (1 << 64) - 1):
        qmp.cmd('block-set-write-threshold', node_name='file', write_threshold=large)
        assert threshold(qmp) == (1 << 63) - 1
    handle.pwrite(b'x' * 512, 8192)
    no_event(qmp)
    assert "'nope'" in qmp.error('block-set-write-threshold', node_name='nope', write_threshold=1).desc


def test_many_writes_at_once(disk):
    """One event, however many writes cross it together."""
    qmp, handle = disk
    for _ in range(20):
        qmp.cmd('block-set-write-threshold', node_name='file', write_threshold=1 * MiB)
        cookies = [handle.aio_pwrite(nbd.Buffer.from_bytearray(b'x' * 4096), 1 * MiB + i * 4096) for i in range(16)]
        while not all([handle.aio_command_completed(cookie) for cookie in cookies if cookie]):
            handle.poll(-1)
            cookies = [cookie for cookie in cookies if not handle.aio_command_completed(cookie)]
        qmp.wait_event('BLOCK_WRITE_THRESHOLD')
        no_event(qmp)


def test_below_luks(tmp_path):
    """Offsets are those of the storage, which has the header, too; a new threshold follows each event."""
    image = tmp_path / 'a.luks'
    secret = secret_object(tmp_path, 's0', b'pw')
    qemu_img('create', '-q', '-f', 'luks', *secret, '-o', 'key-secret=s0,iter-time=10', image, 4 * MiB)
    header = image.stat().st_size - 4 * MiB
    with exported(tmp_path, 'luks', *secret, '--blockdev', f'file,node-name=file,filename={image}',
                  '--blockdev', 'luks,node-name=luks,file=file,key-secret=s0') as daemon:
        handle = connect(tmp_path)
        limit = header + 1 * MiB
        daemon.qmp.cmd('block-set-write-threshold', node_name='file', write_threshold=limit)
        for offset in range(0, 4 * MiB, 64 * KiB):
            handle.pwrite(b'x' * 64 * KiB, offset)
            if header + offset + 64 * KiB > limit:
                event = daemon.qmp.wait_event('BLOCK_WRITE_THRESHOLD')
                assert event['data'] == {'node-name': 'file', 'amount-exceeded': 64 * KiB, 'write-threshold': limit}
                limit += 1 * MiB
                daemon.qmp.cmd('block-set-write-threshold', node_name='file', write_threshold=limit)
        assert limit == header + 4 * MiB
        handle.shutdown()
