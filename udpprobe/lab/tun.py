"""A TUN device: an interface whose packets a program reads and writes (Documentation/networking/tuntap.rst)."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from udpprobe.errors import PrivilegeError, UdpprobeError

DEVICE = "/dev/net/tun"
TUNSETIFF = 0x4004_54CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
"""linux/if_tun.h: packets begin with their IP header."""
REQUEST = struct.Struct("=16sH22x")
"""struct ifreq"""
MAX_PACKET_BYTES = 65_575
"""IPv6's header and its longest payload without a jumbo option (RFC 8200, 3)."""

_SENT_DROPPED = 11
"""Which of an interface's counts."""

_ADVICE = {
    errno.ENOENT: "there is none; load the module: modprobe tun",
    errno.ENODEV: "this kernel has none; load the module: modprobe tun",
    errno.EACCES: "be root, or let this user open it: chmod 0666 /dev/net/tun",
    errno.EPERM: "be root, or where this is a container, give it the device and CAP_NET_ADMIN",
}


class Tun:
    """A TUN device in this process's network namespace; it is gone once it is closed, or the process has ended.

    Args:
        name: of the interface.

    Raises:
        PrivilegeError: this user may not have one; the text says what would help.
        UdpprobeError: the interface is there already.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        try:
            self._descriptor = _opened(name)
        except OSError as error:
            kind = PrivilegeError if error.errno in _ADVICE else UdpprobeError
            why = _ADVICE.get(error.errno or 0, os.strerror(error.errno or errno.EIO))
            raise kind(f"cannot open {DEVICE}: {why}") from None

    def fileno(self) -> int:
        """For a selector: readable when packets wait."""
        return self._descriptor

    def packets(self, most: int) -> Iterator[bytes]:
        """IP packets that this host has sent into it, as long as there are any, and `most` at a time.

        Raises:
            UdpprobeError: the interface is there no more.
        """
        try:
            for _ in range(most):
                yield os.read(self._descriptor, MAX_PACKET_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            raise UdpprobeError(f"{self.name} is gone, as if somebody inside has removed it: "
                                f"{error.strerror}") from None

    def write(self, packet: bytes) -> bool:
        """Let this host receive an IP packet.

        Returns:
            Whether the kernel took it for one.
        """
        try:
            os.write(self._descriptor, packet)
        except OSError:
            return False
        return True

    def overrun(self) -> int:
        """How many packets this host has dropped because more waited than there is room for (proc_pid_net(5))."""
        lines = Path("/proc/self/net/dev").read_text("ascii").splitlines()
        mine = [line.split(":")[1].split() for line in lines if line.strip().startswith(f"{self.name}:")]
        return sum(int(counts[_SENT_DROPPED]) for counts in mine)   # somebody inside may have renamed it

    def close(self) -> None:
        """Remove the interface."""
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _opened(name: str) -> int:
    descriptor = os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, TUNSETIFF, REQUEST.pack(name.encode(), IFF_TUN | IFF_NO_PI))
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
