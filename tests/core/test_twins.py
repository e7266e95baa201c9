"""That the two twins of the core are one: that what is compiled runs, and has the signatures of its source."""

import ast
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import pytest

import udpprobe.core
from udpprobe import _twins
from udpprobe.core import headers

C_TYPES = {
    "index": "Py_ssize_t",
    "u8": "unsigned char",
    "u16": "unsigned short",
    "u32": "unsigned int",
    "u64": "unsigned long long",
    "i64": "long long",
    "cython.Py_ssize_t": "Py_ssize_t",
    "cython.uchar": "unsigned char",
    "cython.ushort": "unsigned short",
    "cython.uint": "unsigned int",
    "cython.ulonglong": "unsigned long long",
    "cython.longlong": "long long",
    "cython.int": "int",
    "cython.bint": "bint",
    "cython.void": "void",
    "views.u8s": "unsigned char[::1]",
    "views.const_u8s": "unsigned char[::1]",
    "views.i64s": "long long[::1]",
    "views.u32s": "unsigned int[::1]",
    "views.u64s": "unsigned long long[::1]",
}
PYTHON_TYPES = {"bytes", "dict", "list", "set", "tuple"}
IN_A_PXD = re.compile(
    r"(?P<indent>\s*)(?P<kind>cdef|cpdef) (?P<inline>inline )?(?P<result>[\w .\[\]:]+?) (?P<name>\w+)"
    r"\((?P<parameters>.*?)\)( (?P<rule>except\??|noexcept)( (?P<value>-?\d\w*))?)?( (?P<nogil>nogil))?$",
)


class Signature(NamedTuple):
    """Of a C function. Whatever is no C type counts as `object`."""

    kind: str
    is_inline: bool
    result: str
    parameters: list[tuple[str, str]]
    exception: tuple[str, int | None] | None
    is_nogil: bool


def declared(pxd, classes):
    """{(class or "", name): signature} of the text of a .pxd."""
    found, within = {}, ""
    for line in re.sub(r",\n\s+", ", ", pxd).splitlines():
        if start := re.match(r"cdef class (\w+)", line):
            within = start[1]
        elif match := IN_A_PXD.match(line):
            pairs = [pair.rpartition(" ") for pair in match["parameters"].split(", ") if pair not in ("self", "")]
            found[within if match["indent"] else "", match["name"]] = Signature(
                match["kind"],
                bool(match["inline"]),
                _type(match["result"], classes),
                [(_type(words, classes), name) for words, _, name in pairs],
                match["rule"] and (match["rule"], match["value"] and int(match["value"], 0)),
                bool(match["nogil"]),
            )
    return found


def defined(source, classes):
    """The same of the text of a .py."""
    tree = ast.parse(source)
    within = [("", tree), *((node.name, node) for node in tree.body if isinstance(node, ast.ClassDef))]
    return {
        (name, node.name): signature
        for name, parent in within
        for node in parent.body
        if isinstance(node, ast.FunctionDef) and (signature := _signature(node, classes))
    }


def _signature(node, classes):
    decorators = {ast.unparse(each).partition("(")[0].removeprefix("cython."): each for each in node.decorator_list}
    kind = {"cfunc": "cdef", "ccall": "cpdef"}.get(next(iter(decorators), None))
    return kind and Signature(
        kind,
        "inline" in decorators,
        _type(ast.unparse(node.returns), classes),
        [(_type(ast.unparse(each.annotation), classes), each.arg) for each in node.args.args if each.arg != "self"],
        _exception(decorators.get("exceptval")),
        "nogil" in decorators,
    )


def _exception(decorator):
    if decorator is None:
        return None
    value = ast.literal_eval(decorator.args[0]) if decorator.args else None
    (check,) = [ast.literal_eval(word.value) for word in decorator.keywords]
    return "noexcept" if value is None else "except?" if check else "except", value


def _type(words, classes):
    words = words.removeprefix("const ").removesuffix(" | None")  # None is an object of each class
    name = words.removesuffix("[::1]")
    name = C_TYPES.get(name, name)
    is_known = name.removesuffix("[::1]") in C_TYPES.values() or name in classes
    return name + words[len(words.removesuffix("[::1]")) :] if is_known else _python_type(name)


def _python_type(name):
    name = name.partition("[")[0]
    return name if name in PYTHON_TYPES else "object"


CORE = Path(udpprobe.core.__path__[0])
COMPILED = sorted(
    source.stem
    for source in CORE.glob("*.py")
    if source.with_suffix(".pxd").exists() and "import cython" in source.read_text()
)
CLASSES = set(re.findall(r"^cdef class (\w+)", "".join(pxd.read_text() for pxd in CORE.glob("*.pxd")), re.MULTILINE))


@pytest.mark.parametrize("name", COMPILED)
def test_the_pxd_declares_what_the_source_defines(name):
    ours = defined((CORE / f"{name}.py").read_text(), CLASSES)
    theirs = declared((CORE / f"{name}.pxd").read_text(), CLASSES)
    assert {where: ours.get(where) for where in theirs} == theirs
    assert {where for where in ours if where[0]} <= theirs.keys()


@pytest.mark.parametrize(
    ("declaration", "is_same"),
    [
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
    ],
)
def test_each_part_of_a_signature_is_compared(declaration, is_same):
    words = ("cfunc", "inline", "nogil", "exceptval(-1, check=False)")
    decorators = "".join(f"    @cython.{word}\n" for word in words)
    source = f"class A:\n{decorators}    def f(self, at: index) -> cython.int: ..."
    assert is_same == (defined(source, {"A"}) == declared(f"cdef class A:\n    {declaration}\n", {"A"}))


@pytest.mark.parametrize("name", COMPILED)
def test_the_selected_twin_runs(name):
    if os.environ.get("UDPPROBE_PURE") == "1":
        wanted = ".py"
    elif os.environ.get("UDPPROBE_REQUIRE_COMPILED") == "1" or udpprobe.core.is_compiled():
        wanted = ".so"
    else:
        pytest.skip("nothing was compiled; UDPPROBE_REQUIRE_COMPILED=1 would make this fail")
    assert wanted == Path(import_module(f"udpprobe.core.{name}").__file__).suffix


@pytest.mark.parametrize("module", ["headers", "encapsulation", "decode"])
def test_each_copy_of_a_fault_number_matches_its_name(module):
    """Each compiled module has its own copies: constants do not go over a module's border."""
    source = (CORE / f"{module}.py").read_text()
    copies = {
        name.lower().replace("_", "-"): int(number)
        for name, number in re.findall(
            r"^_(\w+) = cython\.declare\(cython\.const\[cython\.int\], (\d+)\)", source, re.MULTILINE
        )
    }
    expected = {name: number for number, name in enumerate(headers.FAULTS)} | {"short": len(headers.NAMES)}
    assert copies.keys() & expected.keys()
    assert {name: expected[name] for name in copies if name in expected} == {
        name: number for name, number in copies.items() if name in expected
    }
    assert not [
        name for name in copies if name.startswith(("cut-", "bad-", "unread-", "encrypted-")) and name not in expected
    ]


@pytest.mark.parametrize("module", ["analyzer", "findings"])
def test_each_copied_column_number_equals_that_of_flows(module):
    number = r" = cython\.declare\(cython\.const\[index\], (\d+)\)"
    copies = dict(re.findall(rf"^_CONVERSATION_(\w+){number}", (CORE / f"{module}.py").read_text(), re.MULTILINE))
    numbers = dict(re.findall(rf"^(\w+){number}", (CORE / "flows.py").read_text(), re.MULTILINE))
    assert copies
    assert {name: numbers[name] for name in copies} == copies


@pytest.mark.parametrize("name", ["LINK", "ETHER", "IP", "PPP", "RAW_IP", "LLC", "MPLS", "OTHER"])
def test_both_walkers_use_the_same_header_numbers(name):
    walks, rare = (
        re.search(rf"^_?{name} = cython\.declare\([^,]*, (.*?)\)(?:\s|$)", (CORE / file).read_text(), re.MULTILINE)
        for file in ("headers.py", "encapsulation.py")
    )
    assert walks[1] == rare[1]


def test_the_interpreted_twin_needs_no_cython():
    code = (
        "import sys; from importlib import import_module; import udpprobe.core; sys.modules['cython'] = None; "
        "files = [import_module(f'udpprobe.core.{name}').__file__ for name in sys.argv[1:]]; "
        "print(udpprobe.core.is_compiled(), *{file[-3:] for file in files})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *COMPILED],
        env=os.environ | {"UDPPROBE_PURE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
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
def test_a_compiled_module_with_a_changed_source_is_refused(tree, changed):
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


def test_installed_packages_are_not_checked(tree):
    (tree / "m.py").write_text("other")
    (tree.parent.parent / "setup.py").unlink()
    _twins.refuse_stale(str(tree))


def test_unused_compiled_modules_may_be_stale(tree, monkeypatch):
    (tree / "m.py").write_text("other")
    monkeypatch.setenv("UDPPROBE_PURE", "1")
    _twins.refuse_stale(str(tree))
