"""Shell completion, Typer's own: of commands, options and their words."""

import os
import subprocess
import sys

import pytest

UDPPROBE = [sys.executable, "-m", "udpprobe"]


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


def test_a_shell_gets_a_script_to_keep():
    # Typer looks which shell called it; the tests may run under none that it knows
    environment = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = subprocess.run(
        [*UDPPROBE, "--show-completion", "bash"], env=environment, capture_output=True, text=True, check=True
    )
    assert "complete -o default -F _udpprobe_completion udpprobe" in done.stdout
