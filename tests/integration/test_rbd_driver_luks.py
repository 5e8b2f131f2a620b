"""LUKS volumes in a Ceph cluster: every operation, checked with cryptsetup on what rbd export writes.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import json

import pytest

from images import FAST, MIB, luks_opts, write_pieces
from programs import cryptsetup, debian_qemu_img, qemu_img, qemu_img_json, qemu_io, secret_object
from qmp import StorageDaemon

PASSWORD, OTHER = b'password', b'another'


@pytest.fixture(name='s0')
def fixture_s0(tmp_path):
    return secret_object(tmp_path, 's0', PASSWORD)


@pytest.fixture(name='s1')
def fixture_s1(tmp_path):
    return secret_object(tmp_path, 's1', OTHER)


@pytest.fixture(name='opens')
def fixture_opens(ceph, tmp_path):
    """Check with cryptsetup whether a password opens an image, with its header or one in a file."""
    def opens(image, password, header=None, status=0):
        ceph.export(image, tmp_path / 'exported')
        options = ['--header', header] if header else []
        cryptsetup('open', '--test-passphrase', *options, tmp_path / 'exported', password=password, status=status)
    return opens


def luks_on(ceph, image, **more):
    return ','.join(['driver=luks', 'key-secret=s0', ceph.options(image, 'file.'), *(f'{k}={v}' for k, v in more.items())])


def test_create(ceph, tmp_path, s0, opens):
    """New images, and none left behind by a failure."""
    raw, luks = ceph.unused_name(), ceph.unused_name()
    qemu_img('create', '-f', 'raw', '-o', 'cluster_size=64k', ceph.uri(raw), '8M')
    info = ceph.rbd_json('info', raw)
    assert info['size'] == 8 * MIB and info['object_size'] == 64 << 10
    qemu_img('create', '-f', 'luks', *s0, '-o', f'key-secret=s0,{FAST}', ceph.uri(luks), '8M')
    opens(luks, PASSWORD)
    assert qemu_img_json('info', ceph.uri(luks))['virtual-size'] == 8 * MIB
    for form in ('raw', 'luks'):
        options = [*s0, '-o', f'key-secret=s0,{FAST}'] if form == 'luks' else []
        refused = qemu_img('create', '-f', form, *options, ceph.uri(raw), '4M', status=1).stderr
        assert f"RBD image '{raw}' exists already" in refused
    assert ceph.rbd_json('info', raw)['size'] == 8 * MIB
    for options in (['-f', 'raw', '-o', 'cluster_size=1000'], ['-f', 'raw', '-o', 'nocow=on'],
                    ['-f', 'luks', '--header', tmp_path / 'no' / 'header', *s0, '-o', f'key-secret=s0,{FAST}']):
        qemu_img('create', *options, ceph.uri('rbd/failed'), '4M', status=1)
    assert 'failed' not in ceph.rbd_json('ls', 'rbd')


def test_failed_convert_leaves_nothing(ceph, tmp_path):
    """The source ends early."""
    source = tmp_path / 'source'
    write_pieces(source, 8 * MIB, (0, 8 * MIB))
    qemu_img('convert', '--image-opts', '-O', 'raw',
             f'driver=raw,file.driver=blkdebug,file.image.driver=file,file.image.filename={source},'
             'file.inject-error.0.event=read_aio,file.inject-error.0.errno=5', ceph.uri('rbd/failed-copy'), status=1)
    assert 'failed-copy' not in ceph.rbd_json('ls', 'rbd')


def test_create_by_qmp(ceph, tmp_path):
    image = ceph.unused_name()
    location = {'pool': 'rbd', 'image': image.split('/')[1], 'conf': str(ceph.conf)}
    with StorageDaemon(tmp_path) as daemon:
        create = {'job_id': 'j0', 'options': {'driver': 'rbd', 'size': MIB, 'cluster-size': 8192, 'location': location}}
        assert 'error' not in daemon.qmp.run_job('blockdev-create', **create)
        assert 'exists already' in daemon.qmp.run_job('blockdev-create', **create)['error']
        create['options']['location']['snapshot'] = 's'
        assert 'snapshot' in daemon.qmp.run_job('blockdev-create', **create)['error']
    assert ceph.rbd_json('info', image)['object_size'] == 8192


def test_format_and_write(ceph, tmp_path, s0, opens):
    """An image that rbd has made."""
    image = ceph.create('16M')
    qemu_img('format', *s0, '-o', f'key-secret=s0,{FAST}', ceph.uri(image))
    opens(image, PASSWORD)
    assert 'LUKS' in qemu_img('format', *s0, '-o', f'key-secret=s0,{FAST}', ceph.uri(image), status=1).stderr
    qemu_io(*s0, '--image-opts', '-c', 'write -P 7 0 1M', '-c', 'write -P 8 12345 777', '-c', 'flush',
            luks_on(ceph, image))
    debian_qemu_img('convert', *s0, '--image-opts', '-O', 'raw', luks_on(ceph, image), tmp_path / 'plain')
    data = (tmp_path / 'plain').read_bytes()
    assert data[:12345] == b'\7' * 12345 and data[12345:13122] == b'\10' * 777
    info = qemu_img_json('info', ceph.uri(image))
    assert info['format'] == 'luks' and info['filename'] == ceph.uri(image)


def test_keyslots(ceph, s0, s1, opens):
    image = ceph.create('8M')
    uri = ceph.uri(image)
    qemu_img('format', *s0, '-o', f'key-secret=s0,{FAST}', uri)
    qemu_img('keyslot', 'add', *s0, *s1, '--secret', 's0', '--new-secret', 's1', '--iter-time', '10', uri)
    opens(image, PASSWORD)
    opens(image, OTHER)
    qemu_img('keyslot', 'remove', *s0, '--secret', 's0', uri)
    opens(image, PASSWORD, status=2)
    qemu_img('keyslot', 'change', *s0, *s1, '--secret', 's1', '--new-secret', 's0', '--iter-time', '10', uri)
    opens(image, OTHER, status=2)
    opens(image, PASSWORD)


def test_header_on_a_file(ceph, tmp_path, s0, opens):
    image, header = ceph.create('8M'), tmp_path / 'header'
    qemu_img('format', *s0, '-o', f'key-secret=s0,{FAST}', '--header', header, ceph.uri(image), '--force')
    opens(image, PASSWORD, header)
    qemu_io(*s0, '--image-opts', '-c', 'write -P 7 0 1M', '-c', 'read -P 7 0 1M',
            luks_on(ceph, image, **{'header.filename': header}))
    name = qemu_img_json('info', '--image-opts', luks_on(ceph, image, **{'header.filename': header}).replace(
        'key-secret=s0,', ''))['filename']
    assert json.loads(name.removeprefix('json:'))['file']['conf'] == str(ceph.conf)


def test_header_in_the_cluster(ceph, tmp_path, s0):
    """And the payload in a file."""
    image, payload = ceph.create('8M'), write_pieces(tmp_path / 'payload', 8 * MIB)
    qemu_img('format', *s0, '-o', f'key-secret=s0,{FAST}', '--header', ceph.uri(image), '--force', payload)
    ceph.export(image, tmp_path / 'header')
    cryptsetup('open', '--test-passphrase', '--header', tmp_path / 'header', payload, password=PASSWORD)
    qemu_io(*s0, '--image-opts', '-c', 'write -P 7 0 1M', '-c', 'read -P 7 0 1M',
            f'driver=luks,key-secret=s0,file.filename={payload},{ceph.options(image, "header.")}')


def test_convert(ceph, tmp_path, s0, opens):
    """To a new encrypted image, and back."""
    source = write_pieces(tmp_path / 'source', 8 * MIB, (MIB, 3 * MIB), (7 * MIB, 1000))
    image = ceph.unused_name()
    qemu_img('convert', *s0, '-O', 'luks', '-o', f'key-secret=s0,{FAST}', source, ceph.uri(image))
    opens(image, PASSWORD)
    qemu_img('convert', *s0, '--image-opts', '-O', 'raw', luks_on(ceph, image), tmp_path / 'back')
    assert (tmp_path / 'back').read_bytes() == source.read_bytes()


def test_resize(ceph, s0):
    """Growing, and shrinking unless somebody else may write."""
    image = ceph.create('8M')
    uri = ceph.uri(image)
    qemu_img('format', *s0, '-o', f'key-secret=s0,{FAST}', uri)
    before = qemu_img_json('info', uri)['virtual-size']
    qemu_img('resize', *s0, '--image-opts', luks_on(ceph, image), '+4M')
    assert qemu_img_json('info', uri)['virtual-size'] == before + 4 * MIB
    assert ceph.rbd_json('info', image)['size'] == 12 * MIB
    qemu_img('resize', '-f', 'raw', '--shrink', uri, '9M')
    assert ceph.rbd_json('info', image)['size'] == 9 * MIB


def test_shrink_under_a_writer(ceph, tmp_path):
    image = ceph.create('8M')
    with StorageDaemon(tmp_path) as daemon:
        daemon.qmp.cmd('blockdev-add', driver='rbd', node_name='n0', pool='rbd', image=image.split('/')[1],
                       conf=str(ceph.conf))
        refused = qemu_img('resize', '-f', 'raw', '--shrink', ceph.uri(image), '4M', status=1).stderr
        assert 'another client has it open' in refused
        daemon.qmp.cmd('block_resize', node_name='n0', size=4 * MIB)
    assert ceph.rbd_json('info', image)['size'] == 4 * MIB


@pytest.mark.parametrize('scope', ['key-material', 'header', 'image', 'volume'])
def test_erase(ceph, tmp_path, s0, scope):
    """The report does not claim more than that clients see other data."""
    image = ceph.create('8M')
    qemu_img('format', *s0, '-o', f'key-secret=s0,{FAST}', ceph.uri(image))
    before = ceph.export(image, tmp_path / 'before')
    report = qemu_img_json('erase', '--scope', scope, '--force', ceph.uri(image))
    assert report['assurance'] == 'may-survive' and report['layers'][-1]['driver'] == 'rbd'
    assert image in report['layers'][-1]['notes'][0]
    after = ceph.export(image, tmp_path / 'after')
    for region in report['regions']:
        assert region['verified']
        part = slice(region['offset'], region['offset'] + region['length'])
        assert before[part] != after[part]
    assert cryptsetup('open', '--test-passphrase', tmp_path / 'after', password=PASSWORD, status=None).returncode != 0


@pytest.mark.slow
def test_made_by_librbd(ceph, tmp_path, s0, s1, opens):
    """A volume of Ceph's own encryption: opened, read and given another password by ours."""
    image = ceph.create('16M')
    (tmp_path / 'pw').write_bytes(PASSWORD)
    ceph.rbd('encryption', 'format', image, 'luks1', tmp_path / 'pw')
    qemu_io(*s0, '--image-opts', '-c', 'write -P 7 0 1M', luks_on(ceph, image))
    qemu_img('keyslot', 'change', *s0, *s1, '--secret', 's0', '--new-secret', 's1', '--iter-time', '10', ceph.uri(image))
    opens(image, OTHER)
    opens(image, PASSWORD, status=2)
    ceph.export(image, tmp_path / 'exported')
    debian_qemu_img('convert', *s1, '--image-opts', '-O', 'raw', luks_opts(tmp_path / 'exported', secret='s1'),
                    tmp_path / 'plain')
    assert (tmp_path / 'plain').read_bytes()[:MIB] == b'\7' * MIB
