"""Mistakes of clients: each is refused with an error that names the culprit, and nothing has changed.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import json

import pytest

from programs import qemu_img, secret_object
from qmp import QmpError, StorageDaemon

MiB = 1 << 20

# A value of each JSON type, for members of other types.
WRONG = {'string': 'x', 'int': 7, 'number': 1.5, 'boolean': True, 'object': {}, 'array': [], 'null': None}
# Deep enough to reach every struct; options of nodes contain nodes.
DEPTH = 6
# As many as the largest union has branches.
CHOICES = 8


def state(qmp):
    """The state that a failed command must not change."""
    return {command: qmp.cmd(command) for command in
            ('query-named-block-nodes', 'query-block-exports', 'query-jobs')} | {
                'objects': qmp.cmd('qom-list', path='/objects')}


class Schema:
    """query-qmp-schema, and valid and invalid arguments generated from it."""

    def __init__(self, qmp):
        self.entities = {info['name']: info for info in qmp.cmd('query-qmp-schema')}
        self.commands = {name: info['arg-type'] for name, info in self.entities.items()
                         if info['meta-type'] == 'command'}

    def members(self, info, value):
        """The members of an object, with those of the branch that VALUE has chosen."""
        members = list(info['members'])
        for variant in info.get('variants', []):
            if value.get(info['tag']) == variant['case']:
                members += self.entities[variant['type']]['members']
        return members

    def sample(self, name, choice, depth=0):
        """A value of that type with all its members, or only the mandatory ones at a certain depth.

        CHOICE numbers the values that enumerations take, and so the branches of unions.
        """
        info = self.entities[name]
        kind = info['meta-type']
        if kind == 'builtin':
            return {'string': 'nope', 'int': 1, 'number': 1.0, 'boolean': False, 'null': None, 'value': 'nope'}[
                info['json-type']]
        if kind == 'enum':
            return info['members'][choice % len(info['members'])]['name']
        if kind == 'array':
            return [self.sample(info['element-type'], choice, depth + 1)]
        if kind == 'alternate':
            return self.sample(info['members'][-1]['type'], choice, depth + 1)
        value = {}
        for member in info['members']:
            if 'default' not in member or depth < DEPTH:
                value[member['name']] = self.sample(member['type'], choice, depth + 1)
        for member in self.members(info, value):
            if member['name'] not in value and ('default' not in member or depth < DEPTH):
                value[member['name']] = self.sample(member['type'], choice, depth + 1)
        return value

    def accepts(self, name, json_type):
        """Whether a value of JSON type is valid for the schema's type NAME."""
        info = self.entities[name]
        kind = info['meta-type']
        if kind == 'alternate':
            return any(self.accepts(member['type'], json_type) for member in info['members'])
        expected = {'enum': 'string', 'array': 'array', 'object': 'object'}.get(kind, info.get('json-type'))
        return expected == 'value' or expected == json_type or (expected == 'number' and json_type == 'int')

    def mutations(self, name, value, path=''):
        """(what to set, path of the culprit) for everything that can be wrong in VALUE; "set" changes a copy."""
        info = self.entities[name]
        kind = info['meta-type']
        for json_type, wrong in WRONG.items():
            if path and not self.accepts(name, json_type):
                yield wrong, path
        if kind == 'enum':
            yield 'no-such-value', path
        elif kind == 'builtin' and info['json-type'] == 'int':
            yield 1 << 64, path
            yield -(1 << 63) - 1, path
            yield 1e300, path
        elif kind == 'array':
            for wrong, where in self.mutations(info['element-type'], value[0], f'{path}[0]'):
                yield [wrong], where
        elif kind == 'alternate':
            last = info['members'][-1]['type']
            valid = [wrong for json_type, wrong in WRONG.items() if self.accepts(name, json_type)]
            if self.entities[last]['meta-type'] == 'object':
                yield from ((wrong, where) for wrong, where in self.mutations(last, value, path)
                            if where != path or wrong not in valid)
        elif kind == 'object':
            prefix = f'{path}.' if path else ''
            yield {**value, 'no-such-member': 1}, prefix + 'no-such-member'
            for member in self.members(info, value):
                if member['name'] not in value:
                    continue
                if 'default' not in member:
                    yield {k: v for k, v in value.items() if k != member['name']}, prefix + member['name']
                for wrong, where in self.mutations(member['type'], value[member['name']], prefix + member['name']):
                    yield {**value, member['name']: wrong}, where


def test_every_member_of_every_command(tmp_path):
    """Every deviation from the schema gets an error with the path of the member, before anything happens."""
    with StorageDaemon(tmp_path) as daemon:
        qmp = daemon.qmp
        schema = Schema(qmp)
        before = state(qmp)
        tried = 0
        del schema.commands['qmp_capabilities']     # which is only valid once
        for command, arg_type in schema.commands.items():
            seen = set()
            for arguments, culprit in (m for choice in range(CHOICES)
                                       for m in schema.mutations(arg_type, schema.sample(arg_type, choice))):
                text = json.dumps(arguments)
                if text not in seen:
                    seen.add(text)
                    assert f"'{culprit}'" in qmp.error_raw(command, arguments).desc, (command, text, culprit)
            tried += len(seen)
        assert tried > 2000
        assert state(qmp) == before


@pytest.fixture(name='graph')
def fixture_graph(tmp_path):
    """A daemon with a LUKS volume with a detached header, an exported window of it, and a paused job."""
    header, payload, spare = (tmp_path / name for name in ('header', 'payload', 'spare'))
    secret = secret_object(tmp_path, 's0', b'pw')
    qemu_img('create', '-q', '-f', 'luks', *secret, '-o', 'key-secret=s0,iter-time=10,detached-header=true', header)
    payload.write_bytes(bytes(MiB))
    spare.write_bytes(bytes(MiB))
    with StorageDaemon(tmp_path, *secret, '--object', 'iothread,id=io0',
                       '--blockdev', f'file,node-name=header,filename={header}',
                       '--blockdev', f'file,node-name=payload,filename={payload}',
                       '--blockdev', 'luks,node-name=luks,file=payload,header=header,key-secret=s0',
                       '--blockdev', 'raw,node-name=window,file=luks,offset=0,size=4096',
                       '--blockdev', 'null-co,node-name=null,size=65536',
                       '--nbd-server', f'addr.type=unix,addr.path={tmp_path}/nbd.sock',
                       '--export', 'nbd,id=ex0,node-name=window,writable=on,iothread=io0') as daemon:
        qmp = daemon.qmp
        # a concluded job that was not dismissed keeps its id
        qmp.cmd('blockdev-create', job_id='j0', options={'driver': 'file', 'filename': str(tmp_path / 'new'), 'size': 0})
        qmp.wait_event('JOB_STATUS_CHANGE', id='j0', status='concluded')
        yield qmp, {'header': str(header), 'payload': str(payload), 'spare': str(spare), 'tmp': str(tmp_path)}


FILE = {'driver': 'file', 'filename': '{spare}', 'node-name': 'x'}
RAW = {'driver': 'raw', 'node-name': 'x'}

# command, arguments ({name}: a path), text in the error
REFUSED = {
    'name in use': ('blockdev-add', {'driver': 'null-co', 'node-name': 'luks'}, ["'luks'"]),
    'name in use further down': ('blockdev-add', {**RAW, 'file': {'driver': 'null-co', 'node-name': 'null'}}, ["'null'"]),
    'same name twice': ('blockdev-add', {**RAW, 'file': {'driver': 'null-co', 'node-name': 'x'}}, ["'x'"]),
    'child that is not there': ('blockdev-add', {**RAW, 'file': 'nope'}, ["'nope'"]),
    'child of itself': ('blockdev-add', {**RAW, 'file': 'x'}, ["'x'"]),
    'no such secret': ('blockdev-add', {'driver': 'luks', 'node-name': 'x', 'file': 'null', 'key-secret': 'nope'},
                       ["'nope'"]),
    'secret of another kind': ('blockdev-add', {'driver': 'luks', 'node-name': 'x', 'file': 'null', 'key-secret': 'io0'},
                               ["'io0'"]),
    'no LUKS header': ('blockdev-add', {'driver': 'luks', 'node-name': 'x', 'file': 'null', 'key-secret': 's0'},
                       ['LUKS']),
    'window past the end': ('blockdev-add', {**RAW, 'file': 'null', 'offset': 65536, 'size': 512}, ['size']),
    'window that overflows': ('blockdev-add', {**RAW, 'file': 'null', 'offset': 2**63 - 512, 'size': 2**63 - 512}, []),
    'no file': ('blockdev-add', {**FILE, 'filename': '{tmp}'}, ['{tmp}']),
    'delete: user above': ('blockdev-del', {'node-name': 'luks'}, ['luks is in use', "'window'"]),
    'delete: its payload': ('blockdev-del', {'node-name': 'payload'}, ['payload is in use', "'luks'"]),
    'delete: its header': ('blockdev-del', {'node-name': 'header'}, ['header is in use', "'luks'"]),
    'delete: exported': ('blockdev-del', {'node-name': 'window'}, ['window is in use', "'ex0'"]),
    'delete: unknown': ('blockdev-del', {'node-name': 'nope'}, ["'nope'"]),
    'reopen: cycle': ('blockdev-reopen', {'options': [{'driver': 'luks', 'node-name': 'luks', 'file': 'window',
                                                       'header': 'header', 'key-secret': 's0'}]}, ["'luks'", "'file'"]),
    'reopen: itself': ('blockdev-reopen', {'options': [{'driver': 'raw', 'node-name': 'window', 'file': 'window'}]},
                       ["'window'"]),
    'reopen: other driver': ('blockdev-reopen', {'options': [{'driver': 'null-co', 'node-name': 'window'}]},
                             ["'window'", 'driver']),
    'reopen: other file': ('blockdev-reopen', {'options': [{'driver': 'file', 'node-name': 'payload',
                                                            'filename': '{spare}'}]}, ['filename']),
    'reopen: writers above': ('blockdev-reopen', {'options': [{
        'driver': 'file', 'node-name': 'payload', 'filename': '{payload}', 'read-only': True}]}, ["'payload'", "'luks'"]),
    'reopen: second is bad': ('blockdev-reopen', {'options': [
        {'driver': 'null-co', 'node-name': 'null', 'size': 65536, 'read-only': True},
        {'driver': 'raw', 'node-name': 'nope', 'file': 'null'}]}, ["'nope'"]),
    'reopen: nothing named': ('blockdev-reopen', {'options': [{'driver': 'null-co'}]}, ['node-name']),
    'resize: negative': ('block_resize', {'node-name': 'luks', 'size': -1}, ['size']),
    'resize: huge': ('block_resize', {'node-name': 'luks', 'size': 2**63 - 1}, []),
    'resize: cannot': ('block_resize', {'node-name': 'null', 'size': 1}, ['null']),
    'resize: in use below': ('block_resize', {'node-name': 'payload', 'size': 2 * MiB}, ["'payload'", "'luks'"]),
    'resize: device and node': ('block_resize', {'node-name': 'luks', 'device': 'luks', 'size': 1}, ['device']),
    'resize: neither': ('block_resize', {'size': 1}, ['node-name']),
    'export: id in use': ('block-export-add', {'type': 'nbd', 'id': 'ex0', 'node-name': 'null'}, ["'ex0'"]),
    'export: name in use': ('block-export-add', {'type': 'nbd', 'id': 'x', 'node-name': 'null', 'name': 'window'},
                            ["'window'"]),
    'export: bad id': ('block-export-add', {'type': 'nbd', 'id': '0', 'node-name': 'null'}, ["'0'"]),
    'export: long name': ('block-export-add', {'type': 'nbd', 'id': 'x', 'node-name': 'null', 'name': 'n' * 5000}, ['name']),
    'export: no such node': ('block-export-add', {'type': 'nbd', 'id': 'x', 'node-name': 'nope'}, ["'nope'"]),
    'export: no such thread': ('block-export-add', {'type': 'nbd', 'id': 'x', 'node-name': 'null', 'iothread': 'nope'},
                               ["'nope'"]),
    'export: secret as thread': ('block-export-add', {'type': 'nbd', 'id': 'x', 'node-name': 'null', 'iothread': 's0'},
                                 ["'s0'"]),
    'export: second writer': ('block-export-add', {'type': 'nbd', 'id': 'x', 'node-name': 'payload', 'writable': True},
                              ["'payload'", "'luks'"]),
    'export: delete unknown': ('block-export-del', {'id': 'nope'}, ["'nope'"]),
    'server: again': ('nbd-server-start', {'addr': {'type': 'unix', 'data': {'path': '{tmp}/y.sock'}}}, ['already']),
    'object: id in use': ('object-add', {'qom-type': 'iothread', 'id': 'io0'}, ["'io0'"]),
    'object: bad id': ('object-add', {'qom-type': 'iothread', 'id': '-'}, ["'-'"]),
    'object: nothing in it': ('object-add', {'qom-type': 'secret', 'id': 'x'}, ['data', 'file']),
    'object: both': ('object-add', {'qom-type': 'secret', 'id': 'x', 'data': 'a', 'file': '{spare}'}, ['data', 'file']),
    'object: no base64': ('object-add', {'qom-type': 'secret', 'id': 'x', 'data': '!!', 'format': 'base64'}, ['base64']),
    'object: no such key': ('object-add', {'qom-type': 'secret', 'id': 'x', 'data': 'aaaa', 'format': 'base64',
                                           'keyid': 'nope', 'iv': 'AAECAwQFBgcICQoLDA0ODw=='}, ["'nope'"]),
    'object: delete unknown': ('object-del', {'id': 'nope'}, ["'nope'"]),
    'qom: unknown': ('qom-get', {'path': '/objects/nope', 'property': 'id'}, ["'/objects/nope'"]),
    'qom: secret': ('qom-get', {'path': '/objects/s0', 'property': 'data'}, ["'secret.data'"]),
    'qom: set': ('qom-set', {'path': '/objects/s0', 'property': 'file', 'value': 'x'}, ["'secret.file'"]),
    'job: id in use': ('blockdev-create', {'job-id': 'j0', 'options': {'driver': 'file', 'filename': '{tmp}/y', 'size': 0}},
                       ["'j0'"]),
    'job: bad id': ('blockdev-create', {'job-id': '.', 'options': {'driver': 'file', 'filename': '{tmp}/y', 'size': 0}},
                    ["'.'"]),
    'job: unknown': ('job-cancel', {'id': 'nope'}, ["'nope'"]),
    'job: not in this state': ('job-pause', {'id': 'j0'}, ["'j0'", "'concluded'"]),
    'job: no block job': ('block-job-cancel', {'device': 'j0'}, ["'j0'"]),
    'keyslot: no such node': ('blockdev-keyslot-add', {'job-id': 'x', 'node-name': 'nope', 'new-secret': 's0'}, ["'nope'"]),
    'keyslot: no LUKS': ('blockdev-keyslot-add', {'job-id': 'x', 'node-name': 'null', 'new-secret': 's0'}, ['null']),
    'keyslot: no secret': ('blockdev-keyslot-add', {'job-id': 'x', 'node-name': 'luks', 'new-secret': 'nope'}, ["'nope'"]),
    'keyslot: no such slot': ('blockdev-keyslot-remove', {'job-id': 'x', 'node-name': 'luks', 'keyslot': 8}, ['keyslot']),
    'keyslot: last one': ('blockdev-keyslot-remove', {'job-id': 'x', 'node-name': 'luks', 'keyslot': 0}, ['last']),
    'keyslot: which': ('blockdev-keyslot-remove', {'job-id': 'x', 'node-name': 'luks'}, ['keyslot', 'old-secret']),
    'erase: in use': ('blockdev-secure-erase', {'job-id': 'x', 'node-name': 'luks'}, ["'luks'", "'window'", 'write']),
    'erase: no such node': ('blockdev-secure-erase', {'job-id': 'x', 'node-name': 'nope'}, ["'nope'"]),
    'format: in use': ('blockdev-format', {'job-id': 'x', 'options': {'driver': 'luks', 'key-secret': 's0'},
                                           'file': 'payload'}, ["'payload'"]),
    'format: image that is open': ('blockdev-format', {'job-id': 'x', 'options': {'driver': 'luks', 'key-secret': 's0'},
                                                       'file': {'driver': 'file', 'filename': '{payload}'}},
                                   ['{payload}', 'lock']),
    'format: no secret': ('blockdev-format', {'job-id': 'x', 'options': {'driver': 'luks', 'key-secret': 'nope'},
                                              'file': 'null'}, ["'nope'"]),
    'amend: other driver': ('x-blockdev-amend', {'job-id': 'x', 'node-name': 'null', 'options': {
        'driver': 'luks', 'state': 'inactive', 'keyslot': 0}}, ['null']),
    'transaction: unknown': ('transaction', {'actions': [{'type': 'nope', 'data': {}}]}, ["'nope'"]),
    'active: unknown': ('blockdev-set-active', {'node-name': 'nope', 'active': False}, ["'nope'"]),
}


def fill(value, paths):
    """VALUE with the {names} of paths in its strings replaced."""
    if isinstance(value, dict):
        return {key: fill(item, paths) for key, item in value.items()}
    if isinstance(value, list):
        return [fill(item, paths) for item in value]
    return value.format(**paths) if isinstance(value, str) else value


def outcome(qmp, command, arguments):
    """The error of a command, or that of the job that it started; None on success."""
    try:
        qmp.cmd_raw(command, arguments)
    except QmpError as err:
        return err.desc
    if arguments.get('job-id') != 'x':
        return None
    qmp.wait_event('JOB_STATUS_CHANGE', id='x', status='concluded')
    job, = [job for job in qmp.cmd('query-jobs') if job['id'] == 'x']
    qmp.cmd('job-dismiss', id='x')
    return job.get('error')


def test_refused(graph):
    """One daemon gets all of them, and must be unchanged afterwards."""
    qmp, paths = graph
    before = state(qmp)
    wrong = []
    for title, (command, arguments, words) in REFUSED.items():
        error = outcome(qmp, command, fill(arguments, paths))
        if not error or any(word not in error for word in fill(words, paths)):
            wrong.append((title, error))
        if state(qmp) != before:
            wrong.append((title, 'something has changed'))
            before = state(qmp)
    assert not wrong, '\n'.join(f'{title}: {error}' for title, error in wrong)
