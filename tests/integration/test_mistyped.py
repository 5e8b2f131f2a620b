"""Mistyped words on the command line: every program names the one that was probably meant.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import re

import pytest

from programs import BUILD_DIR, run

IMG, IO, NBD, QSD = 'qemu-img', 'qemu-io', 'qemu-nbd', 'qemu-storage-daemon'


@pytest.mark.parametrize('program, argv, meant', [
    # commands and subcommands
    (IMG, ['conver', 'a', 'b'], 'convert'),
    (IMG, ['ceate'], 'create'),
    (IMG, ['help', 'reszie'], 'resize'),
    (IMG, ['keysolt', 'list'], 'keyslot'),
    (IMG, ['keyslot', 'ad', 'a'], 'add'),
    (IMG, ['keyslot', 'help', 'chnage'], 'change'),
    (IMG, ['header', 'bakcup', 'a', 'b'], 'backup'),
    (IMG, ['--hepl'], '--help'),
    # options
    (IMG, ['create', '--ojbect', 'secret,id=s', 'a'], '--object'),
    (IMG, ['keyslot', 'add', '--new-keyfile', 'a', 'b'], '--new-key-file'),
    (IMG, ['info', '--ouput=json', 'a'], '--output'),
    (IO, ['--read-olny', 'a'], '--read-only'),
    (NBD, ['--persistant', 'a'], '--persistent'),
    (QSD, ['--blokdev', 'x'], '--blockdev'),
    (QSD, ['--nbd-servr', 'x'], '--nbd-server'),
    # names in -o, and operands
    (IMG, ['create', '-f', 'luks', '-o', 'cipher-alf=aes-128', 'a', '1M'], 'cipher-alg'),
    (IMG, ['create', '-o', 'preallocatoin=full', 'a', '1M'], 'preallocation'),
    (IMG, ['amend', '-o', 'state=active,newsecret=s', 'a'], 'new-secret'),
    (IMG, ['dd', 'fi=a', 'of=b'], 'if'),
    (IMG, ['dd', 'if=a', 'cuont=1'], 'count'),
    (QSD, ['--blockdev', 'driver=luks,key-secrte=s,file=f'], 'key-secret'),
    (QSD, ['--blockdev', 'driver=raw,file.driver=file,file.filenam=x'], 'filename'),
    # formats and drivers
    (IMG, ['create', '-f', 'lukz', 'a', '1M'], 'luks'),
    (IMG, ['info', '-f', 'lusk', 'DISK'], 'luks'),
    (IMG, ['convert', '-O', 'rwa', 'DISK', 'a'], 'raw'),
    (IMG, ['map', '--image-opts', 'driver=lukss,file.filename=DISK'], 'luks'),
    (IO, ['-f', 'rw', 'DISK'], 'raw'),
    (NBD, ['-f', 'ruks', 'DISK'], 'luks'),
    (QSD, ['--blockdev', 'driver=flie,filename=x'], 'file'),
    (QSD, ['--blockdev', 'trottle,help'], 'throttle'),
    (QSD, ['--export', 'ndb,id=e,node-name=n'], 'nbd'),
    # objects
    (IMG, ['info', '--object', 'secert,id=s,file=f', 'DISK'], 'secret'),
    (NBD, ['--object', 'tls-cred-x509,id=s', 'DISK'], 'tls-creds-x509'),
    (QSD, ['--object', 'io-thread,id=s'], 'iothread'),
    (QSD, ['--object', 'secret,id=s,fille=f'], 'file'),
    (QSD, ['--chardev', 'scoket,id=c,path=x'], 'socket'),
    # values
    (IMG, ['create', '-f', 'luks', '-o', 'cipher-alg=aes-265', 'a', '1M'], 'aes-256'),
    (IMG, ['create', '-f', 'luks', '-o', 'hash-alg=sha-256', 'a', '1M'], 'sha256'),
    (IMG, ['info', '--output', 'jsn', 'a'], 'json'),
    (IMG, ['check', '-r', 'leeks', 'a'], 'leaks'),
    (IMG, ['erase', '--scope', 'imgae', 'a'], 'image'),
    (IMG, ['resize', '--preallocation', 'fallco', 'a', '1M'], 'falloc'),
    (IMG, ['convert', '-t', 'writebck', 'DISK', 'a'], 'writeback'),
    (IMG, ['compare', '-T', 'noen', 'DISK', 'DISK'], 'none'),
    (IMG, ['bench', '-i', 'thread', 'DISK'], 'threads'),
    (IO, ['-i', 'iouring', 'DISK'], 'io_uring'),
    (IO, ['-t', 'direct-sync', 'DISK'], 'directsync'),
    (IO, ['-d', 'unmpa', 'DISK'], 'unmap'),
    (NBD, ['--cache=wirteback', 'DISK'], 'writeback'),
    (NBD, ['--aio=natve', 'DISK'], 'native'),
    (NBD, ['--discard=ignroe', 'DISK'], 'ignore'),
    (NBD, ['--detect-zeroes=unmapp', 'DISK'], 'unmap'),
    # commands of qemu-io
    (IO, ['-c', 'raed 0 512', 'DISK'], 'read'),
    (IO, ['-c', 'discrad 0 512', 'DISK'], 'discard'),
    (IO, ['-c', 'truncate -m fulll 1M', '-f', 'raw', 'DISK'], 'full'),
])
def test_near(program, argv, meant, tmp_path):
    (tmp_path / 'DISK').write_bytes(bytes(1 << 20))
    done = run(BUILD_DIR / program, *argv, status=None, cwd=tmp_path)
    assert done.returncode
    assert f"id you mean '{meant}'?" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ['DISK']


def test_help_in_the_shell_of_qemu_io():
    done = run(BUILD_DIR / IO, '-c', 'help wriet', status=1)
    assert done.stdout == "command wriet not found; did you mean 'write'?\n"


@pytest.mark.parametrize('program, argv', [
    (IMG, ['frobnicate']),
    (IMG, ['snapshot', '-l', 'a']),
    (IMG, ['info', '--frobnicate', 'a']),
    (IMG, ['info', '-y', 'a']),
    (IMG, ['create', '-f', 'frobnicate', 'a', '1M']),
    (IMG, ['create', '-f', 'luks', '-o', 'frobnicate=1', 'a', '1M']),
    (IO, ['-c', 'frobnicate']),
    (QSD, ['--blockdev', 'driver=frobnicate']),
])
def test_nothing_is_near(program, argv, tmp_path):
    done = run(BUILD_DIR / program, *argv, status=1, cwd=tmp_path)
    assert done.stderr and 'did you mean' not in done.stderr.lower()


def test_a_secret_is_not_shown(tmp_path):
    """Text after a comma in "data=" looks like an option: what the program guesses must not come from it."""
    for argv in [IMG, 'info', '--object', 'secret,id=s,data=abc,fle=xyz', 'x'], [QSD, '--object', 'secret,id=s,data=abc,fle=xyz']:
        done = run(BUILD_DIR / argv[0], *argv[1:], status=1, cwd=tmp_path)
        assert not re.search('abc|fle|xyz', done.stderr) and 'did you mean' not in done.stderr.lower()
