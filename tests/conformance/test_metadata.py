"""ServerLive, ServerReady, ModelReady, ServerMetadata, ModelMetadata, ModelConfig,
ModelStatistics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest

from tests.conformance import wire
from tests.conformance.models import MODELS, Model

Ask = Callable[..., Any]
NOT_FOUND = grpc.StatusCode.NOT_FOUND


def test_live_and_ready(ask: Ask) -> None:
    assert ask("ServerLive").live
    assert ask("ServerReady").ready


@pytest.mark.parametrize(
    ("name", "version", "ready"),
    [
        ("pair", "", True),
        ("pair", "1", True),
        ("versions", "1", True),
        ("versions", "3", True),
        ("versions", "2", False),
        ("nobody", "", False),
    ],
)
def test_model_ready(ask: Ask, name: str, version: str, ready: bool) -> None:
    assert ask("ModelReady", name=name, version=version).ready is ready


def test_server_metadata(ask: Ask, strict: bool) -> None:
    metadata = ask("ServerMetadata")
    assert metadata.name
    assert metadata.version
    if strict:
        assert metadata.name == "penstock"
        assert {"classification", "model_repository", "statistics"} <= set(metadata.extensions)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_model_metadata(ask: Ask, model: Model) -> None:
    """Every model, as it was told: names, datatypes, shapes with the batch dimension."""
    metadata = ask("ModelMetadata", name=model.name)
    assert metadata.name == model.name
    assert metadata.platform
    assert sorted(metadata.versions) == [str(version) for version in model.versions]
    batch = [-1] if model.max_batch_size else []
    for told, tensors in ((metadata.inputs, model.inputs), (metadata.outputs, model.outputs)):
        assert {tensor.name: (tensor.datatype, list(tensor.shape)) for tensor in told} == {
            tensor.name: (
                tensor.datatype,
                batch + [dim if isinstance(dim, int) else -1 for dim in tensor.dims],
            )
            for tensor in tensors
        }


def test_metadata_of_one_version(ask: Ask) -> None:
    assert "1" in ask("ModelMetadata", name="versions", version="1").versions


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_model_config(ask: Ask, model: Model) -> None:
    """Complete, whatever config.pbtxt said."""
    config = ask("ModelConfig", name=model.name).config
    assert config.name == model.name
    assert config.max_batch_size == model.max_batch_size
    assert config.backend
    for told, tensors in ((config.input, model.inputs), (config.output, model.outputs)):
        assert {tensor.name: list(tensor.dims) for tensor in told} == {
            tensor.name: [dim if isinstance(dim, int) else -1 for dim in tensor.dims]
            for tensor in tensors
        }
        assert all(tensor.data_type for tensor in told)
    optional = [tensor.name for tensor in config.input if tensor.optional]
    assert optional == [tensor.name for tensor in model.inputs if tensor.optional]


@pytest.mark.parametrize("method", ["ModelMetadata", "ModelConfig", "ModelStatistics"])
@pytest.mark.parametrize(("name", "version"), [("nobody", ""), ("pair", "7")])
def test_unknown_models_are_not_found(
    ask: Ask, strict: bool, method: str, name: str, version: str
) -> None:
    with pytest.raises(grpc.RpcError) as error:
        ask(method, name=name, version=version)
    assert error.value.code() in (
        {NOT_FOUND} if strict else {NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT}
    )
    assert name in error.value.details()
    if strict:
        assert version in error.value.details()
    assert ask("ModelReady", name="pair").ready


def test_statistics_count_exactly(ask: Ask, channel: grpc.Channel, strict: bool) -> None:
    def stats() -> Any:
        (found,) = ask("ModelStatistics", name="echo_int16").model_stats
        return found

    before = stats()
    for rows in (1, 2, 5):
        array = np.ones((rows, 2), np.int16)
        wire.infer(channel, wire.request("echo_int16", "INT16", array))
    for _ in range(2):
        wire.refusal(channel, wire.request("echo_int16", "INT8", np.ones((1, 2), np.int8)))
    after = stats()
    assert (after.name, after.version) == ("echo_int16", "1")
    assert after.inference_count - before.inference_count == 8
    assert after.execution_count - before.execution_count == 3
    spent, had = after.inference_stats, before.inference_stats
    assert spent.success.count - had.success.count == 3
    for stage in ("success", "queue", "compute_input", "compute_infer", "compute_output"):
        assert getattr(spent, stage).count - getattr(had, stage).count == 3
        if strict:
            assert getattr(spent, stage).ns >= getattr(had, stage).ns
    parts = ("queue", "compute_input", "compute_infer", "compute_output")
    assert sum(getattr(spent, part).ns for part in parts) <= spent.success.ns
    assert after.last_inference > 1_600_000_000_000  # milliseconds since 1970
    if strict:
        # Triton has no table of batches for a model that does not batch dynamically.
        counts = {batch.batch_size: batch.compute_infer.count for batch in after.batch_stats}
        had_counts = {batch.batch_size: batch.compute_infer.count for batch in before.batch_stats}
        grown = {size: n - had_counts.get(size, 0) for size, n in counts.items()}
        assert {size: n for size, n in grown.items() if n} == {1: 1, 2: 1, 5: 1}


def test_statistics_of_all_and_of_one_version(ask: Ask) -> None:
    everything = {(s.name, s.version) for s in ask("ModelStatistics").model_stats}
    assert everything >= {(m.name, str(v)) for m in MODELS for v in m.versions}
    one = ask("ModelStatistics", name="versions", version="1").model_stats
    assert [(s.name, s.version) for s in one] == [("versions", "1")]
    both = ask("ModelStatistics", name="versions").model_stats
    assert {s.version for s in both} == {"1", "3"}


def test_garbage_for_a_slow_method(channel: grpc.Channel, strict: bool) -> None:
    for name in ("ServerLive", "ModelMetadata", "ModelStatistics"):
        with pytest.raises(grpc.RpcError) as error:
            wire.method(channel, name)(b"\xff\xff\xff", timeout=5)
        if strict:
            assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
            assert f"{name}Request" in error.value.details()
        assert wire.control(channel, name, **({} if name == "ServerLive" else {"name": "pair"}))


@pytest.mark.parametrize("name", ["ModelDream", "modelReady", ""])
def test_unknown_methods(channel: grpc.Channel, name: str) -> None:
    with pytest.raises(grpc.RpcError) as error:
        wire.method(channel, name)(b"", timeout=5)
    assert error.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_slow_methods_do_not_wait_for_each_other(channel: grpc.Channel) -> None:
    """And keep no inference waiting."""
    ready = [wire.method(channel, "ServerReady").future(b"", timeout=20) for _ in range(300)]
    infer = [
        wire.method(channel).future(wire.encoded(wire.full("echo_fp32", i)), timeout=20)
        for i in range(300)
    ]
    assert all(future.code() == grpc.StatusCode.OK for future in (*infer, *ready))
