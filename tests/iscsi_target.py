"""A real iSCSI target for the tests of the iscsi driver: tgtd, without root, kernel module or service manager.

    def test_read(iscsi):
        qemu_io('-f', 'raw', '-c', 'read 0 1M', iscsi.uri(1))

LUNs of 64 MiB: 1 has blocks of 512 bytes, 2 of 4096; 3 and 4 are the same, but thin. The target chap has a LUN 1 for
those who log in. More are made by add_lun().

SPDX-License-Identifier: GPL-2.0-or-later
"""
import os
import signal
import socket
import subprocess

import pytest

from nbd_server import wait_until
from programs import SYSTEM_ENV, freeze, run

PLAIN = 'iqn.2024-01.test:plain'
CHAP = 'iqn.2024-01.test:chap'
USER = 'tester'
PASSWORD = b'open-sesame-12'
SIZE = 64 << 20


def free_port():
    """A port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as sock:
        sock.bind(('127.0.0.1', 0))
        return sock.getsockname()[1]


class IscsiTarget:
    """tgtd; kill() and start() make it disappear and come back with its LUNs."""

    def __init__(self, directory):
        self.directory = directory
        self.port = free_port()
        self.process = None
        self.luns = {1: (PLAIN, 512, ''), 2: (PLAIN, 4096, ''), 3: (PLAIN, 512, 'thin_provisioning=1'),
                     4: (PLAIN, 4096, 'thin_provisioning=1')}
        self._env = {**SYSTEM_ENV, 'TGT_IPC_SOCKET': str(directory / 'control')}

    @property
    def portal(self):
        return f'127.0.0.1:{self.port}'

    def uri(self, lun, target=PLAIN):
        return f'iscsi://{self.portal}/{target}/{lun}'

    def options(self, lun, target=PLAIN, **more):
        """For blockdev-add."""
        return {'driver': 'iscsi', 'transport': 'tcp', 'portal': self.portal, 'target': target, 'lun': lun, **more}

    def image(self, lun):
        """The file that LUN of the target plain is stored in."""
        return self.directory / f'lun{lun}.img'

    def clear(self, lun):
        """All zeroes, and nothing of it stored."""
        os.truncate(self.image(lun), 0)
        os.truncate(self.image(lun), SIZE)

    def admin(self, *args):
        run('tgtadm', '--lld', 'iscsi', *args, env=self._env, timeout=20)

    def _make_lun(self, tid, lun, image, block_size, params):
        if not image.exists():
            image.touch()
            os.truncate(image, SIZE)
        where = ['--mode', 'logicalunit', '--tid', tid, '--lun', lun]
        self.admin('--op', 'new', *where, '--backing-store', image, '--blocksize', block_size)
        if params:
            self.set(lun, params, tid)

    def set(self, lun, params, tid=1):
        """Change PARAMS of a LUN: "readonly=1"."""
        self.admin('--op', 'update', '--mode', 'logicalunit', '--tid', tid, '--lun', lun, '--params', params)

    def add_lun(self, lun, block_size=512, params='', size=SIZE):
        """A LUN of the target plain that stays until remove_lun()."""
        self.image(lun).touch()
        os.truncate(self.image(lun), size)
        self._make_lun(1, lun, self.image(lun), block_size, params)

    def remove_lun(self, lun):
        self.admin('--op', 'delete', '--mode', 'logicalunit', '--tid', 1, '--lun', lun)
        self.image(lun).unlink()

    def start(self):
        self.process = subprocess.Popen(['tgtd', '-f', '-p', self.directory / 'pid', '--iscsi', f'portal={self.portal}'],
                                        env=self._env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        wait_until(self._is_up, 'tgtd to listen')
        for tid, name in ((1, PLAIN), (2, CHAP)):
            self.admin('--op', 'new', '--mode', 'target', '--tid', tid, '--targetname', name)
        for lun, (_, block_size, params) in self.luns.items():
            self._make_lun(1, lun, self.image(lun), block_size, params)
        self._make_lun(2, 1, self.directory / 'chap.img', 512, '')
        self.admin('--op', 'new', '--mode', 'account', '--user', USER, '--password', PASSWORD.decode())
        self.admin('--op', 'bind', '--mode', 'account', '--tid', 2, '--user', USER)
        for tid in (1, 2):
            self.admin('--op', 'bind', '--mode', 'target', '--tid', tid, '--initiator-address', '127.0.0.1')

    def _is_up(self):
        assert self.process.poll() is None, 'tgtd has ended'
        with open('/proc/net/tcp', encoding='utf-8') as table:
            return any(line.split()[1].endswith(f':{self.port:04X}') and line.split()[3] == '0A'
                       for line in table.readlines()[1:]) and os.path.exists(f'{self._env["TGT_IPC_SOCKET"]}.0')

    def kill(self):
        self.process.kill()     # SIGTERM does not end it
        self.process.wait(timeout=30)
        for path in self.directory.glob('control*'):
            path.unlink()

    def stop(self):
        """SIGSTOP: it is there, but does not answer. cont() ends that."""
        freeze(self.process.pid)

    def cont(self):
        self.process.send_signal(signal.SIGCONT)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.kill()


@pytest.fixture(name='iscsi_server', scope='session')
def fixture_iscsi_server(tmp_path_factory):
    """The target that the tests of one process share."""
    with IscsiTarget(tmp_path_factory.mktemp('iscsi')) as target:
        yield target


@pytest.fixture(name='iscsi')
def fixture_iscsi(iscsi_server):
    """That target, with empty LUNs."""
    for lun in iscsi_server.luns:
        iscsi_server.clear(lun)
    return iscsi_server
