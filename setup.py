"""Compiles the core: every `udpprobe/core/*.py` that has a `.pxd` beside it.

Without a C compiler or Python's headers the install goes on, and the core is interpreted: all of it, as compiled
modules look for their like. UDPPROBE_REQUIRE_COMPILED=1 makes that an error. An error in the sources always is one.
"""

import os
import runpy
import sys
import tempfile
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.errors import CCompilerError, ExecError, PlatformError

CORE = Path("udpprobe/core")
SOURCES = [source for pxd in sorted(CORE.glob("*.pxd")) if (source := pxd.with_suffix(".py")).exists()]
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": True,             # hostile bytes must not reach memory
    "wraparound": False,
    "cdivision": True,
    "initializedcheck": False,
}
MEANT = "Use boundscheck(False)"     # the one hint that isn't heeded
TWINS = runpy.run_path("udpprobe/_twins.py")


def extension(source: Path) -> Extension:
    """A module of the core as setuptools takes it."""
    return Extension(".".join(source.with_suffix("").parts), [str(source)], extra_compile_args=["-O3"])


def translate(extensions: list[Extension]) -> None:
    """Turn the .py of each extension into C, in build/. A performance hint is an error.

    They tell of calls that take the GIL to look for an exception, which cost twenty times the call.
    """
    from Cython.Build import cythonize  # noqa: PLC0415 - a build of nothing needs no Cython
    from Cython.Compiler import Options  # noqa: PLC0415

    Options.warning_errors = True
    with tempfile.TemporaryFile() as said:
        stderr = os.dup(2)
        os.dup2(said.fileno(), 2)    # Cython's own processes write there too
        try:
            translated = cythonize(extensions, nthreads=os.cpu_count(), force=True, quiet=True, build_dir="build",
                                   compiler_directives=DIRECTIVES)
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            said.seek(0)
            words = said.read().decode().splitlines(keepends=True)
            sys.stderr.writelines(line for line in words if MEANT not in line)
    if any(line.startswith("performance hint:") and MEANT not in line for line in words):
        sys.exit("error: a hint of Cython's about speed, see above, has to be followed")
    for extension, c in zip(extensions, translated, strict=True):
        extension.sources = c.sources


class BuildCore(build_ext):
    """Compiles what has to be compiled, all of it or nothing."""

    def finalize_options(self) -> None:
        super().finalize_options()
        if self.parallel is None:
            self.parallel = os.cpu_count()

    def run(self) -> None:
        if self.inplace and not self.editable_mode:
            self.extensions = [each for each in self.extensions if not self.is_current(each)]
        if not self.extensions:
            return
        self.force = True            # what is current was decided by content, not by time
        try:
            translate(self.extensions)
            super().run()
        except (ImportError, CCompilerError, ExecError, PlatformError) as reason:
            if os.environ.get("UDPPROBE_REQUIRE_COMPILED") == "1":
                raise
            print(f"warning: udpprobe will be slow: its core stays interpreted, not compiled ({reason})",
                  file=sys.stderr)
            self.extensions = []
            self.distribution.ext_modules = []
            for compiled in CORE.glob("*.so"):
                compiled.unlink()

    def build_extension(self, ext: Extension) -> None:
        super().build_extension(ext)
        source = CORE / (ext.name.rpartition(".")[2] + ".py")
        with Path(self.get_ext_fullpath(ext.name)).open("ab") as compiled:
            compiled.write(TWINS["fingerprint"](source.resolve()))

    def is_current(self, ext: Extension) -> bool:
        source = Path(ext.sources[0])
        compiled = CORE / Path(self.get_ext_filename(ext.name)).name
        return compiled.exists() and TWINS["carried"](compiled) == TWINS["fingerprint"](source.resolve())


class Wheel(bdist_wheel):
    """A wheel for every Python where nothing was compiled."""

    def run(self) -> None:
        self.run_command("build")
        self.root_is_pure = not self.distribution.has_ext_modules()
        super().run()


setup(ext_modules=[extension(source) for source in SOURCES], cmdclass={"build_ext": BuildCore, "bdist_wheel": Wheel})
