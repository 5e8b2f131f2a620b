"""query-qmp-schema is correct: it matches QEMU's, and what it says is true.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import copy
import re

import pytest

from programs import SOURCE_DIR
from qmp import StorageDaemon
from qmp_shapes import Comparison, parse

SHAPES = SOURCE_DIR / 'tests' / 'data' / 'qmp-shapes.txt'


@pytest.fixture(name='schema', scope='module')
def fixture_schema(tmp_path_factory):
    with StorageDaemon(tmp_path_factory.mktemp('schema')) as daemon:
        return daemon.qmp.cmd('query-qmp-schema')


def differences(schema):
    return Comparison(parse(SHAPES.read_text()), schema).differences


def test_shapes_are_qemus(schema):
    assert differences(schema) == []


def test_comparison_sees_changes(schema):
    """Each kind of change is detected, so that the test above can fail."""
    def find(test):
        index, = [i for i, info in enumerate(schema) if test(info)][:1]
        return index

    def changed(index, change):
        other = copy.deepcopy(schema)
        change(other[index])
        return differences(other)
    job_info = find(lambda i: [m['name'] for m in i.get('members', []) if 'name' in m][:3] == ['id', 'type', 'status'])
    assert changed(job_info, lambda i: i['members'].pop()) == ["JobInfo: 'warnings' is not offered"]
    assert "JobInfo: 'id' is optional" in changed(job_info, lambda i: i['members'][0].update(default=None))[0]
    assert 'is int, not str' in changed(job_info, lambda i: i['members'][0].update(type='int'))[0]
    status = find(lambda i: 'aborting' in i.get('values', []))
    assert changed(status, lambda i: i['values'].append('new')) == ["enum JobStatus: 'new' is offered"]
    options = find(lambda i: i.get('tag') == 'driver')
    assert any('driver' in d for d in changed(options, lambda i: i['variants'].pop(0)) +
               changed(options, lambda i: i['variants'][0].update(type=schema[job_info]['name'])))
    quit_ = find(lambda i: i['name'] == 'quit')
    assert changed(quit_, lambda i: i.update(name='exit')) != []


def test_schema_is_closed_and_well_formed(schema):
    names = {info['name'] for info in schema}
    assert len(names) == len(schema)
    for info in schema:
        refs = [info[key] for key in ('arg-type', 'ret-type', 'element-type') if key in info]
        refs += [m['type'] for m in info.get('members', []) if 'type' in m]
        refs += [v['type'] for v in info.get('variants', [])]
        assert set(refs) <= names, info
        if info['meta-type'] in ('object', 'enum', 'alternate'):
            assert info['name'].isdigit()
        if info['meta-type'] == 'enum':
            assert info['values'] == [m['name'] for m in info['members']]


def test_everything_is_tested(schema):
    """Another test executes each command, and looks for each event."""
    sources = {*(SOURCE_DIR / 'tests' / 'integration').glob('*.py'), SOURCE_DIR / 'tests' / 'unit' / 'test-block-jobs.c'}
    text = ' '.join(path.read_text() for path in sources if path.name != 'test_qsd_schema.py')
    missing = [info['name'] for info in schema if info['meta-type'] == 'command' and
               not re.search(f'[\'"]{info["name"]}[\'"]', text)]
    missing += [info['name'] for info in schema if info['meta-type'] == 'event' and info['name'] not in text]
    assert not missing


def test_what_is_not_in_the_schema_is_refused(schema, tmp_path):
    """Members that QEMU has but the schema omits get an error that names them."""
    assert schema
    with StorageDaemon(tmp_path) as daemon:
        err = daemon.qmp.error('blockdev-add', driver='file', node_name='n', filename='x', pr_manager='p')
        assert "'pr-manager'" in err.desc
        err = daemon.qmp.error('chardev-add', id='c', backend={'type': 'null', 'data': {'logfile': 'x'}})
        assert "'backend.data.logfile'" in err.desc
