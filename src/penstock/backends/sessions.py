"""ONNX Runtime sessions with options that suit a server.

ONNX Runtime's own defaults give every session a thread per core that spins for milliseconds after
each run. Here no thread spins, and a session has as many threads as its share of the cores. The
process-wide pool is not used: from Python its threads cannot be kept from spinning, which costs
several times the CPU of the run itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import onnxruntime

from penstock.backends.base import LoadError
from penstock.backends.low_priority import run_at_low_priority

MAX_DEFAULT_THREADS = 8
"""Of one session: more gain little, and hundreds of models may be loaded on many cores."""

_LEVELS = {
    "none": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """What config.pbtxt says about the session."""

    instances: int = 1
    """That will call it at the same time."""
    intra_op_threads: int | None = None
    """None: the cores divided by the instances, or 1 if runs are too short to be shared."""
    inter_op_threads: int = 1
    parallel_execution: bool = False
    graph_level: Literal["none", "basic", "extended", "all"] = "all"
    providers: tuple[tuple[str, Mapping[str, str]], ...] = (("CPUExecutionProvider", {}),)
    """In the order in which they are asked."""
    config_entries: Mapping[str, str] = field(default_factory=dict)
    memory_arena: bool = True
    memory_pattern: bool = False
    """Plan the memory of each input shape once and keep the plan. Off, because with batches of all
    sizes there are many shapes, and the arena alone is as fast (measured)."""
    custom_op_libraries: tuple[Path, ...] = ()

    def default_threads(self, cores: int) -> int:
        """So many that all instances together do not need more than ``cores``."""
        return max(1, min(cores // self.instances, MAX_DEFAULT_THREADS))


def available_providers() -> list[str]:
    """Execution providers of the ONNX Runtime that is installed."""
    return list(onnxruntime.get_available_providers())


def session_options(settings: SessionSettings, threads: int) -> Any:
    """``onnxruntime.SessionOptions``.

    Args:
        threads: that compute one run, the caller's included.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = settings.inter_op_threads
    if settings.parallel_execution:
        options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
    level = _LEVELS[settings.graph_level]
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.enable_cpu_mem_arena = settings.memory_arena
    options.enable_mem_pattern = settings.memory_pattern
    # 3: errors. What matters at load comes as an exception.
    options.log_severity_level = 3
    entries = {
        "session.intra_op.allow_spinning": "0",
        "session.inter_op.allow_spinning": "0",
        **settings.config_entries,
    }
    for key, value in entries.items():
        options.add_session_config_entry(key, value)
    for library in settings.custom_op_libraries:
        options.register_custom_ops_library(str(library))
    return options


def create_session(path: Path, settings: SessionSettings, threads: int) -> Any:
    """``onnxruntime.InferenceSession`` of a model file, made at low priority.

    Raises:
        LoadError: ONNX Runtime refuses the file or the options.
    """
    providers = [(name, dict(options)) for name, options in settings.providers]
    pool = threads - 1
    if settings.parallel_execution:
        pool += settings.inter_op_threads - 1

    def create() -> Any:
        # Falling back to other providers would hide that the asked one does not work.
        return onnxruntime.InferenceSession(
            str(path), options, providers=providers, enable_fallback=0
        )

    try:
        options = session_options(settings, threads)
        if not _loading_releases_gil():
            # On a thread that the kernel rarely lets run, the lock would stop everybody.
            return create()
        return run_at_low_priority(create, own_threads=pool)
    except Exception as error:
        raise LoadError(f"{path.name}: ONNX Runtime cannot load it: {_text(error)}") from error


def _loading_releases_gil() -> bool:
    """Since 1.31; measured, as the release notes do not say."""
    major, minor = onnxruntime.__version__.split(".")[:2]
    return (int(major), int(minor)) >= (1, 31)


def _text(error: Exception) -> str:
    """On one line, without ONNX Runtime's prefix."""
    text = " ".join(str(error).split())
    prefix, separator, rest = text.partition("[ONNXRuntimeError] : ")
    return rest if separator and not prefix else text
