"""Descriptors passed by QMP clients: each belongs to the request that it came with.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import json
import os
import socket

import pytest

from qmp import QmpError, StorageDaemon


@pytest.fixture(name='daemon')
def fixture_daemon(tmp_path):
    with StorageDaemon(tmp_path) as daemon:
        yield daemon


def fd_files(daemon):
    """The files that the daemon's descriptors refer to."""
    directory = f'/proc/{daemon.process.pid}/fd'
    return [os.readlink(f'{directory}/{fd}') for fd in os.listdir(directory)]


def set_files(daemon):
    """The files that descriptors in sets refer to."""
    return [os.readlink(f"/proc/{daemon.process.pid}/fd/{info['fd']}")
            for fds in daemon.qmp.cmd('query-fdsets') for info in fds['fds']]


def request(command, **arguments):
    return json.dumps({'execute': command, 'arguments': arguments}).encode()


def test_refused_command_takes_its_descriptor_with_it(daemon, tmp_path):
    """A descriptor of a command that did not use it, or did not run, is not taken by the next."""
    refused = [b'{"execute": "no-such"}', b'{"execute": "add-fd", "arguments": {"fdset-id": "x"}}', b'{"execute": 1}',
               b'garbage\n', b'{"execute": "query-version"}', b'{"execute": "getfd", "arguments": {"fdname": "0x"}}']
    with open(tmp_path / 'wrong', 'wb') as wrong, open(tmp_path / 'right', 'wb') as right:
        for data in refused:
            socket.send_fds(daemon.qmp.sock, [data], [wrong.fileno()])
            daemon.qmp.answer()
            with pytest.raises(QmpError, match='No file descriptor supplied'):
                daemon.qmp.cmd('add-fd')
        daemon.qmp.cmd('add-fd', fds=[right.fileno()])
    assert set_files(daemon) == [str(tmp_path / 'right')]
    assert str(tmp_path / 'wrong') not in fd_files(daemon)


def test_more_than_the_command_takes(daemon, tmp_path):
    """The first is taken, the others are closed."""
    with open(tmp_path / 'first', 'wb') as first, open(tmp_path / 'second', 'wb') as second:
        daemon.qmp.cmd('add-fd', fds=[first.fileno(), second.fileno()])
    assert set_files(daemon) == [str(tmp_path / 'first')]
    assert str(tmp_path / 'second') not in fd_files(daemon)


def test_requests_that_arrive_together(daemon, tmp_path):
    """With many requests waiting in the socket, each still gets its own descriptor, and the others none."""
    names = [str(tmp_path / f'file{i}') for i in range(6)]
    files = [open(name, 'wb') for name in names]
    try:
        sock = daemon.qmp.sock
        # Unread answers stop the daemon's reading, so that all the rest arrives at once.
        sock.sendall(request('query-qmp-schema') * 40)
        for i, file in enumerate(files):
            sock.sendall(request('query-version') + request('add-fd'))
            socket.send_fds(sock, [request('add-fd', opaque=str(i))], [file.fileno()])
            # before a request, and in the middle of one
            socket.send_fds(sock, [b' '], [file.fileno()])
            sock.sendall(request('add-fd', opaque=str(i)))
            data = request('add-fd', opaque=str(i))
            sock.sendall(data[:10])
            socket.send_fds(sock, [data[10:]], [file.fileno()])
        for _ in range(40):
            daemon.qmp.answer()
        for _ in files:
            assert 'return' in daemon.qmp.answer()
            assert 'No file descriptor' in daemon.qmp.answer()['error']['desc']
            for _ in range(3):
                assert 'return' in daemon.qmp.answer()
    finally:
        for file in files:
            file.close()
    for fds in daemon.qmp.cmd('query-fdsets'):
        for info in fds['fds']:
            assert os.readlink(f"/proc/{daemon.process.pid}/fd/{info['fd']}") == names[int(info['opaque'])]
    assert sum(name in fd_files(daemon) for name in names) == 6
    assert len(set_files(daemon)) == 18


def test_client_that_leaves_its_descriptors(daemon, tmp_path):
    """Descriptors without a request, or with one that was dropped, are closed when the client is gone."""
    with open(tmp_path / 'lost', 'wb') as lost:
        for data in (b' ', b'{"execute": "getfd"', request('getfd', fdname='a') + b' '):
            qmp = daemon.qmp
            socket.send_fds(qmp.sock, [data], [lost.fileno()])
            qmp.close()
            daemon.qmp = daemon.connect()
    assert str(tmp_path / 'lost') not in fd_files(daemon)
