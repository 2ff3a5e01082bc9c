"""From files to a version that computes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.backends.base import LoadError, OpenedModel
from penstock.monitoring.watcher import ModelWatcher
from penstock.repository.completion import complete
from penstock.repository.config_file import ModelConfig, parse_override, read_config
from penstock.repository.features import left_out, refuse_unserved
from penstock.repository.layout import ModelFolder, wanted_versions
from penstock.repository.platforms import KIND_GPU, ONNX, Platform, choose_platform, model_file
from penstock.repository.validation import specify
from penstock.repository.warmup import warm_up_as_configured, warm_up_with_zeros
from penstock.spec import ModelSpec

if TYPE_CHECKING:
    from penstock._native.engine import Backend, Engine, Instance, Version
    from penstock.monitoring.profile import ReferenceProfile

_log = logging.getLogger("penstock.repository")

PROFILE_FILE = "profile.json"
"""Beside a version's model: what its features are held against."""

# ModelInstanceGroup.Kind.
_KIND_CPU = 2


class LoadedVersion:
    """A version of a model with its executors: one thread for each instance."""

    def __init__(
        self,
        version: Version,
        config: Any,
        platform: Platform,
        model: OpenedModel,
        watcher: ModelWatcher | None,
    ) -> None:
        self.version: Version = version
        """The core's part: queue, batches, counters."""
        self.watcher = watcher
        """Its windows and its profile; None if it is not monitored."""
        self.config = config
        """``inference.ModelConfig``, complete; not to be changed."""
        self.platform = platform.platform
        self.backend = platform.backend
        self._model: OpenedModel | None = model
        self._lock = threading.Lock()
        self._running = 0
        self._drained = threading.Event()
        self._when_drained: list[Callable[[], None]] = []

    @property
    def spec(self) -> ModelSpec:
        return self.version.spec

    @property
    def drained(self) -> bool:
        """Closed, and every request answered."""
        return self._drained.is_set()

    def start(self, backends: Sequence[Backend]) -> None:
        """Begin to compute; the threads have the priority of the caller's."""
        for index, backend in enumerate(backends):
            with self._lock:
                self._running += 1
            # A daemon, because a thread that waits for work must not keep a process that forgot
            # to close the repository.
            executor = threading.Thread(
                target=self._execute,
                # A thread keeps its arguments until after its work; the list it empties.
                args=(self.version.instance(index), [backend]),
                name=f"{self.spec.name}/{self.spec.version}#{index}",
                daemon=True,
            )
            try:
                executor.start()
            except BaseException:
                # Those that have begun end when the version closes.
                self._ended()
                raise

    def close(self, when_drained: Callable[[], None] | None = None) -> None:
        """Take no more requests; those queued are computed still.

        Args:
            when_drained: called after that, on an executor's thread.
        """
        with self._lock:
            if when_drained is not None and not self.drained:
                self._when_drained.append(when_drained)
                when_drained = None
        self.version.close()
        if when_drained is not None:
            when_drained()

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait until it is drained; False if that takes longer than ``timeout_s``."""
        return self._drained.wait(timeout_s)

    def _execute(self, instance: Instance, backend: list[Backend]) -> None:
        try:
            instance.run(backend.pop())
        except BaseException:
            _log.exception("an executor of model %s ended", self.spec.name)
        finally:
            self._ended()

    def _ended(self) -> None:
        with self._lock:
            self._running -= 1
            if self._running > 0:
                return
            model, self._model = self._model, None
        if model is not None:
            model.close()
        with self._lock:
            self._drained.set()
            callbacks, self._when_drained = self._when_drained, []
        for callback in callbacks:
            callback()


@dataclass(frozen=True, slots=True)
class Source:
    """Where one version of a model lies."""

    name: str
    version: int
    folder: Path
    """The model's: labels and warm-up data."""
    version_folder: Path


def load_version(
    engine: Engine, source: Source, config: ModelConfig, *, with_profile: bool = True
) -> LoadedVersion:
    """Read, check, open and warm up a version, and start its executors. Nothing is published.

    Args:
        with_profile: hold its features against the reference profile beside it, if there is one.

    Raises:
        LoadError: with the reason; nothing is left behind.
    """
    if not source.version_folder.is_dir():
        raise LoadError(f"there is no folder {source.name}/{source.version}")
    refuse_unserved(config.message, config.source)
    for feature in left_out(config.message):
        _log.info("%s: %s has no effect here", config.source, feature)
    platform = choose_platform(config, source.version_folder)
    path = model_file(platform, config.message, source.version_folder)
    model = _open(platform, path, source, config)
    try:
        return _start(engine, source, config, platform, model, with_profile)
    except BaseException:
        model.close()
        raise


def load_path(
    engine: Engine,
    path: Path,
    config: str | None = None,
    *,
    version: int | None = None,
    with_profile: bool = True,
) -> LoadedVersion:
    """Load one model on its own: no repository, nothing published.

    Args:
        path: a model's folder, of which the newest version is taken that its version policy
            allows, or a model file, whose name is the model's then.
        config: in place of config.pbtxt, as JSON or in protobuf's text format.
        version: of a folder, in place of the newest.
        with_profile: as :func:`load_version`.

    Raises:
        LoadError: with the reason.
    """
    path = path.absolute()
    override = parse_override(config) if config is not None else None
    if path.is_file():
        empty = override or parse_override("")
        # A message of our own: the file's name is part of the configuration now.
        message = type(empty.message)()
        message.CopyFrom(empty.message)
        message.default_model_filename = path.name
        chosen = ModelConfig(message, empty.source, empty.given, empty.batch_size_given)
        source = Source(path.stem, 1, path.parent, path.parent)
        return load_version(engine, source, chosen, with_profile=with_profile)
    if not path.is_dir():
        raise LoadError(f"{path}: no such folder or file")
    folder = ModelFolder(path.name, path)
    chosen = override or read_config(path)
    number = version
    if number is None:
        number = wanted_versions(chosen.message.version_policy, folder.versions(), folder)[-1]
    source = Source(path.name, number, path, path / str(number))
    return load_version(engine, source, chosen, with_profile=with_profile)


def _open(platform: Platform, path: Path, source: Source, config: ModelConfig) -> OpenedModel:
    if platform is ONNX:
        # Imported when needed: a server without ONNX models does without ONNX Runtime.
        try:
            from penstock.backends.onnx import OnnxModel
        except ImportError as error:
            raise LoadError(
                f"{path.name}: onnxruntime cannot be imported ({error}); "
                "pip install 'penstock[cpu]' brings it"
            ) from error
        from penstock.repository.session_settings import session_settings

        return OnnxModel(path, session_settings(config.message, source.folder))
    from penstock.backends.python import ModelContext, PythonModel

    if any(group.kind == KIND_GPU for group in config.message.instance_group):
        raise LoadError(
            "instance_group: KIND_GPU came for a Python model, expected KIND_CPU or KIND_MODEL"
        )
    parameters = {key: value.string_value for key, value in config.message.parameters.items()}
    context = ModelContext(source.name, source.version, source.version_folder, parameters)
    return PythonModel(path, context)


def _profile(source: Source, spec: ModelSpec) -> ReferenceProfile | None:
    """The reference profile beside the version, if there is one."""
    path = source.version_folder / PROFILE_FILE
    if not spec.monitoring.enabled or not path.is_file():
        return None
    from penstock.monitoring.profile import ProfileError, ReferenceProfile

    try:
        profile = ReferenceProfile.load(path)
        profile.check(spec)
    except ProfileError as error:
        raise LoadError(f"{source.name}/{source.version}/{PROFILE_FILE}: {error}") from error
    return profile


def _start(
    engine: Engine,
    source: Source,
    config: ModelConfig,
    platform: Platform,
    model: OpenedModel,
    with_profile: bool,
) -> LoadedVersion:
    message = complete(config, source.name, platform, model.signature)
    spec, reshapes = specify(
        message,
        source.version,
        source.folder,
        utf8=model.strings_are_utf8,
        parameters_matter=model.parameters_matter,
    )
    if not message.instance_group:
        message.instance_group.add(count=1, kind=_KIND_CPU)
    model.prepare(spec)
    backends = [model.create_backend(spec, reshapes) for _ in range(spec.instance_count)]
    profile = _profile(source, spec) if with_profile else None
    version = engine.add_version(spec)
    try:
        watcher = ModelWatcher(version, profile) if spec.monitoring.enabled else None
        if message.model_warmup:
            warm_up_as_configured(
                message, source.folder, version, backends, low_priority=model.native
            )
        elif model.native:
            warm_up_with_zeros(version, backends)
        loaded = LoadedVersion(version, message, platform, model, watcher)
        loaded.start(backends)
    except BaseException:
        version.close()
        raise
    return loaded
