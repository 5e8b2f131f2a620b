"""Throughput of blockdev-mirror, and what it costs a client that writes meanwhile.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import contextlib
import dataclasses
import json
import statistics
import subprocess
import time

from daemon import daemons, running
from measure import ratio, take_turns
from report import Bars, Table
from subjects import MIB

RUN_S = 2
COPY_MODES = ('background', 'write-blocking')


@dataclasses.dataclass
class Sample:
    """One run: MB/s of the copy, and writes per second of a client: alone, and with a mirror in each mode."""
    copied: float
    alone: float
    background: float
    blocking: float


def add_node(setting, qmp, format_name, node, path):
    secret = {'key-secret': 'sec0'} if format_name == 'luks' else {}
    qmp.cmd_raw('blockdev-add', {'driver': format_name, 'node-name': node, **secret,
                                 'file': {'driver': 'file', 'filename': str(path), 'discard': 'unmap'}})


def client_writes(setting):
    """Writes per second of fio: random, 64 KiB, four in flight."""
    done = subprocess.run(
        ['fio', '--name=w', '--ioengine=nbd', f'--uri=nbd+unix:///disk?socket={setting.file("nbd.sock")}',
         '--rw=randwrite', '--bs=64k', '--iodepth=4', '--time_based', f'--runtime={RUN_S}', f'--size={setting.size}',
         '--output-format=json'], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout[done.stdout.index('{'):])['jobs'][0]['write']['iops']


@contextlib.contextmanager
def mirroring(setting, qmp, format_name, copy_mode):
    """Mirror the node "source" to a new image; yields the seconds until the copy was ready, and cancels it."""
    target = setting.file(f'target.{format_name}')
    target.unlink(missing_ok=True)
    if format_name == 'luks':
        subprocess.run([setting.img('ours'), 'create', '-q', '-f', 'luks', *setting.secret(), '-o',
                        'key-secret=sec0,iter-time=1', target, str(setting.size)], check=True)
    else:
        with target.open('wb') as file:
            file.truncate(setting.size)
    add_node(setting, qmp, format_name, 'target', target)
    start = time.perf_counter()
    qmp.cmd('blockdev-mirror', job_id='mirror', device='source', target='target', sync='full', copy_mode=copy_mode)
    qmp.wait_event('BLOCK_JOB_READY', device='mirror')
    yield time.perf_counter() - start
    qmp.cmd('block-job-cancel', device='mirror', force=True)
    qmp.wait_event('JOB_STATUS_CHANGE', id='mirror', status='null')
    qmp.cmd('blockdev-del', node_name='target')


def mirror_once(setting, program, format_name):
    writes = {}
    with running(setting, program) as daemon:
        qmp = daemon.qmp
        add_node(setting, qmp, format_name, 'source', setting.file(f'noise.{format_name}'))
        qmp.cmd('block-export-add', type='nbd', id='export', node_name='source', name='disk', writable=True)
        alone = client_writes(setting)
        for copy_mode in COPY_MODES:
            with mirroring(setting, qmp, format_name, copy_mode) as seconds:
                if copy_mode == 'background':
                    copied = setting.size / 1e6 / seconds
                writes[copy_mode] = client_writes(setting) / alone
    return Sample(copied, alone, *(writes[mode] for mode in COPY_MODES))


def mirror(setting):
    setting.raw_image('noise.raw')
    setting.luks_image('noise.luks')
    programs = daemons(setting)
    table = Table(
        'Mirroring',
        f'`blockdev-mirror` of {setting.size // MIB} MiB, page cache to page cache, in MB/s until it is ready; then random '
        'writes of 64 KiB by a client of the source, four in flight, as a part of what it can write without a mirror.',
        ['volumes', *(f'{who} MB/s' for who in programs), *(['ours/theirs'] if 'theirs' in programs else []),
         *(f'{who}: {mode}' for mode in COPY_MODES for who in programs)])
    bars = Bars('Mirroring: how many times as fast as the peer', 1, [])
    for format_name in ('raw', 'luks'):
        samples = take_turns(programs, setting.rounds,
                             lambda program, name=format_name: mirror_once(setting, program, name))
        row = [f'{format_name} to {format_name}', *(statistics.median(s.copied for s in samples[who]) for who in programs)]
        if 'theirs' in programs:
            row.append(ratio(samples['ours'], samples['theirs'], 'copied'))
            bars.bars.append((row[0], row[-1]))
        row += [statistics.median(getattr(s, what) for s in samples[who])
                for what in ('background', 'blocking') for who in programs]
        table.rows.append(row)
    return table, bars


SUBJECTS = {'mirror': mirror}
