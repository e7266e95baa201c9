"""What holds for every test, whoever runs it."""

import signal

import pytest
from profiles import load_profile

load_profile()


def pytest_collection_modifyitems(items):
    """Give each live test a second chance: kernels and other programs have their own clocks. The summary names it."""
    for item in items:
        if item.get_closest_marker("live"):
            item.add_marker(pytest.mark.flaky(reruns=1))


# a shell's background job ignores these, and so would the programs that tests interrupt
for number, usual in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGQUIT, signal.SIG_DFL),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)
