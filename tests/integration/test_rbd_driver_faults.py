"""The rbd driver when the cluster does not answer, or excludes the client.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import signal
import subprocess
import tempfile
import time

import pytest

from ceph_cluster import Ceph
from images import MIB, write_pieces
from nbd_server import wait_until
from programs import QEMU_IMG, qemu_img, qemu_io
from qmp import StorageDaemon, check_end_while_opening

# The time that requests have to end by themselves is 5 seconds.
SOON = 3
AFTER_GRACE = 10


@pytest.fixture(name='own', scope='module')
def fixture_own():
    """A cluster that nobody else uses."""
    with tempfile.TemporaryDirectory(prefix='ceph-') as directory:
        cluster = Ceph(directory)
        yield cluster
        cluster.stop()


def open_arguments(own, image):
    return {'driver': 'rbd', 'node-name': 'n0', 'pool': 'rbd', 'image': image.split('/')[1], 'conf': str(own.conf)}


@pytest.mark.parametrize('silent', ['mon', 'osd'])
@pytest.mark.parametrize('command', ['create', 'convert'])
def test_signal_while_connecting(own, tmp_path, silent, command):
    source = write_pieces(tmp_path / 'source', MIB)
    image = own.create('1M')
    argv = {'create': ['create', '-q', '-f', 'raw', own.uri('rbd/new'), '1M'],
            'convert': ['convert', '-n', '-O', 'raw', source, own.uri(image)]}[command]
    with own.silent(silent):
        with subprocess.Popen([QEMU_IMG, *argv], stderr=subprocess.PIPE, text=True) as process:
            time.sleep(0.5)
            begin = time.monotonic()
            process.send_signal(signal.SIGINT)
            errors = process.communicate(timeout=30)[1]
            assert time.monotonic() - begin < SOON
            assert process.returncode != 0 and 'terminate' not in errors
    own.rbd('rm', '--no-progress', 'rbd/new', status=None)


@pytest.mark.parametrize('end', ['blockdev-del', 'quit', 'signal'])
def test_daemon_while_connecting(own, tmp_path, end):
    """Others are answered while blockdev-add waits, and it can be taken back."""
    image = own.create('1M')
    with own.silent('mon'):
        check_end_while_opening(tmp_path, open_arguments(own, image), end, SOON)


@pytest.mark.parametrize('end', ['quit', 'signal', 'job-cancel'])
def test_requests_in_flight(own, tmp_path, end):
    """They are cancelled when the time of grace is over, or the job is."""
    image = own.create('32M')
    source = write_pieces(tmp_path / 'source', 32 * MIB, (0, 32 * MIB))
    with StorageDaemon(tmp_path) as daemon:
        daemon.qmp.cmd('blockdev-add', **open_arguments(own, image))
        daemon.qmp.cmd('blockdev-add', driver='file', node_name='source', filename=str(source))
        with own.silent('osd'):
            daemon.qmp.cmd('blockdev-mirror', job_id='j0', device='source', target='n0', sync='full')
            time.sleep(0.5)
            begin = time.monotonic()
            if end == 'job-cancel':
                daemon.qmp.cmd('block-job-cancel', device='j0', force=True)
                daemon.qmp.wait_event('BLOCK_JOB_CANCELLED')
                assert time.monotonic() - begin < SOON
            elif end == 'quit':
                daemon.qmp.cmd('quit')
            else:
                daemon.process.send_signal(signal.SIGTERM)
            if end != 'job-cancel':
                assert daemon.wait()[0] == 0
                assert time.monotonic() - begin < AFTER_GRACE


def test_silence_and_return(own, tmp_path):
    """Nothing is lost."""
    image = own.create('8M')
    source = write_pieces(tmp_path / 'source', 8 * MIB, (0, 8 * MIB))
    with subprocess.Popen([QEMU_IMG, 'convert', '-n', '-O', 'raw', source, own.uri(image)]) as process:
        with own.silent('osd'):
            time.sleep(2)
            assert process.poll() is None
        assert process.wait(timeout=60) == 0
    assert own.export(image, tmp_path / 'after') == source.read_bytes()


def fails_soon(uri):
    """Whether a request fails; then it does so without waiting."""
    begin = time.monotonic()
    failed = 'failed' in ''.join(attempt(uri))
    assert not failed or time.monotonic() - begin < SOON
    return failed


def test_blocklisted(own, tmp_path):
    """Requests fail at once, and opening again helps."""
    image = own.create('4M', '--image-feature', 'layering')
    with StorageDaemon(tmp_path) as daemon:
        daemon.qmp.cmd('blockdev-add', **open_arguments(own, image))
        daemon.qmp.cmd('nbd-server-start', addr={'type': 'unix', 'data': {'path': str(tmp_path / 'nbd')}})
        daemon.qmp.cmd('block-export-add', type='nbd', id='e0', node_name='n0', writable=True)
        uri = f'nbd+unix:///n0?socket={tmp_path}/nbd'
        qemu_io('-f', 'raw', '-c', 'write 0 4k', uri)
        watcher, = own.rbd_json('status', image)['watchers']
        own.ceph('osd', 'blocklist', 'add', watcher['address'])
        # Client and OSD learn this separately.
        wait_until(lambda: fails_soon(uri) and fails_soon(uri), 'the client to be excluded')
        own.ceph('osd', 'blocklist', 'rm', watcher['address'])
        daemon.qmp.cmd('block-export-del', id='e0')
        daemon.qmp.wait_event('BLOCK_EXPORT_DELETED')
        daemon.qmp.cmd('blockdev-del', node_name='n0')
    qemu_img('info', own.uri(image))


def attempt(uri):
    """A write: its output."""
    done = qemu_io('-f', 'raw', '-c', 'write -f 0 4k', uri, status=None)
    return done.stdout, done.stderr


def test_silent_monitor(own, tmp_path):
    """The message says for how long it was tried, and where."""
    conf = tmp_path / 'ceph.conf'
    conf.write_text(f'{own.conf.read_text()}[client]\nclient mount timeout = 2\n')
    monitor = own.conf.read_text().split('mon host = ')[1].split()[0]
    with own.silent('mon'):
        for argv in ('info',), ('create', '-f', 'raw'):
            size = ['1M'] if argv[0] == 'create' else []
            failed = qemu_img(*argv, f'rbd:rbd/test:conf={conf}', *size, status=1).stderr
            assert f'could not log in to a monitor within 2 seconds; tried {monitor}\n' in failed
            assert 'Check that the cluster runs and can be reached' in failed


def test_time_out_of_servers(own, tmp_path):
    """A limit that the configuration file sets."""
    conf = tmp_path / 'ceph.conf'
    conf.write_text(f'{own.conf.read_text()}[client]\nrados osd op timeout = 1\n')
    with own.silent('osd'):
        failed = qemu_img('create', '-f', 'raw', f'rbd:rbd/test:conf={conf}', '1M', status=1).stderr
    assert "RBD image 'rbd/test': could not create it: Connection timed out" in failed


@pytest.mark.slow
@pytest.mark.plain_build
@pytest.mark.parametrize('argv', [('info',), ('create', '-f', 'raw')])
def test_silent_servers(own, argv):
    """The monitors answer, so these are not to blame."""
    size = ['1M'] if argv[0] == 'create' else []
    with own.silent('osd'):
        failed = qemu_img(*argv, own.uri('rbd/test'), *size, status=1).stderr
    assert "the cluster's monitors respond, but not the OSDs that store the image" in failed
    assert 'ceph status' in failed
