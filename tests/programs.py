"""Running the programs under test, and those of others, from tests.

    from programs import cryptsetup, qemu_img, secret_object

    def test_create(tmp_path):
        image = tmp_path / 'a.luks'
        qemu_img('create', '-f', 'luks', *secret_object(tmp_path, 'sec0', b'pw'), '-o', 'key-secret=sec0', image, '1M')
        cryptsetup('open', '--test-passphrase', image, password=b'pw')

SPDX-License-Identifier: GPL-2.0-or-later
"""
import contextlib
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import time

SOURCE_DIR = pathlib.Path(__file__).resolve().parent.parent
BUILD_DIR = pathlib.Path(os.environ.get('BUILD_DIR', SOURCE_DIR / 'build')).resolve()
QEMU_IMG = BUILD_DIR / 'qemu-img'
QEMU_IO = BUILD_DIR / 'qemu-io'
DEBIAN_QEMU_IMG = '/usr/bin/qemu-img'
DEBIAN_QEMU_IO = '/usr/bin/qemu-io'
# Includes the programs that only root has in its PATH.
SYSTEM_ENV = {**os.environ, 'PATH': os.environ['PATH'] + ':/usr/sbin:/sbin'}
# What every program built with AddressSanitizer prints when its first coroutine starts.
ASAN_NOTICE = re.compile(r"^==\d+==WARNING: ASan doesn't fully support makecontext.*\n", re.MULTILINE)


def build_option(name):
    """The value of a meson option that BUILD_DIR was configured with."""
    options = json.loads((BUILD_DIR / 'meson-info' / 'intro-buildoptions.json').read_text())
    return next(option['value'] for option in options if option['name'] == name)


def run(*argv, status=0, text=True, timeout=120, **kwargs):
    """Run a program; it must exit with STATUS (None: any but that of a crash). Returns what subprocess.run does."""
    argv = [os.fspath(arg) if isinstance(arg, os.PathLike) else str(arg) for arg in argv]
    if 'input' not in kwargs:
        kwargs.setdefault('stdin', subprocess.DEVNULL)
    kwargs.setdefault('stdout', subprocess.PIPE)
    kwargs.setdefault('stderr', subprocess.PIPE)
    done = subprocess.run(argv, text=text, timeout=timeout, check=False, **kwargs)
    if text and done.stderr:
        done.stderr = ASAN_NOTICE.sub('', done.stderr)
    fine = 0 <= done.returncode < 99 if status is None else done.returncode == status
    assert fine, f'exit status {done.returncode}: {" ".join(argv)}\n{done.stdout}\n{done.stderr}'
    return done


def freeze(pid):
    """Send SIGSTOP: all threads have stopped on return, which takes a while on a busy machine. SIGCONT ends it."""
    os.kill(pid, signal.SIGSTOP)
    end = time.monotonic() + 10
    while not all(is_stopped(task) for task in pathlib.Path(f'/proc/{pid}/task').iterdir()):
        assert time.monotonic() < end
        time.sleep(0.01)


def is_stopped(task):
    with contextlib.suppress(OSError):
        return (task / 'stat').read_text().rpartition(')')[2].split()[0] == 'T'
    return True     # it has ended


def limit_memory():
    """For preexec_fn: the address space that the OpenStack services allow qemu-img info."""
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))


def copy_sources(directory):
    """Copy the files that belong to the project."""
    for name in run('git', '-C', SOURCE_DIR, 'ls-files', '-z').stdout.rstrip('\0').split('\0'):
        if (SOURCE_DIR / name).is_file():
            target = pathlib.Path(directory) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(SOURCE_DIR / name, target)


def qemu_img(*args, **kwargs):
    """Our qemu-img."""
    return run(QEMU_IMG, *args, **kwargs)


def qemu_img_commands():
    """The commands that qemu-img --help lists: "create", "keyslot add"..."""
    commands = qemu_img('--help').stdout.split('\nCommands ')[1].split('\n\n')[0]
    return re.findall(r'^  ([a-z]+(?: [a-z]+)?)  +\S', commands, re.MULTILINE)


def qemu_img_json(*args, **kwargs):
    """The JSON that our qemu-img COMMAND --output=json ... prints."""
    return json.loads(qemu_img(args[0], '--output=json', *args[1:], **kwargs).stdout)


def qemu_io(*args, **kwargs):
    """Our qemu-io."""
    return run(QEMU_IO, *args, **kwargs)


def debian_qemu_img(*args, **kwargs):
    """QEMU's own qemu-img."""
    return run(DEBIAN_QEMU_IMG, *args, **kwargs)


def cryptsetup(*args, password=None, **kwargs):
    """cryptsetup in batch mode, with PASSWORD (bytes) as the key file on its standard input."""
    argv = ['cryptsetup', '--batch-mode', *args]
    if password is not None:
        argv.append('--key-file=-')
        kwargs.update(input=password, text=False)
    return run(*argv, env=SYSTEM_ENV, **kwargs)


def password_file(directory, password, name=None):
    """A file with PASSWORD (bytes) that is readable by its owner only."""
    path = pathlib.Path(directory) / (name or f'password-{password.hex()[:32]}')
    path.touch(0o600)
    path.write_bytes(password)
    return path


def secret_object(directory, ident, password):
    """The arguments that define a secret IDENT with PASSWORD (bytes)."""
    return ['--object', f'secret,id={ident},file={password_file(directory, password)}']
