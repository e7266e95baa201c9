"""Compiles the core: every `udpprobe/core/*.py` that imports Cython and has a `.pxd` beside it.

Without a C compiler or Python's headers the install goes on, and the whole core is interpreted: compiled modules look
for their like. UDPPROBE_REQUIRE_COMPILED=1 makes that an error. What Cython finds wrong in the sources always is one.
"""

import os
import runpy
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten
from types import SimpleNamespace

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.errors import CCompilerError, ExecError, PlatformError

CORE = Path("udpprobe/core")
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": True,  # hostile bytes must not reach memory
    "wraparound": False,
    "cdivision": True,
    "initializedcheck": False,
}
UNHEEDED = ("Use boundscheck(False)", "Index should be typed")  # meant so; outside of what runs for each packet
SHARED = "udpprobe.core._cython"  # what each module would hold else: 10,000 lines of C, 7 s of compiling
TWINS = SimpleNamespace(**runpy.run_path("udpprobe/_twins.py"))


def extensions():
    """What is compiled. The first one has no source: Cython writes it. Who sets CFLAGS chooses the options.

    The C compiler's warnings are off (-w): they are about C that Cython wrote, whose own warnings are errors here.
    """
    options = [] if "CFLAGS" in os.environ else ["-O3", "-g0", "-w"]
    sources = [
        source
        for source in sorted(CORE.glob("*.py"))
        if source.with_suffix(".pxd").exists() and "import cython" in source.read_text()
    ]
    for source in (CORE / "_cython.c", *sources):
        yield Extension(".".join(source.with_suffix("").parts), [str(source)], extra_compile_args=options)


def fingerprint(extension):
    """What a compiled module carries of its source."""
    return TWINS.fingerprint(CORE, extension.name.rpartition(".")[2], TWINS.common_crc(CORE))


def translate(wanted):
    """Have Cython write build/udpprobe/core/*.c, and heed its hints about speed.

    They are about calls that take the GIL to look for an exception, which costs twenty times the call.
    """
    from Cython.Build import cythonize
    from Cython.Compiler import Options

    Options.warning_errors = True
    with caught_stderr() as lines:
        translated = cythonize(
            wanted,
            compiler_directives=DIRECTIVES,
            shared_utility_qualified_name=SHARED,
            build_dir="build",
            force=True,
            quiet=True,
            nthreads=os.cpu_count(),
        )
    if any(line.startswith("performance hint:") for line in lines):
        sys.exit("error: the performance hints above say what has to be changed")
    for extension, written in zip(wanted, translated, strict=True):
        extension.sources = written.sources


@contextmanager
def caught_stderr():
    """Give the lines that this process and its children wrote there, and print them."""
    lines = []
    kept = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield lines
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            said = file.read().decode().splitlines()
            lines += [line for line in said if not any(hint in line for hint in UNHEEDED)]
            print(*lines, sep="\n", end="\n" * bool(lines), file=sys.stderr)


class Compile(build_ext):
    """Compiles all that isn't current, or nothing."""

    def finalize_options(self):
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()
        self.force = True  # content decides what is current, not time

    def run(self):
        is_inplace = self.inplace  # which setuptools changes meanwhile
        if is_inplace:
            self.remove({extension.name for extension in self.extensions})
        if is_inplace and not self.editable_mode:
            self.extensions = [extension for extension in self.extensions if not self.is_current(extension)]
        if not self.extensions:
            return
        try:
            super().run()
        except (ImportError, CCompilerError, ExecError, PlatformError) as reason:
            if os.environ.get("UDPPROBE_REQUIRE_COMPILED") == "1":
                raise
            reason = shorten(str(reason), 80)
            print(f"warning: udpprobe's core stays interpreted, which is slow: {reason}", file=sys.stderr)
            self.extensions = self.distribution.ext_modules = []
            if is_inplace:
                self.remove()

    def build_extensions(self):
        probe = Path(self.build_temp, "probe.c")  # a compiler and headers?
        probe.parent.mkdir(parents=True, exist_ok=True)
        probe.write_text("#include <Python.h>\n")
        self.compiler.compile([str(probe)], output_dir=self.build_temp)  # else beside the sources
        self.fingerprints = {extension.name: fingerprint(extension) for extension in self.extensions}
        translate(self.extensions)  # whoever edits a source now will be asked to compile again
        super().build_extensions()

    def build_extension(self, ext):
        super().build_extension(ext)
        with Path(self.get_ext_fullpath(ext.name)).open("ab") as compiled:
            compiled.write(self.fingerprints[ext.name])

    def is_current(self, extension):
        compiled = Path(self.get_ext_filename(extension.name))
        return compiled.exists() and TWINS.carried(compiled) == fingerprint(extension)

    def remove(self, kept=()):
        """Remove compiled modules, but not those named, from the sources."""
        for compiled in CORE.glob("*.so"):
            if f"udpprobe.core.{compiled.name.partition('.')[0]}" not in kept:
                compiled.unlink()

    def get_source_files(self):
        return []  # MANIFEST.in has them


class Wheel(bdist_wheel):
    """A wheel that says for which Python it is, or for any where nothing was compiled."""

    def run(self):
        self.run_command("build")
        self.root_is_pure = not self.distribution.has_ext_modules()
        super().run()


setup(ext_modules=[*extensions()], cmdclass={"build_ext": Compile, "bdist_wheel": Wheel})
