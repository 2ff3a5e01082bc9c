"""Several replicas as one: their counts added, never their quantiles averaged."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from penstock._native.sketch import LatencySketch
from penstock.monitoring.watcher import ModelWatcher, stage_summary
from penstock.spec import SLOTS

if TYPE_CHECKING:
    from penstock.monitoring.profile import ReferenceProfile
    from penstock.monitoring.verdict import DriftReport
    from penstock.monitoring.windows import Counts

STATE_SCHEMA = 1
_NUMBERS = ("requests", "failures", "rows", "batches")
_TIMEOUT_S = 10.0


class MergeError(ValueError):
    """Replicas that cannot be one, or a server that does not answer as one."""


@dataclass(slots=True)
class MergedWindow:
    """The union of what replicas saw in one window."""

    seconds: float
    """Of the longest."""
    numbers: dict[str, int]
    latency: dict[str, LatencySketch]
    slices: dict[str, dict[str, LatencySketch]]
    drift: Counts | None

    def summary(self) -> dict[str, Any]:
        """As the windows of ``/v1/monitor/{model}``."""
        answered = self.numbers["requests"] + self.numbers["failures"]
        return {
            "seconds": self.seconds,
            **self.numbers,
            "rate": answered / self.seconds if self.seconds > 0 else 0.0,
            "latency": {stage: stage_summary(each) for stage, each in self.latency.items()},
            "slices": {
                name: {stage: stage_summary(each) for stage, each in stages.items()}
                for name, stages in self.slices.items()
            },
        }


@dataclass(slots=True)
class MergedModel:
    """One model version over its replicas."""

    model: str
    version: str
    replicas: int
    windows: dict[str, MergedWindow]
    profile: ReferenceProfile | None

    def drift(self, window: str) -> DriftReport | None:
        """The verdict on the union of a window's rows; None without a profile."""
        from penstock.monitoring.verdict import compare

        counts = self.windows[window].drift
        if self.profile is None or counts is None:
            return None
        features = [(feature.name, feature.bins) for feature in self.profile.features]
        return compare(features, self.profile.counts, counts.astype(np.int64))

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        windows = {}
        for name, window in self.windows.items():
            drift = self.drift(name)
            windows[name] = window.summary() | {"drift": drift.to_dict() if drift else None}
        return {
            "model": self.model,
            "version": self.version,
            "replicas": self.replicas,
            "windows": windows,
        }


def replica_state(watcher: ModelWatcher) -> dict[str, Any]:
    """One replica's counts, as ``/v1/monitor/{model}/state`` tells them."""
    windows = {}
    for name, view in watcher.windows().items():
        windows[name] = {
            "seconds": view.seconds,
            "requests": view.requests,
            "failures": view.failures,
            "rows": view.rows,
            "batches": view.batches,
            "latency": {stage: _encode(sketch) for stage, sketch in view.latency.items()},
            "slices": {
                slice_name: {stage: _encode(sketch) for stage, sketch in stages.items()}
                for slice_name, stages in view.slices.items()
            },
            "drift": None if view.drift is None else view.drift.tolist(),
        }
    profile = watcher.profile
    return {
        "schema": STATE_SCHEMA,
        "model": watcher.spec.name,
        "version": str(watcher.spec.version),
        "profile": json.loads(profile.to_json()) if profile is not None else None,
        "windows": windows,
    }


def merge_states(states: Sequence[tuple[str, dict[str, Any]]]) -> MergedModel:
    """Add up what replicas told.

    Args:
        states: (where it came from, for messages; the answer of ``/state``).

    Raises:
        MergeError: they are of other models, versions or profiles, or no such answers.
    """
    from penstock.monitoring.profile import ProfileError, ReferenceProfile

    if not states:
        raise MergeError("no replica came, expected one or more")
    first_source, first = states[0]
    merged: MergedModel | None = None
    for source, state in states:
        try:
            if state["schema"] != STATE_SCHEMA:
                raise MergeError(
                    f"{source}: schema {state['schema']!r} came, expected {STATE_SCHEMA}"
                )
            for key in ("model", "version"):
                if state[key] != first[key]:
                    raise MergeError(
                        f"{source} serves {key} {state[key]!r}, {first_source} {first[key]!r}"
                    )
            if state["profile"] != first["profile"]:
                raise MergeError(
                    f"{source} and {first_source} hold their features against other profiles"
                )
            windows = {name: _window(each) for name, each in state["windows"].items()}
            if merged is None:
                profile = first["profile"]
                merged = MergedModel(
                    model=first["model"],
                    version=first["version"],
                    replicas=1,
                    windows=windows,
                    profile=ReferenceProfile.from_json(json.dumps(profile)) if profile else None,
                )
                continue
            merged.replicas += 1
            for name, window in windows.items():
                _add(merged.windows[name], window)
        except (KeyError, TypeError, AttributeError, ProfileError) as error:
            raise MergeError(f"{source}: not a replica's state: {error!r}") from error
    assert merged is not None
    return merged


def fetch_state(url: str, model: str, version: str = "") -> dict[str, Any]:
    """Ask a server's HTTP port for a model's state.

    Raises:
        MergeError: naming the server and what it said.
    """
    query = f"?version={urllib.parse.quote(version)}" if version else ""
    address = f"{_base(url)}/v1/monitor/{urllib.parse.quote(model, safe='')}/state{query}"
    return _get(address)


def fetch_models(url: str) -> list[str]:
    """Names of the models that a server watches.

    Raises:
        MergeError: naming the server and what it said.
    """
    answer = _get(f"{_base(url)}/v1/monitor")
    try:
        return sorted({str(entry["model"]) for entry in answer["models"]})
    except (KeyError, TypeError) as error:
        raise MergeError(f"{url}: not a monitor's answer: {error!r}") from error


def merge(urls: Sequence[str], model: str, version: str = "") -> MergedModel:
    """One model over several servers, by the addresses of their HTTP ports.

    Raises:
        MergeError: one does not answer, or they cannot be one.
    """
    return merge_states([(url, fetch_state(url, model, version)) for url in urls])


def _base(url: str) -> str:
    url = url if "://" in url else f"http://{url}"
    if not url.startswith(("http://", "https://")):
        raise MergeError(f"{url}: expected an address of HTTP")
    return url.rstrip("/")


def _get(address: str) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(address, timeout=_TIMEOUT_S) as response:
            answer = json.load(response)
    except urllib.error.HTTPError as error:
        said = error.read(1000).decode("utf-8", "replace").strip()
        raise MergeError(f"{address}: status {error.code}: {said}") from error
    except (OSError, ValueError) as error:
        raise MergeError(f"{address}: {error}") from error
    if not isinstance(answer, dict):
        raise MergeError(f"{address}: {type(answer).__name__} came, expected an object")
    return answer


def _encode(sketch: LatencySketch) -> str:
    return base64.b64encode(sketch.to_bytes()).decode()


def _decode(text: str) -> LatencySketch:
    try:
        return LatencySketch.from_bytes(base64.b64decode(text, validate=True))
    except ValueError as error:
        raise MergeError(f"a latency sketch that cannot be read: {error}") from error


def _window(state: dict[str, Any]) -> MergedWindow:
    drift = state["drift"]
    counts = None
    if drift is not None:
        counts = np.array(drift, np.uint64)
        if counts.ndim != 2 or counts.shape[1] != SLOTS:
            raise MergeError(f"drift counts of shape {counts.shape} came")
    return MergedWindow(
        seconds=float(state["seconds"]),
        numbers={key: int(state[key]) for key in _NUMBERS},
        latency={stage: _decode(text) for stage, text in state["latency"].items()},
        slices={
            name: {stage: _decode(text) for stage, text in stages.items()}
            for name, stages in state["slices"].items()
        },
        drift=counts,
    )


def _add(into: MergedWindow, window: MergedWindow) -> None:
    into.seconds = max(into.seconds, window.seconds)
    for key in _NUMBERS:
        into.numbers[key] += window.numbers[key]
    for stage, sketch in window.latency.items():
        into.latency[stage].merge(sketch)
    for name, stages in window.slices.items():
        own = into.slices.setdefault(name, {})
        for stage, sketch in stages.items():
            own.setdefault(stage, LatencySketch()).merge(sketch)
    if into.drift is not None and window.drift is not None:
        if into.drift.shape != window.drift.shape:
            raise MergeError("replicas count other features")
        into.drift = into.drift + window.drift
