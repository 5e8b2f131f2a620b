"""The filename that is shown of an image opens the same again, in all programs.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import json

import nbd
import pytest

from nbd_server import NbdServer
from programs import BUILD_DIR, debian_qemu_img, qemu_img, qemu_img_json, qemu_io, run, secret_object
from qmp import StorageDaemon

LENGTH = 1 << 20


@pytest.fixture(name='files', scope='module')
def fixture_files(tmp_path_factory):
    """A directory with images, of which every sector is another."""
    directory = tmp_path_factory.mktemp('files')
    data = b''.join(number.to_bytes(4, 'big') * 128 for number in range(1, LENGTH // 512 + 1))
    for name in 'a.img', 'c:d.img', 'json:a', 'sub:dir', "quote'\"{}.img":
        (directory / name).write_bytes(data)
    key = secret_object(directory, 's', b'pw')
    qemu_img('convert', '-O', 'luks', *key, '-o', 'key-secret=s,iter-time=10', 'a.img', 'a.luks', cwd=directory)
    qemu_img('create', '-q', '-f', 'luks', *key, '-o', 'key-secret=s,iter-time=10,detached-header=on', 'header', cwd=directory)
    (directory / 'payload').write_bytes(bytes(LENGTH))
    qemu_img('convert', '-n', *key, '-f', 'raw', '--target-image-opts', 'a.img',
             'driver=luks,key-secret=s,file.filename=payload,header.filename=header', cwd=directory)
    return directory


def file(name):
    return {'driver': 'file', 'filename': name}


def luks(below, **more):
    return {'driver': 'luks', 'key-secret': 's', 'file': below, **more}


WINDOW = {'driver': 'raw', 'offset': 1536, 'size': 65536}
GRAPHS = {
    'plain': (dict(driver='raw', file=file('a.img')), 'a.img'),
    'protocol': (file('a.img'), 'a.img'),
    'caching': (dict(driver='raw', file=dict(file('a.img'), aio='threads', cache={'direct': False})), 'a.img'),
    'colon': (dict(driver='raw', file=file('c:d.img')), './c:d.img'),
    'colon-protocol': (file('c:d.img'), './c:d.img'),
    'like-json': (dict(driver='raw', file=file('json:a')), './json:a'),
    'dot': (dict(driver='raw', file=file('./sub:dir')), './sub:dir'),
    'window': (dict(WINDOW, file=file('a.img')), None),
    'offset': (dict(driver='raw', offset=512, file=file('c:d.img')), None),
    'nested': (dict(driver='raw', file=dict(driver='raw', file=file('a.img'))), None),
    'quotes': (dict(WINDOW, file=file("quote'\"{}.img")), None),
    'luks': (luks(file('a.luks')), None),
    'luks-in-window': (luks(dict(driver='raw', offset=0, file=file('a.luks'))), None),
    'raw-on-luks': (dict(WINDOW, file=luks(file('a.luks'))), None),
    'detached': (luks(file('payload'), header=file('header')), None),
    'throttle': ({'driver': 'throttle', 'throttle-group': 't', 'file': file('a.img')}, None),
    'blkdebug': ({'driver': 'blkdebug', 'set-state': [{'event': 'none', 'new_state': 2}], 'image': file('a.img')}, None),
    'null': ({'driver': 'null-co', 'read-zeroes': True}, None),
    'null-size': ({'driver': 'null-co', 'size': 65536, 'read-zeroes': True}, None),
}


def content(qmp, node, path):
    """Length and first bytes of NODE, as an NBD client sees them."""
    qmp.cmd('block-export-add', id='e', type='nbd', node_name=node, name='e')
    client = nbd.NBD()
    client.connect_uri(f'nbd+unix:///e?socket={path}')
    length = client.get_size()
    data = bytes(client.pread(min(length, 65536), 0))
    client.shutdown()
    qmp.cmd('block-export-del', id='e', mode='hard')
    qmp.wait_event('BLOCK_EXPORT_DELETED', id='e')
    return length, data


@pytest.mark.parametrize('name', GRAPHS)
def test_opens_the_same(files, tmp_path, name, monkeypatch):
    monkeypatch.chdir(files)
    graph, expected = GRAPHS[name]
    objects = [*secret_object(files, 's', b'pw'), '--object', 'throttle-group,id=t']
    with StorageDaemon(tmp_path, *objects) as daemon:
        qmp = daemon.qmp
        qmp.cmd('nbd-server-start', addr={'type': 'unix', 'data': {'path': str(tmp_path / 'nbd')}})
        qmp.cmd_raw('blockdev-add', {'node-name': 'n', 'read-only': True, **graph})
        info = next(node for node in qmp.cmd('query-named-block-nodes') if node['node-name'] == 'n')
        shown = info['image']['filename']
        assert info['file'] == shown
        if expected:
            assert shown == expected
        assert qemu_img_json('info', *objects, 'json:' + json.dumps(graph))['filename'] == shown
        before = content(qmp, 'n', tmp_path / 'nbd')

        again = json.loads(shown[5:]) if shown.startswith('json:') else {'driver': graph['driver'], 'file': file(shown)}
        if graph['driver'] == 'file':
            again = file(shown)
        qmp.cmd_raw('blockdev-add', {'node-name': 'again', 'read-only': True, **again})
        assert content(qmp, 'again', tmp_path / 'nbd') == before

    length, data = before
    qemu_img('dd', *objects, '-O', 'raw', f'if={shown}', f'of={tmp_path / "copy"}', 'bs=64k', 'count=1')
    assert (tmp_path / 'copy').read_bytes() == data
    done = qemu_io(*objects, '-r', '-c', 'length', '-c', f'read -P {data[3]} 3 1', shown)
    assert 'Pattern verification failed' not in done.stdout
    assert qemu_img_json('info', *objects, shown)['virtual-size'] == length
    with NbdServer(tmp_path, *objects, '-r', shown) as server:
        sizes = json.loads(run('nbdinfo', '--json', server.uri()).stdout)
        assert sizes['exports'][0]['export-size'] == length


@pytest.mark.parametrize('name', GRAPHS)
def test_qemu_opens_it(files, name, monkeypatch):
    """QEMU 7.2 knows no detached headers."""
    monkeypatch.chdir(files)
    objects = [*secret_object(files, 's', b'pw'), '--object', 'throttle-group,id=t']
    graph = GRAPHS[name][0]
    if name != 'detached':
        mine = qemu_img_json('info', *objects, 'json:' + json.dumps(graph))
        theirs = json.loads(debian_qemu_img('info', '--output=json', *objects, mine['filename']).stdout)
        assert mine['virtual-size'] == theirs['virtual-size']


def test_map_shows_it(files):
    done = qemu_img('map', 'file:c:d.img', cwd=files)
    assert done.stdout.splitlines()[1].split()[3] == './c:d.img'


def test_options_that_do_not_change_the_content():
    graph = {'driver': 'raw', 'file': {'driver': 'null-co', 'latency-ns': 5}}
    assert qemu_img_json('info', 'json:' + json.dumps(graph))['filename'] == 'null-co://'


NAMES_WITH_SECRETS = ['iscsi://ann:PASSWORD@127.0.0.1/iqn.2024-01.test:x/1',
                      'iscsi://ann%PASSWORD@127.0.0.1/iqn.2024-01.test:x/1',
                      'nbd://ann:PASSWORD@127.0.0.1/x', 'rbd:rbd/image:key=PASSWORD', 'rbd:rbd/image:id=a:key=PASS\\:PASSWORD']


@pytest.mark.parametrize('name', NAMES_WITH_SECRETS)
def test_secret_is_not_repeated(tmp_path, name):
    """It is refused; the message says what is wrong without it."""
    other = tmp_path / 'other'
    other.write_bytes(bytes(1 << 20))
    for args in (['info', name], ['check', name], ['map', name], ['create', '-f', 'raw', name, '1M'],
                 ['create', '-f', 'luks', name, '1M'], ['convert', '-f', 'raw', other, name], ['convert', name, other],
                 ['compare', other, name], ['resize', name, '2M'], ['measure', name], ['dd', f'if={name}', f'of={other}'],
                 ['dd', f'if={other}', f'of={name}'], ['format', name], ['erase', '-q', name], ['keyslot', 'list', name],
                 ['header', 'backup', name, tmp_path / 'header'],
                 ['info', '--image-opts', f'driver=raw,file.filename={name}'],
                 ['info', 'json:' + json.dumps({'driver': 'raw', 'file': {'filename': name}})]):
        done = qemu_img(*args, status=None)
        assert done.returncode and 'PASS' not in done.stdout + done.stderr, args
    for program in ('qemu-io', 'qemu-nbd'):
        done = run(BUILD_DIR / program, name, status=1)
        assert 'PASS' not in done.stdout + done.stderr
