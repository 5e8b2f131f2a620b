"""Ciphers, modes and hashes: cryptsetup and Debian's qemu-img read what we create, and the reverse.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import pytest

import luks
from luks_header import payload_bytes
from programs import cryptsetup, debian_qemu_img, qemu_img, qemu_img_json, secret_object

pytestmark = pytest.mark.plain_build
MODES = {
    'xts-plain64': ('xts', 'plain64', None),
    'cbc-essiv:sha256': ('cbc', 'essiv', 'sha256'),
    'cbc-plain64': ('cbc', 'plain64', None),
}
HASHES = ['sha1', 'sha256', 'sha512']
MATRIX = [(bits, mode, hash_alg) for bits in (128, 192, 256) for mode in MODES for hash_alg in HASHES]
# The part that scripts/test --quick runs: each key length, mode and hash once.
QUICK = [(128, 'cbc-plain64', 'sha512'), (192, 'cbc-essiv:sha256', 'sha1'), (256, 'xts-plain64', 'sha256')]
MATRIX = [pytest.param(*case, marks=[] if case in QUICK else pytest.mark.slow) for case in MATRIX]


def create_options(cipher, mode, hash_alg):
    mode, ivgen, ivgen_hash = MODES[mode]
    options = f'cipher-alg={cipher},cipher-mode={mode},ivgen-alg={ivgen},hash-alg={hash_alg}'
    return options + (f',ivgen-hash-alg={ivgen_hash}' if ivgen_hash else '')


def check_info(image, cipher, mode, hash_alg):
    """Our info describes the volume correctly."""
    data = qemu_img_json('info', image)['format-specific']['data']
    mode, ivgen, ivgen_hash = MODES[mode]
    assert data['cipher-alg'] == cipher
    assert data['cipher-mode'] == mode
    assert data['ivgen-alg'] == ivgen
    assert data.get('ivgen-hash-alg') == ivgen_hash
    assert data['hash-alg'] == hash_alg


def key_bits(bits, mode):
    return bits * 2 if mode.startswith('xts') else bits


def check_dump(image, cipher, bits, mode, hash_alg):
    """cryptsetup describes the volume correctly."""
    dump = dict(line.split(':', 1) for line in cryptsetup('luksDump', image).stdout.splitlines() if ':' in line)
    assert dump['Cipher name'].strip() == cipher
    assert dump['Cipher mode'].strip() == mode
    assert dump['Hash spec'].strip() == hash_alg
    assert int(dump['MK bits']) == key_bits(bits, mode)


def debian_knows(bits, mode):
    """Whether Debian's QEMU works: up to 10, it aborts unless the key material is a whole number of sectors."""
    return key_bits(bits, mode) // 8 * 4000 % 512 == 0


def check_on_disk(tmp_path, image, ivgen):
    """What we write to disk equals the ciphertext of openssl."""
    payload = luks.payload_file(tmp_path, 8 * luks.SECTOR)
    luks.fill(qemu_img, tmp_path, payload, image)
    want = luks.encrypt_cbc(luks.volume_key(image), ivgen, payload.read_bytes())
    assert image.read_bytes()[payload_bytes(image):][:len(want)] == want


def check_read_back(tmp_path, image):
    """Each program reads what the other has written."""
    payload = luks.payload_file(tmp_path)
    luks.fill(qemu_img, tmp_path, payload, image)
    assert luks.holds(debian_qemu_img, tmp_path, payload, image)
    payload.write_bytes(payload.read_bytes()[::-1])
    assert not luks.holds(qemu_img, tmp_path, payload, image)
    luks.fill(debian_qemu_img, tmp_path, payload, image)
    assert luks.holds(qemu_img, tmp_path, payload, image)


@pytest.mark.parametrize('bits,mode,hash_alg', MATRIX)
def test_ours_to_cryptsetup(tmp_path, bits, mode, hash_alg):
    image = tmp_path / 'ours.luks'
    luks.create(qemu_img, tmp_path, image, create_options(f'aes-{bits}', mode, hash_alg))
    check_dump(image, 'aes', bits, mode, hash_alg)
    check_info(image, f'aes-{bits}', mode, hash_alg)
    if luks.cryptsetup_knows(f'aes-{mode}', key_bits(bits, mode), hash_alg):
        assert luks.opens(image)
        assert not luks.opens(image, b'wrong')
        assert len(luks.volume_key(image)) * 8 == key_bits(bits, mode)
    if debian_knows(bits, mode):
        check_read_back(tmp_path, image)
    else:
        check_on_disk(tmp_path, image, mode.removeprefix('cbc-'))


@pytest.mark.parametrize('bits,mode,hash_alg', MATRIX)
def test_cryptsetup_to_ours(tmp_path, bits, mode, hash_alg):
    if not luks.cryptsetup_knows(f'aes-{mode}', key_bits(bits, mode), hash_alg):
        pytest.skip('the cryptsetup here cannot')
    image = tmp_path / 'theirs.luks'
    luks.luks_format(image, f'aes-{mode}', key_bits(bits, mode), hash_alg)
    check_info(image, f'aes-{bits}', mode, hash_alg)
    if debian_knows(bits, mode):
        check_read_back(tmp_path, image)
    else:
        check_on_disk(tmp_path, image, mode.removeprefix('cbc-'))


OTHER_CIPHERS = [
    *[(f'{cipher}-{bits}', mode) for cipher in ('serpent', 'twofish') for bits in (128, 192, 256)
      for mode in ('xts-plain64', 'cbc-essiv:sha256') if debian_knows(bits, mode)],
    ('aes-192', 'xts-plain64'), ('cast5-128', 'cbc-plain64'),
]


@pytest.mark.parametrize('cipher,mode', OTHER_CIPHERS)
def test_ours_to_debian(tmp_path, cipher, mode):
    image = tmp_path / 'ours.luks'
    luks.create(qemu_img, tmp_path, image, create_options(cipher, mode, 'sha256'))
    name, bits = cipher.split('-')
    check_dump(image, name, int(bits), mode, 'sha256')
    check_read_back(tmp_path, image)


@pytest.mark.slow
@pytest.mark.parametrize('cipher,mode', [
    ('serpent-256', 'xts-plain64'), ('twofish-256', 'xts-plain64'), ('serpent-128', 'cbc-essiv:sha256'),
    ('twofish-256', 'cbc-plain64'), ('cast5-128', 'cbc-plain64'),
])
def test_debian_to_ours(tmp_path, cipher, mode):
    image = tmp_path / 'theirs.luks'
    luks.create(debian_qemu_img, tmp_path, image, create_options(cipher, mode, 'sha512'))
    check_info(image, cipher, mode, 'sha512')
    check_read_back(tmp_path, image)


@pytest.mark.parametrize('options', [
    'cipher-alg=aes-256,cipher-mode=ctr,ivgen-alg=plain64',
    'cipher-alg=twofish-128,cipher-mode=ctr,ivgen-alg=plain',
    'cipher-alg=aes-128,cipher-mode=ecb',
    'cipher-alg=aes-256,cipher-mode=xts,ivgen-alg=plain,hash-alg=sha224',
    'cipher-alg=aes-256,cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha256,hash-alg=sha384',
    'cipher-alg=serpent-256,cipher-mode=xts,hash-alg=ripemd160',
])
def test_rarer_choices(tmp_path, options):
    image = tmp_path / 'ours.luks'
    luks.create(qemu_img, tmp_path, image, options)
    check_read_back(tmp_path, image)


@pytest.mark.parametrize('options, warns', [
    ('hash-alg=md5', True),
    ('cipher-alg=aes-256,cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=md5', True),
    ('ivgen-hash-alg=md5', False),
])
def test_md5(tmp_path, options, warns):
    """MD5 where QEMU accepts it. With plain64, the default, the hash of the IV generator has no effect."""
    secret = secret_object(tmp_path, 'sec0', luks.PASSWORD)
    image = tmp_path / 'ours.luks'
    done = qemu_img('create', '-q', '-f', 'luks', *secret, '-o', f'key-secret=sec0,iter-time=10,{options}', image, '1M')
    assert ('warning: ' in done.stderr and 'md5' in done.stderr) == warns, done.stderr
    check_read_back(tmp_path, image)
    theirs = tmp_path / 'theirs.luks'
    luks.create(debian_qemu_img, tmp_path, theirs, options)
    check_read_back(tmp_path, theirs)


def test_ripemd160_of_cryptsetup(tmp_path):
    if not luks.cryptsetup_knows('aes-xts-plain64', 512, 'ripemd160'):
        pytest.skip('the cryptsetup here cannot')
    image = tmp_path / 'theirs.luks'
    luks.luks_format(image, hash_alg='ripemd160')
    check_info(image, 'aes-256', 'xts-plain64', 'ripemd160')
    check_read_back(tmp_path, image)
