"""Pipes without a peer in place of files: they block neither the loop nor the end of the program.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import json
import os
import shutil
import signal
import socket
import subprocess
import time

import nbd
import pytest

from nbd_server import QEMU_NBD, NbdServer, is_listening, wait_until
from programs import QEMU_IMG, qemu_img, run, secret_object
from qmp import QSD, Qmp, QmpError, StorageDaemon

# Seconds within which everything that need not wait is answered, and ends; more with sanitizers.
SOON = 8
X509_FILES = ['ca-cert.pem', 'ca-crl.pem', 'server-cert.pem', 'server-key.pem', 'dh-params.pem']


@pytest.fixture(name='pipe')
def fixture_pipe(tmp_path):
    path = tmp_path / 'pipe'
    os.mkfifo(path)
    return path


@pytest.fixture(name='credentials')
def fixture_credentials(tmp_path, pki):
    """A function that returns the definition of TLS credentials whose file NAME is a pipe."""
    def make(name, ident='tls0'):
        directory = tmp_path / f'pki-{name}'
        shutil.copytree(pki, directory)
        (directory / name).unlink(missing_ok=True)
        os.mkfifo(directory / name)
        kind = 'psk' if name == 'keys.psk' else 'x509'
        return {'qom-type': f'tls-creds-{kind}', 'id': ident, 'endpoint': 'server', 'dir': str(directory)}
    return make


def as_argument(options):
    """The same as an argument of --object."""
    return ','.join([options['qom-type']] + [f'{key}={value}' for key, value in options.items() if key != 'qom-type'])


def end_in_time(process, status=1):
    """Wait for the end, which must not take long; return the output."""
    begin = time.monotonic()
    errors = process.communicate(timeout=60)[1]
    assert time.monotonic() - begin < SOON
    assert process.returncode == status, errors
    return errors


def object_definition(which, pipe, credentials):
    """The options of an object that waits for a pipe."""
    return {'qom-type': 'secret', 'id': 's0', 'file': str(pipe)} if which == 'secret' else credentials(which)


@pytest.mark.parametrize('program', ['qemu-nbd', 'qemu-storage-daemon'])
@pytest.mark.parametrize('which', ['secret', 'keys.psk', *X509_FILES])
def test_end_while_an_object_is_made(tmp_path, pipe, credentials, which, program):
    """For an object on the command line."""
    definition = as_argument(object_definition(which, pipe, credentials))
    argv = [QEMU_NBD, '-k', tmp_path / 'sock', '-f', 'raw'] if program == 'qemu-nbd' else [QSD]
    argv += ['--object', definition] + ([tmp_path / 'none.raw'] if program == 'qemu-nbd' else [])
    for sig in (signal.SIGTERM, signal.SIGINT):
        with subprocess.Popen(argv, stderr=subprocess.PIPE) as process:
            time.sleep(0.4)
            assert process.poll() is None
            process.send_signal(sig)
            assert b'Operation was cancelled' in end_in_time(process)


@pytest.mark.parametrize('which', ['secret', 'keys.psk', *X509_FILES])
def test_object_add(tmp_path, pipe, credentials, which):
    """Others are answered meanwhile; object-del cancels the creation of the object; the daemon ends."""
    other_socket = tmp_path / 'other.sock'
    definition = object_definition(which, pipe, credentials)
    with StorageDaemon(tmp_path, '--chardev', f'socket,id=c1,path={other_socket},server=on,wait=off',
                       '--monitor', 'c1') as daemon:
        other = Qmp(other_socket)
        other.sock.settimeout(SOON)
        daemon.qmp.sock.settimeout(SOON)
        for _ in range(2):
            daemon.qmp.send({'execute': 'object-add', 'arguments': definition})
            time.sleep(0.3)
            assert 'already' in other.error_raw('object-add', definition).desc
            other.cmd('query-block-exports')
            other.cmd('object-del', id=definition['id'])
            assert 'cancelled' in daemon.qmp.answer()['error']['desc']
            assert 'no object' in other.error('object-del', id=definition['id']).desc
        daemon.qmp.send({'execute': 'object-add', 'arguments': definition})
        time.sleep(0.2)
        other.cmd('quit')
        assert 'cancelled' in daemon.qmp.answer()['error']['desc']
        other.close()
        end_in_time(daemon.process, 0)


def test_more_pipes_than_workers(tmp_path, pipe):
    """Waiting takes no worker from reads and writes of images."""
    count = 70
    image = tmp_path / 'a.raw'
    image.write_bytes(b'x' * 65536)
    args = []
    for i in range(count):
        args += ['--chardev', f'socket,id=c{i},path={tmp_path}/{i}.sock,server=on,wait=off', '--monitor', f'c{i}']
    with StorageDaemon(tmp_path, *args) as daemon:
        clients = [Qmp(tmp_path / f'{i}.sock') for i in range(count)]
        for i, client in enumerate(clients):
            client.send({'execute': 'object-add', 'arguments': {'qom-type': 'secret', 'id': f's{i}', 'file': str(pipe)}})
        time.sleep(0.3)
        daemon.qmp.sock.settimeout(SOON)
        daemon.qmp.cmd_raw('blockdev-add', {'driver': 'file', 'node-name': 'n', 'filename': str(image), 'aio': 'threads'})
        daemon.qmp.cmd_raw('nbd-server-start', {'addr': {'type': 'unix', 'data': {'path': str(tmp_path / 'nbd')}}})
        daemon.qmp.cmd('block-export-add', type='nbd', id='e', node_name='n')
        handle = nbd.NBD()
        handle.set_export_name('n')
        handle.connect_unix(str(tmp_path / 'nbd'))
        assert handle.pread(4, 0) == b'xxxx'
        handle.shutdown()
        daemon.qmp.cmd('quit')
        end_in_time(daemon.process, 0)
        for client in clients:
            client.close()


def test_writers_that_come_late(tmp_path, pipe):
    """The secret is everything they write, however slowly."""
    image = tmp_path / 'a.luks'
    qemu_img('create', '-q', '-f', 'luks', *secret_object(tmp_path, 's', b'long password'),
             '-o', 'key-secret=s,iter-time=10', image, '64k')
    with StorageDaemon(tmp_path) as daemon:
        daemon.qmp.send({'execute': 'object-add', 'arguments': {'qom-type': 'secret', 'id': 's0', 'file': str(pipe)}})
        time.sleep(0.2)
        with open(pipe, 'wb', buffering=0) as writer:
            for part in (b'long', b' ', b'password'):
                time.sleep(0.1)
                writer.write(part)
        assert daemon.qmp.answer() == {'return': {}}
        daemon.qmp.cmd_raw('blockdev-add', {'driver': 'luks', 'node-name': 'n', 'key-secret': 's0',
                                            'file': {'driver': 'file', 'filename': str(image)}})


def test_pipes_with_a_writer(tmp_path):
    """Process substitution, and standard input."""
    image = tmp_path / 'a.luks'
    command = f'{QEMU_IMG} create -q -f luks -o key-secret=s0,iter-time=10 {image} 64k --object secret,id=s0,file='
    run('bash', '-c', command + '<(printf secret)')
    opts = ['--image-opts', f'driver=luks,key-secret=s0,file.filename={image}']
    compare = [QEMU_IMG, 'compare', *opts, opts[1], '--object']
    for name in ('/dev/stdin', '/dev/fd/0'):
        run(*compare, f'secret,id=s0,file={name}', input='secret')
        run('bash', '-c', f'printf secret | {" ".join(map(str, compare))} secret,id=s0,file={name}')
    run(*compare, 'secret,id=s0,file=/dev/stdin', input='wrong', status=2)


def ask(path_in, path_out):
    """Query the version over a pair of pipes."""
    with open(path_in, 'wb', buffering=0) as to_daemon, open(path_out, 'rb') as from_daemon:
        to_daemon.write(b'{"execute": "query-version", "id": "v"}')
        for line in from_daemon:
            if b'"id": "v"' in line:
                return line
    return None


def test_chardev_of_pipes(tmp_path):
    """A file chardev opens without a peer, keeps answers for a later reader, and survives peers."""
    path_in, path_out = tmp_path / 'in', tmp_path / 'out'
    os.mkfifo(path_in)
    os.mkfifo(path_out)
    with StorageDaemon(tmp_path, '--chardev', f'file,id=f,path={path_out},input-path={path_in}', '--monitor', 'f') as daemon:
        with open(path_in, 'wb') as to_daemon:
            to_daemon.write(b'{"execute": "qmp_capabilities"}')
        assert ask(path_in, path_out) and ask(path_in, path_out)
        # and the same over QMP, without any peer
        for i in range(2):
            daemon.qmp.cmd_raw('chardev-add', {'id': f'c{i}', 'backend': {'type': 'file', 'data': {
                'out': str(path_out), **({'in': str(path_in)} if i else {})}}})
            daemon.qmp.cmd('chardev-remove', id=f'c{i}')
        daemon.qmp.cmd('quit')
        end_in_time(daemon.process, 0)


def test_pid_file(tmp_path, pipe):
    assert 'not a regular file' in run(QSD, '--pidfile', pipe, status=1).stderr
    (tmp_path / 'a.raw').write_bytes(bytes(512))
    assert 'not a regular file' in run(QEMU_NBD, '--pid-file', pipe, '-k', tmp_path / 's', '-f', 'raw', tmp_path / 'a.raw',
                                       status=1).stderr


def connect_psk(server, keys, user='alice'):
    """Whether a client with the key in the file KEYS is accepted."""
    handle = nbd.NBD()
    handle.set_tls(nbd.TLS_REQUIRE)
    handle.set_tls_psk_file(str(keys))
    handle.set_tls_username(user)
    try:
        handle.connect_unix(str(server.socket))
    except nbd.Error:
        return False
    handle.shutdown()
    return True


def test_keys_that_change(tmp_path):
    """A server's key file is read for each client; if it has become a pipe, the keys read before count."""
    keys, mine = tmp_path / 'keys.psk', tmp_path / 'mine.psk'
    mine.write_text(f'alice:{"12" * 32}\nbob:{"34" * 32}\n')
    keys.write_text(f'alice:{"12" * 32}\n')
    image = tmp_path / 'a.raw'
    image.write_bytes(bytes(65536))
    with NbdServer(tmp_path, '--object', f'tls-creds-psk,id=t,endpoint=server,dir={tmp_path}', '--tls-creds', 't',
                   '-f', 'raw', image) as server:
        assert connect_psk(server, mine) and not connect_psk(server, mine, 'bob')
        keys.write_text(mine.read_text())
        assert connect_psk(server, mine) and connect_psk(server, mine, 'bob')
        keys.write_text(f'bob:{"34" * 32}\n')
        assert not connect_psk(server, mine) and connect_psk(server, mine, 'bob')
        keys.unlink()
        assert not connect_psk(server, mine, 'bob')
        os.mkfifo(keys)
        assert not connect_psk(server, mine) and connect_psk(server, mine, 'bob')


def test_keys_from_a_pipe(tmp_path):
    """The keys are read once, and many clients are accepted."""
    keys, mine = tmp_path / 'keys.psk', tmp_path / 'mine.psk'
    mine.write_text(f'alice:{"12" * 32}\n')
    os.mkfifo(keys)
    image = tmp_path / 'a.raw'
    image.write_bytes(bytes(65536))
    server = NbdServer(tmp_path, '--object', f'tls-creds-psk,id=t,endpoint=server,dir={tmp_path}', '--tls-creds', 't',
                       '-f', 'raw', image)
    with subprocess.Popen(['cp', mine, keys]), server:
        for _ in range(3):
            assert connect_psk(server, mine)


@pytest.mark.parametrize('tls', [False, True])
def test_chardev_without_an_answer(tmp_path, pki, tls):
    """A server that does not accept, or says nothing, delays neither other monitors nor the end."""
    other_socket, path = tmp_path / 'other.sock', tmp_path / 'silent.sock'
    with socket.socket(socket.AF_UNIX) as silent, socket.socket(socket.AF_UNIX) as filler:
        silent.bind(str(path))
        silent.listen(0)
        filler.connect(str(path))
        if tls:
            conn, _ = silent.accept()
        with StorageDaemon(tmp_path, '--object', f'tls-creds-x509,id=tls0,dir={pki}', '--chardev',
                           f'socket,id=c1,path={other_socket},server=on,wait=off', '--monitor', 'c1') as daemon:
            other = Qmp(other_socket)
            data = {'addr': {'type': 'unix', 'data': {'path': str(path)}}, 'server': False,
                    **({'tls-creds': 'tls0'} if tls else {})}
            daemon.qmp.send({'execute': 'chardev-add', 'arguments': {'id': 'c2', 'backend': {'type': 'socket', 'data': data}}})
            time.sleep(0.3)
            other.cmd('query-chardev')
            other.cmd('quit')
            assert 'ancel' in daemon.qmp.answer()['error']['desc']
            other.close()
            end_in_time(daemon.process, 0)
        if tls:
            conn.close()


SLOW_LOOKUP = """
#include <netdb.h>
#include <stdlib.h>
#include <unistd.h>
int getaddrinfo(const char *host, const char *port, const struct addrinfo *hints, struct addrinfo **result)
{
    static int calls;
    if (calls++ >= atoi(getenv("FAIL_AT_FIRST"))) {
        sleep(1000);
    }
    return EAI_AGAIN;
}
"""


@pytest.fixture(name='slow_lookup')
def fixture_slow_lookup(tmp_path):
    """An environment in which no name server answers."""
    (tmp_path / 'slow.c').write_text(SLOW_LOOKUP)
    run('cc', '-shared', '-fPIC', '-o', tmp_path / 'slow.so', tmp_path / 'slow.c')
    return {**os.environ, 'LD_PRELOAD': str(tmp_path / 'slow.so'), 'FAIL_AT_FIRST': '0'}


@pytest.mark.plain_build
@pytest.mark.parametrize('options', [
    ['--nbd-server', 'addr.type=inet,addr.host=localhost,addr.port=21900'],
    ['--chardev', 'socket,id=c,host=localhost,port=21900'],
    ['--chardev', 'socket,id=c,host=localhost,port=21900,server=on,wait=off'],
])
def test_name_without_an_answer(slow_lookup, options):
    with subprocess.Popen([QSD, *options], stderr=subprocess.PIPE, env=slow_lookup) as process:
        time.sleep(0.4)
        process.send_signal(signal.SIGTERM)
        assert b'Operation was cancelled' in end_in_time(process)


@pytest.mark.plain_build
@pytest.mark.parametrize('fail_at_first', [0, 1])
def test_reconnect_to_a_name_without_an_answer(slow_lookup, fail_at_first):
    """While the command line is processed, and later."""
    with subprocess.Popen([QSD, '--chardev', 'socket,id=c,host=localhost,port=21900,reconnect-ms=1'],
                          stderr=subprocess.PIPE, env={**slow_lookup, 'FAIL_AT_FIRST': str(fail_at_first)}) as process:
        time.sleep(0.4)
        process.send_signal(signal.SIGTERM)
        end_in_time(process, 0 if fail_at_first else 1)


SLOW_NAMES = [
    {'driver': 'nbd', 'server': {'type': 'inet', 'host': 'a.name', 'port': '10809'}, 'open-timeout': 1},
    {'driver': 'iscsi', 'transport': 'tcp', 'portal': 'a.name:3260', 'target': 't', 'lun': 1, 'timeout': 1},
]


@pytest.mark.plain_build
@pytest.mark.parametrize('options', SLOW_NAMES)
def test_image_at_a_name_without_an_answer(slow_lookup, tmp_path, options):
    """The error names the step, and other monitors are answered meanwhile."""
    error = qemu_img('info', 'json:' + json.dumps(options), status=1, env=slow_lookup).stderr
    assert "Timed out waiting for the look-up of the address of 'a.name'" in error
    options = {key: value for key, value in options.items() if 'timeout' not in key}
    path = tmp_path / 'other.sock'
    for end in ('quit', 'signal'):
        with StorageDaemon(tmp_path, '--chardev', f'socket,id=c1,path={path},server=on,wait=off', '--monitor', 'c1',
                           env=slow_lookup) as daemon:
            daemon.qmp.send({'execute': 'blockdev-add', 'arguments': {'node-name': 'n0', **options}})
            time.sleep(0.3)
            other = Qmp(path)
            assert other.cmd('query-named-block-nodes') == []
            if end == 'quit':
                other.send({'execute': 'quit'})
            else:
                daemon.process.send_signal(signal.SIGTERM)
            end_in_time(daemon.process, 0)


@pytest.mark.plain_build
@pytest.mark.parametrize('argv', [[QEMU_IMG, 'info', 'nbd://a.name/x'], [QEMU_IMG, 'info', 'iscsi://a.name/t/1'],
                                  [QEMU_NBD, '--list', '-b', 'a.name']])
def test_interrupt_during_a_look_up(slow_lookup, argv):
    with subprocess.Popen(argv, stderr=subprocess.PIPE, env=slow_lookup) as process:
        time.sleep(0.4)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        begin = time.monotonic()
        process.communicate(timeout=60)
        assert time.monotonic() - begin < SOON and process.returncode != 0


def test_list_can_be_interrupted(tmp_path):
    """qemu-nbd --list is not a server that has to end in an orderly way."""
    path = tmp_path / 'silent.sock'
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen(5)
        wait_until(lambda: is_listening(path), 'the silent server')
        with subprocess.Popen([QEMU_NBD, '--list', '-k', path], stderr=subprocess.PIPE) as process:
            time.sleep(0.4)
            process.send_signal(signal.SIGTERM)
            end_in_time(process, -signal.SIGTERM)


def test_quit_while_the_command_waits(tmp_path, pipe):
    """Its own monitor may be gone already."""
    with StorageDaemon(tmp_path) as daemon:
        daemon.qmp.send({'execute': 'object-add', 'arguments': {'qom-type': 'secret', 'id': 's0', 'file': str(pipe)}})
        time.sleep(0.2)
        daemon.qmp.close()
        daemon.qmp = daemon.connect()
        with pytest.raises(QmpError, match='already'):
            daemon.qmp.cmd('object-add', qom_type='secret', id='s0', data='x')
        daemon.process.terminate()
        end_in_time(daemon.process, 0)
