"""The methods beside inference: metadata, statistics, repository, health, reflection, HTTP."""

from __future__ import annotations

import contextlib
import json
import queue
import urllib.error
import urllib.request
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from tritonclient.grpc import service_pb2 as pb
from tritonclient.utils import InferenceServerException

from tests.conformance import wire
from tests.conformance.conftest import Running


@pytest.fixture
def client(address: str) -> Any:
    with triton.InferenceServerClient(address) as open_client:
        yield open_client


def test_live_and_ready(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("pair")
    assert client.is_model_ready("versions", "1")
    assert not client.is_model_ready("versions", "2")
    assert not client.is_model_ready("nobody")


def test_server_metadata(client: Any, server: Running | None) -> None:
    metadata = client.get_server_metadata()
    assert metadata.name
    assert metadata.version
    if server is not None:
        assert metadata.name == "penstock"


def test_model_metadata(client: Any) -> None:
    metadata = client.get_model_metadata("pair", as_json=True)
    assert metadata["name"] == "pair"
    assert metadata["versions"] == ["1"]
    assert [tensor["name"] for tensor in metadata["inputs"]] == ["a", "b"]
    assert metadata["inputs"][0] == {"name": "a", "datatype": "FP32", "shape": ["-1", "4"]}
    assert {tensor["name"] for tensor in metadata["outputs"]} == {"sum", "difference"}
    assert client.get_model_metadata("versions").versions == ["1", "3"]


def test_model_config(client: Any) -> None:
    config = client.get_model_config("pair").config
    assert config.name == "pair"
    assert config.max_batch_size == 16
    assert [tensor.name for tensor in config.input] == ["a", "b"]
    assert list(config.input[0].dims) == [4]


@pytest.mark.parametrize("method", ["get_model_metadata", "get_model_config"])
def test_unknown_models_are_not_found(client: Any, method: str) -> None:
    with pytest.raises(InferenceServerException, match="nobody") as error:
        getattr(client, method)("nobody")
    assert error.value.status() == "StatusCode.NOT_FOUND"


def test_statistics_count_exactly(client: Any, channel: grpc.Channel) -> None:
    def counts() -> tuple[int, int, int]:
        (stats,) = client.get_inference_statistics("echo_int16").model_stats
        return (
            stats.inference_stats.success.count,
            stats.inference_count,
            stats.execution_count,
        )

    before = counts()
    for rows in (1, 2, 5):
        array = np.ones((rows, 2), np.int16)
        wire.infer(channel, wire.request("echo_int16", "INT16", array))
    after = counts()
    assert [b - a for a, b in zip(before, after, strict=True)] == [3, 8, 3]
    (stats,) = client.get_inference_statistics("echo_int16").model_stats
    assert {batch.batch_size for batch in stats.batch_stats} >= {1, 2, 5}


def test_repository_index(client: Any) -> None:
    index = client.get_model_repository_index().models
    states = {(model.name, model.version): model.state for model in index}
    assert states["pair", "1"] == "READY"
    assert states["versions", "3"] == "READY"


def test_garbage_for_a_slow_method(channel: grpc.Channel) -> None:
    call = channel.unary_unary(wire.SERVICE + "ModelMetadata")
    with pytest.raises(grpc.RpcError) as error:
        call(b"\xff\xff\xff", timeout=5)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert call(pb.ModelMetadataRequest(name="pair").SerializeToString(), timeout=5)


def test_health_check(ours: Running, channel: grpc.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    serving = health_pb2.HealthCheckResponse.SERVING
    for service in ("", "inference.GRPCInferenceService"):
        assert stub.Check(health_pb2.HealthCheckRequest(service=service)).status == serving
    with pytest.raises(grpc.RpcError) as error:
        stub.Check(health_pb2.HealthCheckRequest(service="nobody"))
    assert error.value.code() == grpc.StatusCode.NOT_FOUND


def test_health_watch(ours: Running, channel: grpc.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    watch = stub.Watch(health_pb2.HealthCheckRequest(service=""), timeout=10)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    watch.cancel()
    watch = stub.Watch(health_pb2.HealthCheckRequest(service="nobody"), timeout=10)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    watch.cancel()


@pytest.mark.parametrize("package", ["grpc.reflection.v1", "grpc.reflection.v1alpha"])
def test_reflection(ours: Running, channel: grpc.Channel, package: str) -> None:
    ask = reflection_pb2.ServerReflectionRequest
    requests = [
        ask(list_services=""),
        ask(file_containing_symbol="inference.GRPCInferenceService"),
        ask(file_containing_symbol="inference.ModelInferRequest"),
        ask(file_containing_symbol="inference.Nothing"),
        ask(file_by_filename="nothing.proto"),
    ]
    call = channel.stream_stream(
        f"/{package}.ServerReflection/ServerReflectionInfo",
        request_serializer=ask.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    services, file, message, nothing, no_file = list(call(iter(requests), timeout=10))
    names = {service.name for service in services.list_services_response.service}
    assert {"inference.GRPCInferenceService", "grpc.health.v1.Health"} <= names
    for found in (file, message):
        assert any(
            b"GRPCInferenceService" in data
            for data in found.file_descriptor_response.file_descriptor_proto
        )
    assert nothing.error_response.error_code == 5
    assert no_file.error_response.error_code == 5


def test_a_client_can_work_by_reflection_alone(ours: Running, channel: grpc.Channel) -> None:
    from google.protobuf.descriptor_pool import DescriptorPool
    from google.protobuf.message_factory import GetMessageClass
    from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
        ProtoReflectionDescriptorDatabase,
    )

    pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
    service = pool.FindServiceByName("inference.GRPCInferenceService")
    method = service.FindMethodByName("ServerMetadata")
    answer = channel.unary_unary(wire.SERVICE + "ServerMetadata")(b"", timeout=5)
    assert GetMessageClass(method.output_type).FromString(answer).name == "penstock"


def test_load_and_unload(ours: Running, models: Any, start: Any) -> None:
    with (
        start(models, "--model-control", "explicit", "--load-model", "pair") as own,
        triton.InferenceServerClient(own.grpc) as client,
    ):
        assert client.is_model_ready("pair")
        assert not client.is_model_ready("whole")
        with pytest.raises(InferenceServerException):
            client.load_model("nobody")
        client.load_model("whole")
        assert client.is_model_ready("whole")
        client.unload_model("whole")
        assert not client.is_model_ready("whole")
        with own.channel() as channel:
            array = np.zeros((2, 3), np.int32)
            code = wire.refusal(channel, wire.request("whole", "INT32", array)).code()
            assert code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.NOT_FOUND)
        index = {m.name: m.state for m in client.get_model_repository_index().models}
        assert index["pair"] == "READY"
        assert index["whole"] != "READY"


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_http(ours: Running, channel: grpc.Channel) -> None:
    base = f"http://{ours.http}"
    assert get(f"{base}/v2/health/live")[0] == 200
    assert get(f"{base}/v2/health/ready")[0] == 200
    assert json.loads(get(f"{base}/v2")[1])["name"] == "penstock"
    assert get(f"{base}/nothing")[0] == 404
    wire.infer(channel, wire.request("echo_int8", "INT8", np.ones((3, 1), np.int8)))
    status, text = get(f"{base}/metrics")
    assert status == 200
    samples = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(samples['penstock_requests_total{model="echo_int8",version="1"}']) >= 1
    assert float(samples['penstock_rows_total{model="echo_int8",version="1"}']) >= 3
    assert "penstock_failures_total" in text
    assert "penstock_batch_rows_bucket" in text
    assert "penstock_queue_depth" in text


def test_watch_sees_the_drain(ours: Running, models: Any, start: Any) -> None:
    with start(models, "--model-control", "explicit", "--load-model", "pair") as own:
        seen: queue.Queue[int] = queue.Queue()
        with own.channel() as channel:
            watch = health_pb2_grpc.HealthStub(channel).Watch(
                health_pb2.HealthCheckRequest(service=""), timeout=20
            )
            seen.put(next(watch).status)
            own.process.terminate()
            statuses = []
            with contextlib.suppress(grpc.RpcError):
                statuses.extend(response.status for response in watch)
            assert health_pb2.HealthCheckResponse.NOT_SERVING in statuses
