"""One generator per rule of a LUKS1 header: each makes a good volume break only that rule.

RULES maps a name to (the field that the error must name, the function that breaks the rule, given the path of a
volume with the default cipher, aes-256-xts, whose keyslots 0 and 1 are active, what the rule is needed for).

SPDX-License-Identifier: GPL-2.0-or-later
"""
import os

from luks_header import HEADER_BYTES, SECTOR, get, payload_bytes, put

# What a rule is needed for: any use of the header, deriving keys, using the payload, or only cryptsetup and QEMU.
ANY, KEYS, PAYLOAD, PEERS = range(4)

RULES = {}
U32_MAX = 0xffffffff


def rule(field, slot=None, use=ANY):
    """Register a function that breaks the rule of its name; it gets the path of the volume."""
    def register(function):
        where = field if slot is None else f'keyslot {slot} {field}'
        RULES[function.__name__] = (where, function, use)
        return function
    return register


@rule('version')
def version_zero(path):
    put(path, 'version', 0)


@rule('version')
def version_unknown(path):
    put(path, 'version', 3)


@rule('cipher-name')
def cipher_name_unterminated(path):
    put(path, 'cipher-name', b'aes'.ljust(32, b'x'))


@rule('cipher-name')
def cipher_name_unprintable(path):
    put(path, 'cipher-name', b'aes\x1b[2J')


@rule('cipher-name', use=KEYS)
def cipher_name_unknown(path):
    put(path, 'cipher-name', b'rot13')


@rule('cipher-name', use=KEYS)
def cipher_name_null(path):
    put(path, 'cipher-name', b'cipher_null')


@rule('cipher-mode')
def cipher_mode_unterminated(path):
    put(path, 'cipher-mode', b'xts-plain64'.ljust(32, b'x'))


@rule('cipher-mode')
def cipher_mode_unprintable(path):
    put(path, 'cipher-mode', b'xts-plain64\n')


@rule('cipher-mode', use=KEYS)
def cipher_mode_unknown(path):
    put(path, 'cipher-mode', b'gcm-plain64')


@rule('cipher-mode', use=KEYS)
def cipher_mode_without_ivgen(path):
    put(path, 'cipher-mode', b'xts')


@rule('cipher-mode', use=KEYS)
def cipher_mode_unknown_ivgen(path):
    put(path, 'cipher-mode', b'xts-fancy')


@rule('cipher-mode', use=KEYS)
def cipher_mode_unknown_essiv_hash(path):
    put(path, 'cipher-mode', b'cbc-essiv:whirlpool')


@rule('cipher-mode', use=KEYS)
def cipher_mode_essiv_without_hash(path):
    put(path, 'cipher-mode', b'cbc-essiv')


@rule('hash-spec')
def hash_spec_unterminated(path):
    put(path, 'hash-spec', b'sha256'.ljust(32, b'x'))


@rule('hash-spec')
def hash_spec_unprintable(path):
    put(path, 'hash-spec', b'sha256\x80')


@rule('hash-spec', use=KEYS)
def hash_spec_unknown(path):
    put(path, 'hash-spec', b'whirlpool')


@rule('uuid', use=PEERS)
def uuid_unterminated(path):
    put(path, 'uuid', b'1' * 40)


@rule('uuid', use=PEERS)
def uuid_unprintable(path):
    put(path, 'uuid', b'\x07' * 36)


@rule('key-bytes')
def key_bytes_zero(path):
    put(path, 'key-bytes', 0)


@rule('key-bytes')
def key_bytes_not_of_cipher(path):
    put(path, 'key-bytes', 24)


@rule('key-bytes')
def key_bytes_huge(path):
    put(path, 'key-bytes', U32_MAX)


@rule('payload-offset', use=PAYLOAD)
def payload_offset_beyond_end(path):
    put(path, 'payload-offset', os.path.getsize(path) // SECTOR + 1)


@rule('payload-offset', use=PAYLOAD)
def payload_offset_huge(path):
    put(path, 'payload-offset', U32_MAX)


@rule('mk-digest-iterations')
def digest_iterations_zero(path):
    put(path, 'mk-digest-iterations', 0)


@rule('active', 0)
def slot_state_zero(path):
    put(path, 'active', 0, 0)


@rule('active', 7)
def slot_state_unknown(path):
    put(path, 'active', 0xdeadbeef, 7)


@rule('iterations', 0)
def slot_iterations_zero(path):
    put(path, 'iterations', 0, 0)


@rule('stripes', 0)
def slot_stripes_zero(path):
    put(path, 'stripes', 0, 0)


@rule('stripes', 1)
def slot_stripes_too_many(path):
    put(path, 'stripes', 4001, 1)


@rule('stripes', 5)
def inactive_slot_stripes_huge(path):
    put(path, 'stripes', U32_MAX, 5)


@rule('stripes', 5, use=PEERS)
def inactive_slot_stripes_zero(path):
    put(path, 'stripes', 0, 5)


@rule('key-material-offset', 0)
def slot_material_in_header(path):
    put(path, 'key-material-offset', (HEADER_BYTES - 1) // SECTOR, 0)


@rule('key-material-offset', 3)
def slot_material_in_payload(path):
    put(path, 'key-material-offset', payload_bytes(path) // SECTOR - 1, 3)


@rule('key-material-offset', 7)
def slot_material_beyond_end(path):
    put(path, 'key-material-offset', U32_MAX, 7)


@rule('key-material-offset', 1)
def slot_material_on_another_start(path):
    put(path, 'key-material-offset', get(path, 'key-material-offset', 0), 1)


@rule('key-material-offset', 1)
def slot_material_on_another_end(path):
    last_sector = (get(path, 'key-bytes') * get(path, 'stripes', 0) - 1) // SECTOR
    put(path, 'key-material-offset', get(path, 'key-material-offset', 0) + last_sector, 1)
