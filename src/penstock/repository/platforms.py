"""Which backend serves a model, and with which file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.backends.base import LoadError
from penstock.repository.config_file import ModelConfig
from penstock.repository.layout import file_inside


@dataclass(frozen=True, slots=True)
class Platform:
    """A kind of model, by Triton's names."""

    backend: str
    platform: str
    """What ``ModelMetadata`` says."""
    filename: str
    """In the version's folder, unless config.pbtxt has a ``default_model_filename``."""


ONNX = Platform("onnxruntime", "onnxruntime_onnx", "model.onnx")
PYTHON = Platform("python", "python", "model.py")
SUPPORTED = (ONNX, PYTHON)

KIND_GPU = 1
"""Of ``inference.ModelInstanceGroup.Kind``."""


def choose_platform(config: ModelConfig, version_folder: Path) -> Platform:
    """By ``backend``, by ``platform``, or else by the files that are there.

    Raises:
        LoadError: a backend that is not served, or none is named and no file tells.
    """
    message = config.message
    if message.HasField("ensemble_scheduling") or message.platform == "ensemble":
        raise LoadError(f"{config.source}: ensembles are not served")
    if message.backend:
        return _named("backend", message.backend, config)
    if message.platform:
        return _named("platform", message.platform, config)
    for candidate in SUPPORTED:
        suffix = Path(candidate.filename).suffix
        if message.default_model_filename.endswith(suffix):
            return candidate
    for candidate in SUPPORTED:
        if (version_folder / candidate.filename).exists():
            return candidate
    files = " or ".join(each.filename for each in SUPPORTED)
    raise LoadError(f"no model in {_short(version_folder)}: expected {files}")


def model_file(platform: Platform, message: Any, version_folder: Path) -> Path:
    """The version's model file.

    Raises:
        LoadError: it is not there, or its name leads out of the folder.
    """
    name = message.default_model_filename or platform.filename
    path = file_inside(version_folder, name, "default_model_filename is")
    if not path.is_file():
        raise LoadError(f"no model in {_short(version_folder)}: expected {name}")
    return path


def _named(field: str, name: str, config: ModelConfig) -> Platform:
    for candidate in SUPPORTED:
        if name in (candidate.backend, candidate.platform):
            return candidate
    supported = ", ".join(f"{each.backend!r}" for each in SUPPORTED)
    raise LoadError(
        f"{config.source}: {field} {name!r} is not served, expected backend {supported} "
        f"or platform {ONNX.platform!r}"
    )


def _short(version_folder: Path) -> str:
    return f"{version_folder.parent.name}/{version_folder.name}"
