"""Images for tests: contents that reveal mistakes, and how to name encrypted ones.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import random

from programs import cryptsetup, debian_qemu_img, qemu_img, secret_object

MIB = 1 << 20
FAST = 'iter-time=10'       # key derivation, for images that protect nothing


def write_pieces(path, length, *pieces, seed=1):
    """A file of LENGTH bytes with random data at each of PIECES, (offset, length), and holes between them."""
    rnd = random.Random(seed)
    with open(path, 'wb') as file:
        file.truncate(length)
        for offset, count in pieces:
            file.seek(offset)
            file.write(rnd.randbytes(count))
    return path


def whole_sectors(data):
    """The contents of a raw file with DATA as programs see it."""
    return data + bytes(-len(data) % 512)


def disk_bytes(path):
    """Bytes that a file takes on disk."""
    return path.stat().st_blocks * 512


def same_space(a, b, more=0):
    """Whether A takes as much on disk as B plus MORE, give or take a few blocks of the file system."""
    return abs(disk_bytes(a) - disk_bytes(b) - more) <= 32768


def luks_opts(path, secret='sec0', **more):
    """The options of a luks node over PATH, for --image-opts."""
    opts = {'driver': 'luks', 'file.filename': path, 'key-secret': secret, **more}
    return ','.join(f'{key}={value}' for key, value in opts.items())


def secret(tmp_path, ident='sec0', password=b'password'):
    return secret_object(tmp_path, ident, password)


def new_luks(directory, size, password=b'password', options=FAST):
    """A new encrypted image a.luks in DIRECTORY."""
    image = directory / 'a.luks'
    qemu_img('create', '-q', '-f', 'luks', *secret(directory, 'new', password), '-o', f'key-secret=new,{options}', image, size)
    return image


def debian_luks(*args):
    """Run QEMU's own qemu-img with a command that derives keys, which sometimes fails to measure its speed."""
    for attempt in range(10):
        done = debian_qemu_img(*args, status=None)
        if done.returncode == 0:
            return done
        assert 'accurate CPU usage' in done.stderr, done.stderr
    assert False, f'failed {attempt + 1} times'


def debian_encrypt(source, target, *options):
    """Encrypt SOURCE with QEMU's own qemu-img."""
    debian_luks('convert', '-O', 'luks', *options, source, target)


def debian_contents(directory, path, password):
    """The plain contents of an encrypted image that nobody has open, as QEMU's own qemu-img reads it."""
    out = directory / 'decrypted'
    debian_qemu_img('convert', *secret_object(directory, 'reader', password), '--image-opts', '-O', 'raw',
                    f'driver=luks,key-secret=reader,file.filename={path}', out)
    return out.read_bytes()


def check_opens(image, password, header=None, status=0):
    """What cryptsetup says of a password: STATUS 0, or 2 if no keyslot opens with it."""
    options = ['--header', header] if header else []
    cryptsetup('open', '--test-passphrase', *options, image, password=password, status=status)
