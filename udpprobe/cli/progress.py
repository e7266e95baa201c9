"""A bar on standard error while a long file is read, or many ports are probed."""

from __future__ import annotations

import math
import sys
import time
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from msgspec import Struct

from udpprobe.reports.text import duration, plural

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import rich.progress
    from rich.progress import ProgressColumn

    from udpprobe.capture.frames import SourceState
    from udpprobe.commands.mtu import SearchProgress
    from udpprobe.commands.scan import Progress

QUIET_S = 1.0
"""No bar for what takes less."""


State = TypeVar("State")


class _BarKind(Struct, Generic[State], frozen=True):
    """How a bar shows a state."""

    columns: Callable[[], Sequence[ProgressColumn]]
    fields: Callable[[State], dict[str, Any]]
    """Fields of the bar's task."""
    above: Callable[[State], Sequence[str]] = lambda _: ()
    """Lines above the bar."""


def shown(wanted: bool | None) -> AbstractContextManager[Callable[[SourceState], None] | None]:
    """A callback for the source's state; None for no bar.

    Args:
        wanted: True at once, False never, None after a second and on a terminal only.
    """
    return _shown(wanted, _READING)


def shown_of_scan(wanted: bool | None) -> AbstractContextManager[Callable[[Progress], None] | None]:
    """The same for a scan's progress."""
    return _shown(wanted, _SCANNING)


def shown_of_search() -> AbstractContextManager[Callable[[SearchProgress], None] | None]:
    """The same for a path MTU search, on a terminal."""
    return _shown(None, _SEARCHING)


@contextmanager
def _shown(wanted: bool | None, kind: _BarKind[State]) -> Iterator[Callable[[State], None] | None]:
    if wanted is False or (wanted is None and not _on_terminal()):
        yield None
        return
    bar = _Bar(time.monotonic() + (0.0 if wanted else QUIET_S), kind)
    try:
        yield bar.update
    finally:
        bar.stop()


def _on_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


class _Bar(Generic[State]):
    def __init__(self, start_s: float, kind: _BarKind[State]) -> None:
        self._start_s, self._kind = start_s, kind
        self._bar: rich.progress.Progress | None = None

    def update(self, state: State) -> None:
        if self._bar is None and time.monotonic() >= self._start_s:
            self._bar = _started(self._kind.columns(), self._kind.fields(state))
        if self._bar is not None:
            fields = {**self._kind.fields(state), "above": self._kind.above(state)}
            self._bar.update(self._bar.task_ids[0], **fields)

    def stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()


def _started(columns: Sequence[ProgressColumn], fields: dict[str, Any]) -> rich.progress.Progress:
    from rich.console import Console  # noqa: PLC0415 - when it is shown: it takes longer than a small capture
    from rich.progress import Progress  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    class Bar(Progress):
        def get_renderables(self) -> Iterator[Any]:
            yield from (
                Text(line, no_wrap=True, overflow="ellipsis")
                for task in self.tasks
                for line in task.fields.get("above", ())
            )
            yield self.make_tasks_table(self.tasks)

    progress = Bar(*columns, console=Console(stderr=True), transient=True)
    progress.add_task("", **fields)
    progress.start()
    return progress


def _reading_columns() -> Sequence[ProgressColumn]:
    from rich.progress import BarColumn, DownloadColumn, TimeRemainingColumn  # noqa: PLC0415 - as above

    return BarColumn(), DownloadColumn(binary_units=True), TimeRemainingColumn()


def _scanning_columns() -> Sequence[ProgressColumn]:
    from rich.progress import BarColumn, TextColumn  # noqa: PLC0415 - as above

    return BarColumn(bar_width=24), TextColumn("{task.fields[words]}", markup=False)


def _scanning_fields(state: Progress) -> dict[str, Any]:
    return {"completed": state.decided, "total": state.total, "words": scan_words(state)}


def scan_words(state: Progress) -> str:
    """`512 of 1,000 decided, 1,234 sent, about 12 s left`."""
    remaining = "" if state.remaining_s is None else f", about {_rounded(state.remaining_s)} left"
    return f"{state.decided:,} of {state.total:,} decided, {state.sent:,} sent{remaining}"


def scan_lines(state: Progress) -> Sequence[str]:
    """The last few answers, one line each."""
    if not state.answered:
        return ()
    more = state.answered - len(state.latest)
    return (
        f"{state.answered:,} answered so far:",
        *(f"  {name}" for name in state.latest),
        *((f"  and {more:,} before",) if more else ()),
    )


def _searching_columns() -> Sequence[ProgressColumn]:
    from rich.progress import SpinnerColumn, TextColumn  # noqa: PLC0415 - as above

    return SpinnerColumn(), TextColumn("{task.fields[words]}", markup=False)


def search_words(state: SearchProgress) -> str:
    """`1280 bytes arrive, 1500 do not, 12 probes`."""
    arrived = f"{state.passed} bytes arrive" if state.passed else "nothing has arrived yet"
    lost = f", {state.lost} do not" if state.lost is not None else ""
    return f"{arrived}{lost}, {plural(state.sent, 'probe')}"


def _rounded(span_s: float) -> str:
    # an estimate is not shown in milliseconds
    return f"{math.ceil(span_s)} s" if span_s < 60 else duration(span_s * 1e3)


_READING: _BarKind[SourceState] = _BarKind(
    _reading_columns, lambda state: {"completed": state.done_bytes, "total": state.total_bytes}
)
_SEARCHING: _BarKind[SearchProgress] = _BarKind(_searching_columns, lambda state: {"words": search_words(state)})
_SCANNING: _BarKind[Progress] = _BarKind(_scanning_columns, _scanning_fields, scan_lines)
