"""The examples in the schema work as written.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import os
import sys

import pytest

from programs import SOURCE_DIR, qemu_img, secret_object
from qmp import StorageDaemon

sys.path.insert(0, str(SOURCE_DIR / 'scripts' / 'qapi'))
# pylint: disable=wrong-import-position
from examples import DOTS, check_event, check_reply, examples
from schema import Schema
sys.path.pop(0)

SCHEMA = Schema(str(SOURCE_DIR / 'qapi' / 'qapi-schema.json'))
EXAMPLES = examples(SCHEMA)

# Values that differ from run to run: those of an example are compared by type only.
VARYING = {'timestamp', 'thread-id', 'package', 'actual-size', 'uuid', 'iters', 'master-key-iters', 'current-progress',
           'fd'}

NULL_CHARDEV = ('chardev-add', {'id': 'char0', 'backend': {'type': 'null', 'data': {}}})
SERVER = ('nbd-server-start', {'addr': {'type': 'unix', 'data': {'path': 'nbd.sock'}}})
EXPORT = ('block-export-add', {'type': 'nbd', 'id': 'export0', 'node-name': 'disk0', 'writable': True})
SLOW_GROUP = ('object-add', {'qom-type': 'throttle-group', 'id': 'slow', 'limits': {'bps-total': 65536}})
SLOW_NODE = ('blockdev-add', {'driver': 'throttle', 'node-name': 'slow0', 'throttle-group': 'slow',
                              'file': {'driver': 'file', 'filename': 'disk.img'}})
RUNNING_JOB = [SLOW_GROUP, SLOW_NODE, ('blockdev-secure-erase', {'job-id': 'erase0', 'node-name': 'slow0', 'scope': 'volume'})]
CREATE = ('blockdev-create', {'job-id': 'create0', 'options': {'driver': 'file', 'filename': 'new.img', 'size': 1 << 20}})
TARGET = ('blockdev-add', {'driver': 'file', 'node-name': 'target0', 'filename': 'disk.img'})
COPY = {'device': 'disk0', 'target': 'target0', 'sync': 'full'}
READY_MIRROR = [TARGET, ('blockdev-mirror', {'job-id': 'mirror0', **COPY})]
BACKUP_TARGET = ('blockdev-add', {'driver': 'null-co', 'node-name': 'target0', 'size': 1 << 20})
PENDING_BACKUP = [BACKUP_TARGET, ('blockdev-backup', {'job-id': 'backup0', **COPY, 'auto-finalize': False})]
CONCLUDED_BACKUP = [BACKUP_TARGET, ('blockdev-backup', {'job-id': 'backup0', **COPY, 'auto-dismiss': False})]
FD = {'getfd', 'add-fd'}
# What jobs have reached when the example begins, if they have not concluded.
STATUS = {'erase0': 'running', 'mirror0': 'ready'}
BITMAPS = [('block-dirty-bitmap-add', {'node': 'disk0', 'name': f'bitmap{i}'}) for i in range(3)]

# What has to happen before the examples of some commands.
BEFORE = {
    **{f'block-dirty-bitmap-{what}': BITMAPS for what in ('remove', 'clear', 'enable', 'disable', 'merge')},
    'x-debug-block-dirty-bitmap-sha256': BITMAPS,
    'closefd': [('getfd', {'fdname': 'socket0'})],
    'remove-fd': [('add-fd', {'fdset-id': 1})],
    'query-fdsets': [('add-fd', {'fdset-id': 1, 'opaque': 'rw:disk.img'})],
    'chardev-remove': [NULL_CHARDEV],
    'query-chardev': [NULL_CHARDEV],
    'nbd-server-stop': [SERVER, EXPORT],
    'nbd-server-add': [SERVER],
    'nbd-server-remove': [SERVER, ('nbd-server-add', {'device': 'disk0'})],
    'block-export-add': [SERVER],
    'block-export-del': [SERVER, EXPORT],
    'query-block-exports': [SERVER, EXPORT],
    'blockdev-keyslot-remove': [('blockdev-keyslot-add', {'job-id': 'add0', 'node-name': 'disk0', 'new-secret': 'sec1',
                                                          'iter-time': 10})],
    'blockdev-backup': [BACKUP_TARGET],
    **{f'block-job-{what}': READY_MIRROR for what in ('pause', 'cancel', 'complete', 'set-speed')},
    'block-job-resume': [*READY_MIRROR, ('block-job-pause', {'device': 'mirror0'})],
    'block-job-finalize': PENDING_BACKUP,
    'block-job-dismiss': CONCLUDED_BACKUP,
    'query-block-jobs': READY_MIRROR,
    'job-pause': RUNNING_JOB,
    'job-resume': [*RUNNING_JOB, ('job-pause', {'id': 'erase0'})],
    'job-cancel': RUNNING_JOB,
    'job-complete': READY_MIRROR,
    'job-finalize': PENDING_BACKUP,
    'job-dismiss': [CREATE],
    'query-jobs': [CREATE],
    'blockdev-mirror': [TARGET],
}


def differences(expected, actual, path=''):
    """Where ACTUAL is not as the example has it."""
    if path.rpartition('.')[2] in VARYING:
        return [] if type(actual) is type(expected) else [f'{path}: {actual!r}']
    if isinstance(expected, dict) and isinstance(actual, dict):
        names = set(expected) if DOTS in expected else set(expected) | set(actual)
        return [difference for name in names - {DOTS}
                for difference in differences(expected.get(name), actual.get(name), f'{path}.{name}')]
    if isinstance(expected, list) and isinstance(actual, list):
        if DOTS in expected:
            return [f'{path}: lacks {e!r}' for e in expected if e != DOTS and all(differences(e, a) for a in actual)]
        if len(expected) == len(actual):
            return [difference for i, (e, a) in enumerate(zip(expected, actual))
                    for difference in differences(e, a, f'{path}.{i}')]
    return [] if expected == actual else [f'{path}: {actual!r}']


def test_differences():
    example = {'a': [1, {'b': 'x'}], 'thread-id': 7}
    assert not differences(example, {'a': [1, {'b': 'x'}], 'thread-id': 8})
    assert differences(example, {'a': [1, {'b': 'y'}], 'thread-id': 7}) == [".a.1.b: 'y'"]
    assert differences(example, {'a': [1], 'thread-id': '7'})
    assert differences(example, {**example, 'c': 1}) == ['.c: 1']
    assert not differences({'a': 1, DOTS: None}, {'a': 1, 'b': 2})
    assert not differences([2, DOTS], [1, 2, 3])
    assert differences([4, DOTS], [1, 2, 3]) == [': lacks 4']


class Client:
    """Runs an example; what a reply may be, the schema says."""

    def __init__(self, qmp):
        self.qmp = qmp
        self.jobs = []

    def request(self, name, arguments=None):
        fds = [os.open('disk.img', os.O_RDWR)] if name in FD else []
        self.qmp.send({'execute': name, **({'arguments': arguments} if arguments else {})}, fds)
        for fd in fds:
            os.close(fd)
        reply = self.qmp.answer()
        check_reply(SCHEMA.commands[name], reply)
        return reply

    def prepare(self, name, arguments):
        assert 'error' not in self.request(name, arguments)
        if 'job-id' in arguments:
            status = STATUS.get(arguments['job-id'], 'concluded')
            status = 'pending' if arguments.get('auto-finalize') is False else status
            self.qmp.wait_event('JOB_STATUS_CHANGE', id=arguments['job-id'], status=status)
        elif name == 'job-pause':
            self.qmp.wait_event('JOB_STATUS_CHANGE', id=arguments['id'], status='paused')

    def run(self, example):
        reply = None
        for arrow, message in example:
            if arrow == '->':
                arguments = message.get('arguments', {})
                self.jobs += [arguments['job-id']] if 'job-id' in arguments else []
                reply = self.request(message['execute'], arguments)
            elif 'event' in message:
                event = self.qmp.wait_event(message['event'], **message.get('data', {}))
                check_event(SCHEMA, event)
            else:
                assert not differences(message, reply)

    def finish(self):
        """The jobs of the example have not failed."""
        for info in self.qmp.cmd('query-jobs') if self.jobs else []:
            if info['type'] == 'mirror':
                self.qmp.wait_event('BLOCK_JOB_READY', device=info['id'])
                self.qmp.cmd('job-complete', id=info['id'])
        for job in self.jobs:
            self.qmp.wait_event('JOB_STATUS_CHANGE', id=job, status='concluded')
            info, = [info for info in self.qmp.cmd('query-jobs') if info['id'] == job]
            assert 'error' not in info, info


@pytest.fixture(name='daemon')
def fixture_daemon(tmp_path, monkeypatch):
    """With the files, objects and nodes that the examples speak of."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'disk.img').write_bytes(bytes(4 << 20))
    secret = secret_object(tmp_path, 'sec0', b'zero')
    qemu_img('create', '-q', '-f', 'luks', *secret, '-o', 'key-secret=sec0,iter-time=10', 'disk.luks', '1M')
    with StorageDaemon(tmp_path, *secret, *secret_object(tmp_path, 'sec1', b'one'),
                       '--object', 'iothread,id=iothread0', '--object', 'throttle-group,id=limits0',
                       '--blockdev', 'file,node-name=file0,filename=disk.luks',
                       '--blockdev', 'luks,node-name=disk0,file=file0,key-secret=sec0') as daemon:
        yield daemon


@pytest.mark.parametrize('name', SCHEMA.commands)
def test_command(daemon, name):
    if name == 'qmp_capabilities':
        daemon.qmp.close()
        daemon.qmp = daemon.connect(negotiate=False)
    client = Client(daemon.qmp)
    for command, arguments in BEFORE.get(name, []):
        client.prepare(command, arguments)
    client.run(EXAMPLES[name])
    client.finish()
