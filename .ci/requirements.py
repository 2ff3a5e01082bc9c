"""Prints requirement lists that pip takes, read from pyproject.toml.

requirements.py develop EXTRA...  what building and running need, as declared
requirements.py oldest EXTRA...   the same, each at its declared lower bound
requirements.py names EXTRA...    what running needs, without a bound
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(?:\[(?P<extras>[\w,-]+)\])?(?:>=(?P<bound>[\w.]+))?$")


def direct(declared: dict[str, Any], extras: list[str]) -> Iterator[str]:
    """Requirements of the package and of its extras, those that name other extras resolved."""
    project = declared["project"]
    yield from project["dependencies"]
    waiting = list(extras)
    seen: set[str] = set()
    while waiting:
        extra = waiting.pop()
        if extra in seen:
            continue
        seen.add(extra)
        for requirement in project["optional-dependencies"][extra]:
            parsed = parse(requirement)
            if parsed["name"] == project["name"]:
                waiting += (parsed["extras"] or "").split(",")
            else:
                yield requirement


def parse(requirement: str) -> dict[str, str | None]:
    """Name, extras and bound of one requirement."""
    matched = REQUIREMENT.match(requirement)
    if matched is None:
        raise SystemExit(f"{requirement!r}: expected name[extras]>=bound")
    return matched.groupdict()


def pinned(requirement: str) -> str:
    """The requirement at its lower bound and nothing else."""
    parsed = parse(requirement)
    if parsed["bound"] is None:
        raise SystemExit(f"{requirement!r} in pyproject.toml has no lower bound")
    extras = f"[{parsed['extras']}]" if parsed["extras"] else ""
    return f"{parsed['name']}{extras}=={parsed['bound']}"


def main(mode: str, extras: list[str]) -> None:
    declared = tomllib.loads(PROJECT.read_text())
    build = declared["build-system"]["requires"]
    running = list(direct(declared, extras))
    if mode == "develop":
        lines = [*build, *running]
    elif mode == "oldest":
        lines = [pinned(requirement) for requirement in [*build, *running]]
    elif mode == "names":
        lines = [str(parse(requirement)["name"]) for requirement in running]
    else:
        raise SystemExit(__doc__)
    print("\n".join(dict.fromkeys(lines)))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "", sys.argv[2:])
