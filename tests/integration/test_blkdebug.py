"""The blkdebug driver: requests fail as its rules say, and are limited as its options say.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import collections
import json
import re

import nbd
import pytest

from images import MIB, new_luks, secret
from programs import DEBIAN_QEMU_IO, QEMU_IO, qemu_img, qemu_img_json, qemu_io, run
from qmp import QmpError, StorageDaemon


@pytest.fixture(name='image')
def fixture_image(tmp_path):
    path = tmp_path / 'a.img'
    path.write_bytes(b'\x01' * MIB)
    return path


def error(event, number=0, **options):
    return rule('inject-error', number, event, options)


def state(event, number=0, **options):
    return rule('set-state', number, event, options)


def rule(kind, number, event, options):
    return ''.join(f',file.{kind}.{number}.{name}={value}' for name, value in [('event', event), *options.items()])


def execute(program, image, options, *commands, **kwargs):
    """Run COMMANDS on raw above blkdebug above IMAGE."""
    args = [arg for command in commands for arg in ('-c', command)]
    graph = f'driver=raw,file.driver=blkdebug,file.image.driver=file,file.image.filename={image}{options}'
    return run(program, '-t', 'writeback', *args, '--image-opts', graph, **kwargs)


def failed(*args):
    """How many commands of execute() fail for each reason."""
    return collections.Counter(re.findall(r'failed: (.*)', execute(QEMU_IO, *args, status=None).stdout))


RW = ['read 0 512', 'write 0 512', 'read 0 512', 'write 0 512', 'write 64k 512']
MIXED = ['read 0 4k', 'write 4k 4k', 'write -z 8k 4k', 'discard 12k 4k', 'flush', 'read 0 4k', 'alloc 0 4k']
UNALIGNED = ['write 100 100', 'write 100 8k', 'write -z 100 10k', 'write 4k 4k', 'read 3 5', 'write -P 7 1023k 1k']
SAME = {
    'none': (error('none'), RW),
    'none, reads': (error('none', iotype='read'), MIXED),
    'none, writes': (error('none', iotype='write'), MIXED),
    'none, zeroes': (error('none', iotype='write-zeroes'), MIXED),
    'none, discards': (',file.discard=unmap,discard=unmap' + error('none', iotype='discard'), MIXED),
    'discards dropped': (error('none', iotype='discard'), MIXED),
    'none, flushes': (error('none', iotype='flush'), MIXED),
    'status is not among all': (error('none', once='on'), ['map', *MIXED]),
    'errno': (error('none', errno=28), RW),
    'errno 0 lets through': (error('none', errno=0, sector=0) + error('none', 1, errno=5), RW),
    'once': (error('none', once='on'), RW),
    'once, each': (error('none', once='on') + error('none', 1, once='on', errno=28), RW),
    'sector': (error('none', sector=128), RW),
    'sector, end of request': (error('none', sector=3), ['read 0 1536', 'read 0 1537', 'read 1536 1', 'read 2048 1', 'flush']),
    'sector, middle': (error('none', sector=3, iotype='write'), ['write 0 64k', 'read 0 64k', 'write -z 0 64k']),
    'no sector': (error('none', sector=-1, iotype='write'), RW),
    'immediately': (error('none', immediately='on', iotype='write'), RW),
    'pwritev': (error('pwritev', errno=28), RW),
    'pwritev, later ones': (error('pwritev', iotype='read'), RW),
    'pwritev_zero': (error('pwritev_zero', once='on'), MIXED),
    'pwritev_done': (error('pwritev_done', once='on'), RW),
    'read_aio': (error('read_aio'), RW),
    'write_aio': (error('write_aio', once='on', errno=1), RW),
    'flush_to_os': (error('flush_to_os', once='on'), ['write 0 512', 'flush', 'flush', 'read 0 512']),
    'flush_to_disk': (error('flush_to_disk', iotype='flush', errno=28), ['write 0 512', 'flush', 'write 0 512', 'flush']),
    'rmw head': (',file.align=4k' + error('pwritev_rmw_head', iotype='write', once='on'), UNALIGNED),
    'rmw after head': (',file.align=4k' + error('pwritev_rmw_after_head', iotype='write', once='on'), UNALIGNED),
    'rmw tail': (',file.align=4k' + error('pwritev_rmw_tail', iotype='write', once='on'), UNALIGNED),
    'rmw after tail': (',file.align=4k' + error('pwritev_rmw_after_tail', iotype='write', once='on'), UNALIGNED),
    'never': (error('l1_update'), RW),
    'other event takes over': (error('write_aio', errno=28) + error('read_aio', 1, errno=1), RW),
    'state': (error('read_aio', state=2) + state('write_aio', new_state=2), RW),
    'states': (error('write_aio', state=3, errno=28) + state('write_aio', state=1, new_state=2) +
               state('write_aio', 1, state=2, new_state=3) + state('write_aio', 2, state=3, new_state=1), RW * 2),
    'first state': (error('none', state=2) + error('none', 1, state=1, errno=1), RW),
    'first change': (error('read_aio', state=2) + error('read_aio', 1, state=3, errno=1) + state('write_aio', new_state=3) +
                     state('write_aio', 1, new_state=2), RW),
    'align': (',file.align=4k', UNALIGNED),
    'limits': (',file.align=512,file.max-transfer=1k,file.opt-write-zero=4k,file.max-write-zero=8k,file.opt-discard=4k'
               ',file.max-discard=8k,discard=unmap', [*UNALIGNED, 'write -z 1k 62k', 'discard 1k 62k', 'read 0 1M']),
    'no powers of two': (',file.align=512,file.opt-write-zero=1536,file.max-write-zero=3k,file.opt-discard=1536',
                         ['write -z 0 1M', 'write -z 512 20k', 'discard 512 20k', 'write 0 2k']),
}


@pytest.mark.parametrize('name', SAME)
def test_same_as_qemu(tmp_path, image, name):
    options, commands = SAME[name]
    copy = tmp_path / 'copy.img'
    copy.write_bytes(image.read_bytes())
    ours, theirs = (execute(program, path, options, *commands, status=None)
                    for program, path in ((QEMU_IO, image), (DEBIAN_QEMU_IO, copy)))
    # QEMU's flush says nothing when it fails.
    assert re.sub(r'ops; .*|^flush failed: .*\n', '', ours.stdout, flags=re.MULTILINE) == re.sub(r'ops; .*', '', theirs.stdout)
    assert ours.returncode == theirs.returncode
    assert image.read_bytes() == copy.read_bytes()


CONFIG = '''
# the second write and what follows it
[inject-error "unused"]
  event = "write_aio"
  state = "2"
  errno="28"
  iotype = "write"

[set-state]
event = "write_aio"
new_state = "2"
'''


def test_config_file(tmp_path, image):
    config = tmp_path / 'rules'
    config.write_text(CONFIG.replace('="28"', ' = "28"'))
    args = [arg for command in RW for arg in ('-c', command)]
    outputs = [re.sub('ops; .*', '', run(program, '-f', 'raw', *args, f'blkdebug:{config}:{image}', status=None).stdout)
               for program in (QEMU_IO, DEBIAN_QEMU_IO)]
    assert outputs[0] == outputs[1]
    assert outputs[0].count('No space left on device') == 2
    config.write_text(CONFIG)
    assert failed(image, f',file.config={config}', *RW) == {'No space left on device': 2}
    # Options come after the file, so its rule still decides.
    more = error('write_aio', state=2, errno=1)
    assert failed(image, f',file.config={config}{more}', *RW) == {'No space left on device': 2}


@pytest.mark.parametrize('text, message', [
    ('[inject-error]\nevent = read_aio\n', 'line 2 is neither a section nor NAME = "VALUE"'),
    ('[inject-error]\nevent = "read_aio\n', 'line 2 is neither'),
    ('[inject-error]\nevent = "read_aio" # no\n', 'line 2 is neither'),
    ('[inject-error]\nevent\n', 'line 2 is neither'),
    ('[inject-error]\n"\n', 'line 2 is neither'),
    ('[inject-error\n', 'line 1 is neither'),
    ('[]\n', 'line 1: a section is [inject-error] or [set-state]'),
    ('\n[suspend]\n', 'line 2: a section is'),
    ('event = "none"\n', 'line 1 is before the first section'),
    ('\n[inject-error]\nerrno = "5"\n[set-state]\n', "section at line 2: Parameter 'event' is missing"),
    ('[set-state]\nevent = "none"\n', "section at line 1: Parameter 'new_state' is missing"),
    ('[inject-error]\nevent = "none"\nfoo = "1"\n', "section at line 1: Invalid parameter 'foo'"),
    ('[inject-error]\nevent = "none"\nsector = "x"\n', "section at line 1: Parameter 'sector' expects"),
    ('[inject-error]\nevent = "none"\nerrno = "-1"\n', "'errno' must be between 0 and 4095"),
])
def test_bad_config(tmp_path, image, text, message):
    config = tmp_path / 'rules'
    config.write_text(text)
    done = qemu_io('-c', 'length', f'blkdebug:{config}:{image}', status=1)
    assert f'{config}: ' in done.stderr and message in done.stderr


def test_binary_config(tmp_path, image):
    config = tmp_path / 'rules'
    for data in (b'\0\xff\n[\xff]\n', b'[inject-error]\n\xff\xfe = "\xff"\n', b'[' * 5000 + b'\n' * 5000, b'', b'\n\n# x'):
        config.write_bytes(data)
        qemu_io('-c', 'length', f'blkdebug:{config}:{image}', status=1 if b'[' in data else 0)


@pytest.mark.parametrize('options, message', [
    ('align=3', 'align 3: it must be a power of 2'),
    ('align=128M', 'align 134217728: it must be a power of 2, and at most 67108864'),
    ('align=512,max-transfer=700', 'max-transfer 700: it must be a multiple of 512'),
    ('opt-write-zero=4k,max-write-zero=2k', 'max-write-zero 2048: it must be a multiple of 4096'),
    ('align=4k,opt-discard=512', 'opt-discard 512'),
    ('max-discard=2G', 'max-discard 2147483648'),
    ('inject-error.0.event=none,inject-error.0.errno=-5', "'errno' must be between 0 and 4095"),
    ('inject-error.0.event=none,inject-error.0.sector=-2', "'sector' must be between 0 and"),
    ('inject-error.0.event=none,inject-error.0.sector=9223372036854775807', "'sector' must be between 0 and"),
    ('inject-error.0.event=None', "does not accept value 'None'"),
    ('set-state.0.event=none', "'set-state.0.new_state' is missing"),
    ('config=/nonexistent', "Option 'config': Could not open '/nonexistent'"),
    ('config=/', "Option 'config': '/' is neither a regular file nor a pipe"),
    ('take-child-perms.0=write,read-only=on', "needs permission 'write'"),
])
def test_refused_options(image, options, message):
    args = ['-c', 'length', '--image-opts', f'driver=blkdebug,image.filename={image},{options}']
    assert message in qemu_io(*args, status=1).stderr


@pytest.mark.parametrize('name, message', [
    ('blkdebug:x', 'is not blkdebug:CONFIG:FILENAME'),
    ('blkdebug::blkdebug::x', 'with options'),
    ('blkdebug::/nonexistent', '/nonexistent'),
    ('blkdebug::bogus:x', "Unknown protocol 'bogus'"),
])
def test_refused_filenames(name, message):
    assert message in qemu_img('info', name, status=1).stderr


def test_filename_opens_it_again(image):
    graph = {'driver': 'blkdebug', 'inject-error': [{'event': 'none', 'iotype': 'write', 'errno': 28}],
             'image': {'driver': 'file', 'filename': str(image)}}
    shown = qemu_img_json('info', f'blkdebug::{image}')['filename']
    assert json.loads(shown.removeprefix('json:'))['file']['image']['filename'] == str(image)
    shown = qemu_img_json('info', 'json:' + json.dumps(graph))['filename']
    assert 'No space left' in run(DEBIAN_QEMU_IO, '-c', 'write 0 512', shown, status=1).stdout


def test_fails_while_splitting(image):
    """The lower of two nodes sees the pieces of the upper one's requests, and fails the third."""
    lower = {'driver': 'blkdebug', 'image': {'driver': 'file', 'filename': str(image)},
             'set-state': [{'event': 'pwritev', 'state': 1, 'new_state': 2}, {'event': 'pwritev', 'state': 2, 'new_state': 3}],
             'inject-error': [{'event': 'pwritev', 'state': 3, 'errno': 28, 'once': True}]}
    upper = {'driver': 'blkdebug', 'align': 4096, 'max-transfer': 65536, 'image': lower}
    done = qemu_io('-c', 'write -P 2 0 256k', 'json:' + json.dumps(upper), status=1)
    assert 'No space left' in done.stdout
    assert image.read_bytes() == b'\x02' * 131072 + b'\x01' * (MIB - 131072)


def test_read_before_write(image):
    """With align, the block around a small write is read first."""
    lower = {'driver': 'blkdebug', 'image': {'driver': 'file', 'filename': str(image)},
             'inject-error': [{'event': 'none', 'iotype': 'read', 'sector': 15}]}
    upper = {'driver': 'blkdebug', 'align': 8192, 'image': lower}
    done = qemu_io('-c', 'write 0 512', '-c', 'write 0 8k', '-c', 'write 16k 512', 'json:' + json.dumps(upper), status=1)
    assert len(re.findall('^write failed', done.stdout, re.MULTILINE)) == 1 and 'wrote 8192' in done.stdout


@pytest.mark.parametrize('event, reads', [('head', 2), ('tail', 3), ('after_head', 1), ('after_tail', 2)])
def test_read_before_write_fails(image, event, reads):
    """QEMU ignores such errors, and writes what happens to be in its buffer."""
    rules = ',file.align=4k' + error(f'pwritev_rmw_{event}', iotype='read')
    done = execute(QEMU_IO, image, rules, 'write -P 2 4k 100', 'write -P 2 8292 8092', 'write -P 2 100 8k', status=1)
    assert done.stdout.count('write failed') == reads


def test_status_fails(image):
    rules = error('none', iotype='block-status')
    done = qemu_io('-c', 'alloc 0 4k', '--image-opts', f'driver=blkdebug,image.filename={image}{rules.replace("file.", "")}',
                   status=1)
    assert 'alloc failed: Input/output error' in done.stdout
    # Above it, what cannot be found out counts as data.
    assert '4096/4096 bytes allocated' in execute(QEMU_IO, image, rules, 'alloc 0 4k').stdout


def test_last_block_is_incomplete(tmp_path):
    """Blocks larger than what is left at the end of the image neither fail nor make it longer."""
    image = tmp_path / 'odd.img'
    image.write_bytes(b'\x01' * 2560)
    graph = f'driver=blkdebug,align=4k,discard=unmap,image.filename={image}'
    qemu_io('-c', 'read -P 1 0 2560', '-c', 'write -P 2 2048 512', '-c', 'read -P 2 2048 512', '-c', 'write -z 0 1k',
            '-c', 'map', '--image-opts', graph)
    assert image.read_bytes() == bytes(1024) + b'\x01' * 1024 + b'\x02' * 512
    qemu_io('-c', 'write -z 0 2560', '-c', 'discard 0 2560', '-c', 'flush', '--image-opts', graph)
    assert image.read_bytes() == bytes(2560)


def test_limits_are_shown(tmp_path, image):
    with StorageDaemon(tmp_path) as daemon:
        daemon.qmp.cmd_raw('blockdev-add', {'driver': 'blkdebug', 'node-name': 'd', 'align': 1024, 'max-transfer': 4096,
                                            'opt-write-zero': 3072, 'max-discard': 8192,
                                            'image': {'driver': 'file', 'filename': str(image)}})
        limits = next(n for n in daemon.qmp.cmd('query-named-block-nodes') if n['node-name'] == 'd')['image']['limits']
        assert limits['request-alignment'] == 1024 and limits['max-transfer'] == 4096
        assert limits['write-zeroes-alignment'] == 3072 and limits['max-discard'] == 8192


def test_nbd_client_sees_errors(tmp_path, image):
    """Over a luks volume: only its payload fails, since its header is below the sector."""
    new_luks(tmp_path, '1M')
    with StorageDaemon(tmp_path, *secret(tmp_path), '--nbd-server', f'addr.type=unix,addr.path={tmp_path}/nbd') as daemon:
        qmp = daemon.qmp
        qmp.cmd_raw('blockdev-add', {'driver': 'blkdebug', 'node-name': 'd', 'inject-error': [
                        {'event': 'write_aio', 'errno': 28, 'once': True, 'iotype': 'write'},
                        {'event': 'flush_to_disk', 'errno': 5, 'once': True, 'iotype': 'flush'}],
                    'image': {'driver': 'file', 'filename': str(tmp_path / 'a.luks')}})
        qmp.cmd_raw('blockdev-add', {'driver': 'luks', 'node-name': 'l', 'key-secret': 'sec0', 'file': 'd'})
        qmp.cmd('block-export-add', type='nbd', id='e', node_name='l', name='e', writable=True)
        client = nbd.NBD()
        client.connect_uri(f'nbd+unix:///e?socket={tmp_path}/nbd')
        with pytest.raises(nbd.Error, match='No space left'):
            client.pwrite(b'\x05' * 4096, 0)
        client.pwrite(b'\x05' * 4096, 0)
        with pytest.raises(nbd.Error, match='Input/output error'):
            client.flush()
        client.flush()
        assert client.pread(4096, 0) == b'\x05' * 4096
        client.shutdown()


def test_child_permissions(tmp_path, image):
    with StorageDaemon(tmp_path) as daemon:
        qmp = daemon.qmp
        qmp.cmd_raw('blockdev-add', {'driver': 'file', 'node-name': 'f', 'filename': str(image)})
        qmp.cmd_raw('blockdev-add', {'driver': 'blkdebug', 'node-name': 'd', 'image': 'f', 'take-child-perms': ['write'],
                                     'unshare-child-perms': ['resize']})
        qmp.cmd_raw('blockdev-add', {'driver': 'blkdebug', 'node-name': 'other', 'image': 'f'})
        with pytest.raises(QmpError, match="'d'.*'f'|'f'.*'d'"):
            qmp.cmd_raw('blockdev-add', {'driver': 'blkdebug', 'node-name': 'e', 'image': 'f',
                                         'unshare-child-perms': ['write']})
        with pytest.raises(QmpError, match="'d'"):
            qmp.cmd('block_resize', node_name='other', size=2 * MIB)
        # Other processes are denied it, too.
        assert 'lock' in qemu_img('resize', '-f', 'raw', image, '2M', status=1).stderr


def test_resize_passes_through(image):
    execute(QEMU_IO, image, '', 'truncate 2M', 'write 1M 1M')
    assert image.stat().st_size == 2 * MIB
