"""Serve ONNX models over a native gRPC data plane (Open Inference Protocol).

:class:`Server` serves a model repository on sockets; :func:`load` gives one model of this process,
with the same batching and no sockets. The command line is ``penstock serve``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock._native.drift import DriftHistogram
    from penstock._native.engine import LocalRequest, RequestError
    from penstock._native.sketch import LatencySketch
    from penstock.backends.base import LoadError
    from penstock.local import LocalModel, load
    from penstock.monitoring.profile import ProfileError, ReferenceProfile
    from penstock.monitoring.training import build_profile
    from penstock.options import OptionsError, ServerOptions
    from penstock.server import BindError, NoModelError, Server

__version__ = "0.1.0"

__all__ = [
    "BindError",
    "DriftHistogram",
    "LatencySketch",
    "LoadError",
    "LocalModel",
    "LocalRequest",
    "NoModelError",
    "OptionsError",
    "ProfileError",
    "ReferenceProfile",
    "RequestError",
    "Server",
    "ServerOptions",
    "__version__",
    "build_profile",
    "load",
]


def __getattr__(name: str) -> Any:
    """Import what is used and nothing else: the command line starts in less time (PEP 562)."""
    from importlib import import_module

    homes = {
        "penstock._native.drift": ("DriftHistogram",),
        "penstock._native.engine": ("LocalRequest", "RequestError"),
        "penstock._native.sketch": ("LatencySketch",),
        "penstock.backends.base": ("LoadError",),
        "penstock.local": ("LocalModel", "load"),
        "penstock.options": ("OptionsError", "ServerOptions"),
        "penstock.monitoring.training": ("build_profile",),
        "penstock.monitoring.profile": ("ProfileError", "ReferenceProfile"),
        "penstock.server": ("BindError", "NoModelError", "Server"),
    }
    for module, names in homes.items():
        if name in names:
            value = getattr(import_module(module), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
