import sys
from types import SimpleNamespace

import pytest
from samples import report

import udpprobe.commands


class FakeInterrupted(KeyboardInterrupt):
    def __init__(self, found):
        super().__init__()
        self.report = found


class FakeAnalysis(SimpleNamespace):
    """In the analysis's place: remembers what it was asked, tells what the test prepared."""

    Interrupted = FakeInterrupted

    def __init__(self):
        super().__init__(report=report(), events=[], interrupt=False, error=None, asked=None, paths=None)

    def AnalyzeOptions(self, **options):  # noqa: N802 - in a class's place
        return SimpleNamespace(**options)

    def analyze(self, inputs, options, *, workers=None, cluster=None, on_events=None, on_progress=None):
        self.paths, self.inputs, self.asked = list(inputs.files), inputs, options
        self.workers, self.cluster, self.on_progress = workers, cluster, on_progress
        if self.error:
            raise self.error
        for event in self.events if on_events else ():
            on_events([event])
        if self.interrupt:
            raise FakeInterrupted(self.report)
        return self.report


@pytest.fixture
def analysis(monkeypatch):
    fake = FakeAnalysis()
    monkeypatch.setitem(sys.modules, "udpprobe.commands.analyze", fake)
    monkeypatch.setattr(udpprobe.commands, "analyze", fake, raising=False)
    return fake
