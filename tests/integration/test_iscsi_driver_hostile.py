"""The iscsi driver against a scripted target that has what tgtd lacks, and one that breaks the rules.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import socket
import struct
import subprocess
import time

import pytest

from iscsi_peer import (BUSY, DATA_PROTECT, ILLEGAL_OPCODE, ILLEGAL_REQUEST, INQUIRY, LOGIN_RESPONSE, MODE_SENSE,
                        NAME, READ10, READ16, SANITIZE, SERVICE_ACTION_IN, SYNCHRONIZE_CACHE, TEST_UNIT_READY,
                        UNIT_ATTENTION, UNMAP, WRITE10, WRITE16, WRITE_SAME16, Hangup, ScriptedTarget)
from programs import QEMU_IO, qemu_img, qemu_img_json, qemu_io, secret_object
from qmp import StorageDaemon

# What ends at once; the sanitizers take their time.
SOON = 8


@pytest.fixture(name='target')
def fixture_target():
    with ScriptedTarget() as target:
        yield target


def hang_up(*_):
    raise Hangup


def io(target, *commands, status=0, opts=('-f', 'raw')):
    """Output of commands of qemu-io, and its errors."""
    done = qemu_io(*opts, *(x for command in commands for x in ('-c', command)), target.uri(), status=status)
    return done.stdout + done.stderr


def refused(target, *message, seconds=SOON):
    """Opening fails, soon, with this in the message."""
    begin = time.monotonic()
    error = qemu_img('info', target.uri(), status=1).stderr
    assert time.monotonic() - begin < seconds
    assert f"iSCSI LUN '{target.portal}/" in error
    for part in message:
        assert part in error


# Opening

def test_dies_at_each_step(target):
    """During the login, and at each of the commands that follow."""
    target.on_login = hang_up
    refused(target, 'The login failed: the target closed the connection')
    target.on_login = lambda *_: False
    qemu_img('info', '-f', 'raw', target.uri())
    count = len(target.commands)
    for step in range(5):
        seen = []
        target.on_command = lambda conn, cmd, seen=seen, step=step: seen.append(cmd) or (len(seen) > step and hang_up())
        refused(target, 'the target closed the connection')
    assert count > 5


@pytest.mark.parametrize('what', ['garbage', 'http', 'long', 'no-end', 'numbers', 'wrong-opcode'])
def test_nonsense_at_login(target, what):
    def answer(conn, header):
        if what == 'garbage':
            conn.sock.sendall(b'\xff' * 4096)
        elif what == 'http':
            conn.sock.sendall(b'HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n400')
        elif what == 'long':
            conn.sock.sendall(bytes([LOGIN_RESPONSE, 0x87, 0, 0, 0, 255, 255, 255]).ljust(48, b'\0'))
        elif what == 'no-end':
            conn.send(LOGIN_RESPONSE, header[1], header[16:20], b'TargetPortalGroupTag=1')
        elif what == 'numbers':
            target.log_in(conn, header, keys={'MaxRecvDataSegmentLength': 0})
        else:
            conn.send(0x21, 0x80, header[16:20])
        return True
    target.on_login = answer
    refused(target, 'The login failed: the target')


@pytest.mark.parametrize('keys', [{'MaxBurstLength': -1}, {'FirstBurstLength': 1 << 40}, {'MaxRecvDataSegmentLength': 'x'}])
def test_numbers_at_login(target, keys):
    target.login_keys = keys
    refused(target, 'is malformed')


@pytest.mark.parametrize('status, message', [
    (0x0201, 'requires a user'), (0x0202, 'does not admit initiator'), (0x0203, 'has no target'), (0x0206, 'too many'),
    (0x0301, 'not available'), (0x0299, 'refuses the login, status 0x0299')])
def test_refused_login(target, status, message):
    target.on_login = lambda conn, header: target.log_in(conn, header, status) or True
    refused(target, message)


@pytest.mark.parametrize('names, hint', [
    (''.join(f'TargetName=t{i}\0' for i in range(1000)), ' and more.'), ('TargetName=a\x1b[1m\nb\0', "It has 'a?[1m?b'."),
    ('TargetName=x', None), ('Nonsense\0', None), ('TargetAddress=x\0', None), ('', None)])
def test_names_of_targets(target, names, hint):
    """Where a portal lists them, without what a terminal would obey."""
    target.targets = names
    first = []
    target.on_login = lambda conn, header: not first and first.append(1) is None and \
        (target.log_in(conn, header, 0x0203) or True)
    error = qemu_img('info', target.uri(), status=1).stderr
    assert 'has no target' in error and ('It has' in error) == bool(hint) and (hint or '') in error


@pytest.mark.parametrize('name', [None, 'iqn.2024-01.test:me'])
def test_initiator_name(target, name):
    """It is sent in all sessions, also one that only asks for the list of targets."""
    def refuse(conn, header):
        if 'SessionType=Discovery' not in target.login_texts[-1]:
            conn.target.log_in(conn, header, 0x0203)
            return True
        return False
    opts = f'driver=raw,file.driver=iscsi,file.transport=tcp,file.portal={target.portal},file.target={NAME},file.lun=1'
    opts += f',file.initiator-name={name}' if name else ''
    qemu_img('info', '--image-opts', opts)
    assert f'InitiatorName={name or "iqn.2008-11.org.linux-kvm"}' in target.login_texts[0]
    assert f'TargetName={NAME}' in target.login_texts[0]
    target.on_login = refuse
    target.login_texts.clear()
    assert f"It has '{NAME}'" in qemu_img('info', '--image-opts', opts, status=1).stderr
    assert len(target.login_texts) >= 2
    firsts = [text for text in target.login_texts if any(word.startswith('InitiatorName') for word in text)]
    assert any('SessionType=Discovery' in text for text in firsts)
    assert all(f'InitiatorName={name or "iqn.2008-11.org.linux-kvm"}' in text for text in firsts)


def test_redirection(target):
    """To another portal, but not for ever."""
    with ScriptedTarget() as first:
        first.on_login = lambda conn, header: first.log_in(conn, header, 0x0101, {'TargetAddress': target.portal}) or True
        qemu_img('info', '-f', 'raw', first.uri())
        assert target.commands
        first.on_login = lambda conn, header: first.log_in(conn, header, 0x0101, {'TargetAddress': first.portal}) or True
        refused(first, 'redirects the login')


def test_trickle(target):
    """One byte at a time, slowly: the time-out counts."""
    def answer(conn, header):
        for byte in bytes([LOGIN_RESPONSE, 0x87]).ljust(48, b'\0'):
            conn.sock.sendall(bytes([byte]))
            time.sleep(0.2)
    target.on_login = answer
    begin = time.monotonic()
    error = qemu_img('info', '--image-opts', 'driver=raw,file.driver=iscsi,file.transport=tcp,file.target=t,file.timeout=1,'
                     f'file.portal={target.portal},file.lun=1', status=1).stderr
    assert 'Timed out waiting for the login' in error and time.monotonic() - begin < 1 + SOON


@pytest.mark.parametrize('answer, message', [
    (struct.pack('>QI', 2047, 0), 'blocks of 0 bytes'), (struct.pack('>QI', 2047, 513), 'blocks of 513 bytes'),
    (struct.pack('>QI', 2047, 1 << 31), 'blocks of'), (struct.pack('>QI', (1 << 64) - 1, 512), 'too large'),
    (struct.pack('>QI', 1 << 60, 4096), 'too large'), (struct.pack('>I', 1), 'too short')])
def test_wrong_capacity(target, answer, message):
    target.on_command = lambda conn, cmd: cmd.opcode == SERVICE_ACTION_IN and \
        (conn.answer(cmd, answer.ljust(32, b'\0') if len(answer) > 4 else answer) or True)
    refused(target, message)


def test_not_a_disk(target):
    target.on_command = lambda conn, cmd: cmd.opcode == INQUIRY and (conn.answer(cmd, bytes([5]) + bytes(35)) or True)
    refused(target, 'LUN 1 of the target is not a disk', 'It has LUNs 1.')
    target.on_command = lambda conn, cmd: cmd.opcode == INQUIRY and (conn.answer(cmd, bytes([0x7f]) + bytes(35)) or True)
    refused(target, 'The target has no LUN 1', 'It has LUNs 1.')


def test_nonsense_in_pages(target):
    """Lengths that reach beyond the answers: the LUN is used without what they tell."""
    def answer(conn, cmd):
        if cmd.opcode == INQUIRY and cmd.cdb[1] & 1:
            conn.answer(cmd, bytes([0, cmd.cdb[2], 255, 255, 1, 3, 0, 255, 0, 0]))
        elif cmd.opcode == MODE_SENSE:
            conn.answer(cmd, bytes([255, 0, 0, 255, 8, 255]))
        else:
            return False
        return True
    target.on_command = answer
    io(target, 'write -P 1 0 4k', 'read -P 1 0 4k')


def test_ipv6():
    """In brackets, and a name that has an address where nothing listens."""
    try:
        target = ScriptedTarget(host='::1')
    except OSError:
        pytest.skip('no IPv6')
    with target:
        assert qemu_img_json('info', '-f', 'raw', target.uri())['filename'] == target.uri()
        assert target.uri().startswith('iscsi://[::1]:')


# Reads

@pytest.mark.parametrize('what', ['short', 'short-unsaid', 'gap', 'nothing', 'half-block', 'recovered'])
def test_short_read(target, what):
    """It is an error, whatever the target says, and no byte of memory that was not read is passed on."""
    def answer(conn, cmd):
        if cmd.opcode != READ10:
            return False
        if what == 'short':
            conn.answer(cmd, bytes(2048))
        elif what == 'short-unsaid':
            conn.answer(cmd, bytes(2048), residual=0)
        elif what == 'gap':
            conn.send_data(cmd, bytes(512))
            conn.answer(cmd, bytes(512), offset=cmd.expected - 512, residual=0)
        elif what == 'half-block':
            conn.answer(cmd, b'\1' * (cmd.expected - 700), residual=0)
        elif what == 'recovered':
            conn.check(cmd, 1, 0x1700)
        else:
            conn.answer(cmd, residual=0)
        return True
    target.on_command = answer
    output = io(target, 'read 0 4k', status=1)
    assert 'read failed: Input/output error' in output and 'transferred less than requested' in output


@pytest.mark.parametrize('what', ['beyond', 'too-much', 'backwards', 'wrong-tag', 'not-final'])
def test_data_out_of_place(target, what):
    """The session is given up, again and again, then the request fails."""
    def answer(conn, cmd):
        if cmd.opcode != READ10:
            return False
        if what == 'beyond':
            conn.answer(cmd, bytes(512), offset=1 << 20)
        elif what == 'too-much':
            conn.answer(cmd, bytes(8192), residual=0)
        elif what == 'backwards':
            conn.answer(cmd, bytes(512), offset=(1 << 32) - 512)
        elif what == 'not-final':
            conn.send(0x21, 0, cmd.tag)
        else:
            conn.send(0x33, 0x80, cmd.tag)
        return True
    target.on_command = answer
    begin = time.monotonic()
    output = io(target, 'read 0 4k', status=1)
    assert 'read failed: Input/output error' in output and time.monotonic() - begin < 2 * SOON
    assert 4 < target.connections < 10


def test_answers_twice(target):
    """What comes after the first answer is nobody's."""
    def answer(conn, cmd):
        if cmd.opcode not in (READ10, WRITE10):
            return False
        if cmd.opcode == WRITE10:
            conn.receive_data(cmd)
        target.carry_out(conn, cmd)
        conn.answer(cmd, b'\xff' * 4096 if cmd.opcode == READ10 else b'')
        return True
    target.on_command = answer
    io(target, 'write -P 3 0 4k', 'read -P 3 0 4k', 'write -P 4 0 4k', 'read -P 4 0 4k')


# Writes

def test_write_that_stops(target):
    """GOOD before all data was asked for: the target has not got it."""
    target.on_command = lambda conn, cmd: cmd.opcode == WRITE10 and (conn.answer(cmd, residual=4096) or True)
    assert 'write failed' in io(target, 'write 0 256k', status=1)


# libiscsi loses a little memory in this case.
LOSES = pytest.mark.plain_build


@pytest.mark.parametrize('offset, count', [
    (1 << 20, 65536), ((1 << 32) - 512, 4096), pytest.param(0, 1 << 30, marks=LOSES),
    pytest.param(0, (1 << 32) - 1, marks=LOSES)])
def test_asks_for_too_much(target, offset, count):
    """An R2T outside of what is written: nothing beyond it is sent."""
    target.on_command = lambda conn, cmd: cmd.opcode == WRITE10 and (conn.request_data(cmd, offset, count) or True)
    begin = time.monotonic()
    assert 'write failed: Input/output error' in io(target, 'write -P 5 0 128k', status=1)
    assert time.monotonic() - begin < 2 * SOON


def test_answers_while_data_is_sent(target):
    """A write that ends before libiscsi has sent all that was asked for."""
    def answer(conn, cmd):
        if cmd.opcode != WRITE10:
            return False
        conn.request_data(cmd, 65536, cmd.expected - 65536)
        return conn.check(cmd, 3, 0x0c00)
    target.on_command = answer
    target.data = bytearray(16 << 20)
    assert 'write failed: Input/output error' in io(target, 'write -P 5 0 8M', status=1)


def test_fua(target):
    """A bit where the LUN knows it, else a flush."""
    io(target, 'write -f 0 4k')
    at = target.opcodes().index(WRITE10)
    assert not target.commands[at].cdb[1] & 8 and target.opcodes()[at + 1] == SYNCHRONIZE_CACHE
    target.fua = True
    target.commands.clear()
    io(target, 'write -f 0 4k')
    at = target.opcodes().index(WRITE10)
    assert target.commands[at].cdb[1] & 8


@pytest.mark.parametrize('cache', [False, True])
def test_no_flush(target, cache):
    """A LUN without a cache need not know SYNCHRONIZE CACHE."""
    target.write_cache = cache
    target.on_command = lambda conn, cmd: cmd.opcode == SYNCHRONIZE_CACHE and conn.check(cmd, ILLEGAL_REQUEST, ILLEGAL_OPCODE)
    output = io(target, 'write 0 4k', 'flush', status=1 if cache else 0)
    assert ('flush failed' in output) == cache


def test_zeroes_without_write_same(target):
    """They are written out, and the LUN is asked once."""
    target.same = False
    target.data[:] = b'\7' * len(target.data)
    io(target, 'write -z 0 64k', 'write -z 64k 64k', 'read -P 0 0 128k', 'read -P 7 128k 64k')
    assert target.opcodes().count(WRITE_SAME16) == 1


def test_refused_unmap(target):
    """By a LUN that says it knows it: that is no success."""
    target.thin = True
    target.on_command = lambda conn, cmd: cmd.opcode == UNMAP and conn.check(cmd, ILLEGAL_REQUEST, 0x2600)
    assert 'discard failed' in io(target, 'discard 0 64k', status=1)


def test_limits(target):
    """Of transfers, UNMAP and WRITE SAME, in blocks."""
    target.thin = True
    target.limits = {8: 128, 20: 64, 24: 1, 40: 256}
    io(target, 'write -P 1 0 512k', 'read -P 1 0 512k', 'discard 0 128k', 'write -z 0 512k')
    for opcodes, most in (((READ10, WRITE10), 128), ((WRITE_SAME16,), 256)):
        counts = [cmd.blocks for cmd in target.commands if cmd.opcode in opcodes]
        assert counts and max(counts) <= most
    unmaps = [struct.unpack('>I', cmd.data[16:20])[0] for cmd in target.commands if cmd.opcode == UNMAP]
    assert sum(unmaps) == 256 and max(unmaps) == 64


def test_more_than_2_tib(target):
    """Needs commands of 16 bytes, beyond block 2^32 only."""
    last = (3 << 40) // 512 - 1

    def answer(conn, cmd):
        if cmd.opcode == SERVICE_ACTION_IN:
            conn.answer(cmd, struct.pack('>QI', last, 512).ljust(32, b'\0'))
        elif cmd.opcode in (READ16, READ10):
            conn.answer(cmd, b'\5' * cmd.expected)
        elif cmd.opcode == WRITE16:
            conn.receive_data(cmd)
            conn.answer(cmd)
        else:
            return False
        return True
    target.on_command = answer
    target.commands.clear()
    io(target, 'read -P 5 2500G 4k', 'write 2500G 4k', 'read -P 5 1G 4k')
    assert [(cmd.opcode, cmd.lba) for cmd in target.commands if cmd.opcode in (READ10, READ16, WRITE16) and cmd.lba > 1000
            ] == [(READ16, 2500 << 21), (WRITE16, 2500 << 21), (READ10, 1 << 21)]


# Conditions

def test_unit_attention(target):
    """A command gets a few more chances."""
    left = [5]

    def answer(conn, cmd):
        if cmd.opcode == READ10 and left[0]:
            left[0] -= 1
            return conn.check(cmd, UNIT_ATTENTION, 0x2900)
        return False
    target.on_command = answer
    io(target, 'read -P 0 0 4k')
    left[0] = 1000
    begin = time.monotonic()
    assert 'sense UNIT_ATTENTION, 0x29/0x00' in io(target, 'read 0 4k', status=1)
    assert left[0] > 900 and time.monotonic() - begin < 2 * SOON + 8


def test_busy(target):
    left = [4]

    def answer(conn, cmd):
        if cmd.opcode == WRITE10 and left[0]:
            left[0] -= 1
            conn.receive_data(cmd)
            conn.answer(cmd, status=BUSY)
            return True
        return False
    target.on_command = answer
    io(target, 'write -P 9 0 4k', 'read -P 9 0 4k')
    left[0] = 1000
    begin = time.monotonic()
    output = io(target, 'write 0 4k', status=1)
    assert 'BUSY' in output and time.monotonic() - begin < 2 * SOON + 8
    assert left[0] > 980


@pytest.mark.parametrize('key, code, name, message', [
    (DATA_PROTECT, 0x2707, 'DATA PROTECTION', 'No space left on device'),
    (DATA_PROTECT, 0x2700, 'DATA PROTECTION', 'Operation not permitted'),
    (3, 0x1100, 'MEDIUM_ERROR', 'Input/output error'), (15, 0x1100, 'unknown', 'Input/output error'),
    (ILLEGAL_REQUEST, 0x2100, 'ILLEGAL_REQUEST', 'Invalid argument'), (2, 0x3a00, 'NOT READY', 'No medium found')])
def test_sense(target, key, code, name, message):
    """Becomes an errno, and a message that names node, LUN and sense."""
    target.on_command = lambda conn, cmd: cmd.opcode == WRITE10 and conn.receive_data(cmd) is None and \
        conn.check(cmd, key, code)
    output = io(target, 'write 0 4k', 'write 0 4k', status=1)
    assert output.count(f'write failed: {message}') == 2
    assert output.count(f'sense {name}, 0x{code >> 8:02x}/0x{code & 0xff:02x}') == 1 and f"iSCSI LUN '{target.portal}" in output


FIXED, DESCRIPTORS = bytes([0x70, 0, 7, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x27, 7]), bytes([0x72, 7, 0x27, 7])


@pytest.mark.parametrize('sense', [FIXED[:n] for n in (0, 1, 2, 3, 12, 13, 14)] + [DESCRIPTORS[:n] for n in (1, 2, 4)] +
                         [b'\xff' * 252, b'\x72' + b'\xff' * 251])
def test_short_sense(target, sense):
    """Of any length: no success."""
    target.on_command = lambda conn, cmd: cmd.opcode == READ10 and cmd.lba == 64 and conn.check(cmd, 0, 0, sense)
    output = io(target, 'read 32k 4k', status=1)
    assert 'read failed' in output
    if len(sense) in (4, 14):
        assert 'No space left' in output


def test_status_of_blocks(target):
    """Lies about them are not believed."""
    target.thin = True
    for answer in (struct.pack('>IIQII', 20, 0, 4096, 1, 1 << 24), struct.pack('>IIQII', 20, 0, 0, 0, 1 << 24), bytes(24), b''):
        target.on_command = lambda conn, cmd, answer=answer: cmd.opcode == SERVICE_ACTION_IN and \
            cmd.service_action == 0x12 and (conn.answer(cmd, answer) or True)
        extent, = qemu_img_json('map', '-f', 'raw', target.uri())
        assert extent['data'] and extent['length'] == 1 << 20
    target.on_command = lambda conn, cmd: cmd.opcode == SERVICE_ACTION_IN and cmd.service_action == 0x12 and \
        (conn.answer(cmd, struct.pack('>IIQII', 20, 0, 0, 0xffffffff, 1 << 24)) or True)
    extent, = qemu_img_json('map', '-f', 'raw', target.uri())
    assert extent['zero'] and extent['length'] == 1 << 20


# Losses

def test_poison(target):
    """A target that dies at the same request each time: others are served, this one fails."""
    target.on_command = lambda conn, cmd: cmd.opcode == READ10 and cmd.lba == 8 and hang_up()
    begin = time.monotonic()
    output = io(target, 'read 4k 4k', 'read -P 0 64k 4k', status=1)
    assert 'read failed: Input/output error' in output and 'read 4096/4096' in output
    assert time.monotonic() - begin < 2 * SOON and output.count('lost the connection') == 1


def test_flush_in_flight(target):
    """Made again in a new session, it would say nothing about what the target had before."""
    lost = []
    target.on_command = lambda conn, cmd: cmd.opcode == SYNCHRONIZE_CACHE and not lost and lost.append(1) is None and \
        hang_up()
    output = io(target, 'write 0 4k', 'flush', status=1)
    assert 'wrote 4096/4096' in output and 'flush failed: Input/output error' in output


def test_loss_is_reported_once(target, tmp_path):
    """After blockdev-reopen, flushes succeed again, also if another session is lost."""
    options = {'node-name': 'n0', **target.options()}
    with StorageDaemon(tmp_path) as daemon:
        daemon.qmp.cmd('blockdev-add', **options)
        daemon.qmp.cmd('nbd-server-start', addr={'type': 'unix', 'data': {'path': f'{tmp_path}/nbd.sock'}})
        daemon.qmp.cmd('block-export-add', type='nbd', id='e0', node_name='n0', writable=True)

        def write(status=0):
            done = qemu_io('-f', 'raw', '-c', 'write 0 4k', '-c', 'flush', f'nbd+unix:///n0?socket={tmp_path}/nbd.sock',
                           status=status)
            return done.stdout + done.stderr
        target.on_command = lambda conn, cmd: cmd.opcode == SYNCHRONIZE_CACHE and hang_up()
        assert 'flush failed: Input/output error' in write(status=1)
        target.on_command = lambda *_: False
        daemon.qmp.cmd('blockdev-reopen', options=[options])
        target.hang_up()
        write()


def test_answer_before_the_loss(target):
    """Of a write that libiscsi still sends: a read that waits for a new session gets one."""
    def answer(conn, cmd):
        if cmd.opcode == INQUIRY:
            # So that the write cannot be sent as a whole.
            conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        if cmd.opcode == WRITE10:
            conn.request_data(cmd, 65536, cmd.expected - 65536)
            conn.check(cmd, 3, 0x0c00)
            time.sleep(0.5)
            raise Hangup
        return cmd.opcode == READ10 and conn.number == 1
    target.on_command = answer
    target.data = bytearray(16 << 20)
    begin = time.monotonic()
    output = io(target, 'aio_read 0 4k', 'aio_write 1M 8M', 'aio_flush', status=1)
    assert 'read 4096/4096' in output and 'write failed: Input/output error' in output
    assert time.monotonic() - begin < SOON


def test_same_session(target):
    """The new session has the identity of the old one, so that the target aborts what is left of that."""
    lost = []
    target.on_command = lambda conn, cmd: cmd.opcode == READ10 and not lost and lost.append(1) is None and hang_up()
    io(target, 'read -P 0 64k 4k')
    first = target.isids[0]
    assert target.connections == 3 and len(set(target.isids)) == 2 or len(set(target.isids)) == 1
    io(target, 'read -P 0 64k 4k')
    assert target.isids[-1] != first


@pytest.mark.parametrize('change, message', [
    ({'identity': b'other'}, 'is not the same as before'), ({'data': bytearray(65536)}, 'has shrunk from 2048 to 128'),
    ({'read_only': True}, 'has become read-only'), ({'block_size': 4096}, 'other block sizes')])
def test_changed_lun(target, change, message, tmp_path):
    """One that is not the same any more is none."""
    with StorageDaemon(tmp_path) as daemon:
        daemon.qmp.cmd('blockdev-add', node_name='n0', **target.options())
        daemon.qmp.cmd('nbd-server-start', addr={'type': 'unix', 'data': {'path': f'{tmp_path}/nbd.sock'}})
        daemon.qmp.cmd('block-export-add', type='nbd', id='e0', node_name='n0', writable=True)
        with subprocess.Popen([QEMU_IO, '-f', 'raw', f'nbd+unix:///n0?socket={tmp_path}/nbd.sock'], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True) as client:
            client.stdin.write('write -P 1 32k 4k\n')
            client.stdin.flush()
            while 'wrote 4096' not in client.stdout.readline():
                pass
            for name, value in change.items():
                setattr(target, name, value)
            target.hang_up()
            client.stdin.write('read 32k 4k\n')
            client.stdin.flush()
            time.sleep(0.5)
            daemon.qmp.cmd('block-export-del', id='e0', mode='hard')
            client.stdin.close()
            assert 'failed' in client.stdout.read()
        daemon.qmp.cmd('blockdev-del', node_name='n0')
    assert message in daemon.errors


def test_larger_lun(target, tmp_path):
    """It shows after block_resize to its size."""
    with StorageDaemon(tmp_path) as daemon:
        daemon.qmp.cmd('blockdev-add', node_name='n0', **target.options())
        target.data = bytearray(3 << 20)
        assert 'Cannot resize' in daemon.qmp.error('block_resize', node_name='n0', size=4 << 20).desc
        daemon.qmp.cmd('block_resize', node_name='n0', size=3 << 20)
        node, = daemon.qmp.cmd('query-named-block-nodes', flat=True)
        assert node['image']['virtual-size'] == 3 << 20


# Secure erase

OVERWRITE, BLOCK_ERASE, CRYPTO_ERASE = 1, 2, 3


@pytest.fixture(name='formatted')
def fixture_formatted(tmp_path):
    """A target with a LUKS volume."""
    with ScriptedTarget(8 << 20) as target:
        qemu_img('format', *secret_object(tmp_path, 's0', b'pw'), '-o', 'key-secret=s0,iter-time=10', target.uri())
        yield target


def erase(target, scope):
    """The report, and which kinds of SANITIZE were asked for."""
    target.commands.clear()
    report = qemu_img_json('erase', '--scope', scope, '--force', target.uri())
    return report, [cmd.service_action for cmd in target.commands if cmd.opcode == SANITIZE]


@pytest.mark.parametrize('kinds, used', [((OVERWRITE,), OVERWRITE), ((OVERWRITE, BLOCK_ERASE, CRYPTO_ERASE), BLOCK_ERASE),
                                         ((CRYPTO_ERASE,), CRYPTO_ERASE)])
def test_sanitize(formatted, kinds, used):
    """Where the LUN reports it, after it was overwritten, and the LUN is waited for."""
    formatted.sanitize = kinds
    report, sent = erase(formatted, 'image')
    assert sent == [used] and report['assurance'] == 'device-erased' and not formatted.sanitizing
    opcodes = formatted.opcodes()
    at = opcodes.index(SANITIZE)
    assert WRITE10 in opcodes[:at] and WRITE10 not in opcodes[at:] and opcodes[at:].count(TEST_UNIT_READY) == 4
    if used == OVERWRITE:
        assert formatted.commands[at].data == bytes([1, 0, 0, 4, 0, 0, 0, 0])


def test_header_on_a_read_only_lun(formatted, tmp_path):
    """Everything that would change it is refused, and says why; what only reads it works."""
    formatted.read_only = True
    before = bytes(formatted.data)
    secrets = [*secret_object(tmp_path, 's0', b'pw'), *secret_object(tmp_path, 's1', b'pw2')]
    opts = ['--image-opts', f'driver=luks,key-secret=s0,file.driver=iscsi,file.transport=tcp,file.portal={formatted.portal},'
            f'file.target={NAME},file.lun=1']
    for command in (['amend', *secrets, '-o', 'state=active,new-secret=s1', *opts],
                    ['amend', *secrets, '-o', 'state=inactive,keyslot=0', '--force', *opts],
                    ['keyslot', 'add', *secrets, '--secret', 's0', '--new-secret', 's1', formatted.uri()],
                    ['keyslot', 'remove', '--slot', '0', '--force', formatted.uri()],
                    ['erase', '--force', formatted.uri()]):
        assert f"iSCSI LUN '{formatted.portal}/{NAME}/1': the LUN is read-only" in qemu_img(*command, status=1).stderr
    assert qemu_img_json('info', *secrets, *opts)['encrypted']
    assert bytes(formatted.data) == before


@pytest.mark.parametrize('scope', ['key-material', 'header', 'volume'])
def test_flush_after_each_pass(formatted, scope):
    """SYNCHRONIZE CACHE is the first command after the writes of a pass over a region."""
    formatted.write_cache = True
    report, _ = erase(formatted, scope)
    passes, writes = [], []
    for cmd in formatted.commands:
        if cmd.opcode in (WRITE10, WRITE16):
            writes.append((cmd.lba * 512, len(cmd.data)))
        elif writes:
            assert cmd.opcode == SYNCHRONIZE_CACHE
            passes.append(writes)
            writes = []
    assert not writes and report['regions']
    for region in report['regions']:
        end = region['offset'] + region['length']
        lengths = [sum(length for _, length in writes) for writes in passes
                   if all(region['offset'] <= offset < end for offset, _ in writes)]
        assert lengths == [region['length']] * region['passes']


@pytest.mark.parametrize('scope', ['key-material', 'header'])
def test_no_sanitize_for_a_part(formatted, scope):
    """It would erase the rest of the LUN."""
    formatted.sanitize = (BLOCK_ERASE,)
    report, sent = erase(formatted, scope)
    assert sent == [] and report['assurance'] == 'unknown'


def test_no_sanitize_unless_reported(formatted):
    """Nor on a thin LUN, whose pool may keep more. No other command that erases is sent ever."""
    report, sent = erase(formatted, 'image')
    assert sent == [] and report['assurance'] == 'unknown'
    formatted.sanitize, formatted.thin = (BLOCK_ERASE,), True
    report, sent = erase(formatted, 'volume')
    assert sent == [] and report['assurance'] == 'may-survive'
    assert not {UNMAP, WRITE_SAME16, 0x04} & set(formatted.opcodes())


def test_failed_sanitize(formatted):
    """The report does not claim it, and the LUN is told to leave the state that this has put it into."""
    formatted.sanitize = (BLOCK_ERASE,)
    formatted.on_command = lambda conn, cmd: cmd.opcode == TEST_UNIT_READY and SANITIZE in formatted.opcodes() and \
        conn.check(cmd, 3, 0x3103)
    report, sent = erase(formatted, 'image')
    assert sent == [BLOCK_ERASE, 0x1f] and report['assurance'] == 'unknown'


def test_no_sanitize_for_a_window(formatted, tmp_path):
    """Of a LUN that has more in it."""
    formatted.sanitize = (BLOCK_ERASE,)
    formatted.commands.clear()
    with StorageDaemon(tmp_path) as daemon:
        daemon.qmp.cmd('blockdev-add', driver='raw', node_name='r0', size=4 << 20, file=formatted.options())
        daemon.qmp.run_job('blockdev-secure-erase', 'j', node_name='r0', scope='volume')
    assert SANITIZE not in formatted.opcodes()
