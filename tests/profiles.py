"""Which examples properties are tested with: the same ones in each `make test`, others in each `make fuzz`."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers

IS_FUZZING = os.environ.get("UDPPROBE_FUZZ", "") not in {"", "0"}
FUZZ_FACTOR = 10
"""As many examples `make fuzz` draws for each one of `make test`."""

# no test must be quick, for machines are busy (speed is measured by `make bench`)
UNHURRIED = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("same", derandomize=True, database=None, **UNHURRIED)
settings.register_profile("fuzz", max_examples=100 * FUZZ_FACTOR, print_blob=True, **UNHURRIED)


def load_profile():
    """Choose by the environment. Settings that were made before do not change."""
    settings.load_profile("fuzz" if IS_FUZZING else "same")
    if not IS_FUZZING:
        # Hypothesis also draws numbers and texts that it reads in the modules that are loaded. Which ones these are
        # depends on the tests that ran before in this process, and so would the examples.
        providers._get_local_constants = lambda: providers._local_constants  # noqa: SLF001 - no setting does this


def examples(count, **others):
    """Settings of a test that needs fewer or more than the usual 100 examples."""
    also = [*UNHURRIED["suppress_health_check"], *others.pop("suppress_health_check", [])]
    return settings(max_examples=count * (FUZZ_FACTOR if IS_FUZZING else 1), suppress_health_check=also, **others)
