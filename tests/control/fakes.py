"""What the control plane stands on: an engine that is told what happens, and a repository."""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import uvloop

from penstock import protos
from penstock._native.engine import RequestError
from penstock.control.bridge import Bridge, Handler, control_methods
from penstock.repository import IndexEntry
from penstock.spec import Batching, ModelSpec, TensorSpec

T = TypeVar("T")

LIVE = "/inference.GRPCInferenceService/ServerLive"
LOAD = "/inference.GRPCInferenceService/RepositoryModelLoad"
WATCH = "/grpc.health.v1.Health/Watch"
REFLECT = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"


def run(test: Coroutine[Any, Any, T]) -> T:
    """On the loop that the server uses; fails a test that hangs."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(asyncio.wait_for(test, 20))


class FakeEngine:
    """The control side of an engine."""

    def __init__(self) -> None:
        self.control_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.sent: dict[int, list[bytes]] = defaultdict(list)
        self.finished: dict[int, tuple[int, str]] = {}
        self.counters: dict[str, Any] = {}
        self._events: list[dict[str, Any]] = []
        self._told: set[int] = set()
        self._changed = asyncio.Event()

    def close(self) -> None:
        os.close(self.control_fd)

    # --- As the bridge sees it --------------------------------------------------------------

    def take_control_calls(self) -> list[dict[str, Any]]:
        os.eventfd_read(self.control_fd)
        events, self._events = self._events, []
        return events

    def control_send(self, call_id: int, message: bytes) -> None:
        assert call_id not in self.finished, f"a message after the end of call {call_id}"
        self.sent[call_id].append(message)
        self._note()

    def control_finish(self, call_id: int, code: int, message: str) -> None:
        assert call_id not in self.finished, f"call {call_id} ends twice"
        self.finished[call_id] = (code, message)
        self._note()

    def statistics(self) -> dict[str, Any]:
        return self.counters

    # --- As the test sees it ----------------------------------------------------------------

    def push(self, call_id: int, method: str, *messages: bytes, half_close: bool = False) -> None:
        """Messages of a client, and the end of them."""
        happenings = [("message", message) for message in messages]
        happenings += [("half_close", b"")] if half_close else []
        for event, message in happenings:
            self._push(call_id, event, method, message)

    def gone(self, call_id: int, method: str) -> None:
        self._push(call_id, "gone", method, b"")

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    async def status(self, call_id: int) -> tuple[int, str]:
        """How the call ends."""
        await self.until(lambda: call_id in self.finished)
        return self.finished[call_id]

    async def answers(self, call_id: int, count: int) -> list[bytes]:
        """The messages sent on a call, once there are ``count``."""
        await self.until(lambda: len(self.sent[call_id]) >= count)
        return self.sent[call_id]

    def _push(self, call_id: int, event: str, method: str, message: bytes) -> None:
        first = call_id not in self._told
        self._told.add(call_id)
        self._events.append(
            {"id": call_id, "event": event, "method": method, "message": message, "first": first}
        )
        os.eventfd_write(self.control_fd, 1)

    def _note(self) -> None:
        self._changed.set()


async def never(_request: Any) -> Any:
    raise AssertionError("this handler was not to be called")


def bridge_with(engine: FakeEngine, handlers: Mapping[str, Handler]) -> Bridge:
    """A bridge whose other methods are not to be called."""
    others = dict.fromkeys(control_methods(), Handler(unary=never))
    bridge = Bridge(engine, {**others, **handlers})  # type: ignore[arg-type]
    bridge.attach()
    return bridge


def spec(
    name: str = "fraud",
    version: int = 1,
    *,
    max_batch_size: int = 8,
    dims: tuple[int, ...] = (4,),
) -> ModelSpec:
    return ModelSpec(
        name=name,
        version=version,
        inputs=(TensorSpec("x", "FP32", dims),),
        outputs=(TensorSpec("label", "INT64", ()), TensorSpec("score", "FP32", (2,))),
        batching=Batching(max_batch_size=max_batch_size),
    )


def counters(**changed: Any) -> dict[str, Any]:
    """``Version.statistics()`` of a version that has served a little."""
    return {
        "success": 5,
        "success_ns": 5_000,
        "failure": {"rejected": 1, "backend": 2},
        "failure_ns": 300,
        "queue_ns": 1_000,
        "compute_input_ns": 20,
        "compute_infer_ns": 3_000,
        "compute_output_ns": 40,
        "inference_count": 9,
        "execution_count": 3,
        "batch_sizes": {
            1: {
                "count": 1,
                "compute_input_ns": 4,
                "compute_infer_ns": 1_000,
                "compute_output_ns": 10,
            },
            4: {
                "count": 2,
                "compute_input_ns": 16,
                "compute_infer_ns": 2_000,
                "compute_output_ns": 30,
            },
        },
        "released": {"full": 1, "idle_instance": 2},
        "last_inference_ms": 1_700_000_000_123,
        "queue_depth": 6,
        "queued_rows": 7,
        "in_flight": 8,
        "cost_us": (50.0, 2.5),
        **changed,
    }


TRANSPORT = {
    "connections": 2,
    "connections_total": 10,
    "streams": 3,
    "requests_total": 40,
    "bytes_in_flight": 500,
    "bytes_received": 6_000,
    "bytes_sent": 70_000,
    "answers": {"OK": 30, "NOT_FOUND": 7},
    "limits": {"max_streams": 1, "flood": 0},
}


@dataclass
class FakeVersion:
    spec: ModelSpec
    stats: dict[str, Any] = field(default_factory=counters)

    def statistics(self) -> dict[str, Any]:
        return self.stats


class FakeLoaded:
    """As LoadedVersion."""

    def __init__(self, model: ModelSpec, **changed: Any) -> None:
        self.version = FakeVersion(model, counters(**changed))
        self.watcher = None
        self.spec = model
        self.platform = "onnxruntime_onnx"
        self.config = protos.message("inference.ModelConfig")(
            name=model.name, max_batch_size=model.batching.max_batch_size
        )


class FakeRepository:
    """As ModelRepository; ``changes`` is what it was asked to do."""

    def __init__(self, *loaded: FakeLoaded, unavailable: tuple[str, ...] = ()) -> None:
        self.loaded = list(loaded)
        self.unavailable = unavailable
        self.changes: list[tuple[Any, ...]] = []
        self.on_change: Callable[[], None] = lambda: None

    def get(self, name: str, version: str = "") -> FakeLoaded:
        found = [each for each in self.loaded if each.spec.name == name]
        found = [each for each in found if version in ("", str(each.spec.version))]
        if not found:
            raise RequestError(5, f"no {name!r} {version!r}")
        return found[-1]

    def ready(self, name: str, version: str = "") -> bool:
        try:
            self.get(name, version)
        except RequestError:
            return False
        return True

    def models(self) -> list[str]:
        return sorted({each.spec.name for each in self.loaded} | set(self.unavailable))

    def versions(self) -> list[FakeLoaded]:
        return self.loaded

    def index(self, ready_only: bool = False) -> list[IndexEntry]:
        ready = [IndexEntry(e.spec.name, str(e.spec.version), "READY") for e in self.loaded]
        if ready_only:
            return ready
        return ready + [
            IndexEntry(name, "", "UNAVAILABLE", "not loaded") for name in self.unavailable
        ]

    def load(self, name: str, config: str | None = None, files: Any = None) -> None:
        self.changes.append(("load", name, config, files))
        self.on_change()

    def unload(self, name: str, unload_dependents: bool = False) -> None:
        self.changes.append(("unload", name, unload_dependents))
        self.on_change()
