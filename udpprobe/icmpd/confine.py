"""Privileges: as many descriptors as allowed, then none of the rest."""

from __future__ import annotations

import ctypes
import errno
import os
import pwd
import resource
import struct

from udpprobe.errors import UdpprobeError

WANTED_DESCRIPTORS = 65536
RESERVED_DESCRIPTORS = 64
"""For everything that is no client, and for telling clients beyond the last that there is no room."""

PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 38, 47, 4
CAPABILITY_VERSION_3 = 0x2008_0522

_libc = ctypes.CDLL(None, use_errno=True)


def raise_descriptors() -> int:
    """Raise the limit on descriptors as far as allowed; how many clients fit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (max(hard, WANTED_DESCRIPTORS), hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        except (ValueError, OSError):       # the hard limit is for the superuser to raise
            continue
        soft = limit
        break
    return max(soft - RESERVED_DESCRIPTORS, 1)


def become(user: str) -> None:
    """Be another user, by name or number, with that user's groups, for good.

    Raises:
        UdpprobeError: this process may not.
    """
    try:
        entry = pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
        os.initgroups(entry.pw_name, entry.pw_gid)
        os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
        os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
    except KeyError:
        raise UdpprobeError(f"no user {user!r}") from None
    except PermissionError:
        raise UdpprobeError(f"only the superuser can become {user}; leave --user out") from None


def give_up_privileges() -> None:
    """Give up all capabilities, and the way to new ones (capabilities(7), PR_SET_NO_NEW_PRIVS)."""
    header = struct.pack("=Ii", CAPABILITY_VERSION_3, 0)
    none = bytes(2 * 12)    # struct __user_cap_data_struct, twice
    _do(_libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _do(_libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0))
    _do(_libc.capset(header, none))


def _do(result: int) -> None:
    if result:
        raise UdpprobeError(f"cannot give up privileges: {os.strerror(ctypes.get_errno() or errno.EPERM)}")
