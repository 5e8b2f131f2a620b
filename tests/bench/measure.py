"""Running programs in turn and timing them.

    samples = take_turns({'ours': Case([QEMU_IMG, 'info', 'a.img']), 'theirs': Case(['qemu-img', 'info', 'a.img'])}, 5)
    print(ratio(samples['theirs'], samples['ours'], 'wall'))    # how many times as fast ours is

SPDX-License-Identifier: GPL-2.0-or-later
"""
import dataclasses
import os
import re
import statistics
import subprocess
import sys
import time

# On a busy machine, QEMU sometimes fails to create encrypted images: "Unable to get accurate CPU usage".
ATTEMPTS = 5
REPORTED_SECONDS = re.compile(r'Run completed in ([0-9.]+) seconds')


@dataclasses.dataclass
class Case:
    """A command to time, its standard input, and a function to call before each run, which is not timed."""
    argv: list
    stdin: bytes = b''
    prepare: object = None


@dataclasses.dataclass
class Sample:
    """One run, in seconds. WALL is the time that the program itself reports, if it does."""
    wall: float
    cpu: float


def attempt(case):
    """Run a case. Returns its sample, or None if it failed, and its output."""
    if case.prepare:
        case.prepare()
    argv = [os.fspath(arg) for arg in case.argv]
    start = time.perf_counter()
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as child:
        child.stdin.write(case.stdin)
        child.stdin.close()
        output = child.stdout.read().decode(errors='replace')
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        return None, f'exit status {child.returncode}: {" ".join(argv)}\n{output}'
    said = REPORTED_SECONDS.search(output)
    return Sample(float(said.group(1)) if said else wall, usage.ru_utime + usage.ru_stime), output


def run_once(case):
    for _ in range(ATTEMPTS):
        sample, output = attempt(case)
        if sample:
            return sample
        print(output, file=sys.stderr)
    raise SystemExit(f'failed {ATTEMPTS} times')


def take_turns(cases, rounds, run=run_once):
    """RUN each of CASES once per round, in reverse order every other round. Returns {name: [result of RUN]}."""
    samples = {name: [] for name in cases}
    for number in range(rounds):
        for name in list(cases) if number % 2 == 0 else reversed(cases):
            samples[name].append(run(cases[name]))
    return samples


def median(samples, what):
    return statistics.median(getattr(sample, what) for sample in samples)


def ratio(above, below, what):
    """The median of the ratios of each round: a disturbance affects both sides of the ratio of its round."""
    return statistics.median(getattr(a, what) / max(getattr(b, what), 1e-6)
                             for a, b in zip(above, below, strict=True))
