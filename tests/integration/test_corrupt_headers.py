"""Damaged and hostile LUKS headers: an error that names the field, exit status 1, nothing written.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import json
import os
import shutil

import pytest

import corrupt_headers
import luks_header
from programs import build_option, cryptsetup, qemu_img, qemu_img_json, qemu_io, secret_object

PASSWORD = b'a password'
OTHER = b'another'


def open_with_password(tmp_path, volume, password=PASSWORD, options=''):
    """The arguments of a command that needs PASSWORD to open the volume; it then fails because "none" is missing."""
    return ['amend', *secret_object(tmp_path, 'old', password), '-o', 'state=active,new-secret=none',
            '--image-opts', f'driver=luks,key-secret=old,file.filename={volume}{options}']


def state(path):
    """The state of a file that a program must not change."""
    stat = os.stat(path)
    return path.read_bytes(), stat.st_mtime_ns, stat.st_size


def refused(*args):
    """Run our qemu-img, which must fail with one line, and perhaps two with hints; returns the first."""
    lines = qemu_img(*args, status=1).stderr.splitlines()
    assert 1 <= len(lines) <= 3, lines
    assert lines[0].startswith('qemu-img: ')
    assert not any(line.startswith('qemu-img: ') for line in lines[1:])
    assert all(line.isprintable() for line in lines)
    return lines[0]


@pytest.fixture(scope='module')
def good(tmp_path_factory):
    """A volume with the default cipher and two passwords."""
    directory = tmp_path_factory.mktemp('good')
    path = directory / 'good.luks'
    secrets = [*secret_object(directory, 'old', PASSWORD), *secret_object(directory, 'new', OTHER)]
    qemu_img('create', '-q', '-f', 'luks', *secrets, '-o', 'key-secret=old,iter-time=10', path, '64k')
    qemu_img('keyslot', 'add', '-q', *secrets, '--secret', 'old', '--new-secret', 'new', '--iter-time', '10', path)
    return path


@pytest.fixture
def volume(tmp_path, good):
    """A copy of it."""
    path = tmp_path / 'volume.luks'
    shutil.copyfile(good, path)
    return path


def test_good(volume):
    """The corpus starts from a valid volume."""
    assert 'encrypted: yes' in qemu_img('info', '-f', 'luks', volume).stdout


@pytest.mark.parametrize('name', corrupt_headers.RULES)
def test_rule(tmp_path, volume, name):
    field, damage, use = corrupt_headers.RULES[name]
    damage(volume)
    before = state(volume)
    old, new = secret_object(tmp_path, 'old', PASSWORD), secret_object(tmp_path, 'new', OTHER)
    options = f'driver=luks,key-secret=old,file.filename={volume}'
    commands = {
        corrupt_headers.PAYLOAD: [
            ['resize', *old, '--image-opts', options, '128k'],
            ['keyslot', 'add', *old, *new, '--secret', 'old', '--new-secret', 'new', volume],
            ['amend', *old, *new, '-o', 'state=active,new-secret=new', '--image-opts', options],
        ],
        corrupt_headers.KEYS: [
            ['keyslot', 'change', *old, *new, '--secret', 'old', '--new-secret', 'new', volume],
            ['keyslot', 'remove', *old, '--secret', 'old', volume],
        ],
        corrupt_headers.ANY: [
            ['info', '-f', 'luks', volume],
            ['keyslot', 'list', volume],
            ['keyslot', 'remove', '--slot', '1', volume],
            ['header', 'backup', volume, tmp_path / 'backup'],
        ],
    }
    for need, list_ in commands.items():
        for command in list_ if use <= need else []:
            assert f"'{field}'" in refused(*command), command
            assert state(volume) == before, command
    checked = qemu_img('check', '-f', 'luks', volume, status=None)
    assert checked.returncode == (1 if use == corrupt_headers.KEYS or field == 'version' else 2)
    assert f"'{field}'" in checked.stderr + checked.stdout
    assert state(volume) == before
    if use != corrupt_headers.ANY:
        for command in reversed(commands[corrupt_headers.ANY]):
            qemu_img(*command)
    assert (tmp_path / 'backup').exists() == (use != corrupt_headers.ANY)


def test_payload_offset_of_detached_header(tmp_path, volume):
    """0 is valid in a detached header, but not if the payload is expected after it."""
    luks_header.put(volume, 'payload-offset', 0)
    before = state(volume)
    assert "'payload-offset'" in refused('resize', *secret_object(tmp_path, 'old', PASSWORD), '--image-opts',
                                         f'driver=luks,key-secret=old,file.filename={volume}', '128k')
    assert state(volume) == before


def test_every_field_has_a_rule():
    """The digest and the salts may hold anything; everything else is checked."""
    fields = {field.split()[-1] for field, *_ in corrupt_headers.RULES.values()}
    free = {'magic', 'mk-digest', 'mk-digest-salt', 'salt'}
    assert fields == (luks_header.FIELDS.keys() | luks_header.SLOT_FIELDS.keys()) - free


def test_check_lists_everything(volume):
    for name in ('uuid_unprintable', 'inactive_slot_stripes_zero', 'hash_spec_unknown'):
        corrupt_headers.RULES[name][1](volume)
    done = qemu_img('check', volume, status=2)
    assert "ERROR: LUKS header field 'uuid'" in done.stdout and "ERROR: LUKS header field 'keyslot 5 str" in done.stdout
    assert '2 errors were found' in done.stdout
    done = qemu_img('check', '--output=json', volume, status=2)
    assert json.loads(done.stdout)['corruptions'] == 2 and done.stderr.count('ERROR') == 2


def test_check_of_what_qemu_alone_refuses(tmp_path):
    """cryptsetup 1.0 put keyslots at byte 1024: a note, not an error."""
    path = tmp_path / 'old.luks'
    qemu_img('create', '-q', '-f', 'luks', *secret_object(tmp_path, 'sec0', PASSWORD),
             '-o', 'key-secret=sec0,iter-time=10,cipher-alg=aes-128,cipher-mode=cbc', path, '64k')
    luks_header.put(path, 'key-material-offset', 2, 0)
    assert 'WARNING' in qemu_img('check', path).stdout
    assert qemu_img('check', '-q', path).stdout == ''
    luks_header.put(path, 'key-material-offset', 2, 1)
    assert 'ERROR' in qemu_img('check', path, status=2).stdout


def test_odd_uuid(tmp_path, volume):
    """cryptsetup and QEMU accept it, too; it is escaped in output."""
    luks_header.put(volume, 'uuid', b'\xff\x1b[2J' + b'x' * 35)
    assert qemu_img_json('info', volume)['format-specific']['data']['uuid'] == '\\xff\\x1b[2J' + 'x' * 35
    assert qemu_img('info', volume).stdout.isascii()
    qemu_io(*secret_object(tmp_path, 'old', PASSWORD), '--image-opts',
            f'driver=luks,key-secret=old,file.filename={volume}', '-c', 'read 0 512')


def test_header_backup_of_others(tmp_path, volume):
    """cryptsetup's backup ends after the keyslots: it is listed as a backup, and opens again once restored."""
    backup = tmp_path / 'backup'
    luks_header.put(volume, 'payload-offset', 4096)
    os.truncate(volume, 4096 * 512 + 65536)
    cryptsetup('luksHeaderBackup', '--header-backup-file', backup, volume)
    assert backup.stat().st_size < 4096 * 512
    done = qemu_img('keyslot', 'list', backup)
    assert 'header backup' in done.stdout and '   1  active' in done.stdout
    assert qemu_img_json('info', backup)['format-specific']['data']['header-only'] is True
    assert 'header-only' not in qemu_img_json('info', volume)['format-specific']['data']
    error = qemu_img('resize', *secret_object(tmp_path, 'old', PASSWORD), '--image-opts',
                     f'driver=luks,key-secret=old,file.filename={backup}', '128k', status=1).stderr
    assert 'header backup' in error
    again = tmp_path / 'again'
    qemu_img('header', 'backup', backup, again)
    assert backup.read_bytes().startswith(again.read_bytes())
    qemu_img('keyslot', 'remove', '--slot', '1', volume)
    qemu_img('header', 'restore', volume, again)
    assert '   1  active' in qemu_img('keyslot', 'list', volume).stdout


def test_no_magic(volume):
    luks_header.put(volume, 'magic', b'LUKS\xba\xbf')
    before = state(volume)
    assert 'LUKS' in refused('info', '-f', 'luks', volume)
    assert state(volume) == before


def test_erase_of_something_else(tmp_path):
    path = tmp_path / 'other.img'
    path.write_bytes(b'nothing of the kind' * 100000)
    before = state(path)
    assert 'LUKS' in refused('erase', '--force', path)
    assert state(path) == before


def test_luks2_is_named(volume):
    luks_header.put(volume, 'version', 2)
    assert 'LUKS2' in refused('info', '-f', 'luks', volume)


def test_damaged_salt_is_a_wrong_password(tmp_path, volume):
    """What no rule can detect shows only when a password is tried."""
    for slot in (0, 1):
        luks_header.put(volume, 'salt', b'x' * 32, slot)
    assert 'assword' in refused(*open_with_password(tmp_path, volume))


def test_errors_differ(tmp_path, volume):
    """Wrong password, no active keyslot, damaged header and unsupported algorithm can be distinguished."""
    def why(password=PASSWORD):
        return refused(*open_with_password(tmp_path, volume, password)).split(': ', 1)[1]

    errors = {why(b'wrong')}
    luks_header.put(volume, 'hash-spec', b'whirlpool')
    errors.add(why())
    luks_header.put(volume, 'hash-spec', b'sha256')
    luks_header.put(volume, 'key-bytes', 1)
    errors.add(why())
    luks_header.put(volume, 'key-bytes', 64)
    for slot in (0, 1):
        luks_header.put(volume, 'active', luks_header.SLOT_INACTIVE, slot)
    errors.add(why())
    assert len(errors) == 4


@pytest.mark.parametrize('slot', [None, 0])
def test_too_much_work(tmp_path, volume, slot):
    """A header cannot make us compute for hours; users can raise the limit."""
    if slot is None:
        luks_header.put(volume, 'mk-digest-iterations', 0xffffffff)
    else:
        luks_header.put(volume, 'iterations', 0xffffffff, 0)
        luks_header.put(volume, 'active', luks_header.SLOT_INACTIVE, 1)
    assert 'iterations' in refused(*open_with_password(tmp_path, volume))
    assert 'iterations' in refused(*open_with_password(tmp_path, volume, options=',max-pbkdf-iterations=4000000000'))


def test_limit_can_be_lowered_and_raised(tmp_path, volume):
    highest = max(luks_header.get(volume, 'iterations', 0), luks_header.get(volume, 'mk-digest-iterations'))
    done = qemu_img(*open_with_password(tmp_path, volume, options=',max-pbkdf-iterations=999'), status=1)
    assert 'iterations' in done.stderr.splitlines()[0]
    assert '--image-opts driver=luks,max-pbkdf-iterations=' in done.stderr.splitlines()[1]
    opened = refused(*open_with_password(tmp_path, volume, options=f',max-pbkdf-iterations={highest}'))
    assert 'iterations' not in opened and "'none'" in opened


def test_truncated_at_every_sector(tmp_path):
    """A volume truncated at any sector before the payload is refused and unchanged; info only needs the keyslots."""
    path = tmp_path / 'short.luks'
    qemu_img('create', '-q', '-f', 'luks', *secret_object(tmp_path, 'sec0', PASSWORD),
             '-o', 'key-secret=sec0,iter-time=10,cipher-alg=aes-128,cipher-mode=cbc', path, '0')
    payload = luks_header.payload_bytes(path)
    assert os.path.getsize(path) == payload
    qemu_img('info', '-f', 'luks', path)
    options = f'driver=luks,key-secret=sec0,file.filename={path}'
    keyslots = luks_header.get(path, 'key-material-offset', 7) * 512 + luks_header.get(path, 'key-bytes') * 4000
    step = 512 if build_option('b_sanitize') == 'none' else 8 * 512    # sanitizers are slow
    for size in range(payload - 512, -1, -step):
        os.truncate(path, size)
        before = os.stat(path).st_mtime_ns
        if size >= keyslots:
            assert 'header only: true' in qemu_img('info', '-f', 'luks', path).stdout
        else:
            error = refused('info', '-f', 'luks', path)
            assert 'LUKS' in error, (size, error)
        if size % 16384 == 0:
            qemu_io(*secret_object(tmp_path, 'sec0', PASSWORD), '--image-opts', options, '-c', 'read 0 512', status=1)
        assert (os.path.getsize(path), os.stat(path).st_mtime_ns) == (size, before)
