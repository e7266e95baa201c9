import pytest

from udpprobe.cli import main
from udpprobe.cli.options import parse_time
from udpprobe.core.stencils import rfc3339
from udpprobe.errors import UsageError


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2026-01-31T12:34:56Z", "2026-01-31T12:34:56.000000000Z"),
        ("2026-01-31t12:34:56.123456789z", "2026-01-31T12:34:56.123456789Z"),
        ("2026-01-31 12:34:56.5", "2026-01-31T12:34:56.500000000Z"),
        ("2026-01-31T12:34:56.1234567899999+02:00", "2026-01-31T10:34:56.123456789Z"),
        ("2026-01-31T12:34", "2026-01-31T12:34:00.000000000Z"),
        ("2026-01-31", "2026-01-31T00:00:00.000000000Z"),
        ("1969-12-31T23:59:59Z", "1969-12-31T23:59:59.000000000Z"),
        ("0", "1970-01-01T00:00:00.000000000Z"),
        ("1700000000.123456789", "2023-11-14T22:13:20.123456789Z"),
        ("-1.5", "1969-12-31T23:59:58.500000000Z"),
    ],
)
def test_a_time_is_read_to_the_nanosecond_and_is_utc(text, shown):
    assert shown == rfc3339(parse_time(text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "noon",
        "2026-13-01",
        "2026-01-31T25:00:00Z",
        "2026-01-31Z",
        "2026-01-31T12:34:56+99:00",
        "1e9",
        "nan",
        "99999999999",
        "2026-01-31T12:34:56.Z",
        "٢٠٢٦-01-31",
        "12:00",
        "2026-01-31.5",
        "2026-01-31T12:34:60Z",
    ],
)
def test_an_invalid_time_is_refused_with_an_example(text):
    with pytest.raises(UsageError, match="is not a time; use 2026-01-31T12:00:00Z or seconds since 1970"):
        parse_time(text)


@pytest.mark.parametrize(
    ("command", "option"),
    [
        *((command, option) for command in ("scan", "trace", "mtu") for option in ("--rate", "--timeout")),
        ("trace", "--interval"),
    ],
)
@pytest.mark.parametrize("text", ["nan", "inf", "1e300", "-1"])
def test_missing_and_absurd_numbers_are_usage_errors(command, option, text, capsys):
    assert 2 == main([command, "127.0.0.1:9", f"{option}={text}"])
    told = capsys.readouterr()
    assert ("", 1) == (told.out, told.err.count("\n"))
    assert text in told.err or text.replace("e", "e+") in told.err


@pytest.mark.parametrize(("text", "status"), [("1e-300", 2), ("0.001", 0), ("1e9", 0), ("0", 0)])
def test_a_rate_must_be_one_that_a_clock_can_keep(text, status):
    assert status == main(["scan", "127.0.0.1:9", "--dry-run", f"--rate={text}"])
