"""That the two twins of the core are one: that what is compiled runs, and has the signatures of its source."""

import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from signatures import declared, defined

import udpprobe.core
from udpprobe import _twins

CORE = Path(udpprobe.core.__path__[0])
COMPILED = sorted(source.stem for source in CORE.glob("*.py")
                  if source.with_suffix(".pxd").exists() and "import cython" in source.read_text())
CLASSES = set(re.findall(r"^cdef class (\w+)", "".join(pxd.read_text() for pxd in CORE.glob("*.pxd")), re.MULTILINE))


@pytest.mark.parametrize("name", COMPILED)
def test_the_pxd_declares_what_the_source_defines(name):
    ours = defined((CORE / f"{name}.py").read_text(), CLASSES)
    theirs = declared((CORE / f"{name}.pxd").read_text(), CLASSES)
    assert {where: ours.get(where) for where in theirs} == theirs
    assert {where for where in ours if where[0]} <= theirs.keys()


@pytest.mark.parametrize(("declaration", "is_same"), [
    ("cdef inline int f(self, Py_ssize_t at) except -1 nogil", True),
    ("cdef inline int f(self,\n                  Py_ssize_t at) except -1 nogil", True),
    ("cpdef inline int f(self, Py_ssize_t at) except -1 nogil", False),
    ("cdef int f(self, Py_ssize_t at) except -1 nogil", False),
    ("cdef inline long long f(self, Py_ssize_t at) except -1 nogil", False),
    ("cdef inline int f(self, unsigned long long at) except -1 nogil", False),
    ("cdef inline int f(self, Py_ssize_t on) except -1 nogil", False),
    ("cdef inline int f(self, Py_ssize_t at) except? -1 nogil", False),
    ("cdef inline int f(self, Py_ssize_t at) except -2 nogil", False),
    ("cdef inline int f(self, Py_ssize_t at) noexcept nogil", False),
    ("cdef inline int f(self, Py_ssize_t at) except -1", False),
])
def test_each_part_of_a_signature_is_compared(declaration, is_same):
    words = ("cfunc", "inline", "nogil", "exceptval(-1, check=False)")
    decorators = "".join(f"    @cython.{word}\n" for word in words)
    source = f"class A:\n{decorators}    def f(self, at: index) -> cython.int: ..."
    assert is_same == (defined(source, {"A"}) == declared(f"cdef class A:\n    {declaration}\n", {"A"}))


@pytest.mark.parametrize("name", COMPILED)
def test_the_wanted_twin_runs(name):
    if os.environ.get("UDPPROBE_PURE") == "1":
        wanted = ".py"
    elif os.environ.get("UDPPROBE_REQUIRE_COMPILED") == "1" or udpprobe.core.is_compiled():
        wanted = ".so"
    else:
        pytest.skip("nothing was compiled; UDPPROBE_REQUIRE_COMPILED=1 would make this fail")
    assert wanted == Path(import_module(f"udpprobe.core.{name}").__file__).suffix


def test_the_interpreted_twin_needs_no_cython():
    code = ("import sys; from importlib import import_module; import udpprobe.core; sys.modules['cython'] = None; "
            "files = [import_module(f'udpprobe.core.{name}').__file__ for name in sys.argv[1:]]; "
            "print(udpprobe.core.is_compiled(), *{file[-3:] for file in files})")
    done = subprocess.run([sys.executable, "-c", code, *COMPILED], env=os.environ | {"UDPPROBE_PURE": "1"},
                          capture_output=True, text=True, check=True)
    assert "False .py\n" == done.stdout


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A checkout with one compiled module, m."""
    core = tmp_path / "udpprobe" / "core"
    core.mkdir(parents=True)
    for path in (tmp_path / "setup.py", core / "m.py", core / "m.pxd", core / "n.py", core / "n.pxd"):
        path.write_text(path.name)
    monkeypatch.delenv("UDPPROBE_PURE", raising=False)
    (core / "m.so").write_bytes(b"\x7fELF" + _twins.fingerprint(str(core), "m", _twins.common_crc(str(core))))
    return core


@pytest.mark.parametrize("changed", ["m.py", "m.pxd", "n.pxd", "../../setup.py"])
def test_a_compiled_module_does_not_outlive_its_source(tree, changed):
    _twins.refuse_stale(str(tree))
    before = (tree / changed).read_text()
    (tree / changed).write_text(before + " ")
    with pytest.raises(ImportError, match=r"udpprobe\.core\.m .*`make compile`"):
        _twins.refuse_stale(str(tree))
    (tree / changed).write_text(before)
    _twins.refuse_stale(str(tree))


def test_the_source_of_another_module_does_not_matter(tree):
    (tree / "n.py").write_text("other")
    _twins.refuse_stale(str(tree))


def test_a_compiled_module_without_source_or_mark_is_refused(tree):
    (tree / "m.py").unlink()
    with pytest.raises(ImportError):
        _twins.refuse_stale(str(tree))
    (tree / "m.py").write_text("m.py")
    (tree / "m.so").write_bytes(b"\x7fELF")
    with pytest.raises(ImportError):
        _twins.refuse_stale(str(tree))


def test_what_is_installed_is_not_looked_at(tree):
    (tree / "m.py").write_text("other")
    (tree.parent.parent / "setup.py").unlink()
    _twins.refuse_stale(str(tree))


def test_what_does_not_run_may_be_stale(tree, monkeypatch):
    (tree / "m.py").write_text("other")
    monkeypatch.setenv("UDPPROBE_PURE", "1")
    _twins.refuse_stale(str(tree))
