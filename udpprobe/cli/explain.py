"""`udpprobe explain`: the table of meanings."""

from enum import StrEnum
from typing import Annotated

from typer import Argument, Option

from udpprobe.cli.options import FormatOption, OutputOption
from udpprobe.cli.output import opened, width_of
from udpprobe.core.verdicts import ANY_CODE, MEANINGS, Meaning, is_error, meaning_of
from udpprobe.errors import UsageError
from udpprobe.reports import Format

EXAMPLES = """\
\b
Examples:
  udpprobe explain         every ICMP error, both families
  udpprobe explain 3 4     type 3 code 4, in ICMP and in ICMPv6
  udpprobe explain 1 -6    all codes of ICMPv6 type 1
"""


class Family(StrEnum):
    """An IP version."""

    V4 = "4"
    V6 = "6"


def explain(
    icmp_type: Annotated[int | None, Argument(metavar="TYPE", min=0, max=255,
                                                    help="ICMP or ICMPv6 type.")] = None,
    icmp_code: Annotated[int | None, Argument(metavar="CODE", min=0, max=255,
                                                    help="Its code; all codes without.")] = None,
    *,
    family: Annotated[Family | None, Option(help="ICMP (4) or ICMPv6 (6); both without.")] = None,
    only_v4: Annotated[bool, Option("-4", help="As --family 4.")] = False,
    only_v6: Annotated[bool, Option("-6", help="As --family 6.")] = False,
    output_format: FormatOption = Format.TABLE,
    output: OutputOption = None,
) -> None:
    """Explain ICMP errors: the verdict, the book's errno, and what Linux tells which kind of socket."""
    from udpprobe.reports.explain import MEANINGS_FORMATS  # noqa: PLC0415 - help does not need it

    chosen = {int(family)} if family else set()
    chosen |= ({4} if only_v4 else set()) | ({6} if only_v6 else set())
    rows = select(chosen or {4, 6}, icmp_type, icmp_code)
    with opened(output, stream=False) as out:
        out.write(MEANINGS_FORMATS[output_format](rows, width_of(out)))


def select(families: set[int], icmp_type: int | None, icmp_code: int | None) -> tuple[Meaning, ...]:
    """The rows asked for; types overlap between the families.

    Raises:
        UsageError: the type is no error.
    """
    if icmp_type is None:
        return tuple(row for row in MEANINGS if row.family in families)
    errors = [family for family in sorted(families) if is_error(family, icmp_type)]
    if not errors:
        raise UsageError(f"type {icmp_type} is no error: ICMP has 3, 4, 11 and 12, ICMPv6 1 to 127")
    if icmp_code is not None:
        return tuple(meaning_of(family, icmp_type, icmp_code) for family in errors)
    return tuple(row for family in errors for row in _all_codes(family, icmp_type))


def _all_codes(family: int, icmp_type: int) -> tuple[Meaning, ...]:
    rows = tuple(row for row in MEANINGS if (row.family, row.type) == (family, icmp_type))
    return rows or (meaning_of(family, icmp_type, ANY_CODE),)
