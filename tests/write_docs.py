"""Write what the program knows of itself into docs: JSON Schemas, options, sessions (`make docs`); review the diff."""

import ast
import contextlib
import inspect
import io
import json
import os
import re
import shlex
import subprocess
import sys
from itertools import pairwise
from textwrap import dedent
from typing import get_type_hints

import msgspec
import typer
from write_golden import ROOT

from udpprobe import cli
from udpprobe.checking.states import CHECK_SCHEMA, Checked
from udpprobe.core.kernel import MODES, SOCKETS, TOO_BIG, Calls, Step, calls_of
from udpprobe.core.model import (
    REPORT_SCHEMA,
    Destination,
    DropReason,
    ErrorsSent,
    Event,
    Finding,
    Planned,
    Quoted,
    ReceiveDrops,
    SourceReport,
    Unmatched,
    WatchedEvent,
    is_time,
    json_name,
)
from udpprobe.core.verdicts import ANY_CODE, MEANINGS, VERDICTS, Meaning, meaning_of
from udpprobe.diff import CHANGES, Compared
from udpprobe.icmpd.protocol import SCHEMA as ICMPD_SCHEMA
from udpprobe.icmpd.protocol import STATUS_SCHEMA
from udpprobe.linux.receive_drops import BUFFER_FULL
from udpprobe.pmtud.model import MTU_SCHEMA, MtuReport
from udpprobe.reports.diff import DIFF_SCHEMA
from udpprobe.reports.explain import SCHEMA as EXPLAIN_SCHEMA
from udpprobe.reports.explain import About
from udpprobe.reports.json import EVENTS_SCHEMA
from udpprobe.reports.trace import TRACES_SCHEMA
from udpprobe.tracing.model import TRACE_SCHEMA, TraceReport

README, DOCS = ROOT / "README.md", ROOT / "docs"
SCHEMAS, COMMAND_PAGES = DOCS / "schema", DOCS / "commands"
PAGES = (README, *sorted(DOCS.rglob("*.md")))
OPTIONS = "<!-- options: written by `make docs` -->\n", "<!-- end of options -->\n"
CALLS = "<!-- calls: written by `make docs` -->\n", "<!-- end of calls -->\n"

SESSION = re.compile(r"^    \$ udpprobe (.+)\n(?:    (?!\$ ).*\n|\n(?=    (?!\$ )))*", re.MULTILINE)
"""A command and its output."""
IN_LAB = "lab "
VARIES = re.compile(
    r"""
    \d[\d.]*\ (?:ms|s|probes|times)\b | \d+\ of\ \d+ | (?<=foreign\ )\d+ | \d+-\d+(?=\ +\(loop) | 'rtt'=\d[\d.]*
    | \d[\d.]*(?:\ /\ \d[\d.]*)+ | (?<=\ )\d+\.\d+(?=\s) | (?<=\ \ )\d{1,3}(?=\ \ )
    | \d{4}-\d\d-\d\d\ \d\d:\d\d:\d\d | -{3,} | \s+""",
    re.VERBOSE,
)
"""What two visits to the lab don't have in common: times, and the widths of columns that hold them."""

TEXT, NUMBER, COUNT, BOOLEAN = {"type": "string"}, {"type": "number"}, {"type": "integer"}, {"type": "boolean"}
TIME = {"type": "string", "format": "date-time", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$"}
COUNTS = {"type": "object", "additionalProperties": COUNT}


def or_null(schema):
    return {"anyOf": [schema, {"type": "null"}]}


def list_of(item):
    return {"type": "array", "items": item}


def of(kind):
    return {"$ref": f"#/$defs/{kind.__name__}"}


def record(properties, **others):
    """An object that has all of these, and may have more."""
    return {"type": "object", **others, "properties": properties, "required": list(properties)}


WORDS = {
    "family": {"enum": [4, 6]},
    "match": {"enum": ["exact", "flow", "rewritten", "none"]},
    "meaning": or_null({"enum": ["listening-or-filtered", "no-evidence", "rate-limited"]}),
    "verdict": or_null({"enum": list(VERDICTS)}),
}
"""Of fields of these names."""
LINUX = record({kind: or_null(TEXT) for kind in ("unconnected", "connected", "recverr")})
OWN = {
    (MtuReport, "verdict"): or_null({"enum": ["ok", "black-hole", *VERDICTS]}),
    (MtuReport, "proof"): or_null({"enum": ["answer", "refusal", "routers"]}),
    (SourceReport, "kind"): {"enum": ["file", "interface", "probe"]},
    (Checked, "state"): {"enum": ["OK", "WARNING", "CRITICAL", "UNKNOWN"]},
    (WatchedEvent, "sees"): or_null({"enum": ["connected", "recverr", "blind", "unknown"]}),
    (WatchedEvent, "reported_by"): or_null({"enum": ["kernel", "inference"]}),
    (ReceiveDrops, "reason"): or_null({"enum": [BUFFER_FULL]}),
    (Compared, "change"): {"enum": list(CHANGES)},
}


def described(kind):
    """The fields that have a docstring, of a class and of those that it is made from."""
    texts = {}
    for each in reversed(kind.__mro__[:-1]):
        if not each.__module__.startswith("udpprobe"):
            continue
        body = ast.parse(dedent(inspect.getsource(each))).body[0].body
        for field, text in pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                texts[json_name(field.target.id)] = " ".join(text.value.value.replace("None", "null").split())
    return texts


def known(*kinds):
    """The schemas of some classes and of all that they hold, by name."""
    _, schemas = msgspec.json.schema_components(kinds, ref_template="#/$defs/{name}")
    classes = {kind.__name__: kind for kind in _with_parts(kinds)}
    return {name: _finished(classes[name], schema) for name, schema in sorted(schemas.items())}


def named(kind):
    """The schema of a named tuple, which is written as an object."""
    twin = msgspec.defstruct(kind.__name__, list(get_type_hints(kind).items()))
    ((_, schema),) = msgspec.json.schema_components([twin])[1].items()
    texts = described(kind)
    return record(
        {
            name: {**each, "description": texts[name]} if name in texts else each
            for name, each in (
                schema["properties"] | {name: word for name, word in WORDS.items() if name in schema["properties"]}
            ).items()
        },
        title=kind.__name__,
        description=kind.__doc__,
    )


def _with_parts(kinds):
    """The classes, and those of their fields."""
    found, waiting = {}, list(kinds)
    while waiting:
        kind = waiting.pop()
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            if kind not in found:
                found[kind] = None
                waiting += [each.type for each in msgspec.structs.fields(kind)]
        else:
            waiting += getattr(kind, "__args__", ())
    return found


def _finished(kind, schema):
    texts = described(kind)
    properties = {}
    for field in msgspec.structs.fields(kind):
        name = field.encode_name
        plain = {key: value for key, value in schema["properties"][name].items() if key != "default"}
        if is_time(field.name):
            plain = {"anyOf": [TIME, {"type": "null"}]} if "anyOf" in plain else TIME
        elif name == "linux":
            plain = or_null(LINUX)
        plain = OWN.get((kind, name), WORDS.get(name, plain))
        if kind in {Finding, Event, Unmatched} and name == "verdict":
            plain = or_null({"enum": list(VERDICTS)})
        properties[name] = {**plain, "description": texts[name]} if name in texts else plain
    return record(properties, title=kind.__name__, description=" ".join((kind.__doc__ or "").split("\n\n")[0].split()))


def _unmatched(schemas):
    """Its finding's fields are its own."""
    own = dict(schemas["Unmatched"]["properties"])
    del own["finding"]
    return {
        **schemas,
        "Unmatched": record(
            own | schemas["Finding"]["properties"], title="Unmatched", description=schemas["Unmatched"]["description"]
        ),
    }


def _document(name, what, properties, schemas, sometimes=None):
    described = record({"schema": {"const": name}, **properties})
    described["properties"] |= sometimes or {}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": name,
        "description": what,
        **described,
        "$defs": schemas,
    }


def schemas():
    """File name -> the schema of a document that `--format json` writes."""
    found = _unmatched(known(SourceReport, Destination, Unmatched, ReceiveDrops, DropReason, ErrorsSent))
    head = {"command": TEXT, "version": TEXT, "source": of(SourceReport)}
    tail = {"faults": {**COUNTS, "description": "Bad packets and records, by name."}, "interrupted": BOOLEAN}
    drops = {
        "receive_drops": {
            **list_of(of(ReceiveDrops)),
            "description": ("Of `watch` only: sockets of this host that dropped datagrams, the most first."),
        },
        "drop_reasons": {
            **list_of(of(DropReason)),
            "description": "Of `watch` only: why this host dropped packets, the most frequent reason first.",
        },
        "errors_sent": {**of(ErrorsSent), "description": "Of `watch --sent` only: what this host said to others."},
    }
    events = known(SourceReport, Event, WatchedEvent, ReceiveDrops, DropReason, ErrorsSent)
    traces = known(TraceReport)
    traces["TraceReport"]["properties"] = {"schema": {"const": TRACE_SCHEMA}, **traces["TraceReport"]["properties"]}
    trace, mtu, check = known(TraceReport), known(MtuReport), known(Checked)
    compared, meaning = known(Compared), {"Meaning": named(Meaning), "About": named(About)}
    error = dict(meaning["Meaning"]["properties"])
    error["code"] = {**or_null(COUNT), "description": "Null stands for every code without a row of its own."}
    error |= {
        "verdict_otherwise": {**or_null(TEXT), "description": "What it becomes with more knowledge."},
        "errno": or_null(TEXT),
        "linux": LINUX,
        "linux_words": LINUX,
        "linux_calls": {**list_of(named(Calls)), "description": "What three calls give after the error, measured."},
        "linux_path": {**list_of(named(Step)), "description": "Its way through the kernel, as far as it gets."},
    }
    error["linux_calls"]["items"] = record(
        {
            "socket": {"enum": list(SOCKETS)},
            "pmtudisc": {
                **or_null({"enum": list(MODES)}),
                "description": ("The mode of IP_MTU_DISCOVER or IPV6_MTU_DISCOVER; null where nothing depends on it."),
            },
            **named(Calls)["properties"],
        },
        description=Calls.__doc__,
    )
    meaning["Meaning"] = {**meaning["Meaning"], **record(error)}
    daemon = known(Quoted)
    told = {
        "time": TIME,
        "family": WORDS["family"],
        "type": COUNT,
        "code": COUNT,
        "verdict": WORDS["verdict"],
        "errno": or_null(TEXT),
        "reason": TEXT,
        "reporter": TEXT,
        "mtu": or_null(COUNT),
        "interface": or_null(COUNT),
        "quoted": of(Quoted),
        "extensions": or_null(list_of({"type": "object"})),
        "notes": list_of(TEXT),
        "socket": {"type": "object"},
    }
    lines = {
        "registered": {
            "registered": {"const": True},
            "schema": {"const": ICMPD_SCHEMA},
            "version": TEXT,
            "socket": {"type": "object"},
        },
        "refused": {
            "registered": {"const": False},
            "schema": {"const": ICMPD_SCHEMA},
            "version": TEXT,
            "reason": TEXT,
            "limit": or_null(COUNT),
        },
        "error": told,
        "dropped": {"count": COUNT},
        "missed": {"count": COUNT},
        "closed": {},
    }
    return {
        "report": _document(
            REPORT_SCHEMA,
            "What `analyze`, `scan` and `watch` write.",
            {
                **head,
                "destinations": list_of(of(Destination)),
                "unmatched": {
                    **list_of(of(Unmatched)),
                    "description": "Errors that quote a datagram nobody saw being sent.",
                },
                **tail,
            },
            found,
            drops,
        ),
        "events": _document(
            EVENTS_SCHEMA,
            "What `analyze --events` and `scan --events` write; in NDJSON, a line is an "
            "Event, and a WatchedEvent of `watch`.",
            {**head, "events": list_of(of(Event)), **tail},
            events,
            drops,
        ),
        "trace": _document(TRACE_SCHEMA, "What `trace` writes.", trace.pop("TraceReport")["properties"], trace),
        "traces": _document(
            TRACES_SCHEMA,
            "What `trace` writes of several targets.",
            {"command": TEXT, "version": TEXT, "traces": list_of(of(TraceReport))},
            traces,
        ),
        "mtu": _document(
            MTU_SCHEMA, "What `mtu` writes.", {"command": TEXT, **mtu.pop("MtuReport")["properties"]}, mtu
        ),
        "check": _document(
            CHECK_SCHEMA,
            "What `check` writes.",
            {
                "command": TEXT,
                "version": TEXT,
                "state": OWN[Checked, "state"],
                "interrupted": BOOLEAN,
                "time": TIME,
                "duration_s": NUMBER,
                "warnings": list_of(TEXT),
                "checks": list_of(of(Checked)),
            },
            check,
        ),
        "diff": _document(
            DIFF_SCHEMA,
            "What `diff` writes.",
            {
                "command": TEXT,
                "version": TEXT,
                "before": TEXT,
                "after": TEXT,
                "counts": COUNTS,
                "destinations": list_of(of(Compared)),
            },
            compared,
        ),
        "explain": _document(
            EXPLAIN_SCHEMA,
            "What `explain` writes.",
            {"about": or_null(of(About)), "errors": list_of(of(Meaning))},
            meaning,
        ),
        "plan": _document(
            "udpprobe.plan/1", "What `scan --dry-run` writes.", {"probes": list_of(of(Planned))}, known(Planned)
        ),
        "payloads": _document(
            "udpprobe.payloads/1",
            "What `scan --list-payloads` writes.",
            {
                "payloads": list_of(
                    record({"name": TEXT, "ports": TEXT, "bytes": COUNT, "answer": TEXT, "source": TEXT})
                )
            },
            {},
        ),
        "scenarios": _document(
            "udpprobe.scenarios/1",
            "What `lab --list` writes.",
            {"scenarios": list_of(record({"name": TEXT, "conclude": TEXT}))},
            {},
        ),
        "icmpd": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": ICMPD_SCHEMA,
            "description": "A line that `icmpd` tells a client whose first byte is J.",
            "oneOf": [record({"kind": {"const": kind}, **properties}) for kind, properties in lines.items()],
            "$defs": daemon,
        },
        "icmpd.status": _document(
            STATUS_SCHEMA,
            "What `icmpd status` writes.",
            {
                "kind": {"const": "status"},
                "version": TEXT,
                "clients": COUNT,
                "sockets": COUNT,
                "queued_bytes": COUNT,
                "counts": COUNTS,
            },
            {},
        ),
    }


def schema_text(schema):
    return json.dumps(schema, indent=1) + "\n"


# ---- options


ENCLOSED = re.compile(r"^[<\[](.*)[>\]]$")
"""Words to choose from."""


def options_table(name):
    """A row an option, as the help has it."""
    command = cli._loaded(name)  # noqa: SLF001 - what `udpprobe NAME` runs
    context = typer.Context(command)
    rows = [_row(each, context) for each in command.params if each.param_type_name == "option"]
    return "\n".join(("| option | |", "|---|---|", *rows)) + "\n"


def _row(option, context):
    names = ", ".join(f"`{name}`" for name in sorted((*option.opts, *option.secondary_opts), key=_dashes))
    metavar = ENCLOSED.sub(r"\1", option.make_metavar(context))
    word = "" if option.is_flag or option.count else f" `{metavar}`"
    cells = (f"{names}{word}", f"{option.help or ''}{default_of(option, context)}")
    return "".join(f"| {cell.replace('|', '&#124;' if '`' not in cell else chr(92) + '|')} " for cell in cells) + "|"


def default_of(option, context):
    """What an option is without being named, in parentheses; empty where that goes without saying."""
    default = option.get_default(context)
    is_shown = option.show_default and default not in {None, False, ""} and not option.is_flag
    return f" ({getattr(default, 'value', default)})" if is_shown else ""


def _dashes(name):
    return not name.startswith("--"), name.startswith("--no-")


# ---- sessions


def session(words):
    """A command and its output, as a page shows them; in the lab, whoever may not make one gets none."""
    lines = [f"$ udpprobe {words}", *output(words).splitlines()]
    return "".join(f"    {line}".rstrip() + "\n" for line in lines)


def output(words):
    """What a command writes to standard output; one in the lab runs in a process of its own."""
    if is_in_lab(words):
        shown = {**os.environ, "COLUMNS": "80", "PATH": f"{sys.prefix}/bin:{os.environ['PATH']}"}
        return subprocess.run(
            [sys.executable, "-m", "udpprobe", *shlex.split(words)],
            cwd=ROOT,
            env=shown,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ).stdout
    shown = io.StringIO()
    with contextlib.chdir(ROOT), contextlib.redirect_stdout(shown):
        cli.main(shlex.split(words))
    return shown.getvalue()


def is_in_lab(words):
    """Whether a session runs a command in the lab, where times differ from run to run."""
    return words.startswith(IN_LAB) and " -- " in words


def lasting(text):
    """What two runs of a session in the lab have in common."""
    return VARIES.sub(" ", text)


def _renewed(found):
    if is_in_lab(found[1]) and os.geteuid():
        return found[0]
    now = session(found[1])
    return found[0] if is_in_lab(found[1]) and lasting(now) == lasting(found[0]) else now


def calls_table():
    """What three sends and three receives give after each error, by kind of socket; `-` where nothing fails."""
    kinds = {}
    for row in MEANINGS:
        if row.verdict != "too-big":
            name = f"{row.type}/{'*' if row.code == ANY_CODE else row.code}"
            kinds.setdefault((row.family, row.connected, row.recverr), []).append(name)
    lines = ["| error | unconnected | connected | IP_RECVERR |", "|---|---|---|---|"]
    for (family, connected, recverr), names in kinds.items():
        cells = (
            ("ICMP" if family == 4 else "ICMPv6") + " " + ", ".join(names),
            "- - -",
            _thrice(connected),
            _thrice(recverr),
        )
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "| too big, mode | unconnected | connected | IP_RECVERR | larger datagrams then |",
        "|---|---|---|---|---|",
    ]
    for (family, mode), row in TOO_BIG.items():
        meaning = meaning_of(4, 3, 4) if family == 4 else meaning_of(6, 2, 0)
        calls = [calls_of(meaning, state, mode) for state in SOCKETS]
        sends = [" ".join(errno or "-" for errno in each.send) for each in calls]
        lines.append(
            f"| IPv{family} {mode} | {' | '.join(sends)} | {'not sent' if row.later == 'EMSGSIZE' else row.later} |"
        )
    return "\n".join(lines) + "\n"


def _thrice(errno):
    return f"{errno or '-'} - -"


def page_text(path):
    """A page with its options, tables and sessions as they are now."""
    text = SESSION.sub(_renewed, path.read_text())
    if CALLS[0] in text:
        before, _, rest = text.partition(CALLS[0])
        text = f"{before}{CALLS[0]}\n{calls_table()}\n{CALLS[1]}{rest.partition(CALLS[1])[2]}"
    begin, end = OPTIONS
    if path.parent == COMMAND_PAGES and begin in text:
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}\n{options_table(path.stem)}\n{end}{rest.partition(end)[2]}"
    return text


def main():
    SCHEMAS.mkdir(exist_ok=True)
    for old in SCHEMAS.glob("*.json"):
        old.unlink()
    for name, schema in schemas().items():
        (SCHEMAS / f"{name}.json").write_text(schema_text(schema))
    for path in PAGES:
        path.write_text(page_text(path))


if __name__ == "__main__":
    main()
