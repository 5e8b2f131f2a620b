"""Malicious or broken clients: others are not affected, and the server keeps nothing of them.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import os
import random
import struct
import time

import pytest

from nbd_server import NbdServer, wait_until

MIB = 1 << 20
SIZE = 64 * MIB
READ, WRITE = 0, 1


@pytest.fixture(name='server')
def fixture_server(tmp_path):
    """A server of an empty raw image, with a time limit of 2 seconds; in the end it must have freed all clients."""
    path = tmp_path / 'disk.raw'
    with path.open('wb') as file:
        file.truncate(SIZE)
    with NbdServer(tmp_path, '-f', 'raw', '--handshake-limit', '2', path) as server:
        check_service(server)
        before = server.open_files()
        yield server
        check_service(server)
        wait_until(lambda: server.open_files() <= before, 'connections to be closed')


def check_service(server):
    """Another client is served at once."""
    start = time.monotonic()
    with server.connect().greet().go() as wire:
        wire.request(READ, 0, 4096)
        assert wire.simple_reply() == (0, 1)
        assert wire.receive(4096) == bytes(4096)
    assert time.monotonic() - start < 5


def test_silence(server):
    """A client that says nothing, or stops in the middle, is disconnected in time."""
    header = struct.pack('>QII', 0x49484156454f5054, 7, 100)
    silent = [server.connect() for _ in range(20)]
    for i, wire in enumerate(silent):
        wire.receive(18)
        wire.sock.sendall((b'\0\0\0\3' + header + bytes(50))[:i * 3])
    check_service(server)
    start = time.monotonic()
    for wire in silent:
        assert wire.at_end()
        wire.sock.close()
    assert time.monotonic() - start < 10


def test_no_limit_after_the_handshake(server):
    with server.connect().greet().go() as wire:
        time.sleep(3)
        wire.request(READ, 0, 512)
        assert wire.simple_reply() == (0, 1)


def test_endless_handshake(server):
    """The time limit applies to the whole handshake, even for a busy client."""
    with server.connect().greet() as wire:
        start = time.monotonic()
        with pytest.raises((AssertionError, BrokenPipeError, ConnectionResetError)):
            while time.monotonic() - start < 20:
                wire.option(3)
        assert time.monotonic() - start < 10


def test_never_reads_answers(server):
    """Endless options, whose answers are not read."""
    with server.connect().greet() as wire:
        wire.sock.settimeout(0.5)
        with pytest.raises((TimeoutError, BrokenPipeError, ConnectionResetError)):
            while True:
                wire.send('QII', wire.OPTS_MAGIC, 3, 0)
        check_service(server)


@pytest.mark.parametrize('greeting', [
    b'GET / HTTP/1.1\r\n\r\n', b'\0\0\0\xff', b'\xff' * 64, b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03' + bytes(100),
    b'\0\0\0\3' + b'IHAVEOPX' + bytes(8), b'\0\0\0\3' + b'IHAVEOPT' + struct.pack('>II', 3, 0xffffffff),
    b'\0\0\0\3' + b'IHAVEOPT' + struct.pack('>II', 3, 32 * MIB + 1),
])
def test_garbage_instead_of_a_greeting(server, greeting):
    with server.connect() as wire:
        assert wire.receive(18)
        wire.sock.sendall(greeting)
        assert wire.at_end()


def test_random_handshakes(server):
    """Options with random contents; the seed is printed on failure."""
    seed = random.randrange(1 << 32)
    print('seed', seed)
    rand = random.Random(seed)
    for _ in range(1000):
        with server.connect().greet() as wire:
            try:
                for _ in range(rand.randrange(8)):
                    data = rand.randbytes(rand.randrange(40)) if rand.random() < 0.5 else \
                        struct.pack('>IH', rand.randrange(8), rand.randrange(4)) + bytes(rand.randrange(20))
                    wire.send('QII', wire.OPTS_MAGIC, rand.randrange(12), len(data), data=data)
            except (BrokenPipeError, ConnectionResetError):
                pass


def test_random_requests(server):
    """Bytes that look almost like requests."""
    seed = random.randrange(1 << 32)
    print('seed', seed)
    rand = random.Random(seed)
    for _ in range(300):
        with server.connect().greet().go(structured=rand.random() < 0.5) as wire:
            try:
                for _ in range(rand.randrange(20)):
                    kind = rand.choice([0, 2, 3, 5, 7, 8, 65535])
                    wire.request(kind, rand.choice([0, SIZE, rand.getrandbits(64)]),
                                 rand.choice([0, 1, 4096, rand.getrandbits(32)]), rand.choice([0, 0, 1, 8, 65535]))
                    if rand.random() < 0.1:
                        wire.sock.sendall(rand.randbytes(rand.randrange(100)))
            except (BrokenPipeError, ConnectionResetError):
                pass


def test_bad_request_magic(server):
    with server.connect().greet().go() as wire:
        wire.send('IHHQQI', 0x12345678, 0, 0, 1, 0, 512)
        assert wire.at_end()


def test_huge_write(server):
    """Announcing 4 GiB does not make the server allocate them."""
    with server.connect().greet().go() as wire:
        wire.request(WRITE, 0, 0xffffffff)
        assert wire.at_end()


def test_vanishing(server):
    """Clients that vanish in a request, in its data, or with answers in flight."""
    for i in range(100):
        with server.connect().greet().go() as wire:
            if i % 3 == 0:
                wire.sock.sendall(struct.pack('>IHH', 0x25609513, 0, 1))
            elif i % 3 == 1:
                wire.request(WRITE, 0, 8 * MIB, data=bytes(100000))
            else:
                for _ in range(10):
                    wire.request(READ, 0, 1 * MIB)


def test_never_reads_data(server):
    """Endless reads whose data is not read: they wait, and their memory is bounded."""
    wires = [server.connect().greet().go() for _ in range(2)]
    for wire in wires:
        wire.sock.settimeout(0.5)
        try:
            for _ in range(10000):
                wire.request(READ, 0, 4 * MIB)
        except TimeoutError:
            pass
    check_service(server)
    assert server.memory_kib() < 400 * 1024
    for wire in wires:
        wire.sock.close()


def test_never_reads_errors(server):
    """Reads that are longer than allowed need no memory, but they must not run endlessly either."""
    with server.connect().greet().go() as wire:
        wire.sock.settimeout(0.5)
        with pytest.raises(TimeoutError):
            for _ in range(5000):
                wire.request(READ, 0, SIZE)
        check_service(server)


def test_slow_writer(server):
    """A write that trickles in does not delay other clients of the same server."""
    with server.connect().greet().go() as slow:
        slow.request(WRITE, 0, MIB, data=b'')
        for _ in range(5):
            slow.sock.sendall(bytes(1000))
            check_service(server)


def test_waiting_for_a_place(tmp_path):
    """With all places taken, the next client waits until one is free."""
    path = tmp_path / 'disk.raw'
    path.write_bytes(bytes(MIB))
    with NbdServer(tmp_path, '-f', 'raw', path, shared=2) as server:
        first, second = (server.connect().greet().go() for _ in range(2))
        third = server.connect()
        third.sock.settimeout(0.3)
        with pytest.raises(TimeoutError):
            third.sock.recv(1)
        third.sock.settimeout(30)
        first.sock.close()
        third.greet().go()
        for wire in (second, third):
            wire.request(READ, 0, 512)
            assert wire.simple_reply() == (0, 1)
            wire.sock.close()


def test_stop_with_clients_in_every_state(tmp_path):
    """SIGTERM ends the server, whatever its clients do; the context manager looks at its exit status."""
    path = tmp_path / 'disk.raw'
    with path.open('wb') as file:
        file.truncate(SIZE)
    with NbdServer(tmp_path, '-f', 'raw', '--handshake-limit', '0', path) as server:
        wires = [server.connect(), server.connect().greet(), server.connect().greet().go(),
                 server.connect().greet().go(), server.connect().greet().go()]
        wires[3].request(WRITE, 0, MIB, data=bytes(1000))
        wires[4].sock.settimeout(0.2)
        try:
            for _ in range(100):
                wires[4].request(READ, 0, 4 * MIB)
        except TimeoutError:
            pass
        start = time.monotonic()
        server.process.terminate()
        server.process.wait(timeout=20)
        assert time.monotonic() - start < 10
    for wire in wires:
        wire.sock.close()
    assert not os.path.exists(server.socket)
