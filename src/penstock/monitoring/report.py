"""What ``GET /v1/monitor`` answers, as plain values for JSON; docs/monitoring.md is its schema."""

from __future__ import annotations

import math
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from penstock.monitoring.watcher import ModelWatcher, WindowView, stage_summary
from penstock.spec import ABOVE, BELOW, MISSING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from penstock.monitoring.profile import FeatureProfile

SCHEMA = 1
"""Raised when a field changes its meaning or goes."""


def index_report(watchers: Sequence[ModelWatcher]) -> dict[str, Any]:
    """Every version in a line."""
    models = []
    for watcher in watchers:
        windows = watcher.windows()
        drift = watcher.drift_report(windows["5m"])
        models.append(
            {
                "model": watcher.spec.name,
                "version": str(watcher.spec.version),
                "state": watcher.state,
                "verdict": drift.verdict if drift is not None else None,
                "rate": windows["1m"].rate,
                "p99": (stage_summary(windows["1m"].latency["total"]) or {}).get("p99"),
            }
        )
    report: dict[str, Any] = _finite({"schema": SCHEMA, "models": models})
    return report


def model_report(watcher: ModelWatcher) -> dict[str, Any]:
    """Everything that is known of one version."""
    windows = watcher.windows()
    slices: dict[str, dict[str, Any]] = {}
    for name, view in windows.items():
        for slice_name, stages in view.slices.items():
            slices.setdefault(slice_name, {})[name] = {
                stage: stage_summary(sketch) for stage, sketch in stages.items()
            }
    sizes = watcher.version.statistics()["batch_sizes"]
    report: dict[str, Any] = _finite(
        {
            "schema": SCHEMA,
            "model": watcher.spec.name,
            "version": str(watcher.spec.version),
            "time": time.time(),
            "uptime_s": watcher.uptime_s,
            "traffic": {name: _traffic(view) for name, view in windows.items()},
            "latency": {
                name: {stage: stage_summary(sketch) for stage, sketch in view.latency.items()}
                for name, view in windows.items()
            },
            "slices": slices,
            "batch_rows": {str(rows): size["count"] for rows, size in sorted(sizes.items())},
            "history": [asdict(point) for point in watcher.history()],
            "profile": _profile(watcher),
            "drift": _drift(watcher, windows),
            "reference": _reference(watcher),
        }
    )
    return report


def _traffic(view: WindowView) -> dict[str, Any]:
    return {
        "seconds": view.seconds,
        "requests": view.requests,
        "failures": view.failures,
        "rows": view.rows,
        "batches": view.batches,
        "rate": view.rate,
        "mean_batch_rows": view.mean_batch_rows,
    }


def _profile(watcher: ModelWatcher) -> dict[str, Any]:
    profile = watcher.profile
    return {
        "state": watcher.state,
        "origin": watcher.origin,
        "rows": profile.rows if profile else None,
        "created": profile.created if profile else None,
        "content_hash": profile.content_hash if profile else None,
        "learned_rows": watcher.learned_rows,
        "learn_rows": watcher.spec.monitoring.learn_rows,
    }


def _drift(watcher: ModelWatcher, windows: dict[str, WindowView]) -> dict[str, Any] | None:
    profile = watcher.profile
    if profile is None:
        return None
    found: dict[str, Any] = {}
    for name, view in windows.items():
        drift = watcher.drift_report(view)
        if drift is None or view.drift is None:
            found[name] = None
            continue
        features = []
        told = drift.to_dict()["features"]
        for feature, verdict, counts in zip(profile.features, told, view.drift, strict=True):
            features.append(
                verdict | _identity(feature) | {"counts": _shown_counts(feature, counts.tolist())}
            )
        found[name] = {"rows": view.drift_rows, "verdict": drift.verdict, "features": features}
    return found


def _reference(watcher: ModelWatcher) -> list[dict[str, Any]] | None:
    profile = watcher.profile
    if profile is None:
        return None
    return [
        _identity(feature)
        | {
            "edges": list(feature.bins.edges) if feature.bins.kind == "numeric" else None,
            "values": list(feature.bins.values) if feature.bins.kind == "category" else None,
            "counts": _shown_counts(feature, list(feature.counts)),
            "summary": asdict(feature.summary),
        }
        for feature in profile.features
    ]


def _identity(feature: FeatureProfile) -> dict[str, Any]:
    return {
        "name": feature.name,
        "role": feature.role,
        "tensor": feature.tensor,
        "column": feature.column,
        "kind": feature.bins.kind,
    }


def _shown_counts(feature: FeatureProfile, counts: list[int]) -> list[int]:
    """The bins that there are, then below (or other), above and missing."""
    return [*counts[: feature.bins.count], counts[BELOW], counts[ABOVE], counts[MISSING]]


def _finite(value: Any) -> Any:
    """JSON has neither infinity nor NaN: null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return value
