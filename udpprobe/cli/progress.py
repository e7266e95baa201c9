"""A bar on standard error while a long file is read."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import Progress

    from udpprobe.core.batch import SourceState

PATIENCE_S = 1.0
"""How long a person waits without asking whether anything happens."""


@contextmanager
def shown(wanted: bool | None) -> Iterator[Callable[[SourceState], None] | None]:
    """What to call with the source's state now and then; None where nobody looks.

    Args:
        wanted: True at once, False never, None after a second and on a terminal only.
    """
    if wanted is False or (wanted is None and not _on_terminal()):
        yield None
        return
    bar = _Bar(time.monotonic() + (0.0 if wanted else PATIENCE_S))
    try:
        yield bar.update
    finally:
        bar.stop()


def _on_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


class _Bar:
    def __init__(self, start_s: float) -> None:
        self._start_s = start_s
        self._progress: Progress | None = None

    def update(self, state: SourceState) -> None:
        if self._progress is None and time.monotonic() >= self._start_s:
            self._progress = _rich_progress()
        if self._progress is not None:
            self._progress.update(self._progress.task_ids[0], completed=state.done_bytes,
                                  total=state.total_bytes)

    def stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()


def _rich_progress() -> Progress:
    # imported when it is shown: it takes longer than a small capture
    from rich.console import Console  # noqa: PLC0415 - as above
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn  # noqa: PLC0415

    progress = Progress(BarColumn(), DownloadColumn(binary_units=True), TimeRemainingColumn(),
                        console=Console(stderr=True), transient=True)
    progress.add_task("reading", total=None)
    progress.start()
    return progress
