"""The C functions of a compiled module: as its .py defines them, and as its .pxd declares them."""

import ast
import re
from typing import NamedTuple

C_TYPES = {
    "index": "Py_ssize_t", "u8": "unsigned char", "u16": "unsigned short", "u32": "unsigned int",
    "u64": "unsigned long long", "i64": "long long",
    "cython.Py_ssize_t": "Py_ssize_t", "cython.uchar": "unsigned char", "cython.ushort": "unsigned short",
    "cython.uint": "unsigned int", "cython.ulonglong": "unsigned long long", "cython.longlong": "long long",
    "cython.int": "int", "cython.bint": "bint", "cython.void": "void",
    "views.u8s": "unsigned char[::1]", "views.const_u8s": "unsigned char[::1]", "views.i64s": "long long[::1]",
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
                match["kind"], bool(match["inline"]), _type(match["result"], classes),
                [(_type(words, classes), name) for words, _, name in pairs],
                match["rule"] and (match["rule"], match["value"] and int(match["value"], 0)), bool(match["nogil"]))
    return found


def defined(source, classes):
    """The same of the text of a .py."""
    tree = ast.parse(source)
    within = [("", tree), *((node.name, node) for node in tree.body if isinstance(node, ast.ClassDef))]
    return {(name, node.name): signature for name, parent in within for node in parent.body
            if isinstance(node, ast.FunctionDef) and (signature := _signature(node, classes))}


def _signature(node, classes):
    decorators = {ast.unparse(each).partition("(")[0].removeprefix("cython."): each for each in node.decorator_list}
    kind = {"cfunc": "cdef", "ccall": "cpdef"}.get(next(iter(decorators), None))
    return kind and Signature(
        kind, "inline" in decorators, _type(ast.unparse(node.returns), classes),
        [(_type(ast.unparse(each.annotation), classes), each.arg) for each in node.args.args if each.arg != "self"],
        _exception(decorators.get("exceptval")), "nogil" in decorators)


def _exception(decorator):
    if decorator is None:
        return None
    value = ast.literal_eval(decorator.args[0]) if decorator.args else None
    (check,) = [ast.literal_eval(word.value) for word in decorator.keywords]
    return "noexcept" if value is None else "except?" if check else "except", value


def _type(words, classes):
    words = words.removeprefix("const ")
    if words.removesuffix(" | None") in classes:     # to C, None is of any class
        return words.removesuffix(" | None")
    name = words.removesuffix("[::1]")
    name = C_TYPES.get(name, name)
    is_known = name.removesuffix("[::1]") in C_TYPES.values() or name in classes
    return name + words[len(words.removesuffix("[::1]")):] if is_known else _python_type(name)


def _python_type(name):
    name = name.partition("[")[0]
    return name if name in PYTHON_TYPES else "object"
