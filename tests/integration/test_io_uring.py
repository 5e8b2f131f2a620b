"""Where requests go: to the io_uring of a loop or, if forbidden, as in many containers, to worker threads.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import ctypes
import errno
import os
import struct

import nbd
import pytest

from programs import qemu_img, qemu_io
from qmp import StorageDaemon

MIB = 1 << 20
PR_SET_SECCOMP = 22
PR_SET_NO_NEW_PRIVS = 38
SECCOMP_MODE_FILTER = 2
SYS_IO_URING_SETUP = 425
LIBC = ctypes.CDLL(None, use_errno=True)


class SockFprog(ctypes.Structure):
    """A program for the kernel's packet filter."""
    _fields_ = [('len', ctypes.c_ushort), ('filter', ctypes.c_char_p)]


def forbid_io_uring():
    """Make io_uring_setup() fail with EPERM in this process, as the seccomp profiles of containers do."""
    instructions = [
        (0x20, 0, 0, 0),                            # load the number of the system call
        (0x15, 0, 1, SYS_IO_URING_SETUP),
        (0x06, 0, 0, 0x00050000 | errno.EPERM),
        (0x06, 0, 0, 0x7fff0000),
    ]
    code = b''.join(struct.pack('=HBBI', *i) for i in instructions)
    program = SockFprog(len(instructions), code)
    if LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or LIBC.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER,
                                                                ctypes.byref(program), 0, 0):
        os._exit(77)


def rings(daemon):
    """How many rings a process has open."""
    directory = f'/proc/{daemon.process.pid}/fd'
    return sum('io_uring' in os.readlink(f'{directory}/{fd}') for fd in os.listdir(directory))


@pytest.fixture(name='image')
def fixture_image(tmp_path):
    path = tmp_path / 'a.raw'
    path.write_bytes(os.urandom(MIB))
    return path


def test_forbidden_programs(tmp_path, image):
    qemu_img('convert', '-O', 'raw', image, tmp_path / 'b.raw', preexec_fn=forbid_io_uring)
    assert (tmp_path / 'b.raw').read_bytes() == image.read_bytes()
    done = qemu_io('--image-opts', f'driver=file,filename={image},aio=io_uring', '-c', 'read 0 512', status=1,
                   preexec_fn=forbid_io_uring)
    assert 'aio=io_uring is not available' in done.stderr
    assert 'aio=threads' in done.stderr


@pytest.mark.threads
@pytest.mark.parametrize('forbidden', [False, True])
def test_daemon(tmp_path, image, forbidden):
    """Requests of several clients, in an I/O thread and in the main loop."""
    socket = tmp_path / 'nbd.sock'
    data = image.read_bytes()
    with StorageDaemon(tmp_path, '--object', 'iothread,id=io0',
                       '--blockdev', f'driver=file,node-name=f,filename={image}',
                       '--nbd-server', f'addr.type=unix,addr.path={socket}',
                       '--export', 'type=nbd,id=e0,node-name=f,name=e0,writable=on,iothread=io0',
                       '--export', 'type=nbd,id=e1,node-name=f,name=e1,writable=on',
                       preexec_fn=forbid_io_uring if forbidden else None) as daemon:
        clients = []
        for name in ('e0', 'e1', 'e0', 'e1'):
            client = nbd.NBD()
            client.set_export_name(name)
            client.connect_unix(str(socket))
            clients.append(client)
        for number in range(32):
            client = clients[number % 4]
            offset = number * 4096
            client.pwrite(data[offset:offset + 4096][::-1], offset)
            assert client.pread(4096, offset) == data[offset:offset + 4096][::-1]
        for client in clients:
            client.shutdown()
        if forbidden:
            assert rings(daemon) == 0
        assert daemon.qmp.cmd('query-block-exports')
    after = image.read_bytes()
    assert after[128 * 1024:] == data[128 * 1024:]
    assert after[:4096] == data[:4096][::-1]
