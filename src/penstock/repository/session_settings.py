"""config.pbtxt's settings of ONNX Runtime, as Triton's onnxruntime backend names them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from penstock.backends.base import LoadError
from penstock.backends.sessions import SessionSettings, available_providers
from penstock.repository.layout import file_inside
from penstock.repository.platforms import KIND_GPU
from penstock.repository.validation import instance_count

_CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"

_ACCELERATORS = {
    "cuda": _CUDA,
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
"""Triton's short names; a provider's full name does as well."""

_LEVELS = {-1: "basic", 0: "all", 1: "extended", 2: "none"}
"""``optimization.graph.level``."""

_ENTRY_PREFIXES = ("session.", "optimization.", "ep.", "mlas.")
"""Parameters that are handed to ONNX Runtime as they are."""

MAX_THREADS = 1024


def session_settings(message: Any, folder: Path) -> SessionSettings:
    """Settings of a model's session.

    Args:
        message: ``inference.ModelConfig``.
        folder: the model's, where libraries of its operators are.

    Raises:
        LoadError: a value cannot work; with what came and what was expected.
    """
    parameters = {key: value.string_value for key, value in message.parameters.items()}
    level = message.optimization.graph.level
    if level not in _LEVELS:
        raise LoadError(
            f"optimization: graph level is {level}, expected -1 (basic), 0 (all), 1 (extended) "
            "or 2 (none)"
        )
    intra = _threads(parameters, "intra_op_thread_count")
    inter = _threads(parameters, "inter_op_thread_count")
    return SessionSettings(
        instances=instance_count(message),
        intra_op_threads=intra,
        inter_op_threads=inter or 1,
        parallel_execution=_switch(parameters, "execution_mode", default=False),
        graph_level=_LEVELS[level],  # type: ignore[arg-type]
        providers=_providers(message),
        config_entries={
            key: value for key, value in parameters.items() if key.startswith(_ENTRY_PREFIXES)
        },
        memory_arena=_switch(parameters, "enable_mem_arena", default=True),
        memory_pattern=_switch(parameters, "enable_mem_pattern", default=False),
        custom_op_libraries=tuple(
            file_inside(folder, name, "model_operations: op_library_filename")
            for name in message.model_operations.op_library_filename
        ),
    )


def _threads(parameters: dict[str, str], key: str) -> int | None:
    """None, as for 0: Penstock decides."""
    text = parameters.get(key, "0")
    if not text.isascii() or not text.isdigit() or int(text) > MAX_THREADS:
        raise LoadError(f"parameter {key} is {text!r}, expected 0 to {MAX_THREADS}")
    return int(text) or None


def _switch(parameters: dict[str, str], key: str, *, default: bool) -> bool:
    text = parameters.get(key, str(int(default)))
    if text not in ("0", "1"):
        raise LoadError(f"parameter {key} is {text!r}, expected 0 or 1")
    return text == "1"


def _providers(message: Any) -> tuple[tuple[str, dict[str, str]], ...]:
    """Accelerators in the order of config.pbtxt, then CUDA for KIND_GPU, and the CPU last."""
    accelerators = message.optimization.execution_accelerators
    chosen: dict[str, dict[str, str]] = {}
    device = _gpu(message)
    listed = list(accelerators.cpu_execution_accelerator)
    if device is not None:
        listed = [*accelerators.gpu_execution_accelerator, *listed]
    for accelerator in listed:
        name = _ACCELERATORS.get(accelerator.name.lower(), accelerator.name)
        _check_available(name, f"execution accelerator {accelerator.name!r}")
        chosen[name] = dict(accelerator.parameters)
    if device is not None:
        _check_available(_CUDA, "instance_group: KIND_GPU")
        chosen.setdefault(_CUDA, {})
        for name in chosen:
            if name in (_CUDA, _ACCELERATORS["tensorrt"]):
                chosen[name].setdefault("device_id", str(device))
    chosen.setdefault(_CPU, {})
    return tuple(chosen.items())


def _gpu(message: Any) -> int | None:
    """The device of KIND_GPU; None for a model on the CPU."""
    groups = [group for group in message.instance_group if not group.passive]
    on_gpu = [group for group in groups if group.kind == KIND_GPU]
    if not on_gpu:
        return None
    devices = {device for group in on_gpu for device in group.gpus} or {0}
    # The instances of a version share one session, and a session has one device.
    if len(on_gpu) < len(groups) or len(devices) > 1:
        raise LoadError(
            "instance_group: instances on several devices are not served, expected all on one"
        )
    return int(devices.pop())


def _check_available(provider: str, asked: str) -> None:
    available = available_providers()
    if provider not in available:
        raise LoadError(
            f"{asked} needs {provider}, the installed onnxruntime has {', '.join(available)}"
        )
