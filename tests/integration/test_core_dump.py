"""A core dump of a killed qemu-img holds no password and no key, nor does its command line.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import contextlib
import os
import pathlib
import random
import re
import resource
import signal
import subprocess
import time

import pytest

from programs import QEMU_IMG, cryptsetup, password_file, qemu_img, run, secret_object

pytestmark = pytest.mark.plain_build

PASSWORD = b'correct horse battery staple'
MARKER = 'a mark in the environment that every core dump holds'
SIZE = 24 << 20


def xtime(value):
    return (value << 1 ^ (0x11b if value & 0x80 else 0)) & 0xff


def make_sbox():
    """The substitution box of AES (FIPS 197, section 5.1.1)."""
    sbox = [0x63] * 256
    p = q = 1
    while True:
        p ^= xtime(p)
        q ^= q << 1
        q ^= q << 2
        q = (q ^ q << 4) & 0xff
        q ^= 0x09 if q & 0x80 else 0
        rotated = q ^ (q << 1 | q >> 7) ^ (q << 2 | q >> 6) ^ (q << 3 | q >> 5) ^ (q << 4 | q >> 4)
        sbox[p] = rotated & 0xff ^ 0x63
        if p == 1:
            return bytes(sbox)


def aes256_round_keys(key):
    """The 15 round keys of AES-256 (FIPS 197, section 5.2)."""
    sbox = make_sbox()
    words = [key[i:i + 4] for i in range(0, 32, 4)]
    rcon = 1
    for i in range(8, 60):
        word = words[-1]
        if i % 8 == 0:
            word = bytes(sbox[b] for b in word[1:] + word[:1])
            word = bytes([word[0] ^ rcon]) + word[1:]
            rcon = xtime(rcon)
        elif i % 8 == 4:
            word = bytes(sbox[b] for b in word)
        words.append(bytes(a ^ b for a, b in zip(words[i - 8], word)))
    return [b''.join(words[i:i + 4]) for i in range(0, 60, 4)]


def test_round_keys():
    """FIPS 197, appendix A.3."""
    key = bytes.fromhex('603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4')
    assert aes256_round_keys(key)[14].hex() == 'fe4890d1e6188d0b046df344706c631e'


def volume_key(image):
    dump = cryptsetup('luksDump', '--dump-volume-key', image, password=PASSWORD).stdout.decode()
    return bytes.fromhex(re.search(r'MK dump:\s*((?:[0-9a-f]{2}\s+)+)', dump).group(1))


@pytest.fixture
def volume(tmp_path):
    """A volume with the default cipher, aes-256-xts, full of data."""
    raw = tmp_path / 'payload.raw'
    raw.write_bytes(random.Random(1).randbytes(SIZE))
    path = tmp_path / 'volume.luks'
    secret = secret_object(tmp_path, 'sec0', PASSWORD)
    qemu_img('create', '-q', '-f', 'luks', *secret, '-o', 'key-secret=sec0,iter-time=10', path, str(SIZE))
    qemu_img('convert', '-n', '-f', 'raw', *secret, '--target-image-opts', raw,
             f'driver=luks,key-secret=sec0,file.filename={path}')
    return path


def secret_by_file(tmp_path):
    return f'secret,id=sec0,file={password_file(tmp_path, PASSWORD)}'


def secret_by_data(_tmp_path):
    return f'secret,id=sec0,data={PASSWORD.decode()}'


def from_luks(tmp_path, volume):
    """Arguments of a conversion that takes half a minute, and the file that grows once keys are in use."""
    out = tmp_path / 'out.raw'
    return ['--image-opts', '-O', 'raw', f'driver=luks,key-secret=sec0,file.filename={volume}', out], out


def to_luks(tmp_path, volume):
    raw = tmp_path / 'payload.raw'
    return ['-n', '-f', 'raw', '--target-image-opts', raw, f'driver=luks,key-secret=sec0,file.filename={volume}'], volume


@contextlib.contextmanager
def running(tmp_path, argv, watched):
    """A qemu-img convert that has started writing to file WATCHED."""
    before = watched.stat().st_mtime_ns if watched.exists() else 0
    with subprocess.Popen([QEMU_IMG, 'convert', '-r', '1M', *argv], cwd=tmp_path, stdin=subprocess.DEVNULL,
                          env={**os.environ, 'MARKER': MARKER},
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, resource.getrlimit(
                              resource.RLIMIT_CORE)[1:] * 2)) as process:
        try:
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline and process.poll() is None:
                if watched.exists() and watched.stat().st_blocks and watched.stat().st_mtime_ns != before:
                    break
                time.sleep(0.05)
            time.sleep(0.3)
            assert process.poll() is None, 'it ended before it could be looked at'
            yield process
        finally:
            process.kill()


def dump_core(tmp_path, process):
    """Kill PROCESS so that it leaves a core dump, and return its contents."""
    pattern = pathlib.Path('/proc/sys/kernel/core_pattern').read_text(encoding='utf-8').strip()
    allowed = resource.getrlimit(resource.RLIMIT_CORE)[1] == resource.RLIM_INFINITY
    if allowed and not pattern.startswith(('|', '/')):
        process.send_signal(signal.SIGABRT)
        process.wait(20)
    else:
        run('gcore', '-o', tmp_path / 'core', str(process.pid))
    cores = list(tmp_path.glob('core*'))
    assert len(cores) == 1, 'no core dump was made'
    return cores[0].read_bytes()


@pytest.mark.parametrize('direction', [from_luks, to_luks])
@pytest.mark.parametrize('secret', [pytest.param(secret_by_file, marks=pytest.mark.slow), secret_by_data])
def test_core_dump(tmp_path, volume, direction, secret):
    key = volume_key(volume)
    argv, watched = direction(tmp_path, volume)
    with running(tmp_path, ['--object', secret(tmp_path), *argv], watched) as process:
        core = dump_core(tmp_path, process)
    assert MARKER.encode() in core, 'the core dump does not hold what it must'
    found = [name for name, needle in {
        'the password': PASSWORD,
        **{f'byte {i} of the volume key': key[i:i + 16] for i in range(0, 64, 16)},
        **{f'round key {i} of half {half}': round_key for half in (0, 1)
           for i, round_key in enumerate(aes256_round_keys(key[32 * half:32 * half + 32]))},
    }.items() if needle in core]
    assert not found


def test_command_line(tmp_path, volume):
    """The command line that ps shows while it runs."""
    argv, watched = from_luks(tmp_path, volume)
    with running(tmp_path, ['--object', secret_by_data(tmp_path), *argv], watched) as process:
        shown = pathlib.Path(f'/proc/{process.pid}/cmdline').read_bytes()
    assert b'convert' in shown and b'sec0' in shown
    assert PASSWORD not in shown and b'horse' not in shown
