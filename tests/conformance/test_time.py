"""Deadlines, cancellation and the timeout parameter, on a model that sleeps."""

from __future__ import annotations

import time
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton

from tests.conformance import wire
from tests.conformance.conftest import Running


@pytest.fixture
def slow(ours: Running) -> Running:
    return ours


def sleep(milliseconds: float, **fields: Any) -> Any:
    return wire.request("slow", "FP32", np.full((1, 1), milliseconds, np.float32), **fields)


def rows_computed(address: str) -> int:
    with triton.InferenceServerClient(address) as client:
        statistics = client.get_inference_statistics("slow", as_json=True)
    return int(statistics["model_stats"][0].get("inference_count", 0))


def wait_for_idle(channel: grpc.Channel) -> None:
    wire.infer(channel, sleep(0), timeout=20)


def test_a_deadline_ends_the_call_in_time(slow: Running, channel: grpc.Channel) -> None:
    began = time.monotonic()
    error = wire.refusal(channel, sleep(1_000), timeout=0.1)
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - began < 0.8
    wait_for_idle(channel)


def test_what_expires_in_the_queue_is_not_computed(slow: Running, channel: grpc.Channel) -> None:
    wait_for_idle(channel)
    before = rows_computed(slow.grpc)
    call = channel.unary_unary(wire.SERVICE + "ModelInfer")
    running = call.future(sleep(600).SerializeToString(), timeout=10)
    time.sleep(0.1)
    queued = [call.future(sleep(0).SerializeToString(), timeout=0.1) for _ in range(5)]
    for future in queued:
        assert future.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    running.result()
    wait_for_idle(channel)
    assert rows_computed(slow.grpc) - before == 2


def test_what_is_cancelled_in_the_queue_is_not_computed(
    slow: Running, channel: grpc.Channel
) -> None:
    wait_for_idle(channel)
    before = rows_computed(slow.grpc)
    call = channel.unary_unary(wire.SERVICE + "ModelInfer")
    running = call.future(sleep(400).SerializeToString(), timeout=10)
    time.sleep(0.1)
    queued = [call.future(sleep(0).SerializeToString(), timeout=10) for _ in range(5)]
    time.sleep(0.1)
    for future in queued:
        future.cancel()
    running.result()
    wait_for_idle(channel)
    assert rows_computed(slow.grpc) - before == 2


def test_the_timeout_parameter_counts_in_the_queue(slow: Running, channel: grpc.Channel) -> None:
    call = channel.unary_unary(wire.SERVICE + "ModelInfer")
    running = call.future(sleep(500).SerializeToString(), timeout=10)
    time.sleep(0.1)
    message = sleep(0)
    message.parameters["timeout"].int64_param = 50_000
    began = time.monotonic()
    error = wire.refusal(channel, message)
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert "'slow'" in error.details()
    assert time.monotonic() - began < 0.35
    running.result()


def test_one_clients_deadline_is_not_anothers(slow: Running, channel: grpc.Channel) -> None:
    wait_for_idle(channel)
    call = channel.unary_unary(wire.SERVICE + "ModelInfer")
    running = call.future(sleep(300).SerializeToString(), timeout=10)
    time.sleep(0.05)
    # These two share a batch; one of them gives up while it runs.
    impatient = call.future(sleep(500).SerializeToString(), timeout=0.5)
    patient = call.future(sleep(500).SerializeToString(), timeout=10)
    running.result()
    assert impatient.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert patient.code() == grpc.StatusCode.OK
