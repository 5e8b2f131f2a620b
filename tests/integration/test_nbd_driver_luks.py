"""LUKS volumes on NBD servers: every operation, checked with cryptsetup on the file that the server exports.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import re

import pytest

from images import FAST, MIB, check_opens, luks_opts, write_pieces
from nbd_peer import Nbdkit
from nbd_server import DEBIAN_QEMU_NBD, NbdServer
from programs import cryptsetup, debian_qemu_img, qemu_img, qemu_img_json, qemu_io, secret_object

PASSWORD, OTHER = b'password', b'another'


@pytest.fixture(name='exported')
def fixture_exported(tmp_path):
    """A file full of old data, and a server of it that writes a log."""
    image = write_pieces(tmp_path / 'image', 16 * MIB, (0, 16 * MIB))
    log = tmp_path / 'log'
    with Nbdkit(tmp_path, '--filter=log', 'file', image, f'logfile={log}') as server:
        server.image, server.log = image, log
        server.opts = f'driver=luks,key-secret=s0,file.driver=nbd,file.server.type=unix,file.server.path={server.socket}'
        server.raw_opts = f'driver=raw,file.driver=nbd,file.server.type=unix,file.server.path={server.socket}'
        yield server


@pytest.fixture(name='s0')
def fixture_s0(tmp_path):
    return secret_object(tmp_path, 's0', PASSWORD)


@pytest.fixture(name='s1')
def fixture_s1(tmp_path):
    return secret_object(tmp_path, 's1', OTHER)


def format_export(server, s0):
    qemu_img('format', *s0, '-o', f'key-secret=s0,{FAST}', server.uri())


def test_create(exported, s0):
    """A volume that its own tool has made is large enough, or it is not."""
    qemu_img('create', '-f', 'luks', *s0, '-o', f'key-secret=s0,{FAST}', exported.uri(), '8M')
    check_opens(exported.image, PASSWORD)
    error = qemu_img('create', '-f', 'luks', *s0, '-o', f'key-secret=s0,{FAST}', exported.uri(), '16M', status=1).stderr
    assert 'bytes' in error
    qemu_img('create', '-f', 'raw', exported.uri(), '8M')


def test_format_and_write(exported, s0, tmp_path):
    format_export(exported, s0)
    check_opens(exported.image, PASSWORD)
    again = qemu_img('format', *s0, '-o', f'key-secret=s0,{FAST}', exported.uri(), status=1).stderr
    assert 'LUKS' in again
    qemu_io(*s0, '--image-opts', '-c', 'write -P 7 0 1M', '-c', 'write -P 8 12345 777', '-c', 'flush', exported.opts)
    plain = tmp_path / 'plain'
    debian_qemu_img('convert', *s0, '--image-opts', '-O', 'raw', luks_opts(exported.image, secret='s0'), plain)
    data = plain.read_bytes()
    assert data[:12345] == b'\7' * 12345 and data[12345:13122] == b'\10' * 777
    info = qemu_img_json('info', exported.uri())
    assert info['format'] == 'luks' and info['filename'] == exported.uri()


def test_keyslots(exported, s0, s1):
    format_export(exported, s0)
    qemu_img('keyslot', 'add', *s0, *s1, '--secret', 's0', '--new-secret', 's1', '--iter-time', '10', exported.uri())
    check_opens(exported.image, PASSWORD)
    check_opens(exported.image, OTHER)
    qemu_img('keyslot', 'remove', *s0, '--secret', 's0', exported.uri())
    check_opens(exported.image, PASSWORD, status=2)
    check_opens(exported.image, OTHER)
    qemu_img('keyslot', 'change', *s0, *s1, '--secret', 's1', '--new-secret', 's0', '--iter-time', '10', exported.uri())
    check_opens(exported.image, OTHER, status=2)
    check_opens(exported.image, PASSWORD)
    assert '0' in qemu_img('keyslot', 'list', exported.uri()).stdout


def test_header_on_a_file(exported, s0, tmp_path):
    header = tmp_path / 'header'
    qemu_img('format', *s0, '-o', f'key-secret=s0,{FAST}', '--header', header, exported.uri(), '--force')
    check_opens(exported.image, PASSWORD, header)
    qemu_io(*s0, '--image-opts', '-c', 'write -P 7 0 1M', '-c', 'read -P 7 0 1M',
            f'{exported.opts},header.filename={header}')


def test_header_on_an_export(tmp_path, exported, s0):
    """And the payload in a file."""
    payload = write_pieces(tmp_path / 'payload', 8 * MIB)
    qemu_img('format', *s0, '-o', f'key-secret=s0,{FAST}', '--header', exported.uri(), '--force', payload)
    check_opens(payload, PASSWORD, exported.image)
    qemu_io(*s0, '--image-opts', '-c', 'write -P 7 0 1M', '-c', 'read -P 7 0 1M',
            f'driver=luks,key-secret=s0,file.filename={payload},header.driver=nbd,header.server.type=unix,'
            f'header.server.path={exported.socket}')


def test_convert(exported, s0, tmp_path):
    """To an encrypted export, and back."""
    source = write_pieces(tmp_path / 'source', 8 * MIB, (MIB, 3 * MIB), (7 * MIB, 1000))
    qemu_img('convert', *s0, '-O', 'luks', '-o', f'key-secret=s0,{FAST}', source, exported.uri())
    check_opens(exported.image, PASSWORD)
    qemu_img('convert', *s0, '--image-opts', '-O', 'raw', exported.opts, tmp_path / 'back')
    back = (tmp_path / 'back').read_bytes()
    assert back[:8 * MIB] == source.read_bytes()


@pytest.mark.parametrize('scope', ['key-material', 'header', 'volume', 'image'])
def test_erase(exported, s0, scope):
    """Plain writes, each pass flushed, and a report that does not claim more than is known."""
    format_export(exported, s0)
    before = exported.image.read_bytes()
    exported.log.write_text('')
    report = qemu_img_json('erase', '--scope', scope, '--force', exported.uri())
    assert report['assurance'] == 'unknown' and report['layers'][-1]['driver'] == 'nbd'
    assert any(f'unix:{exported.socket}' in note for note in report['layers'][-1]['notes'])
    said = re.findall(r' (Write|Zero|Trim|Flush) id=\d+(?: offset=(0x[0-9a-f]+) count=(0x[0-9a-f]+) fua=(\d))?',
                      exported.log.read_text())
    assert {kind for kind, *_ in said} == {'Write', 'Flush'} and said[-1][0] == 'Flush'
    after = exported.image.read_bytes()
    for region in report['regions']:
        assert region['verified']
        part = slice(region['offset'], region['offset'] + region['length'])
        assert before[part] != after[part]
        written = [i for i, (kind, at, count, _) in enumerate(said) if kind == 'Write' and
                   int(at, 16) < part.stop and int(at, 16) + int(count, 16) > part.start]
        flushes = [i for i, (kind, *_) in enumerate(said) if kind == 'Flush']
        # Between two passes over the same bytes there is a flush.
        assert len({sum(f < w for f in flushes) for w in written}) >= region['passes']
    assert cryptsetup('open', '--test-passphrase', exported.image, password=PASSWORD, status=None).returncode != 0


def test_resize(exported, s0):
    """The server alone can."""
    format_export(exported, s0)
    before = exported.image.read_bytes()
    done = qemu_img('resize', *s0, '--image-opts', exported.opts, '+1M', status=1)
    assert 'Cannot resize NBD exports' in done.stderr
    assert exported.image.read_bytes() == before


def test_made_by_cryptsetup(exported, tmp_path):
    """Formatted behind our back."""
    cryptsetup('luksFormat', '--type', 'luks1', '--pbkdf-force-iterations', '1000', '-q', exported.image,
               password=PASSWORD)
    s0 = secret_object(tmp_path, 's0', PASSWORD)
    qemu_io(*s0, '--image-opts', '-c', 'write -P 7 0 1M', '-c', 'read -P 7 0 1M', exported.opts)
    debian_qemu_img('compare', *s0, '--image-opts', exported.opts,
                    luks_opts(exported.image, secret='s0') + ',file.locking=off')


def test_on_qemu_nbd(tmp_path, s0):
    """Debian's, with what it offers."""
    image = write_pieces(tmp_path / 'image', 16 * MIB)
    with NbdServer(tmp_path, '-f', 'raw', image, program=DEBIAN_QEMU_NBD) as server:
        format_export(server, s0)
        qemu_io(*s0, '--image-opts', '-c', 'write -P 7 0 1M',
                f'driver=luks,key-secret=s0,file.driver=nbd,file.server.type=unix,file.server.path={server.socket}')
    check_opens(image, PASSWORD)
