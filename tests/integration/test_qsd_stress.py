"""Three monitors change one graph at random, while two clients in threads of their own write to it and check every byte.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import os
import random
import threading
import time

import pytest

from programs import cryptsetup, qemu_img, secret_object
from qmp import Qmp, QmpError, StorageDaemon
from writer import Writer

MiB = 1 << 20
SIZE = 8 * MiB
ANSWER_SECONDS = 10
SECONDS = float(os.environ.get('STRESS_SECONDS', '8'))
MONITORS = 3


class Client(threading.Thread):
    """A client of one monitor that sends random commands. Most fail because of conflicts; none may hang."""

    def __init__(self, number, path, directory, seed):
        super().__init__(daemon=True)
        self._qmp = Qmp(path)
        self._qmp.sock.settimeout(ANSWER_SECONDS)
        self._random = random.Random(seed)
        self._prefix = f'm{number}'
        self._directory = directory
        self._end = time.monotonic() + SECONDS
        self.error = None
        self.done = {}

    def _cmd(self, command, **arguments):
        self._qmp.events.clear()
        try:
            self._qmp.cmd(command, **arguments)
            self.done[command] = self.done.get(command, 0) + 1
            return True
        except QmpError:
            return False

    def _own(self):
        return f'{self._prefix}-{self._random.randrange(3)}'

    def _any_node(self):
        """A node of any monitor, or one that all share."""
        names = ['luks', 'luks-file', 'plain', 'plain-file', 'shared0', 'shared1']
        return self._random.choice(names + [f'm{monitor}-{number}' for monitor in range(MONITORS) for number in range(3)])

    def _options(self, name, file):
        kind = self._random.choice(['raw', 'throttle'])
        group = {'throttle-group': self._random.choice(['g0', 'g1'])} if kind == 'throttle' else {}
        return {'driver': kind, 'node-name': name, 'file': file, **group,
                'discard': self._random.choice(['unmap', 'ignore']), 'read-only': self._random.random() < 0.5}

    def add(self):
        options = self._options(self._own(), self._any_node())
        if self._random.random() < 0.2:
            options = {'driver': 'luks', 'node-name': self._own(), 'key-secret': 's', 'read-only': True,
                       'file': {'driver': 'file', 'filename': str(self._directory / 'other.luks')}}
        self._cmd('blockdev-add', **options)

    def delete(self):
        self._cmd('blockdev-del', node_name=self._any_node() if self._random.random() < 0.2 else self._own())

    def reopen(self):
        names = {self._any_node() for _ in range(self._random.randrange(1, 4))} - {'luks', 'luks-file', 'plain-file'}
        self._cmd('blockdev-reopen', options=[
            self._options(name, 'plain-file' if name == 'plain' else self._any_node()) for name in names])

    def reopen_shared(self):
        """Keeps switching the node below a filter between two files."""
        filters = self._random.sample(['filter0', 'filter1'], self._random.randrange(1, 3))
        self._cmd('blockdev-reopen', options=[{
            'driver': 'throttle', 'node-name': name, 'throttle-group': 'g0', 'read-only': True,
            'file': self._random.choice(['shared0', 'shared1'])} for name in filters])

    def set_active(self):
        name = self._any_node()
        self._cmd('blockdev-set-active', node_name=name, active=False)
        self._cmd('blockdev-set-active', node_name=name, active=True)
        if self._random.random() < 0.1:
            self._cmd('blockdev-set-active', active=False)
            self._cmd('blockdev-set-active', active=True)

    def resize(self):
        size = SIZE + self._random.randrange(64) * 65536
        self._cmd('block_resize', node_name=self._any_node(), size=size)

    def keyslot(self):
        job, kind = self._own(), self._random.randrange(3)
        if kind == 0:
            started = self._cmd('blockdev-keyslot-add', job_id=job, node_name='luks', new_secret='new', iter_time=10)
        elif kind == 1:
            started = self._cmd('blockdev-keyslot-remove', job_id=job, node_name='luks', old_secret='new')
        else:
            started = self._cmd('blockdev-keyslot-change', job_id=job, node_name='luks', old_secret='new',
                                new_secret='new', iter_time=10)
        if started and self._random.random() < 0.3:
            self._cmd('job-cancel', id=job)

    def dismiss(self):
        for number in range(3):
            self._cmd('job-dismiss', id=f'{self._prefix}-{number}')

    def export(self):
        name = self._own()
        self._cmd('block-export-add', type='nbd', id=name, name=name, node_name=self._any_node(),
                  writable=self._random.random() < 0.3)
        self._cmd('block-export-del', id=self._own(), mode='hard')

    def iothread(self):
        self._cmd('x-blockdev-set-iothread', node_name=self._any_node(), force=True,
                  iothread=self._random.choice(['io0', 'io1', None]))

    def query(self):
        self._cmd(self._random.choice(['query-named-block-nodes', 'query-jobs', 'query-block-exports',
                                       'x-debug-query-block-graph', 'query-blockstats']))

    def run(self):
        actions = [self.add, self.add, self.delete, self.reopen, self.reopen_shared, self.set_active, self.resize,
                   self.keyslot, self.dismiss, self.export, self.iothread, self.query]
        try:
            while time.monotonic() < self._end:
                self._random.choice(actions)()
        except Exception as err:        # pylint: disable=broad-except
            self.error = err

    def finish(self):
        self.join()
        self._qmp.close()
        if self.error:
            raise self.error


@pytest.mark.threads
def test_three_monitors(tmp_path):
    seed = int(os.environ.get('STRESS_SEED', random.randrange(1 << 32)))
    print(f'STRESS_SEED={seed}')
    luks, other = tmp_path / 'a.luks', tmp_path / 'other.luks'
    for path in (luks, other):
        qemu_img('create', '-q', '-f', 'luks', *secret_object(tmp_path, 's', b'pw'), '-o', 'key-secret=s,iter-time=10', path,
                 SIZE)
    for name in ('plain', 'shared0', 'shared1'):
        (tmp_path / name).write_bytes(bytes(SIZE))
    monitors = [arg for number in range(MONITORS) for arg in (
        '--chardev', f'socket,id=c{number},path={tmp_path}/m{number}.sock,server=on,wait=off', '--monitor', f'c{number}')]
    with StorageDaemon(
            tmp_path, *secret_object(tmp_path, 's', b'pw'), '--object', 'secret,id=new,data=new',
            '--object', 'iothread,id=io0', '--object', 'iothread,id=io1',
            '--object', 'throttle-group,id=g0', '--object', 'throttle-group,id=g1',
            '--blockdev', f'file,node-name=luks-file,filename={luks}',
            '--blockdev', 'luks,node-name=luks,file=luks-file,key-secret=s',
            '--blockdev', f'file,node-name=plain-file,filename={tmp_path}/plain',
            '--blockdev', 'raw,node-name=plain,file=plain-file',
            '--blockdev', f'file,node-name=shared0,filename={tmp_path}/shared0,read-only=on',
            '--blockdev', f'file,node-name=shared1,filename={tmp_path}/shared1,read-only=on',
            '--blockdev', 'throttle,node-name=filter0,throttle-group=g0,file=shared0,read-only=on',
            '--blockdev', 'throttle,node-name=filter1,throttle-group=g0,file=shared0,read-only=on',
            '--nbd-server', f'addr.type=unix,addr.path={tmp_path}/nbd.sock',
            '--export', 'nbd,id=e0,node-name=luks,name=disk,writable=on,iothread=io0',
            '--export', 'nbd,id=e1,node-name=plain,name=plain,writable=on,iothread=io1',
            '--export', 'nbd,id=e2,node-name=filter0,name=filter0,iothread=io1', *monitors) as daemon:
        writers = [Writer(tmp_path, seed, 0, SIZE), Writer(tmp_path, seed + 1, 0, SIZE, name='plain')]
        clients = [Client(number, tmp_path / f'm{number}.sock', tmp_path, seed + 2 + number) for number in range(MONITORS)]
        for writer in writers:
            writer.fill()
        for thread in (*writers, *clients):
            thread.start()
        for client in clients:
            client.finish()
        for writer in writers:
            assert writer.stop() > 20
        done = {command for client in clients for command in client.done}
        assert {'blockdev-add', 'blockdev-del', 'blockdev-reopen', 'blockdev-set-active', 'block_resize',
                'blockdev-keyslot-add', 'block-export-add'} <= done, done
        assert daemon.process.poll() is None
    cryptsetup('open', '--test-passphrase', luks, password=b'pw')
    with open(tmp_path / 'plain', 'rb') as file:
        assert file.read(SIZE) == writers[1].content
    plain = tmp_path / 'decrypted'
    qemu_img('convert', *secret_object(tmp_path, 's', b'pw'), '--image-opts', f'driver=luks,key-secret=s,file.filename={luks}',
             '-O', 'raw', plain)
    with open(plain, 'rb') as file:
        assert file.read(SIZE) == writers[0].content
