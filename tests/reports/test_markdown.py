import pytest
from msgspec.structs import replace
from samples import EVENT, LONE, LOOP, REFUSED, destination, finding, report

from udpprobe.core.model import LazyRows
from udpprobe.reports.markdown import EventsMarkdown, report_markdown
from udpprobe.reports.table import ROWS_SHOWN


def told(*destinations, **changes):
    return "".join(report_markdown(report(*destinations, **changes)))


def events_told(events):
    writer = EventsMarkdown()
    return "".join([*(writer.add([event]) for event in events), *writer.end(report(), 80)])


def test_markdown_has_the_rows_of_the_table():
    text = told(REFUSED, LOOP)
    assert "| 198.51.100.7:53     | refused   | 12 of 14              | itself     |" in text
    assert "loop of 2 via 192.0.2.1, 192.0.2.2" in text
    assert (
        "|\n\n- Nothing listens on 198.51.100.7:53: start the service or check the port.\n- Contact whoever runs"
        in text
    )
    assert ".\n\noffice.pcap: " in text
    assert text.endswith("UTC.\n")


def test_an_empty_report_is_one_line():
    assert 1 == told().count("\n")
    assert told().startswith("No ICMP errors about UDP")
    assert events_told([]) == told()


def test_many_similar_results_of_a_scan_are_summed_up():
    crowd = [
        destination("10.0.0.1", port, "refused", finding("refused", (4, 3, 3), "10.0.0.1"), sent=1)
        for port in range(1, 200)
    ]
    assert "| 10.0.0.1      | refused   | 199 of 199            | itself     | 199 ports: 1-199 |" in told(
        *crowd, kind="probe"
    )


def test_all_rows_are_written_and_few_are_in_memory():
    made = []

    def rows():
        for port in range(5 * ROWS_SHOWN):
            made.append(port)
            yield replace(REFUSED, port=port)

    pieces = report_markdown(replace(report(unmatched=[LONE]), destinations=LazyRows(rows, 5 * ROWS_SHOWN)))
    first = next(pieces)
    assert 2 * ROWS_SHOWN > len(made)
    text = first + "".join(pieces)
    assert 5 * ROWS_SHOWN == text.count("| 198.51.100.7:")
    assert "2 errors had no datagram" in text


def test_events_are_rows_too():
    assert "| 203.0.113.9:4500 | 192.0.2.1  | packet-too-big 3/4; MTU 1400;" in events_told([EVENT, EVENT])


@pytest.mark.parametrize("text", ["\x1b[2J", "<script>", "<!--"])
def test_untrusted_text_is_harmless(text):
    evil = replace(REFUSED, findings=(replace(REFUSED.findings[0], notes=(text,), reporter=text),), notes=(text,))
    for whole in (told(evil, name=text, faults={text: 1}), events_told([replace(EVENT, notes=(text,))])):
        assert text not in whole
        assert all(character.isprintable() or character == "\n" for character in whole)
