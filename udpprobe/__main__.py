"""The program: `udpprobe`, or `python -m udpprobe`."""

import gc
import signal
import sys

SELDOM = 100_000
"""Objects made between two searches for cycles: a report may be of millions, and there are hardly any cycles."""


def run() -> int:
    """Run it; Ctrl-C shows no traceback, not even while modules are loaded or the interpreter ends."""
    gc.set_threshold(SELDOM)
    try:
        from udpprobe.cli import main  # noqa: PLC0415 - Ctrl-C may come meanwhile

        status = main()
    except KeyboardInterrupt:
        status = 130
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return status


if __name__ == "__main__":
    sys.exit(run())
