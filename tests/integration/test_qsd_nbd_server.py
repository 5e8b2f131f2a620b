"""The NBD server's commands, and the storage daemon's --nbd-server.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import socket

import nbd
import pytest

from nbd_server import connect_wire, is_listening
from qmp import StorageDaemon


def unix(path):
    """An address for nbd-server-start."""
    return {'type': 'unix', 'data': {'path': str(path)}}


def connect(path):
    """A connection after the greeting."""
    return connect_wire(path).greet()


def test_start_and_stop(tmp_path):
    path = tmp_path / 'nbd.sock'
    with StorageDaemon(tmp_path) as daemon:
        qmp = daemon.qmp
        for _ in range(3):
            assert 'not running' in qmp.error('nbd-server-stop').desc
            qmp.cmd('nbd-server-start', addr=unix(path))
            assert 'already running' in qmp.error('nbd-server-start', addr=unix(path)).desc
            with connect(path) as wire:
                assert wire.option(3) == [(1, b'')]
                qmp.cmd('nbd-server-stop')
                assert wire.at_end()
            assert not path.exists()
        assert qmp.cmd('query-block-exports') == []


def test_tcp(tmp_path):
    """A port chosen by the kernel cannot be queried over QMP, so take one that was just free."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    with StorageDaemon(tmp_path) as daemon:
        daemon.qmp.cmd('nbd-server-start', addr={'type': 'inet', 'data': {'host': '127.0.0.1', 'port': str(port)}})
        handle = nbd.NBD()
        handle.set_opt_mode(True)
        handle.connect_tcp('127.0.0.1', str(port))
        handle.opt_abort()


def test_descriptor(tmp_path):
    """A listening socket handed over with getfd, as libvirt does."""
    path = tmp_path / 'nbd.sock'
    with socket.socket(socket.AF_UNIX) as listener, StorageDaemon(tmp_path) as daemon:
        listener.bind(str(path))
        listener.listen()
        daemon.qmp.cmd('getfd', fds=[listener.fileno()], fdname='nbd-socket')
        daemon.qmp.cmd('nbd-server-start', addr={'type': 'fd', 'data': {'str': 'nbd-socket'}})
        listener.close()
        with connect(path) as wire:
            assert wire.option(3) == [(1, b'')]
        daemon.qmp.cmd('nbd-server-stop')
        assert 'nbd-socket' in daemon.qmp.error('nbd-server-start', addr={'type': 'fd', 'data': {'str': 'nbd-socket'}}).desc


@pytest.mark.parametrize('arguments, expected', [
    ({}, 'addr'),
    ({'addr': {'type': 'unix'}}, 'data'),
    ({'addr': {'type': 'unix', 'data': {'path': '/nonexistent/sock'}}}, '/nonexistent/sock'),
    ({'addr': {'type': 'unix', 'data': {'path': 'sock'}}, 'tls-creds': 't0'}, "'t0'"),
    ({'addr': {'type': 'unix', 'data': {'path': 'sock'}}, 'tls-authz': 'a0'}, 'tls-creds'),
    ({'addr': {'type': 'unix', 'data': {'path': 'sock'}}, 'max-connections': -1}, 'max-connections'),
    ({'addr': {'type': 'unix', 'data': {'path': 'sock'}}, 'handshake-max-seconds': 1 << 33}, 'handshake-max-seconds'),
    ({'addr': {'type': 'fd', 'data': {'str': 'nothing'}}}, 'nothing'),
    ({'addr': {'type': 'unix', 'data': {'path': 'sock'}}, 'colour': 'red'}, 'colour'),
])
def test_bad_starts(tmp_path, arguments, expected):
    with StorageDaemon(tmp_path) as daemon:
        assert expected in daemon.qmp.error_raw('nbd-server-start', arguments).desc
        daemon.qmp.cmd('nbd-server-start', addr=unix(tmp_path / 'good.sock'))


def test_command_line(tmp_path):
    """QEMU's form with dots, and JSON."""
    for i, option in enumerate((f'addr.type=unix,addr.path={tmp_path}/0.sock,max-connections=5',
                                f'{{"addr": {{"type": "unix", "path": "{tmp_path}/1.sock"}}}}')):
        with StorageDaemon(tmp_path, '--nbd-server', option):
            assert is_listening(tmp_path / f'{i}.sock')
        assert not (tmp_path / f'{i}.sock').exists()


def test_connections_limit_and_time(tmp_path):
    path = tmp_path / 'nbd.sock'
    with StorageDaemon(tmp_path) as daemon:
        daemon.qmp.cmd_raw('nbd-server-start', {'addr': unix(path), 'max-connections': 1, 'handshake-max-seconds': 1})
        with connect(path) as first, connect(path) as second:
            # The second was served when the time of the first was up.
            assert first.at_end()
            assert second.option(3) == [(1, b'')]


def test_exports_without_nodes(tmp_path):
    with StorageDaemon(tmp_path) as daemon:
        qmp = daemon.qmp
        export = {'type': 'nbd', 'id': 'e0', 'node_name': 'n0'}
        assert "'n0'" in qmp.error('block-export-add', **export).desc
        assert "'1e'" in qmp.error('block-export-add', **{**export, 'id': '1e'}).desc
        assert "'io0'" in qmp.error('block-export-add', iothread='io0', **export).desc
        assert 'fuse' in qmp.error('block-export-add', **{**export, 'type': 'fuse'}).desc
        assert "'e0'" in qmp.error('block-export-del', id='e0').desc
        assert 'not running' in qmp.error('nbd-server-remove', name='e0').desc
        assert "'n0'" in qmp.error('nbd-server-add', device='n0').desc
        qmp.cmd('nbd-server-start', addr=unix(tmp_path / 'nbd.sock'))
        assert "'e0'" in qmp.error('nbd-server-remove', name='e0').desc
