"""The systemd units: systemd finds nothing to complain of, and their command lines serve a volume on its sockets.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import json
import re
import shlex
import shutil
import subprocess
import time

import pytest

from programs import BUILD_DIR, SOURCE_DIR, SYSTEM_ENV, password_file, qemu_img, run

pytestmark = [
    pytest.mark.plain_build,    # systemd-socket-activate does not hand on what the sanitizers are told
    pytest.mark.skipif(not shutil.which('systemd-socket-activate'), reason='needs systemd'),
]
PROGRAMS = ['qemu-nbd', 'qemu-storage-daemon']


@pytest.fixture(name='units', scope='module')
def fixture_units(tmp_path_factory):
    """A directory with the units, which start the programs of BUILD_DIR."""
    directory = tmp_path_factory.mktemp('units')
    build = directory / 'build'
    run('meson', 'setup', '-Dsystemd_unit_dir=/lib/systemd/system', '-Dprefix=/usr', build, SOURCE_DIR)
    for path in (build / 'tools' / 'systemd').glob('*@*'):
        (directory / path.name).write_text(path.read_text().replace('/usr/bin/', f'{BUILD_DIR}/'))
    return directory


def settings(path, name):
    """The values of all settings NAME in a unit."""
    text = path.read_text().replace('\\\n', ' ')
    return re.findall(f'^{name}=(.*)$', text, re.MULTILINE)


def command_line(path, specifiers, credentials):
    """The ExecStart= of a service, as systemd would execute it."""
    def specify(text):
        return re.sub('%(.)', lambda match: specifiers[match[1]], text)

    variables = {'CREDENTIALS_DIRECTORY': str(credentials)}
    for setting in settings(path, 'Environment'):
        for assignment in shlex.split(specify(setting)):
            variables.update([assignment.split('=', 1)])
    for word in shlex.split(specify(settings(path, 'ExecStart')[0])):
        if word.startswith('$') and not word.startswith('${'):
            yield from variables.get(word[1:], '').split()
        else:
            yield re.sub(r'\$\{(\w+)\}', lambda match: variables[match[1]], word)


@pytest.mark.parametrize('program', PROGRAMS)
def test_verify(program, units):
    done = run('systemd-analyze', 'verify', '--man=no', f'{program}@disk.service', f'{program}@disk.socket', cwd=units,
               env={**SYSTEM_ENV, 'SYSTEMD_UNIT_PATH': f'{units}:'})
    assert not done.stdout + done.stderr


@pytest.mark.parametrize('program', PROGRAMS)
def test_hardening(program, units):
    service = units / f'{program}@.service'
    assert settings(service, 'LimitCORE') == ['0'] and settings(service, 'LimitMEMLOCK') == ['64M']
    assert settings(service, 'LoadCredential') == ['password:/etc/strongbox/%i.password']
    assert settings(service, 'User') == (SOURCE_DIR / 'tools/systemd/strongbox.conf').read_text().split('\nu ')[1].split()[:1]
    done = run('systemd-analyze', 'security', '--offline=yes', service, '--threshold=15', env=SYSTEM_ENV)
    assert 'UNSAFE' not in done.stdout


@pytest.mark.parametrize('program', PROGRAMS)
def test_socket_activation(program, units, tmp_path):
    """The first client starts the server, finds the volume, and others find it after that."""
    password = password_file(tmp_path, b'pw', 'password')
    (tmp_path / 'strongbox').mkdir()
    qemu_img('create', '-q', '-f', 'luks', '--key-file', password, '-o', 'iter-time=10', tmp_path / 'strongbox/disk.luks', '1M')
    specifiers = {'i': 'disk', 'S': str(tmp_path), 't': str(tmp_path)}
    sockets = [re.sub('%(.)', lambda match: specifiers[match[1]], path)
               for path in settings(units / f'{program}@.socket', 'ListenStream')]
    listen = [arg for path in sockets for arg in ('--listen', path)]
    argv = command_line(units / f'{program}@.service', specifiers, tmp_path)
    with subprocess.Popen(['systemd-socket-activate', *listen, *argv]) as server:
        try:
            while not (tmp_path / 'strongbox/disk.nbd').exists():
                time.sleep(0.01)
            name = 'disk' if program == 'qemu-storage-daemon' else ''
            for _ in range(2):
                uri = f'nbd+unix:///{name}?socket={tmp_path}/strongbox/disk.nbd'
                assert json.loads(run('nbdinfo', '--json', uri, timeout=20).stdout)['exports'][0]['export-size'] == 1 << 20
            if program == 'qemu-storage-daemon':
                commands = '{"execute": "qmp_capabilities"} {"execute": "query-block-exports"}'
                answer = run('socat', '-t', '5', '-', f'UNIX-CONNECT:{tmp_path}/strongbox/disk.qmp', input=commands).stdout
                assert '"node-name": "volume"' in answer
        finally:
            server.terminate()
        assert server.wait(timeout=20) == 0
