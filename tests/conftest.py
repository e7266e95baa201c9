"""What holds for every test, whoever runs it."""

import gc
import signal

import pytest
from profiles import load_profile

load_profile()


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Ten thousand tests and what they import stay to the end: the cycle collector need not look at them."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items):
    """Give each live test a second chance, and order the files so that all processes are busy to the end.

    Kernels and other programs have their own clocks; the summary names what needed the second chance. Live tests mostly
    wait, the others compute: files of both kinds take turns. In each kind those marked slow come first, then those with
    many tests, so that the last are short.
    """
    files = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
        if item.get_closest_marker("live"):
            item.add_marker(pytest.mark.flaky(reruns=1))
    kinds = {True: [], False: []}
    for tests in files.values():
        kinds[any(each.get_closest_marker("live") for each in tests)].append(tests)
    place = {}
    for kind in kinds.values():
        kind.sort(key=lambda tests: (not any(each.get_closest_marker("slow") for each in tests), -len(tests)))
        place |= {tests[0].path: number / len(kind) for number, tests in enumerate(kind)}
    items.sort(key=lambda item: place[item.path])


# a shell's background job ignores these, and so would the programs that tests interrupt
for number, usual in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGQUIT, signal.SIG_DFL),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)
