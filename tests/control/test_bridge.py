"""From events of the engine to handlers and back: one status for every call."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from penstock import protos
from penstock._native.engine import RequestError
from penstock.control.bridge import MAX_WAITING, Bridge, Handler, Send, control_methods
from penstock.control.worker import in_thread
from tests.control.fakes import LIVE, LOAD, REFLECT, FakeEngine, bridge_with, run

LiveResponse = protos.message("inference.ServerLiveResponse")
LoadRequest = protos.message("inference.RepositoryModelLoadRequest")
LoadResponse = protos.message("inference.RepositoryModelLoadResponse")
ReflectionRequest = protos.message("grpc.reflection.v1.ServerReflectionRequest")
ReflectionResponse = protos.message("grpc.reflection.v1.ServerReflectionResponse")

OK = (0, "")


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    made = FakeEngine()
    yield made
    made.close()


async def live(_request: Any) -> Any:
    return LiveResponse(live=True)


async def echo(requests: AsyncIterator[Any], send: Send) -> None:
    async for request in requests:
        send(ReflectionResponse(valid_host=request.list_services))


def ask(text: str) -> bytes:
    return bytes(ReflectionRequest(list_services=text).SerializeToString())


def hosts(messages: list[bytes]) -> list[str]:
    return [ReflectionResponse.FromString(message).valid_host for message in messages]


def test_every_method_but_inference_is_a_control_method() -> None:
    methods = control_methods()
    assert len(methods) == 10 + 2 + 2
    assert not [path for path in methods if path.endswith("Infer")]
    assert [path for path, method in methods.items() if method.server_streaming] == [
        "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ]


def test_a_method_without_a_handler_is_found_at_once(engine: FakeEngine) -> None:
    handlers = dict.fromkeys(control_methods(), Handler(unary=live))
    del handlers[LIVE]
    with pytest.raises(ValueError, match=f"no handler for {LIVE}"):
        Bridge(engine, handlers)  # type: ignore[arg-type]


def test_a_unary_call(engine: FakeEngine) -> None:
    async def test() -> None:
        bridge_with(engine, {LIVE: Handler(unary=live)})
        engine.push(7, LIVE, b"")
        assert await engine.status(7) == OK
        assert engine.sent == {7: [b"\x08\x01"]}

    run(test())


def test_calls_end_in_any_order(engine: FakeEngine) -> None:
    async def test() -> None:
        gates = {str(i): asyncio.Event() for i in range(3)}
        waiting = []

        async def load(request: Any) -> Any:
            waiting.append(request.model_name)
            await gates[request.model_name].wait()
            return LoadResponse()

        bridge_with(engine, {LOAD: Handler(unary=load)})
        for i in range(3):
            engine.push(i, LOAD, LoadRequest(model_name=str(i)).SerializeToString())
        for i in (1, 2, 0):
            await asyncio.sleep(0.01)
            assert i not in engine.finished
            gates[str(i)].set()
            assert await engine.status(i) == OK
        assert waiting == ["0", "1", "2"]
        assert list(engine.finished) == [1, 2, 0]

    run(test())


def test_garbage_is_an_invalid_argument(engine: FakeEngine) -> None:
    async def test() -> None:
        bridge_with(engine, {})
        engine.push(1, LOAD, b"\xff\xff\xff")
        code, text = await engine.status(1)
        assert code == 3
        assert text.startswith("3 bytes came that are no inference.RepositoryModelLoadRequest: ")
        assert engine.sent == {}

    run(test())


def test_a_handler_chooses_its_status(engine: FakeEngine) -> None:
    async def refuse(_request: Any) -> Any:
        raise RequestError(9, "not in this mode")

    async def test() -> None:
        bridge_with(engine, {LIVE: Handler(unary=refuse)})
        engine.push(1, LIVE, b"")
        assert await engine.status(1) == (9, "not in this mode")

    run(test())


def test_a_bug_is_internal_and_logged(engine: FakeEngine, caplog: pytest.LogCaptureFixture) -> None:
    async def broken(_request: Any) -> Any:
        raise KeyError("oops")

    async def test() -> None:
        bridge_with(engine, {LIVE: Handler(unary=broken)})
        engine.push(1, LIVE, b"")
        assert await engine.status(1) == (13, "KeyError: 'oops'")

    with caplog.at_level(logging.ERROR, "penstock.control"):
        run(test())
    (record,) = caplog.records
    assert record.getMessage() == f"the handler of {LIVE} failed"
    assert record.exc_info is not None and record.exc_info[0] is KeyError


def test_a_client_that_goes_cancels_its_handler(engine: FakeEngine) -> None:
    async def test() -> None:
        began, cancelled = asyncio.Event(), asyncio.Event()

        async def slow(_request: Any) -> Any:
            began.set()
            try:
                await asyncio.sleep(60)
            finally:
                cancelled.set()

        bridge_with(engine, {LIVE: Handler(unary=slow), LOAD: Handler(unary=live)})
        engine.push(1, LIVE, b"")
        await began.wait()
        engine.gone(1, LIVE)
        await cancelled.wait()
        # Another call goes on, and the first one gets no status: nobody is there to read it.
        engine.push(2, LOAD, b"")
        assert await engine.status(2) == OK
        assert engine.finished == {2: OK}

    run(test())


def test_a_client_that_goes_before_its_handler_begins(engine: FakeEngine) -> None:
    async def test() -> None:
        bridge_with(engine, {LOAD: Handler(unary=live)})
        engine.push(1, LIVE, b"")
        engine.gone(1, LIVE)
        engine.gone(3, LIVE)
        engine.push(2, LOAD, b"")
        assert await engine.status(2) == OK
        assert engine.finished == {2: OK}

    run(test())


def test_a_stream_is_answered_in_order_and_ends_with_its_client(engine: FakeEngine) -> None:
    async def test() -> None:
        bridge_with(engine, {REFLECT: Handler(stream=echo)})
        engine.push(1, REFLECT, ask("a"), ask("b"))
        assert hosts(await engine.answers(1, 2)) == ["a", "b"]
        engine.push(1, REFLECT, ask("c"), half_close=True)
        assert await engine.status(1) == OK
        assert hosts(engine.sent[1]) == ["a", "b", "c"]

    run(test())


def test_garbage_ends_a_stream_after_what_came_before(engine: FakeEngine) -> None:
    async def test() -> None:
        bridge_with(engine, {REFLECT: Handler(stream=echo)})
        engine.push(1, REFLECT, ask("a"), b"\xff", ask("b"))
        code, _ = await engine.status(1)
        assert code == 3
        assert hosts(engine.sent[1]) == ["a"]

    run(test())


def test_a_flood_on_one_stream(engine: FakeEngine) -> None:
    async def test() -> None:
        gate = asyncio.Event()

        async def slow(requests: AsyncIterator[Any], _send: Send) -> None:
            async for _ in requests:
                await gate.wait()

        bridge_with(engine, {REFLECT: Handler(stream=slow), LIVE: Handler(unary=live)})
        engine.push(1, REFLECT, *[ask("a")] * (MAX_WAITING + 2))
        code, text = await engine.status(1)
        assert (code, text) == (8, f"more than {MAX_WAITING} messages wait on this call")
        engine.push(2, LIVE, b"")
        assert await engine.status(2) == OK

    run(test())


def test_drain_ends_waiting_streams_and_answers_what_came(engine: FakeEngine) -> None:
    async def test() -> None:
        gate = asyncio.Event()

        async def slow(_request: Any) -> Any:
            await gate.wait()
            return LiveResponse(live=True)

        bridge = bridge_with(engine, {REFLECT: Handler(stream=echo), LIVE: Handler(unary=slow)})
        engine.push(1, REFLECT, ask("a"))
        engine.push(2, LIVE, b"")
        await engine.answers(1, 1)
        bridge.drain()
        assert await engine.status(1) == (14, "the server is stopping")
        # A call that came on a connection which has not seen the GOAWAY yet.
        engine.push(3, REFLECT, ask("b"))
        assert await engine.status(3) == (14, "the server is stopping")
        assert hosts(engine.sent[3]) == ["b"]
        gate.set()
        assert await engine.status(2) == OK

    run(test())


def test_close_ends_every_call(engine: FakeEngine) -> None:
    async def test() -> None:
        async def slow(_request: Any) -> Any:
            await asyncio.sleep(60)

        bridge = bridge_with(engine, {REFLECT: Handler(stream=echo), LIVE: Handler(unary=slow)})
        engine.push(1, REFLECT, ask("a"))
        engine.push(2, LIVE, b"")
        await engine.answers(1, 1)
        await bridge.close()
        stopping = (14, "the server is stopping")
        assert engine.finished == {1: stopping, 2: stopping}

    run(test())


def test_blocking_work_does_not_stall_the_loop(engine: FakeEngine) -> None:
    async def test() -> None:
        import threading

        release = threading.Event()

        async def load(_request: Any) -> Any:
            await in_thread(release.wait)
            return LoadResponse()

        bridge_with(engine, {LOAD: Handler(unary=load), LIVE: Handler(unary=live)})
        engine.push(1, LOAD, b"")
        engine.push(2, LIVE, b"")
        assert await engine.status(2) == OK
        assert 1 not in engine.finished
        release.set()
        assert await engine.status(1) == OK

    run(test())


def test_work_on_a_thread_gives_its_result_or_its_error() -> None:
    async def test() -> None:
        assert await in_thread(divmod, 17, 5) == (3, 2)
        with pytest.raises(ZeroDivisionError):
            await in_thread(divmod, 1, 0)

    run(test())


def test_what_follows_an_ended_call_opens_none(engine: FakeEngine) -> None:
    """The engine may have told more of a call before it hears that the call was ended."""

    async def test() -> None:
        bridge_with(engine, {REFLECT: Handler(stream=echo), LIVE: Handler(unary=live)})
        engine.push(1, REFLECT, ask("a"), b"\xff")
        code, _ = await engine.status(1)
        assert code == 3
        engine.push(1, REFLECT, ask("b"), ask("c"))
        engine.push(2, LIVE, b"")
        assert await engine.status(2) == OK
        assert hosts(engine.sent[1]) == ["a"]

    run(test())
