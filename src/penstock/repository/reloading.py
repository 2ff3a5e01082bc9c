"""Loading, swapping and unloading models, and telling the engine."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.backends.base import LoadError
from penstock.repository.config_file import ModelConfig, parse_override, read_config
from penstock.repository.errors import LoadFailedError, ModelNotFoundError
from penstock.repository.layout import Fingerprint, ModelFolder, find_model, wanted_versions
from penstock.repository.loader import LoadedVersion, Source, load_version
from penstock.repository.table import ModelState, ModelTable, Served

if TYPE_CHECKING:
    from penstock._native.engine import Engine

_log = logging.getLogger("penstock.repository")


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a model's files call for."""

    folder: ModelFolder
    config: ModelConfig
    override: str | None
    shared: Fingerprint
    """Fingerprint of what all versions share."""
    present: list[int]
    wanted: list[int]


class Reloader:
    """Brings what is served in line with the files, one load per model at a time."""

    def __init__(self, engine: Engine, paths: Sequence[Path], table: ModelTable) -> None:
        self._engine = engine
        self._paths = paths
        self._table = table
        self._closed = False
        self._published: frozenset[str] = frozenset()
        """Names that the engine knows."""
        # Publishing is one step after the other, so that a later state is published later.
        self._publishing = threading.Lock()
        self._listeners: list[Callable[[], None]] = []

    def add_listener(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` after each publish, on the thread that made it."""
        self._listeners.append(listener)

    def load(self, name: str, override: str | None = None) -> None:
        """Load the versions that the files call for and that are not served as they are.

        Args:
            override: in place of config.pbtxt.

        Raises:
            ModelNotFoundError: no repository has such a model.
            LoadFailedError: a version did not load; what was served before still is.
        """
        folders = find_model(self._paths, name)
        if not folders and self._table.find(name) is None:
            raise ModelNotFoundError(f"model {name!r} is not in the repository")
        with self._alone_with(name) as state:
            if self._closed:
                raise LoadFailedError(f"model {name!r} did not load: the server stops")
            try:
                state.seen = fingerprint_of(folders)
                plan = self._plan(folders, override)
            except (LoadError, OSError) as error:
                self._note_failure(state, str(error))
            else:
                self._load_versions(state, plan)
            if state.failures:
                raise LoadFailedError(f"model {name!r} did not load: {state.reason()}")

    def unload(self, name: str) -> None:
        """Serve the model no longer; what is queued is computed still."""
        with self._alone_with(name) as state:
            self._retire_all(state)

    def remove(self, name: str) -> None:
        """The same, and no client is told any more that there was such a model."""
        with self._alone_with(name) as state:
            self._retire_all(state, forget=True)

    def stop_loading(self) -> None:
        """Serve nothing that is not served yet."""
        self._closed = True

    def close(self, timeout_s: float | None = None) -> None:
        """Lead nobody to a model any more, unload everything, load nothing.

        Args:
            timeout_s: the longest wait for loads in progress, which unload themselves when they
                are done; None: as long as it takes.
        """
        self._closed = True
        self.publish()
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        for name in self._table.names():
            left = -1.0 if deadline is None else max(0.0, deadline - time.monotonic())
            state = self._table.state(name)
            if state.loading_lock.acquire(timeout=left):
                try:
                    self._retire_all(state)
                finally:
                    state.loading_lock.release()

    def publish(self) -> None:
        """Give the engine the routes of now."""
        with self._publishing:
            with self._table.lock:
                routes, unavailable = self._table.routes()
            if self._closed:
                unavailable |= dict.fromkeys(routes, "the server stops")
                routes = {}
            self._engine.publish(routes, unavailable)
            self._published = frozenset((*routes, *unavailable))
        for listener in tuple(self._listeners):
            try:
                listener()
            except Exception:
                _log.exception("a listener of the repository failed")

    @contextmanager
    def _alone_with(self, name: str) -> Iterator[ModelState]:
        """The model's state, which nobody else changes meanwhile."""
        while True:
            state = self._table.state(name)
            with state.loading_lock:
                # While this thread waited, the model may have been forgotten.
                if self._table.find(name) is state:
                    yield state
                    return

    def _plan(self, folders: list[ModelFolder], override: str | None) -> _Plan:
        if not folders:
            raise LoadError("its folder is no longer in the repository")
        if len(folders) > 1:
            paths = ", ".join(str(folder.path) for folder in folders)
            raise LoadError(f"several repositories have it: {paths}")
        folder = folders[0]
        # Before it is read: a change meanwhile must look like one.
        shared = folder.fingerprint()
        config = read_config(folder.path) if override is None else parse_override(override)
        present = folder.versions()
        return _Plan(
            folder=folder,
            config=config,
            override=override,
            shared=shared,
            present=present,
            wanted=wanted_versions(config.message.version_policy, present, folder),
        )

    def _load_versions(self, state: ModelState, plan: _Plan) -> None:
        loaded: dict[int, Served] = {}
        failures: dict[int | None, str] = {}
        for number in plan.wanted:
            fingerprint = (plan.shared, plan.override, plan.folder.version_fingerprint(number))
            current = state.served.get(number)
            if current is not None and current.fingerprint == fingerprint:
                continue
            with self._table.lock:
                state.loading.add(number)
            if state.name not in self._published:
                # Or clients are told that there is no such model.
                self.publish()
            try:
                loaded[number] = Served(self._load_version(plan, number), fingerprint)
            except LoadError as error:
                failures[number] = str(error)
            except Exception as error:
                _log.exception("loading version %d of model %s failed", number, plan.folder.name)
                failures[number] = f"{type(error).__name__}: {error}"
            finally:
                with self._table.lock:
                    state.loading.discard(number)
        for failed, reason in failures.items():
            _log.error("model %s version %s did not load: %s", plan.folder.name, failed, reason)
        if self._closed:
            # Nobody unloads it any more.
            for served in loaded.values():
                served.loaded.close()
            raise LoadFailedError(f"model {plan.folder.name!r} did not load: the server stops")
        self._swap(state, loaded, failures, set(plan.wanted), set(plan.present))

    def _load_version(self, plan: _Plan, number: int) -> LoadedVersion:
        folder = plan.folder
        source = Source(folder.name, number, folder.path, folder.path / str(number))
        started = time.monotonic()
        version = load_version(self._engine, source, plan.config)
        seconds = time.monotonic() - started
        _log.info("loaded model %s version %d in %.3f s", folder.name, number, seconds)
        return version

    def _swap(
        self,
        state: ModelState,
        loaded: dict[int, Served],
        failures: dict[int | None, str],
        wanted: set[int],
        present: set[int],
    ) -> None:
        """Serve what has loaded; what it replaces goes once nobody is led to it any more."""
        with self._table.lock:
            gone = [state.served[number].loaded for number in loaded if number in state.served]
            state.served.update(loaded)
            if not failures:
                for number in set(state.served) - wanted:
                    gone.append(state.served.pop(number).loaded)
                    state.retired.add(number)
            state.failures = failures
            state.retired = (state.retired & present) - set(state.served)
            self._table.begin_draining(gone)
        self.publish()
        self._close_all(gone)

    def _note_failure(self, state: ModelState, reason: str) -> None:
        with self._table.lock:
            state.failures = {None: reason}
        _log.error("model %s did not load: %s", state.name, reason)
        self.publish()

    def _retire_all(self, state: ModelState, *, forget: bool = False) -> None:
        with self._table.lock:
            gone = state.versions()
            state.retired |= set(state.served)
            state.served.clear()
            state.failures.clear()
            self._table.begin_draining(gone)
            if forget:
                self._table.forget(state.name)
        self.publish()
        self._close_all(gone)

    def _close_all(self, gone: Sequence[LoadedVersion]) -> None:
        for loaded in gone:
            _log.info("unloading model %s version %d", loaded.spec.name, loaded.spec.version)
            loaded.close(when_drained=partial(self._table.end_draining, loaded))


def fingerprint_of(folders: list[ModelFolder]) -> object:
    """Fingerprint of all files of a model, its versions included."""
    return [
        (
            folder.path,
            folder.fingerprint(),
            [(number, folder.version_fingerprint(number)) for number in folder.versions()],
        )
        for folder in folders
    ]
