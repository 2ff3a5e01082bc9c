"""Writes the suite's models: ``python -m tests.conformance.repository [--python] FOLDER``."""

from __future__ import annotations

import argparse
import inspect
from pathlib import Path

import onnx
from onnx import helper, numpy_helper

from tests.conformance.models import KINDS, LABELS, MODELS, Model, Tensor

IMPORTS = """\
import json
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

Arrays = Mapping[str, Any]
"""

CLASSES = '''\
class Model:
    """As Penstock has it."""

    def infer(self, inputs, parameters):
        return compute(inputs, parameters, VERSION)


class TritonPythonModel:
    """As Triton's Python backend has it."""

    def initialize(self, args):
        config = json.loads(args["model_config"])
        self.outputs = {output["name"]: output["data_type"] for output in config["output"]}

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        from triton_python_backend_utils import InferenceResponse, Tensor, TritonError

        if "TYPE_BF16" in self.outputs.values():
            # NumPy has no such type.
            bits = request.inputs()[0].to_dlpack()
            return InferenceResponse([Tensor.from_dlpack(name, bits) for name in self.outputs])
        try:
            inputs = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
            outputs = compute(inputs, json.loads(request.parameters()), VERSION)
            wanted = request.requested_output_names()
            return InferenceResponse([Tensor(n, np.ascontiguousarray(outputs[n])) for n in wanted])
        except Exception as error:
            return InferenceResponse([], error=TritonError(f"{type(error).__name__}: {error}"))
'''


def _source(model: Model, version: int) -> str:
    """The text of model.py."""
    function = inspect.getsource(model.compute)
    named = f"compute, VERSION = {model.compute.__name__}, {version}"
    return f"{IMPORTS}\n\n{function}\n\n{named}\n\n\n{CLASSES}"


def _onnx(model: Model, version: int) -> bytes:
    constants = model.constants(version)
    graph = helper.make_graph(
        list(model.nodes),
        model.name,
        [_value(model, tensor) for tensor in model.inputs],
        [_value(model, tensor) for tensor in model.outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString())


def _value(model: Model, tensor: Tensor) -> onnx.ValueInfoProto:
    batch = ["batch"] if model.max_batch_size else []
    dims = () if tensor.reshaped else tensor.dims
    return helper.make_tensor_value_info(tensor.name, KINDS[tensor.datatype], [*batch, *dims])


def _config(model: Model, python: bool) -> str:
    """config.pbtxt; of an ONNX model only what the file does not tell."""
    lines = ['backend: "python"'] if python else []
    if model.max_batch_size or python:
        lines.append(f"max_batch_size: {model.max_batch_size}")
    tensors = (*model.inputs, *model.outputs)
    if python or any(t.optional or t.reshaped or t.labelled for t in tensors):
        for role, described in (("input", model.inputs), ("output", model.outputs)):
            lines += [f"{role} {{ {_entry(tensor)} }}" for tensor in described]
    if len(model.versions) > 1:
        lines.append("version_policy { all { } }")
    return "".join(line + "\n" for line in lines)


def _entry(tensor: Tensor) -> str:
    kind = "STRING" if tensor.datatype == "BYTES" else tensor.datatype
    dims = ", ".join(str(dim) if isinstance(dim, int) else "-1" for dim in tensor.dims)
    text = f'name: "{tensor.name}" data_type: TYPE_{kind} dims: [ {dims} ]'
    text += " reshape { shape: [ ] }" if tensor.reshaped else ""
    text += " optional: true" if tensor.optional else ""
    return text + (' label_filename: "labels.txt"' if tensor.labelled else "")


def write_model(folder: Path, model: Model, *, python: bool = False) -> None:
    """Write one model under ``folder``, as Python code if it has to be or ``python`` is true."""
    python = python or not model.nodes
    for version in model.versions:
        place = folder / model.name / str(version)
        place.mkdir(parents=True, exist_ok=True)
        if python:
            (place / "model.py").write_text(_source(model, version))
        else:
            (place / "model.onnx").write_bytes(_onnx(model, version))
    if config := _config(model, python):
        (folder / model.name / "config.pbtxt").write_text(config)
    if any(tensor.labelled for tensor in model.outputs):
        (folder / model.name / "labels.txt").write_text("".join(f"{each}\n" for each in LABELS))


def write(folder: Path, *, python: bool = False) -> None:
    """Write the whole repository under ``folder``."""
    for model in MODELS:
        write_model(folder, model, python=python)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--python", action="store_true", help="all models as model.py")
    arguments = parser.parse_args()
    write(arguments.folder, python=arguments.python)
