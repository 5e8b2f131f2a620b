"""Other projects' NBD programs with the storage daemon's exports: over each transport, plain and with TLS.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import errno
import json
import os
import socket
import subprocess

import nbd
import pytest

from programs import DEBIAN_QEMU_IO, debian_qemu_img, password_file, qemu_img, run
from qmp import StorageDaemon

MIB = 1 << 20
SIZE = 16 * MIB
KEY = '12' * 32


def free_port(host):
    """A TCP port that was just free."""
    with socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            pytest.skip(f'no address {host} here')
        return probe.getsockname()[1]


class Server:
    """A daemon with the nodes "raw" and "luks", an NBD server with the TRANSPORT, and options for clients."""

    def __init__(self, directory, transport, pki):
        self.directory = directory
        self.daemon = None
        self.fio_can = transport not in ('x509', 'psk')     # its engine does not support credentials
        self.credentials = []                               # the objects of QEMU's programs
        self._options = {}                                  # of libnbd's URI
        self._scheme, self._user, self._nbdkit_tls = 'nbd', '', []
        self.tls_creds = None
        self._tls(transport, pki)
        self._qemu = ',tls-creds=tls0' if self.tls_creds else ''
        if transport in ('unix', 'psk'):
            path = directory / 'nbd.sock'
            self.address = {'type': 'unix', 'data': {'path': str(path)}}
            self._scheme += '+unix'
            self._where = ''
            self._options['socket'] = path
            self._nbdkit = [f'socket={path}']
            self._qemu += f',server.type=unix,server.path={path}'
        else:
            host = '::1' if transport == 'ipv6' else '127.0.0.1'
            port = free_port(host)
            self.address = {'type': 'inet', 'data': {'host': host, 'port': str(port)}}
            self._where = f'[{host}]:{port}' if ':' in host else f'{host}:{port}'
            self._nbdkit = [f'hostname={host}', f'port={port}']
            self._qemu += f',server.type=inet,server.host={host},server.port={port}'

    def _tls(self, transport, pki):
        if transport == 'x509':
            self.tls_creds = {'qom_type': 'tls-creds-x509', 'dir': str(pki)}
            self.credentials = ['--object', f'tls-creds-x509,id=tls0,endpoint=client,dir={pki}']
            self._scheme = 'nbds'
            self._options['tls-certificates'] = pki
            self._nbdkit_tls = ['tls=require', f'tls-certificates={pki}']
        elif transport == 'psk':
            self.tls_creds = {'qom_type': 'tls-creds-psk', 'dir': str(self.directory)}
            keys = password_file(self.directory, f'alice:{KEY}\n'.encode(), 'keys.psk')
            self.credentials = ['--object',
                                f'tls-creds-psk,id=tls0,endpoint=client,dir={self.directory},username=alice']
            self._scheme, self._user = 'nbds', 'alice@'
            self._options['tls-psk-file'] = keys
            self._nbdkit_tls = ['tls=require', f'tls-psk={keys}', 'tls-username=alice']

    def uri(self, export, **options):
        """For libnbd's programs. OPTIONS replace the right ones; None: without."""
        options = {**self._options, **{name.replace('_', '-'): value for name, value in options.items()}}
        query = '&'.join(f'{name}={value}' for name, value in options.items() if value is not None)
        return f'{self._scheme}://{self._user}{self._where}/{export}' + (f'?{query}' if query else '')

    def plain_uri(self, export):
        """For a client that does not want TLS."""
        return self.uri(export, tls_certificates=None, tls_psk_file=None).replace('nbds', 'nbd').replace('alice@', '')

    def image_opts(self, export):
        """For QEMU's programs."""
        return f'driver=nbd,export={export}{self._qemu}'

    def nbdkit(self, export, command, tls=None, **kwargs):
        """Run the shell COMMAND with nbdkit between it and us; it finds nbdkit at $uri. TLS: other options for that."""
        run('nbdkit', '-U', '-', 'nbd', *self._nbdkit, *(tls or self._nbdkit_tls), f'export={export}', '--run', command,
            **kwargs)

    def start(self, qmp, **options):
        """Start the server, and export both nodes, "luks" from a thread of its own."""
        if self.tls_creds:
            qmp.cmd('object-add', id='tls0', endpoint='server', **self.tls_creds)
            options['tls_creds'] = 'tls0'
        qmp.cmd('nbd-server-start', addr=self.address, **options)
        qmp.cmd('block-export-add', type='nbd', id='raw', node_name='raw', writable=True)
        qmp.cmd('object-add', qom_type='iothread', id='io0')
        qmp.cmd('block-export-add', type='nbd', id='luks', node_name='luks', writable=True, iothread='io0')


@pytest.fixture(name='daemon')
def fixture_daemon(tmp_path):
    """A daemon with both nodes."""
    secret = ['--object', f'secret,id=sec0,file={password_file(tmp_path, b"swordfish")}']
    with (tmp_path / 'disk.raw').open('wb') as file:
        file.truncate(SIZE)
    qemu_img('create', '-q', '-f', 'luks', *secret, '-o', 'key-secret=sec0,iter-time=10', tmp_path / 'disk.luks', SIZE)
    with StorageDaemon(tmp_path, *secret,
                       '--blockdev', f'file,node-name=raw,filename={tmp_path}/disk.raw,discard=unmap', '--blockdev',
                       f'luks,node-name=luks,key-secret=sec0,file.driver=file,file.filename={tmp_path}/disk.luks') as daemon:
        yield daemon


@pytest.fixture(name='data')
def fixture_data(tmp_path):
    """A file of random bytes, with zeroes in it."""
    path = tmp_path / 'data'
    path.write_bytes(os.urandom(SIZE // 4) + bytes(SIZE // 4) + os.urandom(SIZE // 2))
    return path


@pytest.fixture(name='server', params=['unix', 'ipv4', 'ipv6', 'x509', 'psk'])
def fixture_server(request, tmp_path, daemon, pki):
    """The server over each transport."""
    server = Server(tmp_path, request.param, pki)
    server.start(daemon.qmp)
    return server


def clear(server, node):
    """The export no longer has the data."""
    out = debian_qemu_io(server, node, f'write -P 0xee 0 {SIZE}')
    assert f'wrote {SIZE}/{SIZE} bytes' in out, out


def debian_qemu_io(server, node, *commands):
    """QEMU's qemu-io, which reports errors only in its output."""
    done = run(DEBIAN_QEMU_IO, *server.credentials, *[arg for c in commands for arg in ('-c', c)],
               '--image-opts', server.image_opts(node), status=None)
    return done.stdout + done.stderr


@pytest.mark.parametrize('node', ['raw', 'luks'])
def test_peers(server, tmp_path, data, node):
    """One program writes the data and another reads it."""
    content = data.read_bytes()
    out = tmp_path / 'out'
    info = json.loads(run('nbdinfo', '--json', '--no-content', server.uri(node)).stdout)
    assert info['TLS'] == bool(server.tls_creds) and info['structured']
    export, = info['exports']
    assert export['export-size'] == SIZE and export['can_multi_conn'] and not export['is_read_only']
    # nbdcopy, over several connections
    run('nbdcopy', '--connections=4', '--requests=16', data, server.uri(node))
    run('nbdcopy', '--connections=4', '--requests=16', server.uri(node), out)
    assert out.read_bytes() == content
    # QEMU
    clear(server, node)
    debian_qemu_img('convert', '-n', *server.credentials, '--image-opts', '--target-image-opts',
                    f'driver=raw,file.filename={data}', server.image_opts(node))
    debian_qemu_img('compare', *server.credentials, '--image-opts', f'driver=raw,file.filename={data}',
                    server.image_opts(node))
    debian_qemu_img('convert', *server.credentials, '--image-opts', '-O', 'raw', server.image_opts(node), out)
    assert out.read_bytes() == content
    done = debian_qemu_io(server, node, 'write -P 0x11 1M 1M', 'write -z 1M 64k', 'write -f -P 0x22 3M 512', 'flush',
                          'read -P 0 1M 64k', 'read -P 0x11 1088k 960k', 'read -P 0x22 3M 512', 'discard 4M 1M')
    assert done.count('bytes at offset') == 7 and 'failed' not in done, done
    # nbdkit as a proxy, one way and back
    clear(server, node)
    server.nbdkit(node, f'nbdcopy {data} "$uri"')
    server.nbdkit(node, f'nbdcopy "$uri" {out}')
    assert out.read_bytes() == content
    if server.fio_can:
        run('fio', '--name=t', '--ioengine=nbd', f'--uri={server.uri(node)}', '--rw=randrw', '--bsrange=512-128k',
            '--bs_unaligned=0', '--iodepth=16', f'--size={SIZE}', '--io_size=8m', '--verify=crc32c', '--do_verify=1',
            '--verify_fatal=1', '--allow_file_create=0', cwd=tmp_path)


@pytest.mark.parametrize('scheme', ['nbd+unix', 'nbd'])
def test_addresses(daemon, tmp_path, scheme):
    """Debian's qemu-img finds an export by its address alone."""
    server = Server(tmp_path, 'unix' if scheme == 'nbd+unix' else 'ipv4', None)
    server.start(daemon.qmp)
    assert server.uri('luks').startswith(f'{scheme}://')
    info = json.loads(debian_qemu_img('info', '--output=json', server.uri('luks')).stdout)
    assert info['virtual-size'] == SIZE


def refused(server, uri, *nbdkit_tls):
    """Neither nbdinfo nor nbdkit is served, and others still are."""
    run('nbdinfo', '--size', uri, status=1)
    server.nbdkit('raw', 'nbdinfo --size "$uri"', tls=nbdkit_tls, status=1)
    run('nbdinfo', '--size', server.uri('raw'))
    server.nbdkit('raw', 'nbdinfo --size "$uri"')


@pytest.mark.parametrize('server', ['x509'], indirect=True)
def test_certificates(server, tmp_path, pki):
    """Peers without TLS, without a certificate, with one of another CA or name are refused, in both directions."""
    anonymous, stranger = tmp_path / 'anonymous', tmp_path / 'stranger'
    for directory, files in ((anonymous, {'ca-cert': pki}),
                             (stranger, {'ca-cert': pki, 'client-cert': pki / 'other', 'client-key': pki / 'other'})):
        directory.mkdir()
        for name, source in files.items():
            (directory / f'{name}.pem').write_bytes((source / f'{name}.pem').read_bytes())
    refused(server, server.plain_uri('raw'), 'tls=off')
    for directory in (anonymous, stranger, pki / 'other'):
        refused(server, server.uri('raw', tls_certificates=directory), 'tls=require', f'tls-certificates={directory}')
    failed = debian_qemu_img('info', '--object', f'tls-creds-x509,id=tls0,endpoint=client,dir={pki}/other',
                             '--image-opts', server.image_opts('raw'), status=1)
    assert 'certificate' in failed.stderr.lower()


@pytest.mark.parametrize('server', ['psk'], indirect=True)
def test_keys(server, tmp_path):
    """Clients without TLS, with another key or name are refused."""
    refused(server, server.plain_uri('raw'), 'tls=off')
    for user, key in (('alice', '34' * 32), ('mallory', KEY)):
        wrong = password_file(tmp_path, f'{user}:{key}\n'.encode(), f'wrong-{user}.psk')
        refused(server, server.uri('raw', tls_psk_file=wrong).replace('alice@', f'{user}@'), 'tls=require',
                f'tls-psk={wrong}', f'tls-username={user}')


@pytest.mark.parametrize('server', ['unix'], indirect=True)
def test_many_exports(server, daemon):
    """nbdinfo lists them all, each with its own size, and sees a resize."""
    for i in range(50):
        daemon.qmp.cmd('blockdev-add', driver='null-co', size=(i + 1) * MIB, node_name=f'n{i}')
        daemon.qmp.cmd('block-export-add', type='nbd', id=f'e{i}', node_name=f'n{i}')
    listed = json.loads(run('nbdinfo', '--list', '--json', '--no-content', server.uri('')).stdout)
    sizes = {export['export-name']: export['export-size'] for export in listed['exports']}
    assert sizes == {'raw': SIZE, 'luks': SIZE, **{f'n{i}': (i + 1) * MIB for i in range(50)}}
    for size in (SIZE + 3 * MIB, SIZE + 4 * MIB):
        for node in ('raw', 'luks'):
            daemon.qmp.cmd('block_resize', node_name=node, size=size)
            assert run('nbdinfo', '--size', server.uri(node)).stdout.strip() == str(size)


@pytest.mark.parametrize('node', ['raw', 'luks'])
@pytest.mark.parametrize('server', ['unix'], indirect=True)
def test_flags(server, node):
    """Cached, not fragmented, and zeroed fast or not at all: LUKS cannot, since it has to encrypt zeroes."""
    handle = nbd.NBD()
    handle.connect_uri(server.uri(node))
    handle.pwrite(b'x' * MIB, MIB, nbd.CMD_FLAG_FUA)
    handle.cache(SIZE, 0)
    pieces = []
    buf = handle.pread_structured(4 * MIB, 0, lambda data, offset, status, error: pieces.append((offset, len(data))),
                                  nbd.CMD_FLAG_DF)
    assert pieces == [(0, 4 * MIB)] and buf[MIB:2 * MIB] == b'x' * MIB
    try:
        handle.zero(MIB, MIB, nbd.CMD_FLAG_FAST_ZERO)
        assert node == 'raw' and handle.pread(MIB, MIB) == bytes(MIB)
    except nbd.Error as error:
        assert error.errnum == errno.ENOTSUP and handle.pread(MIB, MIB) == b'x' * MIB
    handle.zero(MIB, MIB)
    assert handle.pread(MIB, MIB) == bytes(MIB)
    handle.shutdown()


def test_max_connections(daemon, tmp_path):
    """A client that connects when all places are taken waits for one, and is then served."""
    server = Server(tmp_path, 'unix', None)
    server.start(daemon.qmp, max_connections=2)
    first, second = nbd.NBD(), nbd.NBD()
    for handle in (first, second):
        handle.connect_uri(server.uri('raw'))
    with subprocess.Popen(['nbdinfo', '--size', server.uri('luks')], stdout=subprocess.PIPE, text=True) as third:
        for _ in range(20):
            assert first.pread(512, 0) == second.pread(512, 0)
            daemon.qmp.cmd('query-version')
        assert third.poll() is None
        first.shutdown()
        assert third.communicate(timeout=60)[0].strip() == str(SIZE)
    second.shutdown()
