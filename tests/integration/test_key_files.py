"""Key files and headers named by short options, in all commands that open LUKS.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import os
import re
import shlex
import subprocess

import nbd
import pytest

from images import FAST, MIB, write_pieces
from nbd_server import QEMU_NBD, NbdServer, wait_until
from programs import BUILD_DIR, cryptsetup, password_file, qemu_img, qemu_io, run
from terminal import Terminal

SIZE = 3 * MIB
PASSWORD = b'pass\0word\n\xff'


@pytest.fixture(name='key')
def fixture_key(tmp_path):
    return password_file(tmp_path, PASSWORD, 'key')


@pytest.fixture(name='plain')
def fixture_plain(tmp_path):
    return write_pieces(tmp_path / 'plain', SIZE, (0, MIB))


@pytest.fixture(name='image')
def fixture_image(tmp_path, key, plain):
    """An encrypted copy of it."""
    image = tmp_path / 'a.luks'
    qemu_img('convert', '-O', 'luks', '-o', FAST, '--new-key-file', key, plain, image)
    return image


@pytest.fixture(name='detached')
def fixture_detached(tmp_path, key, plain):
    """The arguments for another one, with a detached header."""
    header, payload = tmp_path / 'header', tmp_path / 'payload'
    payload.write_bytes(bytes(SIZE))
    qemu_img('format', '-q', '--key-file', key, '-o', FAST, '--header', header, payload)
    qemu_img('convert', '-n', '--new-key-file', key, '--image-opts', '--target-image-opts', f'driver=raw,file.filename={plain}',
             f'driver=luks,file.filename={payload},header.filename={header}')
    return ['--header', header, payload]


def opens(password, *args):
    return cryptsetup('open', '--test-passphrase', *args, password=password, status=None).returncode == 0


def test_new_images(tmp_path, key, plain):
    image = tmp_path / 'new.luks'
    for option in '--key-file', '--new-key-file':
        done = qemu_img('create', '--force', '-f', 'luks', '-o', FAST, option, key, image, '64k')
        assert 'key-secret' not in done.stdout and 'password.' not in done.stdout
        assert opens(PASSWORD, image)
        qemu_img('format', '--force', option, key, '-o', FAST, plain)
        assert opens(PASSWORD, plain)
    assert 'exclude' in qemu_img('create', '--force', '-f', 'luks', '-o', 'key-secret=x', '--key-file', key, image,
                                 '64k', status=1).stderr
    assert 'does not encrypt' in qemu_img('create', '--key-file', key, tmp_path / 'raw', '64k', status=1).stderr
    assert not (tmp_path / 'raw').exists()


COMMANDS = [
    ('amend', '-o', 'state=active,iter-time=10', '--new-key-file', 'NEW'),
    ('bench', '-c', '1'),
    ('check',),
    ('header', 'backup', 'IMAGE', 'OUT'),
    ('info',),
    ('keyslot', 'add', '--iter-time', '10', '--new-key-file', 'NEW'),
    ('keyslot', 'change', '--iter-time', '10', '--new-key-file', 'NEW'),
    ('keyslot', 'list'),
    ('map', '--output', 'json'),
    ('measure', '-O', 'raw'),
    ('resize', 'IMAGE', '+1M'),
    ('compare', 'IMAGE', 'PLAIN'),
    ('convert', 'IMAGE', 'OUT'),
    ('convert', '-O', 'luks', '-o', FAST, '--new-key-file', 'NEW', 'IMAGE', 'OUT'),
    ('dd', '-f', 'luks', 'if=IMAGE', 'of=OUT', 'bs=1M'),
    ('dd', '-O', 'luks', '--new-key-file', 'NEW', 'if=IMAGE', 'of=OUT', 'bs=1M'),
    ('erase', '--scope', 'key-material'),
]


def fill_in(command, tmp_path, key, plain, image):
    new = password_file(tmp_path, b'new', 'new')
    places = {'NEW': new, 'OUT': tmp_path / 'out', 'PLAIN': plain}
    words = [word.replace('IMAGE', str(image)) for word in command]
    if not any('IMAGE' in word for word in command):
        words.append(str(image))
    return [str(places.get(word, word)).replace('of=OUT', f'of={tmp_path}/out') for word in words]


@pytest.mark.parametrize('command', COMMANDS, ids=' '.join)
def test_everywhere(tmp_path, key, plain, image, command):
    first, *rest = fill_in(command, tmp_path, key, plain, image)
    qemu_img(first, *rest, '--key-file', key)
    if first == 'convert' and 'luks' not in rest:
        assert (tmp_path / 'out').read_bytes() == plain.read_bytes()
    if '--new-key-file' in rest:
        assert opens(b'new', tmp_path / 'out' if 'bs=1M' in rest or first == 'convert' else image)


@pytest.mark.parametrize('command', COMMANDS, ids=' '.join)
def test_detached_headers_everywhere(tmp_path, key, plain, detached, command):
    header, payload = detached[1:]
    first, *rest = fill_in(command, tmp_path, key, plain, payload)
    qemu_img(first, *rest, '--key-file', key, '--header', header)
    if first == 'convert' and 'luks' not in rest:
        assert (tmp_path / 'out').read_bytes() == plain.read_bytes()
    if first == 'keyslot' and 'change' in rest:
        assert opens(b'new', '--header', header, payload)


def test_qemu_io(key, plain, image, detached):
    for arguments in [image], detached:
        qemu_io('--key-file', key, '-c', 'write -P 0x33 4k 512', '-c', 'read -P 0x33 4k 512', *arguments)
    qemu_img('compare', '--key-file', key, image, plain, status=1)
    # reopened with the same password
    qemu_io('--key-file', key, '-c', 'reopen -r', '-c', 'read -P 0x33 4k 512', image)


def test_qemu_nbd(tmp_path, key, plain, image, detached):
    for arguments in [image], detached:
        with NbdServer(tmp_path, '--key-file', key, *arguments) as server:
            run('nbdcopy', server.uri(), tmp_path / 'copy')
        assert (tmp_path / 'copy').read_bytes() == plain.read_bytes()


def test_qemu_nbd_in_the_background(tmp_path, image):
    """Standard input is read before the program leaves the terminal."""
    pid_file, sock = tmp_path / 'pid', tmp_path / 'sock'
    run(QEMU_NBD, '--fork', '--pid-file', pid_file, '-k', sock, '--key-file', '-', image, input=PASSWORD, text=False)
    handle = nbd.NBD()
    handle.connect_uri(f'nbd+unix:///?socket={sock}')
    assert handle.get_size() == SIZE
    handle.shutdown()
    wait_until(lambda: not pid_file.exists(), 'the end')


def test_parts_of_files(tmp_path, image):
    whole = password_file(tmp_path, b'x' * 5000 + PASSWORD + b'y' * 10, 'whole')
    part = ['--keyfile-offset', 5000, '--keyfile-size', len(PASSWORD)]
    qemu_img('bench', '-c', '1', '--key-file', whole, *part, image)
    qemu_img('bench', '-c', '1', '--key-file', '-', *part, image, input=whole.read_bytes(), text=False)
    with whole.open('rb') as stdin:
        qemu_img('bench', '-c', '1', '--key-file', '-', *part, image, stdin=stdin)
    fifo = tmp_path / 'fifo'
    os.mkfifo(fifo)
    with subprocess.Popen(['sh', '-c', f'cat {whole} > {fifo}']):
        qemu_img('bench', '-c', '1', '--key-file', fifo, *part, image)
    device = tmp_path / 'device.luks'
    qemu_img('create', '-q', '-f', 'luks', '-o', FAST, '--key-file', '/dev/zero', '--keyfile-size', 7, device, '64k')
    assert opens(bytes(7), device)


@pytest.mark.parametrize('argv, named', [
    (['--key-file', 'NONE'], 'NONE'),
    (['--key-file', '.'], 'neither a regular file nor a pipe'),
    (['--key-file', '/dev/zero'], 'neither a regular file nor a pipe'),
    (['--key-file', 'KEY', '--keyfile-size', '1k'], 'fewer than 1024 bytes'),
    (['--key-file', 'KEY', '--keyfile-offset', '8E'], 'keyfile-offset'),
    (['--key-file', 'KEY', '--keyfile-offset', '1k', '--keyfile-size', '1'], 'fewer than 1 bytes at offset 1024'),
    (['--key-file', 'KEY', '--keyfile-size', '0'], 'keyfile-size'),
    (['--key-file', 'KEY', '--keyfile-size', '1G'], 'more than'),
    (['--keyfile-size', '10'], '--key-file'),
    (['--key-file', 'KEY', '--keyfile-size', '3'], 'Invalid password'),
    (['--header', 'NONE', '--key-file', 'KEY'], 'NONE'),
    (['--header', 'KEY', '--image-opts', '--key-file', 'KEY'], 'file'),
])
def test_mistakes(tmp_path, key, image, argv, named):
    argv = [str(key) if arg == 'KEY' else arg for arg in argv]
    done = qemu_img('map', *argv, image, status=1, cwd=tmp_path)
    assert named in done.stderr and 'password.' not in done.stderr


def test_what_does_not_go_together(tmp_path, key, plain, image):
    for argv, named in [
            (['keyslot', 'add', '--key-file', '-', '--new-key-file', '-', image], 'both'),
            (['keyslot', 'add', '--key-file', key, '--secret', 's', image], 'exclude'),
            (['keyslot', 'remove', '--key-file', key, '--slot', 0, image], 'exclusive'),
            (['map', '--key-file', key, plain], 'not encrypted'),
            (['compare', '--key-file', key, plain, plain], 'None of the images is encrypted'),
            (['convert', '--key-file', key, plain, tmp_path / 'out'], '--new-key-file'),
            (['convert', '--new-key-file', key, plain, tmp_path / 'out'], 'does not encrypt'),
            (['convert', '--header', key, image, image, tmp_path / 'out'], 'single source'),
            (['info', '--header', key, '-f', 'raw', image], 'header')]:
        done = qemu_img(*argv, status=None)
        assert done.returncode and named in done.stderr, argv
    assert not (tmp_path / 'out').exists()


def run_in_place(command, places):
    """Run a program of ours with the words of COMMAND, in which the keys of PLACES stand for their values."""
    words = []
    for word in command:
        for place, path in places.items():
            word = word.replace(place, path)
        words.append(word)
    return run(BUILD_DIR / words[0], *words[1:], status=None)


def suggestion(done, line=-1):
    """The command at the end of an error, with its placeholders filled in."""
    line = done.stderr.splitlines()[line].split(': ', 1)[1]
    assert line.startswith('qemu-'), done.stderr
    return line


def follow(line, key, header=''):
    """Run the suggested command."""
    line = re.sub(' NEW$', f' {shlex.quote(str(key) + ".new")} -o {FAST} --new-key-file FILE ', line)
    line = line.replace(' FILE ', f' {shlex.quote(str(key))} ').replace(' HEADER ', f' {shlex.quote(str(header))} ')
    return run('sh', '-c', line, env={**os.environ, 'PATH': f'{BUILD_DIR}:{os.environ["PATH"]}'})


@pytest.mark.parametrize('command', [
    ('qemu-img', 'resize', 'IMAGE', '+1M'),
    ('qemu-img', 'map', '--output', 'json', '--image-opts', 'driver=luks,file.filename=IMAGE'),
    ('qemu-img', 'map', '--output=json', '--image-opts', 'driver=raw,file.driver=luks,file.file.filename=IMAGE'),
    ('qemu-img', 'bench', 'IMAGE', '-c', '1'),
    ('qemu-img', 'compare', 'PLAIN', 'IMAGE'),
    ('qemu-img', 'convert', 'IMAGE', 'OUT'),
    ('qemu-img', 'convert', '-O', 'luks', '-o', FAST, 'PLAIN', 'OUT'),
    ('qemu-img', 'convert', '-n', 'PLAIN', '-O', 'luks', 'IMAGE'),
    ('qemu-img', 'dd', 'if=IMAGE', 'of=OUT'),
    ('qemu-img', 'create', '-f', 'luks', '-o', FAST, 'OUT', '1M'),
    ('qemu-img', 'format', '-o', FAST, 'PLAIN'),
    ('qemu-img', 'keyslot', 'change', '--iter-time', '10', '--new-key-file', 'NEW', 'IMAGE'),
    ('qemu-img', 'keyslot', 'add', '--iter-time', '10', '--key-file', 'KEY', 'IMAGE'),
    ('qemu-img', 'keyslot', 'remove', '--force', 'IMAGE'),
    ('qemu-io', '-c', 'read 0 512', 'IMAGE'),
], ids=' '.join)
def test_a_missing_password(tmp_path, key, plain, image, command):
    """The error ends with a command that works."""
    odd = tmp_path / "it's $HOME.luks"
    image.rename(odd)
    new = password_file(tmp_path, b'new', 'new')
    places = {'IMAGE': str(odd), 'PLAIN': str(plain), 'OUT': str(tmp_path / 'out'), 'NEW': str(new), 'KEY': str(key)}
    done = run_in_place(command, places)
    assert done.returncode
    follow(suggestion(done), key)


def test_a_missing_password_of_a_server(tmp_path, key, image):
    line = suggestion(run(QEMU_NBD, '-k', tmp_path / 'sock', image, status=1))
    assert line == f'qemu-nbd --key-file FILE -k {tmp_path}/sock {image}'


@pytest.mark.parametrize('command', [
    ('info', '-f', 'luks'), ('keyslot', 'list'), ('header', 'backup', 'IMAGE', 'OUT'), ('check', '-f', 'luks'),
    ('erase',), ('bench', '-c', '1', '-f', 'luks', '--key-file', 'KEY'),
    ('convert', '-f', 'luks', '--key-file', 'KEY', 'IMAGE', 'OUT'),
], ids=' '.join)
def test_a_missing_header(tmp_path, key, plain, detached, command):
    header, payload = detached[1:]
    words = fill_in([str(key) if word == 'KEY' else word for word in command], tmp_path, key, plain, payload)
    done = qemu_img(*words, status=1)
    assert str(payload) in done.stderr and 'not in LUKS format' in done.stderr
    follow(suggestion(done, -2), key, header)


def test_a_target_without_a_header(tmp_path, key, plain, detached):
    done = qemu_img('convert', '-n', '--new-key-file', key, '-O', 'luks', plain, detached[2], status=1)
    assert str(detached[2]) in done.stderr and 'header.filename=HEADER' in done.stderr


@pytest.mark.parametrize('command', [
    ('qemu-img', 'info', '-f', 'luks', 'PLAIN'),
    ('qemu-img', 'map', '--output', 'json', '--format=luks', 'PLAIN'),
    ('qemu-img', 'map', '--header', 'JUNK', 'PLAIN'),
    ('qemu-img', 'info', 'PLAIN', '-f', 'luks', '--header=JUNK'),
    ('qemu-img', 'bench', '-fluks', '-c', '1', '--key-file', 'KEY', '--keyfile-size', '1', 'PLAIN'),
    ('qemu-img', 'resize', '--format', 'luks', 'PLAIN', '+1M'),
    ('qemu-img', 'convert', '-f', 'luks', 'PLAIN', 'OUT'),
    ('qemu-img', 'convert', '--key-file', 'KEY', '--source-format', 'luks', 'PLAIN', '-O', 'luks', '-o', FAST,
     '--new-key-file', 'KEY', 'OUT'),
    ('qemu-img', 'dd', '-f', 'luks', 'if=PLAIN', 'of=OUT'),
    ('qemu-img', 'compare', '-f', 'luks', 'PLAIN', '--header', 'JUNK', 'PLAIN'),
    ('qemu-img', 'compare', '--key-file', 'KEY', '-F', 'luks', 'IMAGE', 'PLAIN'),
    ('qemu-img', 'keyslot', 'list', 'PLAIN'),
    ('qemu-img', 'keyslot', 'add', '--header', 'JUNK', 'PLAIN'),
    ('qemu-img', 'header', 'backup', 'PLAIN', 'OUT'),
    ('qemu-img', 'check', '-f', 'luks', 'PLAIN'),
    ('qemu-img', 'erase', 'PLAIN'),
    ('qemu-img', 'amend', '-f', 'luks', '-o', 'state=inactive,keyslot=1', 'PLAIN'),
    ('qemu-io', '-f', 'luks', '-c', 'read 0 512', 'PLAIN'),
], ids=' '.join)
def test_a_volume_without_encryption(tmp_path, key, plain, image, command):
    """The error ends with what works on such a volume."""
    odd = tmp_path / "it's $HOME.img"
    plain.rename(odd)
    junk = tmp_path / 'junk'
    junk.write_bytes(bytes(MIB))
    places = {'PLAIN': str(odd), 'OUT': str(tmp_path / 'out'), 'KEY': str(key), 'IMAGE': str(image), 'JUNK': str(junk)}
    done = run_in_place(command, places)
    assert done.returncode and 'not in LUKS format' in done.stderr
    if any('JUNK' in word for word in command):
        assert f"no LUKS header in '{junk}'" in done.stderr
    follow(suggestion(done), key)


def test_a_target_without_encryption(tmp_path, key, plain):
    target = tmp_path / 'target'
    for content in bytes(SIZE + 8 * MIB), bytes(510) + b'\x55\xaa' + bytes(SIZE + 8 * MIB):
        target.write_bytes(content)
        words = ['convert', '-n', '-O', 'luks', '--new-key-file', key, plain, target]
        line = suggestion(qemu_img(*words, status=1))
        assert line.split()[:2] == ['qemu-img', 'format']
        run('sh', '-c', f'{line} -o {FAST} --key-file {key}', env={**os.environ, 'PATH': f'{BUILD_DIR}:{os.environ["PATH"]}'})
        qemu_img(*words)


def test_server_of_a_volume_without_encryption(tmp_path, plain):
    line = suggestion(run(QEMU_NBD, '-k', tmp_path / 'sock', '-f', 'luks', plain, status=1))
    assert line == f'qemu-nbd -f raw -k {tmp_path}/sock {plain}'


def test_secrets_stay_out_of_errors(image):
    done = qemu_img('map', '--object', 'secret,id=x,data=tops3cret', image, status=1)
    assert 'tops3cret' not in done.stderr


def test_server_asks(tmp_path, plain, image):
    sock = tmp_path / 'sock'
    terminal = Terminal('-k', sock, image, program=QEMU_NBD)
    terminal.answer(b'Password for', b'wrong')
    terminal.read_until(b'No keyslot opens')
    assert not sock.exists()
    terminal.read_until(b'Password for')
    assert not terminal.echoes()
    os.write(terminal.fd, b'\x03')
    assert terminal.finish() == 1
    assert terminal.output.count(b'\r\n') <= 4 and b'password.0' not in terminal.output


def test_server_serves_what_was_asked_for(tmp_path, key, plain):
    image = tmp_path / 'typed.luks'
    qemu_img('convert', '-O', 'luks', '-o', FAST, '--new-key-file', password_file(tmp_path, b'typed', 'typed'), plain, image)
    sock = tmp_path / 'sock'
    terminal = Terminal('-k', sock, image, program=QEMU_NBD)
    terminal.answer(b'Password for', b'typed')
    wait_until(sock.exists, 'the server')
    run('nbdcopy', f'nbd+unix:///?socket={sock}', tmp_path / 'copy')
    assert terminal.finish() == 0
    assert (tmp_path / 'copy').read_bytes() == plain.read_bytes()


def test_server_in_the_background_cannot_ask(tmp_path, image):
    terminal = Terminal('--fork', '-k', tmp_path / 'sock', image, program=QEMU_NBD)
    assert terminal.finish() == 1
    assert b'--key-file FILE' in terminal.output


def test_keyslots_before_questions(image, key):
    """A keyslot that cannot be written, and a wrong old password, are reported before a new password is asked for."""
    terminal = Terminal('keyslot', 'add', '--slot', '0', image)
    assert terminal.finish() == 1
    assert b'Keyslot 0 is active' in terminal.output and b'Password' not in terminal.output
    terminal = Terminal('keyslot', 'change', image)
    for _ in range(3):
        terminal.answer(b'Password for', b'wrong')
    assert terminal.finish() == 1 and b'New password' not in terminal.output
