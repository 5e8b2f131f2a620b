"""The NBD protocol of our server, message by message, and through libnbd.

Source: https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md

SPDX-License-Identifier: GPL-2.0-or-later
"""
import errno
import os
import struct

import nbd
import pytest

from nbd_server import NbdServer

MIB = 1 << 20
SIZE = 4 * MIB
READ, WRITE, DISC, FLUSH, TRIM, CACHE, WRITE_ZEROES, BLOCK_STATUS = range(8)
FUA, NO_HOLE, DF, REQ_ONE, FAST_ZERO = (1 << bit for bit in range(5))
ERR_UNSUP, ERR_POLICY, ERR_INVALID, ERR_TLS_REQD, ERR_UNKNOWN, ERR_TOO_BIG = ((1 << 31) + n for n in (1, 2, 3, 5, 6, 9))
EXPORT_NAME, ABORT, LIST, STARTTLS, INFO, GO, STRUCTURED_REPLY, LIST_META, SET_META = 1, 2, 3, 5, 6, 7, 8, 9, 10


@pytest.fixture(name='image')
def fixture_image(tmp_path):
    """An empty raw image."""
    path = tmp_path / 'disk.raw'
    with path.open('wb') as file:
        file.truncate(SIZE)
    return path


@pytest.fixture(name='server')
def fixture_server(tmp_path, image):
    """A server of the image, whose export is named disk."""
    with NbdServer(tmp_path, '-x', 'disk', '-D', 'text', '--discard=unmap', '-f', 'raw', image) as server:
        yield server


@pytest.fixture(name='client')
def fixture_client(server):
    """A connection of libnbd to the server."""
    handle = nbd.NBD()
    handle.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
    handle.set_strict_mode(0)
    handle.connect_uri(server.uri('disk'))
    yield handle
    handle.shutdown()


def string(text):
    """A string as encoded in options."""
    return struct.pack('>I', len(text)) + text


# Handshake

def test_export_name(server):
    """The oldest way to choose an export, with and without the 124 zero bytes after the answer."""
    for flags, zeroes in ((1, 124), (3, 0)):
        with server.connect().greet(flags) as wire:
            wire.send('QII', wire.OPTS_MAGIC, EXPORT_NAME, 4, data=b'disk')
            size, transmission = wire.unpack('QH')
            assert size == SIZE
            assert transmission & 1
            assert wire.receive(zeroes) == bytes(zeroes)
            wire.request(READ, 0, 512)
            assert wire.simple_reply() == (0, 1)
            assert wire.receive(512) == bytes(512)


@pytest.mark.parametrize('name', [b'', b'other', b'disk\0', b'\0', b'd' * 4097, b'\xff'])
def test_export_name_unknown(server, name):
    with server.connect().greet() as wire:
        wire.send('QII', wire.OPTS_MAGIC, EXPORT_NAME, len(name), data=name)
        assert wire.at_end()


def test_empty_export_name(tmp_path, image):
    with NbdServer(tmp_path, '-f', 'raw', image) as server, server.connect().greet() as wire:
        wire.send('QII', wire.OPTS_MAGIC, EXPORT_NAME, 0)
        assert wire.unpack('Q') == (SIZE,)


def test_client_without_fixed_newstyle(server):
    """It can only choose an export."""
    with server.connect().greet(0) as wire:
        wire.send('QII', wire.OPTS_MAGIC, LIST, 0)
        assert wire.at_end()
    with server.connect().greet(0) as wire:
        wire.send('QII', wire.OPTS_MAGIC, EXPORT_NAME, 4, data=b'disk')
        assert wire.unpack('Q') == (SIZE,)


def test_list(server):
    with server.connect().greet() as wire:
        assert wire.option(LIST) == [(2, string(b'disk') + b'text'), (1, b'')]
        assert wire.option(LIST, b'x')[-1][0] == ERR_INVALID
        assert wire.option(LIST) == [(2, string(b'disk') + b'text'), (1, b'')]


def test_abort(server):
    with server.connect().greet() as wire:
        assert wire.option(ABORT) == [(1, b'')]
        assert wire.at_end()


def test_unknown_options(server):
    with server.connect().greet() as wire:
        for option in (0, 4, 11, 0xffffffff):
            assert wire.option(option, b'some data')[-1][0] == ERR_UNSUP
        assert wire.option(STARTTLS)[-1][0] == ERR_POLICY
        wire.go(b'disk')


def test_info(server):
    """Everything that was asked for, and always the export and its block sizes."""
    request = string(b'disk') + struct.pack('>H5H', 5, 1, 2, 3, 77, 0)
    with server.connect().greet() as wire:
        for _ in range(2):
            replies = dict((struct.unpack('>H', data[:2])[0], data[2:]) for kind, data in wire.option(INFO, request)
                           if kind == 3)
            assert replies[1] == b'disk'
            assert replies[2] == b'text'
            assert replies[3] == struct.pack('>III', 1, 4096, 32 * MIB)
            assert struct.unpack('>QH', replies[0])[0] == SIZE
            assert set(replies) == {0, 1, 2, 3}
        assert len(wire.option(INFO, string(b'disk') + b'\0\0')) == 3


@pytest.mark.parametrize('data', [
    b'', b'\0', b'\0\0\0', string(b'disk'), string(b'disk') + b'\0', string(b'disk') + b'\0\1',
    string(b'disk') + b'\0\1\0', string(b'disk') + b'\0\0\0', string(b'disk') + b'\xff\xff', b'\xff\xff\xff\xff',
    struct.pack('>I', 5) + b'disk', string(b'di\0k') + b'\0\0', string(b'x' * 4097) + b'\0\0',
])
def test_malformed_info(server, data):
    with server.connect().greet() as wire:
        for option in (INFO, GO):
            assert wire.option(option, data)[-1][0] == ERR_INVALID
        assert wire.option(GO, string(b'other') + b'\0\0')[-1][0] == ERR_UNKNOWN
        wire.go(b'disk')


def test_meta_contexts(server):
    base = (4, struct.pack('>I', 0) + b'base:allocation')
    one = struct.pack('>I', 1)
    with server.connect().greet() as wire:
        assert wire.option(LIST_META, string(b'disk') + bytes(4)) == [base, (1, b'')]
        assert wire.option(LIST_META, string(b'disk') + one + string(b'base:')) == [base, (1, b'')]
        assert wire.option(LIST_META, string(b'disk') + one + string(b'bas')) == [(1, b'')]
        assert wire.option(LIST_META, string(b'disk') + one + string(b'qemu:allocation-depth')) == [(1, b'')]
        assert wire.option(LIST_META, string(b'other') + bytes(4))[-1][0] == ERR_UNKNOWN
        assert wire.option(SET_META, string(b'disk') + bytes(4))[-1][0] == ERR_INVALID
        assert wire.option(STRUCTURED_REPLY) == [(1, b'')]
        assert wire.option(STRUCTURED_REPLY)[-1][0] == ERR_INVALID
        assert wire.option(SET_META, string(b'disk') + one + string(b'base:')) == [(1, b'')]
        assert wire.option(SET_META, string(b'disk') + one + string(b'base:allocation')) == [base, (1, b'')]
        for data in (b'', string(b'disk'), string(b'disk') + b'\0\0\0', string(b'disk') + one,
                     string(b'disk') + b'\xff\xff\xff\xff' + string(b'x'), string(b'disk') + bytes(4) + b'x'):
            assert wire.option(SET_META, data)[-1][0] == ERR_INVALID
        # The failure invalidated an earlier choice.
        wire.go(b'disk')
        wire.request(BLOCK_STATUS, 0, 512)
        assert wire.chunk()[1] == 1 << 15 | 1


def test_option_too_large(server):
    with server.connect().greet() as wire:
        assert wire.option(LIST_META, bytes(100000))[-1][0] == ERR_TOO_BIG
        wire.go(b'disk')


# Transmission

def test_simple_replies(server):
    with server.connect().greet().go(b'disk') as wire:
        wire.request(WRITE, 512, 1024, cookie=7, data=b'x' * 1024)
        assert wire.simple_reply() == (0, 7)
        wire.request(READ, 0, 2048, cookie=8)
        assert wire.simple_reply() == (0, 8)
        assert wire.receive(2048) == bytes(512) + b'x' * 1024 + bytes(512)
        wire.request(READ, SIZE, 1, cookie=9)
        assert wire.simple_reply() == (errno.EINVAL, 9)
        wire.request(BLOCK_STATUS, 0, 512)
        assert wire.simple_reply() == (errno.EINVAL, 1)
        wire.request(DISC)
        assert wire.at_end()


def test_structured_replies(server):
    with server.connect().greet().go(b'disk', structured=True) as wire:
        wire.request(WRITE, 0, 512, cookie=7, data=b'x' * 512)
        assert wire.chunk() == (1, 0, 7, b'')
        wire.request(READ, 256, 512, cookie=8)
        assert wire.chunk() == (1, 1, 8, struct.pack('>Q', 256) + b'x' * 256 + bytes(256))
        wire.request(READ, 0, 0, cookie=9)
        assert wire.chunk() == (1, 0, 9, b'')
        wire.request(READ, SIZE - 1, 2, cookie=10)
        assert wire.chunk() == (1, 1 << 15 | 1, 10, struct.pack('>IH', errno.EINVAL, 0))


def test_refused_requests(server):
    """Each gets an error, and the connection continues."""
    requests = [
        ((READ, SIZE, 1), errno.EINVAL),
        ((READ, SIZE - 1, 2), errno.EINVAL),
        ((READ, 1 << 63, 1), errno.EINVAL),
        ((READ, (1 << 64) - 1, 0xffffffff), errno.EINVAL),
        ((READ, 0, 0xffffffff), errno.EINVAL),
        ((READ, 0, 512, NO_HOLE), errno.EINVAL),
        ((READ, 0, 512, DF), errno.EINVAL),
        ((FLUSH, 0, 0, 0x8000), errno.EINVAL),
        ((TRIM, SIZE, 512), errno.EINVAL),
        ((TRIM, 0, 0xffffffff), errno.EINVAL),
        ((CACHE, SIZE - 1, 2), errno.EINVAL),
        ((WRITE_ZEROES, SIZE - 512, 1024), errno.ENOSPC),
        ((WRITE_ZEROES, 0, 0xffffffff), errno.ENOSPC),
        ((WRITE_ZEROES, 0, 512, REQ_ONE), errno.EINVAL),
        ((BLOCK_STATUS, 0, 512), errno.EINVAL),
        ((8, 0, 512), errno.EINVAL),
        ((0xffff, 0, 0xffffffff), errno.EINVAL),
    ]
    with server.connect().greet().go(b'disk') as wire:
        for cookie, (request, error) in enumerate(requests):
            wire.request(*request, cookie=cookie)
            assert wire.simple_reply() == (error, cookie), request
        wire.request(WRITE, SIZE - 512, 1024, cookie=99, data=b'x' * 1024)
        assert wire.simple_reply() == (errno.ENOSPC, 99)
        wire.request(READ, SIZE - 512, 512)
        assert wire.simple_reply() == (0, 1)
        assert wire.receive(512) == bytes(512)


def test_read_only(tmp_path, image):
    with NbdServer(tmp_path, '-r', '-f', 'raw', image) as server, server.connect().greet().go() as wire:
        for request in ((WRITE_ZEROES, 0, 512), (TRIM, 0, 512)):
            wire.request(*request)
            assert wire.simple_reply() == (errno.EPERM, 1)
        wire.request(WRITE, 0, 512, data=b'x' * 512)
        assert wire.simple_reply() == (errno.EPERM, 1)
        wire.request(READ, 0, 512)
        assert wire.simple_reply() == (0, 1)
        assert wire.receive(512) == bytes(512)


def test_many_requests_at_once(server):
    """More than the server processes at once; the answers come in any order, each exactly once."""
    with server.connect().greet().go(b'disk') as wire:
        for i in range(100):
            wire.request(WRITE, i * 512, 512, cookie=i, data=bytes([i]) * 512)
        assert sorted(wire.simple_reply() for _ in range(100)) == [(0, i) for i in range(100)]
        for i in range(100):
            wire.request(READ, i * 512, 512, cookie=i)
        got = {}
        for _ in range(100):
            error, cookie = wire.simple_reply()
            assert error == 0
            got[cookie] = wire.receive(512)
        assert got == {i: bytes([i]) * 512 for i in range(100)}


def test_largest_requests(tmp_path):
    image = tmp_path / 'large.raw'
    with image.open('wb') as file:
        file.truncate(64 * MIB)
    data = os.urandom(MIB) * 32
    with NbdServer(tmp_path, '-f', 'raw', image) as server, server.connect().greet().go() as wire:
        wire.request(WRITE, 12345, 32 * MIB, data=data)
        assert wire.simple_reply() == (0, 1)
        for cookie in range(8):
            wire.request(READ, 12345, 32 * MIB, cookie=cookie)
        for _ in range(8):
            assert wire.simple_reply()[0] == 0
            assert wire.receive(32 * MIB) == data
        wire.request(READ, 0, 32 * MIB + 1)
        assert wire.simple_reply() == (errno.EINVAL, 1)


# Through libnbd

def test_flags(client):
    client.pwrite(b'a' * 4096, 0, nbd.CMD_FLAG_FUA)
    client.zero(1024, 512, nbd.CMD_FLAG_FUA | nbd.CMD_FLAG_NO_HOLE)
    client.zero(512, 2048)
    client.trim(4096, 8192, nbd.CMD_FLAG_FUA)
    client.cache(SIZE, 0)
    client.flush()
    assert client.pread(4096, 0, nbd.CMD_FLAG_DF) == b'a' * 512 + bytes(1024) + b'a' * 512 + bytes(512) + b'a' * 1536


def test_no_hole(client, image):
    """Zeroes that must not be a hole are allocated."""
    client.zero(MIB, 0, nbd.CMD_FLAG_NO_HOLE)
    assert os.stat(image).st_blocks >= MIB // 512
    client.pwrite(b'x' * MIB, MIB)
    before = os.stat(image).st_blocks
    client.zero(MIB, MIB)
    assert os.stat(image).st_blocks == before - MIB // 512


def test_fast_zero(client):
    """Done or refused, but never slow: partial blocks are refused, also by files."""
    client.pwrite(b'x' * MIB, 0)
    try:
        client.zero(MIB, 0, nbd.CMD_FLAG_FAST_ZERO)
        assert client.pread(MIB, 0) == bytes(MIB)
    except nbd.Error as error:
        assert error.errnum == errno.ENOTSUP
        assert client.pread(MIB, 0) == b'x' * MIB


def status(client, offset, length, flags=0):
    """[(length, flags)] of base:allocation"""
    extents = []

    def take(_context, _offset, entries, _error):
        extents.extend(zip(entries[::2], entries[1::2]))

    client.block_status(length, offset, take, flags)
    return extents


def test_block_status(client):
    client.pwrite(b'x' * 65536, 65536)
    client.pwrite(b'x' * 65536, 131072)
    assert status(client, 0, SIZE) == [(65536, 3), (131072, 0), (SIZE - 196608, 3)]
    assert status(client, 0, SIZE, nbd.CMD_FLAG_REQ_ONE) == [(65536, 3)]
    assert status(client, 65537, 65536) == [(65536, 0)]
    with pytest.raises(nbd.Error):
        status(client, SIZE, 1)


def test_fragmented_block_status(client):
    """More extents than fit an answer: it ends early, and asking again returns the rest."""
    for offset in range(0, SIZE, 8192):
        client.pwrite(b'x' * 4096, offset)
    offset, extents = 0, []
    while offset < SIZE:
        extents += status(client, offset, SIZE - offset)
        offset = sum(length for length, _ in extents)
    assert extents == [(4096, 0), (4096, 3)] * (SIZE // 8192)


def test_flush_covers_other_connections(server):
    """The promise of multi-conn, as far as a test can see it: both see each other's writes at once."""
    a, b = nbd.NBD(), nbd.NBD()
    for handle in (a, b):
        handle.connect_uri(server.uri('disk'))
        assert handle.can_multi_conn()
    for i in range(50):
        a.pwrite(bytes([i]) * 4096, 0)
        b.flush()
        assert b.pread(4096, 0) == bytes([i]) * 4096
    a.shutdown()
    b.shutdown()
