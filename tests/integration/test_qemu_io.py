"""qemu-io.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import re

import pytest

from images import FAST, MIB, disk_bytes, luks_opts, secret, write_pieces
from programs import DEBIAN_QEMU_IO, QEMU_IO, debian_qemu_img, qemu_img, qemu_io, run


@pytest.fixture(name='image')
def fixture_image(tmp_path):
    path = tmp_path / 'a.raw'
    path.write_bytes(b'\x01' * 65536 + bytes(MIB - 65536))
    return path


def numbers_out(text):
    """TEXT without numbers that depend on the time."""
    text = re.sub(r'ops; .*', 'ops; TIME', text)
    return re.sub(r'^([0-9]+,1),.*', r'\1,TIME', text, flags=re.MULTILINE)


def commands(lines):
    return [arg for line in lines for arg in ('-c', line)]


SCRIPTS = {
    'read': ['read 0 512', 'read 3 7', 'read 1k 64k', 'read -P 1 0 64k', 'read -C 0 1k', 'read -q 0 512', 'read -v 65530 20',
             'readv 0 512 1k', 'readv -v -P 1 0 3 20', 'r 0 1k'],
    'mismatch': ['read -P 2 0 512', 'read -P 1 65000 1000', 'read -P 1 -s 100 -l 10 65436 1000', 'readv -P 2 0 512 512'],
    'verified part': ['read -P 1 -l 536 65000 1000', 'read -P 0 -s 536 65000 1000', 'read -P 1 -s 1 -l 2 0 512'],
    'beyond the end': ['read 1M 1', 'read 0 2M', 'write 1M 512', 'write -z 1M 512', 'discard 0 2M', 'alloc 2M'],
    'write': ['write 0 512', 'read -P 0xcd 0 512', 'write -P 7 1000 3000', 'read -P 7 1000 3000', 'write -z 2k 1k',
              'read -v 2040 16', 'write -z -u 4k 4k', 'write -f -P 9 0 1', 'writev -P 8 0 512 3', 'writev -f 0 512 512',
              'write -C 0 64k', 'write -q 0 1M', 'flush', 'w 5 5'],
    'wrong arguments': ['read 0', 'write', 'read x 512', 'read 0 y', 'read -P x 0 512', 'read -P 0x100 0 512',
                        'read -P 1 -s 600 0 512', 'read -P 1 -s 400 -l 200 0 512', 'write -u 0 512', 'write -n 0 512',
                        'write -z -P 3 0 512', 'write -s nothing -P 3 0 512', 'alloc 0 x', 'sleep x', 'frobnicate',
                        'aio_write -u 0 512', 'aio_write -z 0 512 512', 'length 5'],
    'state': ['length', 'map', 'alloc 0', 'alloc 0 1M', 'alloc 64k 5', 'truncate 2M', 'length', 'truncate -m full 3M',
              'length', 'truncate 700k', 'length', 'truncate -m most 4M', 'info', 'sleep 1', 'sleep 0x1'],
    'discard': ['discard 0 64k', 'discard -q 0 512', 'discard -C 0 64k', 'discard -x 0 64k'],
    'aio': ['aio_read 0 512', 'aio_flush', 'aio_write -P 4 0 1k 1k', 'aio_flush', 'aio_read -P 4 0 2k', 'aio_flush',
            'aio_read -v 2040 16', 'aio_flush', 'aio_write -z 0 64k', 'aio_flush', 'aio_write -f 0 64k', 'aio_flush'],
    'closed': ['close', 'read 0 512', 'length', 'quit', 'length'],
    'open twice': ['open x', 'length'],
}
OURS_ONLY = re.compile(r'^(read|write|aio_read|aio_write|truncate|discard|open) \[.*', re.MULTILINE)


@pytest.mark.parametrize('name', SCRIPTS)
def test_same_as_qemu(tmp_path, image, name):
    """The same output, status and image as QEMU's own, except for usage lines, which list options that we lack."""
    copy = tmp_path / 'copy.raw'
    copy.write_bytes(image.read_bytes())
    ours = run(QEMU_IO, '-f', 'raw', *commands(SCRIPTS[name]), image, status=None)
    theirs = run(DEBIAN_QEMU_IO, '-f', 'raw', *commands(SCRIPTS[name]), copy, status=None)
    assert OURS_ONLY.sub('', numbers_out(ours.stdout)) == OURS_ONLY.sub('', numbers_out(theirs.stdout))
    assert ours.returncode == theirs.returncode
    assert image.read_bytes() == copy.read_bytes()


def test_report(image):
    text = qemu_io('-f', 'raw', '-c', 'read 0 64k', '-c', 'read -C 0 64k', image).stdout
    assert re.fullmatch(r'read 65536/65536 bytes at offset 0\n'
                        r'64 KiB, 1 ops; 00\.\d\d sec \([\d.]+ [KMGT]iB/sec and \d+\.\d{4} ops/sec\)\n'
                        r'65536,1,0:00:00\.\d\d,\d+\.\d{3},\d+\.\d{3}\n', text)


def test_mismatch_is_failure(image):
    done = qemu_io('-f', 'raw', '-c', 'read -P 2 512 512', image, status=1)
    assert done.stdout.startswith('Pattern verification failed at offset 512, 512 bytes\nread 512/512')
    assert 'Pattern verification failed' in qemu_io('-c', 'aio_read -P 2 0 512', image, status=1).stdout


def test_pattern_file(tmp_path, image):
    pattern = tmp_path / 'pattern'
    pattern.write_bytes(b'0123456789')
    qemu_io('-f', 'raw', '-c', f'write -s {pattern} 5 25', image)
    assert image.read_bytes()[5:31] == b'0123456789012345678901234\x01'
    pattern.write_bytes(b'')
    for name in pattern, tmp_path / 'missing':
        assert str(name) in qemu_io('-f', 'raw', '-c', f'write -s {name} 0 512', image, status=1).stderr


def test_many_at_once(image):
    """Concurrent requests, some of which share a block."""
    writes = [f'aio_write -P {i} {1000 * i} 1000' for i in range(1, 100)]
    qemu_io('-f', 'raw', *commands([*writes, 'aio_flush']), image)
    assert image.read_bytes()[1000:100000] == b''.join(bytes([i]) * 1000 for i in range(1, 100))


def test_quit_waits(image):
    """Requests in flight at the end are not lost."""
    done = qemu_io('-f', 'raw', '-c', 'aio_write -P 9 0 512k', '-c', 'quit', '-c', 'length', image)
    assert done.stdout.startswith('wrote 524288/524288 bytes at offset 0')
    assert image.read_bytes()[:512 << 10] == b'\x09' * (512 << 10)


def test_prompt(image):
    done = qemu_io('-f', 'raw', image, input='length\nfrobnicate\n\nalloc 0\nquit\nlength\n', status=1)
    assert done.stdout == 'qemu-io> 1 MiB\nqemu-io> qemu-io> qemu-io> 512/512 bytes allocated at offset 0 bytes\nqemu-io> '
    assert done.stderr == 'command "frobnicate" not found\n'
    assert qemu_io('-f', 'raw', image, input='length').stdout == 'qemu-io> 1 MiB\nqemu-io> '


def test_read_only(image):
    before = image.read_bytes()
    for line in 'write 0 512', 'discard 0 64k', 'truncate 0', 'write -z 0 64k', 'aio_write 0 512':
        assert 'read-only' in qemu_io('-r', '-f', 'raw', '-c', line, image, status=1).stderr
    image.chmod(0o444)
    qemu_io('-r', '-f', 'raw', '-c', 'read -P 1 0 64k', image)
    assert image.read_bytes() == before


def test_open_and_reopen(tmp_path, image):
    other = tmp_path / 'other.raw'
    other.write_bytes(b'\x05' * 4096)
    lines = ['open -r ' + str(image), 'read -P 1 0 512', 'close', f'open -o driver=raw {other}', 'read -P 5 0 512',
             'reopen -r', 'write 0 512', 'reopen -w', 'write -P 6 0 512', 'reopen -c none', 'read -P 6 0 512',
             'reopen -o offset=512', 'read -P 5 0 512', 'length', 'reopen -o flavour=sweet', 'read -P 5 0 512',
             'reopen -r -w', 'reopen -c some']
    done = qemu_io(*commands(lines), status=1)
    assert done.stdout.count('512/512 bytes') == 6
    assert '3.500 KiB' in done.stdout and 'failed' not in done.stdout
    for text in 'read-only', "'flavour'", 'Only one -r/-w', 'Invalid cache option: some':
        assert text in done.stderr
    assert len(done.stderr.splitlines()) == 4


def test_discard(tmp_path):
    image = write_pieces(tmp_path / 'a', 4 * MIB, (0, 4 * MIB))
    qemu_io('-d', 'ignore', '-f', 'raw', '-c', 'discard 1M 1M', '-c', 'write -z -u 2M 1M', image)
    assert disk_bytes(image) >= 4 * MIB
    qemu_io('-f', 'raw', '-c', 'discard 1M 1M', '-c', 'write -z -u 2M 1M', image)
    assert disk_bytes(image) <= 2 * MIB + 65536


@pytest.mark.parametrize('options', [['-n'], ['-t', 'none', '-m'], ['-t', 'writethrough'], ['-t', 'directsync'],
                                     ['-t', 'unsafe'], ['-i', 'threads'], ['-n', '-m', '-i', 'threads']])
def test_ways_to_open(image, options):
    lines = ['write -P 3 1000 100k', 'read -P 3 1000 100k', 'aio_write -P 4 7 7', 'aio_flush', 'read -P 4 7 7',
             'read -P 1 14 986']
    qemu_io(*options, '-f', 'raw', *commands(lines), image)


def test_encrypted(tmp_path):
    """Each reads what the other wrote."""
    luks = tmp_path / 'a.luks'
    key = secret(tmp_path)
    qemu_img('create', '-q', '-f', 'luks', *key, '-o', f'key-secret=sec0,{FAST}', luks, '4M')
    pieces = [(0, 512, 1), (700, 3, 2), (64 << 10, MIB, 3), (2 * MIB + 5, 100000, 4), (4 * MIB - 1, 1, 5)]
    write = commands(f'write -P {byte} {offset} {length}' for offset, length, byte in pieces)
    read = commands(f'read -P {byte} {offset} {length}' for offset, length, byte in pieces)
    qemu_io(*key, '--image-opts', *write, luks_opts(luks))
    run(DEBIAN_QEMU_IO, *key, '--image-opts', *read, luks_opts(luks))
    run(DEBIAN_QEMU_IO, *key, '--image-opts', '-c', 'write -z 0 4M', *write, luks_opts(luks))
    qemu_io(*key, '--image-opts', *read, '-c', 'read -P 0 512 188', '-c', 'read -P 0 703 64000', luks_opts(luks))
    done = qemu_io(*key, '-c', f'open -r -o {luks_opts(luks)}', *read, '-c', 'info', '-c', 'length')
    assert 'payload offset: 2068480' in done.stdout and done.stdout.endswith('4 MiB\n')
    qemu_io(*key, '--image-opts', '-c', 'truncate 5M', '-c', 'write -P 6 4M 1M', luks_opts(luks))
    run(DEBIAN_QEMU_IO, *key, '--image-opts', *read[:-2], '-c', 'read -P 6 4M 1M', luks_opts(luks))


def test_truncate_keeps_the_header(tmp_path):
    luks = tmp_path / 'a.luks'
    key = secret(tmp_path)
    qemu_img('create', '-q', '-f', 'luks', *key, '-o', f'key-secret=sec0,{FAST}', luks, '4M')
    qemu_io(*key, '--image-opts', '-c', 'truncate 0', luks_opts(luks))
    assert '"virtual-size": 0' in debian_qemu_img('info', '--output', 'json', luks).stdout


def test_help():
    text = qemu_io('-c', 'help').stdout
    names = re.findall(r'^([a-z_]+) .*-- ', text, re.MULTILINE)
    assert names == sorted(names) and {'read', 'aio_write', 'truncate', 'quit'} <= set(names)
    for name in names:
        assert qemu_io('-c', f'help {name}').stdout.startswith(f'{name} ')
    assert 'not found' in qemu_io('-c', 'help frobnicate', status=1).stdout


def test_version():
    assert re.match(r'qemu-io version 10\.2\.0 \(strongbox [0-9.]+\)\n', qemu_io('--version').stdout)


@pytest.mark.parametrize('argv, named', [
    (['missing'], "can't open device missing"),
    (['-t', 'some', 'a.raw'], 'Invalid cache option: some'),
    (['-d', 'some', 'a.raw'], 'Invalid discard option: some'),
    (['-i', 'some', 'a.raw'], 'Invalid aio option: some'),
    (['-f', 'qcow9', 'a.raw'], 'qcow9'),
    (['--image-opts', '-f', 'raw', 'a.raw'], 'mutually exclusive'),
    (['-U', '-f', 'raw', 'a.raw'], 'read-only'),
    (['a.raw', 'b.raw'], 'Only one image'),
    (['--frobnicate', 'a.raw'], '--frobnicate'),
    (['-c'], "requires an argument"),
    (['-c', 'open -o driver=luks,file.filename=a.raw'], "can't open device"),
    (['--image-opts', 'driver=luks,key-secret=nobody,file.filename=a.raw'], "can't open device"),
])
def test_refused(image, argv, named):
    done = qemu_io(*argv, status=1, cwd=image.parent)
    assert named in done.stderr.splitlines()[0] and done.stdout == ''
