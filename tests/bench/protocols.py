"""Throughput to storage on the network: each protocol with a real server on this machine.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import contextlib
import dataclasses
import os
import pathlib
import shutil
import subprocess
import sys

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from ceph_cluster import Ceph
from iscsi_target import IscsiTarget
from measure import Case, median, ratio, take_turns
from nbd_peer import Nbdkit
from nbd_server import NbdServer
from report import Bars, Table
from subjects import MIB

# Room for a LUKS header.
HEADER_BYTES = 4 * MIB
REQUEST_BYTES, DEPTH = 64 << 10, 16
# What is above the protocol.
LAYERS = {'raw': 'driver=raw', 'luks': 'driver=luks,key-secret=sec0'}


@dataclasses.dataclass
class Volume:
    """What opens it: a filename, and the options of a node."""
    uri: str
    opts: str

    def below(self, layer):
        """Options of a node with LAYER above it."""
        return ','.join([layer, *(f'file.{opt}' for opt in self.opts.split(','))])


# Servers: each function runs one with two volumes of SIZE bytes, and yields them.

@contextlib.contextmanager
def serving_files(setting, size, start):
    """START(path) is an NBD server of that file."""
    with contextlib.ExitStack() as stack:
        volumes = []
        for name in LAYERS:
            path = setting.file(f'served.{name}')
            with path.open('wb') as out:
                out.truncate(size)
            server = stack.enter_context(start(path))
            volumes.append(Volume(server.uri(), f'driver=nbd,server.type=unix,server.path={server.socket}'))
        yield volumes


def nbdkit(setting, size):
    return serving_files(setting, size, lambda path: Nbdkit(setting.scratch, 'file', path))


def qemu_nbd(setting, size):
    return serving_files(setting, size,
                         lambda path: NbdServer(setting.scratch, '-f', 'raw', path, program=setting.peer / 'qemu-nbd'))


@contextlib.contextmanager
def tgtd(setting, size):
    with IscsiTarget(setting.scratch) as target:
        volumes = []
        for lun in (11, 12):
            target.add_lun(lun, size=size)
            opts = ','.join(f'{key}={value}' for key, value in target.options(lun).items())
            volumes.append(Volume(target.uri(lun), opts))
        yield volumes


@contextlib.contextmanager
def ceph(setting, size):
    cluster = Ceph(setting.scratch)
    try:
        images = [cluster.create(f'{size // MIB}M') for _ in LAYERS]
        yield [Volume(cluster.uri(image), cluster.options(image)) for image in images]
    finally:
        cluster.stop()


# What to call it, the program without which it is left out, and the server.
SERVERS = [('nbd, nbdkit', 'nbdkit', nbdkit), ('nbd, qemu-nbd', 'qemu-nbd', qemu_nbd), ('iscsi, tgtd', 'tgtd', tgtd),
           ('rbd, one OSD', 'ceph-osd', ceph)]


def image_opts(volumes):
    """Options for each layer, on a volume of its own."""
    return {name: volume.below(layer) for (name, layer), volume in zip(LAYERS.items(), volumes, strict=True)}


def fill(setting, volumes):
    """Write noise to all of VOLUMES."""
    img, source = setting.img('ours'), setting.raw_image('noise.raw')
    subprocess.run([img, 'format', '-q', '--force', *setting.secret(), '-o', 'key-secret=sec0,iter-time=1', volumes[1].uri],
                   check=True)
    for target in image_opts(volumes).values():
        subprocess.run([img, 'convert', '-n', *setting.secret(), '--image-opts', source, '--target-image-opts', target],
                       check=True)


def is_supported(setting, name, volume):
    """Whether both programs can open VOLUME; else say that it is left out."""
    for who in ('ours', 'theirs'):
        done = subprocess.run([setting.img(who), 'info', volume], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            print(f'left out: {name}: {done.stderr.strip()}', file=sys.stderr)
            return False
    return True


def commands(setting, size, opts):
    """What to measure: {label: ({layer: arguments of qemu-img}, bytes)}. The peer's bench cannot decrypt."""
    count = size // REQUEST_BYTES
    bench = ['bench', '-c', str(count), '-s', str(REQUEST_BYTES), '-d', str(DEPTH), '--image-opts']
    copy = ['convert', '-n', '-S', '0', '--image-opts']
    noise, null = setting.raw_image('noise.raw'), f'driver=null-co,size={size + HEADER_BYTES}'
    return {
        f'read 64k, depth {DEPTH}': ({name: [*bench, opts[name]] for name in LAYERS}, size),
        f'write 64k, depth {DEPTH}': ({name: [*bench, '-w', opts[name]] for name in LAYERS}, size),
        'convert from it': ({name: [*copy, opts[name], '--target-image-opts', null] for name in LAYERS}, size),
        'convert to it': ({name: [*copy, noise, '--target-image-opts', opts[name]] for name in LAYERS}, size),
    }


def cases(setting, arguments):
    found = {}
    for name in LAYERS:
        for who in ('theirs', 'ours'):
            command, *rest = arguments[name]
            secret = setting.secret() if name == 'luks' else []
            if command != 'bench' or who == 'ours' or not secret:
                found[f'{who} {name}'] = Case([setting.img(who), command, *secret, *rest])
    return found


def measure_server(setting, table, bars, protocol, volumes):
    for label, (arguments, size) in commands(setting, setting.size, image_opts(volumes)).items():
        samples = take_turns(cases(setting, arguments), setting.rounds)
        row = [f'{protocol}: {label}']
        for name in LAYERS:
            row += [size / 1e9 / median(samples[who], 'wall') if who in samples else ''
                    for who in (f'theirs {name}', f'ours {name}')]
        for name in LAYERS:
            faster = f'theirs {name}' in samples and ratio(samples[f'theirs {name}'], samples[f'ours {name}'], 'wall')
            row.append(faster or '')
            if faster:
                bars.bars.append((f'{row[0]}, {name}', faster))
        row += [median(samples[f'ours {name}'], 'cpu') / (size / 1e9) for name in LAYERS]
        table.rows.append(row)


def protocols(setting):
    table = Table(
        'Storage on the network',
        f'`qemu-img bench` and `convert -n -S 0` of {setting.size // MIB} MiB, to and from servers on the same machine, '
        'which shares its processors with them: nbdkit with its file plugin and several connections, the peer\'s qemu-nbd, '
        'and tgtd serve files in the page cache; the OSD of the Ceph cluster keeps its objects in memory. *From it* goes to '
        'null-co, *to it* comes from a file in the page cache. The peer\'s `bench` cannot open encrypted volumes.',
        ['', 'peer raw GB/s', 'raw GB/s', 'peer luks GB/s', 'luks GB/s', 'raw/peer raw', 'luks/peer luks',
         'raw CPU s/GB', 'luks CPU s/GB'])
    bars = Bars('Storage on the network: how many times as fast as the peer', 1, [])
    path = f'{os.environ["PATH"]}:/usr/sbin:/sbin'
    for protocol, program, server in SERVERS:
        if not shutil.which(program, path=path):
            print(f'left out: {protocol}: no {program}', file=sys.stderr)
            continue
        with server(setting, setting.size + HEADER_BYTES) as volumes:
            if is_supported(setting, protocol, volumes[0].uri):
                fill(setting, volumes)
                measure_server(setting, table, bars, protocol, volumes)
    return table, bars


SUBJECTS = {'protocols': protocols}
