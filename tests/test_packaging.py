"""What an installation has in it, and what a source distribution takes to build one."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import penstock

ROOT = Path(__file__).resolve().parents[1]
INSTALLED = Path(penstock.__file__).parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def sources(pattern: str) -> set[str]:
    return {str(path.relative_to(ROOT)) for path in ROOT.glob(pattern) if path.is_file()}


def test_one_version() -> None:
    assert penstock.__version__ == PROJECT["version"] == metadata.version("penstock")


def test_every_dependency_has_a_lower_bound() -> None:
    extras = PROJECT["optional-dependencies"].values()
    requirements = [*PROJECT["dependencies"], *(each for extra in extras for each in extra)]
    for requirement in requirements:
        if not requirement.startswith("penstock["):
            assert re.fullmatch(r"[\w-]+(\[\w+\])?>=[\d.]+", requirement), requirement


def test_the_package_has_its_contract_and_its_types() -> None:
    assert (INSTALLED / "py.typed").exists()
    assert (INSTALLED / "protos.binpb").stat().st_size > 10_000
    borders = {path.stem for path in (ROOT / "src/penstock/_native").glob("*.pyx")}
    assert borders
    for border in borders:
        assert (INSTALLED / f"_native/{border}.pyi").exists()
        assert len(list((INSTALLED / "_native").glob(f"{border}.*.so"))) == 1


def test_the_command_is_installed() -> None:
    command = Path(sys.executable).with_name("penstock")
    shown = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert shown.stdout == f"penstock {penstock.__version__}\n"


def test_type_checkers_see_the_types(tmp_path: Path) -> None:
    user = tmp_path / "user.py"
    user.write_text(
        "import penstock\n"
        "from penstock._native.engine import Engine\n"
        "server = penstock.Server('models', grpc_port=0)\n"
        "reveal_type(server.grpc_address)\n"
        "reveal_type(Engine(transport_threads=1).listen_tcp('127.0.0.1', 0))\n"
        "server.no_such_thing\n"
    )
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", tmp_path / "cache", user],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    said = checked.stdout
    assert said.count('Revealed type is "str"') + said.count('"builtins.str"') == 1, said
    assert said.count('Revealed type is "int"') + said.count('"builtins.int"') == 1, said
    assert 'has no attribute "no_such_thing"' in said


def test_a_server_imports_no_grpc_library() -> None:
    """They cost memory and start-up time, and are the clients'."""
    code = (
        "import sys, penstock.cli, penstock.serve, penstock.server, penstock.repository;"
        "print([m for m in ('grpc', 'tritonclient', 'sklearn') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names in the source distribution of this checkout."""
    folder = tmp_path_factory.mktemp("sdist")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "build",
            "--sdist",
            "--no-isolation",
            "-x",
            "--outdir",
            folder,
            ROOT,
        ],
        check=True,
        capture_output=True,
    )
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        return {name.partition("/")[2] for name in opened.getnames()}


def test_an_sdist_has_every_source(sdist: set[str]) -> None:
    wanted = {"LICENSE", "README.md", "setup.py", "build_protos.py", "csrc/Makefile"}
    for pattern in ("csrc/**/*.h", "csrc/**/*.cc", "protos/*.proto"):
        wanted |= sources(pattern)
    for suffix in ("py", "pyi", "pyx", "pxd", "pxi"):
        wanted |= sources(f"src/penstock/**/*.{suffix}")
    assert len(wanted) > 100
    assert wanted <= sdist, sorted(wanted - sdist)


def test_an_sdist_has_nothing_built(sdist: set[str]) -> None:
    built = re.compile(
        r"\.(so|o|a|d|pyc|binpb)$|(^|/)(node_modules|__pycache__|build)/|_native/.*cpp$"
    )
    assert [name for name in sdist if built.search(name)] == []
