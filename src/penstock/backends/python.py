"""A model that is a Python class: ``class Model`` in ``model.py``.

::

    class Model:
        def load(self, context):                  # optional; context is a ModelContext
            self.weights = np.load(context.folder / "weights.npy")

        def infer(self, inputs, parameters):      # ``parameters`` may be left away
            return {"y": inputs["x"] @ self.weights}

        def unload(self):                         # optional
            ...

``infer`` takes NumPy arrays by name - batch dimension first if the model batches, BYTES as an
object array of ``bytes``, BF16 as its bits in uint16, an optional input left out if no request of
the batch has it - and returns one for each output. The inputs are the server's own memory: they
are valid, and may be overwritten, until ``infer`` returns. Each instance has an object of its own,
which one thread uses. An exception fails the requests of the batch with INTERNAL, its type and its
text; ``penstock.RequestError`` chooses another code.
"""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import logging
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from penstock.backends.base import DTYPES, LoadError, Reshapes, fill_dynamic
from penstock.spec import ModelSpec

if TYPE_CHECKING:
    from penstock._native.engine import Backend, Batch

_log = logging.getLogger("penstock.backends.python")

CLASS_NAME = "Model"


@dataclass(frozen=True, slots=True)
class ModelContext:
    """What an instance may want to know when it loads."""

    name: str
    version: int
    folder: Path
    """Of the version: where model.py is."""
    parameters: Mapping[str, str]
    """``parameters`` of config.pbtxt."""


_ANYTHING = (Exception, SystemExit, GeneratorExit, asyncio.CancelledError)
"""What a model's code may raise and must not take further; Ctrl-C is the user's."""


class PythonModel:
    """A model.py in memory."""

    signature = None
    strings_are_utf8 = False
    native = False

    def __init__(self, path: Path, context: ModelContext) -> None:
        """
        Raises:
            LoadError: the file cannot be imported or has no class ``Model`` with ``infer``.
        """
        self._context = context
        self._instances: list[Any] = []
        # Two versions of one model are two modules; each may import its neighbours (from . import).
        self._module_name = f"penstock_model_{uuid.uuid4().hex}"
        try:
            module = self._import(path)
            found: Any = getattr(module, CLASS_NAME, None)
            infer = getattr(found, "infer", None)
            if not inspect.isclass(found) or not callable(infer):
                raise LoadError(
                    f"{path.name}: expected a class {CLASS_NAME!r} with a method 'infer'"
                )
            self._class: Any = found
            self._takes_parameters = _takes_parameters(found)
        except BaseException:
            self.close()
            raise

    @property
    def parameters_matter(self) -> bool:
        return self._takes_parameters

    def prepare(self, spec: ModelSpec) -> None:
        """Nothing depends on the specification."""

    def create_backend(self, spec: ModelSpec, reshapes: Reshapes) -> Backend:
        try:
            instance = self._class()
            self._instances.append(instance)
            load = getattr(instance, "load", None)
            if load is not None:
                load(self._context) if _argument_count(load) > 0 else load()
        except _ANYTHING as error:
            _log.error("model %s did not load", spec.name, exc_info=error)
            raise LoadError(f"{CLASS_NAME}.load: {type(error).__name__}: {error}") from error
        return PythonBackend(instance, spec, reshapes, self._takes_parameters)

    def close(self) -> None:
        for instance in self._instances:
            unload = getattr(instance, "unload", None)
            if unload is None:
                continue
            try:
                unload()
            except _ANYTHING as error:
                _log.error("model %s did not unload", self._context.name, exc_info=error)
        self._instances.clear()
        self._class = None
        inside = self._module_name + "."
        for name in list(sys.modules):
            if name == self._module_name or name.startswith(inside):
                del sys.modules[name]

    def _import(self, path: Path) -> ModuleType:
        spec = importlib.util.spec_from_file_location(
            self._module_name, path, submodule_search_locations=[str(path.parent)]
        )
        if spec is None or spec.loader is None:
            raise LoadError(f"{path.name}: not a Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[self._module_name] = module
        try:
            spec.loader.exec_module(module)
        except _ANYTHING as error:
            _log.error("%s cannot be imported", path, exc_info=error)
            raise LoadError(f"{path.name}: {type(error).__name__}: {error}") from error
        return module


class PythonBackend:
    """One instance: arrays in, arrays out."""

    def __init__(
        self, instance: Any, spec: ModelSpec, reshapes: Reshapes, takes_parameters: bool
    ) -> None:
        self._infer = instance.infer
        self._spec = spec
        self._reshapes = reshapes
        self._lead = 1 if spec.batching.max_batch_size > 0 else 0
        self._takes_parameters = takes_parameters

    def run(self, batch: Batch) -> None:
        """Compute one batch; see ``penstock._native.engine.Backend``."""
        inputs: dict[str, np.ndarray[Any, Any]] = {}
        for index, tensor in enumerate(self._spec.inputs):
            array = batch.input(index)
            if array is not None:
                target = self._reshapes.inputs.get(tensor.name)
                inputs[tensor.name] = self._reshaped(array, tensor.dims, target)
        if self._takes_parameters:
            outputs = self._infer(inputs, parameters=MappingProxyType(dict(batch.parameters)))
        else:
            outputs = self._infer(inputs)
        names = [tensor.name for tensor in self._spec.outputs]
        if not isinstance(outputs, Mapping):
            raise TypeError(f"infer returned {type(outputs).__name__}, expected a mapping")
        if set(outputs) != set(names):
            raise ValueError(f"infer returned outputs {sorted(outputs)}, expected {sorted(names)}")
        for index, tensor in enumerate(self._spec.outputs):
            value = outputs[tensor.name]
            if not isinstance(value, np.ndarray):
                value = np.asarray(value, DTYPES[tensor.datatype])
            source = self._reshapes.outputs.get(tensor.name)
            if source is not None:
                value = self._reshaped(value, source, tensor.dims)
            batch.set_output(index, value)

    def _reshaped(
        self,
        array: np.ndarray[Any, Any],
        pattern: tuple[int, ...],
        target: tuple[int, ...] | None,
    ) -> np.ndarray[Any, Any]:
        lead = self._lead
        if target is None or array.ndim - lead != len(pattern):
            return array
        dims = fill_dynamic(array.shape[lead:], pattern, target)
        return array.reshape((*array.shape[:lead], *dims))


def _takes_parameters(model: Any) -> bool:
    """Whether ``infer`` has an argument ``parameters``; a static method has no self before it."""
    return "parameters" in inspect.signature(model.infer).parameters


def _argument_count(function: Any) -> int:
    """Positional arguments that may be given."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    return sum(parameter.kind in kinds for parameter in parameters)
