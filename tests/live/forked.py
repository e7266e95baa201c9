"""The program in a process of its own that is forked from this one, which has loaded it already.

A start takes a fifth of a second of a processor, that of the lab twice as long; a fork takes hardly any. Its number,
signals, streams and exit status are those of a program that was started. Where a test is about the start itself, or
about the words that ps(1) shows, it starts the program instead.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import os
import signal
import subprocess
import sys
import traceback
import warnings
from pathlib import Path

from network import enter

from udpprobe import __main__ as program

UDPPROBE = [sys.executable, "-m", "udpprobe"]
IN_NETWORK = ["ip", "netns", "exec"]
PROBING = "cli.progress", "commands.check", "commands.mtu", "commands.trace", "engines.raw", "reports.json"
LOADED = {"lab": ("cli.lab", "lab.run")} | dict.fromkeys(("scan", "trace", "mtu", "check"), PROBING)
"""What the first fork loads and the others have."""


def start(words, **how):
    """A Popen of UDPPROBE and its words, or of those that enter a named network for it.

    Others are started, as are those in a network that has a /etc of its own, which takes mounts.
    """
    network, count = None, len(UDPPROBE)
    if words[:3] == IN_NETWORK and words[4 : 4 + count] == UDPPROBE and not Path("/etc/netns", words[3]).exists():
        network, words = Path("/run/netns", words[3]), words[4:]
    if words[:count] != UDPPROBE:
        return subprocess.Popen(words, **how)
    for module in ("cli", *LOADED.get(words[count], ())):
        importlib.import_module(f"udpprobe.{module}")
    become = functools.partial(_become, [*map(str, words[count:])], network)
    with warnings.catch_warnings():
        # since Python 3.12: another thread might hold a lock that the fork waits for; of ours none does
        warnings.simplefilter("ignore", DeprecationWarning)
        return subprocess.Popen(words, preexec_fn=become, **how)  # noqa: PLW1509 - as above


def run(words, *, timeout=240, check=False, input=None, **how):  # noqa: A002 - as subprocess.run names it
    """As subprocess.run, with all that is written, as text."""
    pipe, how = subprocess.PIPE, {"text": True} | how | ({} if input is None else {"stdin": subprocess.PIPE})
    with start(words, stdout=pipe, stderr=pipe, **how) as process:
        try:
            out, errors = process.communicate(input, timeout=timeout)
        except BaseException:
            process.kill()
            raise
    done = subprocess.CompletedProcess(words, process.returncode, out, errors)
    if check:
        done.check_returncode()
    return done


def _become(words, network):
    """Forget what belongs to the tests; run the program; end."""
    status = 1
    try:
        if network:
            with network.open("rb") as within:
                enter(within)
        os.closerange(3, 1 << 16)  # our parent waits for the end of a pipe
        atexit._clear()  # noqa: SLF001 - what is there is the tests'
        signal.set_wakeup_fd(-1)
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            if callable(signal.getsignal(number)):
                signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        warnings.resetwarnings()
        for name, module in [*sys.modules.items()]:
            if name.startswith("udpprobe."):
                for each in vars(module).values():
                    getattr(each, "cache_clear", int)()
        sys.argv = ["udpprobe", *words]
        sys.stdin, sys.stdout, sys.stderr = map(os.fdopen, range(3), "rww")
        status = program.run()
    except SystemExit as ended:
        status = ended.code
    except BaseException:  # noqa: BLE001 - as an interpreter does
        traceback.print_exc()
    finally:
        os._exit(status)
