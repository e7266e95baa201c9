"""The interpreted twin of the core beside the compiled one, in this process, with what constants a test wants.

Compiled constants are fixed. Interpreted, a capture of 50 frames can meet the boundaries that a real one meets after a
million.
"""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import udpprobe.core
import udpprobe.report  # first, or what it brings would be built on the twin

CORE = Path(udpprobe.core.__path__[0])
MODULES = (
    "table",
    "histogram",
    "rows",
    "headers",
    "encapsulation",
    "decode",
    "flows",
    "recent",
    "duplicates",
    "findings",
    "stencils",
    "ranking",
    "destinations",
    "capture",
    "filter",
    "analyzer",
)
"""Each behind those it imports."""


def _loaded(constants: dict[str, dict[str, int]]) -> SimpleNamespace:
    names = [f"udpprobe.core.{name}" for name in MODULES] + ["udpprobe.report"]
    before = {name: sys.modules.pop(name, None) for name in (*names, "cython")}
    sys.modules["cython"] = None  # type: ignore[assignment] # its shadow is slower than ours
    found = SimpleNamespace()
    try:
        for name, full in zip((*MODULES, "report"), names, strict=True):
            path = CORE.parent / "report.py" if name == "report" else CORE / f"{name}.py"
            spec = importlib.util.spec_from_file_location(full, path)
            module = importlib.util.module_from_spec(spec)
            sys.modules[full] = module
            spec.loader.exec_module(module)
            for constant, value in constants.get(name, {}).items():
                assert hasattr(module, constant), f"{name}.{constant}"
                setattr(module, constant, value)
            setattr(found, name, module)
    finally:
        for name, module in before.items():
            sys.modules.pop(name, None)
            if module is not None:
                sys.modules[name] = module
    return found


@cache
def interpreted() -> SimpleNamespace:
    """Its modules, by their names."""
    return _loaded({})


@cache
def small(
    *,
    horizon: int = 32,
    window: int = 4,
    kept: int = 4,
    waiting: int = 8,
    steps: int = 1 << 14,
    ends: int = 256,
    conversations: int = 4,
    group: int = 2,
) -> SimpleNamespace:
    """Interpreted, and all that is limited is limited to this.

    Args:
        horizon: datagrams that are remembered, a power of two, more than three windows.
        window: packets between two sightings of one datagram, a power of two.
        kept: rows of one `Kept`.
        waiting: rows that wait for those before them.
        steps: datagrams that one error looks at.
        ends: conversations of one end that are looked through.
        conversations: at so many, those that are over are folded.
        group: rows that are followed together.
    """
    rows = group + 64
    return _loaded(
        {
            "duplicates": {"WINDOW": window, "HEAD": 3 * window, "_WINDOW": window},
            "flows": {
                "HORIZON": horizon,
                "_HORIZON": horizon,
                "MOST_CONVERSATIONS": conversations,
                "_MOST_STEPS": ends,
            },
            "recent": {
                "HORIZON": horizon,
                "LEAST_ROOM": min(horizon, 8),
                "_MOST_ROOM": horizon,
                "_MOST_STEPS": steps,
                "_INDEXED": horizon,
            },
            "analyzer": {
                "HEAD": 3 * window,
                "_HORIZON": horizon,
                "KEPT_ROWS": kept,
                "_KEPT": kept,
                "MOST_WAITING": waiting,
                "_MOST_WAITING": waiting,
                "GROUP": group,
                "_GROUP": group,
                "_ROWS": rows,
            },
        }
    )
