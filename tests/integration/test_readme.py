"""What README shows works as shown.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import os
import re
import time

import pytest

from programs import BUILD_DIR, SOURCE_DIR, run

README = (SOURCE_DIR / 'README.md').read_text(encoding='utf-8')


@pytest.mark.slow
def test_examples(tmp_path):
    """The examples, one after the other in one directory."""
    blocks = re.findall(r'^```sh\n(.*?)^```$', README, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 5
    env = {**os.environ, 'PATH': f'{BUILD_DIR}:{os.environ["PATH"]}'}
    output = [run('sh', '-e', '-c', block, cwd=tmp_path, env=env).stdout for block in blocks]
    assert 'encrypted: yes' in output[0]
    assert 'Images are identical.' in output[1]
    assert 'active' in output[2]
    assert (tmp_path / 'vault.backup').stat().st_mode & 0o777 == 0o600
    assert 'Assurance:' in output[3]
    assert "'disk'" in output[4] and 'size: ' in output[4]
    while (tmp_path / 'daemon.pid').exists():
        time.sleep(0.01)
    assert not (tmp_path / 'qmp.sock').exists()


def test_links():
    for target in re.findall(r'\]\(([^)]+)\)', README):
        assert (SOURCE_DIR / target).exists(), target


def test_commands():
    """The scripts that it names."""
    for script in re.findall(r'^\$ (\S+)', README, re.MULTILINE):
        assert os.access(SOURCE_DIR / script, os.X_OK), script
