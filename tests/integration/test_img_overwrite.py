"""What create, convert and dd do to an existing LUKS volume.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import subprocess

import pytest

from images import FAST, MIB, secret as secret_arguments, write_pieces
from programs import SYSTEM_ENV, cryptsetup, qemu_img, qemu_img_json, run

PASSWORD = b'password'


@pytest.fixture(name='secret')
def fixture_secret(tmp_path):
    """The arguments that define secret sec0."""
    return secret_arguments(tmp_path, password=PASSWORD)


@pytest.fixture(name='loop_device')
def fixture_loop_device(tmp_path):
    """A block device of 20 MiB."""
    disk = tmp_path / 'disk'
    disk.write_bytes(bytes(20 * MIB))
    done = subprocess.run(['losetup', '-f', '--show', disk], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          env=SYSTEM_ENV, text=True, check=False)
    if done.returncode != 0:
        pytest.skip('cannot make a loop device')
    yield done.stdout.strip()
    run('losetup', '-d', done.stdout.strip(), env=SYSTEM_ENV)


def overwriting(image):
    """The output of a command that destroys it."""
    uuid = run('blkid', '-p', '-s', 'UUID', '-o', 'value', image, env=SYSTEM_ENV).stdout.strip()
    return f"qemu-img: warning: overwriting LUKS volume UUID {uuid} in '{image}'\n"


def test_existing_luks_is_kept(tmp_path, secret):
    image = tmp_path / 'a.luks'
    create = ['create', '-f', 'luks', *secret, '-o', f'key-secret=sec0,{FAST}']
    qemu_img(*create, image, '64k')
    before = image.read_bytes()
    for argv in [*create, image, '1M'], ['create', '-f', 'raw', image, '1M']:
        done = qemu_img(*argv, status=1)
        assert 'LUKS' in done.stderr.splitlines()[0] and 'force' in done.stderr
        assert image.read_bytes() == before
    assert overwriting(image) in qemu_img(*create, '--force', image, '128k').stderr
    assert qemu_img_json('info', image)['virtual-size'] == 128 << 10
    assert qemu_img('create', '-q', '-f', 'raw', '--force', image, '64k').stderr == ''
    assert image.read_bytes() == bytes(64 << 10)


@pytest.mark.parametrize('version', ['luks1', 'luks2'])
def test_device_with_luks(tmp_path, loop_device, secret, version):
    """Volume managers create images on volumes that held others before: a warning says what is lost."""
    cryptsetup('luksFormat', '--type', version, '--pbkdf', 'pbkdf2', '--pbkdf-force-iterations', '1000', loop_device,
               password=PASSWORD)
    lost = overwriting(loop_device)
    image = write_pieces(tmp_path / 'image', MIB, (0, MIB))
    for argv in (['create', '-f', 'luks', *secret, '-o', f'key-secret=sec0,{FAST}', loop_device, '1M'],
                 ['convert', image, loop_device],
                 ['convert', '-O', 'luks', *secret, '-o', f'key-secret=sec0,{FAST}', image, loop_device],
                 ['dd', f'if={image}', f'of={loop_device}', 'bs=1M']):
        assert qemu_img(*argv).stderr == lost
        lost = overwriting(loop_device) if 'luks' in argv else ''


def test_raw_device_is_cleared(loop_device, secret):
    """As by QEMU: the header of what was there before is gone, and nothing else."""
    qemu_img('create', '-f', 'luks', *secret, '-o', f'key-secret=sec0,{FAST}', loop_device, '1M')
    with open(loop_device, 'rb') as device:
        before = device.read(MIB)
    lost = overwriting(loop_device)
    qemu_img('create', '-f', 'raw', loop_device, '30M', status=1)
    assert qemu_img_json('info', loop_device)['format'] == 'luks'
    assert qemu_img('create', '-f', 'raw', loop_device, '1M').stderr == lost
    assert qemu_img_json('info', loop_device)['format'] == 'raw'
    with open(loop_device, 'rb') as device:
        assert device.read(MIB) == bytes(512) + before[512:]


def test_copies_overwrite(tmp_path, secret):
    """They always did; now a warning says what is lost."""
    image, target = write_pieces(tmp_path / 'image', MIB, (0, MIB)), tmp_path / 'a.luks'
    luks = ['-O', 'luks', *secret, '-o', f'key-secret=sec0,{FAST}']
    assert qemu_img('convert', *luks, image, target).stderr == ''
    lost = overwriting(target)
    assert qemu_img('convert', *luks, image, target).stderr == lost
    assert overwriting(target) != lost
    assert qemu_img('convert', '-q', *luks, image, target).stderr == ''
    assert qemu_img('convert', '-n', image, target).stderr == ''
    qemu_img('convert', '-q', *luks, image, target)
    lost = overwriting(target)
    assert qemu_img('dd', f'if={image}', f'of={target}', 'bs=1M').stderr == lost
    assert target.read_bytes() == image.read_bytes()


def test_odd_uuid_is_escaped(tmp_path, secret):
    target = tmp_path / 'a.luks'
    qemu_img('create', '-q', '-f', 'luks', *secret, '-o', f'key-secret=sec0,{FAST}', target, '64k')
    data = bytearray(target.read_bytes())
    data[168:208] = b'\x1b[2J\xff"' + b'x' * 34
    target.write_bytes(data)
    done = qemu_img('create', '--force', target, '64k')
    assert 'UUID \\033[2J\\377\\"' + 'x' * 34 + ' in' in done.stderr


def test_nothing_is_lost_where_it_fails(tmp_path, secret):
    target = tmp_path / 'a.luks'
    qemu_img('create', '-q', '-f', 'luks', *secret, '-o', f'key-secret=sec0,{FAST}', target, '64k')
    for options in [], ['-o', 'key-secret=none']:
        done = qemu_img('convert', '-O', 'luks', *options, target, target, '-f', 'raw', status=1)
        assert 'overwriting' not in done.stderr


@pytest.mark.parametrize('command', ['bench', 'check', 'compare', 'convert', 'dd', 'info', 'header backup',
                                     'keyslot list', 'map', 'measure'])
def test_force_is_not_force_share(tmp_path, command):
    """--force must not be mistaken for --force-share, which opens an image without locks."""
    assert "unrecognized option '--force'" in qemu_img(*command.split(), '--force', tmp_path, status=None).stderr
    assert 'unrecognized option' not in qemu_img(*command.split(), '--force-s', tmp_path, status=None).stderr
