"""The program: `udpprobe`, or `python -m udpprobe`."""

import atexit
import gc
import os
import signal
import sys

INTERRUPTED, TERMINATED = 128 + 2, 128 + 15
"""The exit status in a shell of a program that SIGINT or SIGTERM ended."""
SELDOM = 100_000
"""Objects created between two runs of the cycle collector: a report may have millions, and hardly any cycles."""


def run() -> int:
    """Run it; Ctrl-C and SIGTERM show no traceback, not even while modules are loaded or the interpreter exits."""
    gc.set_threshold(SELDOM)
    try:
        try:
            status = _status()
        finally:  # still inside the outer one, because the signal may come between the end and this line
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
    except KeyboardInterrupt:
        status = INTERRUPTED
    except RuntimeError as error:
        if not isinstance(error.__cause__, KeyboardInterrupt):
            raise
        status = INTERRUPTED  # it came while a class was made, and Python 3.11 says so
    if status == INTERRUPTED and _was_terminated():
        status = TERMINATED
    _leave(status)
    return status


def _leave(status: int) -> None:
    """Exit at once if possible: freeing everything takes a fifth of a short command's time."""
    atexit._run_exitfuncs()  # noqa: SLF001 - as multiprocessing does before it ends like this
    try:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
    except (OSError, ValueError):
        return  # the interpreter says so
    os._exit(status)


def _status() -> int:
    from udpprobe.interrupt import handle_sigterm  # noqa: PLC0415 - Ctrl-C may come meanwhile

    handle_sigterm()
    from udpprobe.cli import main  # noqa: PLC0415 - likewise

    return main()


def _was_terminated() -> bool:
    from udpprobe.interrupt import was_terminated  # noqa: PLC0415 - as above

    return was_terminated()


if __name__ == "__main__":
    sys.exit(run())
