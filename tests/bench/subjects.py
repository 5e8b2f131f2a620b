"""The subjects to measure. Each function returns a Table, and the Bars of the plot.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import dataclasses
import os
import pathlib
import re
import subprocess
import time

from measure import Case, median, ratio, take_turns
from report import Bars, Table

PASSWORD = b'correct horse battery staple'
MIB = 1 << 20
# Size of requests: how many of them make a run of about 0.1 s.
CACHED_REQUESTS = {'4k': 50000, '64k': 8192, '1M': 1024}
DEVICE_REQUESTS = {'64k': 1024, '1M': 128}
# The aim of the project for requests of these sizes.
LUKS_OF_RAW_AIM = 0.85


@dataclasses.dataclass
class Setting:
    """What all subjects share: the programs, a scratch directory, the number of rounds, and the size of images."""
    build: pathlib.Path
    peer: pathlib.Path
    scratch: pathlib.Path
    rounds: int
    size: int

    def img(self, who):
        return self.build / 'qemu-img' if who == 'ours' else self.peer / 'qemu-img'

    def io(self, who):
        return self.build / 'qemu-io' if who == 'ours' else self.peer / 'qemu-io'

    def file(self, name):
        return self.scratch / name

    def secret(self):
        path = self.file('password')
        path.write_bytes(PASSWORD)
        return ['--object', f'secret,id=sec0,file={path}']

    def luks(self, name):
        """Options that open an encrypted image."""
        return f'driver=luks,key-secret=sec0,file.filename={self.file(name)}'

    def raw_image(self, name):
        """An image of noise, in the page cache. Returns options that open it."""
        path = self.file(name)
        if not path.exists():
            with path.open('wb') as out:
                for _ in range(self.size // MIB):
                    out.write(os.urandom(MIB))
                os.fsync(out.fileno())
        return f'driver=raw,file.filename={path}'

    def luks_image(self, name):
        """An encrypted image of noise, with few PBKDF2 iterations. Returns options that open it."""
        if not self.file(name).exists():
            img = self.img('ours')
            subprocess.run([img, 'create', '-q', '-f', 'luks', *self.secret(), '-o', 'key-secret=sec0,iter-time=1',
                            self.file(name), str(self.size)], check=True)
            subprocess.run([img, 'convert', '-n', *self.secret(), '--image-opts', self.raw_image('noise.raw'),
                            '--target-image-opts', self.luks(name)], check=True)
            with self.file(name).open('rb') as image:
                os.fsync(image.fileno())
        return self.luks(name)


def create_cases(setting, iter_time):
    """Create images, and open them, which derives the same key once and does little else."""
    cases = {}
    for who in ('ours', 'theirs'):
        image = setting.file(f'{who}.luks')
        cases[f'{who} create'] = Case(
            [setting.img(who), 'create', '-q', '-f', 'luks', *setting.secret(),
             '-o', f'key-secret=sec0,iter-time={iter_time}', image, '1M'],
            prepare=lambda image=image: image.unlink(missing_ok=True))
        cases[f'{who} open'] = Case([setting.io(who), *setting.secret(), '--image-opts', '-r', setting.luks(image.name),
                                     '-c', 'length'])
    image = setting.file('cryptsetup.luks')
    cases['cryptsetup create'] = Case(
        ['cryptsetup', 'luksFormat', '-q', '--type', 'luks1', '-c', 'aes-xts-plain64', '-s', '512', '-h', 'sha256',
         '--iter-time', str(iter_time), image, '-'], stdin=PASSWORD, prepare=lambda: fresh_file(image, 8 * MIB))
    cases['cryptsetup open'] = Case(
        ['cryptsetup', 'open', '--type', 'luks1', '--test-passphrase', '--key-file', '-', image], stdin=PASSWORD)
    return cases


def fresh_file(path, size):
    path.unlink(missing_ok=True)
    with path.open('wb') as out:
        out.truncate(size)


def create(setting):
    table = Table(
        'Creating an encrypted image',
        'In seconds. *Above the key* is the CPU time of creating an image minus that of opening it, which derives the same '
        'key: the cost of calibration and of writing the header. It must stay below 0.2 s; '
        'the difference is accurate to about 0.05 s.',
        ['program, iter-time', 'wall', 'CPU', 'CPU of opening', 'above the key'])
    bars = Bars("Creating: how many times as fast by CPU time", 1, [])
    for iter_time in (2000, 100):
        samples = take_turns(create_cases(setting, iter_time), setting.rounds)
        for who in ('ours', 'theirs', 'cryptsetup'):
            made, opened = samples[f'{who} create'], samples[f'{who} open']
            table.rows.append([f'{who}, {iter_time} ms', median(made, 'wall'), median(made, 'cpu'),
                               median(opened, 'cpu'), f'{median(made, "cpu") - median(opened, "cpu"):.3f}'])
        for who in ('theirs', 'cryptsetup'):
            bars.bars.append((f'as {"the peer" if who == "theirs" else who}, iter-time {iter_time}',
                              ratio(samples[f'{who} create'], samples['ours create'], 'cpu')))
    return table, bars


def request_cases(setting, size, count, depth, write, cache):
    """The same requests to a raw image and to an encrypted one, by both programs if the peer supports it."""
    tail = ['-c', str(count), '-s', size, '-d', str(depth), '-t', cache] + (['-w'] if write else [])
    raw = ['--image-opts', setting.raw_image('noise.raw')]
    luks = [*setting.secret(), '--image-opts', setting.luks_image('noise.luks')]
    return {'ours raw': Case([setting.img('ours'), 'bench', *tail, *raw]),
            'ours luks': Case([setting.img('ours'), 'bench', *tail, *luks]),
            'theirs raw': Case([setting.img('theirs'), 'bench', *tail, *raw])}


def request_row(setting, label, size, count, depth, write, cache):
    samples = take_turns(request_cases(setting, size, count, depth, write, cache), setting.rounds)
    gigabytes = count * {'k': 1024, 'M': MIB}[size[-1]] * int(size[:-1]) / 1e9
    luks_of_raw = ratio(samples['ours raw'], samples['ours luks'], 'wall')
    raw_of_peer = ratio(samples['theirs raw'], samples['ours raw'], 'wall')
    row = [label, *(gigabytes / median(samples[name], 'wall') for name in ('theirs raw', 'ours raw', 'ours luks')),
           luks_of_raw, raw_of_peer,
           *(median(samples[name], 'cpu') / gigabytes for name in ('theirs raw', 'ours raw', 'ours luks'))]
    return row, luks_of_raw, raw_of_peer


REQUEST_COLUMNS = ['requests', 'peer raw GB/s', 'raw GB/s', 'luks GB/s', 'luks/raw', 'raw/peer raw',
                   'peer raw CPU s/GB', 'raw CPU s/GB', 'luks CPU s/GB']


def requests(setting, title, text, plan, cache):
    """PLAN: a list of (size, count, depth)."""
    table = Table(title, text, REQUEST_COLUMNS)
    own = Bars(f'{title}: luks/raw (line at {LUKS_OF_RAW_AIM})', LUKS_OF_RAW_AIM, [])
    peer = Bars(f"{title}: raw, how many times as fast as the peer's raw", 1, [])
    for write in (False, True):
        for size, count, depth in plan:
            label = f'{"write" if write else "read"} {size}, depth {depth}'
            row, luks_of_raw, raw_of_peer = request_row(setting, label, size, count, depth, write, cache)
            table.rows.append(row)
            own.bars.append((label, luks_of_raw))
            peer.bars.append((label, raw_of_peer))
    return table, own, peer


def cached(setting):
    return requests(
        setting, 'Requests to the page cache',
        '`qemu-img bench`, AES-256-XTS. A request to the raw image only copies between the page cache and the program, so '
        'luks/raw compares encryption with that copy. The peer\'s `bench` cannot open encrypted images (it has no '
        '`--object`); *Conversions* has its LUKS.',
        [(size, count, depth) for size, count in CACHED_REQUESTS.items() for depth in (1, 16, 64)], 'writeback')


def device(setting):
    return requests(
        setting, 'Requests to the device', '`qemu-img bench -t none` bypasses the page cache. CPU time '
        'includes opening the image, about 10 ms of a run.',
        [(size, count, depth) for size, count in DEVICE_REQUESTS.items() for depth in (1, 16)], 'none')


def convert(setting):
    size = setting.size
    gigabytes = size / 1e9
    raw, luks = setting.raw_image('noise.raw'), setting.luks_image('noise.luks')
    raw_target, luks_target = setting.raw_image('target.raw'), setting.luks_image('target.luks')
    null = f'driver=null-co,size={size}'
    table = Table(
        'Conversions',
        f'`qemu-img convert -n -S 0` of {size // MIB} MiB, from page cache to page cache, to existing images; null-co is '
        'an image without storage.',
        ['from, to', 'peer GB/s', 'ours GB/s', 'ours/peer', 'peer CPU s/GB', 'ours CPU s/GB', 'ours/peer by CPU'])
    bars = Bars('Conversions: how many times as fast as the peer', 1, [])
    for label, source, target in (('raw, raw', raw, raw_target), ('raw, luks', raw, luks_target),
                                  ('luks, raw', luks, raw_target), ('luks, luks', luks, luks_target),
                                  ('luks, null-co', luks, null), ('null-co, luks', null, luks_target)):
        samples = take_turns({who: Case([setting.img(who), 'convert', '-n', '-S', '0', *setting.secret(),
                                         '--image-opts', source, '--target-image-opts', target])
                              for who in ('theirs', 'ours')}, setting.rounds)
        faster = ratio(samples['theirs'], samples['ours'], 'wall')
        table.rows.append([label, *(gigabytes / median(samples[who], 'wall') for who in samples), faster,
                           *(median(samples[who], 'cpu') / gigabytes for who in samples),
                           ratio(samples['theirs'], samples['ours'], 'cpu')])
        bars.bars.append((label, faster))
    return table, bars


def idle_memory_kib(setting, who):
    """Private memory of qemu-io with an encrypted image open while it waits for a command."""
    argv = [setting.io(who), *setting.secret(), '--image-opts', setting.luks_image('noise.luks')]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as child:
        child.stdin.write(b'read 0 1M\n')
        child.stdin.flush()
        while b'ops/sec' not in child.stdout.readline():
            pass
        time.sleep(0.1)
        rollup = pathlib.Path(f'/proc/{child.pid}/smaps_rollup').read_text()
        child.stdin.close()
        child.stdout.read()
    sizes = dict(re.findall(r'^(\w+): +(\d+) kB$', rollup, re.MULTILINE))
    return int(sizes['Private_Clean']) + int(sizes['Private_Dirty'])


def process(setting):
    setting.luks_image('noise.luks')
    setting.raw_image('noise.raw')
    table = Table('Processes', 'Memory is the private memory of qemu-io with an encrypted image open.',
                  ['', 'peer', 'ours', 'ours is better by'])
    bars = Bars('Processes: how many times as fast as the peer, or smaller', 1, [])
    for label, args in (('--version', ['--version']), ('info, raw', ['info', '-f', 'raw', setting.file('noise.raw')]),
                        ('info, luks', ['info', '-f', 'luks', setting.file('noise.luks')])):
        samples = take_turns({who: Case([setting.img(who), *args]) for who in ('theirs', 'ours')}, 4 * setting.rounds)
        faster = ratio(samples['theirs'], samples['ours'], 'wall')
        table.rows.append([f'qemu-img {label}: ms', *(1000 * median(samples[who], 'wall') for who in samples), faster])
        bars.bars.append((f'qemu-img {label}', faster))
    theirs, ours = (idle_memory_kib(setting, who) for who in ('theirs', 'ours'))
    table.rows.append(['idle qemu-io: MiB', theirs / 1024, ours / 1024, theirs / ours])
    bars.bars.append(('memory of qemu-io', theirs / ours))
    return table, bars


def primitives(setting):
    done = subprocess.run([setting.build / 'tests/bench/crypto-bench'], check=True, stdout=subprocess.PIPE, text=True)
    return (Table('Ciphers and key derivation', '`crypto-bench`: one thread, compared with the libraries in the same run.',
                  verbatim=done.stdout),)


SUBJECTS = {subject.__name__: subject for subject in (create, cached, device, convert, process, primitives)}
