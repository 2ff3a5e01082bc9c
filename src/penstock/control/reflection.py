"""gRPC server reflection, so that grpcurl and its like know what is served.

v1 and v1alpha differ in their package name alone (grpc/grpc doc/server-reflection.md).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from penstock import protos
from penstock.control.bridge import INVALID_ARGUMENT, NOT_FOUND, Handler, Send

PACKAGES = ("grpc.reflection.v1", "grpc.reflection.v1alpha")


class ReflectionService:
    """Answers from the descriptor set that this package was built with."""

    def handlers(self) -> dict[str, Handler]:
        return {
            f"/{package}.ServerReflection/ServerReflectionInfo": Handler(stream=_Info(package))
            for package in PACKAGES
        }


class _Info:
    def __init__(self, package: str) -> None:
        self._response = protos.message(f"{package}.ServerReflectionResponse")

    async def __call__(self, requests: AsyncIterator[Any], send: Send) -> None:
        async for request in requests:
            response = self._response(valid_host=request.host)
            response.original_request.CopyFrom(request)
            self._answer(request, response)
            send(response)

    def _answer(self, request: Any, response: Any) -> None:
        kind = request.WhichOneof("message_request")
        if kind == "list_services":
            for name in sorted(protos.services()):
                response.list_services_response.service.add(name=name)
        elif kind == "file_by_filename":
            self._files(request.file_by_filename, f"file {request.file_by_filename!r}", response)
        elif kind == "file_containing_symbol":
            symbol = request.file_containing_symbol
            self._files(protos.file_of(symbol), f"symbol {symbol!r}", response)
        elif kind == "all_extension_numbers_of_type":
            # The contract has messages but no extensions of them.
            name = request.all_extension_numbers_of_type
            if protos.file_of(name) is None:
                _not_found(response, f"type {name!r}")
            else:
                response.all_extension_numbers_response.base_type_name = name
        elif kind == "file_containing_extension":
            wanted = request.file_containing_extension
            _not_found(
                response, f"extension {wanted.extension_number} of {wanted.containing_type!r}"
            )
        else:
            response.error_response.error_code = INVALID_ARGUMENT
            response.error_response.error_message = "the request asks for nothing"

    def _files(self, name: str | None, what: str, response: Any) -> None:
        """The file and, before it, all that it imports."""
        files = protos.descriptor_set_files()
        if name is None or name not in files:
            _not_found(response, what)
            return
        wanted: list[str] = []

        def collect(file: Any) -> None:
            for dependency in file.dependencies:
                collect(dependency)
            if file.name not in wanted:
                wanted.append(file.name)

        collect(protos.pool().FindFileByName(name))
        # The file asked for comes first: clients take it from there.
        for each in reversed(wanted):
            response.file_descriptor_response.file_descriptor_proto.append(files[each])


def _not_found(response: Any, what: str) -> None:
    response.error_response.error_code = NOT_FOUND
    response.error_response.error_message = f"{what} is not known here"
