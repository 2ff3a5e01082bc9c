"""Requests that can be told apart, and the count of what became of them."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from tritonclient.grpc import service_pb2 as pb

from tests.faults.models import PLUS_COLUMNS

SERVICE = "/inference.GRPCInferenceService/"
MODEL_INFER = SERVICE + "ModelInfer"
MODEL_STREAM_INFER = SERVICE + "ModelStreamInfer"

EXACT = 1 << 22
"""x below this and x + version are exact in float32."""


@dataclass
class Tally:
    """What all clients saw together."""

    outcomes: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    versions: set[str] = field(default_factory=set)
    """That answered."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, outcome: str) -> None:
        with self._lock:
            self.outcomes[outcome] += 1

    def violate(self, what: str) -> None:
        with self._lock:
            self.violations.append(what)

    def check(self, request: pb.ModelInferRequest, response: pb.ModelInferResponse) -> None:
        """Count an answer; a violation unless it is the answer to ``request``."""
        wrong = difference(request, response)
        if wrong:
            self.violate(wrong)
        else:
            self.count(f"{request.model_name} answered")
            with self._lock:
                self.versions.add(response.model_version)


def make_request(
    model: str, random: np.random.Generator, rows: int, request_id: str
) -> pb.ModelInferRequest:
    """Whole numbers nobody else sends, so that another's rows would show."""
    x = random.integers(0, EXACT, (rows, PLUS_COLUMNS)).astype(np.float32)
    request = pb.ModelInferRequest(model_name=model, id=request_id)
    request.inputs.add(name="x", datatype="FP32", shape=x.shape)
    request.raw_input_contents.append(x.tobytes())
    return request


def make_malformed(random: np.random.Generator) -> pb.ModelInferRequest:
    """One value short."""
    request = make_request("plus", random, 2, "malformed")
    request.raw_input_contents[0] = request.raw_input_contents[0][:-4]
    return request


def difference(request: pb.ModelInferRequest, response: pb.ModelInferResponse) -> str:
    """How ``response`` is not what the model must answer; empty if it is."""
    where = f"{request.model_name} {request.id!r}"
    if (response.id, response.model_name) != (request.id, request.model_name):
        return f"{where}: answered as {response.model_name} {response.id!r}"
    if len(response.raw_output_contents) != 1:
        return f"{where}: {len(response.raw_output_contents)} outputs"
    x = np.frombuffer(request.raw_input_contents[0], np.float32).reshape(-1, PLUS_COLUMNS)
    y = np.frombuffer(response.raw_output_contents[0], np.float32)
    if y.size == 0 or y.size % len(x):
        return f"{where}: {y.size} values for {len(x)} rows"
    expected = x if request.model_name == "plus" else x[:, :1]
    if not np.array_equal(
        y.reshape(len(x), -1),
        np.broadcast_to(expected, (len(x), y.size // len(x))) + np.float32(response.model_version),
    ):
        return f"{where}: not its own rows plus {response.model_version}"
    return ""
