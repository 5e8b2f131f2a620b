"""Erasing and changing passwords, where the cluster has older copies: snapshots, clones, the trash.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import re

import pytest

from images import FAST, MIB, write_pieces
from programs import cryptsetup, qemu_img, qemu_img_json, secret_object
from qmp import StorageDaemon

PASSWORD, OTHER = b'password', b'another'


@pytest.fixture(name='s0')
def fixture_s0(tmp_path):
    return secret_object(tmp_path, 's0', PASSWORD)


@pytest.fixture(name='volume')
def fixture_volume(ceph, s0):
    """A LUKS volume with a snapshot, a clone of that, and an older image of the same name in the trash."""
    image = ceph.create('8M')
    ceph.rbd('trash', 'mv', image)
    ceph.rbd('create', image, '--size', '8M')
    qemu_img('format', *s0, '-o', f'key-secret=s0,{FAST}', ceph.uri(image))
    ceph.rbd('snap', 'create', '--no-progress', f'{image}@monday')
    ceph.rbd('clone', '--rbd-default-clone-format', '2', f'{image}@monday', f'{image}-clone')
    return image


def names(image):
    return "snapshot 'monday'", f"clone '{image}-clone'", f"image '{image.split('/')[1]}' in the trash (id "


@pytest.mark.parametrize('scope', ['key-material', 'volume'])
def test_erase(ceph, tmp_path, volume, scope):
    """Refused without --force, before anything is written; after that, the report still says so."""
    before = ceph.export(volume, tmp_path / 'image')
    refused = qemu_img('erase', '-q', '--scope', scope, ceph.uri(volume), status=1).stderr
    assert all(name in refused for name in names(volume)) and '--force' in refused
    assert ceph.export(volume, tmp_path / 'image') == before
    report = qemu_img_json('erase', '--force', '--scope', scope, ceph.uri(volume))
    notes = ' '.join(report['layers'][-1]['notes'])
    assert report['assurance'] == 'may-survive' and all(name in notes for name in names(volume))
    # It is the truth.
    for copy in (f'{volume}@monday', f'{volume}-clone'):
        ceph.export(copy, tmp_path / 'copy')
        cryptsetup('open', '--test-passphrase', tmp_path / 'copy', password=PASSWORD)


def test_clone_of_a_volume(ceph, volume):
    """The parent is a copy, too."""
    refused = qemu_img('erase', '-q', ceph.uri(f'{volume}-clone'), status=1).stderr
    assert f"snapshot '{volume}@monday', of which this is a clone" in refused


def test_names_are_printable(ceph, volume):
    """They may hold commands for a terminal."""
    ceph.rbd('snap', 'create', '--no-progress', f'{volume}@\x1b[31mred')
    for argv in ('erase', '-q'), ('erase', '--force'):
        done = qemu_img(*argv, ceph.uri(volume), status=None)
        assert "snapshot '?[31mred'" in done.stderr + done.stdout and '\x1b' not in done.stderr + done.stdout


def test_clone_in_a_namespace(ceph, s0):
    """Its parent is shown with the name that opens it."""
    space = ceph.unused_name()
    ceph.rbd('namespace', 'create', space)
    image = ceph.create('8M', pool=space)
    qemu_img('format', *s0, '-o', f'key-secret=s0,{FAST}', ceph.uri(image))
    ceph.rbd('snap', 'create', '--no-progress', f'{image}@monday')
    ceph.rbd('clone', '--rbd-default-clone-format', '2', f'{image}@monday', f'{image}-clone')
    assert f"clone '{image}-clone'" in qemu_img('erase', '-q', ceph.uri(image), status=1).stderr
    assert f"snapshot '{image}@monday', of which" in qemu_img('erase', '-q', ceph.uri(f'{image}-clone'), status=1).stderr


def test_keyslots(ceph, tmp_path, s0, volume):
    """Taking a password away warns; adding one does not."""
    s1 = secret_object(tmp_path, 's1', OTHER)
    uri = ceph.uri(volume)
    added = qemu_img('keyslot', 'add', *s0, *s1, '--secret', 's0', '--new-secret', 's1', '--iter-time', '10', uri)
    assert 'snapshot' not in added.stderr
    changed = qemu_img('keyslot', 'change', *s0, *s1, '--secret', 's0', '--new-secret', 's1', '--slot', '5',
                       '--iter-time', '10', uri)
    assert all(name in changed.stderr for name in names(volume)) and 'warning:' in changed.stderr
    removed = qemu_img('keyslot', 'remove', '--slot', '5', uri)
    assert all(name in removed.stderr for name in names(volume))
    qemu_img('keyslot', 'add', *s0, *s1, '--secret', 's1', '--new-secret', 's0', '--iter-time', '10', uri)
    amended = qemu_img('amend', *s0, '-o', 'state=inactive,old-secret=s0', uri)
    assert all(name in amended.stderr for name in names(volume))
    # A header in a local file is not in the snapshots.
    header = tmp_path / 'header'
    qemu_img('format', *s0, '-o', f'key-secret=s0,{FAST}', '--header', header, '--force', uri)
    assert not qemu_img('keyslot', 'remove', '--force', '--slot', '0', '--header', header, uri).stderr


def test_jobs(ceph, tmp_path, volume):
    """query-jobs has the warning, and the erase needs force."""
    with StorageDaemon(tmp_path) as daemon:
        daemon.qmp.cmd('blockdev-add', driver='rbd', node_name='n0', pool='rbd', image=volume.split('/')[1],
                       conf=str(ceph.conf))
        (tmp_path / 's0').write_bytes(PASSWORD)
        (tmp_path / 's1').write_bytes(OTHER)
        for secret in 's0', 's1':
            daemon.qmp.cmd('object-add', qom_type='secret', id=secret, file=str(tmp_path / secret))
        daemon.qmp.cmd('blockdev-add', driver='luks', node_name='l0', file='n0', key_secret='s0')
        job = daemon.qmp.run_job('blockdev-keyslot-change', 'j0', node_name='l0', old_secret='s0', new_secret='s1',
                                 iter_time=10)
        assert 'error' not in job and all(name in job['warnings'][0] for name in names(volume))
        job = daemon.qmp.run_job('blockdev-secure-erase', 'j0', node_name='l0')
        assert all(name in job['error'] for name in names(volume))
        job = daemon.qmp.run_job('blockdev-secure-erase', 'j0', node_name='l0', force=True)
        assert job['report']['assurance'] == 'may-survive'


def test_header_image(ceph, tmp_path, s0):
    """A header in an image with a snapshot, its payload in a file: messages name the header's image."""
    header, payload = ceph.create('4M'), write_pieces(tmp_path / 'payload', MIB)
    qemu_img('format', *s0, '-o', f'key-secret=s0,{FAST}', '--header', ceph.uri(header), '--force', payload)
    ceph.rbd('snap', 'create', '--no-progress', f'{header}@monday')
    expected = f"node '{ceph.uri(header)}': snapshot 'monday'"
    volume = '--header', ceph.uri(header), payload
    removed = qemu_img('keyslot', 'remove', '--force', '--slot', '0', *volume).stderr
    assert 'warning:' in removed and expected in removed
    for scope in 'key-material', 'volume':
        refused = qemu_img('erase', '-q', '--scope', scope, *volume, status=1).stderr
        assert expected in refused and '--force' in refused
    report = qemu_img_json('erase', '--force', *volume)
    notes = [note for layer in report['layers'] for note in layer['notes']]
    assert report['assurance'] == 'may-survive' and "snapshot 'monday' still has the old data" in notes
    ceph.export(f'{header}@monday', tmp_path / 'copy')
    cryptsetup('open', '--test-passphrase', '--header', tmp_path / 'copy', payload, password=PASSWORD)


def test_group(ceph, volume):
    """The snapshot of a group has the name that rbd group snap rm takes."""
    group = f'{volume}-group'
    ceph.rbd('group', 'create', group)
    ceph.rbd('group', 'image', 'add', group, volume)
    ceph.rbd('group', 'snap', 'create', f'{group}@tuesday')
    refused = qemu_img('erase', '-q', ceph.uri(volume), status=1).stderr
    assert f"snapshot 'tuesday' of group '{group.split('/')[1]}'" in refused and '.group.' not in refused


def test_flush_after_each_pass(ceph, tmp_path, s0):
    """As librbd's log has it: every pass over a region ends with a flush, and what was written last is read back."""
    image, log, conf = ceph.create('8M'), tmp_path / 'log', tmp_path / 'ceph.conf'
    qemu_img('format', *s0, '-o', f'key-secret=s0,{FAST}', ceph.uri(image))
    conf.write_text(f'{ceph.conf.read_text()}[client]\nlog file = {log}\ndebug rbd = 20\n')
    qemu_img('erase', '--force', '--passes', '2', f'rbd:{image}:conf={conf}')
    calls = re.findall(r'librbd::api::Io aio_(\w)\w+: .*?(?:off=(\d+), len=(\d+)|$)', log.read_text(), re.MULTILINE)
    ops = ''.join(call[0] for call in calls)
    assert re.fullmatch('r*(wfwfr){9,}r*', ops)
    for first in (match.start() for match in re.finditer('wfwfr', ops)):
        assert len({call[1:] for call in calls[first:first + 5:2]}) == 1
