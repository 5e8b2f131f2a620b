"""Character devices, and the options of qemu-storage-daemon around monitors.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import json
import os
import signal
import socket
import ssl
import subprocess
import time

import pytest

from programs import run
from qmp import QSD, Qmp, StorageDaemon


@pytest.fixture(name='daemon')
def fixture_daemon(tmp_path):
    with StorageDaemon(tmp_path) as daemon:
        yield daemon


def fails(*args, **kwargs):
    """The one-line error of a daemon that does not start."""
    done = run(QSD, *args, status=1, **kwargs)
    assert done.stdout == ''
    return done.stderr


def test_stdio():
    commands = '{"execute": "qmp_capabilities"}\n{"execute": "query-version", "id": 7}\n{"execute": "quit"}\n'
    done = run(QSD, '--chardev', 'stdio,id=c', '--monitor', 'c', input=commands)
    messages = [json.loads(line) for line in done.stdout.splitlines()]
    assert 'QMP' in messages[0] and messages[2]['id'] == 7
    assert {'SHUTDOWN'} == {m['event'] for m in messages if 'event' in m}


def test_file_and_null(tmp_path):
    source, out = tmp_path / 'in', tmp_path / 'out'
    source.write_text('{"execute": "qmp_capabilities"}{"execute": "query-version"}{"execute": "quit"}')
    for append in ('off', 'on'):
        run(QSD, '--chardev', f'file,id=c,path={out},input-path={source},append={append}', '--monitor', 'c')
    assert out.read_text().count('"package"') == 4
    with StorageDaemon(tmp_path, '--chardev', 'null,id=n', '--monitor', 'n') as daemon:
        assert daemon.qmp.cmd('query-version')


def test_tcp(tmp_path):
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    with StorageDaemon(tmp_path, '--chardev', f'socket,id=t,host=127.0.0.1,port={port},server=on,wait=off',
                       '--monitor', 'chardev=t'):
        with socket.create_connection(('127.0.0.1', port), timeout=10) as sock:
            assert b'QMP' in sock.recv(4096)


def test_client_that_reconnects(tmp_path):
    path = tmp_path / 'server.sock'
    server = socket.socket(socket.AF_UNIX)
    server.settimeout(10)
    assert 'No such file' in fails('--chardev', f'socket,id=c,path={path}', '--monitor', 'c')
    with StorageDaemon(tmp_path, '--chardev', f'socket,id=c,path={path},reconnect-ms=20', '--monitor', 'c'):
        server.bind(str(path))
        server.listen(1)
        for _ in range(3):
            conn, _ = server.accept()
            conn.settimeout(10)
            assert b'QMP' in conn.recv(4096)
            conn.close()
    server.close()


def tls_context(pki, end):
    """Python's TLS for one end, which authenticates itself and checks the other."""
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH if end == 'client' else ssl.Purpose.CLIENT_AUTH,
                                         cafile=pki / 'ca-cert.pem')
    context.load_cert_chain(pki / f'{end}-cert.pem', pki / f'{end}-key.pem')
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def ask_over_tls(path, context):
    """The answer to query-version over a monitor that requires TLS."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(os.fspath(path))
        with context.wrap_socket(sock, server_hostname='localhost') as tls:
            stream = tls.makefile('rw')
            assert 'QMP' in json.loads(stream.readline())
            stream.write('{"execute": "qmp_capabilities"}{"execute": "query-version", "id": 1}')
            stream.flush()
            stream.readline()
            return json.loads(stream.readline())


def test_tls(tmp_path, pki):
    path = tmp_path / 't.sock'
    creds = f'tls-creds-x509,id=tls0,endpoint=server,dir={pki}'
    with StorageDaemon(tmp_path, '--object', creds, '--object', 'authz-simple,id=a0,identity=CN=tester',
                       '--chardev', f'socket,id=t,path={path},server=on,wait=off,tls-creds=tls0,tls-authz=a0',
                       '--monitor', 't') as daemon:
        context = tls_context(pki, 'client')
        assert ask_over_tls(path, context)['id'] == 1
        # unauthorized clients, or those without TLS, are disconnected, and the next one is served
        for other in (tls_context(pki / 'other', 'client'), ssl._create_unverified_context()):
            with pytest.raises((ssl.SSLError, OSError, ValueError)):
                ask_over_tls(path, other)
            assert ask_over_tls(path, context)['return']['qemu']['major'] == 10
        with socket.socket(socket.AF_UNIX) as plain:
            plain.settimeout(10)
            plain.connect(os.fspath(path))
            plain.sendall(b'{"execute": "qmp_capabilities"}')
            assert b'QMP' not in plain.recv(4096)
        assert ask_over_tls(path, context)['id'] == 1
        daemon.qmp.cmd('object-del', id='a0')
        with pytest.raises((ssl.SSLError, OSError, ValueError)):
            ask_over_tls(path, context)
        # a client that stops in the middle of its handshake does not delay the end
        silent = socket.socket(socket.AF_UNIX)
        silent.connect(os.fspath(path))
        silent.sendall(b'\x16\x03\x01')
    silent.close()
    lines = [line for line in daemon.errors.splitlines() if 'refused a TLS client' in line]
    assert all(line.startswith("qemu-storage-daemon: Chardev 't': refused a TLS client: ") for line in lines)
    # not every client that fails to authenticate is reported
    assert 2 <= len(lines) <= 4
    assert lines[-1].endswith("'CN=tester' cannot be let in: There is no object with id 'a0'")


def test_tls_client(tmp_path, pki):
    with socket.socket() as server:
        server.settimeout(10)
        server.bind(('127.0.0.1', 0))
        port = server.getsockname()[1]
        with StorageDaemon(tmp_path, '--object', f'tls-creds-x509,id=tls0,dir={pki}', '--chardev',
                           f'socket,id=t,host=127.0.0.1,port={port},reconnect-ms=20,tls-creds=tls0',
                           '--monitor', 't'):
            server.listen()
            accepted = 0
            for directory, welcome in ((pki, True), (pki / 'other', False), (pki, True)):
                conn, _ = server.accept()
                conn.settimeout(10)
                try:
                    with tls_context(directory, 'server').wrap_socket(conn, server_side=True) as tls:
                        accepted += b'QMP' in tls.recv(4096)
                except OSError as err:
                    assert not welcome, err
    assert accepted == 2


def test_tls_options(tmp_path, pki):
    server = f'socket,id=t,path={tmp_path}/t.sock,server=on,wait=off'
    creds = ['--object', f'tls-creds-x509,id=tls0,endpoint=server,dir={pki}']
    assert "'tls0'" in fails('--chardev', f'{server},tls-creds=tls0')
    assert "'tls-authz' needs 'tls-creds'" in fails('--chardev', f'{server},tls-authz=a0')
    assert "'a0'" in fails(*creds, '--chardev', f'{server},tls-creds=tls0,tls-authz=a0')
    assert 'not a client' in fails(*creds, '--chardev', f'socket,id=t,path={tmp_path}/t.sock,tls-creds=tls0')
    assert 'for servers' in fails('--object', f'tls-creds-x509,id=tls0,dir={pki}', '--chardev',
                                  f'socket,id=t,path={tmp_path}/t.sock,tls-creds=tls0,tls-authz=a0')
    assert not (tmp_path / 't.sock').exists()


def test_wait_for_the_first_client(tmp_path):
    path = tmp_path / 'w.sock'
    args = [QSD, '--chardev', f'socket,id=c,path={path},server=on', '--monitor', 'c', '--pidfile', tmp_path / 'pid']
    daemon = subprocess.Popen([os.fspath(arg) for arg in args], stderr=subprocess.PIPE)
    try:
        while b'Waiting for a client' not in (line := daemon.stderr.readline()):
            assert line
        assert not (tmp_path / 'pid').exists()
        qmp = Qmp(path)
        while not (tmp_path / 'pid').exists():
            assert daemon.poll() is None
        qmp.cmd('quit')
        assert daemon.wait(10) == 0
    finally:
        daemon.kill()
        daemon.communicate()
    assert not (tmp_path / 'pid').exists() and not path.exists()


def test_wait_for_a_client_that_is_welcome(tmp_path, pki):
    path = tmp_path / 'w.sock'
    argv = [QSD, '--object', f'tls-creds-x509,id=tls0,endpoint=server,dir={pki}', '--chardev',
            f'socket,id=c,path={path},server=on,tls-creds=tls0', '--monitor', 'c', '--pidfile', tmp_path / 'pid']
    with subprocess.Popen(argv, stderr=subprocess.PIPE) as daemon:
        try:
            assert b'Waiting for a client' in daemon.stderr.readline()
            with pytest.raises((ssl.SSLError, OSError, ValueError)):
                ask_over_tls(path, tls_context(pki / 'other', 'client'))
            assert not (tmp_path / 'pid').exists()
            assert ask_over_tls(path, tls_context(pki, 'client'))['id'] == 1
            while not (tmp_path / 'pid').exists():
                assert daemon.poll() is None
                time.sleep(0.01)
            daemon.terminate()
            assert daemon.wait(30) == 0
        finally:
            daemon.kill()


def test_end_before_the_first_client(tmp_path):
    """The program can end without any client."""
    first, path = tmp_path / 'first.sock', tmp_path / 'w.sock'
    argv = [QSD, '--chardev', f'socket,id=m,path={first},server=on,wait=off', '--monitor', 'm',
            '--chardev', f'socket,id=w,path={path},server=on', '--pidfile', tmp_path / 'pid']
    with subprocess.Popen(argv, stderr=subprocess.PIPE) as daemon:
        try:
            assert daemon.stderr.readline() == f'Waiting for a client on unix:{path}\n'.encode()
            daemon.send_signal(signal.SIGTERM)
            _, errors = daemon.communicate(timeout=30)
        finally:
            daemon.kill()
    assert daemon.returncode == 1
    assert errors == b'qemu-storage-daemon: --chardev: Operation was cancelled\n'
    assert not first.exists() and not path.exists() and not (tmp_path / 'pid').exists()


def test_chardev_add_and_remove(daemon, tmp_path):
    qmp = daemon.qmp
    path = tmp_path / 'new.sock'
    backend = {'type': 'socket', 'data': {'addr': {'type': 'unix', 'data': {'path': str(path)}}, 'server': True}}
    assert qmp.cmd('chardev-add', id='c9', backend=backend) == {}
    assert path.exists()
    assert qmp.cmd('query-chardev') == [
        {'label': 'qmp0', 'filename': f'unix:{daemon.socket},server=on', 'frontend-open': True},
        {'label': 'c9', 'filename': f'unix:{path},server=on', 'frontend-open': False}]
    assert "'c9' already exists" in qmp.error('chardev-add', id='c9', backend={'type': 'null', 'data': {}}).desc
    assert 'not a valid' in qmp.error('chardev-add', id='9', backend={'type': 'null', 'data': {}}).desc
    assert "'qmp0' is busy" in qmp.error('chardev-remove', id='qmp0').desc
    assert "'zz' not found" in qmp.error('chardev-remove', id='zz').desc
    assert qmp.cmd('chardev-remove', id='c9') == {}
    assert not path.exists()
    backend['data']['wait'] = True
    assert "'wait'" in qmp.error('chardev-add', id='c9', backend=backend).desc
    backend['data'].update(wait=False, reconnect_ms=5)
    assert 'reconnect_ms' in qmp.error('chardev-add', id='c9', backend=backend).desc
    assert 'No such file' in qmp.error('chardev-add', id='c9', backend={'type': 'file', 'data': {
        'out': str(tmp_path / 'no/such')}}).desc


def test_passed_descriptors(daemon, tmp_path):
    qmp = daemon.qmp
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / 'passed.sock'))
    assert 'No file descriptor' in qmp.error('getfd', fdname='f0').desc
    qmp.cmd('getfd', fds=[listener.fileno()], fdname='f0')
    addr = {'type': 'fd', 'data': {'str': 'f0'}}
    assert 'not a listening' in qmp.error('chardev-add', id='c1', backend={'type': 'socket', 'data': {'addr': addr}}).desc
    listener.listen(1)
    assert 'not been found' in qmp.error('chardev-add', id='c1', backend={'type': 'socket', 'data': {'addr': addr}}).desc
    qmp.cmd('getfd', fds=[listener.fileno()], fdname='f0')
    qmp.cmd('getfd', fds=[listener.fileno()], fdname='f0')
    qmp.cmd('chardev-add', id='c1', backend={'type': 'socket', 'data': {'addr': addr}})
    with pytest.raises(Exception, match='not starting with a digit'):
        qmp.cmd('getfd', fds=[listener.fileno()], fdname='0f')
    assert "'f0' not found" in qmp.error('closefd', fdname='f0').desc
    qmp.cmd('getfd', fds=[listener.fileno()], fdname='f1')
    qmp.cmd('closefd', fdname='f1')
    qmp.cmd('chardev-remove', id='c1')
    listener.close()
    # every descriptor that was passed is closed again
    links = [os.readlink(f'/proc/{daemon.process.pid}/fd/{fd}') for fd in os.listdir(f'/proc/{daemon.process.pid}/fd')]
    assert sum(link.startswith('socket:') for link in links) == 2, links


def test_daemonize(tmp_path):
    pidfile = tmp_path / 'pid'
    path = tmp_path / 'd.sock'
    args = ['--daemonize', '--pidfile', pidfile, '--chardev', f'socket,id=c,path={path},server=on,wait=off',
            '--monitor', 'c']
    run(QSD, *args)
    pid = int(pidfile.read_text())
    assert 'Cannot lock' in fails('--pidfile', pidfile)
    qmp = Qmp(path)
    assert os.readlink(f'/proc/{pid}/fd/2') == '/dev/null' and os.getpgid(pid) != os.getpgid(0)
    qmp.cmd('quit')
    while pidfile.exists():
        time.sleep(0.01)
    # relative names are relative to where it was started
    run(QSD, '--daemonize', '--pidfile', 'p', '--chardev', 'socket,id=c,path=r.sock,server=on,wait=off',
        '--monitor', 'c', '--nbd-server', 'addr.type=unix,addr.path=n.sock', cwd=tmp_path)
    assert (tmp_path / 'n.sock').exists()
    Qmp(tmp_path / 'r.sock').cmd('quit')
    while (tmp_path / 'p').exists():
        time.sleep(0.01)
    assert not (tmp_path / 'r.sock').exists() and not (tmp_path / 'n.sock').exists()
    assert 'No such file' in fails('--daemonize', '--pidfile', tmp_path / 'no/pid')
    assert 'stdio' in fails('--daemonize', '--chardev', 'stdio,id=c')


@pytest.mark.parametrize('signum', [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals(tmp_path, signum):
    with StorageDaemon(tmp_path) as daemon:
        daemon.process.send_signal(signum)
        event = daemon.qmp.wait_event('SHUTDOWN')
        assert event['data']['reason'] == 'host-signal'
        assert daemon.wait()[0] == 0


def test_options(tmp_path):
    assert run(QSD, '--version').stdout.startswith('qemu-storage-daemon version 10.2.0')
    text = run(QSD, '--help').stdout
    for option in ('chardev', 'monitor', 'object', 'daemonize', 'pidfile'):
        assert f'--{option}' in text
    assert 'socket' in run(QSD, '--chardev', 'help').stdout
    for kind, option in (('socket', 'reconnect-ms='), ('file', 'input-path='), ('stdio', 'signal=')):
        assert option in run(QSD, '--chardev', f'{kind},help').stdout
    assert 'addr.path=' in run(QSD, '--nbd-server', 'help').stdout
    assert 'pretty' in run(QSD, '--monitor', 'help').stdout
    assert 'secret' in run(QSD, '--object', 'help').stdout
    assert 'keyid' in run(QSD, '--object', 'secret,help').stdout
    assert "Try" in fails('--nope')
    assert 'Unexpected argument' in fails('extra')
    assert "'x' not found" in fails('--monitor', 'x')
    assert "mode" in fails('--chardev', 'null,id=n', '--monitor', 'n,mode=readline')
    assert 'already in use' in fails('--chardev', 'null,id=n', '--monitor', 'n', '--monitor', 'n')
    assert 'multiple' in fails('--chardev', 'stdio,id=a', '--chardev', 'stdio,id=b')
    assert "foo" in fails('--chardev', 'null,id=n,foo=1')
    assert "'backend.type'" in fails('--chardev', 'id=n')
    (tmp_path / 'file').write_text('precious')
    assert 'in use' in fails('--chardev', f'socket,id=c,path={tmp_path}/file,server=on,wait=off')
    assert (tmp_path / 'file').read_text() == 'precious'
