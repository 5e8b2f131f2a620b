"""Abandoned requests: storage that does not answer does not delay the end of an export or a program.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import signal
import subprocess
import time

import nbd
import pytest

from nbd_server import NbdServer
from programs import QEMU_IMG, secret_object
from qmp import StorageDaemon

pytestmark = pytest.mark.threads

HOUR_NS = 3600 * 10**9
# Seconds: requests of clients are cancelled at once, others after 5; more with sanitizers.
AT_ONCE = 4
AFTER_GRACE = 12
SILENT = f'driver=null-co,latency-ns={HOUR_NS}'


def begin_read(socket, name):
    """A client whose request is in flight."""
    client = nbd.NBD()
    client.set_export_name(name)
    client.connect_unix(str(socket))
    client.aio_pread(nbd.Buffer(512), 0)
    client.poll(0)
    time.sleep(0.2)
    return client


def wait_end(process):
    """Wait for the end of a process; return how long it took."""
    begin = time.monotonic()
    process.wait(timeout=60)
    return time.monotonic() - begin


@pytest.mark.parametrize('how', ['delete', 'signal'])
def test_exports(tmp_path, how):
    """Exports of the main loop and of an I/O thread, through another node."""
    socket = tmp_path / 'nbd.sock'
    with StorageDaemon(tmp_path, '--object', 'iothread,id=io0',
                       '--blockdev', f'{SILENT},node-name=n0',
                       '--blockdev', f'{SILENT},node-name=n1', '--blockdev', 'raw,node-name=r1,file=n1',
                       '--nbd-server', f'addr.type=unix,addr.path={socket}',
                       '--export', 'nbd,id=e0,node-name=n0,name=e0',
                       '--export', 'nbd,id=e1,node-name=r1,name=e1,iothread=io0') as daemon:
        clients = [begin_read(socket, name) for name in ('e0', 'e1')]
        if how == 'delete':
            for name in ('e0', 'e1'):
                begin = time.monotonic()
                daemon.qmp.cmd('block-export-del', id=name, mode='hard')
                daemon.qmp.wait_event('BLOCK_EXPORT_DELETED', id=name)
                assert time.monotonic() - begin < AT_ONCE
        daemon.process.send_signal(signal.SIGTERM)
        assert wait_end(daemon.process) < AT_ONCE
    del clients


def test_shared_node(tmp_path):
    """Ending one export does not affect another on the same node."""
    socket = tmp_path / 'nbd.sock'
    with StorageDaemon(tmp_path, '--blockdev', 'driver=null-co,latency-ns=2000000000,read-zeroes=on,node-name=n0',
                       '--nbd-server', f'addr.type=unix,addr.path={socket}',
                       '--export', 'nbd,id=e0,node-name=n0,name=e0',
                       '--export', 'nbd,id=e1,node-name=n0,name=e1') as daemon:
        client = nbd.NBD()
        client.set_export_name('e1')
        client.connect_unix(str(socket))
        gone = begin_read(socket, 'e0')
        buf = nbd.Buffer(512)
        cookie = client.aio_pread(buf, 0)
        daemon.qmp.cmd('block-export-del', id='e0', mode='hard')
        while not client.aio_command_completed(cookie):
            client.poll(-1)
        assert buf.to_bytearray() == bytes(512)
        del gone


def test_job(tmp_path):
    with StorageDaemon(tmp_path, *secret_object(tmp_path, 's', b'pw'), '--blockdev', f'{SILENT},node-name=n0') as daemon:
        daemon.qmp.cmd('blockdev-format', job_id='j', file='n0', options={'driver': 'luks', 'key-secret': 's'})
        time.sleep(0.5)
        daemon.process.send_signal(signal.SIGTERM)
        assert wait_end(daemon.process) < AFTER_GRACE


def test_qemu_nbd(tmp_path):
    with NbdServer(tmp_path, '--image-opts', SILENT) as server:
        client = begin_read(server.socket, '')
        server.process.send_signal(signal.SIGTERM)
        assert wait_end(server.process) < AT_ONCE
        del client


def test_qemu_img(tmp_path):
    argv = [QEMU_IMG, 'convert', '--image-opts', f'{SILENT},size=1M', '-O', 'raw', tmp_path / 'a.raw']
    with subprocess.Popen(argv, stderr=subprocess.DEVNULL) as process:
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        seconds = wait_end(process)
        assert process.returncode == 1
        assert seconds < AFTER_GRACE
