"""Controlling qemu-storage-daemon over QMP from tests.

    from qmp import StorageDaemon, QmpError

    def test_version(tmp_path):
        with StorageDaemon(tmp_path) as daemon:
            qmp = daemon.qmp
            assert qmp.cmd('query-version')['qemu']['major'] == 10
            qmp.cmd('job-dismiss', id='j0')
            event = qmp.wait_event('JOB_STATUS_CHANGE', id='j0', status='null')

SPDX-License-Identifier: GPL-2.0-or-later
"""
import json
import os
import signal
import socket
import subprocess
import time

from programs import ASAN_NOTICE, BUILD_DIR

QSD = BUILD_DIR / 'qemu-storage-daemon'
DEBIAN_QSD = '/usr/bin/qemu-storage-daemon'
TIMEOUT = 60


class QmpError(Exception):
    """A command failed; cls and desc are from the answer."""

    def __init__(self, error):
        super().__init__(f"{error['class']}: {error['desc']}")
        self.cls = error['class']
        self.desc = error['desc']


class Qmp:
    """One client of a monitor on a unix socket; with negotiate, past the greeting."""

    def __init__(self, path, negotiate=True, oob=False):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(os.fspath(path))      # without a timeout, since it waits while others are in the queue
        self.sock.settimeout(TIMEOUT)
        self._file = self.sock.makefile('rb')
        self.events = []
        self.greeting = self.receive()
        if negotiate:
            self.cmd('qmp_capabilities', **({'enable': ['oob']} if oob else {}))

    def close(self):
        self._file.close()
        self.sock.close()

    def receive(self):
        """The next message, event or not; None at the end of the stream."""
        line = self._file.readline()
        return json.loads(line) if line else None

    def send_raw(self, data):
        self.sock.sendall(data)

    def send(self, message, fds=()):
        data = json.dumps(message).encode()
        if fds:
            socket.send_fds(self.sock, [data], list(fds))
        else:
            self.sock.sendall(data)

    def answer(self):
        """The next message that is not an event; events are kept for wait_event()."""
        while True:
            message = self.receive()
            assert message is not None, 'the daemon closed the connection'
            if 'event' not in message:
                return message
            self.events.append(message)

    def cmd(self, command, fds=(), **arguments):
        """Execute a command; underscores in argument names stand for dashes. Raises QmpError."""
        return self.cmd_raw(command, {name.replace('_', '-'): value for name, value in arguments.items()}, fds)

    def cmd_raw(self, command, arguments=None, fds=()):
        self.send({'execute': command, **({'arguments': arguments} if arguments is not None else {})}, fds)
        answer = self.answer()
        if 'error' in answer:
            raise QmpError(answer['error'])
        return answer['return']

    def error(self, command, **arguments):
        """The error with which the command must fail."""
        return self.error_raw(command, {name.replace('_', '-'): value for name, value in arguments.items()})

    def error_raw(self, command, arguments):
        """The same, with unchanged arguments."""
        try:
            result = self.cmd_raw(command, arguments)
        except QmpError as err:
            return err
        raise AssertionError(f'{command} did not fail, but returned {result}')

    def wait_event(self, name, **data):
        """The first event of that name with these members in its data, among those not waited for yet."""
        while True:
            for i, event in enumerate(self.events):
                if event['event'] == name and data.items() <= event.get('data', {}).items():
                    return self.events.pop(i)
            message = self.receive()
            assert message is not None, f'the daemon ended before event {name}'
            assert 'event' in message, message
            self.events.append(message)

    def run_job(self, command, job_id, **arguments):
        """Run a job to its end and dismiss it; return its last JobInfo. Its error is not raised."""
        self.cmd(command, job_id=job_id, **arguments)
        self.wait_event('JOB_STATUS_CHANGE', id=job_id, status='concluded')
        info, = [job for job in self.cmd('query-jobs') if job['id'] == job_id]
        self.cmd('job-dismiss', id=job_id)
        return info


class StorageDaemon:
    """A daemon with a monitor on a unix socket in DIRECTORY; at the end of the block it must end cleanly."""

    def __init__(self, directory, *args, monitor=True, program=QSD, preexec_fn=None, env=None):
        self.directory = directory
        self.socket = directory / 'qmp.sock'
        self._argv = [os.fspath(program), *[os.fspath(arg) for arg in args]]
        if monitor:
            # last, so that everything else exists when it answers
            self._argv += ['--chardev', f'socket,id=qmp0,path={self.socket},server=on,wait=off', '--monitor', 'qmp0']
        self._monitor = monitor
        self._preexec_fn = preexec_fn
        self._env = env
        self.process = None
        self.qmp = None
        self.errors = None      # at the end of the block, its error output

    def connect(self, **kwargs):
        """A client of the monitor, which serves one at a time."""
        return Qmp(self.socket, **kwargs)

    def __enter__(self):
        self.process = subprocess.Popen(self._argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, preexec_fn=self._preexec_fn, env=self._env)
        try:
            self._wait_until_ready()
        except BaseException:
            self.process.kill()
            self.process.communicate()
            raise
        return self

    def _wait_until_ready(self):
        if self._monitor:
            deadline = time.monotonic() + TIMEOUT
            while not self.socket.exists():
                assert self.process.poll() is None, self.process.stderr.read().decode()
                assert time.monotonic() < deadline
                time.sleep(0.01)
            self.qmp = self._connect_retry(deadline)

    def _connect_retry(self, deadline):
        """The socket's file exists a moment before it listens."""
        while True:
            try:
                return self.connect()
            except ConnectionRefusedError:
                assert time.monotonic() < deadline
                time.sleep(0.01)

    def __exit__(self, exc_type, *_):
        if self.qmp:
            self.qmp.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            _, stderr = self.process.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        self.errors = ASAN_NOTICE.sub('', stderr.decode())
        if exc_type is None:
            assert self.process.returncode == 0, self.errors

    def wait(self):
        """Wait for the end of the daemon; return its exit status and error output."""
        _, stderr = self.process.communicate(timeout=TIMEOUT)
        return self.process.returncode, ASAN_NOTICE.sub('', stderr.decode())


def check_end_while_opening(directory, options, how, seconds):
    """Others are answered while blockdev-add of a node n0 waits, and HOW (blockdev-del, quit, signal) ends it in time."""
    path = directory / 'other.sock'
    with StorageDaemon(directory, '--chardev', f'socket,id=c1,path={path},server=on,wait=off', '--monitor', 'c1') as daemon:
        daemon.qmp.send({'execute': 'blockdev-add', 'arguments': {'node-name': 'n0', **options}})
        time.sleep(0.5)
        other = Qmp(path)
        begin = time.monotonic()
        assert other.cmd('query-named-block-nodes') == []
        if how == 'blockdev-del':
            other.cmd('blockdev-del', node_name='n0')
            assert 'cancelled' in daemon.qmp.answer()['error']['desc']
            assert other.cmd('query-named-block-nodes') == []
        elif how == 'quit':
            other.send({'execute': 'quit'})
        else:
            daemon.process.send_signal(signal.SIGTERM)
        if how != 'blockdev-del':
            assert daemon.wait()[0] == 0
        assert time.monotonic() - begin < seconds
