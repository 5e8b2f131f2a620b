"""valgrind finds neither leaks nor invalid accesses in create, info and amend.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import pytest

from programs import QEMU_IMG, run, secret_object

pytestmark = [pytest.mark.slow, pytest.mark.plain_build]

VALGRIND = ['valgrind', '-q', '--error-exitcode=99', '--leak-check=full',
            '--show-leak-kinds=definite,indirect', '--errors-for-leak-kinds=definite,indirect']


def checked(*args, status=0):
    """Run our qemu-img; valgrind's findings have an exit status of their own."""
    return run(*VALGRIND, QEMU_IMG, *args, status=status, timeout=300)


@pytest.fixture
def secrets(tmp_path):
    return [*secret_object(tmp_path, 'sec0', b'a password'), *secret_object(tmp_path, 'sec1', b'another')]


@pytest.fixture
def volume(tmp_path, secrets):
    path = tmp_path / 'volume.luks'
    checked('create', '-f', 'luks', *secrets, '-o', 'key-secret=sec0,iter-time=10', path, '1M')
    return path


@pytest.mark.parametrize('options', ['detached-header=true', 'cipher-alg=serpent-256,hash-alg=sha512',
                                     'cipher-alg=aes-128,cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha256',
                                     'preallocation=full'])
def test_create(tmp_path, secrets, options):
    checked('create', '-f', 'luks', *secrets, '-o', f'key-secret=sec0,iter-time=10,{options}', tmp_path / 'new.luks',
            '1M')


def test_info(volume):
    checked('info', volume)
    checked('info', '--output=json', volume)


def test_amend(volume, secrets):
    # valgrind does not see what io_uring reads
    image = ['--image-opts', f'driver=luks,key-secret=sec0,file.filename={volume},file.aio=threads']
    checked('amend', *secrets, '-o', 'state=active,new-secret=sec1,keyslot=2,iter-time=10', *image)
    checked('amend', *secrets, '-o', 'state=inactive,old-secret=sec1', *image)


def test_errors(tmp_path, volume, secrets):
    checked('create', '-f', 'luks', *secrets, '-o', 'key-secret=none', tmp_path / 'new.luks', '1M', status=1)
    checked('create', '-f', 'luks', *secrets, '-o', 'colour=red', tmp_path / 'new.luks', '1M', status=1)
    checked('info', tmp_path / 'nowhere', status=1)
    checked('amend', *secrets, '-o', 'state=inactive,keyslot=0', '--image-opts',
            f'driver=luks,key-secret=sec1,file.filename={volume}', status=1)
    checked('amend', *secrets, '-o', 'state=inactive,keyslot=0', '--image-opts',
            f'driver=luks,key-secret=sec0,file.filename={volume}', status=1)
