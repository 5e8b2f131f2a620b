"""What qemu-img and qemu-io print names files and options, as the user does, and never what they call them inside.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import re
import subprocess

import pytest

from images import MIB
from programs import DEBIAN_QEMU_IO, QEMU_IO, SOURCE_DIR, password_file, qemu_img, run
from terminal import Terminal

INTERNAL = re.compile(r'#block|#object|prompt\.\d|password\.\d')
FAST = ['-o', 'iter-time=10']


@pytest.fixture(name='files')
def fixture_files(tmp_path):
    """An image with two passwords, and what else the commands need, by the names that they have below."""
    files = {name: tmp_path / name for name in ('IMAGE', 'RAW', 'VOLUME', 'NEW', 'BACKUP', 'HEADER')}
    files |= {'KEY': password_file(tmp_path, b'pw'), 'OTHER': password_file(tmp_path, b'other'),
              'WRONG': password_file(tmp_path, b'wrong'), 'EMPTY': password_file(tmp_path, b'', 'empty'),
              'LF': password_file(tmp_path, b'pw\n')}
    qemu_img('create', '-q', '-f', 'luks', *FAST, '--key-file', files['KEY'], files['IMAGE'], '1M')
    qemu_img('keyslot', 'add', '-q', '--iter-time', 10, '--key-file', files['KEY'], '--new-key-file', files['OTHER'],
             files['IMAGE'])
    files['RAW'].write_bytes(bytes(4 * MIB))
    files['VOLUME'].write_bytes(bytes(4 * MIB))
    return files


COMMANDS = """
amend -o state=active,iter-time=10 --key-file KEY --new-key-file LF -f luks IMAGE
amend -o state=inactive,keyslot=7 -f luks IMAGE
amend -o state=inactive,keyslot=0 -f luks RAW
amend -o state=inactive,keyslot=0 -f raw RAW
check IMAGE
check -f luks RAW
compare --image-opts driver=luks,file.filename=IMAGE driver=raw,file.filename=RAW
convert --key-file KEY IMAGE NEW
convert --key-file WRONG IMAGE NEW
convert -n -O luks --new-key-file WRONG RAW IMAGE
convert -O luks --new-key-file EMPTY -o iter-time=10 RAW NEW
create -f luks --key-file EMPTY -o iter-time=10 NEW 1M
create -f luks --key-file LF -o iter-time=10 NEW 1M
create -f luks --key-file LF -o iter-time=10 IMAGE 1M
dd -f luks if=IMAGE of=NEW
erase --scope key-material --force IMAGE
erase --scope image --force IMAGE
erase --scope volume --force RAW
erase --force RAW
erase --force --header IMAGE RAW
erase --force --scope image --header RAW IMAGE
format --key-file KEY -o iter-time=10 VOLUME
format --key-file LF -o iter-time=10 --header HEADER VOLUME
format --key-file KEY IMAGE
format --key-file KEY --header VOLUME VOLUME
format --key-file KEY --header IMAGE VOLUME
header backup IMAGE BACKUP
header backup RAW BACKUP
header backup -f raw RAW BACKUP
header restore IMAGE RAW
info IMAGE
info --limits --backing-chain IMAGE
info -f luks RAW
keyslot list IMAGE
keyslot list -f raw RAW
keyslot add --iter-time 10 --key-file KEY --new-key-file EMPTY IMAGE
keyslot add --iter-time 10 --key-file WRONG --new-key-file LF IMAGE
keyslot add --iter-time 10 --new-key-file LF IMAGE
keyslot add --slot 0 --key-file KEY --new-key-file LF IMAGE
keyslot change --iter-time 10 --key-file KEY --new-key-file LF IMAGE
keyslot change --iter-time 10 --key-file WRONG --new-key-file LF IMAGE
keyslot change -f raw --key-file KEY --new-key-file LF RAW
keyslot remove --key-file KEY IMAGE
keyslot remove --key-file WRONG IMAGE
keyslot remove --slot 5 IMAGE
keyslot remove --slot 5 --image-opts driver=luks,file.filename=IMAGE,read-only=on
map --key-file KEY IMAGE
map --image-opts driver=raw,file.driver=luks,file.file.filename=IMAGE
map -U --image-opts driver=raw,file.filename=RAW,force-share=on,read-only=off
measure -O luks IMAGE
measure --image-opts driver=raw,offset=1T,file.filename=RAW
resize --key-file KEY IMAGE +1M
resize --key-file KEY IMAGE 7E
resize -f raw RAW 1k
""".strip().splitlines()


def printed_by(command, files):
    """The words of COMMAND with the names of FILES, and all that it prints."""
    argv = re.sub(r'\b[A-Z]{2,}\b', lambda m: str(files.get(m[0], m[0])), command).split()
    done = qemu_img(*argv, status=None)
    return done.stdout + done.stderr


@pytest.mark.parametrize('command', COMMANDS)
def test_nothing_internal_shows(files, command):
    assert not INTERNAL.search(printed_by(command, files))


@pytest.mark.parametrize('command', [command for command in COMMANDS if not command.startswith((
    'amend', 'compare', 'convert', 'create', 'dd', 'format', 'header', 'resize'))])
def test_nor_in_json(files, command):
    assert not INTERNAL.search(printed_by(f'{command} --output=json', files))


@pytest.mark.parametrize('command', ['keyslot remove --slot 1 IMAGE', 'erase --force IMAGE', 'resize --key-file KEY IMAGE 2M',
                                     'format --force --key-file KEY IMAGE', 'header restore IMAGE IMAGE'])
def test_nor_of_an_image_in_use(files, command):
    with subprocess.Popen([DEBIAN_QEMU_IO, '-f', 'raw', files['IMAGE']], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as other:
        other.stdin.write(b'length\n')
        other.stdin.flush()
        other.stdout.readline()
        text = printed_by(command, files)
        other.communicate(b'quit\n')
    assert not INTERNAL.search(text) and 'lock' in text.lower(), text


def test_each_command_is_tried():
    source = (SOURCE_DIR / 'tools/img/main.c').read_text()
    commands = set(re.findall(r'&img_(\w+),', source)) - {'bench'}
    assert commands and commands <= {command.split()[0] for command in COMMANDS}


def test_layers_of_an_erase(files):
    """Which storage promises what: by its file."""
    text = qemu_img('erase', '--force', files['IMAGE']).stdout
    assert f"  {files['IMAGE']} (luks): " in text and f"  {files['IMAGE']} (file): " in text


def test_typed_passwords(files):
    terminal = Terminal('keyslot', 'add', '--iter-time', '10', files['IMAGE'])
    terminal.answer(b'Password for', b'wrong')
    terminal.answer(b'Password for', b'pw')
    terminal.answer(b'New password for', b'new')
    terminal.answer(b'again', b'new')
    assert terminal.finish() == 0 and not INTERNAL.search(terminal.output.decode())


@pytest.mark.parametrize('argv', [['-c', 'info', 'IMAGE'], ['--image-opts', 'driver=luks,file.filename=IMAGE'],
                                  ['-f', 'luks', 'RAW'], ['-r', '-c', 'write 0 1k', 'RAW'],
                                  ['--image-opts', 'driver=raw,file.filename=RAW,read-only=on', '-c', 'reopen -w']])
def test_qemu_io(files, argv):
    argv = [re.sub(r'\b[A-Z]{2,}\b', lambda m: str(files.get(m[0], m[0])), arg) for arg in argv]
    done = run(QEMU_IO, *argv, status=None)
    assert not INTERNAL.search(done.stdout + done.stderr)
