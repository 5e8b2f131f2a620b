"""LUKS volumes on NBD servers that fail, and on exports of odd sizes: nbdkit with filters and scripts.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import subprocess
import time

import pytest

from images import FAST, MIB, check_opens, luks_opts, write_pieces
from nbd_peer import Nbdkit
from programs import QEMU_IMG, QEMU_IO, cryptsetup, debian_qemu_img, qemu_img, qemu_img_json, qemu_io, secret_object

PASSWORD, OTHER = b'password', b'another'


@pytest.fixture(name='s0')
def fixture_s0(tmp_path):
    return secret_object(tmp_path, 's0', PASSWORD)


@pytest.fixture(name='s1')
def fixture_s1(tmp_path):
    return secret_object(tmp_path, 's1', OTHER)


def luks_on(server, **more):
    opts = f'driver=luks,key-secret=s0,file.driver=nbd,file.server.type=unix,file.server.path={server.socket}'
    return opts + ''.join(f',{key.replace("__", ".").replace("_", "-")}={value}' for key, value in more.items())


def format_export(server, s0):
    qemu_img('format', *s0, '-o', f'key-secret=s0,{FAST}', server.uri())


# Odd and huge

def test_blocks_of_4_to_64_kib(tmp_path, s0, s1):
    """Every operation, on a server that refuses every request outside these limits."""
    image = write_pieces(tmp_path / 'image', 16 * MIB)
    with Nbdkit(tmp_path, '--filter=blocksize-policy', 'file', image, 'blocksize-minimum=4096', 'blocksize-preferred=4096',
                'blocksize-maximum=65536', 'blocksize-error-policy=error') as server:
        format_export(server, s0)
        qemu_img('keyslot', 'add', *s0, *s1, '--secret', 's0', '--new-secret', 's1', '--iter-time', '10', server.uri())
        check_opens(image, OTHER)
        qemu_io(*s0, '--image-opts', '-c', 'write -P 7 100 200', '-c', 'write -P 8 1M 3M', '-c', 'read -P 7 100 200', '-c',
                'flush', luks_on(server))
        debian_qemu_img('compare', *s0, '--image-opts', luks_on(server), luks_opts(image, secret='s0') + ',file.locking=off')
        qemu_img('convert', *s0, '--image-opts', '-O', 'raw', luks_on(server), tmp_path / 'plain')
        plain = (tmp_path / 'plain').read_bytes()
        assert plain[100:300] == b'\7' * 200 and plain[MIB:4 * MIB] == b'\10' * 3 * MIB
        report = qemu_img_json('erase', '--scope', 'key-material', '--force', server.uri())
        assert all(region['verified'] for region in report['regions'])
    check_opens(image, PASSWORD, status=1)


def test_1000_bytes(tmp_path, s0):
    """Too few for a header; with one elsewhere, all whole sectors can be used."""
    image = write_pieces(tmp_path / 'image', 1000)
    header = tmp_path / 'header'
    with Nbdkit(tmp_path, 'file', image) as server:
        error = qemu_img('format', *s0, '-o', f'key-secret=s0,{FAST}', '--force', server.uri(), status=1).stderr
        assert 'too small' in error and server.uri() in error
        qemu_img('format', *s0, '-o', f'key-secret=s0,{FAST}', '--force', '--header', header, server.uri())
        opts = luks_on(server, header__filename=header)
        qemu_io(*s0, '--image-opts', '-c', 'write -P 7 0 512', '-c', 'read -P 7 0 512', opts)
        full = qemu_io(*s0, '--image-opts', '-c', 'write -P 7 512 512', opts, status=1)
        assert 'No space left' in full.stdout + full.stderr
    assert image.stat().st_size == 1000


def test_8_tib(tmp_path, s0, s1):
    with Nbdkit(tmp_path, 'memory', '8T') as server:
        begin = time.monotonic()
        format_export(server, s0)
        qemu_img('keyslot', 'add', *s0, *s1, '--secret', 's0', '--new-secret', 's1', '--iter-time', '10', server.uri())
        qemu_io(*s0, '--image-opts', '-c', 'write -P 7 7T 1M', '-c', 'write -P 8 100 300', '-c', 'flush', luks_on(server))
        qemu_io('-r', *s0, '--image-opts', '-c', 'read -P 7 7T 1M', '-c', 'read -P 8 100 300', luks_on(server))
        assert time.monotonic() - begin < 30


# Faults

@pytest.mark.parametrize('error, text', [('EIO', 'Input/output error'), ('ENOSPC', 'No space left'),
                                         ('EPERM', 'Operation not permitted'), ('ESHUTDOWN', 'shutdown')])
def test_errors(tmp_path, s0, error, text):
    """Each request fails with the server's error, and the next one succeeds once the server does."""
    image = write_pieces(tmp_path / 'image', 8 * MIB)
    bad = tmp_path / 'bad'
    with Nbdkit(tmp_path, '--filter=error', 'file', image, f'error={error}', 'error-rate=100%', f'error-file={bad}') as server:
        format_export(server, s0)
        with subprocess.Popen([QEMU_IO, *s0, '--image-opts', luks_on(server)], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as client:
            said = ''

            def ask(command):
                nonlocal said
                client.stdin.write(f'{command}\n')
                client.stdin.flush()
                lines = []
                while not lines or not any(word in lines[-1] for word in ('ops', 'failed')):
                    lines.append(client.stdout.readline())
                    assert lines[-1], said
                    said += lines[-1]
                return lines[-1]
            assert 'ops' in ask('write -P 7 0 1M')
            bad.touch()
            assert text in ask('write -P 8 0 1M') and text in ask('read 1M 64k')
            bad.unlink()
            assert 'ops' in ask('write -P 9 0 1M') and 'ops' in ask('read -P 9 0 1M')
            client.communicate('quit\n', timeout=30)
            assert client.returncode == 1


def test_exitwhen(tmp_path, s0):
    """A server that is about to end takes no new clients, and serves those that it has; the next one goes on."""
    image = write_pieces(tmp_path / 'image', 8 * MIB)
    event = tmp_path / 'event'
    with Nbdkit(tmp_path, '--filter=exitwhen', 'file', image, f'exit-when-file-created={event}',
                'exit-when-poll=1') as server:
        format_export(server, s0)
        with subprocess.Popen([QEMU_IO, *s0, '--image-opts', luks_on(server, file__reconnect_delay=30)],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
            client.stdin.write('write -P 7 0 1M\nflush\n')
            client.stdin.flush()
            client.stdout.readline()
            event.touch()
            time.sleep(1.5)
            assert 'NBD server' in qemu_img('info', server.uri(), status=1, timeout=30).stderr
            client.stdin.write(''.join(f'aio_write -P 8 {i}M 1M\n' for i in range(1, 5)) + 'aio_flush\nflush\n')
            client.stdin.flush()
            while 'wrote 1048576/1048576 bytes at offset 4194304' not in client.stdout.readline():
                pass
            time.sleep(0.2)
            server.kill()
            event.unlink()
            server.start()
            output = client.communicate('read -P 7 0 1M\nread -P 8 1M 4M\nwrite -P 9 1M 1M\nflush\n', timeout=60)[0]
        assert client.returncode == 0 and output.count('read ') == 2


def script(image, before_write='', **more):
    """nbdkit arguments for a server of IMAGE that is made of shell commands."""
    commands = {
        'get_size': f'stat -c %s {image}', 'pread': f'dd if={image} iflag=skip_bytes,count_bytes skip=$4 count=$3',
        'pwrite': f'{before_write}dd of={image} oflag=seek_bytes seek=$4 conv=notrunc', 'can_write': 'exit 0',
        'can_flush': 'exit 0', 'flush': f'sync {image}', **more,
    }
    return ['eval', *(f'{name}={command}' for name, command in commands.items()), 'missing=exit 2']


def test_retry_filter(tmp_path, s0):
    """A server that opens its storage again after an error takes longer, and that is all."""
    image = write_pieces(tmp_path / 'image', 8 * MIB)
    bad = tmp_path / 'bad'
    once = f'if rm {bad} 2>/dev/null; then echo EIO try again >&2; exit 1; fi; '
    with Nbdkit(tmp_path, '--filter=retry', *script(image, once), 'retries=3', 'retry-delay=1') as server:
        format_export(server, s0)
        bad.touch()
        begin = time.monotonic()
        qemu_io(*s0, '--image-opts', '-c', 'write -P 7 0 64k', '-c', 'read -P 7 0 64k', luks_on(server))
        assert not bad.exists() and 1 <= time.monotonic() - begin < 20
    check_opens(image, PASSWORD)


def test_flush_fails(tmp_path, s0, s1):
    """What was written is not said to last."""
    image = write_pieces(tmp_path / 'image', 8 * MIB)
    with Nbdkit(tmp_path, *script(image)) as server:
        format_export(server, s0)
    with Nbdkit(tmp_path, *script(image, flush='echo EIO the disk is on fire >&2; exit 1')) as server:
        for commands in (['write 0 64k', 'flush'], ['write -f 0 64k']):
            done = qemu_io(*s0, '--image-opts', *[arg for command in commands for arg in ('-c', command)], luks_on(server),
                           status=1)
            assert 'Input/output error' in done.stdout + done.stderr
        failed = qemu_img('keyslot', 'add', *s0, *s1, '--secret', 's0', '--new-secret', 's1', '--iter-time', '10',
                          server.uri(), status=1).stderr
        assert 'Input/output error' in failed
    check_opens(image, PASSWORD)


@pytest.mark.slow
@pytest.mark.parametrize('delay', [0, 30])
def test_dies_at_each_write(tmp_path, s0, s1, delay):
    """Of a change of passwords. One of the two opens the volume, and the change goes on where it can wait."""
    image = write_pieces(tmp_path / 'image', 8 * MIB)
    left = tmp_path / 'left'
    die = f'n=$(cat {left}); echo $((n-1)) >{left}; [ $n != 1 ] || {{ kill -9 $PPID; exit; }}; '
    with Nbdkit(tmp_path, *script(image)) as server:
        format_export(server, s0)
    before = image.read_bytes()
    for n in range(1, 100):
        image.write_bytes(before)
        left.write_text(str(n))
        with Nbdkit(tmp_path, *script(image, die)) as server:
            change = ['keyslot', 'change', *s0, *s1, '--secret', 's0', '--new-secret', 's1', '--iter-time', '10',
                      '--image-opts', luks_on(server, file__reconnect_delay=delay)]
            with subprocess.Popen([QEMU_IMG, *change], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  text=True) as client:
                while client.poll() is None and server.process.poll() is None:
                    time.sleep(0.01)
                # The client may have seen it before us.
                died = left.read_text() == '0\n'
                if died:
                    server.process.wait()
                    server.start()
                errors = client.communicate(timeout=60)[1]
            if not died:
                break
            assert (client.returncode == 0) == (delay > 0)
            assert f"NBD server 'unix:{server.socket}': lost the connection" in errors
        statuses = [cryptsetup('open', '--test-passphrase', image, password=password, status=None).returncode
                    for password in (PASSWORD, OTHER)]
        assert 0 in statuses
        assert delay == 0 or statuses[1] == 0
    assert client.returncode == 0 and n > 3
    check_opens(image, OTHER)
