"""A storage daemon with exported disks, and the targets of their copies.

    with StorageDaemon(tmp_path) as daemon:
        disks = Disks(tmp_path, daemon)
        before = disks.add('a')
        disks.start()
        disks.wait()
        assert disks.content('a-target') == before

SPDX-License-Identifier: GPL-2.0-or-later
"""
import random
import subprocess
import threading
import time

import nbd

MIB = 1 << 20
SIZE = 16 * MIB


class Disks:
    """A daemon with disks of random content, exported writable at NAME, each with a target node NAME-target."""

    def __init__(self, directory, daemon):
        self.directory = directory
        self.qmp = daemon.qmp
        self.daemon = daemon
        self.qmp.cmd('nbd-server-start', addr={'type': 'unix', 'data': {'path': f'{directory}/nbd.sock'}})

    def path(self, name):
        return self.directory / f'{name}.img'

    def add(self, name, export=True, target=True):
        """A disk; returns its content."""
        content = random.Random(name).randbytes(SIZE)
        self.path(name).write_bytes(content)
        self.add_file(name)
        if export:
            self.export(name, writable=True)
        if target:
            self.add_target(name)
        return content

    def add_file(self, name, **options):
        self.qmp.cmd('blockdev-add', driver='file', node_name=name, filename=str(self.path(name)), **options)

    def add_target(self, name, size=SIZE):
        with open(self.path(f'{name}-target'), 'wb') as file:
            file.truncate(size)
        self.add_file(f'{name}-target')

    def add_nbd_target(self, name, server, **options):
        self.qmp.cmd('blockdev-add', driver='nbd', node_name=f'{name}-target',
                     server={'type': 'unix', 'path': str(server.socket)}, **options)

    def export(self, name, **options):
        self.qmp.cmd('block-export-add', type='nbd', id=name, node_name=name, name=name, **options)

    def uri(self, name):
        return f'nbd+unix:///{name}?socket={self.directory}/nbd.sock'

    def connect(self, name):
        handle = nbd.NBD()
        handle.add_meta_context('base:allocation')
        handle.connect_uri(self.uri(name))
        return handle

    def start(self, name='a', job='j', **options):
        self.qmp.cmd('blockdev-backup', **{'job_id': job, 'device': name, 'target': f'{name}-target', 'sync': 'full',
                                           **options})

    def wait(self, job='j', error=None):
        """Wait for the end of a job, which fails with ERROR in its message, or succeeds."""
        event = self.qmp.wait_event('BLOCK_JOB_COMPLETED', device=job)['data']
        assert event['type'] == 'backup'
        if error:
            assert error in event['error']
        else:
            assert 'error' not in event and event['offset'] == event['len']
        self.qmp.wait_event('JOB_STATUS_CHANGE', id=job, status='null')

    def content(self, name):
        return self.path(name).read_bytes()

    def fio(self, name, *args):
        return subprocess.Popen(['fio', '--name=t', '--ioengine=nbd', f'--uri={self.uri(name)}', '--rw=randwrite',
                                 '--bsrange=512-128k', '--iodepth=16', f'--size={SIZE}', '--verify=crc32c',
                                 '--do_verify=1', '--randrepeat=0', *args],
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=self.directory)


def is_completed(client, cookie, seconds):
    """Whether a request of CLIENT has succeeded within this time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if client.aio_command_completed(cookie):
            return True
        client.poll(10)
    return False


class Writer(threading.Thread):
    """Writes to disks one after the other, and remembers the writes in order."""

    def __init__(self, disks, *names):
        super().__init__(daemon=True)
        self._handles = {name: disks.connect(name) for name in names}
        self._random = random.Random(7)
        self._stopping = threading.Event()
        self.writes = []
        self.error = None

    def run(self):
        try:
            while not self._stopping.is_set():
                for name, handle in self._handles.items():
                    length = self._random.randrange(1, 200) * 512
                    offset = self._random.randrange(0, SIZE - length, 512)
                    data = self._random.randbytes(length)
                    self.writes.append((name, offset, data))
                    handle.pwrite(data, offset)
        except nbd.Error as err:
            self.error = err

    def wait_for(self, count):
        """Wait for COUNT more writes."""
        end = len(self.writes) + count
        while len(self.writes) < end:
            assert self.is_alive(), self.error

    def stop(self):
        self._stopping.set()
        self.join()
        assert not self.error

    def is_state(self, before, states, first):
        """Whether STATES, by disk, are what the disks had after some number of writes, at least FIRST."""
        now = {name: bytearray(content) for name, content in before.items()}
        for i, (name, offset, data) in enumerate(self.writes):
            if i >= first and now == states:
                return True
            now[name][offset:offset + len(data)] = data
        return now == states
