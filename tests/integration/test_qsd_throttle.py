"""Throttle groups: limits that are checked, shown and changed.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import pytest

from programs import debian_qemu_img, qemu_img
from qmp import StorageDaemon


@pytest.fixture(name='qmp')
def fixture_qmp(tmp_path):
    with StorageDaemon(tmp_path) as daemon:
        yield daemon.qmp


def add_group(qmp, ident='g', **limits):
    qmp.cmd('object-add', qom_type='throttle-group', id=ident,
            limits={name.replace('_', '-'): value for name, value in limits.items()})


def set_limits(qmp, ident='g', **limits):
    qmp.cmd('qom-set', path=ident, property='limits', value={n.replace('_', '-'): v for n, v in limits.items()})


def all_limits(**given):
    """What qom-get shows where only these limits are set."""
    names = [f'{kind}-{part}' for kind in ('iops', 'bps') for part in ('total', 'read', 'write')]
    limits = {'iops-size': 0}
    for name in names:
        limits.update({name: 0, f'{name}-max': 0, f'{name}-max-length': 1})
    return {**limits, **{name.replace('_', '-'): value for name, value in given.items()}}


def test_properties(qmp):
    def limits():
        return qmp.cmd('qom-get', path='/objects/g', property='limits')

    qmp.cmd('object-add', qom_type='throttle-group', id='g', x_iops_total=10, x_iops_total_max=20, limits={'iops-total': 11})
    assert limits() == all_limits(iops_total=11, iops_total_max=20)
    assert qmp.cmd('qom-get', path='g', property='x-iops-total') == 11
    assert qmp.cmd('qom-get', path='g', property='x-bps-read-max-length') == 1
    properties = {p['name']: p['type'] for p in qmp.cmd('qom-list', path='/objects/g')}
    assert properties['limits'] == 'ThrottleLimits' and properties['x-iops-size'] == 'int' and len(properties) == 21
    # what is not given stays
    set_limits(qmp, bps_read=5, iops_size=4096)
    assert limits() == all_limits(iops_total=11, iops_total_max=20, bps_read=5, iops_size=4096)
    assert qmp.cmd('qom-get', path='g', property='x-bps-read') == 5
    # from a total to one for each direction
    set_limits(qmp, iops_total=0, iops_total_max=0, iops_write=7)
    assert limits() == all_limits(iops_write=7, bps_read=5, iops_size=4096)

    def set_error(name, value):
        return qmp.error('qom-set', path='g', property=name, value=value).desc
    assert set_error('x-iops-total', 1) == "Property 'throttle-group.x-iops-total' is not writable"
    assert "'limits'" in set_error('limits', 5) and "'limits'" in set_error('limits', None)
    assert "'limits.bps-read'" in set_error('limits', {'bps-read': 'many'})
    assert "'limits.nope'" in set_error('limits', {'nope': 1})
    assert set_error('limits', {'bps-total': 1}) == \
        "Throttle group 'g': bps-total and bps-read cannot be used at the same time"
    assert limits() == all_limits(iops_write=7, bps_read=5, iops_size=4096)
    qmp.cmd('object-add', qom_type='secret', id='s', data='x')
    assert "'secret.data' is not writable" in qmp.error('qom-set', path='s', property='data', value='y').desc
    qmp.cmd('object-del', id='g')


BAD = {
    'bps-total=1,bps-read=1': 'bps-total and bps-read ',
    'iops-total=1,iops-write=1': 'iops-total and iops-write ',
    'bps-read=2,bps-read-max=3,bps-total-max=3': 'bps-total-max needs bps-total',
    'bps-read=-1': 'bps-read must be',
    'iops-read=1000000000000001': 'iops-read must be',
    'iops-read=1,iops-read-max=1000000000000001': 'iops-read-max must be',
    'iops-read=1,iops-read-max=1,iops-read-max-length=0': 'iops-read-max-length must be',
    'iops-read=1,iops-read-max=1,iops-read-max-length=4294967296': 'iops-read-max-length must be',
    'iops-read=1,iops-read-max-length=2': 'iops-read-max-length needs iops-read-max',
    'iops-read-max=2': 'iops-read-max needs iops-read',
    'iops-read=3,iops-read-max=2': 'iops-read-max cannot be lower than iops-read',
    'bps-write=1,bps-write-max=1000000000,bps-write-max-length=1000001': 'bps-write-max-length is too high',
    'bps-read=1,iops-size=512': 'iops-size needs',
}
GOOD = ('', 'iops-total=1,bps-read=1,bps-write=1', 'bps-read=1000000000000000', 'iops-read=1,iops-size=512',
        'bps-write=1,bps-write-max=1000000000,bps-write-max-length=1000000', 'iops-read=2,iops-read-max=2')


def test_bad_limits(qmp, tmp_path):
    """As QEMU has it, on the command line and over QMP; nothing is left behind."""
    (tmp_path / 'a').write_bytes(bytes(512))

    def info(qemu_img_, limits, status):
        single = ''.join(f',limits.{limit}' for limit in limits.split(',') if limit)
        return qemu_img_('info', '--object', f'throttle-group,id=g{single}', tmp_path / 'a', status=status).stderr
    add_group(qmp, 'h')
    for limits, error in BAD.items():
        given = {name: int(value) for name, value in (limit.split('=') for limit in limits.split(','))}
        assert f"Throttle group 'g': {error}" in info(qemu_img, limits, 1), limits
        assert info(debian_qemu_img, limits, 1), limits
        assert error in qmp.error('object-add', qom_type='throttle-group', id='g', limits=given).desc
        x_given = {f'x-{name}': value for name, value in given.items()}
        assert error in qmp.error('object-add', qom_type='throttle-group', id='g', **x_given).desc
        assert error in qmp.error('qom-set', path='h', property='limits', value=given).desc
        assert qmp.cmd('qom-get', path='h', property='limits') == all_limits()
    for limits in GOOD:
        info(qemu_img, limits, 0)
        info(debian_qemu_img, limits, 0)
