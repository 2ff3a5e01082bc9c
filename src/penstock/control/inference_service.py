"""The methods of inference.GRPCInferenceService that are not inference."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from penstock import __version__, protos
from penstock._native.engine import RequestError
from penstock.control.bridge import INVALID_ARGUMENT, UNIMPLEMENTED, Handler
from penstock.control.readiness import Readiness
from penstock.control.statistics import fill_statistics
from penstock.control.worker import in_thread

if TYPE_CHECKING:
    from penstock.repository import ModelRepository
    from penstock.spec import TensorSpec

SERVICE = "/inference.GRPCInferenceService/"
EXTENSIONS = (
    "classification",
    "model_configuration",
    "model_repository",
    "schedule_policy",
    "statistics",
)
"""Triton's names for the parts of its protocol beyond the plain OIP that are served."""


P = ParamSpec("P")
T = TypeVar("T")

MAX_CHANGES = 8
"""Loads and unloads at once; further ones wait."""
MAX_LOOKS = 4
"""Looks at the repository's folders at once."""


class InferenceService:
    """Answers out of the repository's tables."""

    def __init__(self, repository: ModelRepository, readiness: Readiness) -> None:
        self._repository = repository
        self._readiness = readiness
        self._changes = asyncio.Semaphore(MAX_CHANGES)
        self._looks = asyncio.Semaphore(MAX_LOOKS)
        self._running: set[asyncio.Future[Any]] = set()

    def handlers(self) -> dict[str, Handler]:
        methods: dict[str, Callable[[Any, Any], Any]] = {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server_metadata,
            "ModelMetadata": self._model_metadata,
            "ModelConfig": self._model_config,
            "ModelStatistics": self._model_statistics,
            "RepositoryIndex": self._repository_index,
            "RepositoryModelLoad": self._load,
            "RepositoryModelUnload": self._unload,
        }
        return {SERVICE + name: _unary(name, method) for name, method in methods.items()}

    async def _server_live(self, _request: Any, response: Any) -> None:
        response.live = True

    async def _server_ready(self, _request: Any, response: Any) -> None:
        response.ready = self._readiness.ready

    async def _model_ready(self, request: Any, response: Any) -> None:
        response.ready = self._repository.ready(request.name, request.version)

    async def _server_metadata(self, _request: Any, response: Any) -> None:
        response.name = "penstock"
        response.version = __version__
        response.extensions.extend(EXTENSIONS)

    async def _model_metadata(self, request: Any, response: Any) -> None:
        loaded = self._repository.get(request.name, request.version)
        response.name = loaded.spec.name
        response.versions.extend(
            str(version.spec.version)
            for version in self._repository.versions()
            if version.spec.name == loaded.spec.name
        )
        response.platform = loaded.platform
        batches = loaded.spec.batching.max_batch_size > 0
        for tensor in loaded.spec.inputs:
            _describe(response.inputs.add(), tensor, batches)
        for tensor in loaded.spec.outputs:
            _describe(response.outputs.add(), tensor, batches)

    async def _model_config(self, request: Any, response: Any) -> None:
        loaded = self._repository.get(request.name, request.version)
        response.config.CopyFrom(loaded.config)

    async def _model_statistics(self, request: Any, response: Any) -> None:
        if request.name:
            # Says what is wrong with the name or the version.
            self._repository.get(request.name, request.version)
        for loaded in self._repository.versions():
            spec = loaded.spec
            if request.name not in ("", spec.name):
                continue
            if request.version not in ("", str(spec.version)):
                continue
            entry = response.model_stats.add(name=spec.name, version=str(spec.version))
            fill_statistics(entry, loaded.version.statistics())

    async def _repository_index(self, request: Any, response: Any) -> None:
        _refuse_repository_name(request.repository_name)
        for entry in await self._alone(self._looks, self._repository.index, request.ready):
            response.models.add(
                name=entry.name, version=entry.version, state=entry.state, reason=entry.reason
            )

    async def _load(self, request: Any, _response: Any) -> None:
        _refuse_repository_name(request.repository_name)
        config: str | None = None
        files: dict[str, bytes] = {}
        for key, parameter in request.parameters.items():
            if key == "config":
                config = parameter.string_param
                if not config.strip():
                    kind = parameter.WhichOneof("parameter_choice")
                    raise RequestError(
                        INVALID_ARGUMENT,
                        f"load parameter 'config' came empty, or as {kind}; expected a "
                        "string_param with a model's configuration",
                    )
            elif key.startswith("file:"):
                files[key.removeprefix("file:")] = parameter.bytes_param
            else:
                raise RequestError(
                    INVALID_ARGUMENT,
                    f"load parameter {key!r} is not known, expected 'config' or 'file:<path>'",
                )
        await self._alone(
            self._changes, self._repository.load, request.model_name, config, files or None
        )

    async def _unload(self, request: Any, _response: Any) -> None:
        _refuse_repository_name(request.repository_name)
        dependents = request.parameters.get("unload_dependents")
        unload_dependents = dependents.bool_param if dependents is not None else False
        await self._alone(
            self._changes, self._repository.unload, request.model_name, unload_dependents
        )

    async def _alone(
        self, slots: asyncio.Semaphore, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run ``work`` on a thread that holds its slot until it is done, though the client may
        have left: or clients that leave at once could have any number of threads."""
        await slots.acquire()
        running = asyncio.ensure_future(in_thread(work, *args, **kwargs))
        self._running.add(running)

        def ended(task: asyncio.Future[T]) -> None:
            slots.release()
            self._running.discard(task)
            if not task.cancelled():
                task.exception()  # It was raised below, if anybody was there still.

        running.add_done_callback(ended)
        return await asyncio.shield(running)


def _unary(name: str, method: Callable[[Any, Any], Any]) -> Handler:
    response_type = protos.message(f"inference.{name}Response")

    async def answer(request: Any) -> Any:
        response = response_type()
        await method(request, response)
        return response

    return Handler(unary=answer)


def _describe(metadata: Any, tensor: TensorSpec, batches: bool) -> None:
    metadata.name = tensor.name
    metadata.datatype = tensor.datatype
    metadata.shape.extend([-1, *tensor.dims] if batches else tensor.dims)


def _refuse_repository_name(name: str) -> None:
    if name:
        raise RequestError(
            UNIMPLEMENTED, f"repository_name {name!r} came, only the empty name is served"
        )
