"""A model in the real core, without sockets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock._native.engine import Engine
from penstock.repository import LoadedVersion, load_path

Load = Callable[..., LoadedVersion]


@pytest.fixture
def load() -> Iterator[Load]:
    """``load(path, config=None)``: what ``load_path`` gives, closed after the test."""
    engine = Engine(transport_threads=0)
    loaded: list[LoadedVersion] = []

    def load_one(path: Path, config: str | None = None) -> LoadedVersion:
        loaded.append(load_path(engine, path, config))
        return loaded[-1]

    yield load_one
    for version in loaded:
        version.close()
        assert version.join(10)
