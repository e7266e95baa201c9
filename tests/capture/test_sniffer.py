"""Scapy's sockets, where there are more interfaces than they can listen to."""

import errno

import pytest

from udpprobe.capture import sniffer
from udpprobe.capture.frames import SourceState
from udpprobe.errors import UdpprobeError


@pytest.mark.parametrize(
    "error", [ValueError("filedescriptor out of range in select()"), OSError(errno.EMFILE, "Too many open files")]
)
def test_too_many_interfaces_are_reported_in_one_line(monkeypatch, error):
    """1,201 of them ended in a traceback."""
    opened, closed = [], []

    class Tap:
        def __init__(self, name, *_, **__):
            if len(opened) == 900:
                raise error
            opened.append(name)
            self.socket = self

        def fileno(self):
            return len(opened)

        def close(self):
            closed.append(self)

    monkeypatch.setattr(sniffer, "Tap", Tap)
    monkeypatch.setattr(sniffer, "start", lambda *_: None)
    monkeypatch.setattr(sniffer.select, "poll", type("Poll", (), {"register": lambda *_: None}))
    monkeypatch.setattr(sniffer.socket, "if_nameindex", lambda: [(number, f"if{number}") for number in range(1201)])
    with pytest.raises(UdpprobeError, match=r"^1,201 interfaces are too many for Scapy's sockets"):
        sniffer.Sniffer("udp", None, SourceState("interface", "any"))
    assert 900 == len(opened) == len(closed)
