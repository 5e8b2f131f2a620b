"""Requests of NBD clients that are gone: they end early, and those that have not begun never do.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import signal
import time

import pytest

from nbd_server import connect_wire
from programs import qemu_img, secret_object
from qmp import QmpError, StorageDaemon

pytestmark = pytest.mark.threads

MIB = 1 << 20
READ, WRITE, DISC, FLUSH, TRIM, CACHE, WRITE_ZEROES, BLOCK_STATUS = range(8)
# Seconds; more with sanitizers, and for other tests on the same machine.
AT_ONCE = 4
SIZE = 8 << 30
LONGEST = (1 << 32) - MIB

# Each is slow in its own way: 4,096 writes of 20 ms each, requests that wait for a limit, and a peer that
# does not answer, at a node that others use, too.
NODES = ('luks', 'throttle', 'silent')


@pytest.fixture(name='header', scope='module')
def fixture_header(tmp_path_factory):
    directory = tmp_path_factory.mktemp('header')
    secret = secret_object(directory, 's0', b'pw')
    header = directory / 'header.luks'
    qemu_img('create', '-q', '-f', 'luks', *secret, '-o', 'key-secret=s0,iter-time=10,detached-header=true', header)
    return header, secret


@pytest.fixture(name='daemon')
def fixture_daemon(tmp_path, header):
    """A daemon that exports all of them under their names, from an I/O thread and from the main loop."""
    path, secret = header
    with StorageDaemon(tmp_path, *secret, '--object', 'iothread,id=io0',
                       '--object', 'throttle-group,id=g,limits.bps-write=1,limits.iops-read=1',
                       '--blockdev', f'null-co,node-name=slow,size={SIZE},latency-ns=20000000',
                       '--blockdev', f'luks,node-name=luks,key-secret=s0,file=slow,header.driver=file,'
                       f'header.filename={path}',
                       '--blockdev', f'throttle,node-name=throttle,throttle-group=g,file.driver=null-co,file.size={SIZE}',
                       '--blockdev', f'null-co,node-name=silent,size={SIZE},latency-ns=3600000000000',
                       '--blockdev', 'raw,node-name=other,file=silent',
                       '--nbd-server', f'addr.type=unix,addr.path={tmp_path}/nbd.sock',
                       *[arg for i, name in enumerate(NODES) for arg in
                         ('--export', f'nbd,id={name},node-name={name},writable=on' + (',iothread=io0' if i != 1 else ''))
                         ]) as daemon:
        yield daemon
        assert [e for e in daemon.qmp.events if e['event'] == 'BLOCK_IO_ERROR'] == []


def connect(daemon, name):
    return connect_wire(daemon.directory / 'nbd.sock').greet().go(name.encode())


def busy_clients(daemon, name, many):
    """One client with one long request, or three with more than the server receives: all have begun."""
    wires = [connect(daemon, name) for _ in range(3 if many else 1)]
    # Writes would be flushed in the end, which a silent peer does not answer, either.
    long = CACHE if name == 'silent' else WRITE_ZEROES
    for wire in wires:
        wire.sock.settimeout(0.2)
        try:
            for i in range(300 if many else 1):
                wire.request((long, READ)[i % 2], 0, MIB if i % 2 else LONGEST, cookie=i)
        except TimeoutError:
            pass
    time.sleep(0.2)
    return wires


def wait_deleted(daemon, name, begin):
    daemon.qmp.wait_event('BLOCK_EXPORT_DELETED', id=name)
    assert time.monotonic() - begin < AT_ONCE


@pytest.mark.parametrize('stays', [True, False], ids=['stays', 'leaves'])
@pytest.mark.parametrize('many', [False, True], ids=['one', 'many'])
@pytest.mark.parametrize('name', NODES)
def test_end(daemon, name, many, stays):
    """Deletion of the export, then the end of the program, with clients that are still connected, or have just left."""
    for how in ('delete', 'signal'):
        wires = busy_clients(daemon, name, many)
        if not stays:
            for wire in wires:
                wire.sock.close()
        begin = time.monotonic()
        if how == 'delete':
            daemon.qmp.cmd('block-export-del', id=name, mode='hard')
            wait_deleted(daemon, name, begin)
            daemon.qmp.cmd('block-export-add', type='nbd', id=name, node_name=name, writable=True)
        else:
            daemon.process.send_signal(signal.SIGTERM)
            daemon.process.wait(timeout=60)
            assert time.monotonic() - begin < AT_ONCE
        for wire in wires:
            wire.sock.close()


@pytest.mark.parametrize('many', [False, True], ids=['one', 'many'])
@pytest.mark.parametrize('name', NODES)
def test_noticed(daemon, name, many):
    """Clients that have left are noticed while the server has no room for more: the export is no longer in use."""
    for wire in busy_clients(daemon, name, many):
        wire.sock.close()
    begin = time.monotonic()
    while name in [e['id'] for e in daemon.qmp.cmd('query-block-exports')]:
        assert time.monotonic() - begin < AT_ONCE
        try:
            daemon.qmp.cmd('block-export-del', id=name)
        except QmpError as err:
            assert 'still in use' in str(err) or 'shutting down' in str(err)
        time.sleep(0.05)


def test_keyslot_job(daemon):
    """A client that leaves does not interrupt an operation on the header of its node."""
    qmp = daemon.qmp
    wires = busy_clients(daemon, 'luks', True)
    qmp.cmd('object-add', qom_type='secret', id='s1', data='other')
    qmp.cmd('blockdev-keyslot-add', job_id='j', node_name='luks', new_secret='s1', iter_time=100)
    for wire in wires:
        wire.sock.close()
    qmp.cmd('block-export-del', id='luks', mode='hard')
    wait_deleted(daemon, 'luks', time.monotonic())
    qmp.wait_event('JOB_STATUS_CHANGE', id='j', status='concluded')
    info, = qmp.cmd('query-jobs')
    assert 'error' not in info


def test_leaving_in_order(tmp_path):
    """Requests sent before a disconnect are completed, even though nobody reads the answers."""
    image = tmp_path / 'a.raw'
    image.write_bytes(b'\1' * 64 * MIB)
    with StorageDaemon(tmp_path, '--blockdev', f'file,node-name=f,filename={image}',
                       '--nbd-server', f'addr.type=unix,addr.path={tmp_path}/nbd.sock',
                       '--export', 'nbd,id=e,node-name=f,writable=on') as daemon:
        with connect(daemon, 'f') as wire:
            for i in range(8):
                wire.request(WRITE, i * MIB, MIB, data=b'\2' * MIB)
            wire.request(DISC)
        begin = time.monotonic()
        while True:
            try:
                daemon.qmp.cmd('block-export-del', id='e')
                break
            except QmpError:
                assert time.monotonic() - begin < AT_ONCE
                time.sleep(0.05)
    assert image.read_bytes() == b'\2' * 8 * MIB + b'\1' * 56 * MIB
