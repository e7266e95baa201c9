"""Which twin of the core runs: the compiled modules, or the same files interpreted.

setup.py reads this file too, without importing the package. Each start waits for what is imported here.
"""

from __future__ import annotations

import os

_CARRIED = b"udpprobe-source:%08x"
_LENGTH = len(_CARRIED % 0)


def interpret(core: str) -> None:
    """Let the modules in the directory `core` be imported from their source, although compiled ones lie beside it."""
    import sys
    from importlib.machinery import SOURCE_SUFFIXES, FileFinder, SourceFileLoader

    sys.path_importer_cache[core] = FileFinder(core, (SourceFileLoader, SOURCE_SUFFIXES))


def refuse_stale(core: str) -> None:
    """Look whether each compiled module in `core` was made from the source beside it.

    This is for checkouts, which are edited. Installed packages aren't, and have no setup.py beside them.

    Raises:
        ImportError: one was not.
    """
    if not os.path.exists(_setup(core)):
        return
    from importlib.machinery import EXTENSION_SUFFIXES

    for file in os.listdir(core):
        name, _, suffix = file.partition(".")
        if "." + suffix in EXTENSION_SUFFIXES and carried(os.path.join(core, file)) != fingerprint(core, name):
            raise ImportError(f"udpprobe.core.{name} was compiled from another source: run `make compile`")


def fingerprint(core: str, name: str) -> bytes:
    """The last bytes of the compiled module `name` of the directory `core`, to be appended by who compiles it.

    All .pxd files count: they say how objects of other modules lie in memory. So does setup.py, where the options are.
    """
    from zlib import crc32

    files = sorted(file for file in os.listdir(core) if file.endswith(".pxd") or file == name + ".py")
    value = 0
    for path in (_setup(core), *(os.path.join(core, file) for file in files)):
        with open(path, "rb") as source:
            value = crc32(source.read(), value)
    return _CARRIED % value


def carried(compiled: str) -> bytes:
    """The last bytes of a compiled module."""
    with open(compiled, "rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _LENGTH))
        return file.read()


def _setup(core: str) -> str:
    return os.path.join(core, os.pardir, os.pardir, "setup.py")
