"""What the readers of pcap and pcapng share: a window of records becomes batches of frames."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from udpprobe.core.batch import BATCH_FRAMES
from udpprobe.sources.chain import EVERYTHING, Chain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy.typing as npt

    from udpprobe.core.batch import I64, U8, Bool, FrameBatch, SourceState
    from udpprobe.sources.chain import Form
    from udpprobe.sources.interfaces import Known
    from udpprobe.sources.octets import Octets

SHORT_STRIDE_BYTES = 1 << 14
"""Bytes walked at once, then twice as many: where sections are short, what is behind is walked in vain."""


def gather(data: U8, at: I64, width: int, order: str) -> npt.NDArray[np.uint32]:
    """Copies `width` bytes from each place in `at`: (n, width / 4) words of byte order `order`.

    One gather a record, however many fields are wanted: its cache line costs the same.
    """
    view = np.ndarray((data.size - width + 1,), f"V{width}", data, strides=(1,))
    return view[at].view(f"{order}u4").reshape(-1, width // 4)


def sound_rows(sound: Bool) -> int:
    """How many rows stand before the first that is not sound."""
    return len(sound) if sound.all() else int(sound.argmin())


class Reader(ABC):
    """Turns one capture's records into batches; remembers what outlasts a window.

    Args:
        form: how the records are laid out.
        state: where faults and drops are counted.
    """

    skip_bytes = 0
    """Bytes before the first record."""
    fault = "bad-record"
    """What a record that cannot be true is counted as."""

    known: Known | None = None
    """In pcapng: what must be known of the section to read on."""
    last_ns = 0
    """In pcapng: the time of the last packet, which is that of a simple packet block behind it."""
    leans_on_time = False
    """Whether the time of the packet before the first one mattered."""
    drops: Mapping[int, int] = MappingProxyType({})
    """What the interfaces of the section read last say they dropped while it was read."""
    first_drops: dict[int, int] | None = None
    """The same of the section in which reading began, once it is over."""

    def __init__(self, form: Form, state: SourceState) -> None:
        self.form = form
        self.state = state
        self.frames = 0
        self.now_ns = 0
        self.broken = False
        """A record was met whose length cannot be true, so that nothing behind it can be found."""
        self.stride_bytes = EVERYTHING

    def batches(self, octets: Octets) -> Iterator[FrameBatch]:
        """All whole records that are there and asked for, in order; moves `octets.start` behind them."""
        while not self.broken and self.prepare(octets):
            reach = min(octets.end, octets.start + self.stride_bytes)
            self.stride_bytes *= 2
            at, behind = Chain(self.form, octets.data, octets.buffer, reach).walk(octets.start)
            asked = int(np.searchsorted(at, octets.stop))
            yield from self._window(octets, at[:asked], int(at[asked]) if asked < len(at) else behind)
            if not at.size and reach == octets.end:
                self._look_at_rest(octets)
                break

    def _window(self, octets: Octets, at: I64, stop: int) -> Iterator[FrameBatch]:
        bounds = np.append(at, stop)
        for row in range(0, len(at), BATCH_FRAMES):
            part = bounds[row:row + BATCH_FRAMES + 1]
            batch, sound = self.read(octets.data, part[:-1], part[1:])
            octets.start = int(part[sound])
            if len(batch):
                yield batch
            if sound < len(part) - 1:
                break

    def _look_at_rest(self, octets: Octets) -> None:
        has_header = octets.start + self.form.header_bytes <= octets.end
        if has_header and not self.form.size_of(octets.buffer, octets.start):
            self.give_up()

    def give_up(self) -> None:
        """Nothing can be found behind the record that comes next."""
        self.broken = True
        self.state.faults[self.fault] += 1

    def frame_numbers(self, count: int) -> I64:
        """Wireshark's numbers of the next `count` frames."""
        self.frames += count
        return np.arange(self.frames - count + 1, self.frames + 1)

    def advance_clock(self, time_ns: I64) -> int:
        """How far time has come after frames of these times."""
        if len(time_ns):
            self.now_ns = max(self.now_ns, int(time_ns[-1]))
        return self.now_ns

    def prepare(self, octets: Octets) -> bool:
        """Makes ready for the record at `octets.start`; False where more bytes are needed, or none is asked for."""
        return octets.start < min(octets.end, octets.stop)

    @abstractmethod
    def read(self, data: U8, at: I64, following: I64) -> tuple[FrameBatch, int]:
        """Reads records.

        Args:
            data: their bytes.
            at: (n,) where they start.
            following: (n,) where the next ones start, as the walk has it.

        Returns:
            The frames of the sound records before the first that is not what the walk took it for, or behind
            which all is different; and the number of these records.
        """
