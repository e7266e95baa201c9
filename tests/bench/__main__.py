"""`python -m tests.bench`: this program against its peers on made captures, as ratios.

`make bench` prints the whole table: each row with its goal, and whether that is met. Absolute times say more about a
machine than about a program, so every comparison is of runs in turns, and the figure is the median of the ratios of
the pairs; "of CPU" is the same of processor time, which other work on the machine changes less. What is timed is also
held against the truth of the capture: packets, errors matched, errors invented. Memory is that of all processes.

    make bench ARGS=--list                      the rows, by group
    make bench ARGS='tcpdump start'             two groups
    make bench ARGS='-k "cut at 128"'           the rows whose titles hold this
    make bench ARGS='--quick --rounds 3'        a tenth of each size, three runs of each
    make bench ARGS='live --help'               scans; likewise icmpd, paths and watch

Captures are kept in a directory outside the repository (--dir; 25 GB for all of them), and made where they are not
there yet.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from tabulate import tabulate

from tests.bench import icmpd, live, paths, watch
from tests.bench.measure import compile_ours
from tests.bench.table import COLUMNS, EXTRA, UDPPROBE, Bench, Row, rows

QUICK = 0.1
OTHERS = {"live": live, "icmpd": icmpd, "paths": paths, "watch": watch}


def cache_directory() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("UDPPROBE_BENCH_DIR") or Path(cache) / "udpprobe" / "bench")


def parse(argv: list[str]) -> argparse.Namespace:
    usage, _, more = __doc__.partition("\n\n")
    groups = list(dict.fromkeys(row.group for row in rows(1)))
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description=usage,
        epilog=more,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "groups",
        nargs="*",
        metavar="group",
        help=f"some of: {', '.join(groups)} (default: all but {' and '.join(sorted(EXTRA))})",
    )
    parser.add_argument("-k", metavar="TEXT", default="", dest="text", help="only rows whose titles hold TEXT")
    parser.add_argument("--list", action="store_true", help="list the rows, measure nothing")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each, in turns (default: %(default)s)")
    parser.add_argument("--scale", type=float, default=1, metavar="FACTOR", help="sizes, times this (default: 1)")
    parser.add_argument(
        "--quick",
        action="store_const",
        const=QUICK,
        dest="scale",
        help=f"the same as --scale {QUICK}; goals are about full sizes",
    )
    parser.add_argument("--dir", type=Path, default=cache_directory(), help="for the captures (default: %(default)s)")
    options = parser.parse_args(argv)
    if unknown := set(options.groups) - set(groups):
        parser.error(f"no such group: {', '.join(sorted(unknown))}")
    return options


def chosen(options: argparse.Namespace) -> list[Row]:
    return [
        row
        for row in rows(options.scale)
        if options.text in row.title and (row.group in options.groups if options.groups else row.group not in EXTRA)
    ]


def say(text: str) -> None:
    sys.stderr.write(f"... {text}\n")


def what_runs() -> str:
    version = subprocess.run((UDPPROBE, "--version"), capture_output=True, text=True, check=True).stdout.strip()
    return f"{version}; {len(os.sched_getaffinity(0))} cores; Python {sys.version.split()[0]}"


def main(argv: list[str]) -> None:
    if argv and argv[0] in OTHERS:
        compile_ours()
        OTHERS[argv[0]].main(argv[1:])
        return
    options = parse(argv)
    if options.list:
        sys.stdout.write(tabulate([(row.group, row.title, row.goal) for row in chosen(options)]) + "\n")
        return
    compile_ours()
    bench, lines = Bench(options.dir, options.rounds, say), []
    for row in chosen(options):
        lines.append(bench.line(row))
        say("  ".join(filter(None, lines[-1][1:])))
    sys.stdout.write(f"{what_runs()}\n{tabulate(lines, COLUMNS, disable_numparse=True)}\n")
    if any("WRONG" in line for line in lines):
        raise SystemExit("what was measured is WRONG in some rows")


if __name__ == "__main__":
    main(sys.argv[1:])
