"""Mirrors between nodes of a storage daemon, whose source is exported.

    from mirrors import conclude, mirror_daemon, start_mirror

    def test_copy(tmp_path):
        with mirror_daemon(tmp_path, 'raw', 'luks') as daemon:      # nodes "source" and "target"
            start_mirror(daemon.qmp)
            daemon.qmp.wait_event('BLOCK_JOB_READY')
            daemon.qmp.cmd('job-complete', id='m0')
            assert conclude(daemon.qmp) is None
        assert contents(tmp_path, 'source', 'raw') == contents(tmp_path, 'target', 'luks')

SPDX-License-Identifier: GPL-2.0-or-later
"""
import random

from images import debian_contents
from programs import qemu_img, secret_object
from qmp import StorageDaemon
from writer import connect

MiB = 1 << 20
SIZE = 16 * MiB
LUKS_OPTIONS = {'source': 'cipher-alg=aes-128,hash-alg=sha1,iter-time=10', 'target': 'iter-time=10'}


def create(directory, name, fmt, size=SIZE):
    """An image, and the arguments of a daemon that opens it as node NAME."""
    path = directory / f'{name}.img'
    if fmt == 'raw':
        qemu_img('create', '-q', '-f', 'raw', path, size)
        return ['--blockdev', f'file,node-name={name},filename={path},discard=unmap']
    secret = secret_object(directory, f'{name}-secret', f'password of {name}'.encode())
    qemu_img('create', '-q', '-f', 'luks', *secret, '-o', f'key-secret={name}-secret,{LUKS_OPTIONS[name]}', path, size)
    return [*secret, '--blockdev', f'file,node-name={name}-file,filename={path}',
            '--blockdev', f'luks,node-name={name},file={name}-file,key-secret={name}-secret']


def source_daemon(directory, args, source='raw', size=SIZE):
    """A daemon with ARGS, and a writable export "disk" of the node "source"."""
    return StorageDaemon(directory, *create(directory, 'source', source, size), *args,
                         '--nbd-server', f'addr.type=unix,addr.path={directory}/nbd.sock',
                         '--export', 'nbd,id=e0,node-name=source,name=disk,writable=on')


def mirror_daemon(directory, source='raw', target='raw', size=SIZE, more=()):
    return source_daemon(directory, [*create(directory, 'target', target, size), *more], source, size)


def fill(directory, seed=1):
    """Write random data to every second MiB of the export."""
    handle = connect(directory)
    data = random.Random(seed).randbytes(MiB)
    for offset in range(0, SIZE, 2 * MiB):
        handle.pwrite(data, offset)
    handle.shutdown()


def start_mirror(qmp, ready=False, **options):
    """Start the job m0; with READY, wait until it is."""
    qmp.cmd('blockdev-mirror', **{'job_id': 'm0', 'device': 'source', 'target': 'target', 'sync': 'full',
                                  'auto_dismiss': False, **options})
    if ready:
        qmp.wait_event('BLOCK_JOB_READY')


def conclude(qmp, job='m0'):
    """Wait for the end of the job, and dismiss it; its error."""
    qmp.wait_event('JOB_STATUS_CHANGE', id=job, status='concluded')
    info, = [info for info in qmp.cmd('query-jobs') if info['id'] == job]
    qmp.cmd('job-dismiss', id=job)
    return info.get('error')


def contents(directory, name, fmt):
    """What Debian's qemu-img reads from an image that nobody has open."""
    path = directory / f'{name}.img'
    return path.read_bytes() if fmt == 'raw' else debian_contents(directory, path, f'password of {name}'.encode())


def exported_node(qmp):
    """The node of the export; while a mirror runs, its filter."""
    return qmp.cmd('query-block-exports')[0]['node-name']
