"""A virtual machine that writes to a disk and verifies what it wrote: a Debian kernel with busybox, in Debian's QEMU.

    with Guest(tmp_path, '-blockdev', 'nbd,node-name=disk,server.type=unix,server.path=nbd.sock,export=disk') as guest:
        guest.wait_rounds(20)
        sums = guest.finish()               # of each block, after all were read again

scripts/test fetches the kernel into build/guest-kernel.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import gzip
import re
import select
import shutil
import subprocess
import time

from programs import SOURCE_DIR, run

KERNEL_DIR = SOURCE_DIR / 'build' / 'guest-kernel'
QEMU = shutil.which('qemu-system-x86_64')
BUSYBOX = shutil.which('busybox')
CPIO = shutil.which('cpio')
MODULES = ('virtio_ring', 'virtio', 'virtio_pci_modern_dev', 'virtio_pci_legacy_dev', 'virtio_pci', 'virtio_blk')
TIMEOUT = 180

BLOCK = 256 << 10
BLOCKS = 32

# Writes random blocks and reads earlier ones, all past the guest's page cache, until told to stop.
INIT = f'''#!/bin/busybox sh
/bin/busybox mkdir -p /dev /proc /tmp
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
for module in {' '.join(MODULES)}; do insmod /modules/$module.ko; done

fail() {{ echo "GUEST FAILED $*"; poweroff -f; }}

check() {{
  dd if=/dev/vda of=/tmp/read bs={BLOCK} skip=$1 count=1 iflag=direct 2>/tmp/err || fail read $(cat /tmp/err)
  [ "$(md5sum </tmp/read)" = "$(cat /tmp/sum.$1)" ] || fail block $1 differs
}}

write_and_check() {{
  round=0
  while [ ! -e /tmp/stop ]; do
    block=$((round % {BLOCKS}))
    dd if=/dev/urandom of=/tmp/data bs={BLOCK} count=1 2>/dev/null
    md5sum </tmp/data >/tmp/sum.$block
    dd if=/tmp/data of=/dev/vda bs={BLOCK} seek=$block count=1 oflag=direct conv=notrunc 2>/tmp/err || fail write $(cat /tmp/err)
    check $(((round * 7) % (round < {BLOCKS} ? round + 1 : {BLOCKS})))
    round=$((round + 1))
    echo "ROUND $round"
  done
}}

write_and_check &
read line
touch /tmp/stop
wait
sync /dev/vda
block=0
while [ -e /tmp/sum.$block ]; do
  check $block
  echo "BLOCK $block $(cat /tmp/sum.$block)"
  block=$((block + 1))
done
echo GUEST DONE
poweroff -f
'''


def missing():
    """What a guest needs that is not here; None if all is."""
    for name, path in (('qemu-system-x86_64', QEMU), ('busybox', BUSYBOX), ('cpio', CPIO)):
        if not path:
            return name
    return None if list(KERNEL_DIR.glob('boot/vmlinuz-*')) else 'a kernel in build/guest-kernel'


def make_initrd(directory):
    """The root of the guest, with /init above."""
    root = directory / 'initrd'
    for name in ('bin', 'modules'):
        (root / name).mkdir(parents=True)
    shutil.copy(BUSYBOX, root / 'bin' / 'busybox')
    for name in MODULES:
        module, = KERNEL_DIR.glob(f'lib/modules/*/kernel/drivers/*/{name}.ko')
        shutil.copy(module, root / 'modules')
    (root / 'init').write_text(INIT)
    (root / 'init').chmod(0o755)
    names = '\n'.join(str(path.relative_to(root)) for path in [root, *root.rglob('*')])
    archive = run(CPIO, '--create', '--format=newc', '--quiet', input=names.encode(), cwd=root, text=False).stdout
    path = directory / 'initrd.gz'
    path.write_bytes(gzip.compress(archive, 1))
    return path


class Guest:
    """A running guest, with the node "disk" of the QEMU options as its disk; killed at the end of the block."""

    def __init__(self, directory, *args):
        kernel, = KERNEL_DIR.glob('boot/vmlinuz-*')
        self._argv = [
            QEMU, '-nodefaults', '-no-reboot', '-display', 'none', '-machine', 'q35,accel=tcg', '-m', '192',
            '-kernel', kernel, '-initrd', make_initrd(directory), '-append', 'console=ttyS0 quiet panic=-1',
            '-serial', 'stdio', *args, '-device', 'virtio-blk-pci,drive=disk']
        self._process = None
        self.log = ''
        self.rounds = 0         # blocks written and one more verified

    def __enter__(self):
        self._process = subprocess.Popen(list(map(str, self._argv)), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         stderr=subprocess.STDOUT)
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.communicate()

    def _read(self, until):
        """Read the console until the function is true."""
        deadline = time.monotonic() + TIMEOUT
        while not until():
            ready, _, _ = select.select([self._process.stdout], [], [], max(0, deadline - time.monotonic()))
            data = self._process.stdout.read1() if ready else b''
            assert data, self.log
            self.log += data.decode(errors='replace')
            assert 'GUEST FAILED' not in self.log, self.log
            self.rounds = max(map(int, re.findall(r'ROUND (\d+)\r?\n', self.log)), default=0)

    def wait_rounds(self, more):
        """Wait until the guest has written this many more blocks."""
        end = self.rounds + more
        self._read(lambda: self.rounds >= end)

    def finish(self):
        """Stop writing, verify all, and power off; returns the md5 sums of the blocks from the first on."""
        self._process.stdin.write(b'\n')
        self._process.stdin.flush()
        self._read(lambda: 'GUEST DONE' in self.log)
        assert self._process.wait(TIMEOUT) == 0
        return re.findall(r'BLOCK \d+ ([0-9a-f]{32})', self.log)
