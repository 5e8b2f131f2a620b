"""librbd's own encryption, and ours beside it.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import os

import pytest

from ceph_cluster import librbd
from images import FAST, MIB, write_pieces
from programs import cryptsetup, qemu_img, qemu_img_json, qemu_io, secret_object
from qmp import StorageDaemon

PASSWORD = b'password'


@pytest.fixture(name='s0')
def fixture_s0(tmp_path):
    return secret_object(tmp_path, 's0', PASSWORD)


def encrypted(ceph, image, luks_format, secret='s0'):
    return f'driver=raw,{ceph.options(image, "file.")},file.encrypt.format={luks_format},file.encrypt.key-secret={secret}'


def test_made_by_us(ceph, tmp_path, s0):
    """Our luks format, opened by librbd."""
    image = ceph.unused_name()
    source = write_pieces(tmp_path / 'source', 4 * MIB, (MIB, 2 * MIB))
    # librbd reads the payload where it would have put it.
    qemu_img('convert', *s0, '-O', 'luks', '-o', f'key-secret=s0,{FAST}', source, ceph.uri(image))
    for luks_format in 'luks', 'luks-any':
        qemu_img('convert', *s0, '--image-opts', '-O', 'raw', encrypted(ceph, image, luks_format), tmp_path / 'copy')
        assert (tmp_path / 'copy').read_bytes()[:4 * MIB] == source.read_bytes()


@pytest.mark.slow
@pytest.mark.plain_build
@pytest.mark.parametrize('luks_format', ['luks', 'luks2'])
def test_create(ceph, tmp_path, s0, luks_format):
    """By librbd, for us: its size is what was asked for."""
    image = ceph.unused_name()
    qemu_img('create', *s0, '-f', 'raw', '-o', f'encrypt.format={luks_format},encrypt.key-secret=s0,cluster_size=256k',
             ceph.uri(image), '8M')
    opts = encrypted(ceph, image, 'luks-any')
    qemu_io(*s0, '--image-opts', '-c', 'write -P 7 0 2M', '-c', 'write -z 1M 64k', '-c', 'write -z -u 70000 1000',
            '-c', 'read -P 0 1M 64k', '-c', 'read -P 0 70000 1000', '-c', 'read -P 0 4M 4M', '-c', 'read -P 7 0 70000', opts)
    qemu_io(*s0, '--image-opts', '-c', 'read 8M 512', opts, status=1)
    grown = qemu_img('resize', *s0, '--image-opts', opts, '12M')
    assert 'resized' in grown.stdout
    assert qemu_img_json('info', *s0, '--image-opts', opts)['virtual-size'] == 12 * MIB
    ceph.export(image, tmp_path / 'exported')
    cryptsetup('open', '--test-passphrase', tmp_path / 'exported', password=PASSWORD)
    info = qemu_img_json('info', '-f', 'raw', ceph.uri(image))['children'][0]['info']
    assert info['format-specific'] == {'type': 'rbd', 'data': {'encryption-format': luks_format}}


def test_errors(ceph, tmp_path, s0):
    """A wrong password, the other version, and an image without encryption are different."""
    image, plain = ceph.unused_name(), ceph.create('1M')
    qemu_img('create', *s0, '-f', 'luks', '-o', f'key-secret=s0,{FAST}', ceph.uri(image), '1M')
    wrong = secret_object(tmp_path, 's1', b'wrong')
    for opts, expected in ((encrypted(ceph, image, 'luks', 's1'), 'the password of encrypt.key-secret does not open it'),
                           (encrypted(ceph, image, 'luks2'), 'has a header of LUKS version 1, not 2'),
                           (encrypted(ceph, plain, 'luks-any'), 'is not encrypted: it has no LUKS header')):
        assert expected in qemu_img('info', *s0, *wrong, '--image-opts', opts, status=1).stderr
    shown = qemu_img_json('info', *s0, '--image-opts', encrypted(ceph, image, 'luks'))['filename']
    assert '"key-secret": "s0"' in shown and 'password' not in shown
    assert qemu_img_json('info', *s0, shown)['virtual-size'] >= MIB


def test_failed_creation(ceph, tmp_path, s0):
    """leaves nothing."""
    with StorageDaemon(tmp_path, *s0) as daemon:
        options = {'driver': 'rbd', 'size': MIB, 'location': {'pool': 'rbd', 'image': 'unmade', 'conf': str(ceph.conf)}}
        for encrypt, expected in (({'format': 'luks', 'key-secret': 's0', 'cipher-alg': 'serpent-256'}, 'aes-128'),
                                  ({'format': 'luks', 'key-secret': 'missing'}, 'missing'),
                                  ({'format': 'luks-any'}, 'luks-any')):
            job = daemon.qmp.run_job('blockdev-create', 'j0', options={**options, 'encrypt': encrypt})
            assert expected in job['error']
    assert 'unmade' not in ceph.rbd_json('ls', 'rbd')


@pytest.mark.plain_build
@pytest.mark.parametrize('function', ['load', 'format'])
def test_old_library(ceph, tmp_path, s0, function):
    """A librbd before version 16, here without the name of one function, opens all that it need not decrypt."""
    code = librbd()
    name = b'\0rbd_encryption_' + function.encode()
    assert code.count(name + b'\0') == 1
    (tmp_path / 'librbd.so.1').write_bytes(code.replace(name + b'\0', name[:-1] + b'_\0'))
    env = {**os.environ, 'LD_LIBRARY_PATH': str(tmp_path)}
    image = ceph.unused_name()
    qemu_img('create', *s0, '-f', 'luks', '-o', f'key-secret=s0,{FAST}', ceph.uri(image), '1M', env=env)
    failed = qemu_img('info', *s0, '--image-opts', encrypted(ceph, image, 'luks'), status=1, env=env).stderr
    assert 'this librbd does not support encryption' in failed and 'a luks node above can open the image' in failed
    qemu_img('info', *s0, '--image-opts', f'driver=luks,key-secret=s0,{ceph.options(image, "file.")}', env=env)
