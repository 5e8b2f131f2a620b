"""A scripted iSCSI target for the iscsi driver, which can do what tgtd cannot, and break every rule.

    with ScriptedTarget() as target:
        target.on_command = lambda conn, cmd: cmd.opcode == READ10 and conn.check(cmd, 3, 0x1100)     # medium error
        qemu_io('-f', 'raw', '-c', 'read 0 4k', target.uri(), status=1)

on_command is asked before each command is carried out: where it returns something true, it has answered, or will not.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import socket
import struct
import threading

NAME = 'iqn.2024-01.test:scripted'
(TEST_UNIT_READY, INQUIRY, MODE_SENSE, READ_CAPACITY10, READ10, WRITE10, SYNCHRONIZE_CACHE, UNMAP, SANITIZE, READ16, WRITE16,
 WRITE_SAME16, SERVICE_ACTION_IN, REPORT_LUNS, MAINTENANCE_IN) = (
     0x00, 0x12, 0x1a, 0x25, 0x28, 0x2a, 0x35, 0x42, 0x48, 0x88, 0x8a, 0x93, 0x9e, 0xa0, 0xa3)
GOOD, CHECK_CONDITION, BUSY = 0, 2, 8
ILLEGAL_REQUEST, UNIT_ATTENTION, DATA_PROTECT = 5, 6, 7
ILLEGAL_OPCODE = 0x2000
# Opcodes of iSCSI
LOGIN_RESPONSE, SCSI_RESPONSE, TASK_RESPONSE, DATA_IN, LOGOUT_RESPONSE, R2T, NOP_IN, TEXT_RESPONSE = (
    0x23, 0x21, 0x22, 0x25, 0x26, 0x31, 0x20, 0x24)
UNDERFLOW = 2
PIECE = 128 << 10


class Hangup(Exception):
    """What a hook raises to end the connection."""


class Command:
    """A SCSI command, and all the data that came with it."""

    def __init__(self, header):
        self.tag = header[16:20]
        self.cdb = header[32:48]
        self.opcode = self.cdb[0]
        self.lun = struct.unpack('>H', header[8:10])[0]
        self.expected = struct.unpack('>I', header[20:24])[0]
        self.writes = bool(header[1] & 0x20)
        self.data = b''
        if self.opcode in (READ10, WRITE10):
            self.lba, self.blocks = struct.unpack('>xxIxHx', self.cdb[:10])
        else:
            self.lba, self.blocks = struct.unpack('>xxQIxx', self.cdb)
        self.service_action = self.cdb[1] & 0x1f


class Connection:
    """One of a client."""

    def __init__(self, target, sock, number):
        self.target, self.sock, self.number = target, sock, number
        self.stat_sn = self.command_sn = 1

    def receive(self, count):
        data = b''
        while len(data) < count:
            piece = self.sock.recv(count - len(data))
            if not piece:
                raise Hangup
            data += piece
        return data

    def receive_pdu(self):
        header = self.receive(48)
        count = int.from_bytes(header[5:8], 'big')
        return header, self.receive(-(-count // 4) * 4)[:count]

    def send(self, opcode, flags, tag, data=b'', fields=b'', status=0):
        """A message; FIELDS are its bytes from 36 on."""
        header = bytes([opcode, flags, 0, status]) + bytes([0]) + len(data).to_bytes(3, 'big') + bytes(8) + tag + \
            b'\xff' * 4 + struct.pack('>III', self.stat_sn, self.command_sn, self.command_sn + 64)
        self.stat_sn += 1
        self.sock.sendall((header + fields).ljust(48, b'\0') + data + bytes(-len(data) % 4))

    def send_data(self, cmd, data, offset=0):
        """Part of a read."""
        self.stat_sn -= 1
        self.send(DATA_IN, 0, cmd.tag, data, struct.pack('>III', 0, offset, 0))

    def answer(self, cmd, data=b'', status=GOOD, offset=0, residual=None):
        """With the DATA of a read, or none."""
        short = cmd.expected - len(data) if residual is None and not cmd.writes else residual or 0
        flags = 0x80 | (UNDERFLOW if short else 0)
        while len(data) > PIECE:
            self.send_data(cmd, data[:PIECE], offset)
            data, offset = data[PIECE:], offset + PIECE
        if data:
            self.send(DATA_IN, flags | 1, cmd.tag, data, struct.pack('>III', 0, offset, short), status)
        else:
            self.send(SCSI_RESPONSE, flags, cmd.tag, b'', struct.pack('>III', 0, 0, short), status)

    def check(self, cmd, key, code, sense=None):
        """CHECK CONDITION with this sense."""
        sense = bytes([0x70, 0, key, 0, 0, 0, 0, 10, 0, 0, 0, 0, code >> 8, code & 0xff, 0, 0, 0, 0]) if sense is None \
            else sense
        self.send(SCSI_RESPONSE, 0x80, cmd.tag, struct.pack('>H', len(sense)) + sense, b'', CHECK_CONDITION)
        return True

    def request_data(self, cmd, offset, count):
        """An R2T."""
        self.stat_sn -= 1
        self.send(R2T, 0x80, cmd.tag, b'', struct.pack('>III', 0, offset, count))

    def receive_data(self, cmd):
        """What has not come with the command."""
        if len(cmd.data) < cmd.expected:
            self.request_data(cmd, len(cmd.data), cmd.expected - len(cmd.data))
        while len(cmd.data) < cmd.expected:
            cmd.data += self.receive_pdu()[1]


class ScriptedTarget:
    """Disk of SIZE bytes in memory; attributes can be changed at any time."""

    def __init__(self, size=1 << 20, block_size=512, host='127.0.0.1'):
        self.block_size = block_size
        self.data = bytearray(size)
        self.on_command = self.on_login = lambda *_: False
        self.login_keys = {}
        self.thin = self.read_only = self.fua = self.write_cache = False
        self.identity = b'scripted'
        self.limits = {}            # of the page of block limits: offset in it, and 32-bit number
        self.sanitize = ()          # service actions that are reported and carried out
        self.same = True            # whether it knows WRITE SAME(16)
        self.targets = f'TargetName={NAME}\0'   # the answer to a discovery
        self.sanitizing = 0         # for how many more commands
        self.commands = []
        self.connections = 0
        self.isids = []
        self.login_texts = []       # "KEY=VALUE" of each message of a login
        self._open = []
        self._listener = socket.create_server((host, 0), family=socket.AF_INET6 if ':' in host else socket.AF_INET)
        self.portal = f'[{host}]:' if ':' in host else f'{host}:'
        self.portal += str(self._listener.getsockname()[1])

    def uri(self):
        return f'iscsi://{self.portal}/{NAME}/1'

    def options(self, **more):
        return {'driver': 'iscsi', 'transport': 'tcp', 'portal': self.portal, 'target': NAME, 'lun': 1, **more}

    def opcodes(self):
        return [cmd.opcode for cmd in self.commands]

    def hang_up(self):
        """Close all connections."""
        for sock in self._open:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()

    def _accept(self):
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open.append(sock)
            self.connections += 1
            threading.Thread(target=self._serve, args=(Connection(self, sock, self.connections),), daemon=True).start()

    def _serve(self, conn):
        try:
            while True:
                self._message(conn, *conn.receive_pdu())
        except (Hangup, OSError):
            pass
        finally:
            conn.sock.close()

    def _message(self, conn, header, data):
        opcode, tag = header[0] & 0x3f, header[16:20]
        if opcode == 0x03:
            conn.command_sn = struct.unpack('>I', header[24:28])[0]
            self.isids.append(header[8:14])
            self.login_texts.append(data.decode().rstrip('\0').split('\0'))
            if not self.on_login(conn, header):
                self.log_in(conn, header)
        elif opcode == 0x01:
            conn.command_sn += 1
            cmd = Command(header)
            cmd.data = data
            self.commands.append(cmd)
            if not self.on_command(conn, cmd):
                if cmd.writes:
                    conn.receive_data(cmd)
                self.carry_out(conn, cmd)
        elif opcode == 0x04:
            conn.send(TEXT_RESPONSE, 0x80, tag, self.targets.encode())
        elif opcode == 0x06:
            conn.send(LOGOUT_RESPONSE, 0x80, tag)
            raise Hangup

    def log_in(self, conn, header, status=0, keys=None):
        keys = {'HeaderDigest': 'None', 'DataDigest': 'None', 'MaxRecvDataSegmentLength': 65536, 'InitialR2T': 'Yes',
                'ImmediateData': 'Yes', 'MaxBurstLength': 262144, 'FirstBurstLength': 65536,
                **(self.login_keys if keys is None else keys)}
        text = ''.join(f'{key}={value}\0' for key, value in keys.items()).encode()
        conn.send(LOGIN_RESPONSE, header[1], header[16:20], text, struct.pack('>H', status))

    def carry_out(self, conn, cmd):
        """As a target should."""
        block = self.block_size
        part = slice(cmd.lba * block, (cmd.lba + cmd.blocks) * block)
        if self.sanitizing and cmd.opcode not in (INQUIRY, REPORT_LUNS):
            self.sanitizing -= 1
            conn.check(cmd, 2, 0x041b)
        elif cmd.opcode in (TEST_UNIT_READY, SYNCHRONIZE_CACHE, UNMAP):
            conn.answer(cmd)
        elif cmd.opcode == INQUIRY:
            self._inquiry(conn, cmd)
        elif cmd.opcode == MODE_SENSE:
            page = bytes([0x08, 0x12, 4 * self.write_cache]) + bytes(17)
            flags = 0x80 * self.read_only | 0x10 * self.fua
            conn.answer(cmd, (bytes([3 + len(page), 0, flags, 0]) + page)[:cmd.expected])
        elif cmd.opcode == SERVICE_ACTION_IN and cmd.service_action == 0x10:
            last = len(self.data) // block - 1
            conn.answer(cmd, struct.pack('>QIHB', last, block, 0, 0xc0 * self.thin).ljust(32, b'\0')[:cmd.expected])
        elif cmd.opcode == SERVICE_ACTION_IN and cmd.service_action == 0x12 and self.thin:
            conn.answer(cmd, struct.pack('>IIQII', 20, 0, cmd.lba, len(self.data) // block - cmd.lba, 0))
        elif cmd.opcode in (READ10, READ16):
            conn.answer(cmd, bytes(self.data[part]))
        elif cmd.opcode in (WRITE10, WRITE16):
            self.data[part] = cmd.data
            conn.answer(cmd)
        elif cmd.opcode == WRITE_SAME16 and self.same:
            self.data[part] = cmd.data * cmd.blocks
            conn.answer(cmd)
        elif cmd.opcode == REPORT_LUNS:
            conn.answer(cmd, struct.pack('>IIQ', 8, 0, 1 << 48))
        elif cmd.opcode == MAINTENANCE_IN and self.sanitize:
            action = struct.unpack('>H', cmd.cdb[4:6])[0]
            known = cmd.cdb[3] == SANITIZE and action in self.sanitize
            conn.answer(cmd, bytes([0, 3 if known else 1, 0, 10]) + bytes(10))
        elif cmd.opcode == SANITIZE and cmd.service_action in self.sanitize:
            self.data[:] = bytes(len(self.data))
            self.sanitizing = 3
            conn.answer(cmd)
        else:
            conn.check(cmd, ILLEGAL_REQUEST, ILLEGAL_OPCODE)

    def _inquiry(self, conn, cmd):
        page = cmd.cdb[2]
        if not cmd.cdb[1] & 1:
            return conn.answer(cmd, bytes([0, 0, 6, 2, 31]) + bytes(31))
        if page == 0x83:
            body = bytes([1, 1, 0, len(self.identity)]) + self.identity
        elif page == 0xb0 and self.limits:
            body = bytearray(60)
            for offset, number in self.limits.items():
                body[offset - 4:offset] = struct.pack('>I', number)
        elif page == 0xb2:
            body = bytes([0, 0xc4 * self.thin, 0, 0])
        else:
            return conn.check(cmd, ILLEGAL_REQUEST, 0x2400)
        return conn.answer(cmd, (bytes([0, page]) + struct.pack('>H', len(body)) + body)[:cmd.expected])
