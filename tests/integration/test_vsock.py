"""Addresses of type vsock, for the NBD server and the nbd driver.

Few machines have vsock_loopback, so a library maps the address family to unix sockets, where needed.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import json
import os
import socket

import pytest

from programs import QEMU_IO, debian_qemu_img, qemu_img, qemu_io, run
from qmp import QSD, StorageDaemon

PORT = 21950
ANY = socket.VMADDR_CID_ANY
MIB = 1 << 20

# What programs call, with a unix socket for each port.
UNIX_VSOCK = r'''
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <linux/vm_sockets.h>

static socklen_t as_unix(const struct sockaddr *addr, struct sockaddr_un *un)
{
    const struct sockaddr_vm *vm = (const void *)addr;

    memset(un, 0, sizeof(*un));
    un->sun_family = AF_UNIX;
    snprintf(un->sun_path, sizeof(un->sun_path), "%s/%u", getenv("VSOCK_DIR"), vm->svm_port);
    return sizeof(*un);
}

int socket(int family, int type, int protocol)
{
    int (*next)(int, int, int) = dlsym(RTLD_NEXT, "socket");

    return next(family == AF_VSOCK ? AF_UNIX : family, type, protocol);
}

int bind(int fd, const struct sockaddr *addr, socklen_t len)
{
    int (*next)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "bind");
    struct sockaddr_un un;

    if (addr->sa_family == AF_VSOCK) {
        len = as_unix(addr, &un);
        addr = (struct sockaddr *)&un;
    }
    return next(fd, addr, len);
}

int connect(int fd, const struct sockaddr *addr, socklen_t len)
{
    int (*next)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "connect");
    struct sockaddr_un un;

    if (addr->sa_family == AF_VSOCK) {
        len = as_unix(addr, &un);
        addr = (struct sockaddr *)&un;
    }
    return next(fd, addr, len);
}
'''


def can_listen():
    try:
        with socket.socket(socket.AF_VSOCK) as sock:
            sock.bind((ANY, socket.VMADDR_PORT_ANY))
            return True
    except OSError:
        return False


def has_loopback():
    try:
        with socket.socket(socket.AF_VSOCK) as server, socket.socket(socket.AF_VSOCK) as client:
            server.bind((ANY, socket.VMADDR_PORT_ANY))
            server.listen()
            client.settimeout(2)
            client.connect((1, server.getsockname()[1]))
            return True
    except OSError:
        return False


@pytest.fixture(name='by_unix')
def fixture_by_unix(tmp_path, monkeypatch):
    (tmp_path / 'vsock.c').write_text(UNIX_VSOCK)
    run('cc', '-shared', '-fPIC', '-o', tmp_path / 'vsock.so', tmp_path / 'vsock.c', '-ldl')
    monkeypatch.setenv('LD_PRELOAD', str(tmp_path / 'vsock.so'))
    monkeypatch.setenv('VSOCK_DIR', str(tmp_path))


def server_options(cid=ANY, port=PORT):
    return ['--nbd-server', f'addr.type=vsock,addr.cid={cid},addr.port={port}']


def client_options(cid=1, port=PORT):
    return f'driver=nbd,export=n,server.type=vsock,server.cid={cid},server.port={port}'


def use(tmp_path):
    """Write and read through a server and our client, and through QEMU's."""
    with StorageDaemon(tmp_path, *server_options()) as daemon:
        daemon.qmp.cmd('blockdev-add', driver='null-co', node_name='n', size=MIB, read_zeroes=True)
        daemon.qmp.cmd('block-export-add', type='nbd', id='e', node_name='n', name='n', writable=True)
        qemu_io('-c', 'write 0 64k', '-c', 'read -P 0 64k 64k', '--image-opts', client_options())
        info = qemu_img('info', '--output=json', '--image-opts', client_options()).stdout
        again = json.loads(info)['filename']
        assert json.loads(again.removeprefix('json:'))['server'] == {'type': 'vsock', 'cid': '1', 'port': str(PORT)}
        assert json.loads(qemu_img('info', '--output=json', again).stdout)['virtual-size'] == MIB
        assert json.loads(debian_qemu_img('info', '--output=json', again).stdout)['virtual-size'] == MIB


@pytest.mark.plain_build
def test_server_and_client(tmp_path, by_unix):
    use(tmp_path)


@pytest.mark.skipif(not has_loopback(), reason='needs vsock_loopback')
def test_loopback(tmp_path):
    use(tmp_path)


@pytest.mark.skipif(not can_listen(), reason='the kernel has no vsock')
def test_listening(tmp_path):
    with StorageDaemon(tmp_path, *server_options()):
        with socket.socket(socket.AF_VSOCK) as sock, pytest.raises(OSError):
            sock.bind((ANY, PORT))
        second = run(QSD, *server_options(), status=1)
        assert f"Failed to listen on 'vsock:{ANY}:{PORT}': Address already in use" in second.stderr
    with socket.socket(socket.AF_VSOCK) as sock:
        sock.bind((ANY, PORT))


@pytest.mark.parametrize('cid, port, message', [
    ('x', '5', "vsock CID 'x' is not a number"), ('', '5', "vsock CID '' is not a number"),
    ('4294967296', '5', "vsock CID '4294967296'"), ('-1', '5', "vsock CID '-1'"), ('0x3', '5', "vsock CID '0x3'"),
    ('3', 'http', "vsock port 'http' is not a number"), ('3', '4294967296', "vsock port '4294967296'"),
])
def test_bad_addresses(cid, port, message):
    assert message in run(QSD, *server_options(cid, port), status=1).stderr
    assert message in qemu_img('info', '--image-opts', client_options(cid, port), status=1).stderr


def test_cid_that_is_not_there():
    """A machine without any vsock says which modules it lacks."""
    error = qemu_img('info', '--image-opts', client_options(cid=77777), status=1, timeout=60).stderr
    assert "NBD server 'vsock:77777:21950': " in error
    if not os.path.exists('/dev/vsock'):
        assert 'vhost_vsock' in error


@pytest.mark.plain_build
def test_kernel_without_it(tmp_path, monkeypatch):
    (tmp_path / 'none.c').write_text('#include <errno.h>\n'
                                     'int socket(int family, int type, int protocol) { errno = EAFNOSUPPORT; return -1; }\n')
    run('cc', '-shared', '-fPIC', '-o', tmp_path / 'none.so', tmp_path / 'none.c')
    monkeypatch.setenv('LD_PRELOAD', str(tmp_path / 'none.so'))
    for done in (run(QSD, *server_options(), status=1), run(QEMU_IO, '--image-opts', client_options(), status=1)):
        assert 'Address family not supported' in done.stderr and 'vsock_loopback' in done.stderr
