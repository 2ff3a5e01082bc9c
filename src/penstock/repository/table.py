"""What a repository knows of its models, and what follows from it: routes, index."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from penstock.repository.layout import Fingerprint
from penstock.repository.loader import LoadedVersion

if TYPE_CHECKING:
    from penstock._native.engine import Version

State = Literal["READY", "UNAVAILABLE", "LOADING", "UNLOADING"]

NOT_LOADED = "not loaded"
UNLOADED = "unloaded"


@dataclass(frozen=True, slots=True)
class RepositoryOptions:
    """How a repository is followed.

    Raises:
        ValueError: a value is out of its range, or two do not go together.
    """

    paths: tuple[Path, ...]
    """Folders of models; a name may be in one of them only."""
    control: Literal["none", "poll", "explicit"] = "none"
    """``none``: load all at start; ``poll``: and follow the files; ``explicit``: load
    ``load_models`` at start, the rest on request."""
    load_models: tuple[str, ...] = ()
    """With ``explicit``; ``"*"`` is all."""
    poll_interval_s: float = 15.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "paths", tuple(Path(path).absolute() for path in self.paths))
        object.__setattr__(self, "load_models", tuple(self.load_models))
        if not self.paths:
            raise ValueError("there is no repository, expected one folder or more")
        if self.control not in ("none", "poll", "explicit"):
            raise ValueError(f"control is {self.control!r}, expected 'none', 'poll' or 'explicit'")
        if self.load_models and self.control != "explicit":
            raise ValueError(f"load_models needs control 'explicit', it is {self.control!r}")
        if not 0 < self.poll_interval_s < math.inf:
            raise ValueError(
                f"poll_interval_s is {self.poll_interval_s}, expected more than 0 seconds"
            )


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One line of ``RepositoryIndex``."""

    name: str
    version: str
    """"" for a model as a whole."""
    state: State
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Served:
    """A version that answers requests, and the files it was made from."""

    loaded: LoadedVersion
    fingerprint: tuple[Fingerprint, str | None, Fingerprint]
    """The model's files, the configuration of the load request, the version's files."""


@dataclass(slots=True)
class ModelState:
    """One model. The table's lock guards all but ``loading_lock``."""

    name: str
    loading_lock: threading.Lock = field(default_factory=threading.Lock)
    """Held for the length of a load or unload: one at a time."""
    served: dict[int, Served] = field(default_factory=dict)
    failures: dict[int | None, str] = field(default_factory=dict)
    """Why a version, or None: the model as a whole, did not load the last time."""
    loading: set[int] = field(default_factory=set)
    retired: set[int] = field(default_factory=set)
    """Versions that were served once."""
    seen: object = None
    """Fingerprint of everything at the last load, for polling."""

    def versions(self) -> list[LoadedVersion]:
        """Served, ascending: the last one is the default."""
        return [self.served[number].loaded for number in sorted(self.served)]

    def reason(self) -> str:
        """Why the model as a whole cannot be served."""
        if self.failures:
            return "; ".join(
                text if number is None else f"version {number}: {text}"
                for number, text in sorted(self.failures.items(), key=lambda item: item[0] or 0)
            )
        return "it is loading" if self.loading else UNLOADED if self.retired else NOT_LOADED

    def index(self, draining: Set[int], *, ready_only: bool) -> Iterator[IndexEntry]:
        """Lines of the index, by version; ``draining`` are those that still compute."""
        numbers = set(self.served)
        if not ready_only:
            failed = {number for number in self.failures if number is not None}
            numbers |= failed | self.loading | draining | self.retired
        whole = self.failures.get(None, "")
        if not ready_only and (whole or not numbers):
            yield IndexEntry(self.name, "", "UNAVAILABLE", whole or NOT_LOADED)
        for number in sorted(numbers):
            reason = self.failures.get(number, "")
            state: State = "UNAVAILABLE"
            if number in self.served:
                state = "READY"
            elif number in self.loading:
                state, reason = "LOADING", ""
            elif number in draining:
                state, reason = "UNLOADING", ""
            elif not reason:
                reason = UNLOADED
            yield IndexEntry(self.name, str(number), state, reason)


class ModelTable:
    """All models by name, behind one lock that is never held across work."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._models: dict[str, ModelState] = {}
        self._draining: list[LoadedVersion] = []

    def state(self, name: str) -> ModelState:
        """The model's state; an empty one if it is new."""
        with self.lock:
            return self._models.setdefault(name, ModelState(name))

    def find(self, name: str) -> ModelState | None:
        return self._models.get(name)

    def forget(self, name: str) -> None:
        """The model is in no repository any more; to be called with the lock held."""
        self._models.pop(name, None)

    def begin_draining(self, gone: Sequence[LoadedVersion]) -> None:
        """They are served no longer; to be called with the lock held."""
        self._draining += gone

    def end_draining(self, loaded: LoadedVersion) -> None:
        """It has answered its last request."""
        with self.lock:
            self._draining.remove(loaded)

    def names(self) -> list[str]:
        with self.lock:
            return sorted(self._models)

    def versions(self) -> list[LoadedVersion]:
        """Every version that is served, by name and number."""
        with self.lock:
            states = sorted(self._models.values(), key=lambda state: state.name)
            return [loaded for state in states for loaded in state.versions()]

    def draining(self) -> list[LoadedVersion]:
        """No longer served, but still computing."""
        with self.lock:
            return list(self._draining)

    def routes(self) -> tuple[dict[str, Sequence[Version]], dict[str, str]]:
        """The arguments of ``Engine.publish``; to be called with the lock held."""
        routes: dict[str, Sequence[Version]] = {}
        unavailable: dict[str, str] = {}
        for state in self._models.values():
            if state.served:
                routes[state.name] = [loaded.version for loaded in state.versions()]
            else:
                unavailable[state.name] = state.reason()
        return routes, unavailable

    def index(self, *, ready_only: bool) -> list[IndexEntry]:
        """Lines of all models, by name and version."""
        with self.lock:
            draining: dict[str, set[int]] = {}
            for loaded in self._draining:
                draining.setdefault(loaded.spec.name, set()).add(loaded.spec.version)
            return [
                line
                for name, state in sorted(self._models.items())
                for line in state.index(draining.get(name, set()), ready_only=ready_only)
            ]
