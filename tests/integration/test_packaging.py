"""The recipes for packages agree with the rest of the source.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import json
import os
import pathlib
import re
import shutil

import pytest

from programs import BUILD_DIR, SOURCE_DIR, copy_sources, run

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
    # The rbd driver loads its library when it needs it.
    assert set(installed.split()) == needed_packages(BUILD_DIR / 'qemu-storage-daemon') | {'librbd1'}


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


def test_debian_build_depends():
    """The packages that building needs are those of scripts/lib/packages.sh, beside what every package build has."""
    script = '. scripts/lib/packages.sh && echo ${build_packages[@]} ${driver_packages[@]} && echo ${test_packages[@]}'
    listed, tests = (line.split() for line in run('bash', '-c', script, cwd=SOURCE_DIR).stdout.splitlines())
    control = (SOURCE_DIR / 'debian/control').read_text(encoding='utf-8')
    build_depends = re.search(r'^Build-Depends:\n((?: .*\n)*)', control, re.MULTILINE)[1]
    names = re.findall(r'^ ([\w.+-]+)(?!.*nocheck)', build_depends, re.MULTILINE)
    assert set(listed) - {'gcc', 'libc6-dev'} == set(names) - {'debhelper-compat'}
    assert set(re.findall(r'^ (.*) <!nocheck>', build_depends, re.MULTILINE)) <= set(tests)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which('dh'), reason='needs debhelper')
def test_debian_package(tmp_path):
    """The package builds, depends on the libraries, and holds the programs under names that QEMU does not have."""
    source, root = tmp_path / 'source', tmp_path / 'root'
    copy_sources(source)
    # Without optimization, as it only takes time here.
    run('dpkg-buildpackage', '-us', '-uc', '-b', cwd=source, timeout=1200,
        env={**os.environ, 'DEB_BUILD_OPTIONS': 'nocheck noautodbgsym noopt terse parallel=2'})
    package, = tmp_path.glob('strongbox_*.deb')
    version = json.loads((BUILD_DIR / 'meson-info/intro-projectinfo.json').read_text())['version']
    assert run('dpkg-deb', '--field', package, 'Version').stdout.strip() == version

    names = [line.split()[-1] for line in run('dpkg-deb', '--contents', package).stdout.splitlines()]
    for program in ('qemu-img', 'qemu-io', 'qemu-nbd', 'qemu-storage-daemon'):
        assert f'./usr/bin/strongbox-{program}' in names
        assert f'./usr/share/man/man1/strongbox-{program}.1.gz' in names
        assert f'./usr/share/bash-completion/completions/strongbox-{program}' in names
        assert f'./usr/share/zsh/vendor-completions/_strongbox-{program}' in names
    assert './lib/systemd/system/strongbox-qemu-nbd@.socket' in names
    assert not [name for name in names if '/qemu-' in name]

    run('dpkg-deb', '--extract', package, root)
    qemu_img = root / 'usr/bin/strongbox-qemu-img'
    assert f'(strongbox {version})' in run(qemu_img, '--version').stdout
    depends = run('dpkg-deb', '--field', package, 'Depends').stdout
    assert needed_packages(qemu_img) <= set(re.findall(r'[\w.+-]+', depends))
    if shutil.which('lintian'):
        environ = {**os.environ, 'TMPDIR': str(tmp_path)}   # it leaves files there
        assert not run('lintian', '--allow-root', '--fail-on', 'error,warning', package, env=environ).stdout
