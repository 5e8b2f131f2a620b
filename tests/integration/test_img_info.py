"""qemu-img info and check, with the command lines of Nova, Cinder, vdsm, Proxmox and libguestfs.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import json
import resource
import subprocess

import pytest

from images import new_luks
from programs import debian_qemu_img, qemu_img, qemu_img_json


@pytest.fixture(name='luks')
def fixture_luks(tmp_path):
    """An encrypted image of 1 MiB."""
    return new_luks(tmp_path, '1M', b'pw', 'iter-time=10,hash-alg=sha1,cipher-alg=aes-128')


@pytest.fixture(name='raw')
def fixture_raw(tmp_path):
    """A plain image of 3 MiB."""
    image = tmp_path / 'a.raw'
    image.write_bytes(b'boot' + bytes((3 << 20) - 4))
    return image


def test_json_matches_qemus(luks, raw):
    """Every key of Debian's QEMU 7.2 has the same value; ours has newer ones, too."""
    for image, extra in (raw, {'children', 'format-specific'}), (luks, {'children'}):
        mine = qemu_img_json('info', image)
        theirs = json.loads(debian_qemu_img('info', '--output=json', image).stdout)
        assert set(mine) - set(theirs) <= extra
        for key, value in theirs.items():
            if key == 'format-specific':
                assert set(mine[key]['data']) - set(value['data']) == {'detached-header'}
                assert {k: mine[key]['data'][k] for k in value['data']} == value['data']
            else:
                assert mine[key] == value, key


def test_children(luks):
    child = qemu_img_json('info', luks)['children'][0]
    assert child['name'] == 'file'
    assert child['info']['format'] == 'file'
    assert child['info']['virtual-size'] == luks.stat().st_size
    assert child['info']['filename'] == str(luks)


def test_json_layout(raw):
    """Four spaces per level, as QEMU prints it."""
    lines = qemu_img('info', '--output=json', raw).stdout.splitlines()
    assert lines[0] == '{' and lines[-1] == '}'
    assert lines[1].startswith('    "') and '": ' in lines[1]


def test_human_lines_are_qemus(luks, raw):
    for image in luks, raw:
        mine = set(qemu_img('info', image).stdout.splitlines())
        theirs = set(debian_qemu_img('info', image).stdout.splitlines())
        assert theirs - mine <= {'disk size: 0 B'}
    assert "Child node '/file':" in qemu_img('info', luks).stdout


def test_limits(raw):
    assert 'limits' not in qemu_img_json('info', raw)
    assert qemu_img_json('info', '--limits', raw)['limits']['request-alignment'] >= 1
    assert 'Block limits:' in qemu_img('info', '--limits', raw).stdout


def test_backing_chain_as_proxmox(luks):
    chain = json.loads(qemu_img('info', '--output=json', luks, '-f', 'luks', '--backing-chain').stdout)
    assert [image['format'] for image in chain] == ['luks']


def test_as_nova(luks):
    done = qemu_img('info', luks, '--force-share', '--output=json', '-f', 'luks')
    assert json.loads(done.stdout)['encrypted'] is True


def test_as_cinder(raw):
    assert qemu_img_json('info', '-f', 'raw', raw)['format'] == 'raw'
    done = qemu_img('info', '-f', 'luks', '--output=json', raw, status=1)
    assert done.stdout == '' and 'LUKS' in done.stderr


def limited():
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    resource.setrlimit(resource.RLIMIT_CPU, (10, 10))


@pytest.mark.plain_build
def test_under_limits(luks):
    done = qemu_img('info', '-U', '--output', 'json', luks, preexec_fn=limited)
    assert json.loads(done.stdout)['format'] == 'luks'


def test_json_filename_as_libguestfs(raw):
    name = json.dumps({'file': {'driver': 'raw', 'offset': 512, 'size': 512, 'file': {'filename': str(raw)}}})
    assert json.loads(qemu_img('info', '--output=json', 'json:' + name).stdout)['virtual-size'] == 512


def test_while_in_use(luks):
    """With or without -U, metadata can be inspected while another program writes."""
    with subprocess.Popen(['/usr/bin/qemu-io', '-f', 'raw', luks], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as other:
        other.stdin.write(b'length\n')
        other.stdin.flush()
        other.stdout.readline()
        done = qemu_img('info', '-U', luks)
        other.communicate(b'quit\n')
    assert 'file format: luks' in done.stdout


@pytest.mark.parametrize('argv, named', [
    (['none'], 'none'),
    (['-f', 'qcow9', 'a.raw'], 'qcow9'),
    (['--image-opts', 'driver=frob'], 'frob'),
    (['--image-opts', 'driver=raw,file.filename=a.raw,frob=1'], 'frob'),
    (['--image-opts', 'driver=raw'], 'file'),
    (['json:{'], 'JSON'),
    (['.'], '.'),
])
def test_failures(raw, argv, named):
    done = qemu_img('info', *argv, status=1, cwd=raw.parent)
    assert done.stderr.startswith('qemu-img: ') and named in done.stderr.splitlines()[0]
    assert done.stdout == ''


def test_check_raw_is_not_supported(raw):
    done = qemu_img('check', raw, status=63)
    assert done.stderr == 'qemu-img: This image format does not support checks\n'


def test_check_luks_as_vdsm(luks):
    check = qemu_img_json('check', luks)
    assert check['image-end-offset'] == luks.stat().st_size
    assert check['check-errors'] == 0 and check.get('corruptions', 0) == 0
    assert qemu_img('check', luks).stdout.startswith('No errors were found on the image.\n')


def test_check_damaged(luks):
    data = bytearray(luks.read_bytes())
    data[208 + 3] ^= 0x55           # "active" of keyslot 0
    luks.write_bytes(data)
    done = qemu_img('check', luks, status=2)
    assert 'keyslot 0' in done.stdout
    done = qemu_img('check', '--output=json', '-f', 'luks', luks, status=2)
    assert json.loads(done.stdout)['corruptions'] == 1


@pytest.mark.parametrize('start, named', [
    (b'boot', 'LUKS'),                          # none at all
    (b'LUKS\xba\xbe\0\2', '2'),                # LUKS2
])
def test_check_not_luks(raw, start, named):
    raw.write_bytes(start + bytes((3 << 20) - len(start)))
    assert named in qemu_img('check', '-f', 'luks', raw, status=1).stderr


def test_check_unsupported_is_not_damage(luks):
    data = bytearray(luks.read_bytes())
    data[8:11] = b'rot'             # the cipher's name
    luks.write_bytes(data)
    assert 'rot' in qemu_img('check', luks, status=1).stderr


def test_check_detached(luks, tmp_path):
    data = luks.read_bytes()
    header, payload = tmp_path / 'header', tmp_path / 'payload'
    header.write_bytes(data[:-(1 << 20)])
    payload.write_bytes(data)
    options = f'driver=luks,file.filename={payload},header.filename={header}'
    assert qemu_img_json('check', '--image-opts', options)['image-end-offset'] == len(data)
    header.write_bytes(data[:512])
    qemu_img('check', '--image-opts', options, status=2)


def test_check_bad_repair_mode(luks):
    assert 'most' in qemu_img('check', '-r', 'most', luks, status=1).stderr
