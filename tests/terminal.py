"""Programs on a terminal, and answers to their questions.

    terminal = Terminal('resize', image, '128k')
    terminal.answer(b'Password for', b'secret one')
    assert terminal.finish() == 0, terminal.output

SPDX-License-Identifier: GPL-2.0-or-later
"""
import os
import pty
import select
import termios

from programs import QEMU_IMG


class Terminal:
    """A program, qemu-img unless named, on a terminal of its own."""

    def __init__(self, *argv, program=QEMU_IMG, env=None):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(program, [os.path.basename(program), *map(str, argv)], env or os.environ)
        self.output = b''
        self.seen = 0

    def read_until(self, text):
        """Read its output up to TEXT after what was seen so far (None: to the end)."""
        while text is None or text not in self.output[self.seen:]:
            assert select.select([self.fd], [], [], 60)[0], self.output
            try:
                piece = os.read(self.fd, 1000)
            except OSError:
                piece = b''
            self.output += piece
            if not piece:
                assert text is None, self.output
                return
        self.seen = self.output.index(text, self.seen) + len(text)

    def answer(self, question, line):
        self.read_until(question)
        os.write(self.fd, line + b'\n')

    def echoes(self):
        return bool(termios.tcgetattr(self.fd)[3] & termios.ECHO)

    def finish(self):
        self.read_until(None)
        status = os.waitpid(self.pid, 0)[1]
        os.close(self.fd)
        return os.waitstatus_to_exitcode(status)
