"""Which twin of the core runs: what was compiled, or the same files interpreted.

The build uses `fingerprint` and `CARRIED` too, and reads this file without importing the package.
"""

from pathlib import Path
from zlib import crc32

CARRIED = b"udpprobe-source-%08x"   # the last bytes of each compiled module: of which source it was made
_LENGTH = len(CARRIED % 0)


def fingerprint(source: Path) -> bytes:
    """What a module compiled from `source` has to carry.

    The .pxd files count with it, as they fix how objects of other modules lie in memory, and so does setup.py,
    which has the compiler's options.
    """
    shared = (source.parents[2] / "setup.py", *sorted(source.parent.glob("*.pxd")))
    value = 0
    for file in (source, *shared):
        value = crc32(file.read_bytes(), value)
    return CARRIED % value


def carried(compiled: Path) -> bytes:
    """What a compiled module carries."""
    with compiled.open("rb") as file:
        file.seek(-_LENGTH, 2)
        return file.read()
