"""Repositories that are closed after the test, over the watching engine or the real one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from penstock._native.engine import Engine
from penstock.repository import ModelRepository, RepositoryOptions
from tests.fakes.engine import FakeEngine

Open = Callable[..., ModelRepository]


@pytest.fixture
def fake() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty repository."""
    folder = tmp_path / "repository"
    folder.mkdir()
    return folder


@pytest.fixture
def open_repository(fake: FakeEngine, root: Path) -> Iterator[Open]:
    """``open_repository(control="explicit", ...)``: over ``fake`` and ``root``, not started."""
    opened: list[ModelRepository] = []

    def make(engine: Any = None, **options: Any) -> ModelRepository:
        options.setdefault("paths", (root,))
        repository = ModelRepository(
            cast(Engine, engine if engine is not None else fake), RepositoryOptions(**options)
        )
        opened.append(repository)
        return repository

    yield make
    for repository in opened:
        assert repository.close(10)
