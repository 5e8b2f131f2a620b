"""qemu-img convert, with the command lines of Nova, Cinder, libvirt, CDI, vdsm and Proxmox.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import os
import re
import signal
import subprocess
import time

import pytest

from images import FAST, MIB, debian_encrypt, disk_bytes, luks_opts, same_space, secret, write_pieces
from programs import DEBIAN_QEMU_IO, QEMU_IMG, cryptsetup, debian_qemu_img, password_file, qemu_img, qemu_img_json, run

AES_XTS = ['-o', 'cipher-alg=aes-256', '-o', 'cipher-mode=xts', '-o', 'hash-alg=sha256', '-o', 'iter-time=10',
           '-o', 'ivgen-alg=plain64', '-o', 'ivgen-hash-alg=sha256']


@pytest.fixture(name='source')
def fixture_source(tmp_path):
    """20 MiB with holes of all sizes: short, long, and one at each end."""
    return write_pieces(tmp_path / 'source.raw', 20 * MIB, (4096, 4096), (12288, 512), (3 * MIB, 5 * MIB),
                        (9 * MIB + 512, 1000), (12 * MIB, 2 * MIB))


@pytest.fixture(name='target')
def fixture_target(tmp_path):
    return tmp_path / 'target'


def read_back(tmp_path, image, tool=debian_qemu_img, ident='sec0'):
    """The payload of a LUKS image as read by TOOL."""
    plain = tmp_path / 'read-back'
    tool('convert', '-O', 'raw', *secret(tmp_path, ident), '--image-opts', luks_opts(image, ident), plain)
    return plain.read_bytes()


# Plain images

def test_holes_stay_holes(source, target):
    qemu_img('convert', source, target)
    assert target.read_bytes() == source.read_bytes()
    assert same_space(target, source)


def test_zeroes_become_holes(tmp_path, source, target):
    full = tmp_path / 'full'
    full.write_bytes(source.read_bytes())
    qemu_img('convert', '-f', 'raw', '-O', 'raw', full, target)
    assert target.read_bytes() == source.read_bytes()
    assert same_space(target, source) and disk_bytes(source) < disk_bytes(full)


def test_sparse_size(tmp_path, target):
    source = write_pieces(tmp_path / 's', 4 * MIB, (0, MIB), (MIB + 65536, MIB))
    full = tmp_path / 'full'
    full.write_bytes(source.read_bytes())
    sizes = []
    for size in '0', '4k', '64k', '128k', '2M':
        qemu_img('convert', '-S', size, full, target)
        assert target.read_bytes() == full.read_bytes()
        sizes.append(disk_bytes(target))
    assert sizes == [4 * MIB, 2 * MIB, 2 * MIB, 2 * MIB + 131072, 4 * MIB]


def test_without_holes(source, target):
    qemu_img('convert', '-S', '0', source, target)
    assert target.read_bytes() == source.read_bytes()
    assert disk_bytes(target) >= 20 * MIB


@pytest.mark.parametrize('options', [
    ['-m', '1'], ['-m', '16'], ['-W'], ['-W', '-m', '16'], ['-t', 'none', '-T', 'none'], ['-t', 'directsync', '-m', '3'],
    ['-t', 'writethrough', '-W'], ['-t', 'writeback'], ['--salvage', '-q'], ['-r', '1G'], ['-S', '512'],
    ['-T', 'none', '-S', '0', '-W'],
])
def test_ways_to_copy(source, target, options):
    qemu_img('convert', *options, '-f', 'raw', '-O', 'raw', source, target)
    assert target.read_bytes() == source.read_bytes()


def test_several_sources(tmp_path, source, target):
    odd = write_pieces(tmp_path / 'odd', 1000, (0, 1000))
    qemu_img('convert', odd, source, odd, target)
    padded = odd.read_bytes() + bytes(24)
    assert target.read_bytes() == padded + source.read_bytes() + padded


def test_units_lie_as_the_target_does(tmp_path, target):
    """Zeroes that fill a block of the target become a hole, wherever they are in the source."""
    first = write_pieces(tmp_path / 'first', 512, (0, 512))
    second = tmp_path / 'second'
    second.write_bytes(b'x' * 3584 + bytes(4096) + b'x' * 4096)
    qemu_img('convert', first, second, target)
    assert target.read_bytes() == first.read_bytes() + second.read_bytes()
    assert disk_bytes(target) == 8192


def test_overwrites_what_is_there(source, target):
    target.write_bytes(b'x' * (30 * MIB))
    qemu_img('convert', source, target)
    assert target.read_bytes() == source.read_bytes()


def test_into_existing(source, target):
    target.write_bytes(b'x' * (21 * MIB))
    qemu_img('convert', '-n', '-f', 'raw', '-O', 'raw', source, target)
    assert target.read_bytes() == source.read_bytes() + b'x' * MIB
    assert same_space(target, source, more=MIB)


def test_into_existing_zeroes(source, target):
    target.touch()
    os.truncate(target, 20 * MIB)
    qemu_img('convert', '-n', '--target-is-zero', source, target)
    assert target.read_bytes() == source.read_bytes()
    assert same_space(target, source)


def test_target_is_zero_is_believed(source, target):
    target.write_bytes(b'x' * (20 * MIB))
    qemu_img('convert', '-n', '--target-is-zero', source, target)
    assert target.read_bytes()[:4096] == b'x' * 4096


@pytest.mark.parametrize('on_top', ['', 'driver=raw,file.'])
def test_no_luks_target_is_zero(tmp_path, source, target, on_top):
    """Unwritten parts decrypt to noise, which would replace the holes."""
    qemu_img('create', '-q', '-f', 'luks', *secret(tmp_path), '-o', f'key-secret=sec0,{FAST}', target, 20 * MIB)
    before = target.read_bytes()
    prefix = 'file.' if on_top else ''
    opts = f'{on_top}driver=luks,{prefix}key-secret=sec0,{prefix}file.filename={target}'
    done = qemu_img('convert', '-n', '--target-is-zero', *secret(tmp_path), '--image-opts', '--target-image-opts',
                    f'driver=raw,file.filename={source}', opts, status=1)
    assert 'encrypted volume never reads as zeroes' in done.stderr
    assert target.read_bytes() == before


def test_into_too_short(source, target):
    target.write_bytes(b'x' * MIB)
    assert 'smaller than input' in qemu_img('convert', '-n', source, target, status=1).stderr
    assert target.read_bytes() == b'x' * MIB


@pytest.mark.parametrize('mode', ['falloc', 'full'])
def test_preallocated(source, target, mode):
    qemu_img('convert', '-o', f'preallocation={mode}', source, target)
    assert target.read_bytes() == source.read_bytes()
    assert disk_bytes(target) >= 20 * MIB


def test_a_window(source, target):
    qemu_img('convert', '--image-opts', f'driver=raw,offset=3M,size=2M,file.filename={source}', target)
    assert target.read_bytes() == source.read_bytes()[3 * MIB:5 * MIB]


def test_rate(tmp_path, target):
    source = write_pieces(tmp_path / 's', 8 * MIB, (0, 8 * MIB))
    start = time.monotonic()
    qemu_img('convert', '-r', '4M', source, target)
    assert time.monotonic() - start > 1
    assert target.read_bytes() == source.read_bytes()


# Streams

def test_to_standard_output(source):
    """Proxmox"""
    done = qemu_img('convert', '-f', 'raw', '-O', 'raw', source, '/dev/stdout', text=False)
    assert done.stdout == source.read_bytes()


def test_to_a_file_on_standard_output(source, target):
    """The existing contents of the file, such as the header of a backup, stay."""
    with open(target, 'wb') as out:
        out.write(b'HEADER')
        out.flush()
        qemu_img('convert', '-f', 'raw', '-O', 'raw', source, '/dev/stdout', stdout=out)
    assert target.read_bytes() == b'HEADER' + source.read_bytes()


def test_decrypts_to_standard_output(tmp_path, source, target):
    debian_encrypt(source, target, *secret(tmp_path), '-o', f'key-secret=sec0,{FAST}')
    done = qemu_img('convert', *secret(tmp_path), '--image-opts', luks_opts(target), '-O', 'raw', '-m', '16', '-W',
                    '/dev/stdout', text=False)
    assert done.stdout == source.read_bytes()


def test_to_a_fifo(source, target):
    os.mkfifo(target)
    with subprocess.Popen([QEMU_IMG, 'convert', source, target]) as process:
        assert target.read_bytes() == source.read_bytes()
    assert process.returncode == 0


def test_to_a_closed_pipe(source):
    with subprocess.Popen([QEMU_IMG, 'convert', source, '/dev/stdout'], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as process:
        process.stdout.read(1000)
        process.stdout.close()
        assert b'Broken pipe' in process.stderr.read()
    assert process.returncode == 1


def test_streams_are_raw(tmp_path, source):
    done = qemu_img('convert', '-O', 'luks', *secret(tmp_path), '-o', f'key-secret=sec0,{FAST}', source, '/dev/stdout',
                    status=1)
    assert done.stdout == '' and "format 'luks' does not allow" in done.stderr
    done = qemu_img('convert', '-p', source, '/dev/stdout', status=1)
    assert done.stdout == '' and '-p' in done.stderr


# Encrypted images

def test_encrypted_for_others(tmp_path, source, target):
    qemu_img('convert', '-O', 'luks', *secret(tmp_path), '-o', f'key-secret=sec0,{FAST}', source, target)
    assert read_back(tmp_path, target) == source.read_bytes()
    cryptsetup('open', '--test-passphrase', target, password=b'password')


@pytest.mark.parametrize('cipher', ['aes-128', 'serpent-256'])
@pytest.mark.parametrize('mode', ['cipher-mode=xts,ivgen-alg=plain64',
                                  'cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha256'])
def test_both_directions(tmp_path, source, target, cipher, mode):
    options = f'key-secret=sec0,{FAST},cipher-alg={cipher},{mode}'
    qemu_img('convert', '-O', 'luks', *secret(tmp_path), '-o', options, source, target)
    assert read_back(tmp_path, target) == source.read_bytes()
    debian_encrypt(source, target, *secret(tmp_path), '-o', options)
    assert read_back(tmp_path, target, tool=qemu_img) == source.read_bytes()


def test_decrypted_holes(tmp_path, source, target):
    """An encrypted image has no holes, but a copy gets them back."""
    debian_encrypt(source, target, *secret(tmp_path), '-o', f'key-secret=sec0,{FAST}')
    plain = tmp_path / 'plain'
    qemu_img('convert', '-O', 'raw', *secret(tmp_path), '--image-opts', luks_opts(target), plain)
    assert plain.read_bytes() == source.read_bytes()
    assert same_space(plain, source)


def test_zeroes_are_encrypted(tmp_path, target):
    """Otherwise the payload would show what is in use, and read as garbage."""
    empty = write_pieces(tmp_path / 'empty', 5 * MIB)
    qemu_img('convert', '-O', 'luks', *secret(tmp_path), '-o', f'key-secret=sec0,{FAST}', empty, target)
    assert read_back(tmp_path, target) == bytes(5 * MIB)
    assert bytes(512) not in target.read_bytes()[-5 * MIB:]


def test_takes_over_how_it_is_encrypted(tmp_path, source, target):
    both = [*secret(tmp_path), *secret(tmp_path, 'sec1')]
    first = tmp_path / 'first.luks'
    debian_encrypt(source, first, *both, '-o', f'key-secret=sec0,{FAST},cipher-alg=serpent-128,cipher-mode=cbc,'
                   'ivgen-alg=essiv,ivgen-hash-alg=sha256,hash-alg=sha1')
    expected = qemu_img_json('info', first)['format-specific']['data']

    def info():
        return qemu_img_json('info', target)['format-specific']['data']

    copy = ['convert', '-O', 'luks', *both, '--image-opts', luks_opts(first), target]
    qemu_img(*copy, '-o', f'key-secret=sec1,{FAST}')
    names = 'cipher-alg', 'cipher-mode', 'ivgen-alg', 'ivgen-hash-alg', 'hash-alg'
    assert [info()[name] for name in names] == [expected[name] for name in names]
    assert info()['uuid'] != expected['uuid']
    assert read_back(tmp_path, target, ident='sec1') == source.read_bytes()

    qemu_img(*copy, '-o', f'key-secret=sec1,{FAST},cipher-alg=twofish-256', '-o', 'ivgen-alg=plain64')
    assert [info()[name] for name in ('cipher-alg', 'cipher-mode', 'ivgen-alg', 'hash-alg')] == \
        ['twofish-256', 'cbc', 'plain64', 'sha1']
    assert read_back(tmp_path, target, ident='sec1') == source.read_bytes()


def test_takes_over_the_secret(tmp_path, source, target):
    first = tmp_path / 'first.luks'
    debian_encrypt(source, first, *secret(tmp_path), '-o', f'key-secret=sec0,{FAST}')
    qemu_img('convert', '-O', 'luks', *secret(tmp_path), '--image-opts', luks_opts(first), '-o', FAST, target)
    assert read_back(tmp_path, target) == source.read_bytes()
    assert qemu_img_json('info', target)['format-specific']['data']['uuid'] != \
        qemu_img_json('info', first)['format-specific']['data']['uuid']
    target.unlink()
    qemu_img('convert', '-O', 'luks', '--key-file', password_file(tmp_path, b'password'), '-o', FAST, first, target)
    assert read_back(tmp_path, target) == source.read_bytes()
    assert 'key-secret' in qemu_img('convert', '-O', 'luks', source, target, status=1).stderr


def test_clone_header(tmp_path, source, target):
    """The bytes as they are stored, without a password."""
    first = tmp_path / 'first.luks'
    debian_encrypt(source, first, *secret(tmp_path), '-o', f'key-secret=sec0,{FAST}')
    done = qemu_img('convert', '--clone-header', first, target)
    assert 'same volume key' in done.stderr
    assert target.read_bytes() == first.read_bytes()
    target.unlink()
    done = qemu_img('convert', '-q', '--clone-header', '--image-opts', f'driver=luks,file.filename={first}', target)
    assert done.stderr == '' and target.read_bytes() == first.read_bytes()
    target.unlink()
    key = password_file(tmp_path, b'password')
    for options in (['-O', 'luks'], ['-o', FAST], ['--key-file', key], ['--new-key-file', key], ['--header', first]):
        assert f'{options[0]} exclude' in qemu_img('convert', '--clone-header', *options, first, target, status=1).stderr
    assert 'single' in qemu_img('convert', '--clone-header', first, first, target, status=1).stderr
    assert 'needs a source' in qemu_img('convert', '--clone-header', source, target, status=1).stderr
    assert not target.exists()


def test_warns_when_decrypting_by_default(tmp_path, source, target):
    first = tmp_path / 'first.luks'
    debian_encrypt(source, first, *secret(tmp_path), '-o', f'key-secret=sec0,{FAST}')
    convert = ['convert', *secret(tmp_path), '--image-opts', luks_opts(first), target]
    assert 'not be encrypted' in qemu_img(*convert).stderr
    for quiet in (['-O', 'raw'], ['-q']):
        assert qemu_img(*convert, *quiet).stderr == ''


def test_detached_header(tmp_path, source, target):
    header = tmp_path / 'header'
    qemu_img('create', '-f', 'luks', *secret(tmp_path), '-o', f'detached-header=true,key-secret=sec0,{FAST}', header)
    target.touch()
    os.truncate(target, 20 * MIB)
    pair = luks_opts(target, **{'header.filename': header})
    qemu_img('convert', '-n', *secret(tmp_path), '--image-opts', '--target-image-opts',
             f'driver=raw,file.filename={source}', pair)
    plain = tmp_path / 'plain'
    qemu_img('convert', *secret(tmp_path), '--image-opts', pair, plain)
    assert plain.read_bytes() == source.read_bytes()
    assert 'header' in qemu_img('convert', '-O', 'luks', *secret(tmp_path), '-o',
                                f'detached-header=true,key-secret=sec0,{FAST}', source, tmp_path / 'x', status=1).stderr
    assert not (tmp_path / 'x').exists()


# As clients do it

def test_as_nova(tmp_path, source, target):
    qemu_img('convert', '-t', 'none', '-O', 'luks', '-f', 'raw', *secret(tmp_path, 'sec1', b'other'), '-o', 'key-secret=sec1',
             *AES_XTS, source, target)
    plain = tmp_path / 'plain'
    qemu_img('convert', '-t', 'writeback', '-O', 'raw', *secret(tmp_path, 'sec0', b'other'), '--image-opts',
             f'driver=luks,file.driver=file,file.filename={target},key-secret=sec0', plain)
    assert plain.read_bytes() == source.read_bytes()
    qemu_img('convert', '-t', 'none', '-O', 'luks', *secret(tmp_path, 'sec0', b'other'), '--image-opts',
             f'driver=luks,file.driver=file,file.filename={target},key-secret=sec0', *secret(tmp_path, 'sec1'),
             '-o', 'key-secret=sec1', *AES_XTS, tmp_path / 'again')
    assert read_back(tmp_path, tmp_path / 'again') == source.read_bytes()


def test_as_cinder(tmp_path, source, target):
    key = password_file(tmp_path, b'password')
    qemu_img('convert', '-O', 'luks', '-t', 'none', '-S', '0', '-f', 'raw', '-o',
             f'cipher-alg=aes-256,cipher-mode=xts,ivgen-alg=plain64,{FAST}', '--object',
             f'secret,id=luks_sec,format=raw,file={key}', '-o', 'key-secret=luks_sec', source, target)
    assert read_back(tmp_path, target) == source.read_bytes()


def test_as_libvirt(tmp_path, source, target):
    keys = [*secret(tmp_path, 'DST_encrypt0', b'dst'), *secret(tmp_path, 'SRC_encrypt0', b'src')]
    first = tmp_path / 'first.luks'
    for path, ident in (first, 'SRC_encrypt0'), (target, 'DST_encrypt0'):
        qemu_img('create', '-f', 'luks', *keys, '-o', f'key-secret={ident},{FAST}', path, '20480K')
    copy = ['convert', '--image-opts', '-n', '--target-image-opts', *keys]
    qemu_img(*copy, f'driver=raw,file.filename={source}', luks_opts(first, 'SRC_encrypt0'))
    qemu_img(*copy, luks_opts(first, 'SRC_encrypt0'), luks_opts(target, 'DST_encrypt0'))
    plain = tmp_path / 'plain'
    plain.touch()
    os.truncate(plain, 20 * MIB)
    qemu_img(*copy, luks_opts(target, 'DST_encrypt0'), f'driver=raw,file.filename={plain}')
    assert plain.read_bytes() == source.read_bytes()


@pytest.mark.parametrize('options', [['-o', 'preallocation=falloc'], ['-o', 'preallocation=full'], ['-S', '0'], []])
@pytest.mark.parametrize('cache', ['none', 'writeback'])
def test_as_cdi(source, target, options, cache):
    done = qemu_img('convert', '-t', cache, '-p', '-O', 'raw', source, target, *options, text=False)
    percents = re.findall(rb'\((\d?\d\.\d\d)/100%\)\r', done.stdout)
    assert percents[0] == b'0.00'
    assert b'(100.00/100%)' in done.stdout
    assert target.read_bytes() == source.read_bytes()


def test_as_vdsm(source, target):
    qemu_img('convert', '-p', '-t', 'none', '-T', 'none', '-f', 'raw', '-O', 'raw', '-o', 'preallocation=off', source, target)
    qemu_img('convert', '-p', '-t', 'none', '-T', 'none', '-f', 'raw', '-O', 'raw', '-n', '-W', source, target)
    assert target.read_bytes() == source.read_bytes()


# Failures

@pytest.mark.parametrize('argv, named', [
    (['-c', 'S', 'T'], 'Compression'),
    (['-B', 'x', 'S', 'T'], 'Backing file'),
    (['--bitmaps', 'S', 'T'], 'bitmaps'),
    (['-l', 'snap', 'S', 'T'], 'snapshots'),
    (['-S', '1000', 'S', 'T'], 'multiples of 512'),
    (['-m', '17', 'S', 'T'], 'between 1 and 16'),
    (['-m', '0', 'S', 'T'], 'between 1 and 16'),
    (['-r', 'fast', 'S', 'T'], 'rate limit'),
    (['-t', 'some', 'S', 'T'], "cache mode 'some'"),
    (['-T', 'some', 'S', 'T'], "cache mode 'some'"),
    (['-O', 'qcow9', 'S', 'T'], "Unknown file format 'qcow9'"),
    (['-f', 'qcow9', 'S', 'T'], 'qcow9'),
    (['-o', 'flavour=sweet', 'S', 'T'], "'flavour'"),
    (['--target-is-zero', 'S', 'T'], '-n'),
    (['--target-image-opts', 'S', 'driver=raw,file.filename=T'], '-n'),
    (['-n', '-O', 'raw', '--target-image-opts', 'S', 'driver=raw,file.filename=T'], 'mutually exclusive'),
    (['-n', 'S', 'T'], "'T'"),
    (['-O', 'luks', 'S', 'T'], 'key-secret'),
    (['-O', 'luks', '-o', 'key-secret=nobody', 'S', 'T'], 'nobody'),
    (['missing', 'T'], "'missing'"),
    (['S', 'nowhere/T'], "'nowhere/T'"),
    (['S', 'S', 'S'], 'lock'),
    (['S'], "'convert' expects FILE"),
])
def test_refused(tmp_path, argv, named):
    source = write_pieces(tmp_path / 'S', MIB, (0, MIB))
    before = source.read_bytes()
    done = qemu_img('convert', *argv, status=1, cwd=tmp_path)
    assert named in done.stderr.splitlines()[0]
    assert not (tmp_path / 'T').exists()
    assert source.read_bytes() == before


def test_source_without_its_password(tmp_path, source, target):
    debian_encrypt(source, target, *secret(tmp_path), '-o', f'key-secret=sec0,{FAST}')
    for argv in [target], ['-f', 'luks', target], ['--image-opts', f'driver=luks,file.filename={target}']:
        done = qemu_img('convert', *argv, tmp_path / 'x', status=1)
        assert 'key-secret' in done.stderr and str(target) in done.stderr
    done = qemu_img('convert', *secret(tmp_path, 'sec0', b'wrong'), '--image-opts', luks_opts(target), tmp_path / 'x',
                    status=1)
    assert 'password' in done.stderr
    assert not (tmp_path / 'x').exists()


@pytest.fixture(name='small_disk')
def fixture_small_disk(tmp_path):
    """A file system of 8 MiB."""
    path = tmp_path / 'small'
    path.mkdir()
    if os.geteuid() != 0 or run('mount', '-t', 'tmpfs', '-o', 'size=8M', 'tmpfs', path, status=None).returncode:
        pytest.skip('cannot mount a file system')
    yield path
    run('umount', path)


@pytest.mark.parametrize('encrypted', [False, True])
def test_full_disk(tmp_path, small_disk, encrypted):
    source = write_pieces(tmp_path / 's', 16 * MIB, (0, 16 * MIB))
    options = ['-O', 'luks', *secret(tmp_path), '-o', f'key-secret=sec0,{FAST}'] if encrypted else ['-O', 'raw']
    done = qemu_img('convert', *options, source, small_disk / 'target', status=1)
    assert 'No space left' in done.stderr and len(done.stderr.splitlines()) == 1
    assert not (small_disk / 'target').exists()


def test_full_disk_keeps_what_was_there(tmp_path, small_disk):
    source = write_pieces(tmp_path / 's', 16 * MIB, (0, 16 * MIB))
    target = small_disk / 'target'
    target.write_bytes(b'x')
    qemu_img('convert', source, target, status=1)
    assert target.exists()


BAD_DISK = """
#define _GNU_SOURCE
#include <errno.h>
#include <sys/uio.h>
#include <dlfcn.h>
/* Reads of sectors 3, 4 and 4000 fail. */
static int bad(const struct iovec *iov, int n, long offset)
{
    long end = offset;
    for (int i = 0; i < n; i++) {
        end += iov[i].iov_len;
    }
    return (offset < 2560 && end > 1536) || (offset < 4001 * 512 && end > 4000 * 512);
}
ssize_t preadv64v2(int fd, const struct iovec *iov, int n, long offset, int flags)
{
    ssize_t (*real)(int, const struct iovec *, int, long, int) = dlsym(RTLD_NEXT, "preadv64v2");
    if (bad(iov, n, offset)) {
        errno = EIO;
        return -1;
    }
    return real(fd, iov, n, offset, flags);
}
ssize_t preadv64(int fd, const struct iovec *iov, int n, long offset)
{
    return preadv64v2(fd, iov, n, offset, 0);
}
"""


@pytest.fixture(name='bad_disk')
def fixture_bad_disk(tmp_path):
    """An image with three unreadable places, and the environment that makes them so."""
    (tmp_path / 'bad.c').write_text(BAD_DISK)
    run('cc', '-shared', '-fPIC', '-o', tmp_path / 'bad.so', tmp_path / 'bad.c', '-ldl')
    image = write_pieces(tmp_path / 's', 3 * MIB, (0, 3 * MIB))
    return f'driver=raw,file.aio=threads,file.filename={image}', image, {**os.environ, 'LD_PRELOAD': tmp_path / 'bad.so'}


@pytest.mark.plain_build
def test_salvage(bad_disk, target):
    opts, image, env = bad_disk
    salvaged = bytearray(image.read_bytes())
    salvaged[1536:2560] = bytes(1024)
    salvaged[4000 * 512:4001 * 512] = bytes(512)
    done = qemu_img('convert', '--salvage', '--image-opts', opts, target, env=env)
    assert target.read_bytes() == salvaged
    assert [int(n) for n in re.findall('error while reading at byte ([0-9]+): Input/output error', done.stderr)] == \
        [1536, 2048, 4000 * 512]
    assert qemu_img('convert', '-q', '--salvage', '--image-opts', opts, target, env=env).stderr == ''


@pytest.mark.plain_build
def test_unreadable(bad_disk, target):
    opts, _, env = bad_disk
    done = qemu_img('convert', '--image-opts', opts, target, status=1, env=env)
    assert done.stderr == 'qemu-img: error while reading at byte 0: Input/output error\n'
    assert not target.exists()


def test_interrupted(tmp_path, target):
    source = write_pieces(tmp_path / 's', 32 * MIB, (0, 32 * MIB))
    with subprocess.Popen([QEMU_IMG, 'convert', '-r', '1M', source, target], stderr=subprocess.PIPE) as process:
        while not target.exists():
            time.sleep(0.01)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        assert b'cancelled' in process.stderr.read()
    assert process.returncode == 1
    assert not target.exists()


def test_locked_source(tmp_path, source, target):
    """An image that another program writes to is only copied with -U."""
    with subprocess.Popen([DEBIAN_QEMU_IO, '-f', 'raw', source], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout.read(len('qemu-io> ')) == b'qemu-io> '
        assert 'lock' in qemu_img('convert', '-f', 'raw', source, target, status=1).stderr
        qemu_img('convert', '-U', '-f', 'raw', source, target)
        writer.communicate(b'quit\n')
    assert target.read_bytes() == source.read_bytes()
