"""Which models are served, and the ways in which that changes."""

from __future__ import annotations

import atexit
import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from penstock.backends.base import LoadError
from penstock.cores import available_cores
from penstock.repository.config_file import parse_override
from penstock.repository.errors import (
    ControlModeError,
    InvalidConfigError,
    LoadFailedError,
    ModelNotFoundError,
    ModelUnavailableError,
    UnsupportedError,
)
from penstock.repository.layout import find_model, find_models
from penstock.repository.loader import LoadedVersion
from penstock.repository.reloading import Reloader, fingerprint_of
from penstock.repository.table import (
    NOT_LOADED,
    IndexEntry,
    ModelTable,
    RepositoryOptions,
)

if TYPE_CHECKING:
    from penstock._native.engine import Engine

_log = logging.getLogger("penstock.repository")

MAX_LOADS_AT_ONCE = 4
EXIT_DRAIN_S = 5.0


class ModelRepository:
    """The models of one engine, in some repositories on disk.

    Every method may be called from any thread. Those that load block until it is done; the work
    is on threads of low priority and holds no lock that serving or looking up would need.
    """

    def __init__(self, engine: Engine, options: RepositoryOptions) -> None:
        self._options = options
        self._table = ModelTable()
        self._reloader = Reloader(engine, options.paths, self._table)
        self._closing = threading.Event()
        self._poller: threading.Thread | None = None

    # --- Life -----------------------------------------------------------------------------------

    def start(self) -> dict[str, str]:
        """Load what the options say; blocks until all of it is served or has failed.

        Returns:
            Why a model did not load, by name. The others are served.

        Raises:
            OSError: a repository cannot be read.
        """
        found = find_models(self._options.paths)
        wanted: Iterable[str] = found
        if self._options.control == "explicit":
            chosen = self._options.load_models
            wanted = found if "*" in chosen else dict.fromkeys(chosen)
        failures: dict[str, str] = {}

        def load(name: str) -> None:
            try:
                self._reloader.load(name)
            except (LoadFailedError, ModelNotFoundError) as error:
                failures[name] = error.message
            except Exception as error:
                # Of one model; the others are to be served.
                _log.exception("model %s did not load", name)
                failures[name] = f"{type(error).__name__}: {error}"

        # Before the interpreter goes, its threads have to have left native code.
        atexit.register(_close_at_exit, weakref.ref(self))
        names = list(wanted)
        for name in names:
            if name in found:
                self._table.state(name)
        # Ports are open already: a client that comes early is told to wait.
        self._reloader.publish()
        workers = max(1, min(MAX_LOADS_AT_ONCE, available_cores(), len(names)))
        with ThreadPoolExecutor(workers, thread_name_prefix="penstock-loader") as pool:
            list(pool.map(load, names))
        self._reloader.publish()
        if self._options.control == "poll":
            self._poller = threading.Thread(target=self._poll, name="penstock-poll", daemon=True)
            self._poller.start()
        return failures

    def close(self, timeout_s: float | None = None) -> bool:
        """Serve nothing any more; requests that are queued are computed still.

        Args:
            timeout_s: how long to wait for those; None: as long as it takes.

        Returns:
            Whether all of them are answered.
        """
        self._closing.set()
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        if self._poller is not None and self._poller is not threading.current_thread():
            self._poller.join(timeout_s)
        self._reloader.close(timeout_s)
        drained = True
        for loaded in self._table.draining():
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            drained = loaded.join(left) and drained
        return drained

    def stop_loading(self) -> None:
        """Load nothing more; what loads now is not served. For a start that is to end."""
        self._closing.set()
        self._reloader.stop_loading()

    def add_listener(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` after each change of what is served, on the thread that made it."""
        self._reloader.add_listener(listener)

    # --- Looking up -----------------------------------------------------------------------------

    def get(self, name: str, version: str = "") -> LoadedVersion:
        """A version that is served.

        Args:
            version: decimal; "" is the highest one.

        Raises:
            ModelNotFoundError: no such model, or the version is not served.
            ModelUnavailableError: the model is known, but none of its versions is served.
        """
        state = self._table.find(name)
        if state is None:
            if find_model(self._options.paths, name):
                raise ModelUnavailableError(f"model {name!r} is not ready: {NOT_LOADED}")
            raise ModelNotFoundError(f"model {name!r} is not in the repository")
        with self._table.lock:
            versions, reason = state.versions(), state.reason()
        if not versions:
            raise ModelUnavailableError(f"model {name!r} is not ready: {reason}")
        if version == "":
            return versions[-1]
        for loaded in versions:
            if str(loaded.spec.version) == version:
                return loaded
        served = ", ".join(str(loaded.spec.version) for loaded in versions)
        raise ModelNotFoundError(
            f"version {version!r} of model {name!r} is not served; served: {served}"
        )

    def ready(self, name: str, version: str = "") -> bool:
        """Whether the model, or that version of it, answers requests."""
        try:
            self.get(name, version)
        except (ModelNotFoundError, ModelUnavailableError):
            return False
        return True

    def models(self) -> list[str]:
        """Names of the models that are, were or should be served, in order."""
        return self._table.names()

    def versions(self) -> list[LoadedVersion]:
        """Every version that is served, by name and number."""
        return self._table.versions()

    def index(self, ready_only: bool = False) -> list[IndexEntry]:
        """The models of the repositories and their state, by name and version.

        Args:
            ready_only: only versions that are served; the disk is not looked at then.
        """
        lines = self._table.index(ready_only=ready_only)
        if not ready_only:
            known = set(self._table.names())
            lines += [
                IndexEntry(name, "", "UNAVAILABLE", NOT_LOADED)
                for name in find_models(self._options.paths)
                if name not in known
            ]
            lines.sort(key=lambda line: (line.name, int(line.version or 0)))
        return lines

    # --- Changing -------------------------------------------------------------------------------

    def load(
        self, name: str, config: str | None = None, files: Mapping[str, bytes] | None = None
    ) -> None:
        """Load a model, or what has changed of it since. Blocks until it is served.

        Args:
            config: in place of config.pbtxt, as JSON or in protobuf's text format.
            files: in place of the model's files; not supported.

        Raises:
            ControlModeError: the repository is not under explicit control.
            UnsupportedError: ``files`` came.
            InvalidConfigError: ``config`` is no configuration.
            ModelNotFoundError: no repository has such a model.
            LoadFailedError: a version did not load; what was served before still is.
        """
        self._check_explicit("load", name)
        if files:
            raise UnsupportedError(
                f"files came with the load of model {name!r}, expected them in the repository"
            )
        if config is not None:
            try:
                parse_override(config)
            except LoadError as error:
                raise InvalidConfigError(f"model {name!r} did not load: {error}") from None
        self._reloader.load(name, config)

    def unload(self, name: str, unload_dependents: bool = False) -> None:
        """Serve the model no longer. Does not wait for what is queued, which is computed still.

        Args:
            unload_dependents: no effect, as there are no models made of models.

        Raises:
            ControlModeError: the repository is not under explicit control.
            ModelNotFoundError: no repository has such a model.
        """
        self._check_explicit("unload", name)
        if self._table.find(name) is None:
            if find_model(self._options.paths, name):
                return
            raise ModelNotFoundError(f"model {name!r} is not in the repository")
        self._reloader.unload(name)

    def poll_once(self) -> bool:
        """Look for changes of the files and follow them; True if something has changed."""
        try:
            found = find_models(self._options.paths)
        except OSError as error:
            # A repository that is away for a moment takes no model with it.
            _log.error("the repository cannot be read: %s", error)
            return False
        changed = False
        for name in found:
            if self._closing.is_set():
                return changed
            state = self._table.find(name)
            if state is not None and state.seen == fingerprint_of(found[name]):
                continue
            changed = True
            try:
                self._reloader.load(name)
            except (LoadFailedError, ModelNotFoundError):
                # It has been logged, and the index shows it.
                continue
        for name in set(self._table.names()) - set(found):
            changed = True
            self._reloader.remove(name)
        return changed

    def _poll(self) -> None:
        while not self._closing.wait(self._options.poll_interval_s):
            try:
                self.poll_once()
            except Exception:
                _log.exception("looking for changes of the repository failed")

    def _check_explicit(self, action: str, name: str) -> None:
        if self._options.control != "explicit":
            raise ControlModeError(
                f"cannot {action} model {name!r}: model control is "
                f"{self._options.control!r}, expected 'explicit'"
            )


def _close_at_exit(reference: weakref.ref[ModelRepository]) -> None:
    repository = reference()
    if repository is not None:
        repository.close(EXIT_DRAIN_S)
