"""qemu-img map, measure and bench, with the command lines of vdsm and Proxmox.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import json
import re

import pytest

from images import FAST, MIB, debian_luks, luks_opts, secret, write_pieces
from programs import debian_qemu_img, qemu_img, qemu_img_json


@pytest.fixture(name='image')
def fixture_image(tmp_path):
    return write_pieces(tmp_path / 'a.raw', 8 * MIB, (0, 65536), (5 * MIB, MIB))


@pytest.fixture(name='luks')
def fixture_luks(tmp_path, image):
    path = tmp_path / 'a.luks'
    qemu_img('convert', '-O', 'luks', *secret(tmp_path), '-o', f'key-secret=sec0,{FAST}', image, path)
    return path


# map

RANGES = [[], ['--start-offset', '100k'], ['--start-offset=1M', '--max-length=6M'], ['--max-length', '512'],
          ['--start-offset', '10M'], ['--max-length', '0']]


@pytest.mark.parametrize('options', RANGES)
def test_map_json(image, options):
    ours = json.loads(qemu_img('map', '--output', 'json', *options, image).stdout)
    for entry in ours:
        assert entry.pop('compressed') is False     # QEMU has it since 8.2
    assert ours == json.loads(debian_qemu_img('map', '--output', 'json', *options, image).stdout)


@pytest.mark.parametrize('options', RANGES)
def test_map_human(image, options):
    assert qemu_img('map', *options, image).stdout == debian_qemu_img('map', *options, image).stdout


def test_map_one_entry_a_line(image):
    lines = qemu_img('map', '-f', 'raw', '--output=json', image).stdout.splitlines()
    assert lines[0] == '[{ "start": 0, "length": 65536, "depth": 0, "present": true, "zero": false, "data": true, ' \
        '"compressed": false, "offset": 0},'
    assert len(lines) == 4 and lines[-1].endswith('}]')


def test_map_window(image):
    entry, = qemu_img_json('map', '--image-opts', f'driver=raw,offset=5M,size=1M,file.filename={image}')
    assert entry['data'] and entry['offset'] == 5 * MIB


def test_map_encrypted(tmp_path, luks):
    opened = ['--image-opts', *secret(tmp_path), luks_opts(luks)]
    entry, = qemu_img_json('map', *opened)
    assert (entry['start'], entry['length'], entry['data'], entry['zero']) == (0, 8 * MIB, True, False)
    assert 'offset' not in entry
    assert 'encrypted' in qemu_img('map', *opened, status=1).stderr


@pytest.mark.parametrize('argv', [[], ['missing'], ['--start-offset', 'x', 'a.raw'], ['--max-length=-1', 'a.raw'],
                                  ['-f', 'luks', 'a.raw']])
def test_map_refused(image, argv):
    assert qemu_img('map', *argv, status=1, cwd=image.parent).stdout == ''


# measure

def test_measure_size():
    """Proxmox"""
    assert qemu_img_json('measure', '--size', '1024K', '-O', 'raw') == {'required': MIB, 'fully-allocated': MIB}
    assert qemu_img('measure', '--size', '3M').stdout == 'required size: 3145728\nfully allocated size: 3145728\n'


def test_measure_by_json_name(image):
    """vdsm"""
    name = json.dumps({'driver': 'raw', 'file': {'driver': 'file', 'filename': str(image)}})
    assert qemu_img_json('measure', '-O', 'raw', f'json:{name}')['required'] == 8 * MIB


@pytest.mark.parametrize('options', ['cipher-alg=aes-256', 'cipher-alg=aes-128', 'cipher-alg=serpent-256,cipher-mode=cbc'])
def test_measure_luks(tmp_path, options):
    """As much as Debian says, and as it becomes."""
    expected = json.loads(debian_luks('measure', '--output', 'json', '-O', 'luks', *secret(tmp_path),
                                      '-o', f'key-secret=sec0,{FAST},{options}', '--size', '5M').stdout)
    assert qemu_img_json('measure', '-O', 'luks', '-o', options, '--size', '5M') == expected
    qemu_img('create', '-q', '-f', 'luks', *secret(tmp_path), '-o', f'key-secret=sec0,{FAST},{options}', tmp_path / 'x', '5M')
    assert (tmp_path / 'x').stat().st_size == expected['required']


@pytest.mark.parametrize('size', [1, 511, 513, 1000001])
def test_measure_luks_of_odd_size(tmp_path, size):
    """What create and convert make has whole sectors."""
    (tmp_path / 'raw').write_bytes(b'x' * size)
    options = f'key-secret=sec0,{FAST}'
    required = qemu_img_json('measure', '-O', 'luks', '--size', str(size))['required']
    qemu_img('create', '-q', '-f', 'luks', *secret(tmp_path), '-o', options, tmp_path / 'created', size)
    assert (tmp_path / 'created').stat().st_size == required
    assert qemu_img_json('measure', '-f', 'raw', '-O', 'luks', tmp_path / 'raw')['required'] == required
    qemu_img('convert', '-f', 'raw', '-O', 'luks', *secret(tmp_path), '-o', options, tmp_path / 'raw', tmp_path / 'converted')
    assert (tmp_path / 'converted').stat().st_size == required


def test_measure_copy_of_luks(tmp_path, image):
    """No password is needed, and the copy is encrypted as its source is."""
    path = tmp_path / 'small-key.luks'
    qemu_img('convert', '-O', 'luks', *secret(tmp_path), '-o', f'key-secret=sec0,{FAST},cipher-alg=aes-128', image, path)
    assert qemu_img_json('measure', '-O', 'raw', path)['required'] == 8 * MIB
    assert qemu_img_json('measure', '-O', 'luks', path)['required'] == path.stat().st_size
    assert qemu_img_json('measure', '-O', 'luks', '-o', 'cipher-alg=aes-256', path)['required'] > path.stat().st_size


@pytest.mark.parametrize('argv, named', [
    ([], 'Either --size N or one filename'),
    (['--size', '1M', 'a.raw'], 'cannot be used together'),
    (['--size', '1x'], 'image size'),
    (['-O', 'qcow9', '--size', '1M'], 'qcow9'),
    (['-O', 'luks', '-o', 'cipher-alg=rot13', '--size', '1M'], 'rot13'),
    (['missing'], "'missing'"),
])
def test_measure_refused(image, argv, named):
    assert named in qemu_img('measure', *argv, status=1, cwd=image.parent).stderr


# bench

def test_bench(image):
    done = qemu_img('bench', '-f', 'raw', '-c', '100', '-d', '7', '-s', '64k', '-S', '1M', '-o', '512', image)
    first, last = done.stdout.splitlines()
    assert first == 'Sending 100 read requests, 65536 bytes each, 7 in parallel (starting at offset 512, step size 1048576)'
    assert re.fullmatch(r'Run completed in [0-9]+\.[0-9]{3} seconds\.', last)


@pytest.mark.parametrize('more', [[], ['--no-drain'], ['-t', 'none', '-i', 'threads']])
def test_bench_write(image, more):
    done = qemu_img('bench', '-f', 'raw', '-c', '128', '-d', '4', '-s', '64k', '-w', '--pattern', '17',
                    '--flush-interval', '8', *more, image)
    assert 'Sending flush every 8 requests\n' in done.stdout
    assert image.read_bytes() == bytes([17]) * 8 * MIB


def test_bench_encrypted(tmp_path, image, luks):
    qemu_img('bench', '--image-opts', *secret(tmp_path), '-c', '50', '-d', '16', '-w', '--pattern', '17', '-s', '1M',
             luks_opts(luks))
    image.write_bytes(bytes([17]) * 8 * MIB)
    qemu_img('compare', '--image-opts', *secret(tmp_path), luks_opts(luks), f'driver=raw,file.filename={image}')


@pytest.mark.parametrize('argv, named', [
    (['--flush-interval', '2', 'a.raw'], 'only available in write tests'),
    (['-w', '--flush-interval', '2', 'a.raw'], "can't be smaller than depth"),
    (['-c', 'x', 'a.raw'], 'request count'),
    (['-d', '0', 'a.raw'], 'queue depth'),
    (['-s', '2G', 'a.raw'], 'buffer size'),
    (['-s', '1G', '-d', '64', 'a.raw'], 'buffer size'),
    (['--pattern', '256', 'a.raw'], 'pattern byte'),
    (['-o', '8M', '-c', '1', 'a.raw'], 'Failed request: Input/output error'),
    (['-i', 'slow', 'a.raw'], "'slow'"),
])
def test_bench_refused(image, argv, named):
    before = image.read_bytes()
    assert named in qemu_img('bench', *argv, status=1, cwd=image.parent).stderr
    assert image.read_bytes() == before
