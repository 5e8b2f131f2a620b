"""The iscsi driver when its target dies, hangs, comes back, or changes.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import random
import signal
import subprocess
import threading
import time

import pytest

from images import MIB
from iscsi_target import PLAIN, SIZE, IscsiTarget
from nbd_server import wait_until
from programs import QEMU_IMG, QEMU_IO, qemu_img, qemu_io, secret_object
from qmp import StorageDaemon, check_end_while_opening

# What ends at once; the sanitizers take their time.
SOON = 8


@pytest.fixture(name='target')
def fixture_target(tmp_path):
    """A target for one test, which may kill it."""
    directory = tmp_path / 't'
    directory.mkdir()
    with IscsiTarget(directory) as target:
        yield target


def opts(target, lun, **more):
    """Of a raw node on a LUN, for --image-opts."""
    text = f'driver=raw,file.driver=iscsi,file.transport=tcp,file.portal={target.portal},file.target={PLAIN},file.lun={lun}'
    return text + ''.join(f',file.{key.replace("_", "-")}={value}' for key, value in more.items())


def test_restarts(target):
    """With writes in flight: each of them is made, and in order."""
    rng = random.Random(1)
    expected = bytearray(SIZE)
    commands = []
    for i in range(2000):
        offset, pattern = rng.randrange(0, SIZE - 65536, 4096), i % 255 + 1
        length = rng.choice((4096, 8192, 65536))
        commands += ['-c', f'write -f -P {pattern} {offset} {length}']
        expected[offset:offset + length] = bytes([pattern]) * length
    with subprocess.Popen([QEMU_IO, '--image-opts', *commands, opts(target, 2)], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True) as client:
        said = []
        readers = [threading.Thread(target=lambda pipe=pipe: said.append(pipe.read()))
                   for pipe in (client.stdout, client.stderr)]
        for reader in readers:
            reader.start()
        restarts = 0
        wait_until(lambda: target.image(2).stat().st_blocks or client.poll() is not None, 'the first write')
        while client.poll() is None and restarts < 4:
            time.sleep(0.1)
            if client.poll() is None:
                target.kill()
                target.start()
                restarts += 1
        assert client.wait(timeout=120) == 0, said
        for reader in readers:
            reader.join()
        assert restarts >= 2 and 'failed' not in said[0] + said[1]
    assert target.image(2).read_bytes() == expected


def test_timeout(target):
    """A request to a target that does not answer fails after the time that the option allows."""
    with subprocess.Popen([QEMU_IO, '--image-opts', opts(target, 1, timeout=2)], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as client:
        client.stdin.write('read 0 4k\n')
        client.stdin.flush()
        while 'read 4096' not in client.stdout.readline():
            pass
        target.stop()
        begin = time.monotonic()
        client.stdin.write('read 0 4k\n')
        client.stdin.close()
        output = client.stdout.read()
        took = time.monotonic() - begin
        assert 'no answer to a request within 2 s' in output and 'timed out' in output
        assert 1.5 < took < 2 + SOON
        target.cont()


def test_silent_portal(target):
    """A program that opens a LUN ends when it is told to, or after the time-out."""
    target.stop()
    error = qemu_img('info', '--image-opts', opts(target, 1, timeout=1), status=1).stderr
    assert 'Timed out waiting for the' in error
    with subprocess.Popen([QEMU_IMG, 'info', target.uri(1)], stderr=subprocess.PIPE, text=True) as client:
        time.sleep(0.5)
        client.send_signal(signal.SIGINT)
        begin = time.monotonic()
        client.wait(timeout=30)
        assert time.monotonic() - begin < SOON


@pytest.mark.parametrize('end', ['blockdev-del', 'quit', 'signal'])
def test_daemon_while_connecting(target, tmp_path, end):
    """Others are answered while blockdev-add waits, and it can be taken back."""
    target.stop()
    check_end_while_opening(tmp_path, target.options(1), end, SOON)


@pytest.mark.parametrize('end', ['cancel', 'quit', 'signal'])
def test_job_on_a_silent_target(target, tmp_path, end):
    """A job whose requests do not end is cancelled by force, and does not hold up the end of the program."""
    with StorageDaemon(tmp_path, *secret_object(tmp_path, 's0', b'pw')) as daemon:
        qmp = daemon.qmp
        qmp.cmd('blockdev-add', node_name='n0', **target.options(1))
        target.stop()
        qmp.cmd('blockdev-format', job_id='j', file='n0', options={'driver': 'luks', 'key-secret': 's0', 'iter-time': 10})
        time.sleep(0.3)
        begin = time.monotonic()
        assert qmp.cmd('query-named-block-nodes', flat=True)
        qmp.cmd('job-cancel', id='j')
        if end == 'cancel':
            target.cont()
            qmp.wait_event('JOB_STATUS_CHANGE', id='j', status='concluded')
        elif end == 'quit':
            qmp.cmd('quit')
            daemon.wait()
        else:
            daemon.process.send_signal(signal.SIGTERM)
            daemon.wait()
        assert time.monotonic() - begin < 3 * SOON


def test_export_of_a_silent_target(target, tmp_path):
    """It is deleted by force while a client waits."""
    with StorageDaemon(tmp_path, '--object', 'iothread,id=io0') as daemon:
        qmp = daemon.qmp
        qmp.cmd('nbd-server-start', addr={'type': 'unix', 'data': {'path': f'{tmp_path}/nbd.sock'}})
        qmp.cmd('blockdev-add', node_name='n0', **target.options(1))
        qmp.cmd('block-export-add', type='nbd', id='e0', node_name='n0', iothread='io0')
        target.stop()
        with subprocess.Popen([QEMU_IO, '-r', '-f', 'raw', '-c', 'read 0 4k', f'nbd+unix:///n0?socket={tmp_path}/nbd.sock'],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as client:
            time.sleep(0.5)
            begin = time.monotonic()
            qmp.cmd('block-export-del', id='e0', mode='hard')
            qmp.wait_event('BLOCK_EXPORT_DELETED', id='e0')
            assert time.monotonic() - begin < SOON
            client.wait(timeout=30)
        qmp.cmd('blockdev-del', node_name='n0')


def test_lost_writes(target, tmp_path):
    """What was not flushed may be gone with the target: a flush must not say otherwise."""
    with subprocess.Popen([QEMU_IO, '--image-opts', opts(target, 1)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True) as client:
        client.stdin.write('write -P 1 0 4k\nread 0 4k\n')
        client.stdin.flush()
        while 'read 4096' not in client.stdout.readline():
            pass
        target.kill()
        target.start()
        client.stdin.write('read -P 1 0 4k\nflush\n')
        client.stdin.close()
        output = client.stdout.read()
    assert 'read 4096/4096' in output and 'Input/output error' in output


def test_read_only(iscsi, tmp_path):
    iscsi.add_lun(9, params='readonly=1')
    try:
        refused = qemu_io('-f', 'raw', '-c', 'read 0 512', iscsi.uri(9), status=1)
        assert 'the LUN is read-only' in refused.stderr
        qemu_io('-r', '-f', 'raw', '-c', 'read 0 512', iscsi.uri(9))
        qemu_img('info', '-f', 'raw', iscsi.uri(9))
        with StorageDaemon(tmp_path) as daemon:
            options = {**iscsi.options(9), 'node-name': 'n0', 'auto-read-only': True}
            daemon.qmp.cmd('blockdev-add', **options)
            node, = daemon.qmp.cmd('query-named-block-nodes', flat=True)
            assert node['ro'] and node['drv'] == 'iscsi' and node['file'] == iscsi.uri(9)
            error = daemon.qmp.error('blockdev-reopen', options=[{**options, 'auto-read-only': False}])
            assert 'read-only' in error.desc
            daemon.qmp.cmd('blockdev-reopen', options=[{**options, 'auto-read-only': False, 'read-only': True}])
            daemon.qmp.cmd('blockdev-del', **{'node-name': 'n0'})
    finally:
        iscsi.remove_lun(9)


def test_becomes_read_only(iscsi):
    """While it is open: EPERM, and the sense on standard error."""
    iscsi.add_lun(9)
    try:
        with subprocess.Popen([QEMU_IO, '-f', 'raw', iscsi.uri(9)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True) as client:
            client.stdin.write('write 0 4k\n')
            client.stdin.flush()
            while 'wrote 4096' not in client.stdout.readline():
                pass
            iscsi.set(9, 'readonly=1')
            client.stdin.write('write 0 4k\n')
            client.stdin.close()
            output = client.stdout.read()
        assert 'Operation not permitted' in output and 'sense DATA PROTECTION, 0x27' in output
        assert f"iSCSI LUN '{iscsi.portal}/{PLAIN}/9'" in output
    finally:
        iscsi.remove_lun(9)


@pytest.mark.threads
def test_two_nodes(iscsi, tmp_path):
    """Do not end each other's sessions."""
    with StorageDaemon(tmp_path, '--object', 'iothread,id=io0', '--object', 'iothread,id=io1') as daemon:
        daemon.qmp.cmd('nbd-server-start', addr={'type': 'unix', 'data': {'path': f'{tmp_path}/nbd.sock'}})
        for i, lun in enumerate((1, 2, 2)):
            daemon.qmp.cmd('blockdev-add', node_name=f'n{i}', **iscsi.options(lun))
            daemon.qmp.cmd('block-export-add', type='nbd', id=f'e{i}', node_name=f'n{i}', name=f'e{i}', writable=True,
                           iothread=f'io{i % 2}')
        clients = [subprocess.Popen(['/usr/bin/qemu-img', 'bench', '-w', '-f', 'raw', '-c', '1000', '-d', '16', '-s', '4k',
                                     '-t', 'none', f'nbd+unix:///e{i}?socket={tmp_path}/nbd.sock'],
                                    stdout=subprocess.DEVNULL) for i in range(3)]
        assert [client.wait(timeout=60) for client in clients] == [0, 0, 0]


def test_resize_is_noticed(iscsi, tmp_path):
    """block_resize to the size that the LUN has, and to no other."""
    iscsi.add_lun(9, size=16 * MIB)
    try:
        with StorageDaemon(tmp_path) as daemon:
            daemon.qmp.cmd('blockdev-add', node_name='n0', **iscsi.options(9))
            error = daemon.qmp.error('block_resize', node_name='n0', size=32 * MIB)
            assert 'Cannot resize iSCSI LUNs' in error.desc
            daemon.qmp.cmd('block_resize', node_name='n0', size=16 * MIB)
    finally:
        iscsi.remove_lun(9)
