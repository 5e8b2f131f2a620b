"""A LUKS1 header for tests that read and damage it (LUKS On-Disk Format Specification 1.2.3, section 2).

SPDX-License-Identifier: GPL-2.0-or-later
"""
import struct

SECTOR = 512
MAGIC = b'LUKS\xba\xbe'
HEADER_BYTES = 592
SLOTS = 8
SLOT_ACTIVE = 0x00AC71F3
SLOT_INACTIVE = 0x0000DEAD

# name: (offset, struct format)
FIELDS = {
    'magic': (0, '6s'),
    'version': (6, '>H'),
    'cipher-name': (8, '32s'),
    'cipher-mode': (40, '32s'),
    'hash-spec': (72, '32s'),
    'payload-offset': (104, '>I'),
    'key-bytes': (108, '>I'),
    'mk-digest': (112, '20s'),
    'mk-digest-salt': (132, '32s'),
    'mk-digest-iterations': (164, '>I'),
    'uuid': (168, '40s'),
}
SLOT_FIELDS = {
    'active': (0, '>I'),
    'iterations': (4, '>I'),
    'salt': (8, '32s'),
    'key-material-offset': (40, '>I'),
    'stripes': (44, '>I'),
}


def _place(field, slot):
    if slot is None:
        return FIELDS[field]
    offset, form = SLOT_FIELDS[field]
    return 208 + 48 * slot + offset, form


def get(path, field, slot=None):
    """The value of a field of the header in file PATH; offsets are in sectors."""
    offset, form = _place(field, slot)
    with open(path, 'rb') as f:
        f.seek(offset)
        return struct.unpack(form, f.read(struct.calcsize(form)))[0]


def put(path, field, value, slot=None):
    """Overwrite a field of the header in file PATH."""
    offset, form = _place(field, slot)
    with open(path, 'r+b') as f:
        f.seek(offset)
        f.write(struct.pack(form, value))


def payload_bytes(path):
    """Offset of the payload in bytes."""
    return get(path, 'payload-offset') * SECTOR


def material(path, slot):
    """Location of the key material of a slot: (offset, length) in bytes."""
    length = get(path, 'key-bytes') * get(path, 'stripes', slot)
    return get(path, 'key-material-offset', slot) * SECTOR, length
