"""virsh of a real libvirt on LUKS volumes in a directory, with our qemu-img first in libvirt's PATH.

libvirtd runs as somebody without privileges, as every user may, with all that it keeps in a directory of ours. It has
no option for how long a password may take: what it finds as qemu-img adds iter-time=10, and leaves the rest alone.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import os
import pathlib
import shutil
import subprocess
import tempfile

import pytest

from luks import OTHER, PASSWORD, create, fill, holds, opens, payload_file
from luks_header import payload_bytes
from nbd_server import is_listening, wait_until
from programs import QEMU_IMG, SYSTEM_ENV, cryptsetup, debian_qemu_img, password_file, qemu_img, run

MIB = 1 << 20
LIBVIRTD = shutil.which('libvirtd', path=SYSTEM_ENV['PATH'])
pytestmark = pytest.mark.skipif(not LIBVIRTD or not shutil.which('virsh'), reason='needs libvirtd and virsh')
# As root, libvirtd would be that of the system.
NOBODY = {'user': 65534, 'group': 65534, 'extra_groups': []} if os.geteuid() == 0 else {}
SECRETS = {'first': '5ec2e700-0000-4000-8000-000000000001', 'other': '5ec2e700-0000-4000-8000-000000000002'}
CIPHERS = {
    None: '',
    'aes-cbc-essiv:sha256': "<cipher name='aes' size='128' mode='cbc' hash='sha1'/><ivgen name='essiv' hash='sha256'/>",
    'rot13': "<cipher name='rot13' size='256' mode='xts' hash='sha256'/><ivgen name='plain64'/>",
}


QEMU_IMG_SCRIPT = '''#!/bin/sh
echo "$*" >>{top}/qemu-img.log
for arg; do
  shift
  case $arg in key-secret=*) arg=$arg,iter-time=10 ;; esac
  set -- "$@" "$arg"
done
exec {top}/bin/ours "$@"
'''


def give(path):
    """Give PATH to the user that libvirtd runs as."""
    if NOBODY:
        os.chown(path, NOBODY['user'], NOBODY['group'])
    return path


class Libvirt:
    """A libvirtd, controlled with virsh. It has the secrets "first" and "other", and the storage pool "pool"."""

    def __init__(self, top):
        self.top = top
        self.pool = top / 'pool'
        self.socket = top / 'run' / 'libvirt' / 'libvirt-sock'
        self._log = top / 'qemu-img.log'
        self._process = None
        # Log files of sanitizers are named after the process id, and an earlier one may belong to root.
        sanitizers = {key: value.replace('/sanitizer/log', '/sanitizer/virsh') for key, value in os.environ.items()
                      if key.endswith('SAN_OPTIONS')}
        self._how = {**NOBODY, 'cwd': top, 'env': {
            **os.environ, **sanitizers, 'LC_ALL': 'C.UTF-8', 'PATH': f'{top}/bin:{SYSTEM_ENV["PATH"]}', 'HOME': str(top),
            'XDG_RUNTIME_DIR': str(top / 'run'),
            **{f'XDG_{what.upper()}_HOME': str(top / what) for what in ('config', 'cache', 'data', 'state')}}}

    def __enter__(self):
        for name in ('bin', 'run', 'pool'):
            (self.top / name).mkdir()
        # A copy, since an unprivileged user may lack access to the build directory.
        shutil.copy(QEMU_IMG, self.top / 'bin' / 'ours')
        program = self.top / 'bin' / 'qemu-img'
        program.write_text(QEMU_IMG_SCRIPT.format(top=self.top), encoding='utf-8')
        program.chmod(0o755)
        for path in (self.top, *self.top.iterdir()):
            give(path)
        self._process = subprocess.Popen([LIBVIRTD], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                         stderr=subprocess.PIPE, text=True, **self._how)
        try:
            wait_until(lambda: is_listening(self.socket) or self._process.poll() is not None, 'libvirtd to listen')
            assert self._process.poll() is None, self._process.stderr.read()
            for name, password in (('first', PASSWORD), ('other', OTHER)):
                self.virsh('secret-define', self.file(
                    f"<secret ephemeral='yes' private='yes'><uuid>{SECRETS[name]}</uuid></secret>"), driver='secret')
                self.set_secret(name, password)
            self.virsh('pool-create-as', 'pool', 'dir', '--target', self.pool)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self._process.terminate()
        try:
            self._process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            raise

    def virsh(self, *args, driver='storage', **kwargs):
        """Run virsh ARGS."""
        return run('virsh', '-q', '-c', f'{driver}+unix:///session?socket={self.socket}', *args, **self._how, **kwargs)

    def file(self, text):
        """A file that contains TEXT."""
        path = self.top / 'argument'
        path.write_text(text, encoding='utf-8')
        return give(path)

    def set_secret(self, name, password):
        """Change the value of a secret."""
        path = give(password_file(self.top, password))
        self.virsh('secret-set-value', SECRETS[name], '--plain', '--file', path, driver='secret')

    def volume(self, name, size, secret='first', cipher=None):
        """A file with the description of a volume, encrypted unless SECRET is None."""
        encryption = secret and (f"<encryption format='luks'><secret type='passphrase' uuid='{SECRETS[secret]}'/>"
                                 f'{CIPHERS[cipher]}</encryption>')
        return self.file(f"<volume><name>{name}</name><capacity unit='bytes'>{size}</capacity><target>"
                         f"<format type='raw'/>{encryption or ''}</target></volume>")

    def ran(self):
        """The subcommands of our qemu-img that libvirt has run since the last call."""
        commands = [line.split()[0] for line in self._log.read_text().splitlines()] if self._log.exists() else []
        self._log.unlink(missing_ok=True)
        return commands

    def volumes(self):
        """The names of all volumes, which must equal those of all files."""
        names = sorted(line.split()[0] for line in self.virsh('vol-list', 'pool').stdout.splitlines() if line.strip())
        assert names == sorted(os.listdir(self.pool))
        return names

    def info(self, name):
        """{name: value} of vol-info, in bytes."""
        lines = self.virsh('vol-info', '--bytes', name, 'pool').stdout.splitlines()
        return {key: value.strip() for key, _, value in (line.partition(':') for line in lines)}


@pytest.fixture(name='libvirt')
def fixture_libvirt():
    """A libvirtd that must leave no temporary files with passwords behind."""
    with tempfile.TemporaryDirectory(prefix='virsh-') as top, Libvirt(pathlib.Path(top)) as libvirt:
        yield libvirt
        assert not list(libvirt.top.glob('run/**/*secret.*'))


@pytest.mark.parametrize('cipher', [cipher for cipher in CIPHERS if cipher != 'rot13'])
def test_create_and_delete(libvirt, cipher):
    libvirt.virsh('vol-create', 'pool', libvirt.volume('v', 4 * MIB, cipher=cipher))
    assert libvirt.ran() == ['create'] and libvirt.volumes() == ['v']
    path = libvirt.pool / 'v'
    assert libvirt.info('v')['Capacity'] == f'{4 * MIB} bytes'
    assert path.stat().st_size == payload_bytes(path) + 4 * MIB
    assert opens(path) and not opens(path, OTHER)
    dump = cryptsetup('luksDump', path).stdout.split()
    name, _, mode = (cipher or 'aes-xts-plain64').partition('-')
    assert name in dump and mode in dump
    libvirt.virsh('vol-delete', 'v', 'pool')
    assert libvirt.volumes() == [] and libvirt.ran() == []


def test_wipe(libvirt):
    """A volume that libvirt has wiped is no longer a LUKS volume."""
    libvirt.virsh('vol-create', 'pool', libvirt.volume('v', MIB))
    size = (libvirt.pool / 'v').stat().st_size
    libvirt.virsh('vol-wipe', 'v', 'pool')
    assert (libvirt.pool / 'v').read_bytes() == bytes(size)
    libvirt.virsh('pool-refresh', 'pool')
    assert libvirt.info('v')['Capacity'] == f'{size} bytes'


def test_clone(libvirt, tmp_path):
    """Clone a plain volume to an encrypted one, that to another and to the same password, and back to plain."""
    data = payload_file(tmp_path, 4 * MIB)
    libvirt.virsh('vol-create-as', 'pool', 'plain', '4M', '--format', 'raw')
    libvirt.virsh('vol-upload', 'plain', give(shutil.copy(data, libvirt.top)), 'pool')
    libvirt.ran()
    for name, source, secret in (('a', 'plain', 'first'), ('b', 'a', 'other'), ('back', 'b', None)):
        libvirt.virsh('vol-create-from', 'pool', libvirt.volume(name, 4 * MIB, secret), '--inputpool', 'pool', source)
        assert libvirt.ran() == ['create', 'convert']
    libvirt.virsh('vol-clone', 'b', 'c', 'pool')
    assert libvirt.ran() == ['create', 'convert']
    assert libvirt.volumes() == ['a', 'b', 'back', 'c', 'plain']
    assert (libvirt.pool / 'back').read_bytes() == data.read_bytes()
    for name, password in (('a', PASSWORD), ('b', OTHER), ('c', OTHER)):
        assert holds(debian_qemu_img, tmp_path, data, libvirt.pool / name, password)
        assert not opens(libvirt.pool / name, PASSWORD if password == OTHER else OTHER)


def test_resize(libvirt, tmp_path):
    """Grow, and shrink if asked to; the remaining data is the same."""
    data = payload_file(tmp_path, 6 * MIB)
    libvirt.virsh('vol-create', 'pool', libvirt.volume('v', 16 * MIB))
    path = libvirt.pool / 'v'
    header = payload_bytes(path)
    fill(debian_qemu_img, tmp_path, data, path)
    libvirt.ran()
    libvirt.virsh('vol-resize', 'v', '24M', 'pool')
    assert path.stat().st_size == header + 24 * MIB
    libvirt.virsh('vol-resize', 'v', '-12M', 'pool', '--delta', '--shrink')
    assert path.stat().st_size == header + 12 * MIB
    assert libvirt.ran() == ['resize', 'resize']
    assert libvirt.info('v')['Capacity'] == f'{12 * MIB} bytes'
    # The rest was never written, and decrypts to noise.
    os.truncate(path, header + 6 * MIB)
    assert holds(debian_qemu_img, tmp_path, data, path)


def test_refused_to_create(libvirt):
    """An unknown cipher, and a secret without a value: no file is left."""
    failed = libvirt.virsh('vol-create', 'pool', libvirt.volume('v', MIB, cipher='rot13'), status=1)
    assert "Parameter 'cipher-alg' does not accept value 'rot13-256'" in failed.stderr
    assert libvirt.ran() == ['create']
    libvirt.virsh('secret-undefine', SECRETS['other'], driver='secret')
    failed = libvirt.virsh('vol-create', 'pool', libvirt.volume('v', MIB, secret='other'), status=1)
    assert 'Secret not found' in failed.stderr
    assert libvirt.ran() == [] and libvirt.volumes() == []


def test_wrong_secret(libvirt, tmp_path):
    """If libvirt has the wrong password for a volume, it is neither resized nor copied, and stays unchanged."""
    libvirt.virsh('vol-create', 'pool', libvirt.volume('v', 4 * MIB))
    before = (libvirt.pool / 'v').read_bytes()
    libvirt.set_secret('first', b'mistaken')
    libvirt.ran()
    failed = libvirt.virsh('vol-resize', 'v', '8M', 'pool', status=1)
    assert 'Invalid password, cannot unlock any keyslot' in failed.stderr
    assert libvirt.ran() == ['resize']
    failed = libvirt.virsh('vol-create-from', 'pool', libvirt.volume('w', 4 * MIB, secret='other'),
                           '--inputpool', 'pool', 'v', status=1)
    assert 'Invalid password, cannot unlock any keyslot' in failed.stderr
    assert libvirt.ran() == ['create', 'convert'] and libvirt.volumes() == ['v']
    assert (libvirt.pool / 'v').read_bytes() == before


def test_damaged_header(libvirt):
    """A volume that libvirt recognises as LUKS, but we refuse, is not copied."""
    libvirt.virsh('vol-create', 'pool', libvirt.volume('v', MIB))
    with open(libvirt.pool / 'v', 'r+b') as image:
        image.seek(8)
        image.write(b'rot13\0')
    libvirt.ran()
    failed = libvirt.virsh('vol-create-from', 'pool', libvirt.volume('w', MIB), '--inputpool', 'pool', 'v', status=1)
    assert "'rot13'" in failed.stderr
    assert libvirt.ran() == ['create', 'convert'] and libvirt.volumes() == ['v']


def test_volumes_of_others(libvirt, tmp_path):
    """libvirt reads our headers and those of QEMU alike."""
    for name, img in (('ours', qemu_img), ('debian', debian_qemu_img)):
        create(img, tmp_path, libvirt.pool / name, 'cipher-alg=aes-128,hash-alg=sha512', size=3 * MIB)
        give(libvirt.pool / name)
    libvirt.virsh('pool-refresh', 'pool')
    assert libvirt.volumes() == ['debian', 'ours']
    for name in libvirt.volumes():
        assert libvirt.info(name)['Capacity'] == f'{3 * MIB} bytes'
        assert "<encryption format='luks'>" in libvirt.virsh('vol-dumpxml', name, 'pool').stdout
