"""TLS of the NBD server and of qemu-nbd --list, with GnuTLS through libnbd and QEMU, and certificates made here.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import json
import shutil
import socket
import struct

import nbd
import pytest

from nbd_server import DEBIAN_QEMU_NBD, NbdServer, qemu_nbd
from programs import DEBIAN_QEMU_IMG, SOURCE_DIR, run

MIB = 1 << 20
PORT = 21810


@pytest.fixture(name='image')
def fixture_image(tmp_path):
    """The arguments that serve a raw image."""
    path = tmp_path / 'disk.raw'
    path.write_bytes(b'x' * MIB)
    return ['-f', 'raw', path]


@pytest.fixture(name='psk', scope='module')
def fixture_psk(tmp_path_factory):
    """A directory with keys.psk."""
    top = tmp_path_factory.mktemp('psk')
    (top / 'keys.psk').write_text(f'alice:{"12" * 32}\nbob:{"34" * 32}\n')
    return top


def x509(directory, endpoint, *more):
    """The arguments that define credentials."""
    return ['--object', ','.join([f'tls-creds-x509,id=tls0,endpoint={endpoint},dir={directory}', *more]),
            '--tls-creds', 'tls0']


def connect(server, certificates=None, psk=None, user=None):
    """Connect with libnbd and return what the first byte is."""
    handle = nbd.NBD()
    if certificates or psk:
        handle.set_tls(nbd.TLS_REQUIRE)
    if certificates:
        handle.set_tls_certificates(str(certificates))
    if psk:
        handle.set_tls_psk_file(str(psk))
        handle.set_tls_username(user)
    if server.tcp_port:
        handle.connect_tcp('127.0.0.1', str(server.tcp_port))
    else:
        handle.connect_unix(str(server.socket))
    first = handle.pread(1, 0)
    handle.shutdown()
    return first


@pytest.mark.parametrize('port', [None, PORT])
def test_x509(tmp_path, image, pki, port):
    with NbdServer(tmp_path, *x509(pki, 'server'), *image, tcp_port=port) as server:
        assert connect(server, pki) == b'x'
        for wrong in ({}, {'certificates': pki / 'other'}):
            with pytest.raises(nbd.Error):
                connect(server, **wrong)
        assert connect(server, pki) == b'x'


def test_data_over_tls(tmp_path, image, pki):
    """Much data both ways, by several connections."""
    data = tmp_path / 'data'
    data.write_bytes(bytes(range(256)) * (MIB // 256))
    with NbdServer(tmp_path, *x509(pki, 'server'), *image) as server:
        uri = f'nbds+unix:///?socket={server.socket}&tls-certificates={pki}'
        for _ in range(5):
            run('nbdcopy', data, uri)
            run('nbdcopy', uri, tmp_path / 'out')
            assert (tmp_path / 'out').read_bytes() == data.read_bytes()


def test_debian_qemu_img(tmp_path, image, pki):
    with NbdServer(tmp_path, *x509(pki, 'server'), *image, tcp_port=PORT + 1) as server:
        opts = f'driver=nbd,host=127.0.0.1,port={server.tcp_port},tls-creds=tls0'
        info = run(DEBIAN_QEMU_IMG, 'info', '--output=json', '--object',
                   f'tls-creds-x509,id=tls0,endpoint=client,dir={pki}', '--image-opts', opts)
        assert json.loads(info.stdout)['virtual-size'] == MIB
        failed = run(DEBIAN_QEMU_IMG, 'info', '--image-opts', opts.replace(',tls-creds=tls0', ''), status=1)
        assert 'TLS' in failed.stderr


def test_no_client_certificate_asked_for(tmp_path, image, pki):
    """With verify-peer=off any client is accepted, but still needs TLS."""
    anonymous = tmp_path / 'anonymous'
    anonymous.mkdir()
    (anonymous / 'ca-cert.pem').write_bytes((pki / 'ca-cert.pem').read_bytes())
    with NbdServer(tmp_path, *x509(pki, 'server', 'verify-peer=off'), *image) as server:
        assert connect(server, anonymous) == b'x'
        with pytest.raises(nbd.Error):
            connect(server)
    with NbdServer(tmp_path, *x509(pki, 'server'), *image) as server:
        with pytest.raises(nbd.Error):
            connect(server, anonymous)


@pytest.mark.parametrize('authz, allowed', [
    ('authz-simple,id=a0,identity=CN=tester', True),
    ('authz-simple,id=a0,identity=CN=stranger', False),
    ('authz-list,id=a0,policy=deny,rules.0.match=CN=test*,rules.0.policy=allow,rules.0.format=glob', True),
    ('{"qom-type":"authz-list","id":"a0","policy":"allow","rules":[{"match":"CN=tester","policy":"deny"}]}', False),
])
def test_authorization(tmp_path, image, pki, authz, allowed):
    """A refused client is reported with the name that would have to be allowed."""
    with NbdServer(tmp_path, '--object', authz, '--tls-authz', 'a0', *x509(pki, 'server'), *image, quiet=False) as server:
        if allowed:
            assert connect(server, pki) == b'x'
        else:
            with pytest.raises(nbd.Error):
                connect(server, pki)
    assert server.errors == ('' if allowed else
                             "qemu-nbd: NBD server: refused a TLS client: 'CN=tester' is not allowed by 'a0'\n")


# In the order shown in the man page.
NAME = 'C=GB,ST=Greater London,L=London,O=Example Home,OU=Disks,CN=laptop'


def test_order_of_a_name(tmp_path, image, pki):
    """A whole distinguished name is in the order of the certificate, as in QEMU's rules."""
    other = tmp_path / 'pki'
    shutil.copytree(pki, other)
    subject = '/' + NAME.replace(',', '/')
    run('openssl', 'req', '-new', '-key', other / 'client-key.pem', '-subj', subject, '-out', other / 'client.csr')
    run('openssl', 'x509', '-req', '-in', other / 'client.csr', '-days', '30', '-CA', other / 'ca-cert.pem',
        '-CAkey', other / 'ca-key.pem', '-CAcreateserial', '-extfile', other / 'ext', '-out', other / 'client-cert.pem')
    authz = {'qom-type': 'authz-simple', 'id': 'a0', 'identity': NAME}
    with NbdServer(tmp_path, '--object', json.dumps(authz), '--tls-authz', 'a0', *x509(pki, 'server'), *image) as server:
        assert connect(server, other) == b'x'
    authz['identity'] = ','.join(reversed(NAME.split(',')))
    with NbdServer(tmp_path, '--object', json.dumps(authz), '--tls-authz', 'a0', *x509(pki, 'server'), *image,
                   quiet=False) as server:
        with pytest.raises(nbd.Error):
            connect(server, other)
    assert f"'{NAME}' is not allowed by 'a0'" in server.errors
    with open(SOURCE_DIR / 'docs/man/qemu-nbd.1', encoding='utf-8') as page:
        assert NAME in page.read()


def test_psk(tmp_path, image, psk):
    creds = ['--object', f'tls-creds-psk,id=tls0,endpoint=server,dir={psk}', '--tls-creds', 'tls0']
    wrong = tmp_path / 'wrong.psk'
    wrong.write_text(f'alice:{"56" * 32}\nmallory:{"78" * 32}\n')
    with NbdServer(tmp_path, *creds, *image) as server:
        assert connect(server, psk=psk / 'keys.psk', user='alice') == b'x'
        assert connect(server, psk=psk / 'keys.psk', user='bob') == b'x'
        for user in ('alice', 'mallory'):
            with pytest.raises(nbd.Error):
                connect(server, psk=wrong, user=user)
    with NbdServer(tmp_path, *creds, '--object', 'authz-simple,id=a0,identity=bob', '--tls-authz', 'a0',
                   *image, quiet=False) as server:
        assert connect(server, psk=psk / 'keys.psk', user='bob') == b'x'
        with pytest.raises(nbd.Error):
            connect(server, psk=psk / 'keys.psk', user='alice')
    assert "'alice' is not allowed by 'a0'" in server.errors


def test_nothing_before_tls(tmp_path, image, pki):
    """Without TLS, only STARTTLS and disconnecting are allowed."""
    with NbdServer(tmp_path, *x509(pki, 'server'), *image) as server:
        with server.connect().greet() as wire:
            for option in (3, 6, 7, 8, 9, 10, 77):
                assert wire.option(option, b'')[-1][0] == (1 << 31) + 5
            assert wire.option(5, b'x')[-1][0] == (1 << 31) + 3
            assert wire.option(2) == [(1, b'')]
            assert wire.at_end()
        with server.connect().greet() as wire:
            wire.send('QII', wire.OPTS_MAGIC, 1, 0)
            assert wire.at_end()


def test_clear_text_after_starttls(tmp_path, image, pki):
    """Data sent along with STARTTLS is treated as TLS, not as options."""
    with NbdServer(tmp_path, *x509(pki, 'server'), *image) as server, server.connect().greet() as wire:
        header = struct.pack('>QII', wire.OPTS_MAGIC, 5, 0)
        wire.sock.sendall(header + struct.pack('>QII', wire.OPTS_MAGIC, 3, 0))
        assert wire.unpack('QIII')[2] == 1
        rest = wire.receive(1000)
        assert len(rest) < 20       # at most an alert


def test_silent_handshake(tmp_path, image, pki):
    """The time limit applies to TLS, too."""
    with NbdServer(tmp_path, *x509(pki, 'server'), '--handshake-limit', '1', *image) as server:
        with server.connect().greet() as wire:
            assert wire.option(5) == [(1, b'')]
            assert wire.at_end()
        assert connect(server, pki) == b'x'


def test_list_over_tls(tmp_path, image, pki, psk):
    """Our --list, with our server and with QEMU's."""
    for program in (None, DEBIAN_QEMU_NBD):
        kwargs = {'program': program, 'quiet': False} if program else {}
        with NbdServer(tmp_path, *x509(pki, 'server'), '-x', 'secret', *image, tcp_port=PORT + 2, **kwargs) as server:
            where = ['-L', '-b', '127.0.0.1', '-p', server.tcp_port]
            assert "export: 'secret'" in qemu_nbd(*where, *x509(pki, 'client')).stdout
            assert 'requires TLS' in qemu_nbd(*where, status=1).stderr
            failed = qemu_nbd(*where, *x509(pki, 'client'), '--tls-hostname', 'example.org', status=1)
            assert 'example.org' in failed.stderr
            qemu_nbd(*where, *x509(pki / 'other', 'client'), status=1)
    with NbdServer(tmp_path, '--object', f'tls-creds-psk,id=t,endpoint=server,dir={psk}', '--tls-creds', 't',
                   *image) as server:
        qemu_nbd('-L', '-k', server.socket, '--object', f'tls-creds-psk,id=t,dir={psk},username=alice', '--tls-creds',
                 't')


def test_bad_options(tmp_path, image, pki):
    where = ['-k', tmp_path / 'sock']
    cases = [
        (['--tls-creds', 'tls0'], "'tls0'"),
        (x509(pki, 'client'), 'client, not a server'),
        (['--tls-authz', 'a0'], 'tls-creds'),
        ([*x509(pki, 'server'), '--tls-authz', 'a0'], "'a0'"),
        ([*x509(pki, 'server'), '--tls-authz', 'tls0'], 'cannot authorize'),
        (x509(tmp_path, 'server'), 'ca-cert.pem'),
        (['--object', 'tls-creds-x509,id=tls0,endpoint=server'], "'dir'"),
    ]
    for arguments, expected in cases:
        assert expected in qemu_nbd(*where, *arguments, *image, status=1).stderr
    assert not (tmp_path / 'sock').exists()


def test_plain_client_of_a_tls_port(tmp_path, image, pki):
    """A client that starts TLS at once, without NBD's greeting."""
    with NbdServer(tmp_path, *x509(pki, 'server'), *image) as server:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(server.socket))
            sock.sendall(b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03' + bytes(512))
            sock.settimeout(30)
            assert sock.recv(18)
        assert connect(server, pki) == b'x'
