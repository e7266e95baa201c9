"""A million destinations on a simulated wire: each refuses at once, so that the scan itself is all that takes time.

`python -m tests.bench.simulated PREFIX PORTS OUTPUT` says how long it took from the start of the scan to the end of its
report, without what the wire took, and how many packets were not taken many at once.
"""

from __future__ import annotations

import json
import struct
import sys
import time
from array import array
from pathlib import Path
from typing import TYPE_CHECKING

from udpprobe.capture.frames import RAW, Frame, SourceState
from udpprobe.commands import scan as scanning
from udpprobe.core.capture import BLOCKS, Records
from udpprobe.core.targets import parse_ports, parse_target
from udpprobe.engines import Arrivals
from udpprobe.engines.prepare import EngineOptions
from udpprobe.reports.json import report_json
from udpprobe.targets import Wanted, resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from udpprobe.capture.packet_socket import Sift
    from udpprobe.core.probe import Batch

DATA_AT = 96
PORT_UNREACHABLE = 3, 3
ICMP, UDP = 1, 17


class Wire:
    """An engine whose every probe is refused by its destination (IPv4), in blocks as a ring has them."""

    name = "simulated"
    sees_own = owns_port = False
    tells_origin = True
    blind_to = None

    def __init__(self) -> None:
        self.state = SourceState("probe", self.name)
        self.sift: Sift | None = None
        self.took_s = 0.0
        self.rest = 0
        self._blocks: list[bytes] = []
        self._records = Records(BLOCKS, capacity=1)

    def send(
        self, batch: Batch, count: int, _zones: Sequence[int], on_leaving: Callable[[array[int]], None] | None = None
    ) -> None:
        if on_leaving:
            on_leaving(array("I", range(count)))
        start = time.perf_counter()
        now_s, now_ns = divmod(time.time_ns(), 10**9)
        packets, records = bytes(memoryview(batch.packets)[: count * batch.stride]), []
        for row in range(count):
            at, size = row * batch.stride, batch.length[row]
            total, step = size + 28, (DATA_AT + size + 28 + 7) & -8
            ends = packets[at + 12 : at + 20]
            # the sums of an IPv4 header and of a datagram with its pseudo header are 0 (RFC 1071)
            words = sum(struct.unpack("!4H", ends)) + UDP + size - 20
            checksum = 0xFFFF - (0x0303 - words) % 0xFFFF
            records.append(
                struct.pack("=6I2H68x", step, now_s, now_ns, total, total, 1 << 29, DATA_AT, DATA_AT)
                + struct.pack(
                    "!BBHHHBBH4s4sBBHI",
                    0x45,
                    0,
                    total,
                    row + 1,
                    0,
                    64,
                    ICMP,
                    0,
                    ends[4:],
                    ends[:4],
                    *PORT_UNREACHABLE,
                    checksum,
                    0,
                )
                + packets[at : at + size]
                + bytes(step - DATA_AT - total)
            )
        body = b"".join(records)
        last = len(body) - len(records[-1])
        body = body[:last] + bytes(4) + body[last + 4 :]
        self._blocks.append(struct.pack("=6I24x", 2, 0, 1, count, 48, 48 + len(body)) + body)
        self.took_s += time.perf_counter() - start

    is_sending = False

    def is_ready(self, _wait_s: float) -> bool:
        return True

    def flush(self, *, stop: bool = False) -> None:
        pass

    def unsent(self) -> list[tuple[int, int, int]]:
        return []

    def receive(self, _wait_s: float) -> Arrivals:
        blocks, self._blocks = self._blocks, []
        frames = []
        for block in blocks:
            for each in (self.sift and self.sift(self._records, block, 0)) or ():
                self.rest += 1
                frames.append(Frame(*each[:3], RAW, self.rest))
        return Arrivals(time.time_ns(), frames)

    def close(self) -> None:
        pass


def main(prefix: str, ports: str, output: str) -> None:
    wire = Wire()
    scanning.open_engine = lambda *_, **__: wire  # type: ignore[assignment]
    start = time.perf_counter()
    resolved = resolve([parse_target(prefix)], [], Wanted(parse_ports(ports)))
    report = scanning.scan(resolved.destinations, EngineOptions(rate_pps=0))
    with Path(output).open("w", encoding="ascii") as out:
        out.writelines(report_json(report))
    took_s = time.perf_counter() - start
    status = Path("/proc/self/status").read_text()
    peak_kb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    sys.stdout.write(
        json.dumps(
            {
                "destinations": len(resolved.destinations),
                "s": took_s - wire.took_s,
                "wire_s": wire.took_s,
                "rest": wire.rest,
                "peak_mb": peak_kb / 1024,
            }
        )
        + "\n"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
