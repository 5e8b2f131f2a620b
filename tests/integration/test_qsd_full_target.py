"""Backup and mirror to a file system that is full: after room was made, the job goes on.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import os

import pytest

from disks import MIB, SIZE, Disks
from programs import run
from qmp import StorageDaemon

pytestmark = pytest.mark.threads


@pytest.fixture(name='small_disk')
def fixture_small_disk(tmp_path):
    """A file system with room for half of a disk and, once the file 'ballast' is gone, for all of it."""
    path = tmp_path / 'small'
    path.mkdir()
    size = SIZE + 2 * MIB
    if os.geteuid() != 0 or run('mount', '-t', 'tmpfs', '-o', f'size={size}', 'tmpfs', path, status=None).returncode:
        pytest.skip('cannot mount a file system')
    try:
        (path / 'ballast').write_bytes(bytes(size - SIZE // 2))
        yield path
    finally:
        run('umount', path)


@pytest.mark.parametrize('policy', ['stop', 'enospc'])
@pytest.mark.parametrize('command', ['blockdev-backup', 'blockdev-mirror'])
def test_room_is_made(tmp_path, small_disk, command, policy):
    with StorageDaemon(tmp_path) as daemon:
        disks = Disks(tmp_path, daemon)
        qmp = disks.qmp
        before = disks.add('a', target=False)
        target = small_disk / 'a'
        target.write_bytes(b'')
        os.truncate(target, SIZE)
        qmp.cmd('blockdev-add', driver='file', node_name='a-target', filename=str(target))
        qmp.cmd(command, job_id='j', device='a', target='a-target', sync='full', on_target_error=policy)
        event = qmp.wait_event('BLOCK_JOB_ERROR', device='j')['data']
        assert event == {'device': 'j', 'operation': 'write', 'action': 'stop'}
        qmp.wait_event('JOB_STATUS_CHANGE', id='j', status='paused')
        assert qmp.cmd('query-block-jobs')[0]['io-status'] == 'nospace'
        client = disks.connect('a')
        assert client.pread(SIZE, 0) == before
        (small_disk / 'ballast').unlink()
        client.pwrite(b'x' * MIB, 15 * MIB)
        qmp.cmd('block-job-resume', device='j')
        if command == 'blockdev-mirror':
            qmp.wait_event('BLOCK_JOB_READY', device='j')
            before = before[:15 * MIB] + b'x' * MIB
            qmp.cmd('block-job-complete', device='j')
        event = qmp.wait_event('BLOCK_JOB_COMPLETED', device='j')['data']
        assert 'error' not in event
        qmp.wait_event('JOB_STATUS_CHANGE', id='j', status='null')
        assert target.read_bytes() == before
