"""Waiting for what a program does, instead of for a time."""

import fcntl
import sys
import termios
import time
from pathlib import Path


def until_it_waits(process):
    """Until it has taken all there is out of its standard input, and no longer waits for a batch to become full."""
    asleep = 0
    while asleep < 10:
        time.sleep(0.05)
        unread = int.from_bytes(fcntl.ioctl(process.stdin, termios.FIONREAD, bytes(4)), sys.byteorder)
        state = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]
        asleep = asleep + 1 if (unread, state) == (0, "S") else 0
