"""ONNX models through the core: every datatype and every way of binding."""

from __future__ import annotations

import gc
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from penstock._native.engine import RequestError, submit
from penstock.backends.base import DTYPES, LoadError, Reshapes
from penstock.backends.onnx import OnnxModel
from penstock.backends.onnx_binding import MAX_BINDINGS, OnnxBackend
from penstock.backends.sessions import SessionSettings
from penstock.repository import LoadedVersion
from penstock.spec import Batching, ModelSpec, TensorSpec
from tests import models
from tests.backends.conftest import Load
from tests.fakes.engine import FakeBatch

Array = np.ndarray[Any, Any]


def infer(loaded: LoadedVersion, **inputs: Array) -> dict[str, Array]:
    return submit(loaded.version, inputs).result(10)


def sample(datatype: str, shape: tuple[int, ...]) -> Array:
    random = np.random.default_rng(3)
    if datatype == "BYTES":
        words = ["", "a\0b", "Gürteltier", "x" * 300]
        return np.array(
            [words[i % 4].encode() for i in range(int(np.prod(shape)))], object
        ).reshape(shape)
    if datatype == "BOOL":
        return random.integers(0, 2, shape).astype(bool)
    # All bit patterns of small types, NaN of BF16 included.
    raw = random.integers(0, 256, int(np.prod(shape)) * DTYPES[datatype].itemsize, np.uint8)
    return raw.view(DTYPES[datatype]).reshape(shape)


@pytest.mark.parametrize("dims", [("batch", 3), (2, 3), ("batch", "length"), ("batch",), ()])
@pytest.mark.parametrize("datatype", sorted(models.TYPES))
def test_every_datatype_comes_back_bit_for_bit(
    tmp_path: Path, load: Load, datatype: str, dims: models.Dims
) -> None:
    loaded = load(models.write(tmp_path, "m", models.identity(datatype, dims)))
    shape = tuple(2 if dim == "batch" else 3 if dim == "length" else int(dim) for dim in dims)
    x = sample(datatype, shape)
    y = infer(loaded, x=x)["y"]
    assert y.shape == shape
    assert y.dtype == DTYPES[datatype]
    if datatype == "BYTES":
        assert y.tolist() == x.tolist()
    else:
        assert y.tobytes() == x.tobytes()


def test_static_answers_equal_onnxruntime(tmp_path: Path, load: Load) -> None:
    data = models.mlp((16, 32, 5))
    loaded = load(models.write(tmp_path, "m", data))
    alone = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    # Every size twice: the second time through the binding that was kept.
    for rows in (1, 2, 33, 256, 1, 2, 33, 256):
        x = random.normal(size=(rows, 16)).astype(np.float32)
        assert infer(loaded, x=x)["y"].tobytes() == alone.run(None, {"x": x})[0].tobytes()


def test_several_inputs_and_outputs(tmp_path: Path, load: Load) -> None:
    loaded = load(models.write(tmp_path, "m", models.add_and_subtract()))
    a, b = np.arange(8, dtype=np.int32).reshape(2, 4), np.full((2, 4), 3, np.int32)
    answer = infer(loaded, a=a, b=b)
    assert answer["sum"].tolist() == (a + b).tolist()
    assert answer["difference"].tolist() == (a - b).tolist()


def test_outputs_that_are_not_configured_are_not_served(tmp_path: Path, load: Load) -> None:
    config = 'output { name: "difference" }'
    loaded = load(models.write(tmp_path, "m", models.add_and_subtract(), config=config))
    a = np.ones((1, 4), np.int32)
    assert list(infer(loaded, a=a, b=a)) == ["difference"]


def test_dynamic_lengths(tmp_path: Path, load: Load) -> None:
    """``sum`` has a fixed size and is written in place, ``double`` has not."""
    loaded = load(models.write(tmp_path, "m", models.row_sums()))
    for rows, length in ((1, 1), (3, 5), (2, 100_000), (3, 5), (4, 0)):
        x = np.random.default_rng(length).integers(0, 9, (rows, length)).astype(np.float32)
        answer = infer(loaded, x=x)
        assert answer["sum"].tolist() == x.sum(axis=1).tolist()
        assert answer["double"].tolist() == (x + x).tolist()


def test_outputs_whose_size_is_in_the_data(tmp_path: Path, load: Load) -> None:
    loaded = load(models.write(tmp_path, "m", models.nonzero()))
    for x in ([0.0, 1.0, 0.0, 2.0], [0.0], [3.0, 3.0]):
        where = infer(loaded, x=np.array(x, np.float32))["where"]
        assert where.tolist() == [np.flatnonzero(x).tolist()]


def test_strings_beside_numbers(tmp_path: Path, load: Load) -> None:
    loaded = load(models.write(tmp_path, "m", models.strings_and_numbers()))
    text = np.array([[b"a", b"\xc3\xa9"], [b"", b"b\0"]], object)
    x = np.array([[1.5], [-2.0]], np.float32)
    answer = infer(loaded, text=text, x=x)
    assert answer["same"].tolist() == text.tolist()
    assert answer["y"].tolist() == x.tolist()


def test_strings_must_be_text(tmp_path: Path, load: Load) -> None:
    loaded = load(models.write(tmp_path, "m", models.strings_and_numbers()))
    text = np.array([[b"fine", b"\xff"]], object)
    with pytest.raises(RequestError, match="UTF-8") as raised:
        infer(loaded, text=text, x=np.zeros((1, 1), np.float32))
    assert raised.value.code == 3


def test_an_optional_input(tmp_path: Path, load: Load) -> None:
    config = 'max_batch_size: 0 input [ { name: "x" }, { name: "shift" optional: true } ]'
    loaded = load(models.write(tmp_path, "m", models.with_default(10), config=config))
    x = np.array([1, 2], np.float32)
    assert infer(loaded, x=x)["y"].tolist() == [11, 12]
    assert infer(loaded, x=x, shift=np.array([5], np.float32))["y"].tolist() == [6, 7]
    assert infer(loaded, x=x)["y"].tolist() == [11, 12]


@pytest.mark.parametrize(
    ("dims", "config", "shape"),
    [
        # A model of [batch] behind a protocol of [batch, 1].
        (
            ("batch",),
            """max_batch_size: 8
            input { name: "x" dims: 1 reshape { shape: [ ] } }
            output { name: "y" dims: 1 reshape { shape: [ ] } }""",
            (3, 1),
        ),
        # A model without batches of [1, 6] behind [2, 3].
        (
            (1, 6),
            """max_batch_size: 0
            input { name: "x" dims: [ 2, 3 ] reshape { shape: [ 1, 6 ] } }
            output { name: "y" dims: 6 reshape { shape: [ 1, 6 ] } }""",
            (2, 3),
        ),
        # Dynamic: [batch, length, 1] behind [batch, length].
        (
            ("batch", "length", 1),
            """max_batch_size: 8
            input { name: "x" dims: -1 reshape { shape: [ -1, 1 ] } }
            output { name: "y" dims: [ 1, -1 ] reshape { shape: [ -1, 1 ] } }""",
            (2, 5),
        ),
    ],
)
@pytest.mark.parametrize("datatype", ["FP32", "BYTES"])
def test_reshape(
    tmp_path: Path,
    load: Load,
    dims: models.Dims,
    config: str,
    shape: tuple[int, ...],
    datatype: str,
) -> None:
    loaded = load(models.write(tmp_path, "m", models.identity(datatype, dims), config=config))
    x = sample(datatype, shape)
    y = infer(loaded, x=x)["y"]
    assert y.reshape(-1).tolist() == x.reshape(-1).tolist()
    lead = loaded.spec.batching.max_batch_size > 0
    out = loaded.spec.outputs[0].dims
    assert len(y.shape) == len(out) + lead


def test_a_failing_batch_names_the_model(tmp_path: Path, load: Load) -> None:
    loaded = load(models.write(tmp_path, "table", models.lookup()))
    with pytest.raises(RequestError, match=r"^model 'table': .*indices element out of data bounds"):
        infer(loaded, index=np.array([[9]]))
    assert infer(loaded, index=np.array([[2]]))["row"].tolist() == [[[4, 5]]]


def test_an_output_that_breaks_its_promise_is_an_error(tmp_path: Path, load: Load) -> None:
    config = """max_batch_size: 0 input { name: "x" dims: -1 }
    output { name: "where" dims: [ 1, 2 ] }"""
    loaded = load(models.write(tmp_path, "m", models.nonzero(), config=config))
    assert infer(loaded, x=np.array([1, 1], np.float32))["where"].tolist() == [[0, 1]]
    with pytest.raises(RequestError, match=r"^model 'm': ") as raised:
        infer(loaded, x=np.array([1, 1, 1], np.float32))
    assert raised.value.code == 13


def test_instances_share_one_session(tmp_path: Path, load: Load) -> None:
    loaded = load(models.write(tmp_path, "m", models.mlp(), config="instance_group { count: 3 }"))
    x = np.random.default_rng(1).normal(size=(64, 4)).astype(np.float32)
    expected = infer(loaded, x=x)["y"]
    requests = [submit(loaded.version, {"x": x[i % 64 : i % 64 + 1]}) for i in range(500)]
    for i, request in enumerate(requests):
        np.testing.assert_allclose(
            request.result(10)["y"], expected[i % 64 : i % 64 + 1], rtol=1e-5
        )


class TestLoading:
    def test_a_file_that_is_no_model(self, tmp_path: Path, load: Load) -> None:
        with pytest.raises(
            LoadError, match=r"^model\.onnx: ONNX Runtime cannot load it: "
        ) as raised:
            load(models.write(tmp_path, "m", b"not a model"))
        assert "\n" not in str(raised.value)

    def test_a_type_the_protocol_cannot_carry(self, tmp_path: Path, load: Load) -> None:
        with pytest.raises(LoadError) as raised:
            load(models.write(tmp_path, "m", models.zip_map()))
        text = str(raised.value)
        assert text.startswith("model.onnx: output 'probabilities' is seq(map(int64,")
        assert text.endswith("; convert the classifier with options={'zipmap': False}")

    def test_an_option_that_onnxruntime_refuses(self, tmp_path: Path, load: Load) -> None:
        config = 'model_operations { op_library_filename: "nowhere.so" }'
        with pytest.raises(LoadError, match=r"nowhere\.so"):
            load(models.write(tmp_path, "m", models.mlp(), config=config))

    def test_a_model_file_on_its_own(self, tmp_path: Path, load: Load) -> None:
        folder = models.write(tmp_path, "m", models.add_constant(2))
        loaded = load(folder / "1" / "model.onnx")
        assert (loaded.spec.name, loaded.spec.version) == ("model", 1)
        x = np.zeros((1, 2), np.float32)
        assert infer(loaded, x=x)["y"].tolist() == [[2, 2]]

    def test_the_newest_version_of_a_folder(self, tmp_path: Path, load: Load) -> None:
        for version in (1, 2, 10):
            folder = models.write(tmp_path, "m", models.add_constant(version), version=version)
        loaded = load(folder)
        assert loaded.spec.version == 10
        older = load(folder, '{"version_policy": {"specific": {"versions": [2]}}}')
        assert older.spec.version == 2

    def test_nothing_there(self, tmp_path: Path, load: Load) -> None:
        with pytest.raises(LoadError, match="no such folder or file"):
            load(tmp_path / "nothing")

    def test_external_weights(self, tmp_path: Path, load: Load) -> None:
        import onnx

        made = onnx.load_from_string(models.mlp((64, 64, 2)))
        folder = tmp_path / "m" / "1"
        folder.mkdir(parents=True)
        onnx.save(
            made,
            folder / "model.onnx",
            save_as_external_data=True,
            location="weights.bin",
            size_threshold=0,
        )
        loaded = load(folder.parent)
        assert infer(loaded, x=np.zeros((1, 64), np.float32))["y"].tolist() == [[0, 0]]

    def test_a_drained_version_lets_its_memory_go(self, tmp_path: Path, load: Load) -> None:
        loaded = load(models.write(tmp_path, "m", models.mlp()))
        session = weakref.ref(loaded._model.session)  # type: ignore[union-attr]
        infer(loaded, x=np.zeros((1, 4), np.float32))
        loaded.close()
        assert loaded.join(10)
        gc.collect()
        assert session() is None


class TestThreads:
    """A model gets threads of its own only if its runs are worth them."""

    @pytest.fixture(autouse=True)
    def four_cores(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("penstock.backends.onnx.available_cores", lambda: 4)

    @staticmethod
    def opened(tmp_path: Path, data: bytes, settings: SessionSettings, rows: int) -> OnnxModel:
        folder = models.write(tmp_path, "m", data)
        model = OnnxModel(folder / "1" / "model.onnx", settings)
        model.prepare(ModelSpec("m", 1, (), (), Batching(max_batch_size=rows)))
        return model

    def test_short_runs_stay_on_one(self, tmp_path: Path) -> None:
        model = self.opened(tmp_path, models.mlp((4, 8, 2)), SessionSettings(), 8)
        assert model.threads == 1

    def test_long_runs_are_shared(self, tmp_path: Path) -> None:
        # Little to read and much to compute.
        model = self.opened(tmp_path, models.mlp([512] * 4), SessionSettings(), 16_384)
        assert model.threads == 4

    def test_large_models_are_not_tried(self, tmp_path: Path, monkeypatch: Any) -> None:
        monkeypatch.setattr("penstock.backends.onnx.LARGE_MODEL_BYTES", 100)
        model = self.opened(tmp_path, models.mlp(), SessionSettings(), 1)
        assert model.threads == 4

    def test_unknown_lengths_are_not_tried(self, tmp_path: Path) -> None:
        assert self.opened(tmp_path, models.row_sums(), SessionSettings(), 8).threads == 4

    def test_the_configured_number_is_kept(self, tmp_path: Path) -> None:
        settings = SessionSettings(intra_op_threads=3)
        model = self.opened(tmp_path, models.mlp((4, 8, 2)), settings, 8)
        assert model.threads == 3
        assert model.session.get_session_options().intra_op_num_threads == 3

    def test_instances_that_fill_the_cores(self, tmp_path: Path) -> None:
        model = self.opened(tmp_path, models.mlp([512] * 4), SessionSettings(instances=4), 16_384)
        assert model.threads == 1

    def test_a_model_that_refuses_zeros_gets_its_threads(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(self: OnnxModel, rows: int) -> float:
            raise RuntimeError(f"no zeros, and {rows} of them")

        monkeypatch.setattr(OnnxModel, "_run_time", refuse)
        assert self.opened(tmp_path, models.mlp(), SessionSettings(), 8).threads == 4


class TestBinding:
    """OnnxBackend on a batch that can be looked into."""

    @staticmethod
    def backend(max_batch_size: int = 1024) -> tuple[OnnxBackend, ModelSpec]:
        session = ort.InferenceSession(models.mlp(), providers=["CPUExecutionProvider"])
        spec = ModelSpec(
            "m",
            1,
            (TensorSpec("x", "FP32", (4,)),),
            (TensorSpec("y", "FP32", (3,)),),
            Batching(max_batch_size=max_batch_size),
        )
        return OnnxBackend(session, spec, Reshapes()), spec

    def test_static_outputs_are_written_in_place(self) -> None:
        backend, spec = self.backend()
        batch = FakeBatch(spec, {"x": np.ones((2, 4), np.float32)}, fixed=True)
        backend.run(batch)  # type: ignore[arg-type]
        assert batch.given == {}
        assert np.any(batch.outputs()["y"] != 0)

    def test_bindings_are_kept_and_bounded(self) -> None:
        backend, spec = self.backend()
        for rows in range(1, MAX_BINDINGS + 50):
            batch = FakeBatch(spec, {"x": np.ones((rows, 4), np.float32)}, fixed=True)
            backend.run(batch)  # type: ignore[arg-type]
        assert len(backend._bindings) == MAX_BINDINGS
        assert 1 not in backend._bindings

    def test_bf16_and_strings_do_not_go_together(self) -> None:
        session = ort.InferenceSession(models.mlp(), providers=["CPUExecutionProvider"])
        spec = ModelSpec(
            "m",
            1,
            (TensorSpec("a", "BYTES", (1,)), TensorSpec("b", "BF16", (1,))),
            (TensorSpec("y", "FP32", (3,)),),
            Batching(max_batch_size=8),
        )
        with pytest.raises(LoadError, match="BF16 tensors cannot be served beside BYTES"):
            OnnxBackend(session, spec, Reshapes())


def test_closing_answers_what_is_queued(tmp_path: Path, load: Load) -> None:
    loaded = load(models.write(tmp_path, "m", models.mlp()))
    drained = threading.Event()
    requests = [submit(loaded.version, {"x": np.full((1, 4), i, np.float32)}) for i in range(200)]
    loaded.close(drained.set)
    assert drained.wait(10) and loaded.drained
    assert all(request.result(1)["y"].shape == (1, 3) for request in requests)
    with pytest.raises(RequestError):
        submit(loaded.version, {"x": np.zeros((1, 4), np.float32)}).result(1)
    # After the fact it is called at once.
    again = threading.Event()
    loaded.close(again.set)
    assert again.is_set()
