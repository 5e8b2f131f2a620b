"""What backup tools do with dirty bitmaps: each backup copies over NBD what was written since the one before.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import random
import threading

import nbd
import pytest

from programs import qemu_img, run, secret_object
from qmp import StorageDaemon

pytestmark = pytest.mark.threads

MiB = 1 << 20
SIZE = 8 * MiB
GRANULARITY = 4096


class Writer(threading.Thread):
    """A guest that has eight random writes in flight until stopped."""

    def __init__(self, socket):
        super().__init__(daemon=True)
        self._handle = nbd.NBD()
        self._handle.set_export_name('disk')
        self._handle.connect_unix(str(socket))
        self._stopping = threading.Event()
        self.error = None
        self.writes = 0
        self.start()

    def run(self):
        rng = random.Random(1)
        cookies = []
        try:
            while cookies or not self._stopping.is_set():
                while len(cookies) < 8 and not self._stopping.is_set():
                    data = nbd.Buffer.from_bytearray(rng.randbytes(3072))
                    cookies.append(self._handle.aio_pwrite(data, rng.randrange(0, SIZE - 3072, 512)))
                self._handle.poll(-1)
                done = [cookie for cookie in cookies if self._handle.aio_command_completed(cookie)]
                cookies = [cookie for cookie in cookies if cookie not in done]
                self.writes += len(done)
        except nbd.Error as err:
            self.error = err

    def wait_for(self, writes):
        end = self.writes + writes
        while self.writes < end and self.is_alive():
            self._stopping.wait(0.001)

    def stop(self):
        self._stopping.set()
        self.join()
        self._handle.shutdown()
        assert self.error is None and self.writes


class Disk:
    """A volume that its guest uses through export "disk"."""

    def __init__(self, directory, daemon):
        self.directory = directory
        self.qmp = daemon.qmp
        self.socket = directory / 'nbd.sock'

    def transaction(self, *actions):
        self.qmp.cmd('transaction', actions=[{'type': f'block-dirty-bitmap-{kind}', 'data': {'node': 'disk', **data}}
                                             for kind, data in actions])

    def copy_dirty(self, bitmap, backup):
        """Export the volume with a bitmap, and copy what is dirty to the file BACKUP; returns the number of bytes."""
        context = f'qemu:dirty-bitmap:{bitmap}'
        self.qmp.cmd('block-export-add', type='nbd', id='pull', name='pull', node_name='disk', bitmaps=[bitmap],
                     iothread='io0')
        handle = nbd.NBD()
        handle.add_meta_context(context)
        handle.set_export_name('pull')
        handle.connect_unix(str(self.socket))
        extents = []
        handle.block_status(SIZE, 0, lambda name, _, entries, __: extents.extend(zip(entries[::2], entries[1::2])) or 0)
        offset = copied = 0
        with backup.open('r+b') as file:
            for size, flags in extents:
                if flags & 1:
                    file.seek(offset)
                    file.write(handle.pread(size, offset))
                    copied += size
                offset += size
        assert offset == SIZE
        handle.shutdown()
        self.qmp.cmd('block-export-del', id='pull', mode='hard')
        self.qmp.wait_event('BLOCK_EXPORT_DELETED', id='pull')
        return copied


@pytest.fixture(name='disk', params=['raw', 'luks'])
def fixture_disk(tmp_path, request):
    image = tmp_path / 'disk'
    secret = secret_object(tmp_path, 's0', b'pw')
    if request.param == 'luks':
        qemu_img('create', '-q', '-f', 'luks', *secret, '-o', 'key-secret=s0,iter-time=10', image, SIZE)
        node = ['--blockdev', 'luks,node-name=disk,file=file,key-secret=s0']
    else:
        image.write_bytes(bytes(SIZE))
        node = ['--blockdev', 'raw,node-name=disk,file=file']
    with StorageDaemon(tmp_path, *secret, '--object', 'iothread,id=io0',
                       '--blockdev', f'file,node-name=file,filename={image}', *node,
                       '--nbd-server', f'addr.type=unix,addr.path={tmp_path}/nbd.sock',
                       '--export', 'nbd,id=e0,node-name=disk,name=disk,writable=on,iothread=io0') as daemon:
        yield Disk(tmp_path, daemon)


def test_no_write_is_missed(disk):
    """A chain of bitmaps while the guest writes: each write is in the bitmap that ends or in the one that begins.

    Every second round begins with a transaction that is undone, which must not lose any bits either.
    """
    backup = disk.directory / 'backup.raw'
    writer = Writer(disk.socket)
    disk.qmp.cmd('block-dirty-bitmap-add', node='disk', name='b0', granularity=GRANULARITY)
    disk.qmp.cmd('block-dirty-bitmap-add', node='disk', name='filler')
    run('nbdcopy', f'nbd+unix:///disk?socket={disk.socket}', backup)
    rounds = 20
    for i in range(rounds):
        writer.wait_for(100)
        if i == rounds - 1:
            writer.stop()
        old, new = {'name': f'b{i}'}, {'name': f'b{i + 1}', 'granularity': GRANULARITY}
        if i % 2:
            failed = [('clear', old), ('disable', old), ('add', new), ('remove', old)]
            disk.qmp.error('transaction', actions=[
                *[{'type': f'block-dirty-bitmap-{kind}', 'data': {'node': 'disk', **data}} for kind, data in failed],
                {'type': 'abort', 'data': {}}])
        # As libvirt does: the new bitmap begins, and a private one collects what to copy. The actions in between make
        # time for writes.
        disk.transaction(('disable', old), *[('clear', {'name': 'filler'})] * 200, ('add', new),
                         ('add', {'name': 'changed', 'granularity': GRANULARITY, 'disabled': True}),
                         ('merge', {'target': 'changed', 'bitmaps': [f'b{i}']}))
        assert 0 < disk.copy_dirty('changed', backup) < SIZE
        for name in (f'b{i}', 'changed'):
            disk.qmp.cmd('block-dirty-bitmap-remove', node='disk', name=name)
    current = disk.directory / 'current.raw'
    run('nbdcopy', f'nbd+unix:///disk?socket={disk.socket}', current)
    assert current.read_bytes() == backup.read_bytes()
