"""Builds what Python packaging cannot: the native core, the border to it, the wire contract.

``csrc`` is compiled by its own Makefile into a static library, which the Cython modules of
``penstock._native`` link; ``protos`` becomes a descriptor set inside the package. Each step
looks at what changed. Everything declarative is in pyproject.toml.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
CSRC = Path("csrc")
NATIVE = Path("src/penstock/_native")
BUILD = Path("build")
CORE = BUILD / "csrc/release/libpenstock.a"
PROTOS = Path("protos")
DESCRIPTORS = Path("src/penstock/protos.binpb")

os.chdir(ROOT)
# A build frontend does not put the project's folder on the path.
sys.path.insert(0, str(ROOT))


def compile_contract() -> None:
    """protos/*.proto -> the descriptor set that penstock.protos reads."""
    from build_protos import compile_protos

    compile_protos(PROTOS, DESCRIPTORS)


def compile_core() -> None:
    """csrc -> build/csrc/release/libpenstock.a, on all the cores this process may use."""
    jobs = len(os.sched_getaffinity(0))
    # The variables of a make that called us are not for this one.
    environment = {
        name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL")
    }
    subprocess.run(
        ["make", "--silent", f"-j{jobs}", "-C", CSRC, "lib", f"BUILD={ROOT / BUILD}/csrc"],
        check=True,
        env=environment,
    )


def border(sources: list[Path]) -> list[Extension]:
    """One extension for each .pyx of penstock._native."""
    return [
        Extension(
            f"penstock._native.{source.stem}",
            [str(source)],
            language="c++",
            include_dirs=[str(CSRC)],
            extra_objects=[str(CORE)],
            libraries=["nghttp2", "ssl", "crypto", "z"],
            extra_compile_args=["-std=c++20", "-g1", "-fvisibility=hidden", "-Wno-sign-compare"],
            extra_link_args=["-Wl,--exclude-libs,ALL"],
        )
        for source in sources
    ]


class BuildNative(build_ext):
    """build_ext, after the core and the contract are made."""

    def run(self) -> None:
        compile_contract()
        compile_core()
        super().run()

    def build_extension(self, ext: Extension) -> None:
        import Cython
        from Cython.Build import cythonize

        # Another Cython or Python writes other C++; each keeps its own.
        tag = f"{sys.implementation.cache_tag}-{Cython.__version__}"
        (translated,) = cythonize(
            [ext],
            build_dir=str(BUILD / f"cython-{tag}"),
            compiler_directives={"language_level": 3},
            include_path=["src"],
            quiet=True,
        )
        ext.sources = translated.sources
        included = [*NATIVE.glob("*.px[di]"), *CSRC.rglob("*.h"), CORE]
        ext.depends = [str(path) for path in included]
        if not self.inplace:
            # What is installed needs no line numbers.
            ext.extra_link_args.append("-Wl,--strip-debug")
        super().build_extension(ext)


class BuildPython(build_py):
    """build_py, after the contract is made."""

    def run(self) -> None:
        compile_contract()
        super().run()


setup(
    ext_modules=border(sorted(NATIVE.glob("*.pyx"))),
    cmdclass={"build_ext": BuildNative, "build_py": BuildPython},
)
