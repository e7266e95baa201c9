import os
import stat
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from udpprobe.cli import output
from udpprobe.errors import UdpprobeError, UsageError
from udpprobe.reports import OutputFormat


def _write(path, text="new", *, stream=False):
    with output.opened(str(path), stream=stream) as out:
        out.write(text)


def test_a_report_replaces_the_old_one_and_keeps_its_mode(tmp_path):
    path = tmp_path / "report"
    path.write_text("old")
    path.chmod(0o640)
    _write(path)
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [path] == list(tmp_path.iterdir())


def test_a_report_that_fails_leaves_the_old_one(tmp_path):
    path = tmp_path / "report"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), output.opened(str(path), stream=False) as out:  # noqa: PT012 - two
        out.write("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert [path] == list(tmp_path.iterdir())


def test_a_stream_is_visible_while_it_grows(tmp_path):
    path = tmp_path / "events"
    with output.opened(str(path), stream=True) as out:
        out.write("line\n")
        out.flush()
        assert path.read_text() == "line\n"


@pytest.mark.parametrize("was", ["old", None])
def test_the_target_of_a_link_is_written_in_place(tmp_path, was):
    (tmp_path / "link").symlink_to(tmp_path / "target")
    if was:
        (tmp_path / "target").write_text(was)
        (tmp_path / "same").hardlink_to(tmp_path / "target")
    _write(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert {"new"} == {each.read_text() for each in tmp_path.iterdir()}


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_a_new_report_has_the_mode_of_any_new_file(tmp_path, umask):
    before = os.umask(umask)
    try:
        _write(tmp_path / "report")
        assert umask == os.umask(umask)
    finally:
        os.umask(before)
    assert 0o666 & ~umask == stat.S_IMODE((tmp_path / "report").stat().st_mode)


def test_the_temporary_name_of_a_report_is_unpredictable(tmp_path, monkeypatch):
    (tmp_path / "victim").write_text("precious")
    names = iter(["planted", "free"])
    monkeypatch.setattr(tempfile, "_get_candidate_names", lambda: names)
    (tmp_path / ".udpprobe-planted").symlink_to(tmp_path / "victim")
    _write(tmp_path / "report")
    assert ("precious", "new") == ((tmp_path / "victim").read_text(), (tmp_path / "report").read_text())


def test_a_temporary_file_is_private_until_it_is_renamed(tmp_path):
    path = tmp_path / "report"
    path.write_text("old")
    path.chmod(0o600)
    with output.opened(str(path), stream=False) as out:
        out.write("secret")
        (draft,) = set(tmp_path.iterdir()) - {path}
        assert 0o600 == stat.S_IMODE(draft.stat().st_mode)


def test_a_report_is_synced_to_disk_before_it_is_renamed(tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: done.append(os.fstat(descriptor).st_size))
    monkeypatch.setattr(Path, "replace", lambda *_: done.append("renamed"))
    _write(tmp_path / "report")
    assert [3, "renamed"] == done


def test_a_queue_is_written_in_place(tmp_path):
    queue = tmp_path / "queue"
    os.mkfifo(queue)
    with ThreadPoolExecutor(1) as reader:
        read = reader.submit(queue.read_text)
        _write(queue)
        assert "new" == read.result(10)
    assert stat.S_ISFIFO(queue.stat().st_mode)


def test_a_device_is_written_and_not_replaced():
    _write("/dev/null")
    assert not Path("/dev/null").is_file()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", ["missing/report", "."])
def test_an_unwritable_file_is_reported_before_the_work(tmp_path, name, stream):
    with pytest.raises(UdpprobeError, match=r"cannot write .*: (No such file|Is a directory)") as caught:
        _write(tmp_path / name, stream=stream)
    assert caught.value.exit_status == 3


def test_standard_output_is_the_default(capsys):
    with output.opened(None, stream=False) as out:
        out.write("told")
    assert capsys.readouterr().out == "told"


def test_characters_outside_the_locale_are_escaped(monkeypatch, tmp_path):
    with (tmp_path / "narrow").open("w", encoding="ascii") as narrow:
        monkeypatch.setattr(sys, "stdout", narrow)
        with output.opened(None, stream=False) as out:
            out.write("größe")
    assert (tmp_path / "narrow").read_bytes() == rb"gr\xf6\xdfe"


def test_the_capture_is_never_overwritten(tmp_path):
    capture = tmp_path / "a.pcap"
    capture.write_bytes(b"x")
    (tmp_path / "b.pcap").symlink_to(capture)
    with pytest.raises(UsageError, match="would overwrite the capture itself"):
        output.guard_inputs(str(capture), ["-", str(tmp_path / "b.pcap")])
    output.guard_inputs(str(tmp_path / "report"), [str(capture)])
    output.guard_inputs(None, [str(capture)])


@pytest.mark.parametrize(("columns", "width"), [("132", 132), ("40", 80)])
def test_a_terminal_may_be_wider_than_80(monkeypatch, columns, width):
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert width == output.width_of(sys.stdout)


def test_a_pipe_is_80_wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "132")
    assert output.width_of(sys.stdout) == 80


@pytest.mark.parametrize("name", ["-", None])
@pytest.mark.parametrize("write", ["/dev/stdout", "-"])
def test_report_and_capture_do_not_both_go_to_standard_output(name, write):
    with pytest.raises(UsageError, match="cannot both go to standard output"):
        output.guard_outputs(name, write)


def test_report_and_capture_do_not_both_go_to_one_file(tmp_path):
    (tmp_path / "link").symlink_to("new")
    for name in ("new", "link"):
        with pytest.raises(UsageError, match=r"cannot both go to .*new"):
            output.guard_outputs(str(tmp_path / name), str(tmp_path / "new"))
    output.guard_outputs(str(tmp_path / "new"), str(tmp_path / "other"))
    output.guard_outputs(None, str(tmp_path / "new"))
    output.guard_outputs(None, None)


def test_a_device_may_be_read_and_written():
    output.guard_inputs("/dev/null", ["/dev/null"])


@pytest.mark.parametrize(
    ("output_format", "expected"),
    [
        (OutputFormat.TABLE, ["reports.x", "tabulate"]),
        (OutputFormat.MARKDOWN, ["reports.x", "tabulate"]),
        (OutputFormat.JSON, ["reports.x"]),
        (OutputFormat.NDJSON, ["reports.x"]),
    ],
)
def test_the_report_writer_is_loaded_while_nobody_waits_for_it(output_format, expected, monkeypatch):
    loaded, may_begin = [], threading.Event()
    monkeypatch.setattr(output, "import_module", lambda name: may_begin.wait(10) and loaded.append(name))
    output.load_ahead("reports.x", output_format)
    assert [] == loaded
    (loading,) = (each for each in threading.enumerate() if each.name == "load")
    may_begin.set()
    loading.join(10)
    assert expected == loaded
