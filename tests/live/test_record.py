"""The recording itself: real kernels say what pcaps/ holds."""

from __future__ import annotations

import pytest
from analyzing import report_of
from network import CannotRun
from record import record

pytestmark = [pytest.mark.live, pytest.mark.slow]


@pytest.mark.parametrize(
    ("scenario", "verdict"), [("refused", "refused"), ("prohibited", "prohibited"), ("loop2-mute", "loop")]
)
def test_a_recorded_scenario_has_its_verdict_in_both_families(scenario, verdict, tmp_path):
    (file,) = recorded(scenario, tmp_path)
    destinations = report_of(file, tmp_path)["destinations"]
    assert [verdict] * 2 == [destination["verdict"] for destination in destinations]


def recorded(scenario, into):
    try:
        return [into / name for name in record(scenario, into)]
    except CannotRun as reason:
        pytest.skip(str(reason))
