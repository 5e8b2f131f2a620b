"""LUKS volumes on LUNs: every operation, checked with cryptsetup on the file of the LUN, and with QEMU over iSCSI.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import pytest

import luks_header
from images import FAST, MIB, check_opens, luks_opts, write_pieces
from iscsi_target import SIZE
from programs import cryptsetup, debian_qemu_img, limit_memory, qemu_img, qemu_img_json, qemu_io, secret_object

PASSWORD, OTHER = b'password', b'another'
THICK, THICK_4K, THIN_4K = 1, 2, 4


@pytest.fixture(name='s0')
def fixture_s0(tmp_path):
    return secret_object(tmp_path, 's0', PASSWORD)


@pytest.fixture(name='s1')
def fixture_s1(tmp_path):
    return secret_object(tmp_path, 's1', OTHER)


def luks_on(iscsi, lun, header=''):
    """Options of a luks node on a LUN."""
    opts = f'driver=luks,key-secret=s0,file.driver=iscsi,file.transport=tcp,file.portal={iscsi.portal},' \
           f'file.target={iscsi.uri(lun).split("/")[3]},file.lun={lun}'
    return f'{opts},header.filename={header}' if header else opts


def format_lun(iscsi, lun, s0, *options):
    qemu_img('format', *s0, '-o', f'key-secret=s0,{FAST}', *options, iscsi.uri(lun))


def test_create(iscsi, s0):
    """A LUN is there already, and is large enough or not."""
    qemu_img('create', '-f', 'luks', *s0, '-o', f'key-secret=s0,{FAST}', iscsi.uri(THICK), '8M')
    check_opens(iscsi.image(THICK), PASSWORD)
    error = qemu_img('create', '-f', 'luks', *s0, '-o', f'key-secret=s0,{FAST}', iscsi.uri(THICK), '64M', status=1).stderr
    assert 'bytes' in error
    qemu_img('create', '-f', 'raw', iscsi.uri(THICK), '8M')


@pytest.mark.parametrize('lun', [THICK, THICK_4K, THIN_4K])
def test_format_and_write(iscsi, s0, tmp_path, lun):
    write_pieces(iscsi.image(lun), SIZE, (0, 8 * MIB))
    format_lun(iscsi, lun, s0)
    check_opens(iscsi.image(lun), PASSWORD)
    again = qemu_img('format', *s0, '-o', f'key-secret=s0,{FAST}', iscsi.uri(lun), status=1).stderr
    assert 'LUKS' in again
    qemu_io(*s0, '--image-opts', '-c', 'write -P 7 0 1M', '-c', 'write -P 8 12345 777', '-c', 'flush',
            luks_on(iscsi, lun))
    plain = tmp_path / 'plain'
    debian_qemu_img('convert', *s0, '--image-opts', '-O', 'raw', luks_on(iscsi, lun), plain)
    data = plain.read_bytes()
    assert data[:12345] == b'\7' * 12345 and data[12345:13122] == b'\10' * 777
    info = qemu_img_json('info', iscsi.uri(lun))
    assert info['format'] == 'luks' and info['filename'] == iscsi.uri(lun)


def test_payload_off_a_block(iscsi, s0, tmp_path):
    """A payload whose first sector is not the first of a block of 4096 bytes."""
    made = tmp_path / 'made'
    write_pieces(made, SIZE)
    cryptsetup('luksFormat', '--type', 'luks1', '--pbkdf-force-iterations', '1000', '--align-payload', '1', '-q', made,
               password=PASSWORD)
    if luks_header.get(made, 'payload-offset') % 8 == 0:
        luks_header.put(made, 'payload-offset', luks_header.get(made, 'payload-offset') + 3)
    assert luks_header.get(made, 'payload-offset') % 8
    iscsi.image(THICK_4K).write_bytes(made.read_bytes())
    qemu_io(*s0, '--image-opts', '-c', 'write -P 7 0 1M', '-c', 'write -P 8 12345 777', '-c', 'write -P 9 512 512',
            '-c', 'read -P 7 0 512', '-c', 'read -P 9 512 512', '-c', 'read -P 8 12345 777', luks_on(iscsi, THICK_4K))
    ours, theirs = tmp_path / 'ours', tmp_path / 'theirs'
    qemu_img('convert', *s0, '--image-opts', '-O', 'raw', luks_on(iscsi, THICK_4K), ours)
    debian_qemu_img('convert', *s0, '--image-opts', '-O', 'raw', luks_opts(iscsi.image(THICK_4K), secret='s0'), theirs)
    data = ours.read_bytes()
    assert data == theirs.read_bytes() and data[512:1024] == b'\11' * 512 and data[12345:13122] == b'\10' * 777


def test_keyslots(iscsi, s0, s1):
    image, uri = iscsi.image(THICK_4K), iscsi.uri(THICK_4K)
    format_lun(iscsi, THICK_4K, s0)
    qemu_img('keyslot', 'add', *s0, *s1, '--secret', 's0', '--new-secret', 's1', '--iter-time', '10', uri)
    check_opens(image, PASSWORD)
    check_opens(image, OTHER)
    qemu_img('keyslot', 'remove', *s0, '--secret', 's0', uri)
    check_opens(image, PASSWORD, status=2)
    check_opens(image, OTHER)
    qemu_img('keyslot', 'change', *s0, *s1, '--secret', 's1', '--new-secret', 's0', '--iter-time', '10', uri)
    check_opens(image, OTHER, status=2)
    check_opens(image, PASSWORD)
    assert '0' in qemu_img('keyslot', 'list', uri).stdout


def test_header_on_a_file(iscsi, s0, tmp_path):
    header = tmp_path / 'header'
    format_lun(iscsi, THICK, s0, '--header', header, '--force')
    check_opens(iscsi.image(THICK), PASSWORD, header)
    opts = luks_on(iscsi, THICK, header)
    qemu_io(*s0, '--image-opts', '-c', 'write -P 7 0 1M', '-c', 'read -P 7 0 1M', opts)
    shown = qemu_img_json('info', *s0, '--image-opts', opts)['filename']
    qemu_io('-r', *s0, '-c', 'read -P 7 0 1M', shown)


def test_header_on_a_lun(iscsi, s0, tmp_path):
    """And the payload in a file."""
    payload = write_pieces(tmp_path / 'payload', 8 * MIB)
    qemu_img('format', *s0, '-o', f'key-secret=s0,{FAST}', '--header', iscsi.uri(THICK_4K), '--force', payload)
    check_opens(payload, PASSWORD, iscsi.image(THICK_4K))
    qemu_io(*s0, '--image-opts', '-c', 'write -P 7 0 1M', '-c', 'read -P 7 0 1M',
            f'driver=luks,key-secret=s0,file.filename={payload},header.driver=iscsi,header.transport=tcp,'
            f'header.portal={iscsi.portal},header.target={iscsi.uri(1).split("/")[3]},header.lun={THICK_4K}')


def test_convert(iscsi, s0, tmp_path):
    """To an encrypted LUN, and back."""
    source = write_pieces(tmp_path / 'source', 8 * MIB, (MIB, 3 * MIB), (7 * MIB, 1000))
    qemu_img('convert', *s0, '-O', 'luks', '-o', f'key-secret=s0,{FAST}', source, iscsi.uri(THIN_4K))
    check_opens(iscsi.image(THIN_4K), PASSWORD)
    qemu_img('convert', *s0, '--image-opts', '-O', 'raw', luks_on(iscsi, THIN_4K), tmp_path / 'back')
    assert (tmp_path / 'back').read_bytes()[:8 * MIB] == source.read_bytes()


@pytest.mark.parametrize('lun, assurance', [(THICK, 'unknown'), (THIN_4K, 'may-survive')])
@pytest.mark.parametrize('scope', ['key-material', 'header', 'volume'])
def test_erase(iscsi, s0, scope, lun, assurance):
    """A report that does not claim more than is known."""
    format_lun(iscsi, lun, s0)
    before = iscsi.image(lun).read_bytes()
    report = qemu_img_json('erase', '--scope', scope, '--force', iscsi.uri(lun))
    layer = report['layers'][-1]
    assert report['assurance'] == assurance and layer['driver'] == 'iscsi' and layer['assurance'] == assurance
    assert any('SYNCHRONIZE CACHE' in note for note in layer['notes'])
    assert any('thin' in note for note in layer['notes']) == (lun == THIN_4K)
    after = iscsi.image(lun).read_bytes()
    for region in report['regions']:
        assert region['verified']
        part = slice(region['offset'], region['offset'] + region['length'])
        assert before[part] != after[part]
    assert cryptsetup('open', '--test-passphrase', iscsi.image(lun), password=PASSWORD, status=None).returncode != 0


def test_resize(iscsi, s0):
    """Only the target can."""
    format_lun(iscsi, THICK, s0)
    error = qemu_img('resize', *s0, '--image-opts', luks_on(iscsi, THICK), '+1M', status=1).stderr
    assert f"Cannot resize iSCSI LUNs: '{iscsi.uri(THICK)}' has {SIZE} bytes" in error


@pytest.mark.plain_build
def test_info_in_little_memory(iscsi, s0):
    format_lun(iscsi, THICK, s0)
    assert qemu_img_json('info', iscsi.uri(THICK), preexec_fn=limit_memory)['format'] == 'luks'
