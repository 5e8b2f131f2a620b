"""Servers for the nbd driver: nbdkit with any plugin and filters, and a scripted one that breaks the rules.

    with Nbdkit(tmp_path, 'memory', '64M') as server:
        qemu_io('-f', 'raw', '-c', 'write 0 1M', server.uri())

    with ScriptedServer(tmp_path) as server:
        server.on_read = lambda wire, request: None     # no answer

SPDX-License-Identifier: GPL-2.0-or-later
"""
import re
import signal
import socket
import struct
import subprocess
import threading

from nbd_server import Wire, is_listening, wait_until

GREETING = b'NBDMAGICIHAVEOPT\0\3'
FLAGS = 0b1101101           # HAS_FLAGS, FLUSH, FUA, TRIM, WRITE_ZEROES
READ_ONLY = 2
MULTI_CONN = 1 << 8


class Nbdkit:
    """nbdkit -U SOCKET ARGS...; kill() and start() make it disappear and come back."""

    def __init__(self, directory, *args):
        self.socket = directory / f'nbdkit-{id(self):x}.sock'
        self._argv = ['nbdkit', '-f', '-U', str(self.socket), *map(str, args)]
        self.process = None

    def start(self):
        self.socket.unlink(missing_ok=True)
        self.process = subprocess.Popen(self._argv, stdin=subprocess.DEVNULL)
        wait_until(lambda: self.process.poll() is not None or is_listening(self.socket), 'nbdkit to listen')
        assert self.process.poll() is None

    def kill(self, sig=signal.SIGKILL):
        self.process.send_signal(sig)
        self.process.wait(timeout=30)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.kill()

    def uri(self, export=''):
        return f'nbd+unix:///{export}?socket={self.socket}'


def connections(log, kind='Write'):
    """The numbers of the connections on which nbdkit's log filter saw requests."""
    return set(re.findall(fr' connection=(\d+) {kind} ', log.read_text()))


class Hangup(Exception):
    """What a hook of a ScriptedServer raises to end the connection."""


class Request:
    """What a client asks for."""

    def __init__(self, wire):
        magic, self.flags, self.command, self.cookie, self.offset, self.length = wire.unpack('IHHQQI')
        assert magic == Wire.REQUEST_MAGIC
        self.data = wire.receive(self.length) if self.command == 1 else b''


class Limited(Wire):
    """A connection that says no more than LIMIT bytes, and no more than one each PAUSE seconds."""

    def __init__(self, sock, limit, stop, pause):
        super().__init__(sock)
        self.limit = limit
        self._stop = stop
        self._pause = pause

    def send(self, fmt, *values, data=b''):
        message = struct.pack('>' + fmt, *values) + data
        if self._pause:
            for byte in message:
                self.sock.sendall(bytes([byte]))
                self._stop.wait(self._pause)
            return
        if self.limit is not None:
            self.sock.sendall(message[:self.limit])
            if len(message) > self.limit:
                raise Hangup
            self.limit -= len(message)
        else:
            self.sock.sendall(message)


class ScriptedServer:
    """
    An NBD server of SIZE zero bytes. Attributes change what it does: limit (bytes that it says before it hangs up),
    pause (seconds between its bytes), silent (says nothing at all), block_sizes (min, preferred, max), and on_request(wire,
    request), which answers in its place unless it returns False.
    """

    def __init__(self, directory, size=1 << 20, flags=FLAGS):
        self.path = directory / f'scripted-{id(self):x}.sock'
        self.size = size
        self.flags = flags
        self.limit = None
        self.pause = 0
        self.silent = False
        self.block_sizes = None
        self.refusal = None             # (type, text): the answer to NBD_OPT_GO and NBD_OPT_INFO
        self.exports = [b'']            # what NBD_OPT_LIST names
        self.contexts = []              # what NBD_OPT_LIST_META_CONTEXT names
        self.on_request = lambda wire, request: False
        self.requests = []              # of Request
        self.connections = 0
        self._stop = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX)
        self._threads = []
        self._socks = []

    def __enter__(self):
        self._listener.bind(str(self.path))
        self._listener.listen()
        self._run(self._accept)
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()
        for thread in self._threads:
            thread.join(timeout=30)

    def hang_up(self):
        """End all connections."""
        for sock in self._socks:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def uri(self, export=''):
        return f'nbd+unix:///{export}?socket={self.path}'

    def _run(self, target, *args):
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self):
        while not self._stop.is_set():
            try:
                sock = self._listener.accept()[0]
            except OSError:
                return
            self.connections += 1
            self._socks.append(sock)
            self._run(self._serve, sock)

    def _serve(self, sock):
        wire = Limited(sock, self.limit, self._stop, self.pause)
        try:
            if self.silent:
                self._stop.wait()
            self._handshake(wire)
            while True:
                request = Request(wire)
                self.requests.append(request)
                if request.command == 2:
                    break
                if self.on_request(wire, request) is False:
                    self.answer(wire, request)
        except (Hangup, AssertionError, OSError):
            pass
        sock.close()

    def _reply(self, wire, option, kind, data=b''):
        wire.send('QIII', Wire.REP_MAGIC, option, kind, len(data), data=data)

    def _handshake(self, wire):
        wire.send('', data=GREETING)
        wire.receive(4)
        while True:
            magic, option, length = wire.unpack('QII')
            assert magic == Wire.OPTS_MAGIC
            data = wire.receive(length)
            if option == 3:
                for name in self.exports:
                    self._reply(wire, option, 2, struct.pack('>I', len(name)) + name)
                self._reply(wire, option, 1)
            elif option == 8:
                self._reply(wire, option, 1)
            elif option == 10:
                if b'base:allocation' in data:
                    self._reply(wire, option, 4, struct.pack('>I', 1) + b'base:allocation')
                self._reply(wire, option, 1)
            elif option == 9:
                for context in self.contexts:
                    self._reply(wire, option, 4, bytes(4) + context)
                self._reply(wire, option, 1)
            elif option in (6, 7) and self.refusal:
                self._reply(wire, option, *self.refusal)
            elif option in (6, 7):
                self._reply(wire, option, 3, struct.pack('>HQH', 0, self.size, self.flags))
                if self.block_sizes:
                    self._reply(wire, option, 3, struct.pack('>HIII', 3, *self.block_sizes))
                self._reply(wire, option, 1)
                if option == 7:
                    return
            else:
                self._reply(wire, option, 1 << 31 | 1)

    @staticmethod
    def chunk(wire, request, kind, data=b'', done=True):
        """One chunk of a structured reply."""
        wire.send('IHHQI', 0x668e33ef, int(done), kind, request.cookie, len(data), data=data)

    def data_chunk(self, wire, request, offset, data, done=False):
        self.chunk(wire, request, 1, struct.pack('>Q', offset) + data, done)

    def answer(self, wire, request, error=0):
        """As it should be."""
        if error:
            self.chunk(wire, request, 1 << 15 | 1, struct.pack('>IH', error, 0))
        elif request.command == 0:
            self.data_chunk(wire, request, request.offset, bytes(request.length), done=True)
        elif request.command == 7:
            self.chunk(wire, request, 5, struct.pack('>III', 1, request.length, 0))
        else:
            self.chunk(wire, request, 0)
