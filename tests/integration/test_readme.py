"""The examples in README work as shown.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import json
import os
import pathlib
import re
import shlex
import time

import pytest

from programs import BUILD_DIR, SOURCE_DIR, copy_sources, run

README = (SOURCE_DIR / 'README.md').read_text(encoding='utf-8')


@pytest.mark.slow
@pytest.mark.plain_build
def test_examples(tmp_path):
    """All examples, one after the other, typed into one shell at the top of the source."""
    blocks = re.findall(r'^```sh\n(.*?)^```$', README, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 7
    (tmp_path / 'build').symlink_to(BUILD_DIR)
    new = tmp_path / 'new'
    new.mkdir()
    script = '\necho -- next\n'.join(blocks) + '\ncommand -v qemu-img; pwd'
    done = run('sh', '-e', '-c', script, cwd=tmp_path, env={**os.environ, 'TMPDIR': str(new)})
    output = done.stdout.split('-- next\n')
    assert 'encrypted: yes' in output[1]
    assert 'Images are identical.' in output[2]
    assert 'active' in output[3]
    assert 'Assurance:' in output[4]
    assert "'disk'" in output[5] and 'size: ' in output[5]
    answers = [json.loads(line) for line in output[5].splitlines() if line.startswith('{')]
    assert answers[1] == {'return': {}}
    assert [export['node-name'] for export in answers[2]['return']] == ['disk']
    assert '"ready": true' in output[6] and '"error"' not in output[6]
    *_, qemu_img, directory = output[6].splitlines()
    assert qemu_img == str(tmp_path / 'build' / 'qemu-img')
    made = pathlib.Path(directory)
    assert made.parent == new
    assert (made / 'vault.backup').stat().st_mode & 0o777 == 0o600
    while (made / 'daemon.pid').exists():
        time.sleep(0.01)
    assert not (made / 'qmp.sock').exists()
    assert '--force' not in README


def test_set_up(tmp_path):
    """The commands that build: the scripts exist, and without them meson has all that it needs."""
    *scripts, by_hand = re.findall(r'^\$ (.+)', README, re.MULTILINE)
    for script in scripts:
        assert os.access(SOURCE_DIR / script, os.X_OK), script
    set_up, build = by_hand.split(' && ')
    copy_sources(tmp_path)
    run(*shlex.split(set_up), cwd=tmp_path)
    assert 'Linking target qemu-img' in run(*shlex.split(build), '-n', cwd=tmp_path).stdout


@pytest.mark.parametrize('page', ['README', 'CONTRIBUTING', 'NEWS', 'SECURITY'])
def test_links(page):
    """What the pages at the top link to, or name by its path, exists."""
    text = (SOURCE_DIR / f'{page}.md').read_text(encoding='utf-8')
    named = re.findall(r'`((?:docs|scripts|include|debian)/[\w./-]*)', text)
    for target in re.findall(r'\]\(([^)]+)\)', text) + named:
        assert (SOURCE_DIR / target).exists(), target
