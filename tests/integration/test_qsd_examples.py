"""The examples in the schema work as written.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import json
import re
import sys

import pytest

from programs import SOURCE_DIR, qemu_img, secret_object
from qmp import StorageDaemon

OWN_COMMANDS = ['blockdev-format', 'blockdev-secure-erase', 'blockdev-keyslot-add', 'blockdev-keyslot-remove',
                'blockdev-keyslot-change']


def load_examples():
    """(command, example) of each command that has one."""
    sys.path.insert(0, str(SOURCE_DIR / 'scripts' / 'qapi'))
    try:
        from schema import Schema       # pylint: disable=import-outside-toplevel
    finally:
        sys.path.pop(0)
    schema = Schema(str(SOURCE_DIR / 'qapi' / 'qapi-schema.json'))
    return [(name, command.doc.sections['Example']) for name, command in schema.commands.items()
            if 'Example' in command.doc.sections]


EXAMPLES = load_examples()


def test_own_commands_have_examples():
    assert set(OWN_COMMANDS) <= {name for name, _ in EXAMPLES}


@pytest.mark.parametrize('name, example', EXAMPLES, ids=[name for name, _ in EXAMPLES])
def test_example(tmp_path, monkeypatch, name, example):
    """With the nodes, files and secrets that the examples mention."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'disk.img').write_bytes(bytes(4 << 20))
    secret = secret_object(tmp_path, 'sec0', b'zero')
    qemu_img('create', '-q', '-f', 'luks', *secret, '-o', 'key-secret=sec0,iter-time=10', 'disk.luks', '1M')
    parts = re.split(r'^(->|<-) ', example, flags=re.M)[1:]
    with StorageDaemon(tmp_path, *secret, *secret_object(tmp_path, 'sec1', b'one'),
                       '--blockdev', 'luks,node-name=disk0,file.driver=file,file.filename=disk.luks,key-secret=sec0') as daemon:
        qmp = daemon.qmp
        if name == 'blockdev-keyslot-remove':
            assert 'error' not in qmp.run_job('blockdev-keyslot-add', 'before', node_name='disk0', new_secret='sec1',
                                              iter_time=10)
        for direction, text in zip(parts[::2], parts[1::2]):
            if direction == '->':
                request = json.loads(text)
                assert request['execute'] == name
                qmp.send(request)
            else:
                assert qmp.answer() == json.loads(text)
        if 'job-id' in request['arguments']:
            qmp.wait_event('JOB_STATUS_CHANGE', id=request['arguments']['job-id'], status='concluded')
            info, = qmp.cmd('query-jobs')
            assert 'error' not in info, info
