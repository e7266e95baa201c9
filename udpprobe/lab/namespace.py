"""A private network for this process and its children: no name, no way out, gone with the last of them."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from udpprobe.errors import PrivilegeError, UdpprobeError, UsageError
from udpprobe.lab import libc, netlink
from udpprobe.lab.tun import Tun

if TYPE_CHECKING:
    from collections.abc import Sequence

    from udpprobe.lab.netlink import Network

INTERFACE = "lab0"
QUEUE_PACKETS = 10_000
"""The kernel sends faster than the world answers: what a program sends at once is kept for five seconds of it."""
LEAST_MTU_V6 = 1280

PRIVATE = libc.CLONE_NEWNET | libc.CLONE_NEWPID
SYSCTLS = (
    ("net/ipv6/conf/all/disable_ipv6", "0"),
    ("net/ipv4/ping_group_range", "0 0"),           # ping without privilege, icmp(7)
    ("net/ipv4/ping_group_range", "0 2147483647"),  # a user namespace has no other group than 0
)


def enter() -> str:
    """Take this process into a network namespace, and its children into a process namespace as well.

    Who is not root gets there by a user namespace, in which it is. This process may have but one thread, and
    may have but one child from now on.

    Returns:
        The command by which others enter the network, as far as their program.

    Raises:
        PrivilegeError: this user may not; the text says what would help.
    """
    try:
        libc.unshare(PRIVATE)
    except PermissionError:
        _enter_as_user()
        return f"nsenter -t {os.getpid()} -U --preserve-credentials -n"
    except OSError as error:
        raise PrivilegeError(f"cannot make a private network: {error.strerror}; see sysctl user.max_net_namespaces and "
                             "user.max_pid_namespaces") from None
    return f"nsenter -t {os.getpid()} -n"


def _enter_as_user() -> None:
    user, group = os.geteuid(), os.getegid()
    try:
        libc.unshare(PRIVATE | libc.CLONE_NEWUSER)
        for name, text in (("uid_map", f"0 {user} 1"), ("setgroups", "deny"), ("gid_map", f"0 {group} 1")):
            Path("/proc/self", name).write_text(text, encoding="ascii")
    except OSError as error:
        raise PrivilegeError(
            f"cannot make a private network: {error.strerror}; be root, or allow user namespaces (sysctl "
            "user.max_user_namespaces, kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)",
        ) from None


def furnish(networks: Sequence[Network], mtu: int) -> Tun:
    """Set up the network this process has entered: loopback, a TUN device, its addresses, default routes to it.

    Args:
        networks: addresses of this host, with the bits of their networks.
        mtu: of the TUN device, bytes.

    Raises:
        PrivilegeError: there is no TUN device for this user.
        UsageError: IPv6 does not work with this MTU.
        UdpprobeError: the kernel does not take one of the settings.
    """
    if mtu < LEAST_MTU_V6 and any(network.version == 6 for network in networks):
        raise UsageError(f"IPv6 needs an MTU of {LEAST_MTU_V6} (RFC 8200, 5), and the program's interface has {mtu}")
    for name, text in SYSCTLS:
        with suppress(OSError):     # a container may not write there, and much works without
            Path("/proc/sys", name).write_text(text, encoding="ascii")
    tun = Tun(INTERFACE)
    try:
        _configure(networks, mtu)
    except OSError as error:
        tun.close()
        raise UdpprobeError(f"cannot set up {INTERFACE} with {', '.join(map(str, networks))} and MTU {mtu}: "
                            f"{error.strerror}") from None
    return tun


def _configure(networks: Sequence[Network], mtu: int) -> None:
    netlink.set_up("lo")
    netlink.shape(INTERFACE, mtu, QUEUE_PACKETS)
    netlink.set_up(INTERFACE)
    for network in networks:
        netlink.add_address(INTERFACE, network)
    for version in sorted({network.version for network in networks}):
        netlink.add_default_route(INTERFACE, version)


def mount_private() -> None:
    """Let /proc and /sys show this process's namespaces, for it and its children only.

    Where the kernel does not want to, as in some containers, they stay what they were; few programs mind.
    """
    with suppress(OSError):
        libc.unshare(libc.CLONE_NEWNS)
        libc.mount("none", "/", libc.MS_REC | libc.MS_PRIVATE)
        for kind, target in (("proc", "/proc"), ("sysfs", "/sys")):
            libc.mount(kind, target, libc.MS_NOSUID | libc.MS_NODEV | libc.MS_NOEXEC)
