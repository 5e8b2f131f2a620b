"""Passwords added and removed by one program and used by the other.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import json
import shutil

import pytest

import luks
import luks_header
from luks import OTHER, PASSWORD
from programs import cryptsetup, debian_qemu_img, password_file, qemu_img, secret_object

MAKERS = {
    'ours': lambda tmp_path, image: luks.create(qemu_img, tmp_path, image, 'hash-alg=sha256'),
    'cryptsetup': lambda tmp_path, image: luks.luks_format(image),
    'debian': lambda tmp_path, image: luks.create(debian_qemu_img, tmp_path, image, 'hash-alg=sha256'),
}


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """A LUKS volume by each program that can create one, by its name; created once, since QEMU takes seconds."""
    directory = tmp_path_factory.mktemp('made')
    for maker, make in MAKERS.items():
        make(directory, directory / maker)
    return directory


@pytest.fixture(params=MAKERS)
def volume(request, tmp_path, made):
    """A LUKS volume of each program in turn, with PASSWORD in keyslot 0."""
    return shutil.copyfile(made / request.param, tmp_path / 'volume.luks')


@pytest.fixture
def ours(tmp_path):
    """A LUKS volume created by us."""
    image = tmp_path / 'volume.luks'
    luks.create(qemu_img, tmp_path, image, 'hash-alg=sha512')
    return image


def active_slots(image):
    slots = json.loads(qemu_img('keyslot', 'list', '--output=json', image).stdout)['slots']
    return [slot['slot'] for slot in slots if slot['active']]


def amend(img, tmp_path, image, options, *args):
    """Change keyslots with qemu-img amend; the new password is OTHER."""
    img('amend', *secret_object(tmp_path, 'sec0', PASSWORD), *secret_object(tmp_path, 'new', OTHER), *args,
        '-o', options, '--image-opts', luks.luks_options(image))


def test_added_by_us(tmp_path, volume):
    luks.add_keyslot(tmp_path, volume)
    assert active_slots(volume) == [0, 1]
    assert luks.opens(volume, PASSWORD, slot=0)
    assert luks.opens(volume, OTHER, slot=1)
    assert luks.volume_key(volume, OTHER) == luks.volume_key(volume, PASSWORD)
    payload = luks.payload_file(tmp_path)
    luks.fill(qemu_img, tmp_path, payload, volume, OTHER)
    assert luks.holds(debian_qemu_img, tmp_path, payload, volume, OTHER)


def test_added_by_amend(tmp_path, volume):
    amend(qemu_img, tmp_path, volume, 'state=active,new-secret=new,keyslot=5,iter-time=10')
    assert active_slots(volume) == [0, 5]
    assert luks.opens(volume, OTHER, slot=5)
    amend(qemu_img, tmp_path, volume, 'state=inactive,old-secret=sec0')
    assert active_slots(volume) == [5]
    assert not luks.opens(volume, PASSWORD)
    assert luks.opens(volume, OTHER)


def test_added_by_cryptsetup(tmp_path, ours):
    cryptsetup('luksAddKey', '--pbkdf-force-iterations=1000', '--key-slot=3', ours,
               password_file(tmp_path, OTHER), password=PASSWORD)
    assert active_slots(ours) == [0, 3]
    payload = luks.payload_file(tmp_path)
    luks.fill(qemu_img, tmp_path, payload, ours, OTHER)
    assert luks.holds(qemu_img, tmp_path, payload, ours, PASSWORD)


def test_added_by_debian(tmp_path, ours):
    for _ in range(4):
        try:
            amend(debian_qemu_img, tmp_path, ours, 'state=active,new-secret=new,iter-time=10')
            break
        except AssertionError as failure:
            assert 'accurate CPU usage' in str(failure)
    assert active_slots(ours) == [0, 1]
    payload = luks.payload_file(tmp_path)
    luks.fill(qemu_img, tmp_path, payload, ours, OTHER)
    assert luks.holds(qemu_img, tmp_path, payload, ours, PASSWORD)


def test_removed_by_us(tmp_path, volume):
    luks.add_keyslot(tmp_path, volume)
    offset, length = luks_header.material(volume, 0)
    before = volume.read_bytes()
    qemu_img('keyslot', 'remove', '-q', *secret_object(tmp_path, 'old', PASSWORD), '--secret', 'old', volume)
    after = volume.read_bytes()
    assert active_slots(volume) == [1]
    assert not luks.opens(volume, PASSWORD)
    assert luks.opens(volume, OTHER)
    # All sectors of the key material changed, and nothing else except the header.
    sectors = range(offset, offset + length // 512 * 512, 512)
    assert all(before[i:i + 512] != after[i:i + 512] for i in sectors)
    end = -(-(offset + length) // 512) * 512
    assert before[1024:offset] == after[1024:offset] and before[end:] == after[end:]


def test_removed_by_cryptsetup(tmp_path, ours):
    luks.add_keyslot(tmp_path, ours)
    cryptsetup('luksKillSlot', ours, '0', password=OTHER)
    assert active_slots(ours) == [1]
    payload = luks.payload_file(tmp_path)
    failed = qemu_img('convert', '-n', '-f', 'raw', *secret_object(tmp_path, 'sec0', PASSWORD),
                      '--target-image-opts', payload, luks.luks_options(ours), status=1)
    assert 'nvalid password' in failed.stderr
    luks.fill(qemu_img, tmp_path, payload, ours, OTHER)


def test_changed_by_us(tmp_path, volume):
    qemu_img('keyslot', 'change', '-q', *secret_object(tmp_path, 'old', PASSWORD),
             *secret_object(tmp_path, 'new', OTHER), '--secret', 'old', '--new-secret', 'new', '--iter-time', '10',
             volume)
    assert not luks.opens(volume, PASSWORD)
    assert luks.opens(volume, OTHER)


def test_all_eight(tmp_path, ours):
    for slot in range(1, 8):
        luks.add_keyslot(tmp_path, ours, PASSWORD, f'password {slot}'.encode())
    assert active_slots(ours) == list(range(8))
    for slot in range(1, 8):
        assert luks.opens(ours, f'password {slot}'.encode(), slot=slot)
    full = qemu_img('keyslot', 'add', *secret_object(tmp_path, 'old', PASSWORD), *secret_object(tmp_path, 'new', OTHER),
                    '--secret', 'old', '--new-secret', 'new', ours, status=1)
    assert len(full.stderr.strip().splitlines()) <= 2


@pytest.mark.parametrize('password', [b'\0', b'\xff\xfe nul \0 and newline\n', b'\n', b'x' * 512])
def test_passwords_of_any_bytes(tmp_path, ours, password):
    luks.add_keyslot(tmp_path, ours, PASSWORD, password)
    assert luks.opens(ours, password)
    theirs = tmp_path / 'theirs.luks'
    luks.luks_format(theirs, password=password)
    payload = luks.payload_file(tmp_path)
    luks.fill(qemu_img, tmp_path, payload, theirs, password)
    assert luks.holds(qemu_img, tmp_path, payload, theirs, password)
    assert not luks.opens(theirs, password[:-1] or b'x')


def test_erased_by_us(tmp_path, volume):
    before = volume.read_bytes()
    regions = [luks_header.material(volume, slot) for slot in range(8)]
    luks.add_keyslot(tmp_path, volume)
    report = json.loads(qemu_img('erase', '--scope', 'key-material', '--force', '--output=json', volume).stdout)
    assert report['scope'] == 'key-material'
    assert report['assurance'] in ('overwritten', 'may-survive', 'unknown')
    assert active_slots(volume) == []
    assert not luks.opens(volume, PASSWORD)
    assert not luks.opens(volume, OTHER)
    after = volume.read_bytes()
    for offset, length in regions:
        assert before[offset:offset + 512] != after[offset:offset + 512]
        assert any(r['offset'] <= offset and offset + length <= r['offset'] + r['length'] and r['verified']
                   for r in report['regions'])


@pytest.mark.parametrize('scope', ['header', 'image'])
def test_header_erased_by_us(tmp_path, ours, scope):
    payload = luks.payload_file(tmp_path)
    luks.fill(qemu_img, tmp_path, payload, ours)
    before = ours.read_bytes()
    start = luks_header.payload_bytes(ours)
    qemu_img('erase', '-q', '--scope', scope, '--force', ours)
    after = ours.read_bytes()
    assert len(after) == len(before)
    assert cryptsetup('isLuks', ours, status=None).returncode == 1
    end = start if scope == 'header' else len(before)
    assert all(before[i:i + 512] != after[i:i + 512] for i in range(0, end, 512))
    assert before[end:] == after[end:]


def test_header_backup_and_restore(tmp_path, ours):
    backup = tmp_path / 'header.backup'
    theirs = tmp_path / 'header.cryptsetup'
    qemu_img('header', 'backup', ours, backup)
    cryptsetup('luksHeaderBackup', ours, '--header-backup-file', theirs)
    assert backup.stat().st_mode & 0o777 == 0o600
    # cryptsetup blanks the gaps
    for offset, length in [(0, luks_header.HEADER_BYTES), *(luks_header.material(ours, slot) for slot in range(8))]:
        assert theirs.read_bytes()[offset:offset + length] == backup.read_bytes()[offset:offset + length]
    with open(ours, 'r+b') as f:
        f.write(b'\0' * luks_header.payload_bytes(ours))
    qemu_img('header', 'restore', ours, theirs)
    assert luks.opens(ours)
