"""The rbd driver on a Ceph cluster, compared with Ceph's own rbd and Debian's qemu-img.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import json
import os

import pytest

from ceph_cluster import librbd
from images import MIB, write_pieces
from programs import SOURCE_DIR, debian_qemu_img, limit_memory, qemu_img, qemu_img_json, qemu_io, run
from qmp import DEBIAN_QSD, QSD, StorageDaemon
from qmp_shapes import bare, offered, parse

KIB = 1024


def test_reads_and_writes(ceph, tmp_path):
    source = write_pieces(tmp_path / 'source', 16 * MIB, (MIB, MIB), (9 * MIB, MIB))
    image = ceph.import_file(source)
    uri = ceph.uri(image)
    before = source.read_bytes()
    qemu_img('compare', '-f', 'raw', '-F', 'raw', uri, source)
    info = qemu_img_json('info', uri)
    assert info['virtual-size'] == 16 * MIB and info['filename'] == uri
    qemu_io('-f', 'raw', '-d', 'unmap', '-c', 'write -P 1 0 64k', '-c', 'write -f -P 2 100 3000', '-c', 'write -z 1M 64k',
            '-c', 'write -z -u 1200000 100000', '-c', 'discard 8M 4M', '-c', 'read -P 2 100 3000', '-c', 'flush', uri)
    expected = bytearray(before)
    expected[:64 * KIB] = b'\1' * (64 * KIB)
    expected[100:3100] = b'\2' * 3000
    expected[MIB:MIB + 64 * KIB] = bytes(64 * KIB)
    expected[1200000:1300000] = bytes(100000)
    expected[8 * MIB:12 * MIB] = bytes(4 * MIB)
    assert ceph.export(image, tmp_path / 'after') == expected


@pytest.mark.parametrize('options', [(), ('--image-feature', 'layering'), ('--stripe-unit', '64K', '--stripe-count', '4')])
def test_block_status(ceph, options):
    """With a map of objects, asking each object, and where librbd cannot tell."""
    image = ceph.create('256M', *options)
    qemu_io('-f', 'raw', '-c', 'write 0 1M', '-c', 'write 41M 9M', '-c', 'write 255M 1M', ceph.uri(image))
    ours = qemu_img_json('map', '-f', 'raw', ceph.uri(image))
    extents = [(e['start'] // MIB, e['length'] // MIB, e['data']) for e in ours]
    if 'stripe' in str(options):
        assert extents == [(0, 256, True)]
        return
    assert extents == [(0, 4, True), (4, 36, False), (40, 12, True), (52, 200, False), (252, 4, True)]
    if not options:
        theirs = json.loads(debian_qemu_img('map', '--output=json', '-f', 'raw', ceph.uri(image)).stdout)
        assert [(e['start'], e['length'], e['data']) for e in ours] == [
            (e['start'], e['length'], e['data']) for e in theirs]


def test_convert(ceph, tmp_path):
    """Both directions. Holes stay holes."""
    source = write_pieces(tmp_path / 'source', 32 * MIB, (0, 3 * MIB), (20 * MIB, 100))
    image = ceph.create('32M')
    qemu_img('convert', '-n', '-f', 'raw', '-O', 'raw', source, ceph.uri(image))
    debian_qemu_img('compare', '-f', 'raw', '-F', 'raw', source, ceph.uri(image))
    qemu_img('convert', '-f', 'raw', '-O', 'raw', ceph.uri(image), tmp_path / 'copy')
    assert (tmp_path / 'copy').read_bytes() == source.read_bytes()
    assert (tmp_path / 'copy').stat().st_blocks < 16 * MIB // 512
    assert ceph.rbd_json('du', image)['images'][0]['used_size'] <= 8 * MIB


@pytest.mark.parametrize('object_size', ['4K', '32M'])
def test_object_sizes(ceph, tmp_path, object_size):
    image = ceph.create('2M', '--object-size', object_size)
    source = write_pieces(tmp_path / 'source', 2 * MIB, (0, MIB), (MIB + 5000, 10))
    qemu_img('convert', '-n', '-f', 'raw', '-O', 'raw', source, ceph.uri(image))
    qemu_io('-f', 'raw', '-c', 'write -z 3000 20000', '-c', 'discard 64k 64k', '-c', 'read -P 0 3000 20000',
            ceph.uri(image))
    debian_qemu_img('compare', '-f', 'raw', '-F', 'raw', ceph.uri(image), ceph.uri(image))
    data = bytearray(source.read_bytes())
    data[3000:23000] = bytes(20000)
    assert ceph.export(image, tmp_path / 'after')[128 * KIB:] == data[128 * KIB:]
    qemu_img('map', '-f', 'raw', ceph.uri(image))


def test_odd_size(ceph, tmp_path):
    """As of a file, the last sector is seen whole; but nothing can be written where the image is not."""
    data = write_pieces(tmp_path / 'source', 1000, (0, 1000)).read_bytes()
    image = ceph.import_file(tmp_path / 'source')
    uri = ceph.uri(image)
    assert qemu_img_json('info', '-f', 'raw', uri)['virtual-size'] == 1024
    qemu_img('convert', '-f', 'raw', '-O', 'raw', uri, tmp_path / 'copy')
    assert (tmp_path / 'copy').read_bytes() == data + bytes(24)
    qemu_img('convert', '-n', '-f', 'raw', '-O', 'raw', tmp_path / 'copy', uri)
    assert ceph.export(image, tmp_path / 'after') == data
    full = qemu_io('-f', 'raw', '-c', 'write -P 3 512 512', uri, status=1)
    assert 'No space left' in full.stdout + full.stderr
    qemu_io('-f', 'raw', '-c', 'write -z 0 1024', uri)
    assert ceph.export(image, tmp_path / 'after') == bytes(1000)


def test_snapshot(ceph, tmp_path):
    source = write_pieces(tmp_path / 'source', MIB, (0, MIB))
    image = ceph.import_file(source)
    ceph.rbd('snap', 'create', '--no-progress', f'{image}@s1')
    qemu_io('-f', 'raw', '-c', 'write -P 1 0 1M', ceph.uri(image))
    uri = ceph.uri(f'{image}@s1')
    qemu_img('compare', '-f', 'raw', '-F', 'raw', uri, source)
    refused = qemu_io('-f', 'raw', '-c', 'read 0 512', uri, status=1)
    assert 'RBD snapshots are read-only' in refused.stderr and 'read-only=on' in refused.stderr
    qemu_io('-r', '-f', 'raw', '-c', 'read 0 512', uri)


def test_filenames(ceph, tmp_path, monkeypatch):
    """Names are shown so that they open again."""
    ceph.rbd('namespace', 'create', 'rbd/spaces')
    ceph.rbd('create', 'rbd/spaces/a:b', '--size', '1M')
    port = next(line for line in ceph.conf.read_text().splitlines() if line.startswith('mon host')).rsplit(':', 1)[1]
    for name, shown in (
            (f'rbd:rbd/spaces/a\\:b:conf={ceph.conf}', None),
            (f'rbd:rbd/spaces/a\\:b:mon_host=127.0.0.1\\:{port}:auth_supported=none',
             f'rbd:rbd/spaces/a\\:b:mon_host=127.0.0.1\\:{port}:auth_client_required=none'),
            (f'json:{{"driver":"rbd","pool":"rbd","namespace":"spaces","image":"a:b","conf":"{ceph.conf}"}}',
             f'rbd:rbd/spaces/a\\:b:conf={ceph.conf}')):
        info = qemu_img_json('info', name)
        assert info['filename'] == (shown or name)
        assert qemu_img_json('info', info['filename'])['filename'] == info['filename']
    # These are files.
    monkeypatch.chdir(tmp_path)
    write_pieces(tmp_path / 'rbd:q', MIB)
    assert qemu_img_json('info', './rbd:q')['virtual-size'] == MIB
    assert qemu_img_json('info', 'file:rbd:q')['virtual-size'] == MIB


def test_key_in_a_filename():
    refused = qemu_img('info', 'rbd:rbd/x:id=me:key=AQBhunter2==', status=1)
    assert 'key-secret=ID' in refused.stderr


@pytest.mark.plain_build
def test_errors(ceph, tmp_path):
    """Each names what was looked for, and what to do; and there is room for librbd's threads."""
    host = next(line for line in ceph.conf.read_text().splitlines() if line.startswith('mon host'))
    no_key = tmp_path / 'no-key.conf'
    no_key.write_text(f'[global]\n{host}\nauth client required = cephx\nkeyring = {tmp_path}/keyring\n')
    no_keyring = tmp_path / 'no-keyring.conf'
    no_keyring.write_text(f'[global]\n{host}\nauth client required = cephx\n')
    no_monitor = tmp_path / 'no-monitor.conf'
    no_monitor.write_text('')
    image = ceph.create('1M')
    for name, *expected in (
            (f'rbd:{image}:conf={tmp_path}/missing', f"configuration file '{tmp_path}/missing': No such file"),
            (f'rbd:{image}:conf={no_monitor}', f"no monitor is known: '{no_monitor}' has no mon_host", 'option server'),
            (f'rbd:{image}:conf={no_key}:id=me', f'found no key for client.me in {tmp_path}/keyring', 'key-secret'),
            (f'rbd:{image}:conf={no_keyring}', 'keyring.bin\nSpecify the client'),
            (ceph.uri('nopool/x'), "the cluster has no pool 'nopool'", "It has 'rbd'"),
            (ceph.uri('rbd/nospace/x'), "pool 'rbd' has no namespace 'nospace'"),
            (ceph.uri('rbd/noimage'), "pool 'rbd' has no image 'noimage'"),
            (ceph.uri(f'{image}@nosnap'), "it has no snapshot 'nosnap'")):
        failed = qemu_img('info', name, status=1, preexec_fn=limit_memory)
        for text in expected:
            assert text in failed.stderr
    qemu_img('info', ceph.uri(image), preexec_fn=limit_memory)


def test_no_cluster(tmp_path):
    """What does not name one is told in one message, before librados prints its own."""
    env = {**os.environ, 'HOME': str(tmp_path), 'CEPH_CONF': str(tmp_path / 'missing')}
    conf = tmp_path / 'ceph.conf'
    conf.write_text('[global]\nmon host = [v2:127.0.0.1:1/0,v1:127.0.0.1:2/0] [::1]:3 unknown.invalid:4\n')
    server = 'driver=rbd,pool=rbd,image=x,server.0.host={},server.0.port={}'
    for argv, expected in (
            (('rbd:rbd/x',), 'no monitor is known: there is no configuration file'),
            (('rbd:rbd/x:mon_host=',), 'mon_host in the RBD filename names no monitor'),
            (('rbd:rbd/x:mon_host=\\;',), 'mon_host in the RBD filename names no monitor'),
            (('rbd:rbd/x:mon_host=unknown.invalid',), "monitor's host name 'unknown.invalid'"),
            ((f'rbd:rbd/x:conf={conf}',), "monitor's host name 'unknown.invalid'"),
            (('--image-opts', server.format('127.0.0.1', '1x')), "port '1x' of monitor '127.0.0.1' is not a number"),
            (('--image-opts', server.format('127.0.0.1', '0')), "port '0' of monitor '127.0.0.1'"),
            (('--image-opts', server.format('127.0.0.1', '65536')), "port '65536' of monitor '127.0.0.1'")):
        failed = qemu_img('info', *argv, status=1, env=env, cwd=tmp_path).stderr
        assert failed.startswith('qemu-img: ') and expected in failed


def test_data_pool(ceph, tmp_path):
    """An image whose data is in another pool than its name."""
    ceph.ceph('osd', 'pool', 'create', 'data', '1')
    ceph.ceph('osd', 'pool', 'application', 'enable', 'data', 'rbd')
    image = ceph.create('16M', '--data-pool', 'data')
    source = write_pieces(tmp_path / 'source', 16 * MIB, (5 * MIB, MIB))
    qemu_img('convert', '-n', '-f', 'raw', '-O', 'raw', source, ceph.uri(image))
    assert ceph.export(image, tmp_path / 'after') == source.read_bytes()
    extents = [(e['start'] // MIB, e['length'] // MIB, e['data']) for e in qemu_img_json('map', '-f', 'raw', ceph.uri(image))]
    assert extents == [(0, 4, False), (4, 4, True), (8, 8, False)]
    prefix = ceph.rbd_json('info', image)['block_name_prefix']
    objects = run('rados', '-c', ceph.conf, '-p', 'data', 'ls').stdout.split()
    assert [name for name in objects if name.startswith(prefix)] == [f'{prefix}.{1:016x}']
    qemu_img('resize', '-f', 'raw', '--shrink', ceph.uri(image), '2M')
    qemu_img('resize', '-f', 'raw', ceph.uri(image), '8M')
    assert ceph.export(image, tmp_path / 'after') == bytes(8 * MIB)


@pytest.mark.parametrize('library', ['librados.so.2', 'librbd.so.1'])
@pytest.mark.parametrize('is_old', [False, True])
def test_library(tmp_path, library, is_old):
    """It is loaded with the first image. Without it, all else works."""
    if is_old:
        run('cc', '-shared', '-x', 'c', '-o', tmp_path / library, '/dev/null')
    else:
        (tmp_path / library).write_bytes(b'not a library' * 100)
    environment = {**os.environ, 'LD_LIBRARY_PATH': str(tmp_path)}
    failed = qemu_img('info', 'rbd:rbd/x', status=1, env=environment).stderr
    assert "Driver 'rbd' needs librbd, which could not be loaded" in failed and 'package librbd1' in failed
    assert library in failed or is_old
    qemu_img('info', '-f', 'raw', write_pieces(tmp_path / 'file', MIB), env=environment)


SHORT_READS = """
#define _GNU_SOURCE
#include <dlfcn.h>
long rbd_aio_get_return_value(void *completion)
{
    long (*next)(void *) = (long (*)(void *))dlsym(RTLD_NEXT, "rbd_aio_get_return_value");
    long n = next(completion);
    return n == 65536 ? 512 : n;
}
"""


@pytest.mark.plain_build
def test_short_read(ceph, tmp_path):
    """librbd reads less where the image has just become shorter: no bytes are made up for the rest."""
    (tmp_path / 'librbX.so.1').write_bytes(librbd().replace(b'\0librbd.so.1\0', b'\0librbX.so.1\0'))
    (tmp_path / 'short.c').write_text(SHORT_READS)
    run('cc', '-shared', '-fPIC', '-Wl,-soname,librbd.so.1', '-o', tmp_path / 'librbd.so.1', tmp_path / 'short.c',
        '-Wl,--no-as-needed', tmp_path / 'librbX.so.1', '-Wl,--allow-shlib-undefined')
    failed = qemu_io('-f', 'raw', '-c', 'read 0 4k', '-c', 'read 0 64k', ceph.uri(ceph.create('1M')), status=1,
                     env={**os.environ, 'LD_LIBRARY_PATH': str(tmp_path)})
    assert 'read 4096/4096' in failed.stdout and 'read failed: Input/output error' in failed.stdout + failed.stderr


@pytest.mark.parametrize('read_only', [False, True])
def test_node_info_like_qemu(ceph, tmp_path, read_only):
    """What Debian's daemon says of the node, and of one above it, ours says, too; but our filenames are shorter, and the
    size of objects is in the limits (opt-transfer).
    """
    shapes = parse((SOURCE_DIR / 'tests' / 'data' / 'qmp-shapes.txt').read_text())
    image = ceph.create('4M')
    nodes = {}
    for program in QSD, DEBIAN_QSD:
        with StorageDaemon(tmp_path, program=program) as daemon:
            daemon.qmp.cmd('blockdev-add', driver='rbd', node_name='n0', pool='rbd', image=image.split('/')[1],
                           conf=str(ceph.conf), read_only=read_only)
            daemon.qmp.cmd('blockdev-add', driver='raw', node_name='r0', file='n0', read_only=read_only)
            nodes[program] = {node['node-name']: node for node in daemon.qmp.cmd('query-named-block-nodes')}
    assert nodes[DEBIAN_QSD].keys() == nodes[QSD].keys()
    for name, theirs in nodes[DEBIAN_QSD].items():
        ours = nodes[QSD][name]
        image_info = theirs.pop('image')
        assert ours['image']['limits']['opt-transfer'] == image_info.pop('cluster-size')
        assert ours['image']['filename'] == ours['file'] == ceph.uri(image)
        assert image_info.pop('filename') == theirs.pop('file')
        assert image_info.items() <= ours['image'].items()
        assert {key: ours[key] for key in theirs} == theirs
        for type_name, value in ('BlockDeviceInfo', ours), ('ImageInfo', ours['image']), ('BlockdevCacheInfo', ours['cache']):
            members = shapes['type', type_name].members
            assert {bare(m.name) for m in members if offered(m.name) and not m.optional} <= value.keys()
            assert value.keys() <= {bare(m.name) for m in members if offered(m.name)}
