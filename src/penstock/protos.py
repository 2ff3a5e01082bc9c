"""The messages of the wire contract and of ``config.pbtxt``.

Python's protobuf refuses two files that define the same ``inference.*`` messages in one
descriptor pool, and tritonclient registers its own in the default pool when it is imported. So
ours live in a pool of their own, made from the descriptor set that ``build_protos.py`` compiled
into this package; both can be imported in either order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

DESCRIPTOR_SET = Path(__file__).with_name("protos.binpb")


@dataclass(frozen=True, slots=True)
class Method:
    """One method of a service."""

    path: str
    """``/package.Service/Method``."""
    request: str
    """Full name of the message it takes."""
    response: str
    client_streaming: bool
    server_streaming: bool


@cache
def descriptor_set_files() -> Mapping[str, bytes]:
    """Serialised ``FileDescriptorProto`` by file name, each after those it imports."""
    try:
        data = DESCRIPTOR_SET.read_bytes()
    except FileNotFoundError:
        raise RuntimeError(
            f"{DESCRIPTOR_SET} is missing: it is made when Penstock is built, "
            "or by hand with `python build_protos.py`"
        ) from None
    files = descriptor_pb2.FileDescriptorSet.FromString(data).file
    return MappingProxyType({file.name: file.SerializeToString() for file in files})


@cache
def pool() -> Any:
    """The private ``DescriptorPool``; pass it to ``text_format`` and ``json_format``."""
    private = descriptor_pool.DescriptorPool()
    for serialized in descriptor_set_files().values():
        private.AddSerializedFile(serialized)
    return private


@cache
def message(full_name: str) -> Any:
    """The class of a message.

    Args:
        full_name: such as ``"inference.ModelConfig"``.

    Raises:
        KeyError: the contract has no such message.
    """
    return message_factory.GetMessageClass(pool().FindMessageTypeByName(full_name))


@cache
def services() -> Mapping[str, tuple[Method, ...]]:
    """Methods by full name of their service."""
    found: dict[str, tuple[Method, ...]] = {}
    for name in descriptor_set_files():
        for service in pool().FindFileByName(name).services_by_name.values():
            found[service.full_name] = _methods(service)
    return MappingProxyType(found)


def _methods(service: Any) -> tuple[Method, ...]:
    # The serialised form says whether a method streams with every version of protobuf.
    declared = descriptor_pb2.ServiceDescriptorProto()
    service.CopyToProto(declared)
    return tuple(
        Method(
            path=f"/{service.full_name}/{method.name}",
            request=method.input_type.removeprefix("."),
            response=method.output_type.removeprefix("."),
            client_streaming=method.client_streaming,
            server_streaming=method.server_streaming,
        )
        for method in declared.method
    )


def file_of(symbol: str) -> str | None:
    """Name of the file that declares a message, field, enum or value, service or method."""
    return _declarations().get(symbol)


@cache
def _declarations() -> Mapping[str, str]:
    """File by full name; a descriptor pool does not find methods by name."""
    found: dict[str, str] = {}

    def declare_enum(enum: Any, file: str) -> None:
        found[enum.full_name] = file
        # As in C++, values belong to the scope around their enum.
        scope = enum.full_name.rpartition(".")[0]
        for value in enum.values:
            found[f"{scope}.{value.name}"] = file

    def declare_message(message: Any, file: str) -> None:
        found[message.full_name] = file
        for field in message.fields:
            found[field.full_name] = file
        for enum in message.enum_types:
            declare_enum(enum, file)
        for nested in message.nested_types:
            declare_message(nested, file)

    for name in descriptor_set_files():
        file = pool().FindFileByName(name)
        for message in file.message_types_by_name.values():
            declare_message(message, name)
        for enum in file.enum_types_by_name.values():
            declare_enum(enum, name)
        for service in file.services_by_name.values():
            found[service.full_name] = name
            for method in service.methods:
                found[method.full_name] = name
    return MappingProxyType(found)
