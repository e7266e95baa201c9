"""`udpprobe explain`: the table of meanings."""

from enum import StrEnum
from typing import Annotated

from typer import Argument, Option

from udpprobe.cli.options import FormatOption, OutputOption
from udpprobe.cli.output import opened, width_of
from udpprobe.core.verdicts import ANY_CODE, MEANINGS, Meaning, is_error, meaning_of
from udpprobe.errors import UsageError
from udpprobe.reports import OutputFormat
from udpprobe.reports.text import wrap

EXAMPLES = """\
\b
Examples:
  udpprobe explain         every ICMP error, both families
  udpprobe explain 3/4     type 3 code 4, in ICMP and in ICMPv6; or 3 4
  udpprobe explain 1 -6    all codes of ICMPv6 type 1
  udpprobe explain port-unreach
  udpprobe explain ECONNREFUSED
"""


class Family(StrEnum):
    """An IP version."""

    V4 = "4"
    V6 = "6"


def explain(
    words: Annotated[
        list[str] | None,
        Argument(
            metavar="TYPE [CODE]|WORD",
            show_default=False,
            help=(
                "ICMP or ICMPv6 type, and its code (3 4 or 3/4); or a word: a verdict, a meaning of silence, "
                "black-hole, nmap's word for an error, its name, an errno."
            ),
        ),
    ] = None,
    *,
    family: Annotated[Family | None, Option(help="ICMP (4) or ICMPv6 (6); both without.")] = None,
    only_v4: Annotated[bool, Option("-4", help="As --family 4.")] = False,
    only_v6: Annotated[bool, Option("-6", help="As --family 6.")] = False,
    output_format: FormatOption = OutputFormat.TABLE,
    output: OutputOption = None,
) -> None:
    """Explain ICMP errors and the words of reports: what they mean, who sends them, who gets them, what to do.

    The errno is that of Stevens, UNIX Network Programming (UNP), table 28.1, and what Linux gives each kind of socket.
    """
    from udpprobe.reports.explain import MEANINGS_FORMATS  # noqa: PLC0415 - help does not need it

    chosen = {int(family)} if family else set()
    chosen |= ({4} if only_v4 else set()) | ({6} if only_v6 else set())
    families = chosen or {4, 6}
    words = [part for word in words or () for part in _parts(word)]
    about, before = None, ""
    if words and not any(map(_is_number, words)):
        from udpprobe.reports.explain import explained  # noqa: PLC0415 - as above

        about, some = explained(_only(words))
        rows = tuple(row for row in some if row.family in families)
    else:
        icmp_type, icmp_code = _type_and_code(words)
        rows = select(families, icmp_type, icmp_code)
        before = _no_error(families, icmp_type)
    with opened(output, stream=False) as out:
        if before and output_format is OutputFormat.TABLE:
            out.write(f"{wrap(before, width_of(out))}.\n\n")
        out.write(MEANINGS_FORMATS[output_format](rows, width_of(out), about))


def _parts(word: str) -> list[str]:
    """Split `3/4`, as reports and RFCs write a type and its code."""
    return word.split("/") if _is_number(word[:1]) else [word]


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdigit()


def _only(words: list[str]) -> str:
    if len(words) > 1:
        raise UsageError(f"{' '.join(words)!r}: give one word, or a type and its code as numbers")
    return words[0]


def _type_and_code(words: list[str]) -> tuple[int | None, int | None]:
    """The numbers of `3 4`.

    Raises:
        UsageError: there are more, or one is no number.
    """
    if len(words) > 2:
        raise UsageError(f"{' '.join(words)!r}: give a type and its code, such as 3 4")
    numbers = [int(word) if _is_number(word) else -1 for word in words]
    for word, number in zip(words, numbers, strict=True):
        if not 0 <= number <= 255:
            raise UsageError(
                f"{number} is not in the range of ICMP types and codes, 0 to 255"
                if number >= 0
                else f"{word!r} is not an ICMP type or code: they are numbers from 0 to 255"
            )
    icmp_type, icmp_code = (*numbers, None, None)[:2]
    return icmp_type, icmp_code


def _no_error(families: set[int], icmp_type: int | None) -> str:
    """A remark on a type that is an error in one family, and something else in the other."""
    from udpprobe.reports.explain import no_error  # noqa: PLC0415 - as above

    said = [no_error(family, icmp_type) for family in sorted(families) if icmp_type is not None]
    return next(filter(None, said), "")


def select(families: set[int], icmp_type: int | None, icmp_code: int | None) -> tuple[Meaning, ...]:
    """The requested rows; types overlap between the families.

    Raises:
        UsageError: the type is no error.
    """
    if icmp_type is None:
        return tuple(row for row in MEANINGS if row.family in families)
    errors = [family for family in sorted(families) if is_error(family, icmp_type)]
    if not errors:
        what = _no_error(families, icmp_type)
        raise UsageError(
            f"type {icmp_type} is not an error: those are 3, 4, 11 and 12 in ICMP, and 1 to 127 in ICMPv6"
            + (f". {what}" if what else "")
        )
    if icmp_code is not None:
        return tuple(meaning_of(family, icmp_type, icmp_code) for family in errors)
    return tuple(row for family in errors for row in _all_codes(family, icmp_type))


def _all_codes(family: int, icmp_type: int) -> tuple[Meaning, ...]:
    rows = tuple(row for row in MEANINGS if (row.family, row.type) == (family, icmp_type))
    return rows or (meaning_of(family, icmp_type, ANY_CODE),)
