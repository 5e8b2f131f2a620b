"""Throughput for clients of qemu-nbd, and its CPU time.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import contextlib
import dataclasses
import json
import os
import pathlib
import statistics
import subprocess
import time

from measure import ratio, take_turns
from report import Bars, Table
from subjects import MIB

# Requests: their size, and how many are in flight.
PLAN = [('4k', 1), ('4k', 32), ('64k', 32)]
RUN_S = 1
START_S = 10


@dataclasses.dataclass
class Sample:
    """One run: requests per second, and CPU time of the server per request in microseconds."""
    iops: float
    cpu: float


@contextlib.contextmanager
def serving(setting, program, image_opts):
    """Run qemu-nbd with an image; yields its process and the socket."""
    path = setting.file('nbd.sock')
    path.unlink(missing_ok=True)
    with subprocess.Popen([program, '--persistent', '--socket', path, *setting.secret(), '--image-opts', image_opts]) as server:
        try:
            deadline = time.monotonic() + START_S
            while not path.exists():
                assert server.poll() is None and time.monotonic() < deadline, f'{program} does not listen'
                time.sleep(0.01)
            yield server, path
        finally:
            server.terminate()


def cpu_seconds(pid):
    fields = pathlib.Path(f'/proc/{pid}/stat').read_text().rpartition(') ')[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def run_fio(setting, case, pattern, size, depth):
    program, image_opts = case
    with serving(setting, program, image_opts) as (server, path):
        before = cpu_seconds(server.pid)
        done = subprocess.run(
            ['fio', '--name=requests', '--ioengine=nbd', f'--uri=nbd+unix:///?socket={path}', f'--rw={pattern}',
             f'--bs={size}', f'--iodepth={depth}', f'--size={setting.size}', '--time_based', f'--runtime={RUN_S}',
             '--output-format=json'], check=True, stdout=subprocess.PIPE, text=True)
        cpu = cpu_seconds(server.pid) - before
    job = json.loads(done.stdout[done.stdout.index('{'):])['jobs'][0]
    requests = job['read']['total_ios'] + job['write']['total_ios']
    return Sample(job['read']['iops'] + job['write']['iops'], 1e6 * cpu / requests)


def nbd(setting):
    raw, luks = setting.raw_image('noise.raw'), setting.luks_image('noise.luks')
    cases = {f'{who} {what}': (directory / 'qemu-nbd', image_opts)
             for what, image_opts in (('raw', raw), ('luks', luks))
             for who, directory in (('peer', setting.peer), ('our', setting.build))}
    table = Table(
        'Requests over NBD',
        f'fio, one connection to qemu-nbd on a unix socket, random requests to the page cache within {setting.size // MIB} '
        'MiB. CPU is that of the server, per request.',
        ['requests', *(f'{name} kIOPS' for name in cases), 'raw/peer raw', 'luks/peer luks',
         *(f'{name} CPU us' for name in cases)])
    bars = Bars('Requests over NBD: how many times as fast as the peer', 1, [])
    for pattern in ('randread', 'randwrite'):
        for size, depth in PLAN:
            samples = take_turns(cases, setting.rounds,
                                 lambda case, args=(pattern, size, depth): run_fio(setting, case, *args))
            label = f'{pattern.removeprefix("rand")} {size}, depth {depth}'
            faster = {what: ratio(samples[f'our {what}'], samples[f'peer {what}'], 'iops') for what in ('raw', 'luks')}
            table.rows.append([label, *(statistics.median(s.iops for s in samples[name]) / 1000 for name in cases),
                               *faster.values(), *(statistics.median(s.cpu for s in samples[name]) for name in cases)])
            bars.bars += [(f'{label}, {what}', value) for what, value in faster.items()]
    return table, bars


SUBJECTS = {'nbd': nbd}
