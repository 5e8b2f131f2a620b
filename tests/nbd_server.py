"""Running our qemu-nbd, and talking to it with other projects' clients or byte by byte.

    from nbd_server import NbdServer

    def test_size(tmp_path, raw_image):
        with NbdServer(tmp_path, '-f', 'raw', raw_image) as server:
            assert json.loads(run('nbdinfo', '--json', server.uri()).stdout)['exports'][0]['export-size'] == 1 << 20

SPDX-License-Identifier: GPL-2.0-or-later
"""
import contextlib
import os
import pathlib
import signal
import socket
import struct
import subprocess
import time

from programs import ASAN_NOTICE, BUILD_DIR, run

QEMU_NBD = BUILD_DIR / 'qemu-nbd'
DEBIAN_QEMU_NBD = '/usr/bin/qemu-nbd'


def qemu_nbd(*args, **kwargs):
    """Our qemu-nbd, for commands that end by themselves."""
    return run(QEMU_NBD, *args, **kwargs)


def wait_until(condition, what, seconds=30):
    """Wait until CONDITION() is true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f'waited too long for {what}'
        time.sleep(0.01)


def is_listening(path):
    """Whether a program listens on the unix socket PATH, without connecting, which would count as a client."""
    with open('/proc/net/unix', encoding='utf-8') as table:
        return any(line.split()[-1] == str(path) and line.split()[3] == '00010000' for line in table)


def connect_wire(path):
    """A connection to the unix socket PATH."""
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(30)
    sock.connect(str(path))
    return Wire(sock)


class NbdServer:
    """qemu-nbd -t -e 0 -k SOCKET ARGS...; ends with the block, where it must exit with status 0 and say nothing."""

    def __init__(self, directory, *args, persistent=True, shared=0, program=QEMU_NBD, tcp_port=None, quiet=True,
                 preexec_fn=None):
        self.socket = directory / f'nbd-{id(self):x}.sock'
        self.tcp_port = tcp_port
        where = ['-b', '127.0.0.1', '-p', str(tcp_port)] if tcp_port else ['-k', str(self.socket)]
        self.argv = [str(program), *where, '-e', str(shared), *(['-t'] if persistent else []), *map(str, args)]
        self.quiet = quiet
        self._preexec_fn = preexec_fn
        self.process = None
        self.errors = None      # at the end, its error output

    def __enter__(self):
        self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                        preexec_fn=self._preexec_fn)
        wait_until(lambda: self.process.poll() is not None or self.is_up(), 'qemu-nbd to listen')
        assert self.process.poll() is None, self.process.stderr.read()
        return self

    def is_up(self):
        """Whether it listens."""
        if self.tcp_port:
            with open('/proc/net/tcp', encoding='utf-8') as table:
                return any(line.split()[1].endswith(f':{self.tcp_port:04X}') and line.split()[3] == '0A'
                           for line in table.readlines()[1:])
        return is_listening(self.socket)

    def __exit__(self, kind, value, trace):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            _, errors = self.process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise
        self.errors = ASAN_NOTICE.sub('', errors)
        if kind is None:
            assert self.process.returncode == 0, errors
            assert not self.quiet or self.errors == ''

    def uri(self, export=''):
        """The address for libnbd and for QEMU."""
        if self.tcp_port:
            return f'nbd://127.0.0.1:{self.tcp_port}/{export}'
        return f'nbd+unix:///{export}?socket={self.socket}'

    def connect(self):
        """A Wire."""
        return connect_wire(self.socket)

    def memory_kib(self):
        """Resident memory of the server."""
        with open(f'/proc/{self.process.pid}/status', encoding='utf-8') as status:
            return next(int(line.split()[1]) for line in status if line.startswith('VmRSS:'))

    def open_files(self):
        """How many descriptors the server has open, besides the ring that its loop makes when a request first needs it."""
        count = 0
        for path in pathlib.Path(f'/proc/{self.process.pid}/fd').iterdir():
            with contextlib.suppress(FileNotFoundError):    # closed since the directory was read
                count += 'io_uring' not in os.readlink(path)
        return count


class Wire:
    """A connection on which a test can send anything."""

    OPTS_MAGIC = 0x49484156454f5054
    REP_MAGIC = 0x3e889045565a9
    REQUEST_MAGIC = 0x25609513

    def __init__(self, sock):
        self.sock = sock

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def send(self, fmt, *values, data=b''):
        """Send VALUES packed in network byte order, and DATA."""
        self.sock.sendall(struct.pack('>' + fmt, *values) + data)

    def receive(self, count):
        """Receive COUNT bytes; fewer if the peer closes before that."""
        got = b''
        while len(got) < count:
            try:
                more = self.sock.recv(count - len(got))
            except ConnectionResetError:
                break
            if not more:
                break
            got += more
        return got

    def unpack(self, fmt):
        """Receive values."""
        size = struct.calcsize('>' + fmt)
        data = self.receive(size)
        assert len(data) == size, f'connection ended after {data!r}'
        return struct.unpack('>' + fmt, data)

    def at_end(self):
        """Whether the peer has disconnected."""
        return self.receive(1) == b''

    def greet(self, flags=3):
        """Receive the greeting and answer with FLAGS."""
        assert self.receive(18) == b'NBDMAGIC' + b'IHAVEOPT' + b'\0\3'
        self.send('I', flags)
        return self

    def option(self, option, data=b''):
        """Send an option and return its replies, up to the last: [(type, data)]."""
        self.send('QII', self.OPTS_MAGIC, option, len(data), data=data)
        replies = []
        while not replies or (replies[-1][0] != 1 and not replies[-1][0] >> 31):
            magic, about, kind, length = self.unpack('QIII')
            assert (magic, about) == (self.REP_MAGIC, option)
            replies.append((kind, self.receive(length)))
        return replies

    def go(self, name=b'', structured=False):
        """Choose an export."""
        if structured:
            assert self.option(8) == [(1, b'')]
        replies = self.option(7, struct.pack('>I', len(name)) + name + b'\0\0')
        assert replies[-1] == (1, b'')
        return self

    def request(self, command, offset=0, length=0, flags=0, cookie=1, data=b''):
        """Send a request."""
        self.send('IHHQQI', self.REQUEST_MAGIC, flags, command, cookie, offset, length, data=data)

    def simple_reply(self):
        """(error, cookie)"""
        magic, error, cookie = self.unpack('IIQ')
        assert magic == 0x67446698
        return error, cookie

    def chunk(self):
        """(flags, type, cookie, data) of a structured reply"""
        magic, flags, kind, cookie, length = self.unpack('IHHQI')
        assert magic == 0x668e33ef
        return flags, kind, cookie, self.receive(length)
