"""Server reflection, v1 and v1alpha, as grpcurl and the like use it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from tests.conformance import wire

# The two differ in the name of their package alone.
PACKAGES = ["grpc.reflection.v1", "grpc.reflection.v1alpha"]
NOT_FOUND = grpc.StatusCode.NOT_FOUND.value[0]
Reflect = Callable[..., list[Any]]
ask = reflection_pb2.ServerReflectionRequest


@pytest.fixture(params=PACKAGES)
def reflect(channel: grpc.Channel, strict: bool, request: pytest.FixtureRequest) -> Reflect:
    """Requests on one stream to their answers. Skips where a server has no reflection."""
    call = channel.stream_stream(
        f"/{request.param}.ServerReflection/ServerReflectionInfo",
        request_serializer=ask.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )

    def exchange(*requests: Any) -> list[Any]:
        return list(call(iter(requests), timeout=10))

    try:
        exchange()
    except grpc.RpcError as error:
        if strict or error.code() != grpc.StatusCode.UNIMPLEMENTED:
            raise
        pytest.skip("this server has no reflection")
    return exchange


def files(answer: Any) -> list[Any]:
    found = answer.file_descriptor_response.file_descriptor_proto
    return [FileDescriptorProto.FromString(data) for data in found]


def test_services(reflect: Reflect) -> None:
    (answer,) = reflect(ask(list_services="*"))
    names = {service.name for service in answer.list_services_response.service}
    assert {
        "inference.GRPCInferenceService",
        "grpc.health.v1.Health",
        *(f"{package}.ServerReflection" for package in PACKAGES),
    } <= names


@pytest.mark.parametrize(
    "symbol",
    [
        "inference.GRPCInferenceService",
        "inference.GRPCInferenceService.ModelInfer",
        "inference.ModelInferRequest",
        "inference.ModelInferRequest.InferInputTensor",
        "inference.ModelInferRequest.id",
        "inference.DataType",
        "inference.TYPE_FP32",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
    ],
)
def test_the_file_of_a_symbol(reflect: Reflect, symbol: str) -> None:
    """With all that it imports, so that a client can build it."""
    (answer,) = reflect(ask(file_containing_symbol=symbol))
    found = files(answer)
    assert found[0].package == symbol.rpartition(".")[0][: len(found[0].package)]
    there = {file.name for file in found}
    assert there.issuperset(name for file in found for name in file.dependency)


def test_a_file_by_its_name(reflect: Reflect) -> None:
    (by_symbol,) = reflect(ask(file_containing_symbol="inference.ModelInferRequest"))
    name = files(by_symbol)[0].name
    (by_name,) = reflect(ask(file_by_filename=name))
    assert files(by_name)[0] == files(by_symbol)[0]


@pytest.mark.parametrize(
    "request_",
    [
        ask(file_containing_symbol="inference.Nothing"),
        ask(file_containing_symbol="nothing.at.all"),
        ask(file_containing_symbol=""),
        ask(file_by_filename="nothing.proto"),
        ask(all_extension_numbers_of_type="inference.Nothing"),
        ask(
            file_containing_extension=reflection_pb2.ExtensionRequest(
                containing_type="inference.ModelInferRequest", extension_number=7
            )
        ),
    ],
    ids=["symbol", "package", "empty", "file", "type", "extension"],
)
def test_an_error_stays_inside_the_stream(reflect: Reflect, request_: Any) -> None:
    error, services = reflect(request_, ask(list_services=""))
    assert error.error_response.error_code == NOT_FOUND
    assert error.error_response.error_message
    assert error.original_request == request_
    assert services.list_services_response.service


def test_the_host_comes_back(reflect: Reflect) -> None:
    (answer,) = reflect(ask(host="here", list_services=""))
    assert answer.valid_host == "here"
    assert answer.original_request.host == "here"


def test_a_client_can_work_by_reflection_alone(reflect: Reflect, channel: grpc.Channel) -> None:
    """No .proto file: grpcio's own client of reflection finds messages and methods."""
    pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
    service = pool.FindServiceByName("inference.GRPCInferenceService")
    assert len(service.methods) >= 12

    def call(name: str, /, **fields: Any) -> Any:
        method = service.FindMethodByName(name)
        message = GetMessageClass(method.input_type)(**fields)
        answered = wire.method(channel, name)(message.SerializeToString(), timeout=10)
        return GetMessageClass(method.output_type).FromString(answered)

    assert call("ServerMetadata").name
    assert call("ModelMetadata", name="pair").inputs[0].datatype == "FP32"
    request = wire.full("echo_fp32", 7, id="reflected")
    sent = {"model_name": "echo_fp32", "id": "reflected"}
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 1]}
    response = call(
        "ModelInfer", **sent, inputs=[tensor], raw_input_contents=request.raw_input_contents
    )
    assert response.id == "reflected"
    assert list(response.raw_output_contents) == list(request.raw_input_contents)
