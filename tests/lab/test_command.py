"""Signals that come while a command runs: read for it, or for nobody."""

import signal

from udpprobe.lab.command import Signals


def test_each_signal_is_read_once_with_its_origin():
    with Signals() as signals:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        assert [(signal.SIGINT, False), (signal.SIGTERM, False)] == sorted(signals.read())
        assert [] == list(signals.read())


def test_an_unread_signal_is_dropped_when_the_command_has_ended():
    came = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: came.append(number))
    try:
        with Signals():
            signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert [] == came


def test_signals_regain_their_former_effect():
    came = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: came.append(number))
    try:
        with Signals():
            pass
        signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert [signal.SIGUSR1] == came
