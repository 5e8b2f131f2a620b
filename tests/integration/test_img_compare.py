"""qemu-img compare.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import os

import pytest

from images import FAST, MIB, luks_opts, secret, write_pieces
from programs import debian_qemu_img, qemu_img

IDENTICAL = 'Images are identical.\n'


@pytest.fixture(name='image')
def fixture_image(tmp_path):
    return write_pieces(tmp_path / 'a.raw', 8 * MIB, (0, 65536), (5 * MIB, MIB))


def changed(image, offset, length=None, name='changed'):
    """A copy of IMAGE in which the byte at OFFSET differs, or that has LENGTH bytes."""
    copy = image.parent / name
    copy.write_bytes(image.read_bytes())
    if length is not None:
        os.truncate(copy, length)
    if offset is not None:
        with open(copy, 'r+b') as file:
            file.seek(offset)
            byte = file.read(1) or b'\0'
            file.seek(offset)
            file.write(bytes([byte[0] ^ 1]))
    return copy


def both(*args, status):
    """What qemu-img prints, which must equal what QEMU's own prints."""
    ours = qemu_img('compare', *args, status=status).stdout
    assert ours == debian_qemu_img('compare', *args, status=status).stdout
    return ours


def test_identical(image):
    copy = changed(image, None)
    assert both(image, copy, status=0) == IDENTICAL
    assert qemu_img('compare', '-q', image, copy).stdout == ''
    assert both('-s', image, image, status=0) == IDENTICAL


@pytest.mark.parametrize('offset', [0, 700, 65536, 3 * MIB + 5, 5 * MIB + 1000, 8 * MIB - 1])
def test_one_byte_differs(image, offset):
    copy = changed(image, offset)
    expected = f'Content mismatch at offset {offset // 512 * 512}!\n'
    assert both(image, copy, status=1) == expected
    assert both(copy, image, status=1) == expected
    assert qemu_img('compare', '-q', image, copy, status=1).stdout == ''


def test_longer_by_zeroes(image):
    longer = changed(image, None, 9 * MIB)
    for pair in (image, longer), (longer, image):
        assert both(*pair, status=0) == 'Warning: Image size mismatch!\n' + IDENTICAL
        assert both('-s', *pair, status=1) == 'Strict mode: Image size mismatch!\n'


def test_longer_by_data(image):
    longer = changed(image, 8 * MIB + 700000, 9 * MIB)
    for pair in (image, longer), (longer, image):
        assert both(*pair, status=1) == 'Warning: Image size mismatch!\nContent mismatch at offset 9088512!\n'


def test_strict_about_holes(image):
    done = qemu_img('compare', '-s', image, changed(image, None), status=1)
    assert done.stdout == 'Strict mode: Offset 65536 block status mismatch!\n'


def test_progress(image):
    done = qemu_img('compare', '-p', image, image, text=False)
    assert b'(100.00/100%)\r' in done.stdout and done.stdout.endswith(IDENTICAL.encode())


def test_encrypted(tmp_path, image):
    luks = tmp_path / 'a.luks'
    qemu_img('convert', '-O', 'luks', *secret(tmp_path), '-o', f'key-secret=sec0,{FAST}', image, luks)
    for path, status in (image, 0), (changed(image, 4 * MIB), 1):
        both('--image-opts', *secret(tmp_path), f'driver=raw,file.filename={path}', luks_opts(luks), status=status)


@pytest.mark.parametrize('argv', [['missing', 'a.raw'], ['a.raw', 'missing'], ['-f', 'qcow9', 'a.raw', 'a.raw'],
                                  ['-F', 'luks', 'a.raw', 'a.raw'], ['a.raw'], ['--frobnicate', 'a.raw', 'a.raw'],
                                  ['-T', 'some', 'a.raw', 'a.raw']])
def test_errors_are_no_difference(image, argv):
    assert qemu_img('compare', *argv, cwd=image.parent, status=2).stdout == ''
