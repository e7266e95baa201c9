"""What a scan would send first to each destination; sends nothing."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from udpprobe.core.addresses import address_text
from udpprobe.core.model import Planned
from udpprobe.engines.prepare import EngineOptions, catalogue_of, make_plan
from udpprobe.scanning.probes import Destinations


def planned(destinations: Destinations, options: EngineOptions) -> Iterator[Planned]:
    """The first probe to each destination, in their order. Needs no privilege.

    Args:
        destinations: what would be probed.
        options: how.

    Raises:
        UsageError: an option is off: an unknown payload or address.
        UdpprobeError: the host cannot do it.
    """
    catalogue = catalogue_of(options)
    plan, errnos = make_plan(destinations, options, (options.source_port,))
    tasks = plan.tasks
    for task in range(plan.asked):
        code = errnos[tasks.host[task]]
        source = plan.sources.addresses[tasks.host[task]][0]
        yield Planned(
            address=address_text(*tasks.address(task)), port=tasks.port[task],
            payload=catalogue.rows[plan.payload_of(task, 0)].name, bytes=plan.length_of(task, 0),
            source=None if code else address_text(*source), source_port=plan.source_port[task] or None,
            errno=errno.errorcode.get(code))
