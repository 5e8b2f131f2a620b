"""The rbd driver on a cluster whose clients need keys (cephx), and what it says of mistakes with these.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import base64
import tempfile

import pytest

from ceph_cluster import Ceph
from images import FAST
from programs import qemu_img, qemu_img_json, qemu_io, run
from qmp import StorageDaemon


@pytest.fixture(name='cephx', scope='module')
def fixture_cephx():
    """A cluster of its own: with the clients admin, ro (may only read), and other (may use another pool)."""
    with tempfile.TemporaryDirectory(prefix='ceph-') as directory:
        cluster = Ceph(directory, auth='cephx')
        try:
            for name, caps in ('ro', 'profile rbd-read-only pool=rbd'), ('other', 'profile rbd pool=other'):
                cluster.ceph('auth', 'get-or-create', f'client.{name}', 'mon', 'profile rbd', 'osd', caps,
                             '-o', conf_of(cluster, name).with_suffix('.keyring'))
            yield cluster
        finally:
            cluster.stop()


def conf_of(cluster, name):
    """The configuration file for client NAME, with its keyring."""
    conf = cluster.conf.with_name(f'{name}.conf')
    if not conf.exists():
        conf.write_text(cluster.conf.read_text().replace('ceph/keyring', f'ceph/{name}.keyring'))
    return conf


def uri(cluster, image, name):
    return f'rbd:{image}:id={name}:conf={conf_of(cluster, name)}'


def monitor(cluster):
    """Its address, HOST:PORT."""
    return cluster.conf.read_text().split('mon host = v2:')[1].split()[0]


def key_object(tmp_path, key, *options):
    """A secret k with KEY in a file."""
    (tmp_path / 'key').write_bytes(key)
    return '--object', ','.join([f'secret,id=k,file={tmp_path}/key', *options])


def test_keyring(cephx):
    image = cephx.create('1M')
    qemu_io('-f', 'raw', '-c', 'write 0 4k', cephx.uri(image))
    qemu_img('info', uri(cephx, image, 'ro'))


@pytest.mark.parametrize('by', ['conf', 'server'])
def test_key_secret(cephx, tmp_path, by):
    image = cephx.create('1M')
    key = cephx.ceph('auth', 'get-key', 'client.ro').stdout.strip()
    no_keyring = tmp_path / 'ceph.conf'
    no_keyring.write_text(f'[global]\nmon host = v2:{monitor(cephx)}\nkeyring = /dev/null\n')
    host, port = monitor(cephx).split(':')
    location = {'conf': f'conf={no_keyring}', 'server': f'server.0.host={host},server.0.port={port}'}[by]
    opts = f'driver=rbd,pool=rbd,image={image.split("/")[1]},user=ro,key-secret=k,{location}'
    secret = key_object(tmp_path, key.encode(), 'format=base64')
    shown = qemu_img_json('info', *secret, '--image-opts', opts)['filename']
    assert key not in shown
    qemu_img('info', *secret, shown)


def test_create_with_key_secret(cephx, tmp_path):
    """In QMP; qemu-img create takes a filename, and says where to go for the rest."""
    refused = qemu_img('create', '-f', 'raw', 'json:{"driver":"rbd","pool":"rbd","image":"made"}', '1M', status=1).stderr
    assert 'cannot be used here, only a filename' in refused and 'blockdev-create' in refused and './' not in refused
    key = cephx.ceph('auth', 'get-key', 'client.admin').stdout.strip().encode()
    no_keyring = tmp_path / 'ceph.conf'
    no_keyring.write_text(f'[global]\nmon host = v2:{monitor(cephx)}\nkeyring = /dev/null\n')
    with StorageDaemon(tmp_path, *key_object(tmp_path, key, 'format=base64')) as daemon:
        location = {'pool': 'rbd', 'image': 'made', 'conf': str(no_keyring), 'key-secret': 'k'}
        job = daemon.qmp.run_job('blockdev-create', 'create',
                                 options={'driver': 'rbd', 'size': 1 << 20, 'location': location})
        assert 'error' not in job
    assert cephx.rbd_json('info', 'rbd/made')['size'] == 1 << 20


def test_wrong_keys(cephx, tmp_path):
    """What is no key, a key without format=base64, and the key of another are different mistakes."""
    opts = f'driver=rbd,pool=rbd,image=test,key-secret=k,conf={cephx.conf}'
    key = cephx.ceph('auth', 'get-key', 'client.admin').stdout.strip().encode()
    other = run('ceph-authtool', '--gen-print-key').stdout.encode()
    for data, options, expected, hint in (
            (key, (), 'but the base64 form of one', 'Add format=base64'),
            (b'password', (), "secret 'k' of key-secret is not the key", 'ceph auth get-key'),
            (base64.b64encode(b'password'), ('format=base64',), 'is not the key of a Ceph client\n', 'ceph auth get-key'),
            (other, ('format=base64',), 'does not accept the key of client.admin',
             'Compare with "ceph auth get client.admin".\n')):
        failed = qemu_img('info', *key_object(tmp_path, data, *options), '--image-opts', opts, status=1).stderr
        assert expected in failed and hint in failed
        assert key.decode() not in failed and 'password' not in failed


def test_no_key(cephx):
    failed = qemu_img('info', cephx.uri('rbd/test:auth_client_required=none'), status=1).stderr
    assert 'requires authentication with a key (cephx)' in failed and 'does not accept' not in failed


def test_permissions(cephx):
    """Errors name the client, what it may not do, and the caps."""
    image = cephx.create('1M')
    for argv, client, expected in (
            (('resize', '-f', 'raw', uri(cephx, image, 'ro'), '2M'), 'ro', 'open it for writing'),
            (('create', '-f', 'raw', uri(cephx, 'rbd/new', 'ro'), '2M'), 'ro', 'create it'),
            (('info', uri(cephx, image, 'other')), 'other', 'open it\n'),
            (('create', '-f', 'raw', uri(cephx, 'rbd/new', 'other'), '2M'), 'other', 'create it')):
        failed = qemu_img(*argv, status=1).stderr
        assert f'client.{client} has no permission to {expected}' in failed
        assert f'"ceph auth get client.{client}"' in failed and '"profile rbd"' in failed
    assert 'new' not in cephx.rbd_json('ls', 'rbd')


def test_copies_of_a_limited_client(cephx, tmp_path):
    """What it may not list is told, beside what it could."""
    image = cephx.create('4M')
    (tmp_path / 'password').write_bytes(b'password')
    secret = '--object', f'secret,id=s0,file={tmp_path}/password'
    qemu_img('format', *secret, '-o', f'key-secret=s0,{FAST}', cephx.uri(image))
    cephx.rbd('snap', 'create', '--no-progress', f'{image}@monday')
    objects = 'data', 'header', 'id', 'object_map', 'children', 'directory', 'info'
    cephx.ceph('auth', 'get-or-create', 'client.part', 'mon', 'profile rbd',
               'osd', ', '.join(f'allow rwx pool=rbd object_prefix rbd_{name}' for name in objects),
               '-o', conf_of(cephx, 'part').with_suffix('.keyring'))
    missing = 'client.part has no permission to list the trash, which "profile rbd" for its pool grants'
    refused = qemu_img('erase', '-q', uri(cephx, image, 'part'), status=1).stderr
    assert "snapshot 'monday'; could not determine whether the storage has more copies: " in refused
    assert missing in refused
    report = qemu_img_json('erase', '--force', uri(cephx, image, 'part'))
    notes = ' '.join(report['layers'][-1]['notes'])
    assert f"could not determine whether the storage has more copies: RBD image '{image}': {missing}" in notes
    assert "snapshot 'monday' still has" in notes
    # Without a copy that is known, it must not seem that there is none.
    cephx.rbd('snap', 'rm', '--no-progress', f'{image}@monday')
    refused = qemu_img('erase', '-q', uri(cephx, image, 'part'), status=1).stderr
    assert "': could not determine whether the storage has copies: " in refused and '--force' in refused
