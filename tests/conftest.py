"""Shared by all tests of the programs; see programs.py for running them.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import signal

import pytest

import programs

pytest_plugins = ['ceph_cluster', 'iscsi_target']

# A shell without job control starts background programs with this signal ignored, and they pass that on.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    """Skip tests that do not work with sanitizers, if BUILD_DIR was built with them."""
    if not any(item.get_closest_marker('plain_build') for item in items):
        return
    if programs.build_option('b_sanitize') == 'none':
        return
    for item in items:
        if item.get_closest_marker('plain_build'):
            item.add_marker(pytest.mark.skip(reason='needs a build without sanitizers'))


@pytest.fixture(name='pki', scope='session')
def fixture_pki(tmp_path_factory):
    """A directory with a CA, a server localhost, and a client CN=tester; in other/ the same from another CA."""
    top = tmp_path_factory.mktemp('pki')
    for directory in (top, top / 'other'):
        directory.mkdir(exist_ok=True)
        new = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
        ca = ['-CA', directory / 'ca-cert.pem', '-CAkey', directory / 'ca-key.pem', '-CAcreateserial']
        programs.run('openssl', 'req', '-x509', *new, '-days', '30', '-subj', f'/CN={directory.name} CA',
                     '-addext', 'keyUsage=critical,keyCertSign',
                     '-keyout', directory / 'ca-key.pem', '-out', directory / 'ca-cert.pem')
        (directory / 'ext').write_text('subjectAltName=DNS:localhost,IP:127.0.0.1\n')
        for who, name in (('server', 'localhost'), ('client', 'tester')):
            request = directory / f'{who}.csr'
            programs.run('openssl', 'req', *new, '-subj', f'/CN={name}',
                         '-keyout', directory / f'{who}-key.pem', '-out', request)
            programs.run('openssl', 'x509', '-req', '-in', request, '-days', '30', *ca,
                         '-extfile', directory / 'ext', '-out', directory / f'{who}-cert.pem')
    return top
