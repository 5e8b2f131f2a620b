"""qemu-img erase on real file systems: what the report says about them, and whether it is true.

Needs root for the mounts; what cannot be had is skipped.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import contextlib
import os
import shutil
import subprocess

import pytest

from programs import cryptsetup, qemu_img, qemu_img_json, run, secret_object

PASSWORD = b'open sesame'
KEY_MATERIAL = slice(4096, 4096 + 250 * 1024)
SBIN = os.environ['PATH'] + ':/usr/sbin:/sbin'


def try_run(*argv):
    done = subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False,
                          env={**os.environ, 'PATH': SBIN})
    if done.returncode != 0:
        pytest.skip(f'{argv[0]}: {done.stderr.decode().strip()}')


@contextlib.contextmanager
def mounted(tmp_path, mkfs, size, *mount_options):
    """A file system in a file: yields its mount point and the file."""
    disk, where = tmp_path / 'disk', tmp_path / 'mnt'
    if not shutil.which(mkfs[0], path=SBIN):
        pytest.skip(f'no {mkfs[0]}')
    with open(disk, 'wb') as file:
        file.truncate(size)
    try_run(*mkfs, disk)
    where.mkdir()
    try_run('mount', '-o', ','.join(('loop', *mount_options)), disk, where)
    try:
        yield where, disk
    finally:
        run('umount', where)


def make_image(tmp_path, path):
    qemu_img('create', '-q', '-f', 'luks', *secret_object(tmp_path, 's', PASSWORD), '-o',
             'key-secret=s,iter-time=10', path, '1M')
    run('sync')
    return path.read_bytes()[KEY_MATERIAL]


def opens(image):
    return cryptsetup('open', '--test-passphrase', image, password=PASSWORD, status=None).returncode == 0


def erase_notes(image):
    report = qemu_img_json('erase', '--scope', 'key-material', image)
    layer = next(layer for layer in report['layers'] if layer['driver'] == 'file')
    assert not opens(image)
    return layer['assurance'], '\n'.join(layer['notes'])


def is_on(disk, material):
    """Whether any sector of the key material is left on the disk."""
    run('sync')
    data = disk.read_bytes()
    sectors = {data[at:at + 512] for at in range(0, len(data), 512)}
    return any(material[at:at + 512] in sectors for at in range(0, len(material), 512))


def test_ext4(tmp_path):
    with mounted(tmp_path, ['mkfs.ext4', '-q', '-F'], 64 << 20) as (where, disk):
        material = make_image(tmp_path, where / 'a.luks')
        assert is_on(disk, material)
        assurance, notes = erase_notes(where / 'a.luks')
        assert 'ext4: overwrites in place' in notes
        assert f'loop device on {disk}' in notes
        assert 'shared' not in notes
        assert assurance in ('overwritten', 'may-survive', 'unknown')   # depends on the disk below
        assert not is_on(disk, material)


def test_ext4_data_journal(tmp_path):
    with mounted(tmp_path, ['mkfs.ext4', '-q', '-F'], 64 << 20, 'data=journal') as (where, _disk):
        make_image(tmp_path, where / 'a.luks')
        assurance, notes = erase_notes(where / 'a.luks')
        assert assurance in ('may-survive', 'unknown')
        assert 'ext4: content goes through the journal' in notes


@pytest.mark.parametrize('mkfs', [['mkfs.xfs', '-q'], ['mkfs.btrfs', '-q']], ids=['xfs', 'btrfs'])
def test_reflink(tmp_path, mkfs):
    with mounted(tmp_path, mkfs, 320 << 20) as (where, disk):
        material = make_image(tmp_path, where / 'a.luks')
        try_run('cp', '--reflink=always', where / 'a.luks', where / 'b.luks')
        assurance, notes = erase_notes(where / 'a.luks')
        assert assurance in ('may-survive', 'unknown')
        assert 'shared with another file' in notes or 'btrfs: writes new content elsewhere' in notes
        assert opens(where / 'b.luks')
        assert is_on(disk, material)


def test_tmpfs(tmp_path):
    where = tmp_path / 'mnt'
    where.mkdir()
    try_run('mount', '-t', 'tmpfs', '-o', 'size=16M', 'none', where)
    try:
        make_image(tmp_path, where / 'a.luks')
        assurance, notes = erase_notes(where / 'a.luks')
        with open('/proc/swaps', encoding='ascii') as swaps:
            assert assurance == ('overwritten' if len(swaps.readlines()) == 1 else 'may-survive')
        assert 'tmpfs: overwrites in memory' in notes
    finally:
        run('umount', where)


def test_overlay(tmp_path):
    lower, upper, work, where = (tmp_path / name for name in ('lower', 'upper', 'work', 'mnt'))
    for path in (lower, upper, work, where):
        path.mkdir()
    make_image(tmp_path, lower / 'a.luks')
    try_run('mount', '-t', 'overlay', '-o', f'lowerdir={lower},upperdir={upper},workdir={work}', 'none', where)
    try:
        assurance, notes = erase_notes(where / 'a.luks')
        assert (assurance, opens(lower / 'a.luks')) == ('may-survive', True)
        assert 'lower layer' in notes
    finally:
        run('umount', where)


def test_block_device(tmp_path):
    disk = tmp_path / 'disk'
    make_image(tmp_path, disk)
    done = subprocess.run(['losetup', '-f', '--show', disk], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          env={**os.environ, 'PATH': SBIN}, text=True, check=False)
    if done.returncode != 0:
        pytest.skip('cannot make a loop device')
    device = done.stdout.strip()
    try:
        report = qemu_img_json('erase', '--scope', 'key-material', device)
        layer = next(layer for layer in report['layers'] if layer['driver'] == 'host_device')
        assert f'{os.path.basename(device)}: loop device on {disk}' in layer['notes']
    finally:
        run('losetup', '-d', device)
    assert not opens(disk)
