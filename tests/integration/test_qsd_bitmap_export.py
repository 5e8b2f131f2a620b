"""Dirty bitmaps as metadata contexts of NBD exports, for our clients and those of others.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import json
import struct

import nbd
import pytest

from nbd_server import connect_wire
from programs import debian_qemu_img, qemu_img_json, run
from qmp import StorageDaemon

pytestmark = pytest.mark.threads

KiB = 1 << 10
MiB = 1 << 20
SIZE = 4 * MiB
LIST_META, SET_META, GO, STRUCTURED_REPLY = 9, 10, 7, 8
BLOCK_STATUS, REQ_ONE = 7, 1 << 3


class Exports:
    """A daemon with node "disk", which is written through export "rw", and node "other"."""

    def __init__(self, directory, daemon):
        self.directory = directory
        self.qmp = daemon.qmp
        self.socket = directory / 'nbd.sock'

    def add_bitmap(self, name, node='disk', **more):
        self.qmp.cmd('block-dirty-bitmap-add', node=node, name=name, **more)

    def bitmap(self, command, name, node='disk'):
        self.qmp.cmd(f'block-dirty-bitmap-{command}', node=node, name=name)

    def export(self, ident, *bitmaps, node='disk', **more):
        self.qmp.cmd('block-export-add', type='nbd', id=ident, node_name=node, name=ident, bitmaps=list(bitmaps), **more)

    def export_error(self, *bitmaps, node='disk', **more):
        return self.qmp.error('block-export-add', type='nbd', id='x', node_name=node, bitmaps=list(bitmaps), **more).desc

    def delete(self, ident):
        self.qmp.cmd('block-export-del', id=ident, mode='hard')
        self.qmp.wait_event('BLOCK_EXPORT_DELETED', id=ident)

    def uri(self, name):
        return f'nbd+unix:///{name}?socket={self.socket}'

    def connect(self, name, *contexts):
        handle = nbd.NBD()
        for context in contexts:
            handle.add_meta_context(context)
        handle.connect_uri(self.uri(name))
        return handle

    def write(self, *ranges):
        handle = self.connect('rw')
        for offset, size in ranges:
            handle.pwrite(b'x' * size, offset)
        handle.shutdown()


@pytest.fixture(name='exports')
def fixture_exports(tmp_path):
    (tmp_path / 'disk.raw').write_bytes(bytes(SIZE))
    with StorageDaemon(tmp_path, '--object', 'iothread,id=io0',
                       '--blockdev', f'file,node-name=file,filename={tmp_path}/disk.raw',
                       '--blockdev', 'raw,node-name=disk,file=file',
                       '--blockdev', f'null-co,node-name=other,size={SIZE},read-zeroes=on',
                       '--nbd-server', f'addr.type=unix,addr.path={tmp_path}/nbd.sock',
                       '--export', 'nbd,id=rw,node-name=disk,name=rw,writable=on') as daemon:
        yield Exports(tmp_path, daemon)


def status(handle, context, offset=0, count=SIZE, flags=0):
    """Extents of a context, as (bytes, flags)."""
    found = []

    def extent(name, start, entries, _):
        if name == context:
            assert start == offset
            found.extend(zip(entries[::2], entries[1::2]))
        return 0
    handle.block_status(count, offset, extent, flags=flags)
    return found


def test_extents(exports):
    """Whole granules; what is asked for, and no more."""
    exports.add_bitmap('b0')
    exports.add_bitmap('fine', granularity=512)
    exports.write((1 * MiB, 512), (SIZE - 1, 1))
    for name in ('b0', 'fine'):
        exports.bitmap('disable', name)
    exports.export('e', 'b0', {'node': 'disk', 'name': 'fine'}, iothread='io0')
    b0, fine = 'qemu:dirty-bitmap:b0', 'qemu:dirty-bitmap:fine'
    handle = exports.connect('e', b0, fine, nbd.CONTEXT_BASE_ALLOCATION)
    assert all(handle.can_meta_context(context) for context in (b0, fine, nbd.CONTEXT_BASE_ALLOCATION))
    assert status(handle, b0) == [(1 * MiB, 0), (65536, 1), (SIZE - 1 * MiB - 2 * 65536, 0), (65536, 1)]
    assert status(handle, fine) == [(1 * MiB, 0), (512, 1), (SIZE - 1 * MiB - 1024, 0), (512, 1)]
    assert sum(size for size, _ in status(handle, nbd.CONTEXT_BASE_ALLOCATION)) == SIZE
    assert status(handle, b0, 1 * MiB + 1, 10) == [(10, 1)]
    assert status(handle, b0, 1 * MiB - 1, 65538) == [(1, 0), (65536, 1), (1, 0)]
    assert status(handle, b0, 0, 2 * MiB, nbd.CMD_FLAG_REQ_ONE) == [(1 * MiB, 0)]
    assert status(handle, b0, 1 * MiB, 2 * MiB, nbd.CMD_FLAG_REQ_ONE) == [(65536, 1)]
    # A disabled bitmap is stable.
    exports.write((0, 512))
    assert status(handle, b0, 0, 1 * MiB) == [(1 * MiB, 0)]
    handle.shutdown()


def test_more_extents_than_one_reply_has(exports):
    exports.add_bitmap('fine', granularity=512)
    exports.write(*((i * 1024, 512) for i in range(SIZE // 1024)))
    exports.bitmap('disable', 'fine')
    exports.export('e', 'fine')
    handle = exports.connect('e', 'qemu:dirty-bitmap:fine')
    extents, offset = [], 0
    while offset < SIZE:
        more = status(handle, 'qemu:dirty-bitmap:fine', offset, SIZE - offset)
        assert 0 < len(more) <= 4096
        extents += more
        offset += sum(size for size, _ in more)
    assert extents == [(512, 1), (512, 0)] * (SIZE // 1024)
    handle.shutdown()


def test_other_clients(exports):
    """nbdinfo, Debian's qemu-img, and ours; what each shows is what was written."""
    exports.add_bitmap('b0')
    exports.write((1 * MiB, 512), (3 * MiB - 512, 1024))
    exports.bitmap('disable', 'b0')
    exports.export('e', 'b0', allocation_depth=True)
    dirty = [(1 * MiB, 65536), (3 * MiB - 65536, 2 * 65536)]
    infos = json.loads(run('nbdinfo', '--json', '--map=qemu:dirty-bitmap:b0', exports.uri('e')).stdout)
    assert [(info['offset'], info['length']) for info in infos if info['type'] == 1] == dirty
    listed = json.loads(run('nbdinfo', '--json', '--list', exports.uri('')).stdout)
    contexts = {export['export-name']: export['contexts'] for export in listed['exports']}
    assert contexts == {'e': ['base:allocation', 'qemu:allocation-depth', 'qemu:dirty-bitmap:b0'],
                        'rw': ['base:allocation']}
    options = (f'driver=nbd,server.type=unix,server.path={exports.socket},export=e,'
               'x-dirty-bitmap=qemu:dirty-bitmap:b0')
    ours = qemu_img_json('map', '--image-opts', options)
    theirs = json.loads(debian_qemu_img('map', '--output=json', '--image-opts', options).stdout)
    for extents in (ours, theirs):
        assert [(extent['start'], extent['length']) for extent in extents if not extent['data']] == dirty


def string(text):
    return struct.pack('>I', len(text)) + text


def test_lists(exports):
    """Queries of LIST and SET: name spaces are for LIST only."""
    exports.add_bitmap('b0', disabled=True)
    exports.add_bitmap('b0:x', disabled=True)
    exports.add_bitmap('n' * 1023, disabled=True)
    exports.export('e', 'b0', 'b0:x', 'n' * 1023, allocation_depth=True)
    names = [b'base:allocation', b'qemu:allocation-depth', b'qemu:dirty-bitmap:b0', b'qemu:dirty-bitmap:b0:x',
             b'qemu:dirty-bitmap:' + b'n' * 1023]
    replies = [(4, struct.pack('>I', i) + name) for i, name in enumerate(names)]

    def option(wire, kind, *queries):
        return wire.option(kind, string(b'e') + struct.pack('>I', len(queries)) + b''.join(map(string, queries)))
    with connect_wire(exports.socket).greet() as wire:
        assert wire.option(STRUCTURED_REPLY) == [(1, b'')]
        assert option(wire, LIST_META) == replies + [(1, b'')]
        assert option(wire, LIST_META, b'qemu:') == replies[1:] + [(1, b'')]
        assert option(wire, LIST_META, b'qemu:dirty-bitmap:') == replies[2:] + [(1, b'')]
        assert option(wire, LIST_META, b'qemu:dirty-bitmap:b0') == [replies[2], (1, b'')]
        assert option(wire, LIST_META, b'qemu:dirty-bitmap') == [(1, b'')]
        assert option(wire, LIST_META, *names[3:]) == replies[3:] + [(1, b'')]
        assert option(wire, SET_META, b'qemu:dirty-bitmap:', b'qemu:') == [(1, b'')]
        assert option(wire, SET_META, b'qemu:dirty-bitmap:none', names[4], names[3]) == replies[3:] + [(1, b'')]
        wire.go(b'e')
        wire.request(BLOCK_STATUS, 0, 512)
        assert [wire.chunk()[3] for _ in range(2)] == [struct.pack('>III', i, 512, 0) for i in (3, 4)]


def test_choice_is_for_one_export(exports):
    """Contexts chosen for an export that was deleted are not those of its successor."""
    for name in ('b0', 'b1'):
        exports.add_bitmap(name, disabled=True)
    exports.export('e', 'b0', 'b1')
    with connect_wire(exports.socket).greet() as wire:
        assert wire.option(STRUCTURED_REPLY) == [(1, b'')]
        query = string(b'e') + struct.pack('>I', 1) + string(b'qemu:dirty-bitmap:b1')
        assert wire.option(SET_META, query) == [(4, struct.pack('>I', 3) + b'qemu:dirty-bitmap:b1'), (1, b'')]
        exports.delete('e')
        exports.export('e', 'b1')
        wire.go(b'e')
        wire.request(BLOCK_STATUS, 0, 512)
        assert wire.chunk()[1] == 1 << 15 | 1


def test_busy(exports):
    """What an export uses is refused, with its name; afterwards it is free."""
    exports.add_bitmap('b0', node='other')
    exports.add_bitmap('b1', node='other')
    exports.export('e', {'node': 'other', 'name': 'b0'})
    words = ["'b0'", "export 'e'"]
    errors = [exports.qmp.error(f'block-dirty-bitmap-{command}', node='other', name='b0').desc
              for command in ('remove', 'clear', 'enable', 'disable')]
    errors += [exports.qmp.error('block-dirty-bitmap-merge', node='other', target=target, bitmaps=[source]).desc
               for target, source in (('b0', 'b1'), ('b1', 'b0'))]
    errors += [exports.qmp.error('transaction', actions=[
        {'type': 'block-dirty-bitmap-clear', 'data': {'node': 'other', 'name': 'b0'}}]).desc]
    errors += [exports.export_error({'node': 'other', 'name': 'b0'})]
    errors += [exports.qmp.error('blockdev-del', node_name='other').desc]
    assert [error for error in errors if not all(word in error for word in words)] == []
    info, = [info for info in exports.qmp.cmd('query-named-block-nodes') if info['node-name'] == 'other']
    assert {bitmap['name']: bitmap['busy'] for bitmap in info['dirty-bitmaps']} == {'b0': True, 'b1': False}
    exports.delete('e')
    exports.bitmap('clear', 'b0', node='other')
    exports.qmp.cmd('blockdev-del', node_name='other')


def test_refused(exports):
    exports.add_bitmap('on')
    exports.add_bitmap('off', disabled=True)
    exports.add_bitmap('off', node='other', disabled=True)
    assert exports.export_error('nope').startswith("Bitmap 'nope' is not found")
    assert exports.export_error({'node': 'disk', 'name': 'nope'}).startswith("Dirty bitmap 'nope' not found")
    assert exports.export_error({'node': 'nope', 'name': 'on'}) == "Node 'nope' not found"
    assert exports.export_error('on').startswith("Enabled bitmap 'on' incompatible with readonly export")
    assert "two bitmaps named 'off'" in exports.export_error('off', {'node': 'other', 'name': 'off'})
    assert 'two bitmaps' in exports.export_error('off', 'off')
    for i in range(62):
        exports.add_bitmap(f'b{i}', disabled=True)
    assert '62' in exports.export_error('off', *(f'b{i}' for i in range(62)))
    exports.export('all', *(f'b{i}' for i in range(62)))
    handle = exports.connect('all', 'qemu:dirty-bitmap:b61')
    assert status(handle, 'qemu:dirty-bitmap:b61') == [(SIZE, 0)]
    handle.shutdown()
    exports.delete('all')
    # Nothing that failed has left a bitmap busy.
    for name in ('on', 'off', 'b61'):
        exports.bitmap('remove', name)


def test_enabled(exports):
    """A writable export may have an enabled bitmap: clients see the present bits."""
    exports.add_bitmap('on')
    exports.export('e', 'on', writable=True)
    handle = exports.connect('e', 'qemu:dirty-bitmap:on')
    handle.pwrite(b'x', 0)
    assert status(handle, 'qemu:dirty-bitmap:on') == [(65536, 1), (SIZE - 65536, 0)]
    exports.write((SIZE - 1, 1))
    assert status(handle, 'qemu:dirty-bitmap:on')[-1] == (65536, 1)
    handle.shutdown()


def test_shorter_bitmap(exports):
    """What a bitmap of another node does not cover counts as dirty."""
    exports.qmp.cmd('blockdev-add', driver='null-co', node_name='short', size=1 * MiB)
    exports.add_bitmap('b0', node='short')
    exports.export('e', {'node': 'short', 'name': 'b0'})
    handle = exports.connect('e', 'qemu:dirty-bitmap:b0')
    assert status(handle, 'qemu:dirty-bitmap:b0') == [(1 * MiB, 0), (3 * MiB, 1)]
    assert status(handle, 'qemu:dirty-bitmap:b0', 2 * MiB, 512) == [(512, 1)]
    handle.shutdown()


def test_below_a_filter(exports):
    """A name is looked up in the nodes below filters, too; the older command takes one."""
    exports.qmp.cmd('object-add', qom_type='throttle-group', id='g')
    exports.qmp.cmd('blockdev-add', driver='throttle', node_name='slow', throttle_group='g', file='disk')
    exports.add_bitmap('b0', disabled=True)
    exports.qmp.cmd('nbd-server-add', device='slow', bitmap='b0')
    handle = exports.connect('slow', 'qemu:dirty-bitmap:b0')
    assert status(handle, 'qemu:dirty-bitmap:b0') == [(SIZE, 0)]
    handle.shutdown()
    assert "'b1'" in exports.qmp.error('nbd-server-add', device='slow', name='x', bitmap='b1').desc
