"""qemu-img keyslot and amend: the passwords of an image.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import json

import pytest

from programs import cryptsetup, debian_qemu_img, qemu_img, qemu_img_json, secret_object

PASSWORDS = {'s0': b'zero', 's1': b'one\0\xfe', 's2': b'two\n'}


@pytest.fixture(name='image')
def fixture_image(tmp_path):
    """An image that s0 opens."""
    image = tmp_path / 'a.luks'
    qemu_img('create', '-q', '-f', 'luks', *secret_object(tmp_path, 's0', PASSWORDS['s0']), '-o',
             'key-secret=s0,iter-time=10', image, '256k')
    return image


@pytest.fixture(name='secrets')
def fixture_secrets(tmp_path):
    """The arguments that define all secrets."""
    return [arg for ident, password in PASSWORDS.items() for arg in secret_object(tmp_path, ident, password)]


def active(image):
    return [slot['slot'] for slot in qemu_img_json('keyslot', 'list', image)['slots'] if slot['active']]


@pytest.fixture(autouse=True, name='json_of_two_words')
def fixture_json_of_two_words(monkeypatch):
    """qemu_img_json() puts --output=json behind one word; "keyslot list" has two."""
    import programs
    plain = programs.qemu_img
    monkeypatch.setattr(programs, 'qemu_img', lambda command, option, *args, **kwargs:
                        plain(command, *args, option, **kwargs))


def opens(image, ident):
    status = cryptsetup('open', '--test-passphrase', image, password=PASSWORDS[ident], status=None).returncode
    assert status in (0, 2)
    return status == 0


def test_list(image):
    slots = qemu_img_json('keyslot', 'list', image)['slots']
    assert [slot['slot'] for slot in slots] == list(range(8))
    assert slots[0]['active'] and slots[0]['stripes'] == 4000 and slots[0]['iters'] >= 1000
    assert set(slots[1]) == {'slot', 'active', 'key-offset'} and not slots[1]['active']
    lines = qemu_img('keyslot', 'list', '-U', image).stdout.splitlines()
    assert lines[1].split()[:2] == ['0', 'active'] and lines[8].split()[:2] == ['7', 'inactive']


def test_list_of_what_has_none(tmp_path):
    raw = tmp_path / 'raw'
    raw.write_bytes(bytes(1 << 20))
    assert 'LUKS' in qemu_img('keyslot', 'list', raw, status=1).stderr
    assert 'no keyslots' in qemu_img('keyslot', 'list', '-f', 'raw', raw, status=1).stderr


def test_add_remove(image, secrets):
    add = ['keyslot', 'add', *secrets, '--iter-time', 10]
    assert qemu_img(*add, '--secret', 's0', '--new-secret', 's1', image).stdout == f"Password added to keyslot 1 of '{image}'.\n"
    assert active(image) == [0, 1] and opens(image, 's0') and opens(image, 's1')
    options = f'driver=luks,key-secret=s1,file.filename={image}'
    qemu_img(*add, '-q', '--new-secret', 's2', '--slot', 5, '--image-opts', options)
    assert active(image) == [0, 1, 5] and opens(image, 's2')

    assert qemu_img('keyslot', 'remove', '--slot', 0, image).stdout == f"Password removed from keyslot 0 of '{image}'.\n"
    assert active(image) == [1, 5] and not opens(image, 's0')
    qemu_img('keyslot', 'remove', *secrets, '--secret', 's2', image)
    assert active(image) == [1] and opens(image, 's1') and not opens(image, 's2')


def test_the_last_password_is_kept(image, secrets):
    before = image.read_bytes()
    for argv in ['--slot', 0], ['--secret', 's0']:
        done = qemu_img('keyslot', 'remove', *secrets, *argv, image, status=1)
        assert 'inaccessible' in done.stderr and '--force' in done.stderr
        assert image.read_bytes() == before
    qemu_img('keyslot', 'remove', '--slot', 0, '--force', image)
    assert active(image) == []


def test_change(image, secrets):
    change = ['keyslot', 'change', *secrets, '--iter-time', 10, '--secret', 's0', '--new-secret', 's1']
    assert qemu_img(*change, image).stdout == \
        f"Password of '{image}' changed: the new one is in keyslot 1, and keyslot 0 is free.\n"
    assert active(image) == [1] and opens(image, 's1') and not opens(image, 's0')
    done = qemu_img(*change, image, status=1)       # s0 opens nothing any more
    assert done.stderr.startswith('qemu-img: ')
    assert active(image) == [1]


def test_full(image, secrets):
    for _ in range(7):
        qemu_img('keyslot', 'add', *secrets, '--iter-time', 10, '--secret', 's0', '--new-secret', 's1', image)
    before = image.read_bytes()
    for argv in [['add', '--secret', 's0', '--new-secret', 's2'], ['change', '--secret', 's0', '--new-secret', 's2']]:
        done = qemu_img('keyslot', argv[0], *secrets, '--iter-time', 10, *argv[1:], image, status=1)
        assert 'keyslot' in done.stderr.lower() and '--force' in done.stderr
        assert image.read_bytes() == before
    qemu_img('keyslot', 'change', *secrets, '--iter-time', 10, '--force', '--secret', 's0', '--new-secret', 's2', image)
    assert opens(image, 's2') and not opens(image, 's0')


def test_json(image, secrets):
    """One object, and nothing else on standard output."""
    def keyslot(*argv):
        return json.loads(qemu_img('keyslot', argv[0], *secrets, '--output=json', '-p', *argv[1:], image).stdout)

    add = ['add', '--iter-time', 10, '--secret', 's0', '--new-secret']
    assert keyslot(*add, 's1') == {'filename': str(image), 'added': 1, 'removed': []}
    assert keyslot(*add, 's1', '--slot', 4, '-q') == {'filename': str(image), 'added': 4, 'removed': []}
    assert keyslot(*add, 's1', '--slot', 4, '--force') == {'filename': str(image), 'added': 4, 'removed': []}
    change = ['change', '--iter-time', 10, '--secret', 's0', '--new-secret', 's2']
    assert keyslot(*change) == {'filename': str(image), 'added': 2, 'removed': [0]}
    assert keyslot(*change[:-3], 's2', '--new-secret', 's0', '--slot', 2) == {'filename': str(image), 'added': 2, 'removed': []}
    assert keyslot('remove', '--secret', 's1') == {'filename': str(image), 'removed': [1, 4]}
    done = qemu_img('keyslot', 'remove', '--output=json', '--slot', 2, image, status=1)
    assert done.stdout == '' and '--force' in done.stderr
    assert keyslot('remove', '--force', '--slot', 2) == {'filename': str(image), 'removed': [2]}


def test_messages_name_the_keyslots(image, secrets):
    add = ['keyslot', 'add', *secrets, '--iter-time', 10, '--secret', 's0', '--new-secret', 's1', '-q', image]
    assert qemu_img(*add).stdout == ''
    qemu_img(*add)
    done = qemu_img('keyslot', 'change', *secrets, '--iter-time', 10, '--secret', 's0', '--new-secret', 's2', '--slot', 0,
                    image)
    assert done.stdout == f"Password in keyslot 0 of '{image}' changed.\n"
    done = qemu_img('keyslot', 'remove', *secrets, '--secret', 's1', image)
    assert done.stdout == f"Password removed from keyslots 1, 2 of '{image}'.\n"


@pytest.mark.parametrize('argv, named', [
    (['add', '--secret', 's1', '--new-secret', 's2'], 'password'),      # s1 does not open it
    (['add', '--secret', 's0'], 'new-secret'),
    (['add', '--new-secret', 's1'], 'key-secret'),
    (['add', '--secret', 's0', '--new-secret', 'nope'], 'nope'),
    (['add', '--secret', 's0', '--new-secret', 's1', '--slot', 0], '0'),
    (['add', '--secret', 's0', '--new-secret', 's1', '--slot', 8], 'keyslot'),
    (['add', '--secret', 's0', '--new-secret', 's1', '--iter-time', 'x'], 'iter-time'),
    (['remove'], 'secret'),
    (['remove', '--slot', 0, '--secret', 's0'], 'mutually exclusive'),
    (['remove', '--slot', 3], '3'),
    (['remove', '--secret', 's1'], 'password'),
    (['change', '--secret', 's1', '--new-secret', 's2'], 'password'),
    (['change', '--secret', 's0'], 'new-secret'),
])
def test_refused(image, secrets, argv, named):
    before = image.read_bytes()
    done = qemu_img('keyslot', argv[0], *([] if argv[0] == 'list' else secrets), *argv[1:], image, status=1)
    assert named in done.stderr.splitlines()[0], done.stderr
    assert done.stdout == ''
    assert image.read_bytes() == before


def amend(image, secrets, options, *args, key='s0', **kwargs):
    return qemu_img('amend', *secrets, '-o', options, *args, '--image-opts',
                    f'driver=luks,key-secret={key},file.filename={image}', **kwargs)


def test_amend(image, secrets):
    amend(image, secrets, 'state=active,new-secret=s1,iter-time=10')
    assert active(image) == [0, 1] and opens(image, 's1')
    amend(image, secrets, 'state=active,new-secret=s2,iter-time=10,keyslot=4', '-p', key='s1')
    assert active(image) == [0, 1, 4] and opens(image, 's2')
    amend(image, secrets, 'state=inactive,old-secret=s1')
    assert active(image) == [0, 4]
    amend(image, secrets, 'state=inactive,keyslot=0')
    assert active(image) == [4] and not opens(image, 's0')
    # A filename will do, with the password among the options.
    qemu_img('amend', *secrets, '-f', 'luks', '-o', 'state=active,new-secret=s0,secret=s2,iter-time=10', image)
    assert active(image) == [0, 4]


def test_amend_rules(image, secrets):
    before = image.read_bytes()
    for options, named in [
            ('state=active,new-secret=s1,keyslot=0', '0'),              # in use
            ('state=inactive,keyslot=0', 'inaccessible'),
            ('state=inactive,old-secret=s0', 'inaccessible'),
            ('state=active', 'new-secret'),
            ('state=inactive', ''),
            ('new-secret=s1', 'state'),
            ('state=maybe', 'maybe'),
            ('state=active,new-secret=s1,keyslot=8', 'keyslot'),
            ('state=active,new-secret=s1,frob=1', 'frob'),
    ]:
        done = amend(image, secrets, options, status=1)
        assert named in done.stderr.splitlines()[0], done.stderr
        assert image.read_bytes() == before, options
    amend(image, secrets, 'state=active,new-secret=s1,keyslot=0,iter-time=10', '--force')
    assert opens(image, 's1')
    amend(image, secrets, 'state=inactive,old-secret=s1', '--force', key='s1')
    assert active(image) == []


def test_wipe_inactive_again(tmp_path, image, secrets):
    """As QEMU does: an inactive keyslot is an error, and wiped again with --force."""
    offset = qemu_img_json('keyslot', 'list', image)['slots'][3]['key-offset']
    before = image.read_bytes()
    done = amend(image, secrets, 'state=inactive,keyslot=3', status=1)
    assert 'not active' in done.stderr and '--force' in done.stderr
    assert image.read_bytes() == before
    debian = debian_qemu_img('amend', *secrets, '-o', 'state=inactive,keyslot=3', '--image-opts',
                             f'driver=luks,key-secret=s0,file.filename={image}', status=1)
    assert 'already erased' in debian.stderr
    amend(image, secrets, 'state=inactive,keyslot=3', '--force')
    after = image.read_bytes()
    assert after[offset:offset + 256000] != before[offset:offset + 256000]
    assert after[:4096] == before[:4096] and active(image) == [0] and opens(image, 's0')
    qemu_img('keyslot', 'remove', '-q', '--slot', 3, '--force', image)
    assert image.read_bytes()[offset:offset + 256000] != after[offset:offset + 256000]


def test_line_feed(tmp_path, image, secrets):
    """A password from a file made with echo: said where it is set, and where it does not open."""
    lf, empty = secret_object(tmp_path, 'lf', b'zero\n'), secret_object(tmp_path, 'empty', b'')
    done = qemu_img('keyslot', 'remove', *lf, '--secret', 'lf', image, status=1)
    assert 'line feed' in done.stderr.splitlines()[1]
    assert 'line feed' not in qemu_img('keyslot', 'remove', *secrets, '--secret', 's1', image, status=1).stderr
    for secret, named in ((lf, "'lf' ends in a line feed"), (empty, "'empty' is empty")):
        ident = named.split("'")[1]
        options = f'key-secret={ident},iter-time=10'
        done = qemu_img('create', '-q', '-f', 'luks', *secret, '-o', options, tmp_path / ident, '64k')
        assert 'warning: ' in done.stderr and named in done.stderr
        volume = tmp_path / f'{ident}.img'
        volume.write_bytes(bytes(4 << 20))
        assert named in qemu_img('format', '-q', *secret, '-o', options, volume).stderr
        done = qemu_img('keyslot', 'add', *secrets, *secret, '--secret', 's0', '--new-secret', ident,
                        '--iter-time', 10, image)
        assert named in done.stderr
    assert active(image) == [0, 1, 2]


def test_amend_mistakes(image):
    assert '-o' in qemu_img('amend', image, status=1).stderr
    assert 'expects FILE' in qemu_img('amend', '-o', 'state=active', status=1).stderr
    assert 'new-secret=' in qemu_img('amend', '-f', 'luks', '-o', 'help').stdout
