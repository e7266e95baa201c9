"""The program: `udpprobe`, or `python -m udpprobe`."""

import signal
import sys


def run() -> int:
    """Run it; Ctrl-C shows no traceback, not even while modules are loaded or the interpreter ends."""
    try:
        from udpprobe.cli import main  # noqa: PLC0415 - Ctrl-C may come meanwhile

        status = main()
    except KeyboardInterrupt:
        status = 130
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return status


if __name__ == "__main__":
    sys.exit(run())
