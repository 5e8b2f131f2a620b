"""Invalid secrets and options, full disks, low limits: a clear error, exit status 1, nothing written.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import os
import shutil

import pytest

import luks_header
from programs import QEMU_IMG, SYSTEM_ENV, password_file, qemu_img, qemu_img_json, run, secret_object

PASSWORD = b'a password'

# Runs a program as a user who obeys file modes: root, but without the capability to ignore them.
PLAIN_USER = (['setpriv', '--bounding-set=-dac_override,-dac_read_search', '--inh-caps=-dac_override,-dac_read_search']
              if os.geteuid() == 0 else [])


def one_line(done):
    """The error of a program, which must be one line, and perhaps one or two more with hints."""
    lines = done.stderr.splitlines()
    assert 1 <= len(lines) <= 3, lines
    assert lines[0].startswith('qemu-img: ')
    return lines[0]


def refused(*args):
    return one_line(qemu_img(*args, status=1))


@pytest.fixture
def volume(tmp_path):
    path = tmp_path / 'volume.luks'
    qemu_img('create', '-q', '-f', 'luks', *secret_object(tmp_path, 'sec0', PASSWORD),
             '-o', 'key-secret=sec0,iter-time=10', path, '64k')
    return path


@pytest.fixture
def new(tmp_path):
    return tmp_path / 'new.luks'


def create(new, *args, options=''):
    return ['create', '-f', 'luks', *args, '-o', 'key-secret=sec0,iter-time=10' + options, new, '1M']


class TestSecrets:
    def test_missing_file(self, tmp_path, new):
        assert 'nowhere' in refused(*create(new, '--object', f'secret,id=sec0,file={tmp_path}/nowhere'))
        assert not new.exists()

    def test_unreadable_file(self, tmp_path, new):
        secret = password_file(tmp_path, PASSWORD)
        secret.chmod(0)
        done = run(*PLAIN_USER, QEMU_IMG, *create(new, '--object', f'secret,id=sec0,file={secret}'), status=1)
        error = one_line(done)
        assert 'Permission denied' in error and secret.name in error
        assert not new.exists()

    def test_directory(self, tmp_path, new):
        assert str(tmp_path) in refused(*create(new, '--object', f'secret,id=sec0,file={tmp_path}'))
        assert not new.exists()

    def test_no_such_id(self, tmp_path, new):
        assert "'sec0'" in refused(*create(new, *secret_object(tmp_path, 'sec1', PASSWORD)))
        assert not new.exists()

    def test_no_id_at_all(self, new):
        """Without a terminal, nobody is asked."""
        assert 'key-secret' in refused('create', '-f', 'luks', new, '1M')
        assert not new.exists()

    @pytest.mark.parametrize('options', ['data=cGFzcw,format=base64', 'data=%%%%,format=base64', 'data=x,format=hex',
                                         'data=x,file=y', 'format=raw', 'data=x,keyid=none,iv=AAAA',
                                         'data=x,colour=red'])
    def test_bad_object(self, new, options):
        assert refused(*create(new, '--object', f'secret,id=sec0,{options}'))
        assert not new.exists()

    def test_not_in_messages(self, new):
        """Secrets are not repeated in errors."""
        for options in ['data=hunter2,format=base64', 'data=hunter2,keyid=none,iv=AAAA', 'data=hunter2,format=x']:
            done = qemu_img(*create(new, '--object', f'secret,id=sec0,{options}'), status=1)
            assert 'hunter2' not in done.stdout + done.stderr

    def test_wrong_password(self, tmp_path, volume):
        before = volume.read_bytes()
        options = f'driver=luks,key-secret=sec0,file.filename={volume}'
        secret = secret_object(tmp_path, 'sec0', b'wrong')
        for command in (['resize', *secret, '--image-opts', options, '1M'],
                        ['keyslot', 'remove', *secret, '--secret', 'sec0', volume],
                        ['keyslot', 'change', *secret, '--secret', 'sec0', '--new-secret', 'sec0', volume],
                        ['amend', *secret, '-o', 'state=active,new-secret=sec0', '--image-opts', options]):
            assert 'assword' in refused(*command)
            assert volume.read_bytes() == before


class TestOptions:
    @pytest.mark.parametrize('options,named', [
        (',cipher-alg=rot13', 'rot13'), (',cipher-mode=gcm', 'gcm'), (',ivgen-alg=none', 'none'),
        (',hash-alg=md4', 'md4'), (',iter-time=soon', 'iter-time'), (',iter-time=-1', 'iter-time'),
        (',colour=red', 'colour'), (',preallocation=some', 'some'),
        (',detached-header=maybe', 'detached-header'), (',cipher-alg=cast5-128', 'xts'),
        (',cipher-alg=aes-256,ivgen-alg=essiv,ivgen-hash-alg=sha1', ''),
    ])
    def test_wrong_value(self, tmp_path, new, options, named):
        assert named in refused(*create(new, *secret_object(tmp_path, 'sec0', PASSWORD), options=options))
        assert not new.exists()

    @pytest.mark.parametrize('size', ['', 'x', '-1', '1Q', '99999999999999999999', '9E'])
    def test_wrong_size(self, tmp_path, new, size):
        assert refused(*create(new, *secret_object(tmp_path, 'sec0', PASSWORD))[:-1], size)
        assert not new.exists()

    @pytest.mark.parametrize('args', [
        [], ['nonsense'], ['create'], ['create', '-f'], ['info'], ['info', '--nonsense', 'x'], ['info', 'a', 'b'],
        ['info', '--output=xml', 'x'], ['info', '-f', 'nonsense', 'x'], ['info', 'no-such-file'],
        ['info', '--image-opts', 'driver=luks'], ['info', '--image-opts', 'driver=nonsense,file.filename=x'],
        ['info', 'json:{'], ['info', 'json:{"driver":"luks"}'], ['info', 'json:{"driver":"luks","file":7}'],
        ['keyslot'], ['keyslot', 'add'], ['keyslot', 'remove', '--slot', '8', 'x'], ['erase', '--passes', '0', 'x'],
        ['erase', '--scope', 'all', 'x'], ['header'], ['header', 'backup', 'x'], ['resize', 'x'],
        ['amend', 'x'], ['format', '-f', 'raw', 'x'],
    ])
    def test_wrong_command_line(self, tmp_path, args):
        lines = qemu_img(*args, status=1, cwd=tmp_path).stderr.splitlines()
        assert lines and lines[0].startswith('qemu-img: ') and len(lines) <= 3, lines
        assert list(tmp_path.iterdir()) == []

    def test_odd_file_names(self, tmp_path, volume):
        for name in ('a,b=c', 'with space', 'json', 'ü\n', '%s%n', '-dash'):
            path = tmp_path / name
            shutil.copyfile(volume, path)
            assert qemu_img_json('info', path)['format'] == 'luks'


class TestFiles:
    def test_read_only_file(self, tmp_path, volume):
        volume.chmod(0o444)
        before = volume.read_bytes()
        secret = secret_object(tmp_path, 'sec0', PASSWORD)
        options = f'driver=luks,key-secret=sec0,file.filename={volume}'
        for command in (['resize', *secret, '--image-opts', options, '1M'],
                        ['keyslot', 'remove', '--slot', '0', '--force', volume],
                        ['format', '--force', *secret, '-o', 'key-secret=sec0', volume],
                        ['erase', '--force', volume]):
            error = one_line(run(*PLAIN_USER, QEMU_IMG, *command, status=1))
            assert 'Permission denied' in error and volume.name in error, command
            assert volume.read_bytes() == before, command
        run(*PLAIN_USER, QEMU_IMG, 'info', volume)

    def test_directory_is_no_image(self, tmp_path):
        assert refused('info', tmp_path)
        assert refused('info', '-f', 'luks', tmp_path)

    def test_fifo_does_not_hang(self, tmp_path):
        os.mkfifo(tmp_path / 'fifo')
        assert refused('info', tmp_path / 'fifo')

    @pytest.mark.parametrize('size', [0, 1, 7, 511, 513, 4095])
    def test_small_files(self, tmp_path, size):
        path = tmp_path / 'small.img'
        path.write_bytes((luks_header.MAGIC + b'\0\x01' + b'\xff' * 5000)[:size])
        assert refused('info', '-f', 'luks', path)
        assert path.stat().st_size == size


def in_full_disk(directory, kib, script, *argv):
    """Run a shell SCRIPT with ARGV while a file system of KIB is mounted on DIRECTORY for it only."""
    directory.mkdir(exist_ok=True)
    unshare = ['unshare', '--mount'] if os.geteuid() == 0 else ['unshare', '--mount', '--map-root-user']
    mount = f'mount -t tmpfs -o size={kib}k,mode=777 tmpfs "$1"'
    if run(*unshare, 'sh', '-c', mount, 'sh', directory, status=None, env=SYSTEM_ENV).returncode:
        pytest.skip('cannot mount a tmpfs here')
    return run(*unshare, 'sh', '-c', f'{mount} && shift && cd {directory} && {script}', 'sh', directory, *argv,
               status=None, env=SYSTEM_ENV)


class TestFullDisk:
    @pytest.mark.parametrize('options', ['', ',preallocation=full', ',preallocation=falloc', ',detached-header=true'])
    def test_create(self, tmp_path, options):
        """No space for the header, or for preallocation: nothing is left behind."""
        kib = 2048 + 512 if 'preallocation' in options else 1024
        done = in_full_disk(tmp_path / 'full', kib, '"$@"; status=$?; ls; exit $status', QEMU_IMG,
                            *create('new.luks', *secret_object(tmp_path, 'sec0', PASSWORD), options=options))
        assert done.returncode == 1
        assert 'No space left' in one_line(done)
        assert 'new.luks' not in done.stdout.splitlines()[-1:]

    @pytest.mark.parametrize('argv', [['convert', '-f', 'raw', '-O', 'luks'], ['convert', '-f', 'raw', '-O', 'raw'],
                                      ['convert', '-f', 'raw', '-O', 'luks', '-m', '16', '-W']])
    def test_convert(self, tmp_path, argv):
        """No space for all of the data."""
        source = tmp_path / 'source.raw'
        source.write_bytes(b'data' * (2 << 20))
        options = ['-o', 'key-secret=sec0,iter-time=10'] if 'luks' in argv else []
        done = in_full_disk(tmp_path / 'full', 4096, '"$@"', QEMU_IMG, *argv,
                            *secret_object(tmp_path, 'sec0', PASSWORD), *options, source, 'target')
        assert done.returncode == 1
        assert 'No space left' in one_line(done)

    def test_header_backup(self, tmp_path, volume):
        done = in_full_disk(tmp_path / 'full', 512, '"$@"; status=$?; ls; exit $status', QEMU_IMG,
                            'header', 'backup', volume, 'backup')
        assert done.returncode == 1
        assert 'No space left' in one_line(done)
        assert 'backup' not in done.stdout

    def test_sparse_volume(self, tmp_path, volume):
        """A volume with holes, which cannot be allocated when they are written."""
        disk = tmp_path / 'full'
        done = in_full_disk(disk, 1024, 'truncate -s 4M v.img; "$@"; status=$?; ls -s v.img; exit $status',
                            QEMU_IMG, 'format', *secret_object(tmp_path, 'sec0', PASSWORD),
                            '-o', 'key-secret=sec0,iter-time=10', 'v.img')
        assert done.returncode == 1
        assert 'No space left' in one_line(done)

    def test_standard_output(self, volume):
        with open('/dev/full', 'w', encoding='utf-8') as full:
            done = qemu_img('info', volume, status=1, stdout=full)
        assert 'No space left' in one_line(done)


@pytest.mark.plain_build
def test_limits(volume):
    """libguestfs and others inspect images under these limits."""
    done = run('prlimit', '--as=1073741824', '--cpu=10', QEMU_IMG, 'info', '--output=json', volume)
    assert '"luks"' in done.stdout
