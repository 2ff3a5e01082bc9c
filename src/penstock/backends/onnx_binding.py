"""From the memory of a batch to ONNX Runtime and back, with as few copies as the model allows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from penstock.backends.base import DTYPES, LoadError, Reshapes, fill_dynamic
from penstock.spec import ModelSpec, TensorSpec

if TYPE_CHECKING:
    from penstock._native.engine import Batch

MAX_BINDINGS = 256
"""Kept per instance; one is a few hundred bytes."""

ELEMENT_TYPES: Mapping[str, int] = {
    "FP32": 1,
    "UINT8": 2,
    "INT8": 3,
    "UINT16": 4,
    "INT16": 5,
    "INT32": 6,
    "INT64": 7,
    "BYTES": 8,
    "BOOL": 9,
    "FP16": 10,
    "FP64": 11,
    "UINT32": 12,
    "UINT64": 13,
    "BF16": 16,
}
"""``TensorProto.DataType`` of onnx.proto."""


@dataclass(frozen=True, slots=True)
class _Tensor:
    """An input or output, ready to bind."""

    name: str
    datatype: str
    element_type: int
    """onnx.proto's number."""
    dims: tuple[int, ...]
    """As the protocol has them."""
    model_dims: tuple[int, ...] | None
    """As the model has them, if they differ."""

    def to_model(self, shape: tuple[int, ...], lead: int) -> tuple[int, ...]:
        """The model's shape for one of the protocol's; ``lead``: 1 with a batch dimension."""
        if self.model_dims is None:
            return shape
        return (*shape[:lead], *fill_dynamic(shape[lead:], self.dims, self.model_dims))

    def to_protocol(self, shape: tuple[int, ...], lead: int) -> tuple[int, ...]:
        if self.model_dims is None or len(shape) - lead != len(self.model_dims):
            return shape
        return (*shape[:lead], *fill_dynamic(shape[lead:], self.model_dims, self.dims))


class OnnxBackend:
    """One instance of a model in a session that its instances share.

    Three ways, by what the model's tensors are:

    - numbers of fixed size: bound by address once per number of rows; a batch is one call;
    - numbers of dynamic size: inputs bound by address for each batch, outputs in place where
      their size is fixed and otherwise left where ONNX Runtime put them;
    - strings: through NumPy, as ONNX Runtime binds none.
    """

    def __init__(self, session: Any, spec: ModelSpec, reshapes: Reshapes) -> None:
        """
        Raises:
            LoadError: there is no way for what the model takes and gives.
        """
        self._session = session
        self._lead = 1 if spec.batching.max_batch_size > 0 else 0
        self._inputs = [_tensor(tensor, reshapes.inputs.get(tensor.name)) for tensor in spec.inputs]
        self._outputs = [
            _tensor(tensor, reshapes.outputs.get(tensor.name)) for tensor in spec.outputs
        ]
        self._output_names = [tensor.name for tensor in spec.outputs]
        datatypes = {tensor.datatype for tensor in (*spec.inputs, *spec.outputs)}
        self._strings = "BYTES" in datatypes
        if self._strings and "BF16" in datatypes:
            raise LoadError("BF16 tensors cannot be served beside BYTES: NumPy has no such type")
        # Where ONNX Runtime may point for an input without elements.
        self._nowhere = np.zeros(1, np.float64)
        self._bindings: dict[int, Any] = {}

    def run(self, batch: Batch) -> None:
        """Compute one batch; see ``penstock._native.engine.Backend``."""
        if batch.static:
            binding = self._bindings.get(batch.rows)
            if binding is None:
                binding = self._bind_static(batch)
            self._session.run_with_iobinding(binding)
        elif self._strings:
            self._run_arrays(batch)
        else:
            self._run_dynamic(batch)

    def _bind_static(self, batch: Batch) -> Any:
        binding, _ = self._bind(batch)
        if len(self._bindings) >= MAX_BINDINGS:
            self._bindings.pop(next(iter(self._bindings)))
        self._bindings[batch.rows] = binding
        return binding

    def _bind(self, batch: Batch) -> tuple[Any, list[int]]:
        """A binding for this batch, and the outputs that have no place yet."""
        binding = self._session.io_binding()
        lead = self._lead
        for index, tensor in enumerate(self._inputs):
            address = batch.input_address(index)
            if address == 0:
                if batch.input(index) is None:
                    continue
                address = self._nowhere.ctypes.data
            shape = tensor.to_model(batch.input_shape(index), lead)
            binding.bind_input(tensor.name, "cpu", 0, tensor.element_type, shape, address)
        unplaced = []
        for index, tensor in enumerate(self._outputs):
            address = batch.output_address(index)
            if address == 0:
                binding.bind_output(tensor.name, "cpu")
                unplaced.append(index)
                continue
            shape = (batch.rows, *tensor.dims) if lead else tensor.dims
            shape = tensor.to_model(shape, lead)
            binding.bind_output(tensor.name, "cpu", 0, tensor.element_type, shape, address)
        return binding, unplaced

    def _run_dynamic(self, batch: Batch) -> None:
        binding, unplaced = self._bind(batch)
        self._session.run_with_iobinding(binding)
        if not unplaced:
            return
        values = binding.get_outputs()
        for index in unplaced:
            tensor = self._outputs[index]
            array = _view(values[index], DTYPES[tensor.datatype])
            self._give(batch, index, array)

    def _run_arrays(self, batch: Batch) -> None:
        feed = {}
        for index, tensor in enumerate(self._inputs):
            array = batch.input(index)
            if array is None:
                continue
            if tensor.datatype == "BYTES":
                array = _decoded(array)
            feed[tensor.name] = array.reshape(tensor.to_model(array.shape, self._lead))
        values = self._session.run(self._output_names, feed)
        for index, value in enumerate(values):
            self._give(batch, index, np.asarray(value))

    def _give(self, batch: Batch, index: int, array: np.ndarray[Any, Any]) -> None:
        shape = self._outputs[index].to_protocol(array.shape, self._lead)
        batch.set_output(index, array.reshape(shape))


class _Memory:
    """Memory of an OrtValue, which it keeps, as NumPy's array interface."""

    def __init__(self, value: Any, dtype: np.dtype[np.generic]) -> None:
        self.value = value
        self.__array_interface__ = {
            "version": 3,
            "shape": tuple(value.shape()),
            "typestr": dtype.str,
            "data": (value.data_ptr(), False),
        }


def _view(value: Any, dtype: np.dtype[np.generic]) -> np.ndarray[Any, Any]:
    shape = tuple(value.shape())
    if 0 in shape:
        return np.empty(shape, dtype)
    return np.asarray(_Memory(value, dtype))


def _decoded(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Bytes as text, which is what ONNX Runtime takes; the core has checked that they are."""
    text = np.empty(array.size, dtype=object)
    text[:] = [element.decode() for element in array.reshape(-1)]
    return text.reshape(array.shape)


def _tensor(spec: TensorSpec, model_dims: tuple[int, ...] | None) -> _Tensor:
    return _Tensor(spec.name, spec.datatype, ELEMENT_TYPES[spec.datatype], spec.dims, model_dims)
