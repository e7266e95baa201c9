"""Write docs/man anew (`make man`): a manual page a command, from the texts of its help; review the diff."""

from inspect import cleandoc

import typer
from write_docs import DOCS, default_of

from udpprobe import cli

MAN = DOCS / "man"
VERBATIM = "\b"
"""Begins a paragraph of help whose lines stay as they are."""
FOUND = ("1", "Done, and what --fail-on names was found.")
STATUS = (
    ("0", "Done."),
    ("2", "The command line is wrong."),
    ("3", "It could not be done: no such file, no privilege, no route."),
    ("130", "Ctrl-C ended it."),
)
OWN_STATUS = {
    "check": (("0", "OK"), ("1", "WARNING"), ("2", "CRITICAL"), ("3", "UNKNOWN, also of a wrong command line.")),
    "watch": (
        ("0", "Done."),
        FOUND,
        *STATUS[1:],
        (
            "N",
            (
                "With -- COMMAND, that of the command: 128 and the signal that ended it, 126 if it cannot be run, 127 if there "
                "is none of that name. What --fail-on names, and what goes wrong with the watch itself, goes before it."
            ),
        ),
    ),
    "lab": (("N", "That of the command; 128 and the signal that ended it."), *STATUS[1:3]),
}


def roff(text):
    """Text as roff prints it: no escapes, no requests, and hyphens that can be copied."""
    lines = text.replace("\\", "\\e").replace("-", "\\-").splitlines()
    return "\n".join(rf"\&{line}" if line.startswith((".", "'")) else line for line in lines)


def section(title, *parts):
    return f".SH {title}\n" + "".join(f"{part}\n" for part in parts)


def entry(head, text):
    return f".TP\n{head}\n{roff(text)}"


def paragraphs(text):
    """Paragraphs of help: filled ones, and those that are to stay as they are."""
    for part in cleandoc(text or "").split("\n\n"):
        if part.startswith(VERBATIM):
            yield f".PP\n.nf\n{roff(part.removeprefix(VERBATIM).strip(chr(10)))}\n.fi"
        elif part.strip():
            yield f".PP\n{roff(' '.join(part.split()))}"


def option(each, context):
    names = ", ".join(rf"\fB{roff(name)}\fR" for name in (*each.opts, *each.secondary_opts))
    value = "" if each.is_flag or each.count else rf" \fI{roff(each.make_metavar(context))}\fR"
    return entry(names + value, f"{each.help or ''}{default_of(each, context)}")


def page(name):
    """Of one command."""
    command = cli._loaded(name)  # noqa: SLF001 - what `udpprobe NAME` runs
    context = typer.Context(command, info_name=f"udpprobe {name}")
    words = " ".join(command.collect_usage_pieces(context)).replace("{", "").replace("}", "")
    options = [each for each in command.params if each.param_type_name == "option"]
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    can_fail = any(each.name == "fail_on" for each in options)
    statuses = OWN_STATUS.get(name, (STATUS[0], *((FOUND,) if can_fail else ()), *STATUS[1:]))
    return "".join(
        (
            f'.TH UDPPROBE\\-{name.upper()} 1 "" udpprobe\n',
            section("NAME", rf"udpprobe\-{name} \- {roff(cli.COMMANDS[name].rstrip('.'))}"),
            section("SYNOPSIS", rf"\fBudpprobe {name}\fR {roff(words)}"),
            section("DESCRIPTION", *paragraphs(command.help), *paragraphs(command.epilog)),
            section(
                "ARGUMENTS",
                *(entry(rf"\fI{roff(each.make_metavar(context))}\fR", each.help or "") for each in arguments),
            )
            if arguments
            else "",
            section("OPTIONS", *(option(each, context) for each in options)) if options else "",
            section("EXIT STATUS", *(entry(rf"\fB{status}\fR", text) for status, text in statuses)),
            section("SEE ALSO", r"\fBudpprobe\fR(1)"),
        )
    )


def overview():
    """Of the program."""
    about = cli.app.registered_callback.callback.__doc__
    return "".join(
        (
            '.TH UDPPROBE 1 "" udpprobe\n',
            section("NAME", rf"udpprobe \- {roff(about.rstrip('.'))}"),
            section("SYNOPSIS", r"\fBudpprobe\fR \fICOMMAND\fR [\fIOPTIONS\fR] \fR..."),
            section("COMMANDS", *(entry(rf"\fBudpprobe\-{name}\fR(1)", text) for name, text in cli.COMMANDS.items())),
            section("EXIT STATUS", *(entry(rf"\fB{status}\fR", text) for status, text in STATUS)),
        )
    )


def pages():
    """By the names of their files."""
    return {"udpprobe.1": overview()} | {f"udpprobe-{name}.1": page(name) for name in cli.COMMANDS}


def main():
    MAN.mkdir(exist_ok=True)
    for old in MAN.iterdir():
        old.unlink()
    for name, text in pages().items():
        (MAN / name).write_text(text)


if __name__ == "__main__":
    main()
