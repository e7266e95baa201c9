"""Where nothing on the link answers: what it means is told to people, the word for it to programs."""

import pytest
from msgspec.structs import replace
from samples import MTU, TRACE, destination, finding, report

from udpprobe.core.notes import no_neighbour_notes
from udpprobe.reports import OutputFormat
from udpprobe.reports.mtu import MTU_FORMATS
from udpprobe.reports.table import report_table
from udpprobe.reports.trace import TRACE_FORMATS
from udpprobe.tracing.model import Hop, Reporter

NOTES = no_neighbour_notes(4, "eth0")
FOUND = report(destination("10.0.0.1", 53, "unreachable", finding("unreachable", (4, 3, 1), None, notes=NOTES)))
MEASURED = replace(MTU, verdict="unreachable", path_mtu=None, notes=NOTES)
TRACED = replace(
    TRACE,
    verdict="unreachable",
    hops=(Hop(1, (Reporter(None, 3, None, 3, 1, "host-unreach", "unreachable", None, (), (), (0,), NOTES),), 3, 0),),
)


def told(output_format):
    yield MTU_FORMATS[output_format](MEASURED, 80)
    yield TRACE_FORMATS[output_format](TRACED, 80)


@pytest.mark.parametrize("output_format", [OutputFormat.TABLE, OutputFormat.MARKDOWN])
def test_people_are_told_what_it_means(output_format):
    for text in told(output_format):
        assert "no ARP (neighbour) reply on eth0" in " ".join(text.split())
        assert "no-neighbour" not in text


@pytest.mark.parametrize("output_format", [OutputFormat.JSON, OutputFormat.NDJSON, OutputFormat.CSV])
def test_programs_are_told_the_word(output_format):
    for text in told(output_format):
        assert "no-neighbour" in text


def test_a_report_s_table_tells_it_once():
    text = "".join(report_table(FOUND, 80))
    assert "no-neighbour" not in text
    assert "(neighbour) reply on" in text
