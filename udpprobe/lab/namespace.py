"""A private network for this process and its children: without a name or a way out, gone with the last of them.

Behind it is a TUN device: an interface whose packets a program reads and writes (Documentation/networking/tuntap.rst).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from udpprobe.errors import PrivilegeError, UdpprobeError, UsageError
from udpprobe.linux import netlink

if TYPE_CHECKING:
    from collections.abc import Sequence

    from udpprobe.linux.netlink import InterfaceAddress


CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x0002_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000
"""linux/sched.h"""
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_PRIVATE = 2, 4, 8, 0x4000, 0x4_0000
"""linux/mount.h"""

_LIBC = ctypes.CDLL(None, use_errno=True)


def libc(name: str, *arguments: object) -> int:
    """Call a function of the C library that Python 3.11 lacks.

    Raises:
        OSError: it failed.
    """
    result: int = getattr(_LIBC, name)(*arguments)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def unshare(flags: int) -> None:
    """Move to new namespaces (unshare(2)).

    Raises:
        OSError: the kernel refuses.
    """
    libc("unshare", flags)


def mount(kind: str, target: str, flags: int) -> None:
    """Mount a file system without a device (mount(2)).

    Raises:
        OSError: the kernel refuses.
    """
    libc("mount", kind.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), None)


INTERFACE = "lab0"
QUEUE_PACKETS = 10_000
"""The kernel sends faster than the world answers: this holds five seconds' worth of a burst."""
LEAST_MTU_V6 = 1280

PRIVATE = CLONE_NEWNET | CLONE_NEWPID
SYSCTLS = (
    ("net/ipv6/conf/all/disable_ipv6", "0"),
    ("net/ipv4/ping_group_range", "0 0"),  # ping without privilege, icmp(7)
    ("net/ipv4/ping_group_range", "0 2147483647"),  # a user namespace has no other group than 0
)


def enter() -> str:
    """Move this process into a network namespace, and its children into a process namespace as well.

    A user other than root gets there by a user namespace, in which it is root. This process must have only one thread,
    and may have only one child from now on.

    Returns:
        The command that enters the network, without the program to run.

    Raises:
        PrivilegeError: this user may not; the text says what would help.
    """
    try:
        unshare(PRIVATE)
    except PermissionError:
        _enter_as_user()
        return f"nsenter -t {os.getpid()} -U --preserve-credentials -n"
    except OSError as error:
        raise PrivilegeError(
            f"cannot make a private network: {error.strerror}; see sysctl user.max_net_namespaces and "
            "user.max_pid_namespaces"
        ) from None
    return f"nsenter -t {os.getpid()} -n"


def _enter_as_user() -> None:
    user, group = os.geteuid(), os.getegid()
    try:
        unshare(PRIVATE | CLONE_NEWUSER)
        for name, text in (("uid_map", f"0 {user} 1"), ("setgroups", "deny"), ("gid_map", f"0 {group} 1")):
            Path("/proc/self", name).write_text(text, encoding="ascii")
    except OSError as error:
        raise PrivilegeError(
            f"cannot make a private network: {error.strerror}; be root, or allow user namespaces (sysctl "
            "user.max_user_namespaces, kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)",
        ) from None


def furnish(networks: Sequence[InterfaceAddress], mtu: int) -> Tun:
    """Set up the network that this process has entered: loopback, a TUN device, its addresses, default routes to it.

    Args:
        networks: addresses of this host, with prefix lengths.
        mtu: of the TUN device, bytes.

    Raises:
        PrivilegeError: there is no TUN device for this user.
        UsageError: IPv6 does not work with this MTU.
        UdpprobeError: the kernel rejects a setting.
    """
    if mtu < LEAST_MTU_V6 and any(network.version == 6 for network in networks):
        raise UsageError(f"IPv6 needs an MTU of {LEAST_MTU_V6} (RFC 8200, 5), and the program's interface has {mtu}")
    for name, text in SYSCTLS:
        with suppress(OSError):  # a container may not write there; most things work without
            Path("/proc/sys", name).write_text(text, encoding="ascii")
    tun = Tun(INTERFACE)
    try:
        _configure(networks, mtu)
    except OSError as error:
        tun.close()
        raise UdpprobeError(
            f"cannot set up {INTERFACE} with {', '.join(map(str, networks))} and MTU {mtu}: {error.strerror}"
        ) from None
    return tun


def _configure(networks: Sequence[InterfaceAddress], mtu: int) -> None:
    netlink.set_up("lo")
    netlink.shape(INTERFACE, mtu, QUEUE_PACKETS)
    netlink.set_up(INTERFACE)
    for network in networks:
        netlink.add_address(INTERFACE, network)
    for version in sorted({network.version for network in networks}):
        netlink.add_default_route(INTERFACE, version)


def mount_private() -> None:
    """Let /proc and /sys show this process's namespaces, for it and its children only.

    If the kernel refuses, as in some containers, they stay as they are; few programs mind.
    """
    with suppress(OSError):
        unshare(CLONE_NEWNS)
        mount("none", "/", MS_REC | MS_PRIVATE)
        for kind, target in (("proc", "/proc"), ("sysfs", "/sys")):
            mount(kind, target, MS_NOSUID | MS_NODEV | MS_NOEXEC)


DEVICE = "/dev/net/tun"
TUNSETIFF = 0x4004_54CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
"""linux/if_tun.h: packets begin with their IP header."""
REQUEST = struct.Struct("=16sH22x")
"""struct ifreq"""
MAX_PACKET_BYTES = 65_575
"""IPv6's header and its longest payload without a jumbo option (RFC 8200, 3)."""

_SENT_DROPPED = 11
"""Index of an interface counter."""

_ADVICE = {
    errno.ENOENT: "there is none; load the module: modprobe tun",
    errno.ENODEV: "this kernel has none; load the module: modprobe tun",
    errno.EACCES: "be root, or let this user open it: chmod 0666 /dev/net/tun",
    errno.EPERM: "be root, or where this is a container, give it the device and CAP_NET_ADMIN",
}


class Tun:
    """A TUN device in this process's network namespace; it is gone once it is closed or the process has ended.

    Args:
        name: of the interface.

    Raises:
        PrivilegeError: this user may not have one; the text says what would help.
        UdpprobeError: the interface exists already.
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
        """IP packets that this host has sent into it, at most `most` at a time.

        Raises:
            UdpprobeError: the interface no longer exists.
        """
        try:
            for _ in range(most):
                yield os.read(self._descriptor, MAX_PACKET_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            raise UdpprobeError(f"{self.name} is gone, perhaps removed from inside: {error.strerror}") from None

    def write(self, packet: bytes) -> bool:
        """Let this host receive an IP packet.

        Returns:
            Whether the kernel accepted it as one.
        """
        try:
            os.write(self._descriptor, packet)
        except OSError:
            return False
        return True

    def overrun(self) -> int:
        """Packets that this host dropped because the queue was full (proc_pid_net(5))."""
        lines = Path("/proc/self/net/dev").read_text("ascii").splitlines()
        mine = [line.split(":")[1].split() for line in lines if line.strip().startswith(f"{self.name}:")]
        return sum(int(counts[_SENT_DROPPED]) for counts in mine)  # a program inside may have renamed it

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
