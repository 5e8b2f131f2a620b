"""NBD clients that write to an export of a storage daemon, and check what they read.

    from writer import writers

    def test_resize(daemon, tmp_path):
        with writers(tmp_path, SIZE):       # the export "disk" at tmp_path/nbd.sock
            daemon.qmp.cmd(...)

SPDX-License-Identifier: GPL-2.0-or-later
"""
import contextlib
import random
import threading

import nbd

from nbd_server import wait_until

MiB = 1 << 20


def connect(tmp_path, name='disk'):
    handle = nbd.NBD()
    handle.set_export_name(name)
    handle.connect_unix(str(tmp_path / 'nbd.sock'))
    return handle


class Writer(threading.Thread):
    """Writes random blocks and reads them back until stopped; keeps the expected contents."""

    def __init__(self, tmp_path, seed, first, last, name='disk'):
        super().__init__(daemon=True)
        self._handle = connect(tmp_path, name)
        self._random = random.Random(seed)
        self._first, self._last = first, last
        self._stopping = threading.Event()
        self.error = None
        self.content = bytearray(last - first)
        self.writes = 0

    def fill(self):
        """First fill its part with zeroes."""
        for offset in range(self._first, self._last, 4 * MiB):
            self._handle.pwrite(bytes(min(4 * MiB, self._last - offset)), offset)

    def _place(self, length):
        return self._random.randrange(self._first, self._last - length, 512)

    def run(self):
        try:
            while not self._stopping.is_set():
                length = self._random.randrange(1, 80) * 512
                offset = self._place(length)
                data = self._random.randbytes(length)
                self._handle.pwrite(data, offset)
                self.content[offset - self._first:offset - self._first + length] = data
                self.writes += 1
                if self.writes % 4 == 0:
                    offset = self._place(length)
                    expected = self.content[offset - self._first:offset - self._first + length]
                    assert self._handle.pread(length, offset) == expected, f'wrong data at {offset}'
                if self.writes % 50 == 0:
                    self._handle.flush()
        except Exception as err:        # pylint: disable=broad-except
            self.error = err

    def stop(self):
        self._stopping.set()
        self.join(60)
        assert not self.is_alive()
        if self.error:
            raise self.error
        assert self._handle.pread(self._last - self._first, self._first) == self.content
        self._handle.shutdown()
        return self.writes


@contextlib.contextmanager
def writers(tmp_path, size):
    """Two clients that write to their halves of a volume, and check at the end that it holds what they wrote."""
    half = size // 2
    threads = [Writer(tmp_path, i, i * half, (i + 1) * half) for i in range(2)]
    for thread in threads:
        thread.fill()
        thread.start()
    yield threads
    # A block that is soon over on a busy machine has not seen many writes.
    wait_until(lambda: all(thread.error or thread.writes > 10 for thread in threads), 'writes')
    for thread in threads:
        thread.stop()
