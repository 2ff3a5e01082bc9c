"""grpc.health.v1, for Kubernetes probes and load balancers.

A service is the server ("" or the name of the inference service) or a model, by its name.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from penstock import protos
from penstock._native.engine import RequestError
from penstock.control.bridge import NOT_FOUND, Handler, Send
from penstock.control.readiness import Readiness

if TYPE_CHECKING:
    from penstock.repository import ModelRepository

SERVICE = "/grpc.health.v1.Health/"
SERVING, NOT_SERVING, SERVICE_UNKNOWN = 1, 2, 3
"""``HealthCheckResponse.ServingStatus``."""


class HealthService:
    """Check and Watch (grpc/grpc doc/health-checking.md)."""

    def __init__(self, repository: ModelRepository, readiness: Readiness) -> None:
        self._repository = repository
        self._readiness = readiness
        self._response = protos.message("grpc.health.v1.HealthCheckResponse")

    def handlers(self) -> dict[str, Handler]:
        return {
            SERVICE + "Check": Handler(unary=self._check),
            SERVICE + "Watch": Handler(stream=self._watch),
        }

    def _status(self, service: str) -> int:
        if service in ("", *protos.services()):
            return SERVING if self._readiness.ready else NOT_SERVING
        if service not in self._repository.models():
            return SERVICE_UNKNOWN
        ready = self._readiness.ready and self._repository.ready(service, "")
        return SERVING if ready else NOT_SERVING

    async def _check(self, request: Any) -> Any:
        status = self._status(request.service)
        if status == SERVICE_UNKNOWN:
            raise RequestError(NOT_FOUND, f"service {request.service!r} is not known here")
        return self._response(status=status)

    async def _watch(self, requests: AsyncIterator[Any], send: Send) -> None:
        async for request in requests:
            last = None
            while True:
                status = self._status(request.service)
                if status != last:
                    send(self._response(status=status))
                    last = status
                if self._readiness.draining:
                    # The last word, as an open stream would hold up the drain. Not an error: gRPC
                    # clients drop a message that an error follows before they have read it.
                    return
                await self._readiness.changed()
