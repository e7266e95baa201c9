r"""The words of a command line: options and arguments as annotations of a command's function, and help made from them.

    def trace(target: Annotated[str, Argument(metavar="HOST:PORT", help="Where to.")], *,
              queries: Annotated[int, Option("--queries", "-q", min=1, help="Probes for each hop.")] = 3) -> None:

What is understood, and how help looks, is what users of Click and Typer know. Those take 50 ms to import, four times an
empty Python, and a probe of the next host takes less than one.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from enum import Enum
from types import UnionType
from typing import Any, Self

from udpprobe.errors import UsageError

WIDTH = 80
"""Columns of help at most; less where the terminal has less."""
FIRST_COLUMN = 30
"""Columns that names of options take at most; a longer one gets a line of its own."""
AS_IT_IS = "\b\n"
"""Before a paragraph of the epilog that is not to be wrapped."""
HELP = "Show this message and exit."


class Exit(Exception):  # noqa: N818 - no error
    """End with an exit status."""

    def __init__(self, status: int = 0) -> None:
        super().__init__()
        self.status = status


class WrongWords(UsageError):  # noqa: N818 - no defect
    """A word that the command does not know, or one too few."""

    def __init__(self, text: str, path: str) -> None:
        super().__init__(f"{text} (see {path} --help)")
        self.text = text


class Argument:
    """What stands by itself. Its type is beside it: T, T | None, or list[T] | None for any number of them.

    Args:
        metavar: what usage and help call it.
        help: what it is.
        min: the least that a number may be.
        max: the most.
        show_default: whether help names the default.
    """

    def __init__(self, *, metavar: str, help: str, min: float | None = None, max: float | None = None,  # noqa: A002
                 show_default: bool = True) -> None:
        self.metavar, self.help, self.min, self.max, self.show_default = metavar, help, min, max, show_default
        self.name = ""
        self.default: Any = ...
        """... where it has to be said."""
        self.type: type[Any] = str
        self.is_list = False

    def bound(self, name: str, hint: Any, default: Any) -> Self:  # noqa: ANN401 - any type's value
        """The same, as one command has it: of this parameter, with its type and default."""
        own = copy(self)
        own.bind(name, hint, default)
        return own

    def bind(self, name: str, hint: Any, default: Any) -> None:  # noqa: ANN401 - as above
        """Become the one of this parameter."""
        self.name, self.default = name, default
        if isinstance(hint, UnionType):
            hint = next(each for each in hint.__args__ if each is not type(None))
        self.is_list = getattr(hint, "__origin__", None) is list
        self.type = hint.__args__[0] if self.is_list else hint

    @property
    def label(self) -> str:
        """What errors call it."""
        return f"'{self.metavar}'"

    def converted(self, text: str) -> Any:  # noqa: ANN401 - as above
        """The value that a word stands for.

        Raises:
            ValueError: it stands for none; the text says why.
        """
        if issubclass(self.type, Enum):
            try:
                return self.type(text)
            except ValueError:
                raise ValueError(f"{text!r} is not one of {', '.join(map(repr, _words_of(self.type)))}") from None
        if self.type is str:
            return text
        try:
            value = self.type(text)
        except ValueError:
            raise ValueError(f"{text!r} is not a valid {'integer' if self.type is int else 'number'}") from None
        if (self.min is not None and value < self.min) or (self.max is not None and value > self.max):
            raise ValueError(f"{value} is not in the range {self.range}")
        return value

    @property
    def range(self) -> str:
        """What a number may be; empty for anything."""
        if self.max is None:
            return f"x>={self.min}" if self.min is not None else ""
        return f"{self.min}<=x<={self.max}" if self.min is not None else f"x<={self.max}"

    @property
    def shown_default(self) -> str:
        """The default, as help names it; empty where it does not."""
        if not self.show_default or self.default is None or self.default is ...:
            return ""
        return str(self.default.value if isinstance(self.default, Enum) else self.default)

    @property
    def sentence(self) -> str:
        """What help says of it."""
        extra = "; ".join(filter(None, (
            "required" if self.default is ... else "",
            f"default: {self.shown_default}" if self.shown_default else "", self.range)))
        return f"{self.help}  [{extra}]" if extra else self.help


class Option(Argument):
    """What is said by name.

    Args:
        names: `--long`, `-s`; of a flag also `--yes/--no`. Without any, the parameter's own name.
        help: what it is for.
        metavar: what help calls its value.
        min: the least that a number may be.
        max: the most.
        callback: gets the value, the default too, and gives the one to take.
        count: whether it counts how often it is said.
        show_default: whether help names the default.
    """

    def __init__(self, *names: str, help: str, metavar: str = "", min: float | None = None,  # noqa: A002
                 max: float | None = None, callback: Callable[[Any], Any] | None = None,  # noqa: A002
                 count: bool = False, show_default: bool = True) -> None:
        super().__init__(metavar=metavar, help=help, min=min, max=max, show_default=show_default)
        self.names: tuple[str, ...] = names
        self.callback, self.count = callback, count
        self.off = ""
        """What turns a flag off, if anything does."""

    def bind(self, name: str, hint: Any, default: Any) -> None:  # noqa: ANN401 - as above
        """See Argument."""
        super().bind(name, hint, default)
        self.names = self.names or ("--" + name.replace("_", "-"),)
        if "/" in self.names[0]:
            on, self.off = self.names[0].split("/")
            self.names = on, *self.names[1:]
        if issubclass(self.type, Enum) and not self.metavar:
            self.metavar = f"<{'|'.join(_words_of(self.type))}>"

    @property
    def is_flag(self) -> bool:
        """Whether it takes no value."""
        return self.type is bool or self.count

    @property
    def label(self) -> str:
        """See Argument."""
        return " / ".join(f"'{name}'" for name in self.names)

    @property
    def shown_default(self) -> str:
        """See Argument."""
        if self.type is not bool:
            return super().shown_default
        if not self.off or not self.show_default or self.default is None:
            return ""
        return (self.names[0] if self.default else self.off).lstrip("-")

    @property
    def usage(self) -> str:
        """How help lists it: the short name first."""
        names = ", ".join(sorted(self.names, key=lambda name: name.startswith("--")))
        return f"{names} / {self.off}" if self.off else names if self.is_flag else f"{names} {self.metavar}"


class Command:
    """A function, as a command.

    Args:
        path: the words that call it.
        function: its parameters are annotated with Argument or Option; its docstring is the help.
        epilog: what help ends with.
        interspersed: whether options may stand behind arguments.
    """

    def __init__(self, path: str, function: Callable[..., None], epilog: str = "", *,
                 interspersed: bool = True) -> None:
        self.path, self.function, self.epilog, self.interspersed = path, function, epilog, interspersed
        self.arguments: list[Argument] = []
        self.options: list[Option] = []
        code, hints = function.__code__, function.__annotations__
        names = code.co_varnames[:code.co_argcount + code.co_kwonlyargcount]
        positional = function.__defaults__ or ()
        defaults = dict(zip(names[code.co_argcount - len(positional):], positional, strict=False))
        defaults.update(function.__kwdefaults__ or {})
        for name in names:
            what = hints[name].__metadata__[0].bound(name, hints[name].__origin__, defaults.get(name, ...))
            if isinstance(what, Option):
                self.options.append(what)
            else:
                self.arguments.append(what)
        self._by_name = {name: (option, name != option.off) for option in self.options
                         for name in (*option.names, *filter(None, (option.off,)))}

    def run(self, words: Sequence[str]) -> None:
        """Read the words and call the function.

        Raises:
            WrongWords: they are not understood.
            Exit: it is done.
        """
        self.function(**self.values(words))

    # ---- words

    def values(self, words: Sequence[str]) -> dict[str, Any]:
        """What to call the function with."""
        said, plain = self._sorted(words)
        values = {}
        for option in self.options:
            value = self._value(option, said.get(option.name, []))
            values[option.name] = option.callback(value) if option.callback else value
        for argument in self.arguments:
            some, plain = (plain, []) if argument.is_list else (plain[:1], plain[1:])
            if not some and argument.default is ...:
                raise WrongWords(f"Missing argument {argument.label}", self.path)
            values[argument.name] = self._value(argument, some)
        if plain:
            raise WrongWords(f"Got unexpected extra argument{'s' if len(plain) > 1 else ''} ({' '.join(plain)})",
                             self.path)
        return values

    def _value(self, what: Argument, said: list[Any]) -> Any:  # noqa: ANN401 - any type's value
        if not said:
            return what.default
        if isinstance(what, Option) and what.is_flag:
            return len(said) if what.count else said[-1]
        try:
            return list(map(what.converted, said)) if what.is_list else what.converted(said[-1])
        except ValueError as error:
            raise WrongWords(f"Invalid value for {what.label}: {error}", self.path) from None

    def _sorted(self, words: Sequence[str]) -> tuple[dict[str, list[Any]], list[str]]:
        """What was said to each option, and the words that belong to none."""
        said: dict[str, list[Any]] = {}
        plain: list[str] = []
        rest = list(words)
        while rest:
            word = rest.pop(0)
            if word == "--":
                return said, plain + rest
            if not word.startswith("-") or word == "-":
                plain.append(word)
                if not self.interspersed:
                    return said, plain + rest
                continue
            for name, value in _named(word, self._by_name):
                if name in {"-h", "--help"}:
                    echo(self.help()[:-1])
                    raise Exit
                option, is_on = self._known(name)
                if option.is_flag:
                    if value is not None and name.startswith("--"):
                        raise WrongWords(f"Option '{name}' does not take a value", self.path)
                    said.setdefault(option.name, []).append(is_on)
                    continue
                if value is None and not rest:
                    raise WrongWords(f"Option '{name}' requires an argument", self.path)
                said.setdefault(option.name, []).append(rest.pop(0) if value is None else value)
        return said, plain

    def _known(self, name: str) -> tuple[Option, bool]:
        if name in self._by_name:
            return self._by_name[name]
        if name.startswith("--"):
            from difflib import get_close_matches  # noqa: PLC0415 - only where it is needed

            alike = sorted(get_close_matches(name, [*self._by_name, "--help"]))
            more = f" (Possible option{'s' if len(alike) > 1 else ''}: {', '.join(alike)})" if alike else ""
        else:
            more = ""
        raise WrongWords(f"No such option: {name}{more}", self.path)

    # ---- help

    def help(self) -> str:
        """All there is to say of it."""
        words = [each.metavar if each.metavar.startswith("[") else
                 f"{{{each.metavar}}}" if each.default is ... else f"[{each.metavar}]" for each in self.arguments]
        lines = [f"Usage: {self.path} {' '.join(['[OPTIONS]', *words])}"]
        lines += paragraphs(self.function.__doc__ or "")
        if self.arguments:
            lines += section("Arguments", [(each.metavar, each.sentence) for each in self.arguments])
        lines += section("Options", [*((each.usage, each.sentence) for each in self.options), ("-h, --help", HELP)])
        return "\n".join([*lines, *paragraphs(self.epilog)]) + "\n"


def echo(text: str, *, err: bool = False) -> None:
    """Write a line, and see to it that it arrives."""
    stream = sys.stderr if err else sys.stdout
    if stream is not None:
        stream.write(f"{text}\n")
        stream.flush()


def _named(word: str, known: dict[str, tuple[Option, bool]]) -> Iterator[tuple[str, str | None]]:
    """The options that a word stands for, each with the value that is in it: `--name=value`, `-vv`, `-p53`."""
    if word.startswith("--"):
        name, equals, value = word.partition("=")
        yield name, value if equals else None
        return
    for at, letter in enumerate(word[1:], 2):
        option, _ = known.get(f"-{letter}", (None, True))
        takes_rest = option is not None and not option.is_flag and at < len(word)
        yield f"-{letter}", word[at:] if takes_rest else None
        if takes_rest:
            return


def _words_of(choices: type[Enum]) -> list[str]:
    return [each.value for each in choices]


def columns() -> int:
    """Of the terminal, as shutil.get_terminal_size() finds them, without all that it loads."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns):
        return int(columns)
    try:
        return os.get_terminal_size().columns or WIDTH
    except (OSError, ValueError):
        return WIDTH


def _width() -> int:
    return max(min(columns(), WIDTH) - 2, 50)


def paragraphs(text: str) -> list[str]:
    """Text, wrapped and indented by two columns; an empty line before each paragraph."""
    from textwrap import dedent, fill  # noqa: PLC0415 - of help alone

    head, _, tail = text.strip("\n").partition("\n")
    lines: list[str] = []
    for paragraph in filter(str.strip, f"{head}\n{dedent(tail)}".split("\n\n")):
        if paragraph.lstrip("\n").startswith(AS_IT_IS):
            lines += ["", *(f"  {line}" for line in paragraph.lstrip("\n").removeprefix(AS_IT_IS).splitlines())]
        else:
            lines += ["", fill(" ".join(paragraph.split()), _width(), initial_indent="  ", subsequent_indent="  ")]
    return lines


def section(title: str, rows: Sequence[tuple[str, str]]) -> list[str]:
    """Names, and beside each what it is."""
    from textwrap import wrap  # noqa: PLC0415 - as above

    first = min(max(len(name) for name, _ in rows), FIRST_COLUMN) + 2
    lines = ["", f"{title}:"]
    for name, text in rows:
        beside = wrap(" ".join(text.split(" ")), max(_width() - first - 2, 10))
        if len(name) <= first - 2:
            lines.append(f"  {name:{first}}{beside.pop(0)}" if beside else f"  {name}")
        else:
            lines.append(f"  {name}")
        lines += [" " * (first + 2) + line for line in beside]
    return lines
