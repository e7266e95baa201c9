"""The lab's words: what it refuses, what it lists and shows, which shell it would start."""

import json
import os
from pathlib import Path

import pytest

from udpprobe.cli import main
from udpprobe.cli.lab import shell_in
from udpprobe.lab.scenario import names


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lab", "loop-3", "--", "true"], "loop-3 is a scenario, not a program: udpprobe lab -s loop-3 -- COMMAND"),
        (["lab"], "give one of -- COMMAND, --shell and --up"),
        (["lab", "--shell", "--", "true"], "give one of"),
        (["lab", "--up", "plain", "--shell"], "give one of"),
        (["lab", "-s", "nonsense", "--", "true"], "there is no scenario 'nonsense': there are "),
        (["lab", "--show", "nonsense"], "there is no scenario 'nonsense'"),
        (["lab", "-w", "-", "--", "true"], "standard output belongs to the command; name a file with --write"),
        (["lab", "--seed", "x", "--", "true"], "--seed 'x': give a whole number"),
    ],
)
def test_usage_errors_are_one_line_and_status_2(words, said, capsys):
    assert 2 == main(words)
    told = capsys.readouterr()
    assert "" == told.out
    assert said in told.err
    assert 1 == told.err.count("\n")


def test_a_mistake_in_a_scenario_is_reported_with_its_line(tmp_path, capsys):
    page = tmp_path / "mine.toml"
    page.write_text('conclude = "x"\nnodes = 7\nlinks = {}\n')
    assert 2 == main(["lab", "-s", str(page), "--", "true"])
    assert f"{page}:2: nodes: " in capsys.readouterr().err


def test_a_missing_file_is_status_3(capsys):
    assert 3 == main(["lab", "-s", "./nowhere.toml", "--", "true"])
    assert "udpprobe: cannot read ./nowhere.toml: No such file or directory\n" == capsys.readouterr().err


def test_the_list_has_every_scenario_and_its_conclusion(capsys):
    assert 0 == main(["lab", "--list", "--format", "json"])
    told = json.loads(capsys.readouterr().out)
    assert "udpprobe.scenarios/1" == told["schema"]
    assert names() == [row["name"] for row in told["scenarios"]]
    assert all(row["conclude"] for row in told["scenarios"])


def test_a_scenario_is_shown_as_written(tmp_path, capsys):
    assert 0 == main(["lab", "--show", "plain"])
    copy = tmp_path / "copy.toml"
    copy.write_text(capsys.readouterr().out)
    assert 0 == main(["lab", "--show", str(copy)])
    assert copy.read_text() == capsys.readouterr().out


def test_the_prompt_overrides_the_settings_of_bash():
    words, _ = shell_in("home-nat", {"SHELL": "/bin/bash"})
    assert ["/bin/bash", "--rcfile"] == words[:2]
    settings = Path(words[2]).read_text()
    os.close(int(Path(words[2]).name))
    assert settings.endswith('\nPS1="(lab home-nat) $PS1"\n')


def test_another_shell_gets_its_prompt_from_the_environment():
    assert (["/bin/sh"], {"PS1": "(lab plain) $ "}) == shell_in("plain", {})


def test_a_file_name_cannot_run_commands_in_the_prompt():
    _, environment = shell_in("$(reboot)`x`", {"SHELL": "/bin/dash"})
    assert "(lab __reboot__x_) $ " == environment["PS1"]
