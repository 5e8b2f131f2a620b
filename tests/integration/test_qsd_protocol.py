"""QMP as a protocol: greeting, negotiation, ids, streaming, errors, order, several clients.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import json
import random
import socket
import time

import pytest

from qmp import StorageDaemon


@pytest.fixture(name='daemon')
def fixture_daemon(tmp_path):
    with StorageDaemon(tmp_path) as daemon:
        yield daemon


@pytest.fixture(name='raw')
def fixture_raw(daemon):
    """A client that has not negotiated."""
    daemon.qmp.close()
    qmp = daemon.connect(negotiate=False)
    daemon.qmp = qmp
    return qmp


def test_greeting_and_negotiation(raw):
    greeting = raw.greeting['QMP']
    assert greeting['version']['qemu'] == {'major': 10, 'minor': 2, 'micro': 0}
    assert greeting['version']['package'].startswith('strongbox')
    assert greeting['capabilities'] == ['oob']
    err = raw.error('query-version')
    assert err.cls == 'CommandNotFound' and 'capabilities negotiation' in err.desc
    assert raw.error('no-such').cls == 'CommandNotFound'
    assert "'xyz'" in raw.error('qmp_capabilities', enable=['xyz']).desc
    assert raw.cmd('qmp_capabilities', enable=[]) == {}
    err = raw.error('qmp_capabilities')
    assert err.cls == 'CommandNotFound' and 'already complete' in err.desc
    assert raw.cmd('query-version') == greeting['version']


@pytest.mark.parametrize('ident', [0, -1, 2**63 - 1, 'libvirt-12', None, [1, [2]], {'a': {'b': None}}, 1.5, True, ''])
def test_id_is_echoed(daemon, ident):
    daemon.qmp.send({'execute': 'query-version', 'id': ident})
    answer = daemon.qmp.answer()
    assert answer['id'] == ident and 'return' in answer
    daemon.qmp.send({'execute': 'nope', 'id': ident})
    answer = daemon.qmp.answer()
    assert answer['id'] == ident and answer['error']['class'] == 'CommandNotFound'
    daemon.qmp.send({'execute': 1, 'id': ident})
    assert daemon.qmp.answer()['id'] == ident


def test_spacing(daemon):
    """Byte for byte as in QEMU: some clients compare text."""
    daemon.qmp.close()
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(daemon.socket))
    with sock, sock.makefile('rwb') as file:
        greeting = file.readline()
        assert greeting.startswith(b'{"QMP": {"version": {"qemu": {"')
        assert greeting.endswith(b'"}, "capabilities": ["oob"]}}\r\n')
        for request, answer in ((b'{"execute":"qmp_capabilities"}', b'{"return": {}}\r\n'),
                                (b'{"execute":"query-jobs","id":[1,{"a":2}]}', b'{"return": [], "id": [1, {"a": 2}]}\r\n')):
            file.write(request)
            file.flush()
            assert file.readline() == answer
    daemon.qmp = daemon.connect()


def test_no_id_none_echoed(daemon):
    daemon.qmp.send({'execute': 'query-version'})
    assert set(daemon.qmp.answer()) == {'return'}


def test_streaming(daemon):
    one = b'{"execute":"query-version","id":%d}'
    daemon.qmp.send_raw(b''.join(one % i for i in range(50)))
    assert [daemon.qmp.answer()['id'] for _ in range(50)] == list(range(50))
    pretty = json.dumps({'execute': 'query-commands', 'id': 'a { "b" } \\ \' ]'}, indent=8).encode()
    for i in range(len(pretty)):
        daemon.qmp.send_raw(pretty[i:i + 1])
        if i % 16 == 0:
            time.sleep(0.001)
    assert daemon.qmp.answer()['id'] == 'a { "b" } \\ \' ]'
    daemon.qmp.send_raw(b"\n\r\n\t {'execute': 'query-version', 'id': 'it''s'}")
    assert daemon.qmp.answer()['error']['class'] == 'GenericError'
    daemon.qmp.send_raw(b"\n{'execute': 'query-version', 'id': 'say \"hi\"'}")
    assert daemon.qmp.answer()['id'] == 'say "hi"'


BAD = [
    (b'garbage\n', 'JSON parse error'),
    (b'[1, 2]', 'must be a JSON object'),
    (b'"execute"', 'must be a JSON object'),
    (b'7 ', 'must be a JSON object'),
    (b'{}', "lacks member 'execute'"),
    (b'{"execute": 5}', "'execute' must be a string"),
    (b'{"execute": null}', "'execute' must be a string"),
    (b'{"execute": "quit", "arguments": []}', "'arguments' must be an object"),
    (b'{"execute": "quit", "arguments": null}', "'arguments' must be an object"),
    (b'{"execute": "query-version", "extra": 1}', "'extra' is unexpected"),
    (b'{"exec-oob": "query-version"}', "'exec-oob' is unexpected"),
    (b'{"execute": "query-version", "arguments": {"x": 1}}', "Invalid parameter 'x'"),
    (b'{"execute": "query-version", "execute": "quit"}', 'twice'),
    (b'}\n', 'JSON parse error'),
    (b'{"a": ]}', 'JSON parse error'),
    (b'{"execute": "query-version"]', 'JSON parse error'),
    (b'{"execute": "query\nversion"}\n', 'JSON parse error'),
    (b'\xff', 'JSON parse error'),
    (b'{"execute": "que\xff', 'JSON parse error'),
    (b'{"execute": "\xc3\x28"}', 'JSON parse error'),
    (b'{"execute": "a\x00b"}\n', 'JSON parse error'),
    (b'{"execute": "a\\u0000b"}', 'JSON parse error'),
    (b'[' * 100 + b']' * 100, 'JSON parse error'),
    (b'{"id":' * 5000 + b'1' + b'}' * 5000, 'JSON parse error'),
    (b'nul\n', 'JSON parse error'),
    (b'{"execute": "query-version",}', 'JSON parse error'),
    (b'{"execute": "query-version" /* no */}', 'JSON parse error'),
    (b'\x16\x03\x01\x02\x00\x01\n', 'JSON parse error'),
]


@pytest.mark.parametrize('data, part', BAD, ids=[str(i) for i in range(len(BAD))])
def test_bad_input(daemon, data, part):
    daemon.qmp.send_raw(data)
    answer = daemon.qmp.answer()
    assert answer['error']['class'] == 'GenericError' and part in answer['error']['desc']
    # and the session continues
    assert daemon.qmp.cmd('query-version')['qemu']['major'] == 10


def test_too_long(daemon):
    daemon.qmp.send_raw(b'{"execute": "query-version", "id": "' + b'x' * (17 << 20) + b'\n')
    assert 'longer than' in daemon.qmp.answer()['error']['desc']
    assert daemon.qmp.cmd('query-version')


def test_long_string_within_limits(daemon):
    daemon.qmp.send({'execute': 'query-version', 'id': 'x' * (4 << 20)})
    assert len(daemon.qmp.answer()['id']) == 4 << 20


def test_random_garbage(daemon):
    rng = random.Random(7)
    for _ in range(30):
        qmp = daemon.qmp
        qmp.send_raw(bytes(rng.randrange(256) for _ in range(rng.randrange(1, 3000))))
        qmp.send_raw(b'"\xff\n\xff\n' + b'{"execute": "query-version", "id": "sync"}')
        while qmp.answer().get('id') != 'sync':
            pass


def test_unread_answers_stop_the_reader(daemon):
    """Work for a client that does not read is bounded."""
    qmp = daemon.qmp
    qmp.sock.settimeout(0.5)
    sent = 0
    request = b'{"execute": "query-qmp-schema", "id": 1}' * 100
    with pytest.raises(TimeoutError):
        for _ in range(10000):
            sent += qmp.sock.send(request)
    with open(f'/proc/{daemon.process.pid}/status', encoding='ascii') as status:
        rss, = [int(line.split()[1]) for line in status if line.startswith('VmRSS')]
    assert rss < 500 << 10
    qmp.sock.settimeout(30)
    for _ in range(sent // (len(request) // 100)):
        assert qmp.answer()['id'] == 1


def test_oob(daemon):
    daemon.qmp.close()
    qmp = daemon.qmp = daemon.connect(oob=True)
    qmp.send({'exec-oob': 'query-jobs', 'id': 'o'})
    assert qmp.answer()['id'] == 'o'
    for command in ('quit', 'query-version', 'query-commands'):
        qmp.send({'exec-oob': command})
        assert 'does not support OOB' in qmp.answer()['error']['desc']
    qmp.send({'exec-oob': 'query-jobs', 'execute': 'query-jobs'})
    assert 'clash' in qmp.answer()['error']['desc']


def test_in_the_way_of_qemus_python_library(daemon):
    """Many requests at once and no newlines, answers found by their IDs, lines within its buffer, descriptors ahead."""
    daemon.qmp.close()
    qmp = daemon.qmp = daemon.connect(negotiate=False)
    assert 'oob' in qmp.greeting['QMP']['capabilities']
    qmp.send({'execute': 'qmp_capabilities', 'arguments': {'enable': ['oob']}})
    assert qmp.answer() == {'return': {}}
    commands = ['query-jobs', 'query-qmp-schema', 'no-such-command', 'query-block-exports', 'job-dismiss'] * 6
    for i, command in enumerate(commands):
        execute = 'exec-oob' if command == 'query-jobs' and i else 'execute'
        qmp.send({execute: command, 'id': f'__qmp#{i:05d}'})
    answers = {}
    for _ in commands:
        line = qmp.receive()
        assert len(json.dumps(line)) < 10 << 20
        answers[line['id']] = line
    for i, command in enumerate(commands):
        answer = answers[f'__qmp#{i:05d}']
        if command.startswith('query'):
            assert set(answer) == {'id', 'return'}
        else:
            assert set(answer) == {'id', 'error'} and set(answer['error']) == {'class', 'desc'}
    with open('/dev/null', encoding='ascii') as file:
        socket.send_fds(qmp.sock, [b' '], [file.fileno()])
    assert qmp.cmd('getfd', fdname='fd0') == {}
    assert qmp.cmd('closefd', fdname='fd0') == {}


def test_next_client_waits_for_its_turn(daemon):
    second = socket.socket(socket.AF_UNIX)
    second.settimeout(0.2)
    second.connect(str(daemon.socket))
    with pytest.raises(TimeoutError):
        second.recv(1)
    daemon.qmp.close()
    second.settimeout(10)
    assert b'QMP' in second.recv(4096)
    second.close()
    daemon.qmp = daemon.connect()


def test_clients_that_vanish(daemon):
    daemon.qmp.close()
    for data in (b'', b'{"execute": "qmp_cap', b'{"execute": "qmp_capabilities"}{"execute": "query-qmp-schema"}', b'\xff'):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(daemon.socket))
        sock.sendall(data)
        sock.close()
    daemon.qmp = daemon.connect()
    assert daemon.qmp.cmd('query-commands')


def test_half_closed_client_gets_answers(daemon):
    qmp = daemon.qmp
    qmp.send_raw(b'{"execute": "query-version", "id": 1}{"execute": "query-qmp-schema", "id": 2}')
    qmp.sock.shutdown(socket.SHUT_WR)
    assert qmp.answer()['id'] == 1
    assert qmp.answer()['id'] == 2
    assert qmp.receive() is None


def test_several_monitors(tmp_path):
    other = tmp_path / 'other.sock'
    with StorageDaemon(tmp_path, '--chardev', f'socket,id=c1,path={other},server=on,wait=off',
                       '--monitor', 'chardev=c1,pretty=on') as daemon:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(other))
            sock.sendall(b'{"execute": "qmp_capabilities"}')
            text = b''
            while text.count(b'\r\n') < 2:
                text += sock.recv(4096)
            assert text.split(b'\r\n')[0].count(b'\n') > 5
            daemon.qmp.cmd('quit')
            text = b''
            while chunk := sock.recv(4096):
                text += chunk
            event = json.loads(text)
        assert event['event'] == 'SHUTDOWN' and event['data'] == {'guest': False, 'reason': 'host-qmp-quit'}
        assert abs(event['timestamp']['seconds'] - time.time()) < 60
        assert 0 <= event['timestamp']['microseconds'] < 1000000
        assert daemon.wait()[0] == 0


def test_no_events_before_negotiation(raw, daemon):
    daemon.process.terminate()
    assert raw.receive() is None
    assert daemon.wait()[0] == 0


def test_query_commands(daemon):
    names = [c['name'] for c in daemon.qmp.cmd('query-commands')]
    assert names == sorted(names) and 'query-commands' in names
    schema = daemon.qmp.cmd('query-qmp-schema')
    assert sorted(i['name'] for i in schema if i['meta-type'] == 'command') == names

