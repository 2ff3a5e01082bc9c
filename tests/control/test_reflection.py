"""Server reflection: a client learns the contract from the server alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool

from penstock import protos
from penstock.control.reflection import PACKAGES, ReflectionService
from tests.control.fakes import run


def ask(package: str, *questions: dict[str, Any]) -> list[Any]:
    request_type = protos.message(f"{package}.ServerReflectionRequest")
    handler = ReflectionService().handlers()[f"/{package}.ServerReflection/ServerReflectionInfo"]
    assert handler.stream is not None
    answers: list[Any] = []

    async def requests() -> AsyncIterator[Any]:
        for question in questions:
            yield request_type(**question)

    run(handler.stream(requests(), answers.append))  # type: ignore[arg-type]
    return answers


def files(answer: Any) -> list[FileDescriptorProto]:
    data = answer.file_descriptor_response.file_descriptor_proto
    return [FileDescriptorProto.FromString(each) for each in data]


@pytest.mark.parametrize("package", PACKAGES)
def test_services(package: str) -> None:
    (answer,) = ask(package, {"host": "h", "list_services": "*"})
    assert [service.name for service in answer.list_services_response.service] == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "inference.GRPCInferenceService",
    ]
    assert answer.valid_host == "h"
    assert answer.original_request.list_services == "*"


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize(
    "question",
    [
        {"file_by_filename": "open_inference.proto"},
        {"file_containing_symbol": "inference.GRPCInferenceService"},
        {"file_containing_symbol": "inference.GRPCInferenceService.ModelInfer"},
        {"file_containing_symbol": "inference.ModelInferRequest.InferInputTensor"},
        {"file_containing_symbol": "inference.ModelInferRequest.id"},
    ],
)
def test_a_file_comes_with_its_imports(package: str, question: dict[str, str]) -> None:
    (answer,) = ask(package, question)
    found = files(answer)
    assert [file.name for file in found] == ["open_inference.proto", "model_config.proto"]
    # Complete: another pool takes it.
    pool = DescriptorPool()
    for file in reversed(found):
        pool.AddSerializedFile(file.SerializeToString())
    service = pool.FindServiceByName("inference.GRPCInferenceService")
    assert service.methods_by_name["ModelInfer"].input_type.full_name == (
        "inference.ModelInferRequest"
    )


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ({"file_by_filename": "x.proto"}, "file 'x.proto' is not known here"),
        ({"file_containing_symbol": "a.B"}, "symbol 'a.B' is not known here"),
        ({"file_containing_symbol": ""}, "symbol '' is not known here"),
        ({"all_extension_numbers_of_type": "a.B"}, "type 'a.B' is not known here"),
        (
            {"file_containing_extension": {"containing_type": "a.B", "extension_number": 7}},
            "extension 7 of 'a.B' is not known here",
        ),
    ],
)
@pytest.mark.parametrize("package", PACKAGES)
def test_what_is_not_there_is_an_error_in_the_stream(
    package: str, question: dict[str, Any], text: str
) -> None:
    missing, services = ask(package, question, {"list_services": ""})
    assert missing.error_response.error_code == 5
    assert missing.error_response.error_message == text
    assert len(services.list_services_response.service) == 4


def test_a_request_that_asks_for_nothing() -> None:
    (answer,) = ask(PACKAGES[0], {"host": "h"})
    assert answer.error_response.error_code == 3
    assert answer.error_response.error_message == "the request asks for nothing"


def test_the_contract_has_no_extensions() -> None:
    (answer,) = ask(PACKAGES[0], {"all_extension_numbers_of_type": "inference.ModelConfig"})
    response = answer.all_extension_numbers_response
    assert response.base_type_name == "inference.ModelConfig"
    assert list(response.extension_number) == []
