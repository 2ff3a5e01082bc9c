"""Reference profiles: what a model was trained on, as bins and counts, in a file beside it."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from penstock._native.drift import check_bins
from penstock.spec import SLOTS, Bins, ModelSpec, TensorSpec, WatchedFeature

FORMAT = 1
MAX_FEATURES = 4_096
_MAX_BYTES = 64 << 20

Role = Literal["input", "output", "class"]


class ProfileError(ValueError):
    """A profile that cannot be read, or does not fit its model."""


@dataclass(frozen=True, slots=True)
class FeatureSummary:
    """Of the reference's values; None where it is not defined, as for texts."""

    mean: float | None = None
    std: float | None = None
    """With n in the denominator."""
    minimum: float | None = None
    maximum: float | None = None
    distinct: int | None = None
    """None: more than were counted."""
    missing: int = 0


@dataclass(frozen=True, slots=True)
class FeatureProfile:
    """One column of a tensor, or the class that a model chose."""

    name: str
    tensor: str
    role: Role
    """"class": the arg-max of each row of an output."""
    column: int
    """Flat index in a row of the tensor; 0 for "class"."""
    datatype: str
    """The tensor's, as the protocol spells it."""
    bins: Bins
    counts: tuple[int, ...]
    """SLOTS counts of the reference."""
    summary: FeatureSummary


@dataclass(frozen=True, slots=True)
class ReferenceProfile:
    """What live rows are held against."""

    rows: int
    features: tuple[FeatureProfile, ...]
    content_hash: str
    """``sha256:...`` of the data."""
    source: str
    """Where the data came from, for people."""
    created: str
    """ISO 8601, UTC."""

    @property
    def bins(self) -> tuple[Bins, ...]:
        """Of each feature."""
        return tuple(feature.bins for feature in self.features)

    @property
    def counts(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """[features, SLOTS]."""
        counts = np.array([feature.counts for feature in self.features], np.int64)
        return counts.reshape(len(self.features), SLOTS)

    def watched(self) -> tuple[WatchedFeature, ...]:
        """What the core needs to count the same features live."""
        return tuple(
            WatchedFeature(feature.tensor, feature.role, feature.column, feature.bins)
            for feature in self.features
        )

    def check(self, spec: ModelSpec) -> None:
        """Whether every feature is one of the model's.

        Raises:
            ProfileError: naming the first that is not.
        """
        for feature in self.features:
            _check_feature(feature, spec)

    def to_json(self) -> str:
        """A line per feature; :meth:`from_json` reads it."""
        head = {
            "format": FORMAT,
            "rows": self.rows,
            "content_hash": self.content_hash,
            "source": self.source,
            "created": self.created,
        }
        lines = ",\n".join(json.dumps(_feature_to_dict(each)) for each in self.features)
        return json.dumps(head)[:-1] + f', "features": [\n{lines}\n]}}\n'

    @classmethod
    def from_json(cls, text: str | bytes) -> ReferenceProfile:
        """The reverse of :meth:`to_json`.

        Raises:
            ProfileError: naming what is wrong, and of which feature.
        """
        try:
            read = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ProfileError(f"not JSON: {error}") from None
        if not isinstance(read, dict) or read.get("format") != FORMAT:
            came = read.get("format") if isinstance(read, dict) else type(read).__name__
            raise ProfileError(f"a profile of format {came!r} came, expected {FORMAT}")
        rows = _field(read, "rows", int, "the profile")
        features = _field(read, "features", list, "the profile")
        if not 1 <= len(features) <= MAX_FEATURES:
            raise ProfileError(f"{len(features)} features came, expected 1 to {MAX_FEATURES}")
        return cls(
            rows=rows,
            features=tuple(_feature_from(each, index) for index, each in enumerate(features)),
            content_hash=_field(read, "content_hash", str, "the profile"),
            source=_field(read, "source", str, "the profile"),
            created=_field(read, "created", str, "the profile"),
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ReferenceProfile:
        """Read a file.

        Raises:
            ProfileError: it cannot be read, or is no profile.
        """
        try:
            size = os.path.getsize(path)
            if size > _MAX_BYTES:
                raise ProfileError(f"{size} bytes came, expected {_MAX_BYTES} at most")
            return cls.from_json(Path(path).read_bytes())
        except OSError as error:
            raise ProfileError(f"cannot be read: {error.strerror}") from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a file, at once or not at all.

        Raises:
            OSError: it cannot be written.
        """
        target = Path(path)
        # Hidden until it is whole: a server that follows the folder takes no half of it.
        handle, name = tempfile.mkstemp(prefix=".profile-", dir=target.parent)
        try:
            with open(handle, "w", encoding="utf-8") as file:
                file.write(self.to_json())
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(name, 0o666 & ~umask)
            os.replace(name, target)
        except BaseException:
            os.unlink(name)
            raise


def _check_feature(feature: FeatureProfile, spec: ModelSpec) -> None:
    where = f"feature {feature.name!r}"
    tensors = spec.inputs if feature.role == "input" else spec.outputs
    kind = "input" if feature.role == "input" else "output"
    found = next((tensor for tensor in tensors if tensor.name == feature.tensor), None)
    if found is None:
        names = ", ".join(repr(tensor.name) for tensor in tensors)
        raise ProfileError(f"{where} is of {kind} {feature.tensor!r}; the model's are {names}")
    if found.datatype != feature.datatype:
        raise ProfileError(
            f"{where} was profiled as {feature.datatype}; {kind} {found.name!r} is "
            f"{found.datatype} now"
        )
    columns = row_elements(found)
    if columns is not None and not 0 <= feature.column < columns:
        raise ProfileError(
            f"{where} is column {feature.column} of {kind} {found.name!r}, which has {columns}"
        )


def row_elements(tensor: TensorSpec) -> int | None:
    """Elements in a row of a tensor; None if requests decide."""
    return None if min(tensor.dims, default=1) < 0 else math.prod(tensor.dims)


def _feature_to_dict(feature: FeatureProfile) -> dict[str, Any]:
    bins = feature.bins
    points = {"edges": bins.edges} if bins.kind == "numeric" else {"values": bins.values}
    return {
        "name": feature.name,
        "tensor": feature.tensor,
        "role": feature.role,
        "column": feature.column,
        "datatype": feature.datatype,
        **points,
        # The bins that there are, then below (or other), above, missing.
        "counts": [*feature.counts[: bins.count], *feature.counts[SLOTS - 3 :]],
        "summary": asdict(feature.summary),
    }


def _feature_from(read: Any, index: int) -> FeatureProfile:
    where = f"feature {index}"
    if not isinstance(read, dict):
        raise ProfileError(f"{where}: {type(read).__name__} came, expected an object")
    where = f"feature {_field(read, 'name', str, where)!r}"
    role = _field(read, "role", str, where)
    if role not in get_args(Role):
        raise ProfileError(f"{where}: role {role!r} came, expected one of {get_args(Role)}")
    if "edges" in read:
        bins = Bins("numeric", edges=tuple(_field(read, "edges", list, where)))
    else:
        bins = Bins("category", values=tuple(_field(read, "values", list, where)))
    try:
        check_bins(index, bins)
    except (ValueError, TypeError) as error:
        raise ProfileError(f"{where}: {error}") from None
    column = _field(read, "column", int, where)
    counts = _field(read, "counts", list, where)
    if len(counts) != bins.count + 3 or column < 0:
        raise ProfileError(
            f"{where}: {len(counts)} counts and column {column} came, expected "
            f"{bins.count + 3} and 0 or more"
        )
    if not all(type(count) is int and 0 <= count < 2**62 for count in counts):
        raise ProfileError(f"{where}: counts that are no numbers of rows came")
    unused = [0] * (SLOTS - 3 - bins.count)
    summary = _field(read, "summary", dict, where)
    return FeatureProfile(
        name=read["name"],
        tensor=_field(read, "tensor", str, where),
        role=role,
        column=column,
        datatype=_field(read, "datatype", str, where),
        bins=bins,
        counts=(*counts[:-3], *unused, *counts[-3:]),
        summary=_summary_from(summary, where),
    )


def _summary_from(read: Mapping[str, Any], where: str) -> FeatureSummary:
    known = FeatureSummary.__dataclass_fields__
    for key, value in read.items():
        if key in known and value is not None and type(value) not in (int, float):
            raise ProfileError(f"{where}: summary {key} {value!r} came, expected a number")
    return FeatureSummary(**{key: value for key, value in read.items() if key in known})


def _field(read: Mapping[str, Any], key: str, kind: type, where: str) -> Any:
    value = read.get(key)
    if type(value) is not kind:
        came = "nothing" if value is None else type(value).__name__
        raise ProfileError(f"{where}: {key!r} is {came}, expected {kind.__name__}")
    return value
