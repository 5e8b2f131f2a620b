"""Images without a specified format: what is refused, and what is shown.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import nbd
import pytest

from images import MIB, secret, write_pieces
from nbd_server import NbdServer, qemu_nbd
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
    ('vpc', ['-o', 'subformat=fixed'], 'VHD image'),                # only at the end
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
    """Without a format they are refused; with -f raw their bytes are shown."""
    image = tmp_path / 'image'
    debian_qemu_img('convert', '-O', fmt, *options, plain, image)
    for done in (qemu_img('convert', '-O', 'luks', *secret(tmp_path), '-o', 'key-secret=sec0', image,
                          tmp_path / 'out', status=1),
                 qemu_img('info', image, status=1)):
        assert done.stderr.startswith(f"qemu-img: Could not open '{image}': ")
        assert f'The image format is not supported: {name}\n' in done.stderr
        assert '-f raw' in done.stderr
    assert not (tmp_path / 'out').exists()
    for command in (['keyslot', 'list', image], ['header', 'backup', image, tmp_path / 'out'], ['erase', image]):
        error = qemu_img(*command, status=1).stderr
        assert 'not in LUKS format' in error and f'The image format is not supported: {name}\n' in error
        assert 'If it is not encrypted' not in error

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
    """Raw, as in QEMU, whose clients then probe by themselves; but nobody has to guess."""
    for options in [], ['-f', 'raw'], ['-U']:
        info = qemu_img_json('info', *options, luks2)
        assert info['format'] == 'raw' and info['virtual-size'] == 20 * MIB
        assert info['signature'] == 'LUKS version 2'
    assert '\nsignature: LUKS version 2\n' in qemu_img('info', luks2).stdout


def test_what_raw_images_hold(tmp_path, plain):
    """File systems and partition tables are not image formats."""
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


# First sectors that make a volume look like another format.
HEADERS = [b'QFI\xfb\0\0\0\3', b'LUKS\xba\xbe\0\1', b'LUKS\xba\xbe\0\2', bytes(64) + b'\x7f\x10\xda\xbe', b'KDMV\1\0\0\0']


@pytest.mark.parametrize('header', HEADERS)
def test_a_guess_stays_raw(tmp_path, plain, header):
    """A guest that could write such a header would choose what the next guess opens."""
    pattern, before = tmp_path / 'pattern', plain.read_bytes()
    pattern.write_bytes(header.ljust(512, b'\0') + bytes(3584))
    for offset, length, status in [(0, 512, 1), (0, 4096, 1), (0, 100, 1), (4096, 4096, 0)]:
        done = qemu_io('-c', f'write -s {pattern} {offset} {length}', plain, status=status)
        assert ('Operation not permitted' in done.stdout) == (status == 1)
        assert 'was not named and is guessed to be raw' in done.stderr and '-f raw' in done.stderr
    assert plain.read_bytes()[:4096] == before[:4096]

    for options in ['-f', 'raw'], ['--image-opts']:
        name = f'driver=raw,file.filename={plain}' if '--image-opts' in options else plain
        done = qemu_io(*options, '-c', f'write -s {pattern} 0 100', name)
        assert done.stderr == ''
    assert plain.read_bytes()[:100] == header.ljust(100, b'\0')


def test_no_header_in_pieces(tmp_path, plain):
    """Each write is harmless, and two of them at once do not make a header either."""
    with NbdServer(tmp_path, plain, quiet=False) as server:
        handle = nbd.NBD()
        handle.set_strict_mode(0)
        handle.connect_uri(server.uri())
        handle.pwrite(bytes(512), 0)
        handle.pwrite(b'QFI', 0)
        with pytest.raises(nbd.Error, match='Operation not permitted'):
            handle.pwrite(b'\xfb', 3)
        handle.zero(3, 0)
        handle.pwrite(b'\xfb', 3)
        handle.shutdown()


@pytest.mark.parametrize('options, warned', [([], True), (['-r'], False), (['-f', 'raw'], False)])
def test_warning(tmp_path, plain, options, warned):
    with NbdServer(tmp_path, *options, plain, quiet=False) as server:
        server.process.terminate()
        assert (f"The format of '{plain}' was not named" in server.process.stderr.read()) == warned


@pytest.mark.parametrize('options, asks, in_info, in_go', [
    ([], True, 512, 512),
    ([], False, None, 1),
    (['-f', 'raw'], True, 1, 1),
    (['-f', 'raw'], False, 1, 1),
])
def test_block_sizes(tmp_path, plain, options, asks, in_info, in_go):
    """From libnbd's own tests of QEMU: a client that does not ask for block sizes need not know them."""
    with NbdServer(tmp_path, *options, plain, quiet=False) as server:
        handle = nbd.NBD()
        handle.set_opt_mode(True)
        handle.set_request_block_size(asks)
        handle.connect_uri(server.uri())
        if in_info is None:
            with pytest.raises(nbd.Error):
                handle.opt_info()
        else:
            handle.opt_info()
            assert handle.get_block_size(nbd.SIZE_MINIMUM) == in_info
        handle.opt_go()
        assert handle.get_block_size(nbd.SIZE_MINIMUM) == in_go
        handle.set_strict_mode(0)
        handle.pwrite(b'abc', 511)
        assert handle.pread(5, 510)[1:4] == b'abc'
        handle.shutdown()


def test_clients_of_a_guess(tmp_path, plain):
    """libnbd's clients, which ask for block sizes."""
    data = write_pieces(tmp_path / 'data', 3 * MIB, (0, 3 * MIB), seed=2)
    with NbdServer(tmp_path, plain, quiet=False) as server:
        assert 'block_size_minimum: 512' in run('nbdinfo', server.uri()).stdout
        run('nbdcopy', data, server.uri())
        run('nbdcopy', server.uri(), tmp_path / 'back')
    assert (tmp_path / 'back').read_bytes() == data.read_bytes()


@pytest.mark.parametrize('size', [1, 100, 511, 513, 1000, 4097])
def test_odd_length(tmp_path, size):
    disk = tmp_path / 'disk'
    disk.write_bytes(b'x' * size)
    assert qemu_io('-c', f'write -P 0x51 0 {size}', '-c', f'read -P 0x51 0 {size}', disk).returncode == 0
    qemu_img('convert', disk, tmp_path / 'copy')
    assert (tmp_path / 'copy').read_bytes()[:size] == b'Q' * size
