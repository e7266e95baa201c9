"""What a scan would send first to each destination; sends nothing."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import numpy as np

from udpprobe.core.addresses import address_text
from udpprobe.core.batch import I64
from udpprobe.core.model import Planned
from udpprobe.core.probing.craft import Crafter
from udpprobe.core.probing.probes import Destinations
from udpprobe.core.scanning.plan import Plan
from udpprobe.payloads import Catalogue
from udpprobe.prepare import Options, catalogue_of, make_plan

AT_ONCE = 8192
"""Probes that are made at a time."""


def planned(destinations: Destinations, options: Options) -> Iterator[Planned]:
    """The first probe to each destination, in their order. Needs no privilege.

    Args:
        destinations: what would be probed.
        options: how.

    Raises:
        UsageError: an option is off: an unknown payload, interface or address.
        UdpprobeError: the host cannot do it.
    """
    catalogue = catalogue_of(options)
    plan, errnos = make_plan(destinations, options, (options.source_port,))
    crafter = Crafter(catalogue.columns(), size=options.size)
    for start in range(0, plan.asked, AT_ONCE):
        tasks = np.arange(start, min(start + AT_ONCE, plan.asked))
        yield from _told(plan, catalogue, crafter, tasks, errnos)


def _told(plan: Plan, catalogue: Catalogue, crafter: Crafter, tasks: I64, errnos: I64) -> Iterator[Planned]:
    none = np.zeros(len(tasks), np.int64)
    probes = plan.probes(tasks, none, none)
    lengths = crafter.lengths_of(probes)
    for row, code in enumerate(errnos[plan.tasks.host[tasks]].tolist()):
        ports = int(probes.ports[row])
        yield Planned(
            address=address_text(int(probes.destination_high[row]), int(probes.destination_low[row])),
            port=ports & 0xFFFF, payload=catalogue.rows[probes.payload[row]].name, bytes=int(lengths[row]),
            source=None if code else address_text(int(probes.source_high[row]), int(probes.source_low[row])),
            source_port=ports >> 16 or None, errno=errno.errorcode.get(code))
