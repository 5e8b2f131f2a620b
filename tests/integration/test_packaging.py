"""The recipes for packages agree with the rest of the source.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import json
import pathlib
import re

import pytest

from programs import BUILD_DIR, SOURCE_DIR, run

pytestmark = pytest.mark.plain_build
BOOKWORM = 'VERSION_CODENAME=bookworm' in pathlib.Path('/etc/os-release').read_text(encoding='utf-8')
CONTAINERFILE = (SOURCE_DIR / 'Containerfile').read_text(encoding='utf-8').replace('\\\n', ' ')


def needed_packages(program):
    """The Debian packages of the libraries that a program is linked with."""
    libraries = re.findall(r'NEEDED.*\[(.*)\]', run('readelf', '--dynamic', program).stdout)
    owners = run('dpkg-query', '--search', *(f'*/{library}' for library in libraries)).stdout
    return {re.sub(':.*', '', line) for line in owners.splitlines() if not line.startswith('libc6')}


@pytest.mark.skipif(not BOOKWORM, reason='library packages have other names on other systems')
def test_container_libraries():
    """The image gets the libraries that the programs need, and no others."""
    installed = re.search(r'apt-get .*install .*--no-install-recommends ([^&]*)', CONTAINERFILE)[1]
    assert set(installed.split()) == needed_packages(BUILD_DIR / 'qemu-storage-daemon')


def test_container_build(tmp_path):
    """The first stage installs what scripts/lib/packages.sh lists, and the options of its build exist."""
    install, build, _ = re.findall('^RUN (.*)', CONTAINERFILE, re.MULTILINE)
    for path in re.search('^COPY (.*) ', CONTAINERFILE, re.MULTILINE)[1].split():
        assert path in install and (SOURCE_DIR / path).exists()
    run('sh', '-e', '-c', install.replace('install_packages', 'missing_packages'), cwd=SOURCE_DIR)
    run('sh', '-e', '-c', build.split('&&')[0].replace('/build', str(tmp_path)), cwd=SOURCE_DIR)
    plan = json.loads((tmp_path / 'meson-info' / 'intro-install_plan.json').read_text())
    assert {item['destination'] for item in plan['targets'].values()} >= {'{bindir}/qemu-img', '{bindir}/qemu-nbd'}
    assert 'systemd' not in json.dumps(plan)
