"""The nbd driver against servers that we did not write, and ours.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import json
import re
import signal
import time

import pytest

from images import MIB, write_pieces
from nbd_peer import Nbdkit, ScriptedServer
from nbd_server import DEBIAN_QEMU_NBD, NbdServer
from programs import DEBIAN_QEMU_IO, debian_qemu_img, limit_memory, password_file, qemu_img, qemu_img_json, qemu_io, run
from qmp import DEBIAN_QSD, QSD, StorageDaemon

KEY = '12' * 32


def start_server(which, tmp_path, image):
    if which == 'nbdkit':
        return Nbdkit(tmp_path, 'file', image)
    if which == 'debian':
        return NbdServer(tmp_path, '-f', 'raw', '--discard=unmap', image, program=DEBIAN_QEMU_NBD)
    return NbdServer(tmp_path, '-f', 'raw', '--discard=unmap', image)


@pytest.mark.parametrize('which', ['nbdkit', 'debian', 'ours'])
def test_reads_and_writes(tmp_path, which):
    image = write_pieces(tmp_path / 'image', 8 * MIB, (MIB, MIB), (5 * MIB, MIB))
    before = image.read_bytes()
    with start_server(which, tmp_path, image) as server:
        qemu_img('compare', '-U', '-f', 'raw', '-F', 'raw', server.uri(), image)
        assert qemu_img_json('info', '-f', 'raw', server.uri())['virtual-size'] == 8 * MIB
        qemu_io('-f', 'raw', '-c', 'write -P 1 0 64k', '-c', 'write -f -P 2 100 3000', '-c', 'write -z 1M 64k',
                '-c', 'discard 5M 1M', '-c', 'read -P 2 100 3000', '-c', 'flush', server.uri())
        qemu_img('compare', '-U', '-f', 'raw', '-F', 'raw', server.uri(), image)
        ours = qemu_img_json('map', '-f', 'raw', server.uri())
        theirs = json.loads(debian_qemu_img('map', '--output=json', '-f', 'raw', server.uri()).stdout)
        assert [(e['start'], e['length'], e['zero'], e['data']) for e in ours] == [
            (e['start'], e['length'], e['zero'], e['data']) for e in theirs]
    expected = bytearray(before)
    expected[:64 << 10] = b'\1' * (64 << 10)
    expected[100:3100] = b'\2' * 3000
    expected[MIB:MIB + (64 << 10)] = bytes(64 << 10)
    after = image.read_bytes()
    assert after[:5 * MIB] == expected[:5 * MIB] and after[6 * MIB:] == expected[6 * MIB:]


@pytest.mark.parametrize('which', ['nbdkit', 'debian', 'ours'])
def test_convert(tmp_path, which):
    """Both directions, checked with a file and with Debian's qemu-img."""
    source = write_pieces(tmp_path / 'source', 8 * MIB, (0, 3 * MIB), (6 * MIB, 100))
    target = write_pieces(tmp_path / 'target', 8 * MIB, (2 * MIB, 6 * MIB), seed=2)
    with start_server(which, tmp_path, target) as server:
        qemu_img('convert', '-n', '-f', 'raw', '-O', 'raw', source, server.uri())
        debian_qemu_img('compare', '-U', '-f', 'raw', '-F', 'raw', source, server.uri())
        qemu_img('convert', '-f', 'raw', '-O', 'raw', server.uri(), tmp_path / 'copy')
    assert target.read_bytes() == source.read_bytes() == (tmp_path / 'copy').read_bytes()
    assert (tmp_path / 'copy').stat().st_blocks < 8 * MIB // 512


def commands(log):
    """Changes that nbdkit's log filter saw: "Write offset=0x0 count=0x1000 fua=1"."""
    return [f'{kind}{rest}' for kind, rest in re.findall(r' (Write|Zero|Trim|Flush) id=\d+(.*) \.\.\.$', log.read_text(),
                                                         re.MULTILINE)]


def test_what_is_asked_for(tmp_path):
    """Flags as nbdkit sees them."""
    log = tmp_path / 'log'
    with Nbdkit(tmp_path, '--filter=log', 'memory', '4M', f'logfile={log}') as server:
        qemu_io('-f', 'raw', '-c', 'write 0 4k', '-c', 'write -f 0 4k', '-c', 'write -z 0 8k', '-c', 'write -z -u -f 0 8k',
                '-c', 'discard 0 64k', '-c', 'flush', server.uri())
    assert commands(log)[:6] == [
        'Write offset=0x0 count=0x1000 fua=0', 'Write offset=0x0 count=0x1000 fua=1',
        'Zero offset=0x0 count=0x2000 trim=0 fua=0 fast=0', 'Zero offset=0x0 count=0x2000 trim=1 fua=1 fast=0',
        'Trim offset=0x0 count=0x10000 fua=0', 'Flush']


def test_server_without_fua(tmp_path):
    """A flush makes the write last."""
    log = tmp_path / 'log'
    with Nbdkit(tmp_path, '--filter=fua', '--filter=log', 'memory', '4M', f'logfile={log}') as server:
        qemu_io('-f', 'raw', '-c', 'write -f 0 4k', server.uri())
    assert commands(log)[:2] == ['Write offset=0x0 count=0x1000 fua=0', 'Flush']


def test_server_without_zeroes(tmp_path):
    """They are written out."""
    image = write_pieces(tmp_path / 'image', MIB, (0, MIB))
    with Nbdkit(tmp_path, '--filter=nozero', 'file', image) as server:
        qemu_io('-f', 'raw', '-c', 'write -z 0 512k', '-c', 'read -P 0 0 512k', server.uri())
    assert not any(image.read_bytes()[:MIB // 2])


@pytest.mark.parametrize('smallest, largest', [(4096, 64 << 10), (1, 64 << 10), (65536, 65536), (512, 32 * MIB)])
def test_block_sizes(tmp_path, smallest, largest):
    """A server that refuses every request outside its limits."""
    image = write_pieces(tmp_path / 'image', 4 * MIB, (0, 3 * MIB))
    with Nbdkit(tmp_path, '--filter=blocksize-policy', 'file', image, f'blocksize-minimum={smallest}',
                f'blocksize-preferred={max(smallest, 4096)}', f'blocksize-maximum={largest}',
                'blocksize-error-policy=error') as server:
        qemu_io('-f', 'raw', '-c', 'write -P 7 100 200', '-c', 'write -P 8 1M 1M', '-c', 'read -P 7 100 200',
                '-c', 'write -z 2M 1000', '-c', 'read -P 8 1M 1M', '-c', 'discard 3M 1M', server.uri())
        qemu_img('compare', '-U', '-f', 'raw', '-F', 'raw', server.uri(), image)
    data = image.read_bytes()
    assert data[100:300] == b'\7' * 200 and data[MIB:2 * MIB] == b'\10' * MIB and not any(data[2 * MIB:2 * MIB + 1000])


@pytest.mark.parametrize('size', [1000, 512 * 3 + 1, MIB + 100])
def test_odd_size(tmp_path, size):
    """As of a file, the last sector is seen whole; but nothing can be written where the export is not."""
    image = write_pieces(tmp_path / 'image', size, (0, size))
    whole = -(-size // 512) * 512
    data = image.read_bytes()
    with Nbdkit(tmp_path, 'file', image) as server:
        assert qemu_img_json('info', '-f', 'raw', server.uri())['virtual-size'] == whole
        qemu_img('convert', '-f', 'raw', '-O', 'raw', server.uri(), tmp_path / 'copy')
        assert (tmp_path / 'copy').read_bytes() == data + bytes(whole - size)
        qemu_img('compare', '-U', '-f', 'raw', '-F', 'raw', server.uri(), image)
        qemu_io('-f', 'raw', '-c', f'write -P 3 0 {size}', '-c', f'read -P 3 0 {size}', server.uri())
        # The copy ends where the export does.
        qemu_img('convert', '-n', '-f', 'raw', '-O', 'raw', tmp_path / 'copy', server.uri())
        assert image.read_bytes() == data
        qemu_io('-f', 'raw', '-c', f'write -z 0 {whole}', server.uri())
        full = qemu_io('-f', 'raw', '-c', f'write -P 3 {whole - 512} 512', server.uri(), status=1)
        assert 'No space left' in full.stdout + full.stderr
    assert image.stat().st_size == size and not any(image.read_bytes())


def test_zero_8_tib(tmp_path):
    """In large requests, and so in less than seconds; data in between is gone."""
    stats = tmp_path / 'stats'
    with Nbdkit(tmp_path, '--filter=stats', 'null', '8T', f'statsfile={stats}') as server:
        begin = time.monotonic()
        qemu_io('-f', 'raw', '-c', 'write -z -u 0 8T', '-c', 'discard 0 8T', server.uri())
        qemu_img('convert', '-n', '--image-opts', '--target-image-opts', 'driver=null-co,size=8T,read-zeroes=on',
                 f'driver=raw,file.driver=nbd,file.server.type=unix,file.server.path={server.socket}')
        assert time.monotonic() - begin < 20
        server.kill(signal.SIGTERM)
    for kind, most in (('zero', 9000 + 33000), ('trim', 9000)):
        assert int(re.search(fr'^{kind}: (\d+) ops', stats.read_text(), re.MULTILINE).group(1)) < most
    with Nbdkit(tmp_path, 'memory', '8T') as server:
        qemu_io('-f', 'raw', '-c', 'write -P 1 5T 1M', '-c', 'write -z -u 4T 2T', '-c', 'read -P 0 5T 1M', server.uri())


@pytest.mark.parametrize('error', [22, 75, 95])
def test_zeroes_too_large(tmp_path, error):
    """A server that takes no more than other requests have: EINVAL, EOVERFLOW or ENOTSUP says so."""
    largest = 1 * MIB
    with ScriptedServer(tmp_path, size=4 << 30) as server:
        server.block_sizes = (512, 4096, largest)
        server.on_request = lambda wire, request: request.command in (4, 6) and request.length > largest and \
            not server.answer(wire, request, error)
        qemu_io('-f', 'raw', '-c', 'write -z -u 0 1G', '-c', 'discard 1G 1G', server.uri())
        too_large = [r for r in server.requests if r.command in (4, 6) and r.length > largest]
        assert len(too_large) == 1
        for command, start in ((6, 0), (4, 1 << 30)):
            done = [r for r in server.requests if r.command == command and r.length <= largest]
            assert [r.offset for r in done] == list(range(start, start + (1 << 30), largest))


def test_zeroes_of_slow_server(tmp_path):
    """Pieces become smaller, so that a request can end early."""
    with ScriptedServer(tmp_path, size=1 << 30) as server:
        server.on_request = lambda wire, request: request.command == 6 and bool(time.sleep(request.length / (60 * MIB)))
        qemu_io('-f', 'raw', '-c', 'write -z -u 0 128M', server.uri(), timeout=60)
        assert [r.length // MIB for r in server.requests if r.command == 6] == [64, 32, 32]


def test_read_only(tmp_path):
    with Nbdkit(tmp_path, '-r', 'memory', '1M') as server:
        refused = qemu_io('-f', 'raw', '-c', 'read 0 512', server.uri(), status=1)
        assert 'the export is read-only' in refused.stderr
        qemu_io('-r', '-f', 'raw', '-c', 'read 0 512', server.uri())
        qemu_img('info', '-f', 'raw', server.uri())
        with StorageDaemon(tmp_path) as daemon:
            options = {'driver': 'nbd', 'node-name': 'n0', 'auto-read-only': True,
                       'server': {'type': 'unix', 'path': str(server.socket)}}
            daemon.qmp.cmd('blockdev-add', **options)
            node, = daemon.qmp.cmd('query-named-block-nodes', flat=True)
            assert node['ro'] and node['drv'] == 'nbd'
            error = daemon.qmp.error('blockdev-reopen', options=[{**options, 'auto-read-only': False}])
            assert 'read-only' in error.desc
            daemon.qmp.cmd('blockdev-reopen', options=[{**options, 'auto-read-only': False, 'read-only': True}])
            daemon.qmp.cmd('blockdev-del', **{'node-name': 'n0'})


def test_dirty_bitmap(tmp_path):
    """As Debian's qemu-img shows it."""
    image = tmp_path / 'image.qcow2'
    debian_qemu_img('create', '-f', 'qcow2', image, '4M')
    debian_qemu_img('bitmap', '--add', image, 'b0')
    run(DEBIAN_QEMU_IO, '-f', 'qcow2', '-c', 'write 1M 64k', '-c', 'write 3M 128k', image)
    with NbdServer(tmp_path, '-f', 'qcow2', '-r', '-B', 'b0', image, program=DEBIAN_QEMU_NBD) as server:
        opts = f'driver=raw,file.driver=nbd,file.server.type=unix,file.server.path={server.socket}'
        bitmap = f'{opts},file.x-dirty-bitmap=qemu:dirty-bitmap:b0'
        ours = qemu_img_json('map', '--image-opts', bitmap)
        theirs = json.loads(debian_qemu_img('map', '--output=json', '--image-opts', bitmap).stdout)
        assert [(e['start'], e['length'], e['data']) for e in ours] == [
            (e['start'], e['length'], e['data']) for e in theirs]
        assert [e['start'] for e in ours if not e['data']] == [MIB, 3 * MIB]
        missing = qemu_img('map', '--image-opts', f'{opts},file.x-dirty-bitmap=qemu:dirty-bitmap:none', status=1)
        assert "does not offer the metadata context 'qemu:dirty-bitmap:none'" in missing.stderr


def test_names_open_again(tmp_path):
    """What info shows."""
    export = 'a b/%?#&=ü'
    image = write_pieces(tmp_path / 'image', MIB, (0, MIB))
    with NbdServer(tmp_path, '-f', 'raw', '-x', export, image) as server:
        opts = f'driver=raw,file.driver=nbd,file.server.type=unix,file.server.path={server.socket},file.export={export}'
        shown = qemu_img_json('info', '--image-opts', opts)['filename']
        assert shown.startswith('nbd+unix:///')
        qemu_img('compare', '-U', '-f', 'raw', '-F', 'raw', shown, image)
        old = qemu_img_json('info', '-f', 'raw', f'nbd:unix:{server.socket}:exportname={export}')['filename']
        assert old == shown


def test_files_stay_files(tmp_path):
    """With a name that looks like a server."""
    for name in ('nbd:q', 'nbd:unix:x'):
        write_pieces(tmp_path / name, MIB, (0, 100))
        assert qemu_img_json('info', '-f', 'raw', f'./{name}', cwd=tmp_path)['virtual-size'] == MIB
        assert qemu_img_json('info', '-f', 'raw', f'file:{name}', cwd=tmp_path)['virtual-size'] == MIB


def test_older_options(tmp_path):
    """As Debian's qemu-img takes them."""
    image = write_pieces(tmp_path / 'image', MIB, (0, MIB))
    with NbdServer(tmp_path, '-f', 'raw', '-x', 'x', image) as server:
        opts = f'file.driver=nbd,file.path={server.socket},file.export=x'
        for options in (f'driver=raw,{opts}', opts, f'driver=raw,file.driver=raw,{opts.replace("file.", "file.file.")}'):
            qemu_img('compare', '-U', '--image-opts', options, f'driver=raw,file.filename={image}')
            debian_qemu_img('info', '--image-opts', options)
        name = json.dumps({'driver': 'nbd', 'path': str(server.socket), 'export': 'x'})
        assert qemu_img_json('info', f'json:{name}')['filename'].startswith('nbd+unix:///x?')
        for wrong in ('file.port=1', 'file.host=x,file.path=y', 'file.path=x,file.server.type=unix,file.server.path=y'):
            assert 'exclude each other' in qemu_img('info', '--image-opts', f'driver=raw,file.driver=nbd,{wrong}',
                                                    status=1).stderr
        refused = qemu_img('info', '--image-opts', 'driver=raw,file.driver=nbd,file.host=127.0.0.1,file.port=1', status=1)
        assert "NBD server '127.0.0.1:1'" in refused.stderr


@pytest.mark.plain_build
def test_missing_export(tmp_path):
    """Those that are there are named; also where there is little memory."""
    image = write_pieces(tmp_path / 'image', MIB)
    with NbdServer(tmp_path, '-f', 'raw', '-x', 'disk', image) as server:
        assert qemu_img_json('info', server.uri('disk'), preexec_fn=limit_memory)['virtual-size'] == MIB
        error = qemu_img('info', server.uri('disc'), status=1, preexec_fn=limit_memory).stderr
        assert "The server has no export 'disc'" in error and "It has 'disk'." in error


def test_nobody_there(tmp_path):
    for where, reason in ((f'nbd+unix:///?socket={tmp_path}/none', 'No such file'), ('nbd://127.0.0.1:1', 'refused'),
                          ('nbd://no.such.host.invalid', 'address resolution failed')):
        error = qemu_img('info', where, status=1).stderr
        assert 'NBD server' in error and reason in error


@pytest.mark.parametrize('kind', ['x509', 'psk'])
def test_tls(tmp_path, pki, kind):
    """With nbdkit, which we did not write."""
    image = write_pieces(tmp_path / 'image', 8 * MIB, (0, 5 * MIB))
    if kind == 'x509':
        server = Nbdkit(tmp_path, '--tls=require', '--tls-verify-peer', f'--tls-certificates={pki}', 'file', image)
        creds = ['--object', f'tls-creds-x509,id=tls0,endpoint=client,dir={pki}']
        wrong = f'tls-creds-x509,id=tls0,endpoint=client,dir={pki}/other'
    else:
        keys = password_file(tmp_path, f'alice:{KEY}\n'.encode(), 'keys.psk')
        server = Nbdkit(tmp_path, '--tls=require', f'--tls-psk={keys}', 'file', image)
        creds = ['--object', f'tls-creds-psk,id=tls0,endpoint=client,dir={tmp_path},username=alice']
        other = tmp_path / 'other'
        other.mkdir()
        password_file(other, f'alice:{"34" * 32}\n'.encode(), 'keys.psk')
        wrong = f'tls-creds-psk,id=tls0,endpoint=client,dir={other},username=alice'
    with server:
        uri = server.uri().replace('nbd', 'nbds', 1) + '&tls-creds=tls0'
        qemu_img('compare', '-U', *creds, '-f', 'raw', '-F', 'raw', uri, image)
        qemu_io(*creds, '-f', 'raw', '-c', 'write -P 9 1M 6M', '-c', 'read -P 9 1M 6M', uri)
        assert qemu_img_json('info', *creds, '-f', 'raw', uri)['filename'] == uri
        assert 'requires TLS' in qemu_img('info', server.uri(), status=1).stderr
        assert 'needs credentials' in qemu_img('info', uri.replace('&tls-creds=tls0', ''), status=1).stderr
        assert 'NBD server' in qemu_img('info', '--object', wrong, uri, status=1).stderr
        if kind == 'x509':
            qemu_img('info', *creds, '-f', 'raw', uri + '&tls-hostname=localhost')
            assert "not for 'example.org'" in qemu_img('info', *creds, uri + '&tls-hostname=example.org',
                                                       status=1).stderr
    with Nbdkit(tmp_path, 'memory', '1M') as plain:
        uri = plain.uri().replace('nbd', 'nbds', 1) + '&tls-creds=tls0'
        assert 'refuses TLS' in qemu_img('info', *creds, uri, status=1).stderr


@pytest.mark.parametrize('which', ['nbdkit', 'ours'])
@pytest.mark.parametrize('kind, wanted', [('x509', 'pre-shared keys (tls-creds-psk)'),
                                          ('psk', 'certificates (tls-creds-x509)')])
def test_credentials_of_the_wrong_kind(tmp_path, pki, which, kind, wanted):
    """The error says what the server may want, however the two ends notice it."""
    image = write_pieces(tmp_path / 'image', MIB, (0, 1000))
    keys = password_file(tmp_path, f'alice:{KEY}\n'.encode(), 'keys.psk')
    if which == 'nbdkit':
        server = Nbdkit(tmp_path, '--tls=require', f'--tls-psk={keys}' if kind == 'x509' else f'--tls-certificates={pki}',
                        'file', image)
    else:
        own = f'tls-creds-psk,dir={tmp_path}' if kind == 'x509' else f'tls-creds-x509,dir={pki}'
        server = NbdServer(tmp_path, '--object', f'{own},id=t,endpoint=server', '--tls-creds', 't', '-f', 'raw', image)
    creds = f'tls-creds-psk,dir={tmp_path},username=alice' if kind == 'psk' else f'tls-creds-x509,dir={pki}'
    with server:
        uri = server.uri().replace('nbd', 'nbds', 1) + '&tls-creds=tls0'
        for versions in ('', ',priority=NORMAL:-VERS-TLS1.3'):
            error = qemu_img('info', '--object', f'{creds},id=tls0,endpoint=client{versions}', uri, status=1).stderr
            assert 'TLS handshake failed: ' in error and f'The server may want {wanted}' in error


@pytest.mark.parametrize('options', [
    {'export': 'x'}, {'export': '', 'read-only': True}, {'export': 'x', 'x-dirty-bitmap': 'base:allocation'},
    {'export': 'x/y', 'cache': {'direct': True, 'no-flush': True}, 'reconnect-delay': 5, 'open-timeout': 3},
    {'export': 'x', 'detect-zeroes': 'unmap', 'discard': 'unmap'},
])
def test_query(tmp_path, options):
    """All that Debian's daemon says of the node, and of one above it, ours says, too."""
    with Nbdkit(tmp_path, 'memory', '4M') as server:
        nodes = {}
        for program in (QSD, DEBIAN_QSD):
            with StorageDaemon(tmp_path, program=program) as daemon:
                daemon.qmp.cmd('blockdev-add', driver='nbd', node_name='n0', **options,
                               server={'type': 'unix', 'path': str(server.socket)})
                daemon.qmp.cmd('blockdev-add', driver='raw', node_name='r0', file='n0',
                               read_only=options.get('read-only', False))
                nodes[program] = {node['node-name']: node for node in daemon.qmp.cmd('query-named-block-nodes')}
        for name, theirs in nodes[DEBIAN_QSD].items():
            ours = nodes[QSD][name]
            assert theirs.pop('image').items() <= ours['image'].items()
            assert {key: ours[key] for key in theirs} == theirs
