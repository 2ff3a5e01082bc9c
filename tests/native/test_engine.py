"""The Cython border without sockets: specs in, batches through, answers out."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from penstock._native.engine import Batch, Engine, RequestError, Version, submit
from penstock.spec import Batching, ModelSpec, QueuePolicy, TensorSpec


class Doubler:
    """Writes into the core's memory where it can."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def run(self, batch: Batch) -> None:
        self.batches.append(batch.rows)
        value = batch.input(0)
        assert value is not None
        batch.set_output(0, value * 2)


class Call:
    """A backend from a function."""

    def __init__(self, function: Callable[[Batch], None]) -> None:
        self.run = function


def spec(
    *,
    datatype: str = "FP32",
    dims: tuple[int, ...] = (2,),
    max_batch_size: int = 8,
    parameters_matter: bool = False,
    instance_count: int = 1,
    **batching: object,
) -> ModelSpec:
    return ModelSpec(
        name="m",
        version=3,
        inputs=(TensorSpec("x", datatype, dims),),
        outputs=(TensorSpec("y", datatype, dims),),
        batching=Batching(max_batch_size=max_batch_size, **batching),  # type: ignore[arg-type]
        instance_count=instance_count,
        parameters_matter=parameters_matter,
    )


@contextmanager
def running(model: ModelSpec, *backends: object) -> Iterator[Version]:
    version = Engine(transport_threads=0).add_version(model)
    threads = [
        threading.Thread(target=version.instance(i).run, args=(backend,))
        for i, backend in enumerate(backends)
    ]
    for thread in threads:
        thread.start()
    try:
        yield version
    finally:
        version.close()
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()


def rows(*values: float) -> np.ndarray:
    return np.array([[value, -value] for value in values], np.float32)


def test_answers_are_the_callers_own_rows() -> None:
    with running(spec(), Doubler()) as version:
        requests = [submit(version, {"x": rows(i, i + 1)}) for i in range(50)]
        for i, request in enumerate(requests):
            answer = request.result(5)
            assert list(answer) == ["y"]
            np.testing.assert_array_equal(answer["y"], 2 * rows(i, i + 1))


def test_a_backend_may_write_in_place() -> None:
    def run(batch: Batch) -> None:
        assert batch.static
        assert batch.input_shape(0) == (batch.rows, 2)
        size = batch.rows * 8
        source = (np.ctypeslib.ctypes.c_char * size).from_address(batch.input_address(0))
        target = (np.ctypeslib.ctypes.c_char * size).from_address(batch.output_address(0))
        target[:] = source[:]

    with running(spec(), Call(run)) as version:
        answer = submit(version, {"x": rows(4)}).result(5)
        np.testing.assert_array_equal(answer["y"], rows(4))


@pytest.mark.parametrize(
    ("datatype", "values"),
    [
        ("BOOL", np.array([[True, False]])),
        ("INT8", np.array([[-128, 127]], np.int8)),
        ("INT16", np.array([[-1, 2]], np.int16)),
        ("INT32", np.array([[-1, 2]], np.int32)),
        ("INT64", np.array([[-(2**63), 2**63 - 1]], np.int64)),
        ("UINT8", np.array([[0, 255]], np.uint8)),
        ("UINT16", np.array([[0, 65535]], np.uint16)),
        ("UINT32", np.array([[0, 2**32 - 1]], np.uint32)),
        ("UINT64", np.array([[0, 2**64 - 1]], np.uint64)),
        ("FP16", np.array([[0.5, np.inf]], np.float16)),
        ("BF16", np.array([[0x3F80, 0x7FC0]], np.uint16)),
        ("FP32", np.array([[1e-45, -np.inf]], np.float32)),
        ("FP64", np.array([[np.pi, 5e-324]], np.float64)),
        ("BYTES", np.array([[b"", b"\xff\x00text"]], object)),
    ],
)
def test_every_datatype_goes_through(datatype: str, values: np.ndarray) -> None:
    def echo(batch: Batch) -> None:
        value = batch.input(0)
        assert value is not None
        batch.set_output(0, value)

    with running(spec(datatype=datatype), Call(echo)) as version:
        answer = submit(version, {"x": values}).result(5)["y"]
        assert answer.dtype == values.dtype
        np.testing.assert_array_equal(answer, values)


def test_requests_batch_while_the_backend_computes() -> None:
    entered, go_on = threading.Event(), threading.Event()
    backend = Doubler()

    def run(batch: Batch) -> None:
        entered.set()
        assert go_on.wait(5)
        backend.run(batch)

    with running(spec(), Call(run)) as version:
        first = submit(version, {"x": rows(0)})
        assert entered.wait(5)
        rest = [submit(version, {"x": rows(i)}) for i in range(1, 13)]
        assert version.statistics()["queue_depth"] == 12
        go_on.set()
        for request in [first, *rest]:
            request.result(5)
        assert backend.batches == [1, 8, 4]
        statistics = version.statistics()
    assert statistics["success"] == 13
    assert statistics["inference_count"] == 13
    assert statistics["execution_count"] == 3
    assert {size: entry["count"] for size, entry in statistics["batch_sizes"].items()} == {
        1: 1,
        4: 1,
        8: 1,
    }
    assert statistics["released"]["full"] == 1
    assert statistics["released"]["idle_instance"] == 2
    assert statistics["in_flight"] == 0


def test_an_exception_fails_the_batch_and_only_the_batch() -> None:
    def run(batch: Batch) -> None:
        value = batch.input(0)
        assert value is not None
        if value[0, 0] < 0:
            raise ZeroDivisionError("no")
        if value[0, 0] == 0:
            raise RequestError(3, "zero is not served")
        batch.set_output(0, value)

    with running(spec(max_batch_size=1), Call(run)) as version:
        bad, refused, good = (submit(version, {"x": rows(value)}) for value in (-1, 0, 1))
        with pytest.raises(RequestError, match="model 'm': ZeroDivisionError: no") as error:
            bad.result(5)
        assert error.value.code == 13
        with pytest.raises(RequestError, match="zero is not served") as error:
            refused.result(5)
        assert error.value.code == 3
        np.testing.assert_array_equal(good.result(5)["y"], rows(1))
        assert version.statistics()["failure"]["backend"] == 2


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros((1, 3), np.float32), r"gave shape \[1,3\], expected \[1,2\]"),
        (np.zeros((1, 2), np.float64), r"gave dtype float64, expected float32 \(FP32\)"),
        (np.float32(1), r"gave shape \[\], expected \[1,2\]"),
    ],
)
def test_outputs_must_fit_the_signature(value: np.ndarray, message: str) -> None:
    with running(spec(), Call(lambda batch: batch.set_output(0, value))) as version:
        with pytest.raises(RequestError, match=message) as error:
            submit(version, {"x": rows(1)}).result(5)
        assert error.value.code == 13


def test_a_missing_output_is_an_error() -> None:
    with (
        running(spec(dims=(-1,)), Call(lambda batch: None)) as version,
        pytest.raises(RequestError, match="gave no value for 1 of its outputs"),
    ):
        submit(version, {"x": rows(1)}).result(5)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "'x'"),
        ({"x": np.zeros((1, 3), np.float32)}, r"\[1,3\]"),
        ({"x": np.zeros((9, 2), np.float32)}, "8"),
        ({"x": np.zeros((1, 2), np.float64)}, "float64"),
        ({"x": rows(1), "z": rows(1)}, "'z'"),
    ],
)
def test_bad_inputs_are_refused(inputs: dict[str, np.ndarray], message: str) -> None:
    with running(spec(), Doubler()) as version:
        with pytest.raises(RequestError, match=message) as error:
            submit(version, inputs).result(5)
        assert error.value.code == 3


def test_parameters_reach_the_model_and_keep_batches_apart() -> None:
    seen: list[tuple[int, dict[str, object]]] = []
    entered, go_on = threading.Event(), threading.Event()

    def run(batch: Batch) -> None:
        entered.set()
        assert go_on.wait(5)
        seen.append((batch.rows, dict(batch.parameters)))
        value = batch.input(0)
        assert value is not None
        batch.set_output(0, value)

    with running(spec(parameters_matter=True), Call(run)) as version:
        first = submit(version, {"x": rows(0)})
        assert entered.wait(5)
        kinds: list[dict[str, bool | int | str | float]] = [
            {"mode": "fast", "n": 3},
            {"mode": "exact", "scale": 0.5, "flag": True},
            {"mode": "fast", "n": 3},
        ]
        requests = [submit(version, {"x": rows(1)}, parameters=kind) for kind in kinds]
        go_on.set()
        for request in [first, *requests]:
            request.result(5)
    assert sorted(seen, key=str) == sorted([(1, {}), (2, kinds[0]), (1, kinds[1])], key=str)


def test_deadlines_and_cancellation() -> None:
    entered, go_on = threading.Event(), threading.Event()
    backend = Doubler()

    def run(batch: Batch) -> None:
        entered.set()
        assert go_on.wait(5)
        backend.run(batch)

    with running(spec(), Call(run)) as version:
        first = submit(version, {"x": rows(0)})
        assert entered.wait(5)
        late = submit(version, {"x": rows(1)}, timeout_s=0.01)
        cancelled = submit(version, {"x": rows(1)})
        cancelled.cancel()
        with pytest.raises(RequestError, match="cancelled") as error:
            cancelled.result(5)
        assert error.value.code == 1
        with pytest.raises(TimeoutError):
            first.result(0.01)
        time.sleep(0.02)
        go_on.set()
        with pytest.raises(RequestError, match="deadline") as error:
            late.result(5)
        assert error.value.code == 4
        first.result(5)
        failure = version.statistics()["failure"]
    assert backend.batches == [1]
    assert failure["expired"] == 1
    assert failure["cancelled"] == 1


def test_the_queue_limit_is_named() -> None:
    entered, go_on = threading.Event(), threading.Event()

    def run(batch: Batch) -> None:
        entered.set()
        assert go_on.wait(5)
        batch.set_output(0, batch.input(0))

    policy = QueuePolicy(max_queue_size=2)
    with running(spec(default_queue_policy=policy), Call(run)) as version:
        first = submit(version, {"x": rows(0)})
        assert entered.wait(5)
        queued = [submit(version, {"x": rows(0)}) for _ in range(2)]
        with pytest.raises(RequestError, match="limit 2 requests") as error:
            submit(version, {"x": rows(0)}).result(5)
        assert error.value.code == 8
        go_on.set()
        for request in [first, *queued]:
            request.result(5)


def test_callbacks_come_once_wherever_the_answer_comes_from() -> None:
    with running(spec(), Doubler()) as version:
        done = threading.Semaphore(0)
        request = submit(version, {"x": rows(1)})
        request.add_done_callback(lambda _: done.release())
        assert done.acquire(timeout=5)
        request.add_done_callback(lambda _: done.release())
        assert done.acquire(timeout=5)
        assert not done.acquire(timeout=0.05)


def test_a_closed_version_says_so() -> None:
    with running(spec(), Doubler()) as version:
        version.close()
        with pytest.raises(RequestError, match="being unloaded") as error:
            submit(version, {"x": rows(1)}).result(5)
        assert error.value.code == 14


def test_results_outlive_their_request() -> None:
    with running(spec(), Doubler()) as version:
        answer = submit(version, {"x": rows(1)}).result(5)["y"]
        for i in range(100):
            submit(version, {"x": rows(i)}).result(5)
        gc.collect()
        np.testing.assert_array_equal(answer, 2 * rows(1))


def test_a_version_is_freed_once_nobody_needs_it() -> None:
    with running(spec(), Doubler()) as version:
        gone = weakref.ref(version)
    del version
    gc.collect()
    assert gone() is None


def test_warm_up_needs_sizes_for_dynamic_dimensions() -> None:
    version = Engine(transport_threads=0).add_version(spec(dims=(-1,)))
    instance = version.instance(0)
    with pytest.raises(ValueError, match="dynamic dimension"):
        instance.warm_up(Doubler(), 1)
    with pytest.raises(ValueError, match="9 rows, expected 1 to 8"):
        instance.warm_up(Doubler(), 9, [(3,)])
    backend = Doubler()
    instance.warm_up(backend, 4, [(3,)])
    assert backend.batches == [4]
    assert version.statistics()["execution_count"] == 0


class Odd(Exception):
    def __str__(self) -> str:
        raise ValueError("no text either")


class Bare(RequestError):
    def __init__(self) -> None:  # without its base's
        pass


@pytest.mark.parametrize("error", [Odd(), Bare(), SystemExit(3), KeyboardInterrupt()])
def test_whatever_a_backend_raises_its_executor_goes_on(error: BaseException) -> None:
    fail = True

    def run(batch: Batch) -> None:
        if fail:
            raise error
        batch.set_output(0, batch.input(0))

    with running(spec(), Call(run)) as version:
        with pytest.raises(RequestError) as answered:
            submit(version, {"x": rows(1)}).result(5)
        assert answered.value.code == 13
        fail = False
        np.testing.assert_array_equal(submit(version, {"x": rows(1)}).result(5)["y"], rows(1))


def test_a_model_does_not_see_what_the_scheduler_reads() -> None:
    seen: list[dict[str, object]] = []

    def run(batch: Batch) -> None:
        seen.append(dict(batch.parameters))
        batch.set_output(0, batch.input(0))

    parameters = {"a": 1, "priority": 7, "timeout": 5_000_000, "slice": "gold"}
    with running(spec(parameters_matter=True), Call(run)) as version:
        submit(version, {"x": rows(1)}, parameters=parameters).result(5)
    assert seen == [{"a": 1}]


def test_arrays_outlive_their_batch() -> None:
    kept: list[np.ndarray] = []

    def run(batch: Batch) -> None:
        kept.append(batch.input(0))
        batch.set_output(0, kept[-1])

    with running(spec(dims=(-1,), max_batch_size=1), Call(run)) as version:
        for columns in (1, 1_000, 1_000_000):
            submit(version, {"x": np.ones((1, columns), np.float32)}).result(5)
    del version
    gc.collect()
    # What they hold now is no promise; that they can be read is.
    assert [array.shape for array in kept] == [(1, 1), (1, 1_000), (1, 1_000_000)]
    assert all(np.isfinite(array.sum()) for array in kept)


def test_a_batch_is_over_when_its_instance_is() -> None:
    kept: list[Batch] = []

    def run(batch: Batch) -> None:
        kept.append(batch)
        batch.set_output(0, batch.input(0))

    with running(spec(), Call(run)) as version:
        submit(version, {"x": rows(1)}).result(5)
    with pytest.raises(RuntimeError, match=r"inside Backend\.run only"):
        kept[0].input(0)


def test_an_instance_runs_once_at_a_time() -> None:
    backend = Doubler()
    with running(spec(), backend) as version:
        submit(version, {"x": rows(1)}).result(5)
        with pytest.raises(RuntimeError, match="running already"):
            version.instance(0).run(backend)
        with pytest.raises(RuntimeError, match="running already"):
            version.instance(0).warm_up(backend, 1)


def test_whoever_waits_is_told_of_the_deadline_in_time() -> None:
    entered, go_on = threading.Event(), threading.Event()

    def run(batch: Batch) -> None:
        entered.set()
        assert go_on.wait(10)
        batch.set_output(0, batch.input(0))

    with running(spec(), Call(run)) as version:
        first = submit(version, {"x": rows(0)})
        assert entered.wait(5)
        late = submit(version, {"x": rows(1)}, timeout_s=0.05)
        with pytest.raises(RequestError, match="deadline"):
            late.result(5)
        go_on.set()
        first.result(5)


def test_an_endless_timeout_is_none() -> None:
    with running(spec(), Doubler()) as version:
        submit(version, {"x": rows(1)}, timeout_s=float("inf")).result(float("inf"))
        with pytest.raises(ValueError, match="nan"):
            submit(version, {"x": rows(1)}, timeout_s=float("nan"))


def test_nothing_happens_to_calls_that_never_were() -> None:
    for threads in (0, 1):
        engine = Engine(transport_threads=threads)
        engine.control_send(7, b"hello")
        engine.control_finish(7, 0, "")


def test_parameters_of_every_integer_type() -> None:
    seen: list[dict[str, object]] = []

    def run(batch: Batch) -> None:
        seen.append(dict(batch.parameters))
        batch.set_output(0, batch.input(0))

    with running(spec(parameters_matter=True), Call(run)) as version:
        parameters = {"n": np.int64(3), "big": 2**64 - 1}
        submit(version, {"x": rows(1)}, parameters=parameters).result(5)
        with pytest.raises(RequestError, match="beyond 64 bits"):
            submit(version, {"x": rows(1)}, parameters={"n": 2**64})
    assert seen == [{"n": 3, "big": 2**64 - 1}]
