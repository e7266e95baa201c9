import csv
import io
import json

import pytest

from udpprobe.core.kernel import MODES, path_of
from udpprobe.core.verdicts import MEANINGS, meaning_of
from udpprobe.reports import OutputFormat
from udpprobe.reports.explain import (
    MEANINGS_FORMATS,
    as_object,
    linux_words,
    meanings_markdown,
    meanings_table,
    verdict_words,
)


def test_the_whole_table_fits_80_columns_with_one_row_per_error():
    lines = meanings_table(MEANINGS, 80).splitlines()
    assert max(map(len, lines)) <= 80
    starts = [line.split()[0] for line in lines if line]
    assert len(MEANINGS) == sum(word.replace("*", "0").replace("/", "").isdigit() for word in starts)


def test_one_error_is_explained_as_text():
    assert (
        meanings_table([meaning_of(4, 3, 4)], 80)
        == """\
ICMP 3/4 frag-needed
The packet is larger than the next link's MTU, and must not be fragmented (RFC
1191).

verdict             too-big
nmap's word         packet-too-big
Stevens, UNP 28.1   EMSGSIZE
Linux, unconnected  nothing of the error itself, but the route's MTU is then
                    known: with IP_PMTUDISC_DO each larger sendto fails with
                    EMSGSIZE; by default it leaves in fragments
Linux, connected    EMSGSIZE from its next call (send, recv or SO_ERROR), once
Linux, IP_RECVERR   EMSGSIZE from its next call, and the error itself with
                    MSG_ERRQUEUE, with the MTU in ee_info

IP_MTU_DISCOVER    connected    IP_RECVERR    larger datagrams after that
-----------------  -----------  ------------  -----------------------------
DONT               -            -             leave in fragments
WANT (default)     EMSGSIZE     EMSGSIZE      leave in fragments
DO                 EMSGSIZE     EMSGSIZE      EMSGSIZE, from each send
PROBE              EMSGSIZE     EMSGSIZE      leave whole and are lost
INTERFACE          EMSGSIZE     EMSGSIZE      leave whole and are lost
OMIT               EMSGSIZE     EMSGSIZE      leave whole and are lost

The error's path through Linux, and what each function requires or does:
icmp_rcv            the ICMP checksum is correct, and the packet was sent to an
                    address of this host
icmp_unreach        the quote holds an IP header, and net.ipv4.ip_no_pmtu_disc
                    is below 2
icmp_socket_deliver the quote has 8 bytes after its IP header, whose protocol is
                    UDP
__udp4_lib_err      finds the socket: connected between the quoted addresses and
                    ports; or with the quoted source port, and bound to the
                    quoted source address or to any
ipv4_sk_update_pmtu the route learns the MTU, unless the socket has
                    IP_PMTUDISC_INTERFACE or OMIT; with DONT the error ends here
ip_icmp_error       with IP_RECVERR the error waits in the error queue; without,
                    it continues if the socket is connected, because the error
                    is hard
sk_error_report     wakes the program (POLLERR): its next call gives EMSGSIZE,
                    once
"""
    )


@pytest.mark.parametrize(
    ("key", "connected", "recverr"),
    [
        ((4, 3, 3), "ECONNREFUSED from its next call", "ECONNREFUSED from its next call"),
        ((4, 11, 0), "nothing: Linux treats it as transient", "EHOSTUNREACH from its next call"),
        ((4, 11, 1), "nothing: Linux drops it", "nothing: Linux drops it"),
    ],
)
def test_each_kind_of_socket_is_explained(key, connected, recverr):
    words = linux_words(meaning_of(*key))
    assert words["unconnected"] == "nothing, ever: the kernel cannot know which sendto it belongs to"
    assert words["connected"].startswith(connected)
    assert words["recverr"].startswith(recverr)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ((4, 3, 3), "refused if the destination itself sends it, rejected if any other address does"),
        ((6, 3, 0), "expired; loop if there is evidence of a routing loop"),
        ((4, 11, 2), "expired"),  # nobody has said what that means, so it shows no loop
        ((6, 3, 2), "expired"),
        ((6, 2, 0), "too-big"),
        ((6, 99, 0), "none: this error is undefined"),
    ],
)
def test_a_verdict_says_when_it_differs(key, words):
    assert words == verdict_words(meaning_of(*key))


def test_an_error_the_book_does_not_forward_says_so():
    assert "the daemon of UNP 28.7 does not forward it" in meanings_table([meaning_of(4, 12, 0)], 80).replace(
        "\n" + " " * 20, " "
    )


def test_markdown_has_every_row():
    assert len(MEANINGS) + 2 == len(meanings_markdown(MEANINGS, 80).splitlines())


def test_meanings_are_the_same_in_every_format():
    asked = [meaning_of(4, 3, 3), meaning_of(6, 100, 0), meaning_of(4, 3, -1)]
    told = json.loads(MEANINGS_FORMATS[OutputFormat.JSON](asked, 80))
    rows = list(csv.DictReader(io.StringIO(MEANINGS_FORMATS[OutputFormat.CSV](asked, 80))))
    assert told["schema"] == "udpprobe.explain/1"
    assert told["errors"] == [
        json.loads(line) for line in MEANINGS_FORMATS[OutputFormat.NDJSON](asked, 80).splitlines()
    ]
    assert told["errors"][0]["linux"] == {"unconnected": None, "connected": "ECONNREFUSED", "recverr": "ECONNREFUSED"}
    assert [("refused", "rejected"), (None, None), ("unreachable", None)] == [
        (each["verdict"], each["verdict_otherwise"]) for each in told["errors"]
    ]
    assert [3, 0, None] == [each["code"] for each in told["errors"]]
    assert ["3", "0", "*"] == [row["code"] for row in rows]
    assert ["ECONNREFUSED", "EPROTO", ""] == [row["linux_recverr"] for row in rows]


@pytest.mark.parametrize(
    ("key", "last", "text"),
    [
        ((4, 3, 3), "sk_error_report", "its next call gives ECONNREFUSED, once"),
        ((4, 3, 1), "sk_error_report", "EHOSTUNREACH"),
        ((4, 3, 99), "icmp_unreach", "codes above 15"),
        ((4, 4, 0), "__udp4_lib_err", "drops a source quench"),
        ((4, 11, 1), "icmp_unreach", "drops it"),
        ((6, 3, 1), "sk_error_report", "EHOSTUNREACH"),
        ((6, 100, 0), "sk_error_report", "EPROTO"),
    ],
)
def test_the_path_of_an_error_ends_where_linux_drops_it(key, last, text):
    step = path_of(meaning_of(*key))[-1]
    assert last == step.function
    assert text in step.text


@pytest.mark.parametrize("meaning", MEANINGS, ids=lambda row: f"v{row.family}-{row.type}-{row.code}")
def test_calls_in_json_agree_with_the_errno_by_kind_of_socket(meaning):
    told = as_object(meaning)
    usual = [each for each in told["linux_calls"] if each["pmtudisc"] in {None, "WANT"}]
    assert told["linux"] == {each["socket"]: each["recv"][0] for each in usual}
    assert {each["pmtudisc"] for each in told["linux_calls"]} == (
        set(MODES) if meaning.verdict == "too-big" else {None}
    )
    assert (told["linux"]["recverr"] is not None) == (told["linux_path"][-1]["function"] == "sk_error_report")
