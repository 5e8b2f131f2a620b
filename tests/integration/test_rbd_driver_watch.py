"""The rbd driver notices when another client resizes the image.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import pytest

from images import FAST, MIB, write_pieces
from nbd_server import wait_until
from programs import qemu_img, qemu_img_json, qemu_io, secret_object
from qmp import StorageDaemon


@pytest.fixture(name='image')
def fixture_image(ceph):
    return ceph.create('8M')


def resize(ceph, image, megabytes):
    ceph.rbd('resize', '--no-progress', '--allow-shrink', '--size', f'{megabytes}M', image)


def add_image(ceph, daemon, image, **more):
    daemon.qmp.cmd('blockdev-add', driver='rbd', node_name='n0', pool='rbd', image=image.split('/')[1],
                   conf=str(ceph.conf), **more)


def size_of(daemon, node='n0'):
    return {n['node-name']: n for n in daemon.qmp.cmd('query-named-block-nodes')}[node]['image']['virtual-size']


def export(daemon, tmp_path, node):
    daemon.qmp.cmd('nbd-server-start', addr={'type': 'unix', 'data': {'path': str(tmp_path / 'nbd')}})
    daemon.qmp.cmd('block-export-add', type='nbd', id='e0', node_name=node, name='e', writable=True)
    return f'nbd+unix:///e?socket={tmp_path}/nbd'


@pytest.mark.parametrize('holds_lock', [False, True])
def test_grown(ceph, tmp_path, image, holds_lock):
    """The volume above, and its export, have the new length at once."""
    s0 = secret_object(tmp_path, 's0', b'password')
    qemu_img('format', *s0, '-o', f'key-secret=s0,{FAST}', ceph.uri(image))
    with StorageDaemon(tmp_path) as daemon:
        (tmp_path / 'pw').write_bytes(b'password')
        daemon.qmp.cmd('object-add', qom_type='secret', id='s0', file=str(tmp_path / 'pw'))
        add_image(ceph, daemon, image)
        daemon.qmp.cmd('blockdev-add', driver='luks', node_name='l0', file='n0', key_secret='s0')
        before = size_of(daemon, 'l0')
        uri = export(daemon, tmp_path, 'l0')
        if holds_lock:
            # librbd then has us resize it.
            qemu_io('-f', 'raw', '-c', 'write 0 4k', uri)
        resize(ceph, image, 16)
        wait_until(lambda: size_of(daemon) == 16 * MIB, 'the new size')
        wait_until(lambda: size_of(daemon, 'l0') == before + 8 * MIB, 'the new size of the volume')
        assert qemu_img_json('info', '-f', 'raw', uri)['virtual-size'] == before + 8 * MIB
        qemu_io('-f', 'raw', '-c', f'write -P 5 {before} 8M', '-c', f'read -P 5 {before} 8M', uri)


def test_shortened(ceph, tmp_path, image):
    """What is left can be used, and the rest is refused."""
    with StorageDaemon(tmp_path) as daemon:
        add_image(ceph, daemon, image)
        uri = export(daemon, tmp_path, 'n0')
        qemu_io('-f', 'raw', '-c', 'write -P 3 0 8M', '-c', 'flush', uri)
        resize(ceph, image, 2)
        wait_until(lambda: size_of(daemon) == 2 * MIB, 'the new size')
        qemu_io('-f', 'raw', '-c', 'read -P 3 0 2M', '-c', 'write 1M 1M', uri)
        qemu_io('-f', 'raw', '-c', 'write 2M 4k', uri, status=1)
        resize(ceph, image, 9)
        wait_until(lambda: size_of(daemon) == 9 * MIB, 'the larger size')
        qemu_io('-f', 'raw', '-c', 'read -P 0 2M 7M', uri)
    assert 'resized by somebody else from 8388608 to 2097152 bytes' in daemon.errors


@pytest.mark.parametrize('megabytes', [4, 12])
def test_under_a_job(ceph, tmp_path, image, megabytes):
    """A job keeps the length that it began with; where that is too long, it gets an error."""
    write_pieces(tmp_path / 'target', 8 * MIB)
    qemu_io('-f', 'raw', '-c', 'write 0 8M', ceph.uri(image))
    with StorageDaemon(tmp_path) as daemon:
        add_image(ceph, daemon, image)
        daemon.qmp.cmd('blockdev-add', driver='file', node_name='target', filename=str(tmp_path / 'target'))
        daemon.qmp.cmd('blockdev-mirror', job_id='j0', device='n0', target='target', sync='full', speed=MIB)
        resize(ceph, image, megabytes)
        daemon.qmp.cmd('block-job-set-speed', device='j0', speed=0)
        if megabytes == 4:
            assert 'Input/output error' in daemon.qmp.wait_event('BLOCK_JOB_COMPLETED')['data']['error']
        else:
            daemon.qmp.wait_event('BLOCK_JOB_READY')
            assert size_of(daemon) == 8 * MIB
            daemon.qmp.cmd('block-job-cancel', device='j0')
            daemon.qmp.wait_event('BLOCK_JOB_COMPLETED')
        daemon.qmp.cmd('block_resize', node_name='n0', size=megabytes * MIB)
        assert size_of(daemon) == megabytes * MIB
    assert 'once no job needs the old size' in daemon.errors


@pytest.mark.parametrize('end', ['blockdev-del', 'quit', 'reopen'])
def test_resized_while_closing(ceph, tmp_path, image, end):
    """Nothing arrives after that, and a node that is opened again is still told."""
    with StorageDaemon(tmp_path) as daemon:
        add_image(ceph, daemon, image)
        for megabytes in 10, 12, 14:
            resize(ceph, image, megabytes)
        if end == 'blockdev-del':
            daemon.qmp.cmd('blockdev-del', node_name='n0')
            resize(ceph, image, 20)
            assert daemon.qmp.cmd('query-named-block-nodes') == []
        elif end == 'reopen':
            daemon.qmp.cmd('blockdev-reopen', options=[{
                'driver': 'rbd', 'node-name': 'n0', 'pool': 'rbd', 'image': image.split('/')[1], 'conf': str(ceph.conf),
                'cache': {'direct': True}}])
            resize(ceph, image, 20)
            wait_until(lambda: size_of(daemon) == 20 * MIB, 'the new size')
        else:
            daemon.qmp.cmd('quit')
            assert daemon.wait()[0] == 0
