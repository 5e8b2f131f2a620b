"""The iscsi driver against tgtd.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import json

import pytest

from images import MIB, write_pieces
from iscsi_target import CHAP, PASSWORD, PLAIN, USER, free_port
from programs import debian_qemu_img, limit_memory, password_file, qemu_img, qemu_img_json, qemu_io
from qmp import DEBIAN_QSD, QSD, StorageDaemon

SIZE = 64 * MIB


@pytest.mark.parametrize('lun', [1, 2, 3, 4])
def test_reads_and_writes(iscsi, lun):
    """On thick and thin LUNs with blocks of 512 and 4096 bytes, checked in the file and by QEMU."""
    write_pieces(iscsi.image(lun), SIZE, (MIB, MIB), (5 * MIB, MIB))
    expected = bytearray(iscsi.image(lun).read_bytes())
    uri = iscsi.uri(lun)
    assert qemu_img_json('info', '-f', 'raw', uri)['virtual-size'] == SIZE
    qemu_io('-f', 'raw', '-c', 'write -P 1 0 64k', '-c', 'write -f -P 2 100 3000', '-c', 'write -z 1M 64k',
            '-c', 'write -P 9 20M 20M', '-c', 'read -P 9 20M 20M', '-c', 'discard 5M 1M', '-c', 'read -P 2 100 3000',
            '-c', 'flush', uri)
    for start, length, byte in ((0, 64 << 10, 1), (100, 3000, 2), (MIB, 64 << 10, 0), (20 * MIB, 20 * MIB, 9)):
        expected[start:start + length] = bytes([byte]) * length
    if lun >= 3:
        expected[5 * MIB:6 * MIB] = bytes(MIB)
    assert iscsi.image(lun).read_bytes() == expected
    qemu_img('compare', '-f', 'raw', '-F', 'raw', uri, iscsi.image(lun))
    debian_qemu_img('compare', '-f', 'raw', '-F', 'raw', uri, iscsi.image(lun))


@pytest.mark.parametrize('lun', [2, 3])
def test_convert(iscsi, tmp_path, lun):
    """Both directions, checked with a file and with Debian's qemu-img."""
    source = write_pieces(tmp_path / 'source', SIZE, (0, 3 * MIB), (60 * MIB, 100))
    write_pieces(iscsi.image(lun), SIZE, (2 * MIB, 6 * MIB), seed=2)
    qemu_img('convert', '-n', '-f', 'raw', '-O', 'raw', source, iscsi.uri(lun))
    assert iscsi.image(lun).read_bytes() == source.read_bytes()
    debian_qemu_img('compare', '-f', 'raw', '-F', 'raw', source, iscsi.uri(lun))
    qemu_img('convert', '-f', 'raw', '-O', 'raw', iscsi.uri(lun), tmp_path / 'copy')
    assert (tmp_path / 'copy').read_bytes() == source.read_bytes()


@pytest.mark.parametrize('lun', [1, 3, 4])
def test_block_status(iscsi, lun):
    """Holes of thin LUNs show, as QEMU sees them."""
    write_pieces(iscsi.image(lun), SIZE, (MIB, MIB), (5 * MIB, 64 << 10))
    ours = qemu_img_json('map', '-f', 'raw', iscsi.uri(lun))
    theirs = json.loads(debian_qemu_img('map', '--output=json', '-f', 'raw', iscsi.uri(lun)).stdout)
    assert [(e['start'], e['length'], e['zero'], e['data']) for e in ours] == [
        (e['start'], e['length'], e['zero'], e['data']) for e in theirs]
    assert len(ours) == (1 if lun == 1 else 5)


def test_unmap_on_thin_luns_only(iscsi):
    """Where a LUN does not know UNMAP, a discard does nothing."""
    for lun in (1, 4):
        write_pieces(iscsi.image(lun), SIZE, (0, 8 * MIB))
        before = iscsi.image(lun).read_bytes()
        qemu_io('-f', 'raw', '-c', 'discard 0 4M', iscsi.uri(lun))
        blocks = iscsi.image(lun).stat().st_blocks
        if lun == 1:
            assert iscsi.image(lun).read_bytes() == before
        else:
            assert blocks <= 4 * MIB // 512
        qemu_io('-f', 'raw', '-c', 'write -z -u 4M 4M', '-c', 'read -P 0 4M 4M', iscsi.uri(lun))
    assert iscsi.image(4).stat().st_blocks == 0


def test_chap(iscsi, tmp_path):
    good = ['--object', f'secret,id=s0,file={password_file(tmp_path, PASSWORD)}']
    wrong = ['--object', f'secret,id=s0,file={password_file(tmp_path, b"wrong-password")}']
    opts = f'driver=raw,file.driver=iscsi,file.transport=tcp,file.portal={iscsi.portal},file.target={CHAP},file.lun=1'
    chap = f'{opts},file.user={USER},file.password-secret=s0'
    qemu_io(*good, '--image-opts', '-c', 'write -P 3 0 1M', '-c', 'read -P 3 0 1M', chap)
    refused = qemu_img('info', *wrong, '--image-opts', chap, status=1).stderr
    assert f"The target refuses user '{USER}' with this password" in refused and 'wrong' not in refused
    assert 'requires a user and a password' in qemu_img('info', '--image-opts', opts, status=1).stderr
    assert "'user' needs 'password-secret'" in qemu_img('info', '--image-opts', f'{opts},file.user=x', status=1).stderr
    assert "No secret with id 's0'" in qemu_img('info', '--image-opts', chap, status=1).stderr


@pytest.mark.plain_build
def test_what_is_not_there(iscsi):
    """Each error differs, and says what is there instead; also where there is little memory."""
    def failed_info(name):
        return qemu_img('info', name, status=1, preexec_fn=limit_memory).stderr
    lun = failed_info(iscsi.uri(77))
    assert 'The target has no LUN 77\nIt has LUNs 0, 1, 2, 3, 4.' in lun
    target = failed_info(iscsi.uri(1, 'iqn.2024-01.test:none'))
    assert "The portal has no target 'iqn.2024-01.test:none'\nIt has '" in target and PLAIN in target
    server = failed_info(f'iscsi://127.0.0.1:{free_port()}/x/1')
    assert 'The connection failed: Connection refused' in server
    host = failed_info('iscsi://no.such.host.invalid/x/1')
    assert 'address resolution failed' in host


def test_default_lun(iscsi):
    """LUN 0 of tgtd is its controller."""
    opts = f'driver=raw,file.driver=iscsi,file.transport=tcp,file.portal={iscsi.portal},file.target={PLAIN}'
    error = qemu_img('info', '--image-opts', opts, status=1).stderr
    assert 'LUN 0 of the target is not a disk, but: STORAGE_ARRAY_CONTROLLER\n' \
           'LUN 0 is the default: choose another with lun=NUMBER.\nIt has LUNs 0, 1, 2, 3, 4.' in error


@pytest.mark.parametrize('digest', ['none', 'crc32c', 'crc32c-none', 'none-crc32c'])
def test_header_digest(iscsi, digest):
    opts = f'driver=raw,file.driver=iscsi,file.transport=tcp,file.portal={iscsi.portal},file.target={PLAIN},file.lun=1'
    qemu_io('--image-opts', '-c', 'write -P 6 0 300k', '-c', 'read -P 6 0 300k', f'{opts},file.header-digest={digest}')


def test_names_open_again(iscsi, tmp_path):
    """What info shows, without the password."""
    secret = ['--object', f'secret,id=s0,file={password_file(tmp_path, PASSWORD)}']
    opts = f'driver=raw,file.driver=iscsi,file.transport=tcp,file.portal={iscsi.portal},file.target={CHAP},file.lun=1,' \
           f'file.user={USER},file.password-secret=s0'
    shown = qemu_img_json('info', *secret, '--image-opts', opts)['filename']
    assert shown.startswith('json:{') and PASSWORD.decode() not in shown
    assert qemu_img_json('info', *secret, shown)['filename'] == shown
    plain = qemu_img_json('info', '-f', 'raw', iscsi.uri(1))['filename']
    assert plain == iscsi.uri(1)


@pytest.mark.parametrize('option, message', [
    ('transport=iser', "Transport 'iser' is not supported"), ('lun=-1', 'lun'), ('lun=65536', "'lun' must be from 0 to 65535"),
    ('timeout=-1', "'timeout'"), ('portal=[::1', 'does not have the form HOST[:PORT]'), ('portal=', "'portal' must have"),
    ('target=', "'target' must have"), (f'initiator-name={"x" * 300}', "'initiator-name' must have"),
    ('portal=127.0.0.1:65536', 'Port'), ('header-digest=md5', 'header-digest')])
def test_wrong_options(option, message):
    options = {'transport': 'tcp', 'portal': '127.0.0.1', 'target': 't', **dict([option.split('=')])}
    opts = ','.join(f'file.{key}={value}' for key, value in options.items())
    assert message in qemu_img('info', '--image-opts', f'driver=raw,file.driver=iscsi,{opts}', status=1).stderr
    assert 'iSER' in qemu_img('info', 'iser://h/t/1', status=1).stderr


@pytest.mark.parametrize('options', [
    {}, {'read-only': True, 'lun': 3}, {'lun': 2, 'cache': {'direct': True, 'no-flush': True}},
    {'lun': 3, 'detect-zeroes': 'unmap', 'discard': 'unmap', 'initiator-name': 'iqn.2024-01.test:me', 'timeout': 9},
    {'lun': 4, 'header-digest': 'crc32c', 'auto-read-only': True},
])
def test_query(iscsi, tmp_path, options):
    """All that Debian's daemon says of the node, and of one above it, ours says, too, except that we show URLs."""
    nodes = {}
    for program in (QSD, DEBIAN_QSD):
        with StorageDaemon(tmp_path, program=program) as daemon:
            daemon.qmp.cmd('blockdev-add', **{**iscsi.options(1), 'node-name': 'n0', **options})
            daemon.qmp.cmd('blockdev-add', driver='raw', node_name='r0', file='n0',
                           read_only=options.get('read-only', False))
            nodes[program] = {node['node-name']: node for node in daemon.qmp.cmd('query-named-block-nodes')}
    assert set(nodes[QSD]) == set(nodes[DEBIAN_QSD])
    for name, theirs in nodes[DEBIAN_QSD].items():
        ours = nodes[QSD][name]
        image = theirs.pop('image')
        assert theirs.pop('file') == image.pop('filename') and ours['file'] == ours['image']['filename']
        assert image.items() <= ours['image'].items()
        assert {key: ours[key] for key in theirs} == theirs


def test_files_stay_files(tmp_path):
    """With a name that looks like a LUN."""
    write_pieces(tmp_path / 'iscsi:q', MIB, (0, 100))
    for name in ('./iscsi:q', 'file:iscsi:q'):
        assert qemu_img_json('info', '-f', 'raw', name, cwd=tmp_path)['virtual-size'] == MIB
