"""protos/ says the same as the files that clients were generated from.

Every message, field (number, type, label, oneof), enum value and method is
compared with the descriptors that tritonclient, grpcio-health-checking and
grpcio-reflection carry.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)

PROTOS = Path(__file__).resolve().parents[1] / "protos"

Facts = dict[str, object]
"""What a file declares: full name (and aspect) to what it says of it."""

NOT_SERVED = (
    "SystemSharedMemory",
    "CudaSharedMemory",
    "TraceSetting",
    "LogSettings",
)
"""Starts of the names of Triton's methods that Penstock does not serve."""


def field_facts(field: FieldDescriptorProto, message: DescriptorProto) -> object:
    oneof = message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else None
    return (field.name, field.type, field.type_name, field.label, oneof, field.options.packed)


def enum_facts(scope: str, enums: Iterator[EnumDescriptorProto]) -> Facts:
    return {f"{scope}.{enum.name}": {v.name: v.number for v in enum.value} for enum in enums}


def message_facts(scope: str, message: DescriptorProto) -> Facts:
    name = f"{scope}.{message.name}"
    facts: Facts = {
        name: sorted(field.number for field in message.field),
        f"{name} map entry": message.options.map_entry,
    }
    for field in message.field:
        facts[f"{name} field {field.number}"] = field_facts(field, message)
    facts |= enum_facts(name, iter(message.enum_type))
    for nested in message.nested_type:
        facts |= message_facts(name, nested)
    return facts


def file_facts(file: FileDescriptorProto) -> Facts:
    facts: Facts = {"package": file.package, "syntax": file.syntax}
    facts |= enum_facts("", iter(file.enum_type))
    for message in file.message_type:
        facts |= message_facts("", message)
    for service in file.service:
        for method in service.method:
            facts[f"{service.name}/{method.name}"] = (
                method.input_type,
                method.output_type,
                method.client_streaming,
                method.server_streaming,
            )
    return facts


def without_unserved(facts: Facts) -> Facts:
    def unserved(name: str) -> bool:
        bare = name.removeprefix("GRPCInferenceService/").removeprefix(".")
        return bare.startswith(NOT_SERVED)

    return {name: fact for name, fact in facts.items() if not unserved(name)}


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> dict[str, FileDescriptorProto]:
    """Our files by name, compiled but registered in no descriptor pool."""
    protoc = pytest.importorskip("grpc_tools.protoc")
    output = tmp_path_factory.mktemp("protos") / "descriptors.pb"
    files = sorted(path.name for path in PROTOS.glob("*.proto"))
    arguments = [f"-I{PROTOS}", "--include_imports", f"--descriptor_set_out={output}", *files]
    assert protoc.main(["protoc", *arguments]) == 0
    compiled = FileDescriptorSet.FromString(output.read_bytes())
    return {file.name: file for file in compiled.file}


def theirs(module: str) -> FileDescriptorProto:
    file = FileDescriptorProto()
    pytest.importorskip(module)
    importlib.import_module(module).DESCRIPTOR.CopyToProto(file)
    return file


def test_inference_service_is_tritons(ours: dict[str, FileDescriptorProto]) -> None:
    expected = without_unserved(file_facts(theirs("tritonclient.grpc.service_pb2")))
    assert "GRPCInferenceService/ModelStreamInfer" in expected
    assert file_facts(ours["open_inference.proto"]) == expected


@pytest.mark.skipif(
    tuple(map(int, metadata.version("tritonclient").split(".")[:2])) < (2, 73),
    reason="the client is older than the contract and lacks fields that came later",
)
def test_model_config_is_tritons(ours: dict[str, FileDescriptorProto]) -> None:
    expected = file_facts(theirs("tritonclient.grpc.model_config_pb2"))
    assert file_facts(ours["model_config.proto"]) == expected


def test_health_is_grpcs(ours: dict[str, FileDescriptorProto]) -> None:
    expected = file_facts(theirs("grpc_health.v1.health_pb2"))
    # A listing method came to the service later; Check and Watch are served.
    expected = {name: fact for name, fact in expected.items() if "List" not in name}
    assert file_facts(ours["health.proto"]) == expected


def test_reflection_v1alpha_is_grpcs(ours: dict[str, FileDescriptorProto]) -> None:
    expected = file_facts(theirs("grpc_reflection.v1alpha.reflection_pb2"))
    assert file_facts(ours["reflection_v1alpha.proto"]) == expected


def test_reflection_v1_differs_from_v1alpha_in_its_package_alone(
    ours: dict[str, FileDescriptorProto],
) -> None:
    renamed = ours["reflection_v1alpha.proto"].SerializeToString()
    alpha = FileDescriptorProto.FromString(renamed)
    alpha.package = "grpc.reflection.v1"
    alpha_types = [field for message in alpha.message_type for field in message.field]
    for field in alpha_types:
        field.type_name = field.type_name.replace(".v1alpha.", ".v1.")
    for method in alpha.service[0].method:
        method.input_type = method.input_type.replace(".v1alpha.", ".v1.")
        method.output_type = method.output_type.replace(".v1alpha.", ".v1.")
    assert file_facts(ours["reflection_v1.proto"]) == file_facts(alpha)
