"""Images whose format nobody named: what is refused, and what is shown of it.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import pytest

from images import MIB, secret, write_pieces
from nbd_server import qemu_nbd
from programs import SYSTEM_ENV, cryptsetup, debian_qemu_img, qemu_img, qemu_img_json, qemu_io, run

# Format as QEMU's qemu-img names it, options, and what it is called here.
IMAGES = [
    ('qcow2', [], 'qcow2 image'),
    ('qcow', [], 'qcow2 image'),
    ('qed', [], 'QED image'),
    ('vmdk', [], 'VMDK image'),
    ('vmdk', ['-o', 'subformat=monolithicFlat'], 'VMDK image'),     # a text file beside the data
    ('vdi', [], 'VDI image'),
    ('vpc', [], 'VHD image'),
    ('vpc', ['-o', 'subformat=fixed'], 'VHD image'),                # at the end alone
    ('vhdx', [], 'VHDX image'),
    ('parallels', [], 'Parallels image'),
]


@pytest.fixture(name='plain')
def fixture_plain(tmp_path):
    return write_pieces(tmp_path / 'plain', 3 * MIB, (0, MIB))


@pytest.fixture(name='luks2')
def fixture_luks2(tmp_path):
    image = tmp_path / 'a.luks2'
    image.write_bytes(bytes(20 * MIB))
    cryptsetup('luksFormat', '--type', 'luks2', '--pbkdf', 'pbkdf2', '--pbkdf-force-iterations', '1000', image,
               password=b'password')
    return image


@pytest.mark.parametrize('fmt, options, name', IMAGES, ids=lambda value: ''.join(value))
def test_other_images(tmp_path, plain, fmt, options, name):
    """Without a format they are refused; with -f raw their bytes are what they are."""
    image = tmp_path / 'image'
    debian_qemu_img('convert', '-O', fmt, *options, plain, image)
    for done in (qemu_img('convert', '-O', 'luks', *secret(tmp_path), '-o', 'key-secret=sec0', image,
                          tmp_path / 'out', status=1),
                 qemu_img('info', image, status=1)):
        assert done.stderr.startswith(f"qemu-img: Could not open '{image}': ")
        assert f'The image format is not supported: {name}\n' in done.stderr
        assert '-f raw' in done.stderr
    assert not (tmp_path / 'out').exists()

    qemu_img('convert', '-f', 'raw', '-O', 'raw', image, tmp_path / 'copy')
    assert (tmp_path / 'copy').read_bytes()[:image.stat().st_size] == image.read_bytes()
    info = qemu_img_json('info', '-f', 'raw', image)
    assert (info['format'], info['signature']) == ('raw', name)


@pytest.mark.parametrize('start, name', [
    (b'Bochs Virtual HD Image' + bytes(10) + b'Redolog', 'Bochs image'),
    (b'#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n', 'cloop image'),
    (bytes(1536) + b'koly\0\0\0\4\0\0\2\0' + bytes(500), 'DMG image'),
    (b'COWD', 'VMDK image'),
    (b'LUKS\xba\xbe\0\7', 'LUKS of an unknown version'),
])
def test_rare_images(tmp_path, start, name):
    image = tmp_path / 'image'
    image.write_bytes(start.ljust(2048, b'\0'))
    assert f': {name}\n' in qemu_img('map', image, status=1).stderr


@pytest.mark.parametrize('argv', [
    ('bench', '-c', '1', 'IMAGE'),
    ('check', 'IMAGE'),
    ('compare', 'IMAGE', 'PLAIN'),
    ('compare', 'PLAIN', 'IMAGE'),
    ('convert', 'IMAGE', 'OUT'),
    ('convert', 'PLAIN', 'IMAGE', 'OUT'),
    ('dd', 'if=IMAGE', 'of=OUT'),
    ('map', 'IMAGE'),
    ('measure', '-O', 'raw', 'IMAGE'),
    ('resize', 'IMAGE', '+1M'),
    ('amend', '-o', 'state=inactive,keyslot=0', 'IMAGE'),
    ('map', '--image-opts', 'file.filename=IMAGE'),
    ('map', 'json:{"file":{"filename":"IMAGE"}}'),
])
def test_everywhere(tmp_path, plain, luks2, argv):
    before = luks2.read_bytes()
    places = {'IMAGE': str(luks2), 'PLAIN': str(plain), 'OUT': str(tmp_path / 'out')}
    words = []
    for word in argv:
        for place, path in places.items():
            word = word.replace(place, path)
        words.append(word)
    done = qemu_img(*words, status=2 if argv[0] == 'compare' else 1)
    assert 'The image format is not supported: LUKS version 2\n' in done.stderr
    assert luks2.read_bytes() == before and not (tmp_path / 'out').exists()


def test_other_programs(luks2):
    done = qemu_io('-c', 'length', luks2, status=1)
    assert 'LUKS version 2' in done.stderr and '-f raw' in done.stderr
    assert 'LUKS version 2' in qemu_io('-c', f'open {luks2}', status=1).stderr
    assert qemu_io('-c', f'open -o driver=raw {luks2}', '-c', 'length').stdout == '20 MiB\n'
    assert 'LUKS version 2' in qemu_nbd('-k', luks2.parent / 'sock', luks2, status=1).stderr


def test_info_of_luks2(luks2):
    """Raw, as in QEMU, whose clients then look by themselves; but nobody has to guess."""
    for options in [], ['-f', 'raw'], ['-U']:
        info = qemu_img_json('info', *options, luks2)
        assert info['format'] == 'raw' and info['virtual-size'] == 20 * MIB
        assert info['signature'] == 'LUKS version 2'
    assert '\nsignature: LUKS version 2\n' in qemu_img('info', luks2).stdout


def test_what_raw_images_hold(tmp_path, plain):
    """File systems and partition tables are no formats of images."""
    assert 'signature' not in qemu_img_json('info', plain)
    for command in ['mke2fs', '-q', '-F'], ['sh', '-c', 'echo label: gpt | sfdisk -q "$0"']:
        disk = tmp_path / 'disk'
        disk.write_bytes(bytes(4 * MIB))
        run(*command, disk, env=SYSTEM_ENV)
        info = qemu_img_json('info', disk)
        assert info['format'] == 'raw' and 'signature' not in info
    for size in 0, 1, 100, 511, 513, 700:
        disk.write_bytes(b'x' * size)
        assert qemu_img_json('info', disk)['format'] == 'raw'
