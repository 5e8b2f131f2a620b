"""The cost of qemu-storage-daemon: how long clients wait for replies, and memory per node and per client.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import contextlib
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from measure import ATTEMPTS, take_turns
from nbd_server import connect_wire
from qmp import Qmp, QmpError, StorageDaemon
from report import Bars, Table
from subjects import MIB

QUERY_EVERY_S = 0.002
BUSY_S = 2
AIM_MS = 20
JOBS = 4
NODES = 1000
CLIENTS = 100
# Reads in flight for each busy client.
DEPTH, READ_BYTES = 16, MIB // 16


def daemons(setting):
    """The daemons to measure: {name: program}."""
    programs = {'theirs': setting.peer / 'qemu-storage-daemon', 'ours': setting.build / 'qemu-storage-daemon'}
    if not programs['theirs'].exists():
        print('no peer: its qemu-storage-daemon is in the package qemu-system-common', file=sys.stderr)
        del programs['theirs']
    return programs


@contextlib.contextmanager
def running(setting, program, *args):
    """A daemon with the password of all images as secret sec0, and an NBD server."""
    with StorageDaemon(setting.scratch, *setting.secret(), *args, '--nbd-server',
                       f'addr.type=unix,addr.path={setting.file("nbd.sock")},max-connections=0',
                       program=program) as daemon:
        yield daemon


def add_luks(qmp, name, path, **options):
    qmp.cmd('blockdev-add', driver='luks', node_name=name, key_secret='sec0',
            file={'driver': 'file', 'filename': str(path)}, **options)


# Loads on the daemon while queries are answered. Each function starts one, and returns a function that ends it.

def nothing(_setting, _qmp):
    return lambda: None


def derive(setting, qmp, jobs=1):
    """Create LUKS headers whose keys take BUSY_S seconds each to derive."""
    for i in range(jobs):
        path = setting.file(f'new{i}')
        path.write_bytes(b'')
        qmp.cmd('blockdev-add', driver='file', node_name=f'new{i}', filename=str(path))
        qmp.cmd('blockdev-create', job_id=f'job{i}',
                options={'driver': 'luks', 'file': f'new{i}', 'size': 0, 'key-secret': 'sec0', 'iter-time': BUSY_S * 1000})

    def end():
        for i in range(jobs):
            qmp.wait_event('JOB_STATUS_CHANGE', id=f'job{i}', status='concluded')
            qmp.cmd('job-dismiss', id=f'job{i}')
            qmp.cmd('blockdev-del', node_name=f'new{i}')
    return end


def derive_several(setting, qmp):
    return derive(setting, qmp, JOBS)


def erase(setting, qmp):
    """Overwrite an encrypted image including its payload, which the peer cannot do."""
    add_luks(qmp, 'victim', setting.file('copy.luks'))
    qmp.cmd('blockdev-secure-erase', job_id='erase', node_name='victim', scope='image', passes=5)

    def end():
        with contextlib.suppress(QmpError):
            qmp.cmd('job-cancel', id='erase')
        qmp.wait_event('JOB_STATUS_CHANGE', id='erase', status='concluded')
        qmp.cmd('job-dismiss', id='erase')
        qmp.cmd('blockdev-del', node_name='victim')
    return end


def write(setting, qmp):
    """Let fio write to an export of an encrypted image."""
    add_luks(qmp, 'written', setting.file('copy.luks'))
    qmp.cmd('block-export-add', type='nbd', id='export', node_name='written', name='disk', writable=True)
    fio = subprocess.Popen(['fio', '--name=w', '--ioengine=nbd', f'--uri=nbd+unix:///disk?socket={setting.file("nbd.sock")}',
                            '--rw=randwrite', '--bs=64k', '--iodepth=16', '--time_based', f'--runtime={2 * BUSY_S}'],
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    time.sleep(0.5)

    def end():
        output = fio.communicate()[0]
        assert fio.returncode == 0, output
        qmp.cmd('block-export-del', id='export', mode='hard')
        qmp.wait_event('BLOCK_EXPORT_DELETED', id='export')
        qmp.cmd('blockdev-del', node_name='written')
    return end


def write_and_derive(setting, qmp):
    ends = [write(setting, qmp), derive(setting, qmp)]
    return lambda: [end() for end in ends]


LOADS = [('nothing else', nothing), ('deriving a key', derive), (f'deriving {JOBS} keys', derive_several),
         ('erasing an image', erase), ('fio writing', write), ('fio writing, deriving a key', write_and_derive)]


class Asking(threading.Thread):
    """Executes query-jobs on a monitor of its own until stopped; TIMES are in ms."""

    def __init__(self, qmp):
        super().__init__()
        self._qmp = qmp
        self._stopping = threading.Event()
        self.times = []

    def run(self):
        while not self._stopping.wait(QUERY_EVERY_S):
            start = time.perf_counter()
            self._qmp.cmd('query-jobs')
            self.times.append((time.perf_counter() - start) * 1000)

    def stop(self):
        self._stopping.set()
        self.join()
        self._qmp.close()


def percentile(values, percent):
    return sorted(values)[min(len(values) * percent // 100, len(values) - 1)]


def under_load(setting, program, load):
    """How long replies took in one run, or None if the program does not support LOAD."""
    other = setting.file('other.sock')
    setting.luks_image('noise.luks')
    shutil.copy(setting.file('noise.luks'), setting.file('copy.luks'))
    with running(setting, program, '--chardev', f'socket,id=qmp1,path={other},server=on,wait=off',
                 '--monitor', 'qmp1') as daemon:
        asking = Asking(Qmp(other))
        asking.start()
        try:
            end = load(setting, daemon.qmp)
        except QmpError:
            return None
        else:
            time.sleep(BUSY_S)
        finally:
            asking.stop()
        end()
    return asking.times


def try_under_load(setting, program, load):
    """As under_load(), but retries: about two of 1,000 peer daemons fail to start QMP correctly."""
    for _ in range(ATTEMPTS):
        try:
            return under_load(setting, program, load)
        except (AssertionError, KeyError, OSError) as err:
            print(f'{program}: {err!r}', file=sys.stderr)
    raise SystemExit(f'failed {ATTEMPTS} times')


def latency(setting):
    programs = daemons(setting)
    table = Table(
        'Response times of the storage daemon under load',
        f'Response time of `query-jobs` in ms, sent every {QUERY_EVERY_S * 1000:.0f} ms for {BUSY_S} s while the '
        f'daemon does what the first column says; each key takes {BUSY_S} s. *Worst* is the slowest reply of all runs. '
        f'The aim is {AIM_MS} ms. fio and the querying program share the processors with the daemon.',
        ['meanwhile', *(f'{who}: {what}' for who in programs for what in ('median', '99 %', 'max', 'worst'))])
    bars = Bars(f'Response times under load: {AIM_MS} ms divided by the slowest one', 1, [])
    for label, load in LOADS:
        runs = take_turns(programs, setting.rounds, lambda program, load=load: try_under_load(setting, program, load))
        row = [label]
        for who in programs:
            times = [run for run in runs[who] if run]
            row += [*(statistics.median(percentile(t, percent) for t in times) for percent in (50, 99, 100)),
                    max(max(t) for t in times)] if times else ['none'] * 4
        table.rows.append(row)
        bars.bars.append((label, AIM_MS / row[-2]))
    return table, bars


def memory(daemon):
    """Private KiB, locked KiB, and descriptors of the daemon."""
    proc = pathlib.Path(f'/proc/{daemon.process.pid}')
    sizes = dict(re.findall(r'^(\w+):\s+(\d+) kB$', (proc / 'smaps_rollup').read_text() + (proc / 'status').read_text(),
                            re.MULTILINE))
    return [int(sizes['Private_Dirty']) + int(sizes['Private_Clean']), int(sizes['VmLck']), len(os.listdir(proc / 'fd'))]


def each(before, after, count):
    return [(b - a) / count for a, b in zip(before, after, strict=True)]


def nodes_memory(setting, program):
    setting.luks_image('noise.luks')
    with running(setting, program) as daemon:
        add_luks(daemon.qmp, 'warm-up', setting.file('noise.luks'), read_only=True)
        before = memory(daemon)
        for i in range(NODES):
            add_luks(daemon.qmp, f'n{i}', setting.file('noise.luks'), read_only=True)
        return each(before, memory(daemon), NODES)


def clients_memory(setting, program):
    """Memory per client: of idle clients, and of busy ones that do not receive the replies to their reads."""
    setting.luks_image('noise.luks')
    with running(setting, program) as daemon:
        add_luks(daemon.qmp, 'n', setting.file('noise.luks'), read_only=True)
        daemon.qmp.cmd('block-export-add', type='nbd', id='e', node_name='n', name='disk')

        def connect():
            return connect_wire(setting.file('nbd.sock')).greet().go(b'disk')
        for _ in range(3):
            connect().sock.close()
        time.sleep(0.2)
        before = memory(daemon)
        wires = [connect() for _ in range(CLIENTS)]
        time.sleep(0.2)
        idle = memory(daemon)
        for wire in wires:
            for i in range(DEPTH):
                wire.request(0, i * READ_BYTES, READ_BYTES)
        time.sleep(1)
        busy = memory(daemon)
        for wire in wires:
            wire.sock.close()
    return each(before, idle, CLIENTS), each(before, busy, CLIENTS)


def footprint(setting):
    programs = daemons(setting)
    table = Table(
        'Memory of the storage daemon',
        f'Private memory of the daemon in KiB, for each of {NODES} encrypted nodes with their file nodes, and for each of '
        f'{CLIENTS} NBD clients of an encrypted export. A busy client has {DEPTH} reads of {READ_BYTES // 1024} KiB in '
        f'flight and does not receive the replies.',
        ['', *programs, *(['ours is better by'] if 'theirs' in programs else [])])
    bars = Bars('Memory of the storage daemon: how many times smaller than the peer', 1, [])
    results = {who: [nodes_memory(setting, program), *clients_memory(setting, program)]
               for who, program in programs.items()}
    for label, subject, what in (('node: KiB', 0, 0), ('node: KiB locked', 0, 1), ('node: descriptors', 0, 2),
                                 ('idle client: KiB', 1, 0), ('busy client: KiB', 2, 0), ('client: descriptors', 1, 2)):
        row = [results[who][subject][what] for who in programs]
        if 'theirs' in programs:
            comparable = what == 0
            row.append(row[0] / row[1] if comparable else '')
            if comparable:
                bars.bars.append((label.replace('KiB', 'memory'), row[-1]))
        table.rows.append([label, *row])
    return table, bars


SUBJECTS = {'latency': latency, 'footprint': footprint}
