import pytest

from udpprobe.errors import UdpprobeError, UsageError
from udpprobe.payloads import GENERIC, chosen, load

ALL = load()


def rows_for(catalogue, port=53):
    return list(catalogue.choices[catalogue.choice_of(port)])


def sent(text):
    """Bytes that go to every port."""
    catalogue = chosen(ALL, text)
    assert rows_for(catalogue, 53) == rows_for(catalogue, 40000)
    return [catalogue.rows[row].data for row in rows_for(catalogue)]


def test_auto_is_the_table():
    assert ALL is chosen(ALL, "auto")


def test_token_is_the_generic_payload_for_every_port():
    assert [GENERIC] == rows_for(chosen(ALL, "token")) == rows_for(chosen(ALL, "token"), 40000)


def test_empty_has_no_bytes():
    assert [b""] == sent("empty")


def test_a_name_goes_to_every_port_and_several_go_in_turn():
    dns, ntp = (next(row.data for row in ALL.rows if row.name == name) for name in ("dns", "ntp"))
    assert [dns] == sent("dns")
    assert [dns, ntp] == sent("dns, ntp")


@pytest.mark.parametrize("text", ["hex:DEadbe ef", "hex:de:ad:be:ef"])
def test_hexadecimal_digits_are_bytes(text):
    assert [b"\xde\xad\xbe\xef"] == sent(text)


def test_given_bytes_have_no_token_and_no_known_answer():
    given = chosen(ALL, "hex:00").rows[-1]
    assert (0, "") == (given.token_size, given.answer)


def test_a_file_is_sent_as_it_is(tmp_path):
    path = tmp_path / "payload"
    path.write_bytes(b"\0\xffabc")
    assert [b"\0\xffabc"] == sent(f"file:{path}")


def test_the_largest_datagram_is_taken_and_no_larger_one(tmp_path):
    path = tmp_path / "payload"
    path.write_bytes(bytes(65507))
    assert [65507] == [len(data) for data in sent(f"file:{path}")]
    path.write_bytes(bytes(65508))
    with pytest.raises(UsageError, match="65507"):
        chosen(ALL, f"file:{path}")


def test_a_file_without_end_is_refused():
    with pytest.raises(UsageError, match="65507"):
        chosen(ALL, "file:/dev/zero")


def test_a_missing_file_cannot_be_done(tmp_path):
    with pytest.raises(UdpprobeError, match="No such file") as raised:
        chosen(ALL, f"file:{tmp_path}/none")
    assert 3 == raised.value.exit_status


@pytest.mark.parametrize("text", ["hex:abc", "hex:zz"])
def test_bad_digits_are_a_usage_error(text):
    with pytest.raises(UsageError, match=text):
        chosen(ALL, text)


@pytest.mark.parametrize(("text", "near"), [("ikev3", "ikev"), ("dsn", "dns"), ("Auto", "auto"), ("dns,nttp", "ntp")])
def test_an_unknown_name_is_answered_with_near_ones(text, near):
    with pytest.raises(UsageError, match=rf"\(.*{near}.*\?\)"):
        chosen(ALL, text)


@pytest.mark.parametrize("text", ["", "zzzzzz", "ftp:x"])
def test_a_name_that_is_near_none_points_to_the_list(text):
    with pytest.raises(UsageError, match="--list-payloads"):
        chosen(ALL, text)
