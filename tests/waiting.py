"""Waiting for what a program does, instead of for a time."""

import fcntl
import termios
import time
from functools import partial
from operator import call
from pathlib import Path
from threading import Thread

LOOKS, BETWEEN_S = 10, 0.05
"""Who is found asleep so often in a row has nothing to do: on a busy machine those that have are not, but they wait."""


def until_it_waits(process):
    """Until it has taken all there is out of its standard input, and no longer waits for a batch to become full."""
    until_it_sleeps(process, lambda: bytes(4) == fcntl.ioctl(process.stdin, termios.FIONREAD, bytes(4)))


def until_it_sleeps(process, and_so=lambda: True):
    """Until it has nothing to do."""
    asleep = 0
    while asleep < LOOKS:
        time.sleep(BETWEEN_S)
        state = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]
        asleep = asleep + 1 if state == "S" and and_so() else 0


def state_behind_start(step):
    """What another thread that calls `step` is seen to have done: only "begun" if `step` does not hold the GIL."""
    state = []
    # no bytecode between these: there the interpreter lets another thread run anyway
    steps = partial(state.append, "begun"), step, partial(state.append, "ended")
    thread = Thread(target=list, args=(map(call, steps),))
    thread.start()
    while not state:
        time.sleep(0.0001)
    found = [*state]
    thread.join()
    assert state == ["begun", "ended"]
    return found
