"""The manual pages and the help of the programs name the same options.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import re

import pytest

from programs import BUILD_DIR, SOURCE_DIR, qemu_img_commands, run

OPTION = re.compile(r'(?<![\w-])(?:--[a-z][\w-]*|-[A-Za-z](?![\w-]))')
# Sections of qemu-img(1) that are about several commands.
COMMON = ['Naming an image', 'Passwords', 'Sizes', 'Common options']
# What pages mention beside options of their program: those that are known and refused, and of other programs.
OTHERS = {
    'qemu-img': {'-B', '-V', '--bitmaps', '-c', '-h', '-l'},
    'qemu-nbd': {'-B', '-c', '-d', '-l', '-m', '-s', '--now'},
    'qemu-storage-daemon': {'-l', '-n'},
}


def page_sections(program):
    """The sections of a manual page, {title: text}, without what makes letters bold."""
    text = (SOURCE_DIR / f'docs/man/{program}.1').read_text()
    text = re.sub(r'\\f[A-Z]|\\&', '', text).replace('\\-', '-').replace('\\~', ' ')
    sections = re.split(r'^\.S[SH] +"?(.*?)"?\n', text, flags=re.MULTILINE)
    return dict(zip(sections[1::2], sections[2::2]))


def page_options(text):
    return set(OPTION.findall(text))


def help_options(program, *command):
    """Those that help lists under Options."""
    text = run(BUILD_DIR / program, *command, '--help').stdout.split('\nOptions:\n')[1].split('\n\n')[0]
    letters = re.findall(r'^  (-\w)\b', text, re.MULTILINE)
    return {*letters, *re.findall(r'^  (?:-\w, |    )(--[\w-]+)', text, re.MULTILINE)}


def qemu_io_options():
    """Options of the program and of its commands."""
    commands = run(BUILD_DIR / 'qemu-io', '-c', 'help').stdout.split('\n\n')[0]
    options = help_options('qemu-io')
    for name in re.findall(r'^(\w+) ', commands, re.MULTILINE):
        text = run(BUILD_DIR / 'qemu-io', '-c', f'help {name}').stdout
        options |= set(re.findall(r'^ (-\w), -- ', text, re.MULTILINE)) | set(re.findall(r'\[(-\w) ', text))
    return options


@pytest.mark.parametrize('program', ['qemu-io', 'qemu-nbd', 'qemu-storage-daemon'])
def test_options(program):
    page = page_options('\n'.join(page_sections(program).values()))
    # "-Cqv" are three options.
    if program == 'qemu-io':
        page |= {f'-{letter}' for letters in re.findall(r'-([A-Za-z]{2,6})\b', str(page_sections(program))) for letter in letters}
    known = qemu_io_options() if program == 'qemu-io' else help_options(program)
    assert not known - page
    if program != 'qemu-io':
        assert not page - known - OTHERS[program]


def test_options_of_img_commands():
    sections = page_sections('qemu-img')
    common = page_options(' '.join(sections[title] for title in COMMON))
    for name in qemu_img_commands():
        title = next(t for t in sections if re.match(rf'{name}(?! (?:list|add|remove|change|backup|restore))\b', t))
        page = page_options(title + '\n' + sections[title])
        known = help_options('qemu-img', *name.split())
        assert not known - page - common - {'-h', '--help'}, name
        assert not page - known - OTHERS['qemu-img'], name


def test_common_options_of_img():
    sections = page_sections('qemu-img')
    known = set().union(*(help_options('qemu-img', *name.split()) for name in qemu_img_commands()))
    assert not page_options(' '.join(sections[title] for title in COMMON)) - known
