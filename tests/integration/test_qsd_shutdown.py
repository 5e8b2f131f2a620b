"""Start and end of the daemon: which commands it accepts, and what it leaves behind.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import os
import shutil
import signal
import socket
import threading
import time

import pytest

from programs import cryptsetup, qemu_img, secret_object
from qmp import Qmp, QmpError, StorageDaemon

# Seconds within which everything ends that has nothing left to do; more with sanitizers.
SOON = 8


def monitor(path, ident):
    return ['--chardev', f'socket,id={ident},path={path},server=on,wait=off', '--monitor', ident]


def make_silent(qmp):
    """Let unread answers pile up, so that the daemon takes its second for goodbyes."""
    qmp.send_raw(b'{"execute": "query-qmp-schema"}' * 200)
    time.sleep(0.3)


def wait_end(daemon):
    """Wait for the end of the daemon; return how long it took."""
    begin = time.monotonic()
    assert daemon.wait()[0] == 0
    return time.monotonic() - begin


def test_quit_is_answered_before_the_event(tmp_path):
    with StorageDaemon(tmp_path) as daemon:
        daemon.qmp.send({'execute': 'quit', 'id': 1})
        assert daemon.qmp.receive() == {'return': {}, 'id': 1}
        assert daemon.qmp.receive()['event'] == 'SHUTDOWN'
        assert daemon.qmp.receive() is None


@pytest.mark.parametrize('how', ['quit', signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_no_command_begins_after_the_decision_to_end(tmp_path, how):
    with StorageDaemon(tmp_path, *monitor(tmp_path / 'other.sock', 'other')) as daemon:
        make_silent(daemon.qmp)
        other = Qmp(tmp_path / 'other.sock', oob=True)
        if how == 'quit':
            # commands queued after it are not executed, either
            other.send_raw(b'{"execute": "quit"}{"execute": "nbd-server-stop"}')
            assert other.answer() == {'return': {}}
            assert 'takes no more commands' in other.answer()['error']['desc']
        else:
            daemon.process.send_signal(how)
        other.wait_event('SHUTDOWN')
        path = tmp_path / 'nbd.sock'
        for command, args in (('query-version', None), ('no-such-command', None),
                              ('nbd-server-start', {'addr': {'type': 'unix', 'data': {'path': str(path)}}}),
                              ('blockdev-add', {'driver': 'null-co', 'node-name': 'n'}), ('quit', None)):
            err = other.error_raw(command, args)
            assert 'takes no more commands' in err.desc or 'not been found' in err.desc
        other.send({'exec-oob': 'query-jobs'})
        assert 'takes no more commands' in other.answer()['error']['desc']
        assert not path.exists()
        other.close()
        assert wait_end(daemon) < SOON


@pytest.fixture(name='full', scope='module')
def fixture_full(tmp_path_factory):
    """A volume whose keyslots are all in use, with the secrets s0 to s8 as arguments."""
    directory = tmp_path_factory.mktemp('full')
    image = directory / 'full.luks'
    secrets = [arg for i in range(9) for arg in secret_object(directory, f's{i}', b'password %d' % i)]
    qemu_img('create', '-q', '-f', 'luks', *secrets, '-o', 'key-secret=s0,iter-time=10', image, '1M')
    for i in range(1, 8):
        qemu_img('amend', *secrets, '--image-opts', f'driver=luks,key-secret=s0,file.filename={image}',
                 '-o', f'state=active,new-secret=s{i},iter-time=10')
    return image, secrets


FORCED_CHANGE = {'node-name': 'n', 'force': True,
                 'options': {'driver': 'luks', 'state': 'active', 'new-secret': 's8', 'keyslot': 7, 'iter-time': 20}}


def full_volume(full, tmp_path):
    """The daemon's arguments for a copy of the volume."""
    image = tmp_path / 'full.luks'
    shutil.copy(full[0], image)
    return [*full[1], '--blockdev',
            f'driver=luks,node-name=n,key-secret=s0,file.driver=file,file.filename={image}']


def passwords_that_open(tmp_path):
    return [i for i in (7, 8) if not cryptsetup('open', '--test-passphrase', tmp_path / 'full.luks',
                                                password=b'password %d' % i, status=None).returncode]


def test_forced_change_of_a_keyslot_at_the_end(full, tmp_path):
    """With all keyslots in use the old one must be overwritten: this is not started."""
    with StorageDaemon(tmp_path, *full_volume(full, tmp_path), *monitor(tmp_path / 'other.sock', 'other')) as daemon:
        make_silent(daemon.qmp)
        other = Qmp(tmp_path / 'other.sock')
        daemon.process.send_signal(signal.SIGTERM)
        other.wait_event('SHUTDOWN')
        # in the second that clients have to read, this would run right into the end of the program
        time.sleep(0.8)
        for i in range(100):
            try:
                other.cmd_raw('x-blockdev-amend', {'job-id': f'j{i}', **FORCED_CHANGE})
            except (QmpError, AssertionError, OSError):
                pass
            time.sleep(0.003)
        other.close()
        daemon.wait()
    assert passwords_that_open(tmp_path) == [7]


@pytest.mark.parametrize('delay', [0.01 * i for i in range(0, 10)])
def test_forced_change_that_was_begun(full, tmp_path, delay):
    """A change that is running at the end gives up cleanly, or completes: one of the two passwords opens."""
    with StorageDaemon(tmp_path, *full_volume(full, tmp_path)) as daemon:
        daemon.qmp.cmd_raw('x-blockdev-amend', {'job-id': 'j', **FORCED_CHANGE})
        time.sleep(delay)
        daemon.process.send_signal(signal.SIGTERM)
        daemon.wait()
    assert len(passwords_that_open(tmp_path)) == 1


def test_commands_wait_for_the_command_line(tmp_path):
    """The monitor is first on the command line: clients may connect, but everything else exists when it greets."""
    pipe = tmp_path / 'pipe'
    os.mkfifo(pipe)
    qmp_socket = tmp_path / 'first.sock'
    daemon = StorageDaemon(tmp_path, *monitor(qmp_socket, 'first'), '--object', f'secret,id=s0,file={pipe}',
                           '--blockdev', 'driver=null-co,node-name=n', '--nbd-server',
                           f'addr.type=unix,addr.path={tmp_path}/nbd.sock', '--export', 'nbd,id=e,node-name=n',
                           monitor=False)
    with daemon:
        with socket.socket(socket.AF_UNIX) as sock:
            deadline = time.monotonic() + 30
            while True:
                try:
                    sock.connect(str(qmp_socket))
                    break
                except (FileNotFoundError, ConnectionRefusedError):
                    assert time.monotonic() < deadline
                    time.sleep(0.01)
            sock.sendall(b'{"execute": "qmp_capabilities"}{"execute": "query-block-exports"}')
            sock.settimeout(0.5)
            with pytest.raises(TimeoutError):
                sock.recv(1)
            pipe.write_bytes(b'password')
            sock.settimeout(60)
            text = b''
            while text.count(b'\n') < 3:
                text += sock.recv(4096)
        assert b'"node-name": "n"' in text.splitlines()[2]


def test_requests_of_a_client_that_has_gone_are_dropped(tmp_path):
    """The command under way continues; those queued after it are not executed."""
    pipe = tmp_path / 'pipe'
    os.mkfifo(pipe)
    with StorageDaemon(tmp_path) as daemon:
        qmp = daemon.qmp
        qmp.send({'execute': 'object-add', 'arguments': {'qom-type': 'secret', 'id': 's0', 'file': str(pipe)}})
        for i in range(20):
            qmp.send({'execute': 'chardev-add', 'arguments': {'id': f'c{i}', 'backend': {'type': 'null', 'data': {}}}})
        time.sleep(0.3)
        qmp.close()
        pipe.write_bytes(b'password')
        daemon.qmp = daemon.connect()
        assert [o['name'] for o in daemon.qmp.cmd('qom-list', path='/objects')] == ['type', 's0']
        assert [c['label'] for c in daemon.qmp.cmd('query-chardev')] == ['qmp0']


@pytest.mark.parametrize('who', ['silent', 'vanished', 'half a request', 'unread events'])
def test_clients_do_not_delay_the_end(tmp_path, who):
    with StorageDaemon(tmp_path, *monitor(tmp_path / 'other.sock', 'other')) as daemon:
        other = Qmp(tmp_path / 'other.sock')
        if who == 'half a request':
            other.send_raw(b'{"execute": "query-qmp-')
        elif who == 'unread events':
            name = 'x' * 200
            for i in range(200):
                job = f'{name}{i}'
                daemon.qmp.cmd('blockdev-create', job_id=job,
                               options={'driver': 'file', 'filename': str(tmp_path / 'f'), 'size': 0})
                daemon.qmp.wait_event('JOB_STATUS_CHANGE', id=job, status='concluded')
                daemon.qmp.cmd('job-dismiss', id=job)
        else:
            make_silent(other)
        if who == 'vanished':
            other.close()
        daemon.qmp.send({'execute': 'quit'})
        assert daemon.qmp.answer() == {'return': {}}
        assert wait_end(daemon) < (2 if who == 'vanished' else SOON)
        other.close()


@pytest.mark.slow
def test_end_with_all_that_a_client_may_leave_unread(tmp_path):
    """Just below the 64 MiB at which a client is disconnected."""
    with StorageDaemon(tmp_path, *monitor(tmp_path / 'other.sock', 'other')) as daemon:
        other = Qmp(tmp_path / 'other.sock')
        other.sock.settimeout(1)
        ident = 'x' * (1 << 20)
        requests = threading.Thread(target=send_until_stuck, args=(other, ident))
        requests.start()
        time.sleep(3)
        daemon.qmp.send({'execute': 'quit'})
        assert wait_end(daemon) < SOON
        other.close()
        requests.join()


def send_until_stuck(qmp, ident):
    """Ask for long answers."""
    try:
        for _ in range(80):
            qmp.send({'execute': 'query-version', 'id': ident})
    except OSError:
        pass
