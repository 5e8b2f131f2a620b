"""Raw files whose last sector is incomplete: every program sees whole sectors, as QEMU's do.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import json

import pytest

from images import FAST, MIB, luks_opts, secret, whole_sectors, write_pieces
from nbd_server import NbdServer
from programs import DEBIAN_QEMU_IMG, QEMU_IMG, cryptsetup, debian_qemu_img, qemu_img, qemu_img_json, qemu_io, run

SIZES = [1, 511, 513, 1000, MIB + 100]


def odd_file(path, size):
    return write_pieces(path, size, (0, size))


def padded(path):
    """The contents of a file as programs read it."""
    return whole_sectors(path.read_bytes())


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('argv', [
    ['map', '--output=json'], ['map'], ['measure', '-O', 'raw'], ['measure', '--output=json', '-O', 'raw'],
])
@pytest.mark.parametrize('options', [[], ['-f', 'raw']])
def test_as_debian(tmp_path, size, argv, options):
    odd = odd_file(tmp_path / 'odd', size)

    def result(program):
        text = run(program, *argv, *options, odd).stdout
        try:
            return json.loads(text)
        except ValueError:
            return text
    ours, theirs = result(QEMU_IMG), result(DEBIAN_QEMU_IMG)
    if argv == ['map', '--output=json']:
        # Newer versions report more.
        ours = [{key: piece[key] for key in theirs[0]} for piece in ours]
    assert ours == theirs


@pytest.mark.parametrize('size', SIZES)
def test_info(tmp_path, size):
    odd = odd_file(tmp_path / 'odd', size)
    assert qemu_img_json('info', '-f', 'raw', odd)['virtual-size'] == len(padded(odd))
    assert odd.stat().st_size == size


@pytest.mark.parametrize('argv', [
    ['convert', '-f', 'raw', '-O', 'raw', 'odd', 'copy'],
    ['dd', '-f', 'raw', '-O', 'raw', 'if=odd', 'of=copy'],
])
@pytest.mark.parametrize('size', SIZES)
def test_copies(tmp_path, size, argv):
    odd = odd_file(tmp_path / 'odd', size)
    qemu_img(*argv, cwd=tmp_path)
    assert (tmp_path / 'copy').read_bytes() == padded(odd)
    for program in qemu_img, debian_qemu_img:
        assert program('compare', '-f', 'raw', '-F', 'raw', odd, tmp_path / 'copy').stdout == 'Images are identical.\n'
        assert 'status mismatch' in program('compare', '-s', '-f', 'raw', '-F', 'raw', odd, tmp_path / 'copy', status=1).stdout


def test_copy_to_a_pipe(tmp_path):
    odd = odd_file(tmp_path / 'odd', 1000)
    for options in [], ['-f', 'raw']:
        assert qemu_img('dd', *options, f'if={odd}', text=False).stdout == padded(odd)
    assert qemu_img('convert', odd, '/dev/stdout', text=False).stdout == padded(odd)


def test_a_part_becomes_whole_sectors(tmp_path):
    odd = odd_file(tmp_path / 'odd', 1000)
    qemu_img('dd', 'bs=1', 'count=5', f'if={odd}', f'of={tmp_path / "part"}')
    assert (tmp_path / 'part').read_bytes() == odd.read_bytes()[:5] + bytes(507)


@pytest.mark.parametrize('cache', ['writeback', 'none'])
def test_grows_where_written(tmp_path, cache):
    odd = odd_file(tmp_path / 'odd', 5000)
    before = odd.read_bytes()
    qemu_io('-f', 'raw', '-t', cache, '-c', 'read -P 0 5000 120', '-c', 'write -P 0x77 5010 10', odd)
    assert padded(odd) == before + bytes(10) + b'\x77' * 10 + bytes(100)
    assert odd.stat().st_size == (5020 if cache == 'writeback' else 5120)
    assert 'Input/output error' in qemu_io('-f', 'raw', '-c', 'write 5119 2', odd, status=1).stdout


def test_resize_takes_the_size_literally(tmp_path):
    odd = odd_file(tmp_path / 'odd', 1000)
    qemu_img('resize', '-f', 'raw', odd, '+100')
    assert odd.stat().st_size == 1124
    qemu_img('resize', '-f', 'raw', '--shrink', odd, '999')
    assert odd.stat().st_size == 999


def test_export(tmp_path):
    odd = odd_file(tmp_path / 'odd', 1000)
    before = odd.read_bytes()
    with NbdServer(tmp_path, '-f', 'raw', odd) as server:
        assert run('nbdinfo', '--size', server.uri()).stdout == '1024\n'
        run('nbdcopy', server.uri(), tmp_path / 'copy')
        debian_qemu_img('bench', '-w', '-c', '1', '-s', '24', '-o', '1000', '--pattern', '17', '-f', 'raw', server.uri())
    assert (tmp_path / 'copy').read_bytes() == before + bytes(24)
    assert odd.read_bytes() == before + b'\x11' * 24


def test_volume_of_odd_length(tmp_path):
    """The last sector of a LUKS volume counts, too."""
    volume = tmp_path / 'volume'
    qemu_img('create', '-f', 'luks', *secret(tmp_path), '-o', f'key-secret=sec0,{FAST}', volume, '64k')
    length = volume.stat().st_size
    with open(volume, 'r+b') as file:
        file.truncate(length + 100)
    assert qemu_img_json('info', volume)['virtual-size'] == 65536 + 512
    qemu_io(*secret(tmp_path), '--image-opts', luks_opts(volume), '-c', 'write -P 0x33 65536 512')
    assert volume.stat().st_size == length + 512
    cryptsetup('open', '--test-passphrase', volume, password=b'password')
    qemu_io(*secret(tmp_path), '--image-opts', luks_opts(volume), '-c', 'read -P 0x33 65536 512')
