"""qemu-img create, with the command lines of libvirt, Cinder, CDI and Proxmox.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import fcntl
import os
import stat
import struct
import subprocess

import pytest

from programs import (QEMU_IMG, cryptsetup, debian_qemu_img, password_file, qemu_img, qemu_img_json, run,
                      secret_object)

PASSWORD = b'fishing\0\xff\nboat'
FAST = 'iter-time=10'


@pytest.fixture(name='secret')
def fixture_secret(tmp_path):
    """The arguments that define secret sec0."""
    return secret_object(tmp_path, 'sec0', PASSWORD)


def test_raw(tmp_path):
    image = tmp_path / 'disk.img'
    assert qemu_img('create', image, '1.5M').stdout == f"Formatting '{image}', fmt=raw size=1572864\n"
    assert image.stat().st_size == 1572864
    assert qemu_img('create', '-q', '-f', 'raw', image, '3K').stdout == ''
    assert image.stat().st_size == 3072
    assert qemu_img('create', image, '-o', 'size=2M').stdout == f"Formatting '{image}', fmt=raw size=2097152\n"


@pytest.mark.parametrize('size', [0, 1, 511, 513])
def test_raw_is_whole_sectors(tmp_path, size):
    ours, debian = tmp_path / 'ours.img', tmp_path / 'debian.img'
    qemu_img('create', ours, size)
    debian_qemu_img('create', debian, size)
    assert ours.stat().st_size == debian.stat().st_size


def test_raw_preallocation_as_cdi_and_proxmox(tmp_path):
    image = tmp_path / 'disk.img'
    qemu_img('create', '-f', 'raw', image, 1 << 20, '-o', 'preallocation=falloc')
    assert image.stat().st_blocks * 512 >= 1 << 20
    qemu_img('create', '-o', 'preallocation=off', '-f', 'raw', image, '1024K')
    assert image.stat().st_blocks == 0 and image.stat().st_size == 1 << 20


@pytest.mark.parametrize('options', ['nocow=on', 'extent_size_hint=1M', 'nocow=off,extent_size_hint=0'])
def test_raw_options_as_debian(tmp_path, options):
    ours, debian = (program('create', '-f', 'raw', '-o', options, tmp_path / 'disk.img', '1M')
                    for program in (qemu_img, debian_qemu_img))
    assert ours.stdout == debian.stdout


def test_extent_size_hint_too_large(tmp_path):
    done = qemu_img('create', '-o', 'extent_size_hint=4G', tmp_path / 'disk.img', '1M', status=1)
    assert 'Extent size hint is too large' in done.stderr
    assert not (tmp_path / 'disk.img').exists()


def test_luks_as_libvirt(tmp_path):
    """libvirt's volume encryption; the password holds bytes that no text contains."""
    image = tmp_path / 'vol.luks'
    secret = ['--object', f'secret,id=V_encrypt0,file={password_file(tmp_path, PASSWORD)}']
    done = qemu_img('create', '-f', 'luks', *secret, '-o',
                    'key-secret=V_encrypt0,cipher-alg=aes-256,cipher-mode=xts,hash-alg=sha256,ivgen-alg=plain64,'
                    'ivgen-hash-alg=sha256', '-o', FAST, image, '1024K')
    assert done.stdout.startswith(f"Formatting '{image}', fmt=luks size=1048576 key-secret=V_encrypt0 cipher-alg=aes-256")
    assert qemu_img_json('info', image)['virtual-size'] == 1 << 20
    cryptsetup('open', '--test-passphrase', image, password=PASSWORD)


def test_luks_as_cinder(tmp_path):
    image = tmp_path / 'vol.luks'
    image.touch()       # Cinder has already created a temporary file
    secret = ['--object', f'secret,id=luks_sec,format=raw,file={password_file(tmp_path, b"0123abcd")}']
    qemu_img('create', '-f', 'luks', '-o', 'cipher-alg=aes-256,cipher-mode=xts,ivgen-alg=essiv', *secret,
             '-o', 'key-secret=luks_sec', '-o', FAST, image, '1M')
    debian_qemu_img('compare', *secret, '--image-opts', f'driver=luks,key-secret=luks_sec,file.filename={image}',
                    f'driver=luks,key-secret=luks_sec,file.filename={image}')


def test_luks_mode(tmp_path, secret):
    image = tmp_path / 'a.luks'
    qemu_img('create', '-q', '-f', 'luks', *secret, '-o', f'key-secret=sec0,{FAST}', image, '64k', umask=0o077)
    assert stat.S_IMODE(image.stat().st_mode) == 0o600


def test_detached_header(tmp_path, secret):
    header, payload = tmp_path / 'header', tmp_path / 'payload'
    qemu_img('create', '-f', 'luks', *secret, '-o', f'key-secret=sec0,{FAST},detached-header=true', header)
    assert stat.S_IMODE(header.stat().st_mode) == 0o600
    payload.write_bytes(bytes(1 << 20))
    cryptsetup('open', '--test-passphrase', '--header', header, payload, password=PASSWORD)
    info = qemu_img_json('info', '--image-opts', f'driver=luks,file.filename={payload},header.filename={header}')
    assert info['virtual-size'] == 1 << 20
    assert info['format-specific']['data']['detached-header'] is True


def test_header_apart(tmp_path):
    """--header means what it means elsewhere: the file beside the payload with the LUKS header."""
    header, payload, key = tmp_path / 'header', tmp_path / 'payload', password_file(tmp_path, PASSWORD)
    done = qemu_img('create', '--header', header, '--key-file', key, '-o', FAST, payload, '1M')
    assert f'fmt=luks size={1 << 20}' in done.stdout and f'header={header}\n' in done.stdout
    assert payload.read_bytes() == bytes(1 << 20)
    assert stat.S_IMODE(header.stat().st_mode) == 0o600 and stat.S_IMODE(payload.stat().st_mode) == 0o644
    cryptsetup('open', '--test-passphrase', '--header', header, payload, password=PASSWORD)
    assert 'Payload offset:\t0\n' in cryptsetup('luksDump', header).stdout
    assert qemu_img_json('info', '--header', header, payload)['virtual-size'] == 1 << 20
    qemu_img('convert', '-n', '--new-key-file', key, '--target-image-opts', key,
             f'driver=luks,file.filename={payload},header.filename={header}')
    # overwriting either needs --force
    for old, new in (header, payload), (tmp_path / 'new', header):
        before = header.read_bytes()
        done = qemu_img('create', '--header', old, '--key-file', key, new, '1M', status=1)
        assert '--force' in done.stderr and header.read_bytes() == before
        assert not (tmp_path / 'new').exists()
    done = qemu_img('create', '--force', '-f', 'luks', '--header', header, '--key-file', key,
                    '-o', f'{FAST},preallocation=full', payload, '2M')
    assert 'overwriting LUKS volume' in done.stderr
    assert payload.stat().st_size == 2 << 20 and payload.stat().st_blocks * 512 >= 2 << 20
    cryptsetup('open', '--test-passphrase', '--header', header, payload, password=PASSWORD)


@pytest.mark.parametrize('argv, named', [
    (['-f', 'raw', '--header', 'header'], "'raw' has no header"),
    (['--header', 'payload'], 'cannot both'),
    (['--header', './payload'], 'cannot both'),
    (['--header', 'none/header'], 'none/header'),
    (['--header', '.'], "'.'"),
    (['--header', 'header', '-o', 'detached-header=on'], 'exclude each other'),
    (['--header', 'header', '-o', 'key-secret=nope'], 'exclude each other'),
])
def test_header_apart_errors(tmp_path, argv, named):
    key = password_file(tmp_path, PASSWORD, 'key')
    for exists in False, True:
        if exists:
            (tmp_path / 'payload').write_bytes(b'some data')
        done = qemu_img('create', *argv, '--key-file', key, 'payload', '1M', status=1, cwd=tmp_path)
        assert named in done.stderr
        if './payload' not in argv or exists:
            assert (tmp_path / 'payload').exists() == exists and not (tmp_path / 'header').exists()


BAD_LUKS = [
    ('key-secret=nope', 'nope'),
    ('key-secret=sec0,cipher-alg=rot13', 'rot13'),
    ('key-secret=sec0,cipher-alg=des', 'des'),
    ('key-secret=sec0,cipher-alg=cast5-128', 'xts'),
    ('key-secret=sec0,hash-alg=sm3', 'sm3'),
    ('key-secret=sec0,iter-time=soon', 'iter-time'),
    ('key-secret=sec0,frob=1', 'frob'),
    ('key-secret=sec0,ivgen-alg=essiv,ivgen-hash-alg=sha1', 'sha1'),
    ('key-secret=sec0,preallocation=maybe', 'maybe'),
    ('cipher-alg=aes-256', 'key-secret'),
    ('key-secret', 'key-secret'),
]


@pytest.mark.parametrize('options, named', BAD_LUKS)
def test_failure_leaves_no_file(tmp_path, secret, options, named):
    image = tmp_path / 'a.luks'
    done = qemu_img('create', '-f', 'luks', *secret, '-o', options, image, '1M', status=1)
    assert done.stderr.startswith('qemu-img: ') and named in done.stderr.splitlines()[0]
    assert done.stdout == ''
    assert not image.exists()


@pytest.mark.parametrize('argv, named', [
    (['-f', 'raw'], 'size'),
    (['-f', 'qcow9', '1M'], 'qcow9'),
    (['-f', 'null-co', '1M'], 'null-co'),
    (['-f', 'raw', '1Q'], '1Q'),
    (['-f', 'raw', '--', '-1'], '-1'),
    (['-f', 'raw', '9E'], 'image size'),
    (['-f', 'raw', '-o', 'frob=1', '1M'], 'frob'),
    (['-f', 'raw', '-b', 'x', '1M'], 'Backing file'),
    (['-f', 'luks', '-o', f'key-secret=sec0,{FAST}'], 'size'),
])
def test_bad_arguments(tmp_path, secret, argv, named):
    image = tmp_path / 'image'
    at = argv.index('--') + 1 if '--' in argv else len(argv) - (argv[-1][-1] in 'MQE')
    done = qemu_img('create', *secret, *argv[:at], image, *argv[at:], status=1)
    assert named in done.stderr.splitlines()[0]
    assert not image.exists()


def test_unreadable_secret(tmp_path):
    image = tmp_path / 'a.luks'
    done = qemu_img('create', '-f', 'luks', '--object', f'secret,id=s,file={tmp_path}/none', '-o', 'key-secret=s', image,
                    '1M', status=1)
    assert f'{tmp_path}/none' in done.stderr
    assert not image.exists()


def test_no_directory(tmp_path, secret):
    done = qemu_img('create', '-f', 'luks', *secret, '-o', f'key-secret=sec0,{FAST}', tmp_path / 'no/a.luks', '1M', status=1)
    assert 'No such file or directory' in done.stderr


def test_existing_other_file_is_overwritten(tmp_path, secret):
    image = tmp_path / 'a.luks'
    image.write_bytes(b'x' * 100000)
    qemu_img('create', '-f', 'luks', *secret, '-o', f'key-secret=sec0,{FAST}', image, '64k')
    cryptsetup('open', '--test-passphrase', image, password=PASSWORD)


@pytest.mark.parametrize('start, length', [(200, 4), (101, 1)], ids=['unshared', 'written'])
def test_image_in_use(tmp_path, start, length):
    """An image that is in use by another program, with QEMU's locks, is not overwritten."""
    image = tmp_path / 'a.img'
    image.write_bytes(b'precious')
    with open(image, 'rb') as file:
        fcntl.fcntl(file, 37, struct.pack('hhqqi4x', fcntl.F_RDLCK, os.SEEK_SET, start, length, 0))     # F_OFD_SETLK
        done = qemu_img('create', '-f', 'raw', image, '1M', status=1)
    assert 'lock' in done.stderr
    assert image.read_bytes() == b'precious'


def test_disk_full(tmp_path, secret):
    """A tmpfs of 64 KiB cannot hold 1 MiB of data; nothing is left."""
    script = '''mount -t tmpfs -o size=64k tmpfs "$1" && cd "$1" && shift && "$@"; status=$?; ls; exit $status'''
    directory = tmp_path / 'small'
    directory.mkdir()
    unshare = ['unshare', '--user', '--map-root-user', '--mount', 'sh', '-c', script, 'sh', directory]
    if subprocess.run([*unshare, 'true'], check=False, stderr=subprocess.DEVNULL).returncode:
        pytest.skip('needs user namespaces')
    done = run(*unshare, QEMU_IMG, 'create', '-q', '-f', 'luks', *secret, '-o', f'key-secret=sec0,{FAST}', 'a.luks', '1M',
               status=1)
    assert 'No space left on device' in done.stderr
    assert done.stdout == ''


def test_options_help():
    text = qemu_img('create', '-f', 'luks', '-o', 'help').stdout
    for name in ('cipher-alg', 'cipher-mode', 'detached-header', 'hash-alg', 'iter-time', 'ivgen-alg', 'ivgen-hash-alg',
                 'key-secret', 'preallocation', 'size'):
        assert f'  {name}=<' in text
    assert 'preallocation=<' in qemu_img('create', '-o', 'help').stdout


def test_secret_is_not_in_the_process_list(tmp_path):
    """Once --object data= has been read, it is wiped from argv."""
    with subprocess.Popen([QEMU_IMG, 'create', '-f', 'luks', '--object', 'secret,id=s,data=correct-horse', '-o',
                           'key-secret=s,iter-time=3000', tmp_path / 'a.luks', '64k'],
                          stdout=subprocess.PIPE) as proc:
        proc.stdout.readline()
        with open(f'/proc/{proc.pid}/cmdline', 'rb') as file:
            cmdline = file.read()
        proc.kill()
    assert b'key-secret=s' in cmdline
    assert b'correct' not in cmdline and b'horse' not in cmdline
