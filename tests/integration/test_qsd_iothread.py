"""I/O threads of the storage daemon: which thread serves which client, changes, and load in several threads.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import re
import threading
import time

import nbd
import pytest

from programs import qemu_img, secret_object
from qmp import StorageDaemon

pytestmark = pytest.mark.threads

MIB = 1 << 20
SIZE = 8 * MIB


class Daemon:
    """A storage daemon with I/O threads io0 and io1, and nodes file < luks < raw and null."""

    def __init__(self, directory, daemon):
        self.directory = directory
        self.daemon = daemon
        self.qmp = daemon.qmp

    def add(self, ident, node, writable=True, **more):
        """Export NODE as ID."""
        self.qmp.cmd('block-export-add', type='nbd', id=ident, node_name=node, name=ident, writable=writable, **more)

    def connect(self, name):
        """A client of libnbd."""
        handle = nbd.NBD()
        handle.set_export_name(name)
        handle.connect_unix(str(self.directory / 'nbd.sock'))
        return handle

    def thread_ids(self):
        """The number of each thread by its name; "main" is the main thread."""
        ids = {info['id']: info['thread-id'] for info in self.qmp.cmd('query-iothreads')}
        return {'main': self.daemon.process.pid, **ids}

    def thread_of(self, handle):
        """The name of the thread that serves a client: the one that wakes up for its requests."""
        def wakes():
            counts = {}
            for name, tid in self.thread_ids().items():
                with open(f'/proc/{self.daemon.process.pid}/task/{tid}/status', encoding='ascii') as status:
                    counts[name] = int(re.search(r'^voluntary_ctxt_switches:\s*(\d+)', status.read(), re.MULTILINE).group(1))
            return counts

        before = wakes()
        for _ in range(30):
            handle.pread(512, 0)
            # so that the thread is idle, too
            time.sleep(0.001)
        after = wakes()
        return max(after, key=lambda name: after[name] - before[name])

    def served_in(self, name):
        """The thread that serves a new client of an export."""
        handle = self.connect(name)
        thread = self.thread_of(handle)
        handle.shutdown()
        return thread

    def set_iothread(self, node, iothread, **more):
        """x-blockdev-set-iothread"""
        self.qmp.cmd('x-blockdev-set-iothread', node_name=node, iothread=iothread, **more)


@pytest.fixture(name='daemon')
def fixture_daemon(tmp_path):
    """See Daemon."""
    secret = secret_object(tmp_path, 's0', b'pw')
    qemu_img('create', '-q', '-f', 'luks', *secret, '-o', 'key-secret=s0,iter-time=10', tmp_path / 'a.luks', SIZE)
    with StorageDaemon(tmp_path, *secret, '--object', 'secret,id=s1,data=one',
                       '--object', 'iothread,id=io0', '--object', 'iothread,id=io1',
                       '--blockdev', f'file,node-name=file,filename={tmp_path}/a.luks',
                       '--blockdev', 'luks,node-name=luks,file=file,key-secret=s0',
                       '--blockdev', 'raw,node-name=raw,file=luks',
                       '--blockdev', f'null-co,node-name=null,size={SIZE}',
                       '--nbd-server', f'addr.type=unix,addr.path={tmp_path}/nbd.sock') as daemon:
        yield Daemon(tmp_path, daemon)


def test_query(daemon):
    infos = daemon.qmp.cmd('query-iothreads')
    assert [info['id'] for info in infos] == ['io0', 'io1']
    for info in infos:
        with open(f"/proc/{daemon.daemon.process.pid}/task/{info['thread-id']}/comm", encoding='ascii') as comm:
            assert comm.read() == f"IO {info['id']}\n"
        tuning = ['poll-max-ns', 'poll-grow', 'poll-shrink', 'aio-max-batch']
        assert {name: info[name] for name in tuning} == dict.fromkeys(tuning, 0)
    daemon.qmp.cmd('object-del', id='io0')
    daemon.qmp.cmd('object-del', id='io1')
    assert daemon.qmp.cmd('query-iothreads') == []


TUNING = {'poll-max-ns': 32768, 'poll-grow': 2, 'poll-shrink': 3, 'aio-max-batch': 8}


def test_properties(daemon):
    """QEMU's properties are accepted at creation and later, and can be queried."""
    qmp = daemon.qmp
    pool = {'thread-pool-min': 1, 'thread-pool-max': 8}
    qmp.cmd_raw('object-add', {'qom-type': 'iothread', 'id': 't', **TUNING, **pool})
    for name, value in {**TUNING, **pool}.items():
        assert qmp.cmd('qom-get', path='/objects/t', property=name) == value
        assert qmp.cmd('qom-get', path='io0', property=name) == (64 if name == 'thread-pool-max' else 0)
        qmp.cmd('qom-set', path='io0', property=name, value=value + 1)
        assert qmp.cmd('qom-get', path='io0', property=name) == value + 1
    infos = {info['id']: info for info in qmp.cmd('query-iothreads')}
    for name, value in TUNING.items():
        assert (infos['t'][name], infos['io0'][name], infos['io1'][name]) == (value, value + 1, 0)


def test_bad_properties(daemon):
    qmp = daemon.qmp
    for name, value in (*((name, -1) for name in TUNING), ('thread-pool-min', -1), ('thread-pool-min', 65),
                        ('thread-pool-max', 0), ('thread-pool-max', -1), ('thread-pool-max', 1 << 31)):
        for desc in (qmp.error('object-add', **{'qom-type': 'iothread', 'id': 'io0x', name: value}).desc,
                     qmp.error('qom-set', path='io0', property=name, value=value).desc):
            assert "'io0" in desc and name in desc, desc
        assert qmp.cmd('qom-get', path='io0', property=name) == (64 if name == 'thread-pool-max' else 0)
    assert 'io0x' not in daemon.thread_ids()


def test_batches(daemon):
    """Requests in flight while the limit changes: no answer is lost."""
    daemon.add('e0', 'file', iothread='io0')
    client = daemon.connect('e0')
    for batch in (1, 3, 0, 1 << 62):
        daemon.qmp.cmd('qom-set', path='io0', property='aio-max-batch', value=batch)
        bufs = [nbd.Buffer(4096) for _ in range(64)]
        cookies = [client.aio_pwrite(buf, i * 4096) for i, buf in enumerate(bufs)]
        while cookies:
            cookies = [cookie for cookie in cookies if not client.aio_command_completed(cookie)]
            client.poll(1)
    client.shutdown()


def test_set(daemon):
    """All connected nodes change together, and nodes added later follow."""
    daemon.add('e0', 'null')
    assert daemon.served_in('e0') == 'main'
    daemon.set_iothread('luks', 'io0')
    for node in ('file', 'luks', 'raw'):
        daemon.add(node, node, writable=False)
    daemon.add('x', 'file', writable=False, iothread='io1')
    assert [daemon.served_in(name) for name in ('file', 'luks', 'raw', 'e0', 'x')] == ['io0', 'io0', 'io0', 'main', 'io1']
    # a node added on top later
    daemon.qmp.cmd('blockdev-add', driver='raw', node_name='top', file='raw')
    daemon.add('top', 'top', writable=False)
    assert daemon.served_in('top') == 'io0'
    daemon.set_iothread('file', None, force=True)
    assert {daemon.served_in(name) for name in ('file', 'luks', 'raw', 'x', 'top')} == {'main'}


def test_set_refused(daemon):
    qmp = daemon.qmp
    daemon.add('e0', 'luks', iothread='io0')
    for arguments, culprits in (
            ({'node-name': 'nope', 'iothread': 'io0'}, ["'nope'"]),
            ({'node-name': 'luks', 'iothread': 'nope', 'force': True}, ["'nope'"]),
            ({'node-name': 'luks', 'iothread': 's0', 'force': True}, ["'s0'", "'secret'"]),
            ({'node-name': 'luks', 'iothread': 1}, ['string or null']),
            ({'node-name': 'luks'}, ["'iothread'"]),
            ({'node-name': 'luks', 'iothread': 'io1'}, ["'luks' is in use", "export 'e0'", 'force=true']),
            ({'node-name': 'luks', 'iothread': None}, ["'luks' is in use", "export 'e0'", 'force=true'])):
        desc = qmp.error('x-blockdev-set-iothread', **arguments).desc
        assert all(culprit in desc for culprit in culprits), desc
    assert daemon.served_in('e0') == 'io0'


def test_fixed(daemon):
    daemon.add('fixed', 'raw', iothread='io0', fixed_iothread=True)
    daemon.add('e0', 'luks', iothread='io1')
    for iothread in ('io1', None):
        desc = daemon.qmp.error('x-blockdev-set-iothread', node_name='file', iothread=iothread, force=True).desc
        assert "export 'fixed'" in desc and "'raw'" in desc
    assert (daemon.served_in('fixed'), daemon.served_in('e0')) == ('io0', 'io1')
    daemon.set_iothread('file', 'io0', force=True)
    assert (daemon.served_in('fixed'), daemon.served_in('e0')) == ('io0', 'io0')


def test_clients_stay(daemon):
    """Connected clients stay where they are, and keep their thread alive."""
    daemon.add('e0', 'luks', iothread='io0')
    old = daemon.connect('e0')
    assert daemon.thread_of(old) == 'io0'
    daemon.set_iothread('luks', 'io1', force=True)
    new = daemon.connect('e0')
    assert (daemon.thread_of(old), daemon.thread_of(new)) == ('io0', 'io1')
    old.pwrite(b'x' * 512, 512)
    assert new.pread(512, 512) == b'x' * 512
    in_use = "object 'io0' is in use, can not be deleted: it is used by "
    assert daemon.qmp.error('object-del', id='io0').desc == in_use + 'clients that are still connected'
    daemon.qmp.cmd('block-export-del', id='e0', mode='hard')
    daemon.qmp.wait_event('BLOCK_EXPORT_DELETED', id='e0')
    daemon.qmp.cmd('object-del', id='io0')
    assert "is used by node '" in daemon.qmp.error('object-del', id='io1').desc
    daemon.set_iothread('luks', None)
    daemon.qmp.cmd('object-del', id='io1')


class Writer(threading.Thread):
    """Writes blocks that identify their writer and time, on one connection after the other; verifies all."""

    def __init__(self, daemon, name, first, last):
        super().__init__(daemon=True)
        self._daemon, self._name = daemon, name
        self._first, self._last = first, last
        self._stopping = threading.Event()
        self._error = None
        self.rounds = 0

    def _block(self, offset, length):
        return f'{self._name} {self.rounds} {offset}\n'.encode().ljust(length, b'.')

    def run(self):
        try:
            while not self._stopping.is_set():
                self.rounds += 1
                length = 512 << self.rounds % 9
                places = range(self._first, self._last, length)
                handle = self._daemon.connect(self._name)
                for offset in places:
                    handle.pwrite(self._block(offset, length), offset)
                handle.flush()
                for offset in places:
                    assert handle.pread(length, offset) == self._block(offset, length), f'{self._name}: wrong at {offset}'
                handle.shutdown()
        except Exception as err:        # pylint: disable=broad-except
            self._error = err

    def stop(self):
        """Wait for the end; raises its exception."""
        self._stopping.set()
        self.join(60)
        assert not self.is_alive()
        if self._error:
            raise self._error


def test_everything_at_once(daemon, tmp_path):
    """Exports of one encrypted node in three threads are written to while the main loop changes everything it can."""
    qmp = daemon.qmp
    share = 512 * 512
    writers = []
    for i, more in enumerate([{'iothread': 'io0'}, {'iothread': 'io1'}, {}]):
        daemon.add(f'e{i}', 'luks', **more)
        writers += [Writer(daemon, f'e{i}', n * share, (n + 1) * share) for n in (2 * i, 2 * i + 1)]
    for writer in writers:
        writer.start()
    file = {'driver': 'file', 'node-name': 'file', 'filename': str(tmp_path / 'a.luks')}
    luks = {'driver': 'luks', 'node-name': 'luks', 'file': 'file', 'key-secret': 's0'}
    raw = {'driver': 'raw', 'node-name': 'raw', 'file': 'luks'}
    turn = 0
    while turn < 12 or min(writer.rounds for writer in writers) < 10:
        turn += 1
        daemon.set_iothread('luks', ['io0', 'io1', None][turn % 3], force=True)
        qmp.cmd('blockdev-reopen', options=[{**file, 'cache': {'no-flush': turn % 2 == 0}}, luks, raw])
        assert 'error' not in qmp.run_job('blockdev-keyslot-add', 'k', node_name='luks', new_secret='s1', iter_time=10)
        qmp.cmd('block_resize', node_name='luks', size=SIZE + turn * MIB)
        qmp.cmd('blockdev-add', driver='raw', node_name='more', file='luks')
        assert 'error' not in qmp.run_job('blockdev-keyslot-remove', 'k', node_name='luks', old_secret='s1')
        qmp.cmd('blockdev-del', node_name='more')
        qmp.cmd('query-named-block-nodes')
    for writer in writers:
        writer.stop()
    for i in range(3):
        qmp.cmd('block-export-del', id=f'e{i}', mode='hard')
        qmp.wait_event('BLOCK_EXPORT_DELETED', id=f'e{i}')


def test_resize_from_above(daemon):
    """A filter resizes the node below it, whose own export is active in a thread."""
    daemon.add('e0', 'luks', iothread='io0')
    writer = Writer(daemon, 'e0', 0, 256 * 512)
    writer.start()
    turn = 0
    while turn < 8 or writer.rounds < 4:
        turn += 1
        daemon.qmp.cmd('block_resize', node_name='raw', size=SIZE + turn * MIB)
    writer.stop()
    nodes = {node['node-name']: node['image']['virtual-size'] for node in daemon.qmp.cmd('query-named-block-nodes')}
    assert nodes['luks'] == nodes['raw'] == SIZE + turn * MIB
