"""What a model version is, as the native core needs to know it.

The repository makes these from ``config.pbtxt`` and the model file; the engine
reads them. They are checked where they are made (``penstock.repository``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

DYNAMIC = -1
"""A dimension whose size each request decides."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a model."""

    name: str
    datatype: str
    """As the protocol spells it: ``"FP32"``, ``"BYTES"``, ..."""
    dims: tuple[int, ...]
    """Without the batch dimension if the model batches; -1 is dynamic."""
    optional: bool = False
    utf8: bool = False
    """A BYTES input whose elements must be valid UTF-8."""
    labels: tuple[str, ...] = ()
    """Class names of an output, for the classification extension."""


@dataclass(frozen=True, slots=True)
class QueuePolicy:
    """Triton's ``ModelQueuePolicy``."""

    timeout_action: Literal["reject", "delay"] = "reject"
    default_timeout_us: int = 0
    """0: requests wait as long as it takes."""
    allow_timeout_override: bool = True
    """Whether the ``timeout`` request parameter counts."""
    max_queue_size: int = 0
    """0: the server's own limit alone."""


@dataclass(frozen=True, slots=True)
class Batching:
    """How requests become batches."""

    max_batch_size: int = 0
    """Rows; 0: the model has no batch dimension, each request runs alone."""
    max_queue_delay_us: int = 0
    """0: an idle instance takes at once what is queued."""
    preferred_batch_sizes: tuple[int, ...] = ()
    preserve_ordering: bool = False
    priority_levels: int = 0
    default_priority_level: int = 0
    default_queue_policy: QueuePolicy = field(default_factory=QueuePolicy)
    priority_queue_policies: Mapping[int, QueuePolicy] = field(default_factory=dict)
    latency_budget_us: int = 0
    """Every request's deadline is at most this long after its arrival; 0: none."""


@dataclass(frozen=True, slots=True)
class Monitoring:
    """What is noted of every request and every row."""

    enabled: bool = True
    max_slices: int = 16
    """Values of the `slice` request parameter that are told apart; all others are "other"."""
    learn_rows: int = 0
    """Rows from which a model without a reference profile learns one; 0: it does not."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One version of one model, complete."""

    name: str
    version: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    batching: Batching
    instance_count: int = 1
    parameters_matter: bool = False
    """Request parameters reach the model, so they keep batches apart."""
    monitoring: Monitoring = field(default_factory=Monitoring)


MAX_BINS = 32
"""Bins that a watched feature may have."""

BELOW, ABOVE, MISSING = MAX_BINS, MAX_BINS + 1, MAX_BINS + 2
"""Where a row of counts keeps what no bin takes: under the lowest reference value (or, of a
category, any other value), over the highest, NaN."""

SLOTS = MAX_BINS + 3
"""Length of a feature's row of counts."""


@dataclass(frozen=True, slots=True)
class Bins:
    """How the values of one feature are counted; from its reference profile."""

    kind: Literal["numeric", "category"]
    edges: tuple[float, ...] = ()
    """Of a numeric feature, strictly increasing, one more than bins: bin i counts values in
    (edges[i], edges[i + 1]], the first bin edges[0] too."""
    values: tuple[float | str, ...] = ()
    """Of a category: bin i counts values[i]. Numbers ascend; strings are of a BYTES tensor."""

    @property
    def count(self) -> int:
        """Number of bins, at most MAX_BINS."""
        return len(self.values) if self.kind == "category" else len(self.edges) - 1


@dataclass(frozen=True, slots=True)
class WatchedFeature:
    """A column of a tensor whose values the core counts."""

    tensor: str
    role: Literal["input", "output", "class"]
    """"class": the arg-max of each row of an output."""
    column: int
    """Flat index within a row of the tensor; 0 for "class"."""
    bins: Bins
