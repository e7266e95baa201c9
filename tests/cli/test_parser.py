"""Words in, values out: as users of Click know it."""

# ruff: noqa: ARG001 - functions that only have parameters

from enum import StrEnum
from typing import Annotated

import pytest

from udpprobe.cli.parser import Argument, Command, Exit, Option, WrongWords
from udpprobe.errors import UsageError


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


def not_seven(value):
    if value == 7:
        raise UsageError("not seven")
    return value


def paint(
    wall: Annotated[str, Argument(metavar="WALL", help="Which one.")],
    more: Annotated[list[str] | None, Argument(metavar="MORE...", help="Others.")] = None,
    *,
    coats: Annotated[int, Option("--coats", "-n", min=1, max=9, metavar="N", callback=not_seven, help="How many.")] = 2,
    speed: Annotated[float, Option(min=0, metavar="M2", help="An hour.")] = 1,
    colour: Annotated[Colour | None, Option(help="Which.")] = None,
    skip: Annotated[list[str] | None, Option(metavar="SPOT", help="What is left out.")] = None,
    wet: Annotated[bool, Option("--wet/--dry", help="How it is.")] = True,
    quick: Annotated[bool, Option("-q", help="Hurry.")] = False,
    loud: Annotated[int, Option("--loud", "-v", count=True, show_default=False, help="Sing.")] = 0,
) -> None:
    """Paint a wall.

    Behind it stands
    a paragraph.
    """
    raise Exit(coats)


COMMAND = Command("paint", paint, "One that is\nwrapped.\n\n\b\nAs it\n  is.\n")


def said(*words):
    values = COMMAND.values(words)
    usual = {"wall": "w", "more": None, "coats": 2, "speed": 1, "colour": None, "skip": None, "wet": True,
             "quick": False, "loud": 0}
    return {name: value for name, value in values.items() if value != usual[name]}


@pytest.mark.parametrize(("words", "values"), [
    ("w", {}),
    ("w a b", {"more": ["a", "b"]}),
    ("--coats 3 w", {"coats": 3}),
    ("w --coats=3", {"coats": 3}),
    ("-n3 w", {"coats": 3}),
    ("w -n 3", {"coats": 3}),
    ("-qvvn3 w", {"coats": 3, "quick": True, "loud": 2}),
    ("w -n3 -n4", {"coats": 4}),
    ("--speed 2.5 w", {"speed": 2.5}),
    ("--colour blue w", {"colour": Colour.BLUE}),
    ("--skip a --skip=b w", {"skip": ["a", "b"]}),
    ("--dry w", {"wet": False}),
    ("--dry --wet w", {}),
    ("-v -v --loud w", {"loud": 3}),
    ("-- -n", {"wall": "-n"}),
    ("w -- -n 3", {"more": ["-n", "3"]}),
    ("-", {"wall": "-"}),
    ("--skip -n w", {"skip": ["-n"]}),
    ("--skip= w", {"skip": [""]}),
])
def test_words_become_values(words, values):
    assert values == said(*words.split())


@pytest.mark.parametrize(("words", "text"), [
    ("", "Missing argument 'WALL'"),
    ("w --coats", "Option '--coats' requires an argument"),
    ("w -n", "Option '-n' requires an argument"),
    ("w --coats x", "Invalid value for '--coats' / '-n': 'x' is not a valid integer"),
    ("w --speed x", "Invalid value for '--speed': 'x' is not a valid number"),
    ("w -n 10", "Invalid value for '--coats' / '-n': 10 is not in the range 1<=x<=9"),
    ("w --colour green", "Invalid value for '--colour': 'green' is not one of 'red', 'blue'"),
    ("w --dry=1", "Option '--dry' does not take a value"),
    ("w --coat 3", "No such option: --coat (Possible option: --coats)"),
    ("w --qqqq", "No such option: --qqqq"),
    ("w -x", "No such option: -x"),
    ("w -qx", "No such option: -x"),
])
def test_wrong_words_say_what_is_wrong_and_where_help_is(words, text):
    with pytest.raises(WrongWords) as caught:
        COMMAND.values(words.split())
    assert (text, f"{text} (see paint --help)") == (caught.value.text, str(caught.value))


def test_too_many_words_are_named():
    def lone(wall: Annotated[str, Argument(metavar="WALL", help="Which one.")]) -> None:
        """Do."""
    with pytest.raises(WrongWords, match=r"extra argument \(b\)"):
        Command("lone", lone).values(["a", "b"])
    with pytest.raises(WrongWords, match=r"extra arguments \(b c\)"):
        Command("lone", lone).values(["a", "b", "c"])


def test_a_callback_sees_the_value_and_may_refuse_it():
    with pytest.raises(UsageError, match="not seven"):
        said("w", "-n", "7")


def test_the_first_argument_may_end_the_options():
    assert COMMAND.values(["w", "-q"])["quick"]
    values = Command("paint", paint, interspersed=False).values(["-v", "w", "-q"])
    assert (False, ["-q"], 1) == (values["quick"], values["more"], values["loud"])


def test_one_option_may_belong_to_two_commands_with_defaults_of_their_own():
    shared = Annotated[int, Option("--size", help="How large.")]

    def one(*, size: shared = 1) -> None:
        """Do."""

    def other(*, size: shared = 2) -> None:
        """Do."""
    first, second = Command("one", one), Command("other", other)
    assert ({"size": 1}, {"size": 2}) == (first.values([]), second.values([]))
    assert "[default: 1]" in first.help()


def test_running_calls_the_function():
    with pytest.raises(Exit) as caught:
        COMMAND.run(["w", "-n", "5"])
    assert caught.value.status == 5


HELP = """\
Usage: paint [OPTIONS] {WALL} [MORE...]

  Paint a wall.

  Behind it stands a paragraph.

Arguments:
  WALL     Which one.  [required]
  MORE...  Others.

Options:
  -n, --coats N        How many.  [default: 2; 1<=x<=9]
  --speed M2           An hour.  [default: 1; x>=0]
  --colour <red|blue>  Which.
  --skip SPOT          What is left out.
  --wet / --dry        How it is.  [default: wet]
  -q                   Hurry.
  -v, --loud           Sing.
  -h, --help           Show this message and exit.

  One that is wrapped.

  As it
    is.
"""


def test_help_lists_what_there_is(capsys):
    with pytest.raises(Exit) as caught:
        COMMAND.run(["w", "--help"])
    assert (0, HELP) == (caught.value.status, capsys.readouterr().out)


@pytest.mark.parametrize(("columns", "longest"), [("60", 58), ("20", 50), ("200", 78)])
def test_help_is_as_wide_as_the_terminal_but_not_wider_than_80_columns(monkeypatch, columns, longest):
    def wordy(*, size: Annotated[int, Option("--" + "long" * 9, help="word " * 50)] = 1) -> None:
        """Do."""
    monkeypatch.setenv("COLUMNS", columns)
    lines = Command("wordy", wordy, "word " * 50).help().splitlines()
    assert longest - 5 <= max(map(len, lines)) <= longest
