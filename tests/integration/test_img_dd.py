"""qemu-img dd, with the command lines of libguestfs and Proxmox.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import os
import subprocess

import pytest

from images import FAST, MIB, luks_opts, same_space, secret, whole_sectors, write_pieces
from programs import QEMU_IMG, qemu_img


@pytest.fixture(name='image')
def fixture_image(tmp_path):
    return write_pieces(tmp_path / 'a.raw', 3 * MIB + 1000, (0, MIB), (3 * MIB, 1000))


@pytest.mark.parametrize('operands, start, end', [
    ([], 0, None),
    (['bs=1M'], 0, None),
    (['bs=64k', 'count=3'], 0, 3 * 65536),
    (['bs=64k', 'skip=2'], 2 * 65536, None),
    (['bs=64k', 'skip=2', 'count=3'], 2 * 65536, 5 * 65536),
    (['skip=1', 'count=1'], 512, 1024),
    (['bs=700', 'skip=3', 'count=5'], 2100, 5600),
    (['bs=1M', 'skip=3'], 3 * MIB, None),
    (['bs=1M', 'skip=3', 'count=9'], 3 * MIB, None),
    (['bs=1M', 'count=0'], 0, 0),
    (['count=7E', 'bs=2147483647'], 0, None),
])
def test_part(tmp_path, image, operands, start, end):
    qemu_img('dd', '-f', 'raw', '-O', 'raw', f'if={image}', f'of={tmp_path / "out"}', *operands)
    assert (tmp_path / 'out').read_bytes() == whole_sectors(whole_sectors(image.read_bytes())[start:end])


def test_beyond_the_end(tmp_path, image):
    done = qemu_img('dd', f'if={image}', f'of={tmp_path / "out"}', 'bs=1M', 'skip=7E')
    assert 'cannot skip' in done.stderr
    assert (tmp_path / 'out').read_bytes() == b''


def test_holes(tmp_path, image):
    qemu_img('dd', f'if={image}', f'of={tmp_path / "out"}')
    assert same_space(tmp_path / 'out', image)


def test_as_libguestfs(tmp_path, image):
    qemu_img('dd', f'if={image}', f'of={tmp_path / "out"}', 'bs=256k', 'count=1')
    assert (tmp_path / 'out').read_bytes() == image.read_bytes()[:256 << 10]


def test_as_proxmox(image):
    done = qemu_img('dd', 'bs=64k', f'if={image}', '-f', 'raw', '-O', 'raw', text=False)
    assert done.stdout == whole_sectors(image.read_bytes())


def test_through_a_slow_pipe(image):
    """The pipe may be non-blocking."""
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    with subprocess.Popen(['sh', '-c', 'sleep 0.3; cat'], stdin=read_end, stdout=subprocess.PIPE) as cat:
        os.close(read_end)
        with subprocess.Popen([QEMU_IMG, 'dd', '-f', 'raw', f'if={image}'], stdout=write_end) as process:
            os.close(write_end)
            assert cat.stdout.read() == whole_sectors(image.read_bytes())
    assert process.returncode == 0


def test_encrypted(tmp_path, image):
    luks = tmp_path / 'a.luks'
    qemu_img('convert', '-O', 'luks', *secret(tmp_path), '-o', f'key-secret=sec0,{FAST}', image, luks)
    qemu_img('dd', '--image-opts', *secret(tmp_path), f'if={luks_opts(luks)}', f'of={tmp_path / "out"}', 'bs=1000', 'skip=1')
    assert (tmp_path / 'out').read_bytes() == whole_sectors(whole_sectors(image.read_bytes())[1000:])


@pytest.mark.parametrize('argv, named', [
    (['of=out'], 'if='),
    (['if=a.raw', 'of=out', 'bs=0'], 'Invalid bs'),
    (['if=a.raw', 'of=out', 'bs=3G'], 'Invalid bs'),
    (['if=a.raw', 'of=out', 'count=-1'], 'count'),
    (['if=a.raw', 'of=out', 'skip=x'], 'skip'),
    (['if=a.raw', 'of=out', 'conv=sparse'], 'unrecognized operand conv'),
    (['if=a.raw', 'out'], 'unrecognized operand out'),
    (['if=missing', 'of=out'], "'missing'"),
    (['-O', 'qcow9', 'if=a.raw', 'of=out'], 'qcow9'),
    (['-O', 'luks', 'if=a.raw', 'of=out'], 'key-secret'),
    (['if=a.raw', 'of=a.raw'], 'lock'),
])
def test_refused(image, argv, named):
    before = image.read_bytes()
    assert named in qemu_img('dd', *argv, cwd=image.parent, status=1).stderr.splitlines()[0]
    assert not (image.parent / 'out').exists()
    assert image.read_bytes() == before
