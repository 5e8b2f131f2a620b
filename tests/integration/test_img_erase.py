"""qemu-img erase and header: destroying the keys of an image, and keeping a copy of its header.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import os
import re
import signal
import stat
import subprocess
import time

import pytest

from programs import QEMU_IMG, cryptsetup, qemu_img, qemu_img_json, qemu_io, run, secret_object
from terminal import Terminal

PASSWORD = b'open sesame'
SIZE = 1 << 20


@pytest.fixture(name='image')
def fixture_image(tmp_path):
    """An image of 1 MiB whose payload on disk is a pattern."""
    image = tmp_path / 'a.luks'
    qemu_img('create', '-q', '-f', 'luks', *secret_object(tmp_path, 's', PASSWORD), '-o',
             'key-secret=s,iter-time=10', image, SIZE)
    with open(image, 'r+b') as file:
        file.seek(-SIZE, 2)
        file.write(b'\xa5' * SIZE)
    return image


def opens(image):
    return cryptsetup('open', '--test-passphrase', image, password=PASSWORD, status=None).returncode == 0


def check_report(report, scope, before, after):
    """All changes are in regions of the report, and every region changed."""
    assert report['scope'] == scope
    covered = bytearray(len(before))
    for region in report['regions']:
        start, end = region['offset'], region['offset'] + region['length']
        assert region['verified'] and region['passes'] >= 1 and region['what']
        assert before[start:end] != after[start:end]
        covered[start:end] = b'\1' * (end - start)
    outside = [at for at in range(0, len(before), 512) if not any(covered[at:at + 512])]
    changed = [at for at in outside if before[at:at + 512] != after[at:at + 512]]
    assert changed in ([], [0])         # the first sector of the header, where keyslots are marked
    assert {layer['driver'] for layer in report['layers']} >= {'file'}
    assert report['assurance'] in ('overwritten', 'device-erased', 'may-survive', 'unknown')


@pytest.mark.parametrize('scope', ['key-material', 'header', 'image'])
def test_scopes(image, scope):
    before = image.read_bytes()
    report = qemu_img_json('erase', '--scope', scope, '-p', image)
    after = image.read_bytes()
    check_report(report, scope, before, after)
    assert not opens(image)
    assert (after[-SIZE:] == before[-SIZE:]) == (scope != 'image')
    assert len([r for r in report['regions'] if 'keyslot' in r]) == 8
    if scope == 'key-material':
        assert qemu_img_json('info', image)['format'] == 'luks'
    else:
        assert 'LUKS' in qemu_img('keyslot', 'list', image, status=1).stderr


def cut_short(image, at, *argv):
    """Interrupt an erase once it has overwritten the bytes at offset AT; return its output."""
    def look():
        with open(image, 'rb') as file:
            file.seek(at)
            return file.read(512)
    before = look()
    with subprocess.Popen([QEMU_IMG, 'erase', '--passes', '100', *argv, image], stderr=subprocess.PIPE, text=True) as process:
        while look() == before and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        error = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    return error


def test_take_up_again(image):
    """An interrupted erase of the image says what is gone, and can be resumed."""
    os.truncate(image, 8 << 20)
    error = cut_short(image, (8 << 20) - 512, '--scope', 'image')
    assert 'header and keyslots overwritten, and of the payload the first 6320128 of 6320128 bytes' in error
    assert '--scope volume' in error.splitlines()[1]
    assert not opens(image)

    before = image.read_bytes()
    error = qemu_img('erase', '--scope', 'image', image, status=1).stderr
    assert 'not in LUKS format' in error and '--scope volume' in error
    assert image.read_bytes() == before
    error = cut_short(image, 0, '--scope', 'volume')
    assert 'of 8388608 bytes overwritten' in error and 'again' in error
    report = qemu_img_json('erase', '--scope', 'volume', image)
    assert report['layers'][0]['assurance'] == 'overwritten'
    assert [(r['what'], r['offset'], r['length'], r['passes']) for r in report['regions']] == [('volume', 0, 8 << 20, 1)]
    after = image.read_bytes()
    assert all(before[at:at + 512] != after[at:at + 512] for at in range(0, 8 << 20, 512))


def test_interrupted_early(image):
    error = cut_short(image, 4096, '--scope', 'key-material')
    assert re.search('Erase ended early, with the key material of [0-8] of 8 keyslots', error)
    assert 'run the same command again' in error
    assert qemu_img_json('erase', '--scope', 'key-material', image)['regions'][0]['keyslot'] == 0


def test_volume_with_a_header(image):
    """The header goes first, and nothing is left out; no other file is needed."""
    before = image.read_bytes()
    report = qemu_img_json('erase', '--scope', 'volume', image)
    check_report(report, 'volume', before, image.read_bytes())
    assert report['regions'][0]['keyslot'] == 0
    assert sum(r['length'] for r in report['regions']) == len(before)


def test_volume_without_a_header(image, tmp_path):
    plain, header = tmp_path / 'plain', tmp_path / 'header'
    plain.write_bytes(b'p' * 100352)
    header.write_bytes(image.read_bytes()[:-SIZE])
    for scope in 'key-material', 'header', 'image':
        qemu_img('erase', '--scope', scope, plain, status=1)
    assert plain.read_bytes() == b'p' * 100352
    options = f'driver=luks,file.filename={plain},header.filename={header}'
    assert sum(r['length'] for r in qemu_img_json('erase', '--scope', 'volume', '--image-opts', options)['regions']) == \
        100352 + header.stat().st_size
    assert not header.read_bytes().startswith(b'LUKS') and b'pppppppp' not in plain.read_bytes()
    # Again, without the header, so that nothing is known about the volume
    report = qemu_img_json('erase', '--scope', 'volume', '--image-opts', options)
    assert report['regions'][0]['length'] == 100352
    assert report['layers'][0]['assurance'] == 'may-survive' and 'left as it is' in report['layers'][0]['notes'][0]
    luks2 = b'LUKS\xba\xbe\0\2'.ljust(1 << 20, b'x')
    plain.write_bytes(luks2)
    assert qemu_img_json('erase', '--scope', 'volume', plain)['regions'][0]['passes'] == 3
    assert b'xxxx' not in plain.read_bytes()


def test_default_scope_and_people(image):
    text = qemu_img('erase', '--passes', 2, image).stdout
    assert text.startswith('Erased (scope header):\n')
    assert '2 passes, verified' in text and '\nAssurance: ' in text
    assert not opens(image)


def test_quiet(image):
    assert qemu_img('erase', '-q', image).stdout == ''


def test_damaged_header(image):
    with open(image, 'r+b') as file:
        file.seek(8)
        file.write(b'no such cipher')
    qemu_img('info', image, status=1)
    report = qemu_img_json('erase', '--scope', 'key-material', image)
    assert len([r for r in report['regions'] if 'keyslot' in r]) == 8


def test_detached_header(image, tmp_path):
    data = image.read_bytes()
    header, payload = tmp_path / 'header', tmp_path / 'payload'
    header.write_bytes(data[:-SIZE])
    payload.write_bytes(data[-SIZE:])
    qemu_img('erase', '--image-opts', f'driver=luks,file.filename={payload},header.filename={header}')
    assert payload.read_bytes() == data[-SIZE:]
    assert header.read_bytes()[:4096] != data[:4096]


@pytest.mark.parametrize('argv, named', [
    (['--scope', 'all'], 'all'),
    (['--passes', '0'], 'passes'),
    (['--passes', '1000'], 'passes'),
    (['--image-opts', 'driver=luks,read-only=on,file.filename=a.luks'], 'read-only'),
    (['nothing'], 'nothing'),
    (['plain'], 'LUKS'),
])
def test_refused(image, argv, named):
    (image.parent / 'plain').write_bytes(b'p' * 100000)
    before = image.read_bytes()
    argv = argv if argv[-1].endswith(('luks', 'nothing', 'plain')) else [*argv, image]
    assert named in qemu_img('erase', *argv, status=1, cwd=image.parent).stderr.splitlines()[0]
    assert image.read_bytes() == before
    assert (image.parent / 'plain').read_bytes() == b'p' * 100000


def test_backup_and_restore(image, tmp_path):
    before, backup = image.read_bytes(), tmp_path / 'backup'
    qemu_img('header', 'backup', image, backup, umask=0)
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert backup.read_bytes() == before[:-SIZE]
    assert 'File exists' in qemu_img('header', 'backup', image, backup, status=1).stderr
    qemu_img('erase', '-q', image)
    assert not opens(image)
    done = qemu_img('header', 'restore', image, backup)
    assert 'passwords that were removed since' in done.stderr
    assert image.read_bytes() == before
    assert opens(image)


def test_cryptsetup_takes_the_backup(image, tmp_path):
    backup = tmp_path / 'backup'
    qemu_img('header', 'backup', '-q', image, backup)
    qemu_img('erase', '-q', image)
    cryptsetup('luksHeaderRestore', image, '--header-backup-file', backup)
    assert opens(image)


def test_backup_detaches_the_header(image, tmp_path):
    """Saved, and erased in the image, it opens the image from its own file."""
    backup = tmp_path / 'backup'
    qemu_img('header', 'backup', '-q', image, backup)
    qemu_img('erase', '-q', image)
    assert not opens(image)
    secret = secret_object(tmp_path, 's', PASSWORD)
    opts = f'driver=luks,key-secret=s,file.filename={image},header.filename={backup}'
    qemu_io(*secret, '--image-opts', '-c', 'write -P 0x5a 0 64k', opts)
    assert 'verification failed' not in qemu_io(*secret, '--image-opts', '-c', 'read -P 0x5a 0 64k', opts).stdout
    cryptsetup('open', '--test-passphrase', '--header', backup, image, password=PASSWORD)
    assert image.read_bytes()[-SIZE + 65536:] == bytes([0xa5]) * (SIZE - 65536)


def test_restore_of_another_header_is_refused(image, tmp_path):
    other, backup = tmp_path / 'other.luks', tmp_path / 'backup'
    qemu_img('create', '-q', '-f', 'luks', *secret_object(tmp_path, 's', PASSWORD), '-o',
             'key-secret=s,iter-time=10', other, SIZE)
    qemu_img('header', 'backup', '-q', other, backup)
    before = image.read_bytes()
    assert 'UUID' in qemu_img('header', 'restore', image, backup, status=1).stderr
    assert image.read_bytes() == before
    qemu_img('header', 'restore', '--force', image, backup)
    assert image.read_bytes()[:-SIZE] == backup.read_bytes()


def test_restore_over_something_else_is_refused(image, tmp_path):
    backup, volume = tmp_path / 'backup', tmp_path / 'volume'
    qemu_img('header', 'backup', '-q', image, backup)
    volume.write_bytes(bytes(8 << 20))
    run('/sbin/mkfs.ext4', '-q', '-F', volume)
    before = volume.read_bytes()
    assert 'ext4' in qemu_img('header', 'restore', volume, backup, status=1).stderr
    assert volume.read_bytes() == before


@pytest.mark.parametrize('content', [b'', b'LUKS', b'x' * 4096])
def test_restore_of_what_is_no_backup(image, tmp_path, content):
    backup = tmp_path / 'backup'
    backup.write_bytes(content)
    before = image.read_bytes()
    for force in [], ['--force']:
        qemu_img('header', 'restore', *force, image, backup, status=1)
    qemu_img('header', 'restore', image, tmp_path / 'none', status=1)
    qemu_img('header', 'restore', image, tmp_path, status=1)
    assert image.read_bytes() == before


def test_no_question_where_nothing_can_be_erased(tmp_path):
    """Of what is not encrypted, rather than a refusal once YES was typed."""
    raw = tmp_path / 'raw'
    raw.write_bytes(bytes(1 << 20))
    terminal = Terminal('erase', raw)
    assert terminal.finish() == 1
    assert b'YES' not in terminal.output and b'not in LUKS format' in terminal.output


def test_report_for_people(image):
    """Short enough to be read, and with a conclusion in words."""
    text = qemu_img('erase', '--force', image).stdout
    assert text.count('header padding') == 1 and re.search(r'header padding +16 KiB in 8 places +3 passes, verified', text)
    assert re.search(r'^Assurance: [a-z-]+\. [A-Z][^.]*\.$', text, re.MULTILINE)
