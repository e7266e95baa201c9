"""setup.py on a core of one module: what it makes without a compiler, and what it refuses."""

import os
import shutil
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from zipfile import ZipFile

import pytest

pytest.importorskip("Cython")
pytest.importorskip("setuptools.command.bdist_wheel")
ROOT = Path(__file__).parent.parent
NO_COMPILER = {"CC": "false", "UDPPROBE_REQUIRE_COMPILED": ""}
SOURCE = """
import cython

@cython.cfunc
@cython.nogil
def first() -> cython.void:
    pass

@cython.cfunc
@cython.nogil
@cython.exceptval(-1, check=False)
def second() -> cython.int:
    first()
    return 0
"""
pytestmark = pytest.mark.slow


@pytest.fixture
def tree(tmp_path):
    for name in (
        "setup.py",
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "udpprobe/__init__.py",
        "udpprobe/_twins.py",
        "udpprobe/core/siphash.py",
        "udpprobe/core/siphash.pxd",
        "docs/man/udpprobe.1",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "udpprobe" / "core" / "__init__.py").touch()
    return tmp_path


def build(tree, *words, **environment):
    return subprocess.run(
        [sys.executable, "setup.py", "--quiet", *words],
        cwd=tree,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_a_compiler_the_wheel_is_for_every_python(tree):
    done = build(tree, "bdist_wheel", **NO_COMPILER)
    assert 0 == done.returncode, done.stderr
    (warning,) = [line for line in done.stderr.splitlines() if line.startswith("warning: udpprobe")]
    assert "stays interpreted" in warning
    (wheel,) = (tree / "dist").iterdir()
    assert wheel.name.endswith("-py3-none-any.whl")
    assert any(name.endswith(".data/data/share/man/man1/udpprobe.1") for name in ZipFile(wheel).namelist())
    assert not [*tree.rglob("*.so")]


def test_a_missing_compiler_can_be_made_an_error(tree):
    assert build(tree, "build_ext", **NO_COMPILER | {"UDPPROBE_REQUIRE_COMPILED": "1"}).returncode


def test_a_compiled_module_that_cannot_be_rebuilt_is_removed(tree):
    stale = tree / "udpprobe" / "core" / f"siphash{EXTENSION_SUFFIXES[0]}"
    stale.write_bytes(b"\x7fELF, from another source")
    done = build(tree, "build_ext", "--inplace", **NO_COMPILER)
    assert 0 == done.returncode, done.stderr
    assert not stale.exists()


def test_a_call_that_would_take_the_gil_is_an_error(tree):
    (tree / "udpprobe" / "core" / "slow.pxd").touch()
    (tree / "udpprobe" / "core" / "slow.py").write_text(SOURCE)
    done = build(tree, "build_ext", CC="true")
    assert 1 == done.returncode
    assert "slow.py:4:0: Exception check on 'first' will always require the GIL" in done.stderr
    assert "boundscheck" not in done.stderr
