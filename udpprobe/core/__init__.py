"""PURE: columns in, columns out. No socket, file, clock or random number in here.

Modules with a .pxd beside them are compiled where the install found a C compiler, and interpreted elsewhere.
"""

from udpprobe import _twins

_twins.refuse_stale(__path__[0])


def is_compiled() -> bool:
    """Whether all compiled twins of the core's modules are in use, not the interpreted ones."""
    from udpprobe.core import siphash  # noqa: PLC0415 - so that importing a module of the core imports no other

    return not siphash.__file__.endswith(".py")
