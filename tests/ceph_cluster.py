"""A Ceph cluster for tests, one for all workers of a pytest run: the fixture ceph.

    def test_size(ceph):
        image = ceph.create('64M')
        assert qemu_img_json('info', ceph.uri(image))['virtual-size'] == 64 << 20

SPDX-License-Identifier: GPL-2.0-or-later
"""
import contextlib
import fcntl
import json
import os
import pathlib
import shutil
import signal
import tempfile
import uuid

import pytest

from programs import build_option, freeze, run

SCRIPT = pathlib.Path(__file__).resolve().parent / 'ceph.sh'


class Ceph:
    """A cluster in DIRECTORY, with a pool 'rbd'. AUTH: none, or cephx."""

    def __init__(self, directory, auth='none'):
        self.directory = pathlib.Path(directory)
        self.conf = self.directory / 'ceph' / 'ceph.conf'
        answer = run(SCRIPT, 'start', directory, timeout=120, env={**os.environ, 'CEPH_AUTH': auth}).stdout
        self._values = dict(line.split('=', 1) for line in answer.splitlines())

    def stop(self):
        """Kill it, and delete its data."""
        run(SCRIPT, 'stop', self.directory)

    def rbd(self, *args, **kwargs):
        """Run Ceph's own rbd."""
        return run('rbd', '-c', self.conf, *args, **kwargs)

    def rbd_json(self, *args):
        return json.loads(self.rbd(*args, '--format', 'json').stdout)

    def ceph(self, *args):
        """Run ceph, which takes half a second."""
        return run('ceph', '-c', self.conf, '--connect-timeout', '20', *args, timeout=60)

    def create(self, size, *options, pool='rbd'):
        """A new image of SIZE (of rbd create), with a name that no other test uses: POOL/NAME."""
        name = f'{pool}/i{uuid.uuid4().hex[:12]}'
        self.rbd('create', name, '--size', size, *options)
        return name

    def unused_name(self):
        """A name for an image that a test creates."""
        return f'rbd/n{uuid.uuid4().hex[:12]}'

    def uri(self, image):
        """The filename of IMAGE, for us and for QEMU."""
        return f'rbd:{image}:conf={self.conf}'

    def options(self, image, prefix=''):
        """driver=rbd,..., with PREFIX before each key."""
        pool, name = image.split('/')
        return ','.join(f'{prefix}{key}={value}' for key, value in
                        (('driver', 'rbd'), ('pool', pool), ('image', name), ('conf', self.conf)))

    def export(self, image, path):
        """The bytes of IMAGE, as rbd export writes them to PATH."""
        path.unlink(missing_ok=True)
        self.rbd('export', '--no-progress', image, path)
        return path.read_bytes()

    def import_file(self, path):
        """A new image with the content of PATH."""
        name = self.unused_name()
        self.rbd('import', '--no-progress', path, name)
        return name

    @contextlib.contextmanager
    def silent(self, *daemons):
        """Stop DAEMONS ('mon', 'osd') meanwhile, so that they do not answer."""
        pids = [int(self._values[f'CEPH_{daemon.upper()}_PID']) for daemon in daemons]
        try:
            for pid in pids:
                freeze(pid)
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)


def librbd():
    """The bytes of the library."""
    path = next(line.split()[2] for line in run('ldd', '/usr/bin/rbd').stdout.splitlines() if 'librbd.so.1' in line)
    return pathlib.Path(path).read_bytes()


class SharedCeph:
    """The cluster of all workers of a run: the first starts it, the last stops it."""

    def __init__(self, run_id):
        self._directory = pathlib.Path(tempfile.gettempdir()) / f'ceph-{run_id[:12]}'
        self._users = None
        self.cluster = None

    def __enter__(self):
        while not self._users:
            self._directory.mkdir(exist_ok=True)
            # Gone again if another worker was the last, and stops it now.
            with contextlib.suppress(FileNotFoundError):
                # pylint: disable-next=consider-using-with
                self._users = open(self._directory / 'users', 'w', encoding='utf-8')
        fcntl.flock(self._users, fcntl.LOCK_SH)
        self.cluster = Ceph(self._directory)
        return self.cluster

    def __exit__(self, *_):
        with self._users:
            try:
                fcntl.flock(self._users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            self.cluster.stop()
            shutil.rmtree(self._directory, ignore_errors=True)


@pytest.fixture(name='ceph', scope='session')
def fixture_ceph():
    """A Ceph cluster, shared with the other workers of this run. Tests that disturb it use a cluster of their own."""
    if build_option('b_sanitize') == 'thread':
        pytest.skip("ThreadSanitizer does not see how librbd's threads synchronise")
    with SharedCeph(os.environ.get('PYTEST_XDIST_TESTRUNUID', f'{os.getpid()}')) as cluster:
        yield cluster
