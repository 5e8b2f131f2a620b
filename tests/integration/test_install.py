"""What gets installed, and under which names.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import json
import pathlib
import re

import pytest

from programs import BUILD_DIR, SOURCE_DIR, run

PROGRAMS = ['qemu-img', 'qemu-io', 'qemu-nbd', 'qemu-storage-daemon']
PREFIX = 'strongbox-'
# A name of ours without a prefix; QEMU-IMG is the title of a manual page.
BARE_NAME = re.compile(r"(?<![\w-])(?<!QEMU's\s)qemu\\?-(img|io|nbd|storage\\?-daemon)\b", re.IGNORECASE)


@pytest.fixture(name='prefixed', scope='module')
def fixture_prefixed(tmp_path_factory):
    """A configured build with PREFIX."""
    directory = tmp_path_factory.mktemp('prefixed')
    run('meson', 'setup', f'-Dprogram_prefix={PREFIX}', directory, SOURCE_DIR)
    return directory


def installed_files(directory):
    """What meson install would write: {destination: file in the build or source}."""
    plan = json.loads((directory / 'meson-info' / 'intro-install_plan.json').read_text())
    return {item['destination']: source for kind in plan.values() for source, item in kind.items()}


@pytest.mark.parametrize('prefix', ['', PREFIX])
def test_names(prefix, prefixed):
    """Each program comes with its manual page, and what belongs to a program is named as it is."""
    names = [pathlib.PurePath(path) for path in installed_files(prefixed if prefix else BUILD_DIR)]
    for program in PROGRAMS:
        assert pathlib.PurePath('{bindir}', prefix + program) in names
        assert pathlib.PurePath('{mandir}', 'man1', f'{prefix}{program}.1') in names
        assert pathlib.PurePath('{datadir}/bash-completion/completions', prefix + program) in names
        assert pathlib.PurePath('{datadir}/fish/vendor_completions.d', f'{prefix}{program}.fish') in names
        assert pathlib.PurePath('{datadir}/zsh/site-functions', f'_{prefix}{program}') in names
    for path in names:
        if 'qemu-' in path.name:
            assert bool(prefix) == bool(not BARE_NAME.search(path.name.removeprefix('_'))), path


def test_texts(prefixed):
    """Manual pages and completions speak of the programs under the names that they are installed by."""
    texts = [pathlib.Path(source) for source in installed_files(prefixed).values() if PREFIX in source]
    texts = [path for path in texts if path.suffix == '.1' or 'complet' in str(path) or path.parent.name == 'tools']
    run('ninja', '-C', prefixed, *(path.relative_to(prefixed) for path in texts))
    assert len(texts) >= 5
    for path in texts:
        text = path.read_text(encoding='utf-8')
        assert PREFIX in text.replace('\\', '')
        assert not BARE_NAME.search(text), path
        assert "QEMU's strongbox" not in text


@pytest.mark.parametrize('program', PROGRAMS)
def test_called_by_another_name(program, tmp_path):
    """Help, version and errors use the name that the program was called by."""
    link = tmp_path / (PREFIX + program)
    link.symlink_to(BUILD_DIR / program)
    commands = [['--help'], ['--version'], ['--no-such-option']]
    if program == 'qemu-img':
        listed = run(link, '--help').stdout
        names = re.findall(r'^  ([a-z]+(?: [a-z]+)?)(?= \[|  )', listed, re.MULTILINE)
        commands += [[*name.split(), '--help'] for name in names]
        assert len(commands) > 15
    for command in commands:
        done = run(link, *command, status=None)
        text = done.stdout + done.stderr
        assert PREFIX + program in text, command
        assert not BARE_NAME.search(text), command
