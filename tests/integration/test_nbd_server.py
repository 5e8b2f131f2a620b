"""Our NBD server with other projects' clients.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import json
import os

import pytest

from nbd_server import DEBIAN_QEMU_NBD, NbdServer, qemu_nbd
from programs import DEBIAN_QEMU_IO, debian_qemu_img, qemu_img, run, secret_object

MIB = 1 << 20
SIZE = 16 * MIB


@pytest.fixture(name='data')
def fixture_data(tmp_path):
    """A file of random bytes, with zeroes in it."""
    path = tmp_path / 'data'
    path.write_bytes(os.urandom(SIZE // 4) + bytes(SIZE // 4) + os.urandom(SIZE // 2))
    return path


@pytest.fixture(name='raw')
def fixture_raw(tmp_path):
    """The arguments that serve an empty raw image."""
    path = tmp_path / 'disk.raw'
    with path.open('wb') as file:
        file.truncate(SIZE)
    return ['-f', 'raw', path]


@pytest.fixture(name='luks')
def fixture_luks(tmp_path):
    """The arguments that serve a LUKS volume."""
    path = tmp_path / 'disk.luks'
    secret = secret_object(tmp_path, 'sec0', b'swordfish')
    qemu_img('create', '-q', '-f', 'luks', *secret, '-o', 'key-secret=sec0,iter-time=10', path, SIZE)
    return [*secret, '--image-opts', f'driver=luks,key-secret=sec0,file.filename={path}']


@pytest.fixture(name='image', params=['raw', 'luks'])
def fixture_image(request):
    """Both, one after the other."""
    return request.getfixturevalue(request.param)


def debian_qemu_io(uri, *commands, **kwargs):
    """QEMU's qemu-io, which reports errors only in its output."""
    done = run(DEBIAN_QEMU_IO, '-f', 'raw', *[arg for c in commands for arg in ('-c', c)], uri, status=None, **kwargs)
    return done.stdout + done.stderr


def nbdinfo(uri):
    """What nbdinfo says about an export."""
    return json.loads(run('nbdinfo', '--no-content', '--json', uri).stdout)['exports'][0]


def test_nbdinfo(tmp_path, image):
    with NbdServer(tmp_path, '-x', 'disk', '-D', 'a description', *image) as server:
        info = nbdinfo(server.uri('disk'))
        assert info['export-name'] == 'disk'
        assert info['description'] == 'a description'
        assert info['export-size'] == SIZE
        assert info['contexts'] == ['base:allocation']
        for what in ('cache', 'df', 'fast_zero', 'flush', 'fua', 'multi_conn', 'trim', 'zero'):
            assert info[f'can_{what}'], what
        assert not info['is_read_only']
        assert info['block_size_minimum'] == (512 if 'sec0' in str(image) else 1)
        assert info['block_size_preferred'] == 4096
        assert info['block_size_maximum'] == 32 * MIB
        listed = json.loads(run('nbdinfo', '--json', '--list', server.uri()).stdout)
        assert [e['export-name'] for e in listed['exports']] == ['disk']
        run('nbdinfo', server.uri('other'), status=1)


def test_nbdcopy(tmp_path, image, data):
    with NbdServer(tmp_path, *image) as server:
        run('nbdcopy', data, server.uri())
        run('nbdcopy', server.uri(), tmp_path / 'out')
        assert (tmp_path / 'out').read_bytes() == data.read_bytes()


def test_debian_qemu_img(tmp_path, image, data):
    with NbdServer(tmp_path, *image) as server:
        debian_qemu_img('convert', '-n', '-f', 'raw', '-O', 'raw', data, server.uri())
        debian_qemu_img('compare', '-f', 'raw', '-F', 'raw', data, server.uri())
        debian_qemu_img('convert', '-f', 'raw', '-O', 'raw', server.uri(), tmp_path / 'out')
        assert (tmp_path / 'out').read_bytes() == data.read_bytes()


def test_holes(tmp_path, raw, data):
    """Zeroes written with WRITE_ZEROES are holes in the file, and are reported as such."""
    with NbdServer(tmp_path, '--discard=unmap', *raw) as server:
        debian_qemu_img('convert', '-n', '-f', 'raw', '-O', 'raw', data, server.uri())
        status = json.loads(run('nbdinfo', '--json', '--map', server.uri()).stdout)
        assert [(e['offset'], e['length'], e['type']) for e in status] == [
            (0, SIZE // 4, 0), (SIZE // 4, SIZE // 4, 3), (SIZE // 2, SIZE // 2, 0)]
        before = os.stat(raw[-1]).st_blocks
        out = debian_qemu_io(server.uri(), 'discard 8M 4M', 'read -P 0 8M 4M')
        assert 'failed' not in out.lower()
        assert os.stat(raw[-1]).st_blocks <= before - 4 * MIB // 512
    with NbdServer(tmp_path, *raw) as server:
        before = os.stat(raw[-1]).st_blocks
        debian_qemu_io(server.uri(), 'discard 12M 4M')
        assert os.stat(raw[-1]).st_blocks == before


def test_debian_qemu_io(tmp_path, image):
    with NbdServer(tmp_path, *image) as server:
        out = debian_qemu_io(server.uri(), 'write -P 0x11 0 1M', 'write -f -P 0x22 1M 64k', 'write -z 512k 256k',
                             'write -z -u 768k 64k', 'write -P 0x33 513 1000', 'flush', 'read -P 0x11 2k 510k',
                             'read -P 0 512k 320k', 'read -P 0x11 832k 192k', 'read -P 0x22 1M 64k',
                             'read -P 0x33 513 1000', 'aio_write -P 0x44 2M 2M', 'aio_read -P 0x22 1M 64k',
                             'aio_flush', 'read -P 0x44 2M 2M')
        assert 'failed' not in out.lower() and out.count('bytes at offset') == 13, out
        out = debian_qemu_io(server.uri(), f'read {SIZE} 512')
        assert 'past end' in out.lower() or 'error' in out.lower() or 'failed' in out.lower()


@pytest.mark.parametrize('jobs', [1, 4])
def test_fio(tmp_path, image, jobs):
    """Random writes of many sizes by several connections, each verified."""
    with NbdServer(tmp_path, *image) as server:
        run('fio', '--name=t', '--ioengine=nbd', f'--uri={server.uri()}', '--rw=randrw', '--bsrange=512-256k',
            '--bs_unaligned=0', '--iodepth=32', f'--numjobs={jobs}', f'--size={SIZE // jobs}',
            f'--offset_increment={SIZE // jobs}', '--verify=crc32c', '--do_verify=1', '--verify_fatal=1',
            '--randrepeat=0', cwd=tmp_path)


def test_nbdkit_as_proxy(tmp_path, luks, data):
    """nbdkit is our client, and nbdcopy is nbdkit's: the data stays the same."""
    with NbdServer(tmp_path, *luks) as server:
        run('nbdkit', '-U', '-', 'nbd', f'socket={server.socket}', '--run',
            f'nbdcopy {data} "$uri" && nbdcopy "$uri" {tmp_path}/out')
        assert (tmp_path / 'out').read_bytes() == data.read_bytes()


def test_read_only(tmp_path, image, data):
    with NbdServer(tmp_path, *image) as server:
        run('nbdcopy', data, server.uri())
    with NbdServer(tmp_path, '-r', *image) as server:
        info = nbdinfo(server.uri())
        assert info['is_read_only'] and not info['can_trim'] and not info['can_zero']
        run('nbdcopy', server.uri(), tmp_path / 'out')
        assert (tmp_path / 'out').read_bytes() == data.read_bytes()
        run('nbdcopy', data, server.uri(), status=1)


def test_read_only_file(tmp_path, raw):
    """Without write access to the file there is an error; it can be served read-only."""
    os.chmod(raw[-1], 0o444)
    if os.geteuid() != 0:
        assert 'Permission denied' in qemu_nbd('-k', tmp_path / 's', *raw, status=1).stderr
    with NbdServer(tmp_path, '-r', *raw) as server:
        assert nbdinfo(server.uri())['is_read_only']


def test_offset(tmp_path, raw, data):
    with open(raw[-1], 'r+b') as file:
        file.write(data.read_bytes())
    with NbdServer(tmp_path, '-o', 1536, *raw) as server:
        assert nbdinfo(server.uri())['export-size'] == SIZE - 1536
        out = debian_qemu_io(server.uri(), 'write -P 0x77 512 512')
        assert 'failed' not in out.lower()
        run('nbdcopy', server.uri(), tmp_path / 'out')
    expected = data.read_bytes()
    expected = expected[:2048] + b'\x77' * 512 + expected[2560:]
    assert (tmp_path / 'out').read_bytes() == expected[1536:]
    with open(raw[-1], 'rb') as file:
        assert file.read() == expected
    assert 'beyond the end' in qemu_nbd('-k', tmp_path / 's', '-o', '1T', *raw, status=1).stderr


def test_tcp(tmp_path, raw, data):
    with NbdServer(tmp_path, *raw, tcp_port=21809) as server:
        run('nbdcopy', data, server.uri())
        run('nbdcopy', server.uri(), tmp_path / 'out')
        assert (tmp_path / 'out').read_bytes() == data.read_bytes()


def test_cache_modes(tmp_path, raw, data):
    for mode in ('none', 'writethrough', 'directsync', 'unsafe', 'writeback'):
        with NbdServer(tmp_path, f'--cache={mode}', *raw) as server:
            run('nbdcopy', data, server.uri())
            run('nbdcopy', server.uri(), tmp_path / 'out')
            assert (tmp_path / 'out').read_bytes() == data.read_bytes()
    assert 'sometimes' in qemu_nbd('--cache=sometimes', '-k', tmp_path / 's', *raw, status=1).stderr


def test_allocation_depth(tmp_path, raw):
    with NbdServer(tmp_path, '-A', *raw) as server:
        assert 'qemu:allocation-depth' in nbdinfo(server.uri())['contexts']
        status = json.loads(run('nbdinfo', '--json', '--map=qemu:allocation-depth', server.uri()).stdout)
        assert [(e['offset'], e['length'], e['type']) for e in status] == [(0, SIZE, 1)]


def test_list_by_each_other(tmp_path, raw):
    with NbdServer(tmp_path, '-x', 'e', '-D', 'd', *raw) as server:
        ours = qemu_nbd('-L', '-k', server.socket).stdout
        assert ours == run(DEBIAN_QEMU_NBD, '-L', '-k', server.socket).stdout
        assert " export: 'e'\n  description: d\n" in ours
    with NbdServer(tmp_path, *raw, program=DEBIAN_QEMU_NBD, quiet=False) as server:
        assert qemu_nbd('-L', '-k', server.socket).stdout == run(DEBIAN_QEMU_NBD, '-L', '-k', server.socket).stdout
    assert 'Failed to connect' in qemu_nbd('-L', '-k', tmp_path / 'nobody', status=1).stderr


def test_image_in_use(tmp_path, luks):
    """Two servers for one image: the second is refused."""
    with NbdServer(tmp_path, *luks):
        refused = qemu_nbd('-k', tmp_path / 'second.sock', *luks, status=1)
        assert 'lock' in refused.stderr
        assert not (tmp_path / 'second.sock').exists()


def test_simultaneous_clients(tmp_path, raw):
    """A hundred clients at once."""
    with NbdServer(tmp_path, *raw) as server:
        wires = [server.connect().greet().go() for _ in range(100)]
        for i, wire in enumerate(wires):
            wire.request(1, offset=i * 4096, length=4096, cookie=i, data=bytes([i]) * 4096)
        for i, wire in enumerate(wires):
            assert wire.simple_reply() == (0, i)
        for i, wire in enumerate(wires):
            wire.request(0, offset=i * 4096, length=4096, cookie=i)
            assert wire.simple_reply() == (0, i)
            assert wire.receive(4096) == bytes([i]) * 4096
            wire.sock.close()


FAILING_SYNC = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sys/uio.h>
ssize_t pwritev64v2(int fd, const struct iovec *iov, int n, long offset, int flags)
{
    ssize_t (*real)(int, const struct iovec *, int, long, int) = dlsym(RTLD_NEXT, "pwritev64v2");
    ssize_t ret = real(fd, iov, n, offset, flags);
    if (flags & RWF_DSYNC) {
        errno = EIO;
        return -1;
    }
    return ret;
}
"""


@pytest.mark.plain_build
def test_lost_data_is_not_forgotten(tmp_path, raw, monkeypatch):
    """A write with FUA consumes the kernel's only report of an earlier lost write: flushes must fail from then on."""
    (tmp_path / 'sync.c').write_text(FAILING_SYNC)
    run('cc', '-shared', '-fPIC', '-o', tmp_path / 'sync.so', tmp_path / 'sync.c', '-ldl')
    monkeypatch.setenv('LD_PRELOAD', str(tmp_path / 'sync.so'))
    with NbdServer(tmp_path, '--image-opts', f'driver=raw,file.aio=threads,file.filename={raw[-1]}') as server:
        monkeypatch.delenv('LD_PRELOAD')
        with server.connect().greet().go() as wire:
            wire.request(1, length=512, data=bytes(512))
            assert wire.simple_reply() == (0, 1)
            wire.request(1, length=512, data=bytes(512), flags=1)
            assert wire.simple_reply() == (5, 1)
            for _ in range(2):
                wire.request(3)
                assert wire.simple_reply() == (5, 1)
