"""grpc.health.v1, as Kubernetes and load balancers ask it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import grpc
import pytest
import tritonclient.grpc as triton
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.conformance.process import Running

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
Start = Callable[..., AbstractContextManager[Running]]


def request(service: str = "") -> Any:
    return health_pb2.HealthCheckRequest(service=service)


@pytest.fixture
def stub(channel: grpc.Channel, strict: bool) -> Any:
    """Skips where a server has no such service."""
    made = health_pb2_grpc.HealthStub(channel)
    try:
        made.Check(request(), timeout=5)
    except grpc.RpcError as error:
        if strict or error.code() != grpc.StatusCode.UNIMPLEMENTED:
            raise
        pytest.skip("this server has no grpc.health.v1")
    return made


def test_check(stub: Any) -> None:
    assert stub.Check(request(), timeout=5).status == SERVING


@pytest.mark.parametrize("service", ["inference.GRPCInferenceService", "pair"])
def test_check_of_a_service(ours: Running, stub: Any, service: str) -> None:
    assert stub.Check(request(service), timeout=5).status == SERVING


def test_check_of_what_is_not_there(ours: Running, stub: Any) -> None:
    """Triton answers for the server whatever is asked for."""
    with pytest.raises(grpc.RpcError) as error:
        stub.Check(request("nobody"), timeout=5)
    assert error.value.code() == grpc.StatusCode.NOT_FOUND
    assert "nobody" in error.value.details()


@pytest.mark.parametrize(("service", "status"), [("", SERVING), ("nobody", SERVICE_UNKNOWN)])
def test_watch(ours: Running, stub: Any, service: str, status: int) -> None:
    """An unknown service is a status of the stream, not its end."""
    watch = stub.Watch(request(service), timeout=10)
    assert next(watch).status == status
    watch.cancel()


def test_a_watch_ends_at_its_deadline(ours: Running, stub: Any) -> None:
    watch = stub.Watch(request(), timeout=0.3)
    assert next(watch).status == SERVING
    with pytest.raises(grpc.RpcError) as error:
        next(watch)
    assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


def test_many_watches_on_one_connection(ours: Running, stub: Any) -> None:
    watches = [stub.Watch(request(), timeout=10) for _ in range(50)]
    assert {next(watch).status for watch in watches} == {SERVING}
    for watch in watches:
        watch.cancel()
    assert stub.Check(request(), timeout=5).status == SERVING


def test_watch_follows_a_model_and_the_server(models: Path, start: Start) -> None:
    flags = ["--model-control", "explicit", "--load-model", "pair"]
    with (
        start(models, *flags) as own,
        own.channel() as channel,
        triton.InferenceServerClient(own.grpc) as client,
    ):
        stub = health_pb2_grpc.HealthStub(channel)
        server = stub.Watch(request(), timeout=20)
        model = stub.Watch(request("whole"), timeout=20)
        assert next(server).status == SERVING
        assert next(model).status != SERVING
        client.load_model("whole")
        # It may be told of as loading first.
        assert any(next(model).status == SERVING for _ in range(2))
        client.unload_model("whole")
        assert next(model).status in (NOT_SERVING, SERVICE_UNKNOWN)
        own.end()
        assert next(server).status == NOT_SERVING
