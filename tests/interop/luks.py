"""Create, fill and compare LUKS volumes with our programs, cryptsetup and Debian's qemu-img.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import functools
import hashlib
import os
import random
import re
import tempfile

from luks_header import SECTOR, payload_bytes
from programs import cryptsetup, debian_qemu_img, qemu_img, run, secret_object

PASSWORD = 'first p\u00e4ssword'.encode()
OTHER = b'another one'
SIZE = 1 << 20


def payload_file(directory, size=SIZE):
    """A raw file of SIZE bytes, the same each time, without runs of zeroes."""
    path = directory / 'payload.raw'
    path.write_bytes(random.Random(size).randbytes(size))
    return path


def luks_options(image, secret='sec0', header=None):
    """--image-opts of the LUKS volume in file IMAGE."""
    header = f',header.driver=file,header.filename={header}' if header else ''
    return f'driver=luks,file.driver=file,file.filename={image},key-secret={secret}{header}'


def create(img, tmp_path, image, options, password=PASSWORD, size=SIZE):
    """Create IMAGE with the program IMG (qemu_img or debian_qemu_img) and creation OPTIONS."""
    args = ['create', '-q', '-f', 'luks', *secret_object(tmp_path, 'sec0', password),
            '-o', f'key-secret=sec0,iter-time=10,{options}', image, str(size)]
    if img is debian_qemu_img:
        # It sometimes fails because it measures a CPU time of zero.
        for _ in range(4):
            if img(*args, status=None).returncode == 0:
                return
    img(*args)


def fill(img, tmp_path, payload, image, password=PASSWORD, header=None):
    """Write PAYLOAD into the volume in IMAGE."""
    img('convert', '-n', '-f', 'raw', *secret_object(tmp_path, 'sec0', password),
        '--target-image-opts', payload, luks_options(image, header=header))


def holds(img, tmp_path, payload, image, password=PASSWORD, header=None):
    """Whether the volume in IMAGE holds exactly PAYLOAD, as IMG reads it."""
    # Sizes are up to the caller: compare ignores trailing zeroes.
    done = img('compare', '--image-opts', *secret_object(tmp_path, 'sec0', password),
               f'driver=raw,file.driver=file,file.filename={payload}', luks_options(image, header=header), status=None)
    assert done.returncode < 2, done.stderr
    return done.returncode == 0


def opens(image, password=PASSWORD, header=None, slot=None):
    """Whether PASSWORD opens the volume for cryptsetup, in keyslot SLOT if given."""
    args = [f'--header={header}'] if header else []
    args += [f'--key-slot={slot}'] if slot is not None else []
    done = cryptsetup('open', '--test-passphrase', *args, image, password=password, status=None)
    assert done.returncode in (0, 2) or b'No usable keyslot' in done.stderr, done.stderr
    return done.returncode == 0


def volume_key(image, password=PASSWORD, header=None):
    """The volume key, according to cryptsetup."""
    args = [f'--header={header}'] if header else []
    dump = cryptsetup('luksDump', '--dump-volume-key', *args, image, password=password).stdout.decode()
    return bytes.fromhex(re.search(r'MK dump:\s*((?:[0-9a-f]{2}\s+)+)', dump).group(1))


def luks_format(image, cipher='aes-xts-plain64', key_bits=512, hash_alg='sha256', password=PASSWORD, header=None,
                size=SIZE):
    """Let cryptsetup create a LUKS1 volume with a payload of SIZE bytes."""
    with open(image, 'wb') as f:
        f.truncate(size + (0 if header else 4 << 20))
    args = [f'--header={header}'] if header else []
    cryptsetup('luksFormat', '--type=luks1', '--pbkdf-force-iterations=1000', f'--cipher={cipher}',
               f'--key-size={key_bits}', f'--hash={hash_alg}', *args, image, password=password)
    if not header:
        os.truncate(image, payload_bytes(image) + size)


@functools.lru_cache(maxsize=None)
def cryptsetup_knows(cipher, key_bits, hash_alg):
    """Whether cryptsetup and the kernel support this; without device-mapper, some algorithms are missing."""
    with tempfile.NamedTemporaryFile() as f:
        os.truncate(f.name, 4 << 20)
        return cryptsetup('luksFormat', '--type=luks1', '--pbkdf-force-iterations=1000', f'--cipher={cipher}',
                          f'--key-size={key_bits}', f'--hash={hash_alg}', f.name, password=b'x',
                          status=None).returncode == 0


def openssl_encrypt(cipher, key, data, iv=None):
    """DATA encrypted by openssl without padding."""
    args = ['-iv', iv.hex()] if iv else []
    return run('openssl', 'enc', '-e', f'-{cipher}', '-nopad', '-K', key.hex(), *args, input=data, text=False).stdout


def encrypt_cbc(key, ivgen, payload):
    """PAYLOAD as dm-crypt encrypts it with aes-cbc-IVGEN (IVGEN: plain64 or essiv:sha256), computed by openssl."""
    out = b''
    for sector in range(len(payload) // SECTOR):
        iv = sector.to_bytes(16, 'little')
        if ivgen == 'essiv:sha256':
            iv = openssl_encrypt('aes-256-ecb', hashlib.sha256(key).digest(), iv)
        out += openssl_encrypt(f'aes-{len(key) * 8}-cbc', key, payload[sector * SECTOR:(sector + 1) * SECTOR], iv)
    return out


def add_keyslot(tmp_path, image, old=PASSWORD, new=OTHER, *args):
    """Let our qemu-img add password NEW."""
    qemu_img('keyslot', 'add', '-q', *secret_object(tmp_path, 'old', old), *secret_object(tmp_path, 'new', new),
             '--secret', 'old', '--new-secret', 'new', '--iter-time', '10', *args, image)
