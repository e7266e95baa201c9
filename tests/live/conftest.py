"""The live network, and who may have none: what is missing skips a test, and it says what that is."""

import pytest
from network import CannotRun, MissingProgram
from scanning import whole_network


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup():
    """A fixture that cannot make its network skips the tests that want it."""
    try:
        return (yield)
    except CannotRun as reason:
        pytest.skip(str(reason))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call():
    """In a test, only a missing program is no failure."""
    try:
        return (yield)
    except MissingProgram as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """Prober, near, far and host, with every fate of a probe; modules with another topology have their own."""
    with whole_network(tmp_path_factory.mktemp("rules")) as made:
        yield made
