"""Selects the twin of the core: the compiled modules, or the same files interpreted.

setup.py reads this file too, without importing the package. Every start waits for the imports here.
"""

from __future__ import annotations

import os

_CARRIED = b"udpprobe-source:%08x"
_LENGTH = len(_CARRIED % 0)


def interpret(core: str) -> None:
    """Import the modules in the directory `core` from their source, although compiled ones exist."""
    import sys
    from importlib.machinery import SOURCE_SUFFIXES, FileFinder, SourceFileLoader

    sys.path_importer_cache[core] = FileFinder(core, (SourceFileLoader, SOURCE_SUFFIXES))


def refuse_stale(core: str) -> None:
    """Check that each compiled module in `core` was made from the source beside it.

    This is for checkouts, which are edited. Installed packages aren't, and have no setup.py beside them.

    Raises:
        ImportError: one was not.
    """
    if os.environ.get("UDPPROBE_PURE") == "1" or not os.path.exists(_setup(core)):
        return
    from importlib.machinery import EXTENSION_SUFFIXES

    common = None
    for file in os.listdir(core):
        name, _, suffix = file.partition(".")
        if "." + suffix in EXTENSION_SUFFIXES:
            common = common or common_crc(core)
            if carried(f"{core}/{file}") != fingerprint(core, name, common):
                raise ImportError(f"udpprobe.core.{name} was compiled from another source: run `make compile`")


def common_crc(core: str) -> int:
    """Of what goes into each module: all .pxd files, for how objects lie in memory, and setup.py, for the options."""
    return _crc(_setup(core), *(f"{core}/{file}" for file in sorted(os.listdir(core)) if file.endswith(".pxd")))


def fingerprint(core: str, name: str, common: int) -> bytes:
    """The bytes that compiling the module `name` of the directory `core` must append to it."""
    source = f"{core}/{name}.py"
    return _CARRIED % (_crc(source, start=common) if os.path.exists(source) else common)


def carried(compiled: str) -> bytes:
    """The bytes that were appended to a compiled module."""
    with open(compiled, "rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _LENGTH))
        return file.read()


def _crc(*paths: str, start: int = 0) -> int:
    from zlib import crc32

    for path in paths:
        with open(path, "rb") as file:
            start = crc32(file.read(), start)
    return start


def _setup(core: str) -> str:
    return f"{core}/../../setup.py"
