"""Signals that come while a command runs: read for it, or for nobody."""

import signal

from udpprobe.lab.command import Signals


def test_what_came_is_read_once_each_with_whether_a_terminal_sent_it():
    with Signals() as signals:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        assert [(signal.SIGINT, False), (signal.SIGTERM, False)] == sorted(signals.read())
        assert [] == list(signals.read())


def test_a_signal_that_nobody_read_does_not_strike_when_the_command_has_ended():
    came = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: came.append(number))
    try:
        with Signals():
            signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert [] == came


def test_signals_do_again_what_they_did_before():
    came = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: came.append(number))
    try:
        with Signals():
            pass
        signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert [signal.SIGUSR1] == came
