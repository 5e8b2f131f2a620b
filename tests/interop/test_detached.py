"""Headers on a volume of their own.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import shutil

import pytest

import luks
import luks_header
from luks import OTHER, PASSWORD
from programs import SYSTEM_ENV, cryptsetup, debian_qemu_img, qemu_img, run, secret_object


@pytest.fixture
def header(tmp_path):
    return tmp_path / 'header.luks'


@pytest.fixture
def disk(tmp_path):
    path = tmp_path / 'disk.img'
    with open(path, 'wb') as f:
        f.truncate(luks.SIZE)
    return path


def join(header, disk, image):
    """Join header and payload into one volume, for programs without support for detached headers."""
    shutil.copy(header, image)
    start = 4 << 20
    with open(image, 'r+b') as f:
        f.seek(start)
        f.write(disk.read_bytes())
    luks_header.put(image, 'payload-offset', start // luks_header.SECTOR)


def check_pair(tmp_path, header, disk):
    """cryptsetup opens the pair, and QEMU reads what we write from the joined volume."""
    assert luks_header.get(header, 'payload-offset') == 0
    assert luks.opens(disk, header=header)
    assert not luks.opens(disk, OTHER, header=header)
    payload = luks.payload_file(tmp_path)
    luks.fill(qemu_img, tmp_path, payload, disk, header=header)
    assert disk.stat().st_size == luks.SIZE
    assert luks.holds(qemu_img, tmp_path, payload, disk, header=header)
    joined = tmp_path / 'joined.luks'
    join(header, disk, joined)
    assert luks.holds(debian_qemu_img, tmp_path, payload, joined)


def test_made_by_create(tmp_path, header, disk):
    qemu_img('create', '-q', '-f', 'luks', *secret_object(tmp_path, 'sec0', PASSWORD),
             '-o', 'key-secret=sec0,iter-time=10,detached-header=true', header)
    check_pair(tmp_path, header, disk)


def test_made_by_format(tmp_path, header, disk):
    qemu_img('format', '-q', *secret_object(tmp_path, 'sec0', PASSWORD), '-o', 'key-secret=sec0,iter-time=10',
             '--header', header, disk)
    check_pair(tmp_path, header, disk)


def test_made_by_cryptsetup(tmp_path, header, disk):
    luks.luks_format(disk, header=header)
    check_pair(tmp_path, header, disk)


def test_keyslots_in_it(tmp_path, header, disk):
    luks.luks_format(disk, header=header)
    before = disk.read_bytes()
    qemu_img('keyslot', 'add', '-q', *secret_object(tmp_path, 'sec0', PASSWORD), *secret_object(tmp_path, 'new', OTHER),
             '--new-secret', 'new', '--iter-time', '10', '--image-opts', luks.luks_options(disk, header=header))
    assert luks.opens(disk, OTHER, header=header)
    qemu_img('amend', *secret_object(tmp_path, 'sec0', OTHER), '-o', 'state=inactive,keyslot=0',
             '--image-opts', luks.luks_options(disk, header=header))
    assert not luks.opens(disk, PASSWORD, header=header)
    assert luks.opens(disk, OTHER, header=header)
    qemu_img('erase', '-q', '--scope', 'key-material', '--force', '--image-opts',
             luks.luks_options(disk, header=header).replace(',key-secret=sec0', ''))
    assert not luks.opens(disk, OTHER, header=header)
    assert disk.read_bytes() == before


def test_format_in_place(tmp_path, disk):
    """Without --header, the header takes space of the volume."""
    with open(disk, 'r+b') as f:
        f.truncate(4 << 20)
    said = qemu_img('format', *secret_object(tmp_path, 'sec0', PASSWORD), '-o', 'key-secret=sec0,iter-time=10', disk)
    assert str((4 << 20) - luks_header.payload_bytes(disk)) in said.stdout
    assert disk.stat().st_size == 4 << 20
    assert luks.opens(disk)
    again = qemu_img('format', *secret_object(tmp_path, 'sec0', OTHER), '-o', 'key-secret=sec0,iter-time=10', disk,
                     status=1)
    assert 'LUKS' in again.stderr and 'force' in again.stderr
    assert luks.opens(disk)
    qemu_img('format', '-q', '--force', *secret_object(tmp_path, 'sec0', OTHER), '-o', 'key-secret=sec0,iter-time=10',
             disk)
    assert luks.opens(disk, OTHER) and not luks.opens(disk, PASSWORD)


def test_format_over_a_signature(tmp_path, disk):
    run('mkswap', disk, env=SYSTEM_ENV)
    before = disk.read_bytes()
    refused = qemu_img('format', *secret_object(tmp_path, 'sec0', PASSWORD), '-o', 'key-secret=sec0,iter-time=10', disk,
                       status=1)
    assert 'swap' in refused.stderr
    assert disk.read_bytes() == before
    assert cryptsetup('isLuks', disk, status=None).returncode == 1
