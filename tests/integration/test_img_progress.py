"""How qemu-img shows progress, and how it can be stopped.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import re
import signal
import subprocess
import time

import pytest

from images import FAST, MIB, secret, write_pieces
from programs import QEMU_IMG, password_file, qemu_img, secret_object
from terminal import Terminal

SLOW = 'key-secret=s,iter-time=2000'


@pytest.fixture(name='slow_create')
def fixture_slow_create(tmp_path):
    """A command line that runs for seconds, and the image that it creates."""
    image = tmp_path / 'slow.luks'
    return [QEMU_IMG, 'create', '-q', '-f', 'luks', *secret_object(tmp_path, 's', b'pw'), '-o', SLOW, image, '64k'], image


def start(argv):
    """Start ARGV and let it start working."""
    proc = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    time.sleep(0.5)
    assert proc.poll() is None
    return proc


def test_progress_as_cdi_reads_it(tmp_path):
    image = tmp_path / 'a.luks'
    qemu_img('create', '-q', '-f', 'luks', *secret_object(tmp_path, 's', b'pw'), '-o', 'key-secret=s,iter-time=10', image,
             '8M')
    text = qemu_img('erase', '-q', '-p', '--scope', 'image', image, text=False).stdout.decode()
    assert text.startswith('    (0.00/100%)\r') and text.endswith('    (100.00/100%)\r\n')
    steps = [float(step) for step in re.findall(r'\((\d?\d\.\d\d)\/100%\)', text)]
    assert steps == sorted(steps)


def steps_of(*argv):
    """The percentages that a command shows."""
    text = qemu_img(*argv, text=False).stdout.decode()
    return [float(step) for step in re.findall(r'\((\d+\.\d\d)\/100%\)', text)]


@pytest.mark.parametrize('where', ['start', 'end', 'both'])
def test_holes_are_no_work(tmp_path, where):
    """A copy of 8 MiB in an image of 1 GiB shows the progress in these, wherever they are."""
    pieces = {'start': [(0, 8 * MIB)], 'end': [(1016 * MIB, 8 * MIB)], 'both': [(0, 4 * MIB), (1020 * MIB, 4 * MIB)]}
    source = write_pieces(tmp_path / 'source', 1024 * MIB, *pieces[where])
    steps = steps_of('convert', '-p', '-r', '8M', '-m', '1', source, tmp_path / 'target')
    assert steps == sorted(steps)
    assert steps[0] == 0 and steps[-1] == 100
    assert any(20 <= step <= 30 for step in steps) and any(45 <= step <= 80 for step in steps)


def test_nothing_to_copy(tmp_path):
    source = write_pieces(tmp_path / 'source', 1024 * MIB)
    assert steps_of('convert', '-p', source, tmp_path / 'target') == [0, 100]


def test_several_sources_count_together(tmp_path):
    source = write_pieces(tmp_path / 'source', 512 * MIB, (256 * MIB, 4 * MIB))
    steps = steps_of('convert', '-p', '-r', '8M', '-m', '1', source, source, tmp_path / 'target')
    assert steps == sorted(steps)
    assert any(45 <= step <= 55 for step in steps) and steps[-1] == 100


def test_zeroes_that_are_encrypted_are_work(tmp_path):
    source = write_pieces(tmp_path / 'source', 16 * MIB)
    steps = steps_of('convert', '-p', '-r', '16M', '-m', '1', '-O', 'luks', *secret(tmp_path), '-o',
                     f'key-secret=sec0,{FAST}', source, tmp_path / 'target')
    assert steps == sorted(steps)
    assert any(20 <= step <= 80 for step in steps)


def test_sigusr1_prints_the_state(slow_create):
    argv, _image = slow_create
    with start(argv) as proc:
        proc.send_signal(signal.SIGUSR1)
        stdout, stderr = proc.communicate(timeout=60)
    assert proc.returncode == 0
    assert re.search(rb'^    \(\d+\.\d\d/100%\)\n', stderr, re.MULTILINE)
    assert stdout == b''


@pytest.mark.parametrize('sig', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_cancels_in_good_order(slow_create, sig):
    argv, image = slow_create
    with start(argv) as proc:
        proc.send_signal(sig)
        stderr = proc.communicate(timeout=60)[1]
    assert proc.returncode == 1
    assert b'cancel' in stderr.lower()
    assert not image.exists()


def test_a_second_signal_kills(slow_create):
    argv, _image = slow_create
    with start(argv) as proc:
        proc.send_signal(signal.SIGINT)
        proc.send_signal(signal.SIGINT)     # at once: counts as the same signal
        time.sleep(0.4)
        if proc.poll() is None:         # cannot stop yet
            proc.send_signal(signal.SIGINT)
            proc.communicate(timeout=5)
            assert proc.returncode == -signal.SIGINT


def shown_on_terminal(*argv):
    """What a command shows on a terminal, line by line, a redrawn line as several; it must succeed."""
    terminal = Terminal(*argv)
    assert terminal.finish() == 0, terminal.output
    return [line.rstrip() for line in re.split(r'[\r\n]+', terminal.output.decode()) if line.strip()]


def assert_derivation_shows(lines):
    """That the percentages go up in many steps, with words for what takes the time."""
    shown = [re.fullmatch(r'    \((\d+\.\d\d)/100%\)(?:  (.*))?', line) for line in lines]
    steps = [float(match[1]) for match in shown if match]
    words = {re.sub(r'\d+', 'N', match[2]) for match in shown if match and match[2]}
    assert steps == sorted(steps) and steps[0] == 0 and steps[-1] == 100
    assert len([step for step in steps if 5 < step < 95]) >= 3, steps
    words.discard('Measuring the speed of this machine')        # which may be over before it is drawn
    assert words == {'Deriving the key, about N s'}


def test_deriving_a_key_shows(tmp_path):
    """As a terminal shows it: each of these worked in silence between 0 and 100 %."""
    image, volume = tmp_path / 'image', write_pieces(tmp_path / 'volume', 8 * MIB)
    old, new = password_file(tmp_path, b'old'), password_file(tmp_path, b'new')
    assert_derivation_shows(shown_on_terminal('create', '-p', '-f', 'luks', '-o', 'iter-time=400', '--key-file', old,
                                              image, '64k'))
    assert_derivation_shows(shown_on_terminal('format', '-p', '-o', 'iter-time=400', '--key-file', old, volume))
    for command in ['add', 'change']:
        assert_derivation_shows(shown_on_terminal('keyslot', command, '-p', '--iter-time', '400', '--key-file', old,
                                                  '--new-key-file', new, image))


def test_opening_shows(tmp_path):
    """A key that is derived to open an image: in words, for what it opens for begins at 0 % and goes on from there."""
    image, pw = tmp_path / 'image', password_file(tmp_path, b'pw')
    qemu_img('create', '-q', '-f', 'luks', '-o', 'iter-time=400', '--key-file', pw, image, '64k')
    for argv in [['convert', image, tmp_path / 'target'], ['resize', image, '128k'],
                 ['convert', '-n', '--target-image-opts', tmp_path / 'target', f'driver=luks,file.filename={image}'],
                 ['convert', '-O', 'luks', '-o', 'iter-time=400', tmp_path / 'target', tmp_path / 'encrypted']]:
        keys = [f'--{"new-" if image not in argv and argv[0] == "convert" else ""}key-file', pw]
        lines = shown_on_terminal(argv[0], '-p', *keys, *argv[1:])
        words = [line for line in lines if re.fullmatch(r'(    \(0\.00/100%\)  )?Deriving the key, about \d+ s', line)]
        assert words and lines.index(words[-1]) < lines.index('    (100.00/100%)'), lines
        steps = [float(step) for line in lines for step in re.findall(r'(\d+\.\d\d)/100%', line)]
        assert steps == sorted(steps) and steps[0] == 0


def test_programs_read_no_words(tmp_path):
    """Without a terminal, only percentages are printed, as in QEMU."""
    argv = ['create', '-q', '-p', '-f', 'luks', '-o', 'iter-time=400', '--key-file', password_file(tmp_path, b'pw'),
            tmp_path / 'image', '64k']
    text = qemu_img(*argv, text=False).stdout.decode()
    assert re.fullmatch(r'(    \(\d+\.\d\d/100%\)\r)+\n', text) and text.count('\r') > 5


def test_preallocation_and_key_count_together(tmp_path):
    """The key is derived once all is preallocated: it must not begin at 100 %."""
    lines = shown_on_terminal('create', '-p', '-f', 'luks', '-o', 'iter-time=400,preallocation=full', '--key-file',
                              password_file(tmp_path, b'pw'), tmp_path / 'image', '256M')
    assert_derivation_shows(lines)
    first = next(line for line in lines if 'Deriving' in line)
    assert 10 < float(re.search(r'\d+\.\d+', first)[0]) < 90, first
