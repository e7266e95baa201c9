"""The one catcher: one line on standard error, one exit status, no traceback."""

import os
import subprocess
import sys

import pytest

from udpprobe import __version__
from udpprobe.cli import COMMANDS, main
from udpprobe.errors import CaptureError

UDPPROBE = [sys.executable, "-m", "udpprobe"]
HEAVY = {"numpy", "scapy", "rich", "tabulate", "pydantic", "cypcap", "pyarrow", "distributed", "dask", "fsspec"}


@pytest.mark.parametrize("words", [["--help"], ["analyze", "--help"], ["explain", "-h"], ["scan", "--help"]])
def test_help_imports_nothing_heavy(words):
    code = (
        "import sys; from udpprobe.cli import main; status = main(sys.argv[1:]); "
        "print('IMPORTED', *{name.split('.')[0] for name in sys.modules}); sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert "Usage: udpprobe" in done.stdout
    imported = set(done.stdout.rpartition("IMPORTED")[2].split())
    assert "udpprobe" in imported
    assert not HEAVY & imported


def test_a_command_loads_no_other_one():
    code = "import sys; from udpprobe.cli import main; main(['explain', '3', '4']); print('IMPORTED', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.removeprefix("udpprobe.cli.") for name in done.stdout.rpartition("IMPORTED")[2].split()}
    assert {"explain"} == set(COMMANDS) & loaded


def test_help_describes_each_command_as_its_own_help_does(capsys):
    assert main(["--help"]) == 0
    told = capsys.readouterr().out
    for name in COMMANDS:
        assert f"\n  {name} " in told
        main([name, "--help"])
        assert capsys.readouterr().out.startswith(f"Usage: udpprobe {name} ")


@pytest.mark.parametrize(("compiled", "twin"), [(True, "compiled"), (False, "interpreted")])
def test_the_version_says_which_twin_of_the_core_runs(monkeypatch, capsys, compiled, twin):
    monkeypatch.setattr("udpprobe.core.is_compiled", lambda: compiled)
    for word in ("--version", "-V"):
        assert main([word]) == 0
        assert capsys.readouterr().out == f"udpprobe {__version__} ({twin})\n"


def test_without_arguments_help_is_shown_on_stderr(capsys):
    assert main([]) == 2
    told = capsys.readouterr()
    assert (told.out, told.err[:15]) == ("", "Usage: udpprobe")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["analyze"], "Missing argument 'FILE...'"),
        (["analyze", "--nonsense", "x"], "No such option: --nonsense"),
        (["analyze", "--format", "xml", "x"], "--format 'xml': give table, json, ndjson, csv, markdown"),
        (
            ["explain", "--format", "parquet"],
            "--format parquet is for the reports and events of analyze, scan and watch",
        ),
        (["scan", "--list-payloads", "--format", "parquet"], "--format parquet is for the report of a scan"),
        (["analyze", "--group-by", "x", "x"], "--group-by 'x': give destination, host, flow or reporter"),
        (["analyze", "--loop-ttl", "0", "x"], "--loop-ttl 0: give 1 to 255"),
        (["analyze", "--fail-on", "broken", "x"], "'broken' is not a verdict; use refused, rejected"),
        (["analyze", "--since", "noon", "x"], "'noon' is not a time"),
        (["analyze", "--since", "2026-01-02", "--until", "2026-01-02", "x"], "is not before"),
        (["scan"], "name a target, or a file of them with --targets-file"),
        (["scan", "10.0.0.256"], "'10.0.0.256' is neither an address nor a network"),
        (["scan", "10.0.0.1:dns"], "'dns' is not a UDP port, nor a service"),
        (["scan", "10.0.0.1:1000..2000"], "'1000..2000' is not a UDP port; a range looks like 1000-2000"),
        (["scan", "10.0.0.1:10o0-20"], "use 53, 53,123, domain, a range such as 1000-2000, or - for all"),
        (
            ["trace", "http://example.com"],
            "is a URL: omit scheme and path, and give the port, as in example.com:53",
        ),
        (["trace", "https://[2001:db8::1]/x"], "is a URL: omit scheme"),
        (["watch", "port", "53"], "'port 53': watch takes only options; a pcap filter follows --filter"),
        (["scan", "--rat", "5", "10.0.0.1"], "No such option: --rat: did you mean --rate?"),
        (["scam"], "No such command 'scam': did you mean scan?"),
        (["lab", "-s", "lop-3", "--", "true"], "there is no scenario 'lop-3': did you mean loop-3?"),
        (["scan", "10.0.0.1", "-p", "70000"], "UDP ports are 1 to 65535"),
        (["scan", "10.0.0.1", "-6"], "no target is left to probe over IPv6"),
        (["scan", "10.0.0.1", "--exclude", "10.0.0.0/8"], "no target is left to probe"),
        (["scan", "10.0.0.0/8"], "a network of 16,777,216 addresses is too large"),
        (["scan", "10.0.0.1", "--source-address", "eth0"], "'eth0' is not an IPv4 or IPv6 address"),
        (["scan", "10.0.0.1", "--engine", "magic"], "--engine 'magic': give raw, recverr or connected"),
        (["scan", "10.0.0.1", "--rate", "-1"], "--rate -1: give 0 or more"),
        (["scan", "10.0.0.1", "--size", "20"], "--size 20: give 28 to 65535"),
        (["scan", "10.0.0.1", "--fail-on", "dead"], "'dead' is not a verdict"),
        (["scan", "10.0.0.1", "--fail-on", "refussed"], "silent, unsent: did you mean refused?"),
        (["scan", "10.0.0.1", "--payload", "dnss", "--dry-run"], "there is no payload 'dnss' (dns"),
        (["scan", "10.0.0.1", "-w", "x", "-o", "./x"], "cannot both go to x"),
        (["scan", "10.0.0.1", "-w", "-"], "cannot both go to standard output"),
        (["explain", "256"], "256 is not in the range"),
        (["explain", "5", "-4"], "type 5 is not an error: those are 3, 4, 11 and 12 in ICMP"),
    ],
)
def test_usage_errors_are_one_line_and_status_2(words, said, capsys):
    assert main(words) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("udpprobe: ")
    assert said in told.err
    assert told.err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (CaptureError("a\x1b[2J\nb: not a capture"), 3, r"udpprobe: a\x1b[2J b: not a capture"),
        (MemoryError(), 3, "udpprobe: out of memory"),
        (OSError(5, "Input/output error", "disk.pcap"), 3, "udpprobe: disk.pcap: Input/output error"),
    ],
)
def test_an_impossible_task_is_one_line_and_status_3(error, status, line, analysis, capfd):
    analysis.error = error
    assert status == main(["analyze", "x"])
    assert line + "\n" == capfd.readouterr().err


def test_ctrl_c_without_a_report_is_130_and_quiet(analysis, capsys):
    analysis.error = KeyboardInterrupt()
    assert main(["analyze", "x"]) == 130
    assert capsys.readouterr() == ("", "")


def test_a_closed_pipe_causes_no_traceback():
    with subprocess.Popen(
        [*UDPPROBE, "explain", "--format", "json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        told = process.stderr.read()
        assert (141, b"") == (process.wait(), told)


def test_a_full_disk_is_one_line_and_status_3():
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        done = subprocess.run([*UDPPROBE, "explain"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (3, "udpprobe: standard output: No space left on device\n")


def test_a_closed_standard_output_is_one_line_and_status_3():
    done = subprocess.run(
        ["/bin/sh", "-c", '"$0" -m udpprobe explain >&-', sys.executable], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (3, "udpprobe: standard output is closed; name a file with -o\n")


# ---- shell completion, Typer's own: of commands, options and their words


def completed(words):
    """What bash is offered for the last of some words."""
    environment = {
        **os.environ,
        "_UDPPROBE_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }
    return subprocess.run(UDPPROBE, env=environment, capture_output=True, text=True, check=False).stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("udpprobe tr", ["trace"]),
        ("udpprobe scan --ret", ["--retries"]),
        ("udpprobe scan --engine r", ["raw", "recverr"]),
        ("udpprobe check --expect not", ["not-refused"]),
    ],
)
def test_words_are_completed(words, offered):
    assert offered == completed(words)


def test_a_shell_gets_a_completion_script_to_install():
    # Typer looks which shell called it; the tests may run under none that it knows
    environment = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = subprocess.run(
        [*UDPPROBE, "--show-completion", "bash"], env=environment, capture_output=True, text=True, check=True
    )
    assert "complete -o default -F _udpprobe_completion udpprobe" in done.stdout
