"""qemu-img resize, with the command lines of libvirt, Nova, CDI and Proxmox.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import os

import pytest

from programs import qemu_img, qemu_img_json, run, secret_object


@pytest.fixture(name='raw')
def fixture_raw(tmp_path):
    """A plain image of 1 MiB."""
    image = tmp_path / 'a.raw'
    image.write_bytes(b'x' * (1 << 20))
    return image


@pytest.mark.parametrize('size, bytes_after', [
    ('2M', 2 << 20), ('+512K', 1536 << 10), (str(3 << 20), 3 << 20), ('1.5M', 1536 << 10), ('1M', 1 << 20),
])
def test_grow(raw, size, bytes_after):
    assert qemu_img('resize', '-f', 'raw', raw, size).stdout == 'Image resized.\n'
    assert raw.read_bytes() == b'x' * (1 << 20) + bytes(bytes_after - (1 << 20))


@pytest.mark.parametrize('argv', [
    ['--shrink', '-f', 'raw', 'a.raw', '-512K'],
    ['-f', 'raw', 'a.raw', '-512K', '--shrink'],
    ['--shrink', 'a.raw', '--', '-512K'],
    ['--shrink', '-q', 'a.raw', '512K'],
])
def test_shrink(raw, argv):
    qemu_img('resize', *argv, cwd=raw.parent)
    assert raw.read_bytes() == b'x' * (512 << 10)


@pytest.mark.parametrize('argv, named', [
    (['512K'], '--shrink'),
    (['-512K'], '--shrink'),
    (['-1M', '--shrink'], 'positive'),
    (['0', '--shrink'], 'positive'),
    (['+8E'], 'size'),
    (['ten'], 'ten'),
    (['+'], 'size'),
    ([], 'Expecting image file name and size'),
    (['2M', '3M'], 'expects'),
    (['2M', '--preallocation=most'], 'most'),
    (['1M', '--preallocation=full'], 'Preallocation'),
])
def test_refused(raw, argv, named):
    done = qemu_img('resize', '-f', 'raw', raw, *argv, status=1)
    assert named in done.stderr.splitlines()[0]
    assert raw.read_bytes() == b'x' * (1 << 20)


def test_as_cdi(raw):
    qemu_img('resize', '-f', 'raw', raw, 2 << 20, '--preallocation=falloc')
    assert raw.stat().st_blocks * 512 >= 2 << 20


def test_as_proxmox(raw):
    qemu_img('resize', '--preallocation=off', '-f', 'raw', raw, 2 << 20)
    assert raw.stat().st_size == 2 << 20


def test_luks_as_libvirt(tmp_path):
    image, secret = tmp_path / 'vol', secret_object(tmp_path, 'V_encrypt0', b'pw')
    qemu_img('create', '-q', '-f', 'luks', *secret, '-o', 'key-secret=V_encrypt0,iter-time=10', image, '1M')
    options = f'driver=luks,key-secret=V_encrypt0,file.filename={image}'
    header = image.stat().st_size - (1 << 20)
    qemu_img('resize', *secret, '--image-opts', options, 2 << 20)
    assert image.stat().st_size == header + (2 << 20)
    qemu_img('resize', '--shrink', *secret, '--image-opts', options, 1 << 20)
    assert qemu_img_json('info', image)['virtual-size'] == 1 << 20
    done = qemu_img('resize', image, 2 << 20, status=1)     # the header alone does not show whether it may
    assert 'key-secret' in done.stderr


def test_read_only_file(raw):
    raw.chmod(0o400)
    done = qemu_img('resize', '-f', 'raw', '--image-opts', 'x', '2M', status=1)
    assert 'mutually exclusive' in done.stderr
    done = qemu_img('resize', '--image-opts', f'driver=raw,read-only=on,file.filename={raw}', '2M', status=1)
    assert 'read-only' in done.stderr


FAILING_FLUSH = """
#include <errno.h>
int fdatasync(int fd)
{
    errno = EIO;
    return -1;
}
"""


@pytest.mark.plain_build
def test_failing_flush(raw, tmp_path):
    """The user must know that the new length may not last."""
    (tmp_path / 'flush.c').write_text(FAILING_FLUSH)
    run('cc', '-shared', '-fPIC', '-o', tmp_path / 'flush.so', tmp_path / 'flush.c')
    done = qemu_img('resize', '--image-opts', f'driver=raw,file.aio=threads,file.filename={raw}', '2M', status=1,
                    env={**os.environ, 'LD_PRELOAD': tmp_path / 'flush.so'})
    assert done.stdout == '' and 'could not be flushed: Input/output error' in done.stderr
