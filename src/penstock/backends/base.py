"""What the repository and the backends tell each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from penstock.spec import DYNAMIC, ModelSpec

if TYPE_CHECKING:
    from penstock._native.engine import Backend

DTYPES: Mapping[str, np.dtype[np.generic]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    # NumPy has no bfloat16: the bits.
    "BF16": np.dtype(np.uint16),
    "BYTES": np.dtype(object),
}
"""NumPy's type for each of the protocol's datatypes."""


class LoadError(Exception):
    """A model cannot be served; the text says why, for whoever runs the server."""


@dataclass(frozen=True, slots=True)
class DeclaredTensor:
    """An input or output as the model file declares it."""

    name: str
    datatype: str
    dims: tuple[int, ...]
    """Batch dimension included, if there is one; -1 is dynamic."""
    symbols: tuple[str, ...] = ()
    """Name of each dimension, "" where it has none."""
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Signature:
    """Everything a model file declares."""

    inputs: tuple[DeclaredTensor, ...]
    outputs: tuple[DeclaredTensor, ...]


@dataclass(frozen=True, slots=True)
class Reshapes:
    """Where a model's own shapes differ from the protocol's (Triton's ``reshape``).

    By tensor name; without the batch dimension if the model batches.
    """

    inputs: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    outputs: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


class OpenedModel(Protocol):
    """A model file in memory, shared by the instances of one version."""

    @property
    def signature(self) -> Signature | None:
        """None if the file does not tell."""

    @property
    def parameters_matter(self) -> bool:
        """Whether the parameters of requests reach the model."""

    @property
    def strings_are_utf8(self) -> bool:
        """Whether BYTES inputs are text to the model."""

    @property
    def native(self) -> bool:
        """Whether it computes without the interpreter's lock."""

    def prepare(self, spec: ModelSpec) -> None:
        """Called once, when it is known how the model will be served."""

    def create_backend(self, spec: ModelSpec, reshapes: Reshapes) -> Backend:
        """One instance's way to the model."""

    def close(self) -> None:
        """No backend of this model runs any more."""


def fill_dynamic(
    dims: tuple[int, ...], pattern: tuple[int, ...], target: tuple[int, ...]
) -> tuple[int, ...]:
    """``target`` with the sizes that ``dims`` has where ``pattern`` is dynamic, in order.

    >>> fill_dynamic((5, 7), (-1, 7), (1, -1, 7))
    (1, 5, 7)
    """
    sizes = iter([dim for dim, wanted in zip(dims, pattern, strict=True) if wanted == DYNAMIC])
    return tuple(next(sizes) if dim == DYNAMIC else dim for dim in target)
