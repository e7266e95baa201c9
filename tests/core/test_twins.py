"""That the two twins of the core are one: that what is compiled runs, and has the signatures of its source."""

import ast
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import udpprobe.core
from udpprobe import _twins

CORE = Path(udpprobe.core.__path__[0])
COMPILED = sorted(source.stem for source in CORE.glob("*.py")
                  if source.with_suffix(".pxd").exists() and "import cython" in source.read_text())
C_TYPES = {
    "index": "Py_ssize_t", "u8": "unsigned char", "u16": "unsigned short", "u32": "unsigned int",
    "u64": "unsigned long long", "i64": "long long",
    "cython.Py_ssize_t": "Py_ssize_t", "cython.uchar": "unsigned char", "cython.ushort": "unsigned short",
    "cython.uint": "unsigned int", "cython.ulonglong": "unsigned long long", "cython.longlong": "long long",
    "cython.int": "int", "cython.bint": "bint", "cython.void": "void", "None": "void",
    "views.u8s": "unsigned char[::1]", "views.const_u8s": "unsigned char[::1]", "views.i64s": "long long[::1]",
    "views.u64s": "unsigned long long[::1]",
}
A_PXD_LINE = re.compile(r"""(?P<indent>\s*)(?P<kind>cdef|cpdef)\s(?P<inline>inline\s)?(?P<type>[\w .\[\]:]+?)\s(?P<name>\w+)
    \((?P<parameters>.*?)\)\s*(?P<rule>except\??\s*[\w-]+|noexcept)?\s*(?P<nogil>nogil)?$""", re.VERBOSE)


def c_type(words):
    words = words.strip().removeprefix("const ").removesuffix(" | None")
    view = words.removesuffix("[::1]")
    return C_TYPES.get(words) or C_TYPES.get(view, view) + words[len(view):]


def exception(value, check):
    return "noexcept" if value is None else ("except? " if check else "except ") + str(value)


def declared(pxd):
    """{(class or '', name): how the .pxd declares it}."""
    found, within = {}, ""
    for line in re.sub(r",\n\s+", ", ", pxd.read_text()).splitlines():
        if start := re.match(r"cdef class (\w+)", line):
            within = start[1]
        elif function := A_PXD_LINE.match(line):
            rule = function["rule"]
            if rule and " " in rule:
                rule = " ".join((rule.split()[0], str(int(rule.split()[1], 0))))
            pairs = [words.rpartition(" ") for words in function["parameters"].split(", ") if words not in ("self", "")]
            found[within if function["indent"] else "", function["name"]] = (
                function["kind"], bool(function["inline"]), c_type(function["type"]),
                [(c_type(words) or "object", name) for words, _, name in pairs], rule, bool(function["nogil"]))
    return found


def defined(source):
    """The same of the C functions in the .py."""
    tree = ast.parse(source.read_text())
    bodies = [("", tree)] + [(node.name, node) for node in tree.body if isinstance(node, ast.ClassDef)]
    for within, parent in bodies:
        for node in parent.body:
            if isinstance(node, ast.FunctionDef):
                decorators = {ast.unparse(each).split("(")[0].removeprefix("cython."): each for each in node.decorator_list}
                if decorators.keys() & {"cfunc", "ccall"}:
                    yield (within, node.name), (
                        "cpdef" if "ccall" in decorators else "cdef", "inline" in decorators, c_type(ast.unparse(node.returns)),
                        [(c_type(ast.unparse(each.annotation)), each.arg) for each in node.args.args if each.arg != "self"],
                        rule_of(decorators.get("exceptval")), "nogil" in decorators)


def rule_of(decorator):
    if decorator is None:
        return None
    (check,) = [ast.literal_eval(word.value) for word in decorator.keywords]
    return exception(ast.literal_eval(decorator.args[0]) if decorator.args else None, check)


def same(in_source, in_pxd):
    """Python's own types count as objects."""
    if in_pxd == "object":
        return in_source not in C_TYPES.values()
    return in_source.split("[")[0] == in_pxd if in_pxd in ("bytes", "dict", "list", "set", "tuple") else in_source == in_pxd


@pytest.mark.parametrize("name", COMPILED)
def test_the_pxd_declares_what_the_source_defines(name):
    source = CORE / f"{name}.py"
    in_source, in_pxd = dict(defined(source)), declared(source.with_suffix(".pxd"))
    for where, (kind, inline, result, parameters, rule, nogil) in in_pxd.items():
        assert where in in_source, where
        other = in_source[where]
        assert (kind, inline, rule, nogil) == (other[0], other[1], other[4], other[5]), where
        assert [each for _, each in parameters] == [each for _, each in other[3]], where
        for mine, (theirs, _) in zip((other[2], *(words for words, _ in other[3])), ((result, ""), *parameters), strict=True):
            assert same(mine, theirs), (where, mine, theirs)
    assert {where for where in in_source if where[0]} <= in_pxd.keys()


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
    code = ("import sys; sys.modules['cython'] = None; from importlib import import_module; import udpprobe.core; "
            "print(udpprobe.core.is_compiled(), *{import_module(f'udpprobe.core.{name}').__file__[-3:] for name in sys.argv[1:]})")
    done = subprocess.run([sys.executable, "-c", code, *COMPILED], env=os.environ | {"UDPPROBE_PURE": "1"},
                          capture_output=True, text=True, check=True)
    assert "False .py\n" == done.stdout


@pytest.fixture
def tree(tmp_path):
    """A checkout with one compiled module, m."""
    core = tmp_path / "udpprobe" / "core"
    core.mkdir(parents=True)
    for path in (tmp_path / "setup.py", core / "m.py", core / "m.pxd", core / "n.py", core / "n.pxd"):
        path.write_text(path.name)
    (core / "m.so").write_bytes(b"\x7fELF" + _twins.fingerprint(str(core), "m"))
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
