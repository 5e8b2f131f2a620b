"""qemu-img format: a LUKS header for a volume that exists.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import signal
import stat
import struct
import subprocess
import time

import pytest

from programs import QEMU_IMG, cryptsetup, qemu_img, qemu_img_json, run, secret_object

PASSWORD = b'pw\0'
SIZE = 8 << 20


@pytest.fixture(name='volume')
def fixture_volume(tmp_path):
    """A volume of 8 MiB."""
    volume = tmp_path / 'volume'
    volume.write_bytes(b'\x5a' * SIZE)
    return volume


@pytest.fixture(name='format_it')
def fixture_format_it(tmp_path):
    """Runs qemu-img format with a secret."""
    def run_format(*args, options='', **kwargs):
        return qemu_img('format', '-f', 'luks', *secret_object(tmp_path, 's', PASSWORD), '-o',
                        'key-secret=s,iter-time=10' + options, *args, **kwargs)
    return run_format


def test_format(volume, format_it):
    done = format_it(volume)
    assert volume.stat().st_size == SIZE
    usable = qemu_img_json('info', volume)['virtual-size']
    assert usable == SIZE - qemu_img_json('info', volume)['format-specific']['data']['payload-offset']
    assert f'({usable} bytes)' in done.stdout and f'({SIZE} bytes)' in done.stdout
    assert volume.read_bytes()[SIZE - usable:] == b'\x5a' * usable
    cryptsetup('open', '--test-passphrase', volume, password=PASSWORD)


def test_options_and_quiet(volume, format_it):
    assert format_it('-q', volume, options=',cipher-alg=serpent-256,hash-alg=sha512').stdout == ''
    data = qemu_img_json('info', volume)['format-specific']['data']
    assert (data['cipher-alg'], data['hash-alg']) == ('serpent-256', 'sha512')


def test_part_of_a_file(volume, format_it):
    """--image-opts are options of the volume below, -o those of the new format."""
    format_it('--image-opts', f'driver=raw,offset=1M,size=4M,file.filename={volume}')
    data = volume.read_bytes()
    assert data[:1 << 20] == b'\x5a' * (1 << 20) and data[5 << 20:] == b'\x5a' * (3 << 20)
    assert data[1 << 20:].startswith(b'LUKS\xba\xbe')


def test_header_of_its_own(volume, format_it, tmp_path):
    header = tmp_path / 'header'
    format_it('--header', header, volume)
    assert stat.S_IMODE(header.stat().st_mode) == 0o600
    assert volume.stat().st_size == SIZE
    cryptsetup('open', '--test-passphrase', '--header', header, volume, password=PASSWORD)
    info = qemu_img_json('info', '--image-opts', f'driver=luks,file.filename={volume},header.filename={header}')
    assert info['virtual-size'] == SIZE
    assert [child['name'] for child in info['children']].count('header') == 1
    done = format_it('--header', header, volume, status=1)
    assert str(header) in done.stderr and 'LUKS' in done.stderr
    format_it('--force', '--header', header, volume)


def test_what_is_there_is_named(volume, format_it):
    format_it(volume)
    luks = volume.read_bytes()
    assert 'LUKS version 1' in format_it(volume, status=1).stderr.splitlines()[0]
    assert volume.read_bytes() == luks
    format_it('--force', volume)
    run('/sbin/mkfs.ext4', '-q', '-F', volume)
    ext4 = volume.read_bytes()
    assert 'ext4 file system' in format_it(volume, status=1).stderr
    assert volume.read_bytes() == ext4
    partition = struct.pack('<B3xB3xII', 0x80, 0x83, 8, 1024)
    volume.write_bytes(bytes(446) + partition + bytes(48) + b'\x55\xaa' + bytes(SIZE - 512))
    assert 'partition table' in format_it(volume, status=1).stderr


def test_failures_write_nothing(volume, format_it, tmp_path):
    before = volume.read_bytes()
    header = tmp_path / 'header'
    for argv, options, named in [
            ([volume], ',cipher-alg=rot13', 'rot13'),
            ([volume], ',frob=1', 'frob'),
            ([volume], ',key-secret=nope', 'nope'),
            (['--header', header, volume], ',key-secret=nope', 'nope'),
            (['--header', header, tmp_path / 'none'], '', 'none'),
            (['--header', tmp_path / 'no/header', volume], '', 'header'),
            (['--image-opts', f'driver=raw,offset=7M,file.filename={volume}'], '', 'bytes'),    # too small
            (['--image-opts', f'driver=raw,read-only=on,file.filename={volume}'], '', 'read-only'),
    ]:
        done = format_it(*argv, options=options, status=1)
        assert named in done.stderr.splitlines()[0], done.stderr
        assert volume.read_bytes() == before
        assert not header.exists()
    assert 'qcow2' in qemu_img('format', '-f', 'qcow2', volume, status=1).stderr


def test_help():
    assert 'cipher-alg=' in qemu_img('format', '-o', 'help', 'x').stdout


def test_header_with_a_protocol(volume, format_it, tmp_path):
    format_it('--header', f'file:{tmp_path}/header', volume)
    assert stat.S_IMODE((tmp_path / 'header').stat().st_mode) == 0o600


def test_header_that_is_there_keeps_its_mode(volume, format_it, tmp_path):
    header = tmp_path / 'header'
    header.touch(0o644)
    header.chmod(0o644)
    format_it('--header', header, volume)
    assert stat.S_IMODE(header.stat().st_mode) == 0o644


def test_cancelled_before_detached_header(tmp_path, volume):
    """The volume keeps its contents, and no header is left."""
    header = tmp_path / 'header'
    argv = [QEMU_IMG, 'format', *secret_object(tmp_path, 's', PASSWORD), '-o', 'key-secret=s,iter-time=3000',
            '--header', header, volume]
    with subprocess.Popen(argv, stderr=subprocess.PIPE) as process:
        while not header.exists():
            time.sleep(0.01)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 1
    assert volume.read_bytes() == b'\x5a' * SIZE
    assert not header.exists()
