"""Answers are ONNX Runtime's own: bit for bit at the same batch size, close at others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

import penstock
from benchmarks import models


@pytest.fixture(scope="module", params=[models.SMALL, (17, 33, 5)], ids=["32-64-64-2", "17-33-5"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    models.add_model(folder, "mlp", models.mlp(request.param))
    return folder / "mlp"


def alone(model: Path, x: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(model / "1" / "model.onnx", providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["y"], {"x": x})[0])


def rows_of(model: Path, count: int) -> np.ndarray:
    session = ort.InferenceSession(model / "1" / "model.onnx", providers=["CPUExecutionProvider"])
    columns = session.get_inputs()[0].shape[1]
    return np.random.default_rng(count).normal(size=(count, columns)).astype(np.float32)


def test_the_same_batch_size_gives_the_same_bits(model: Path) -> None:
    with penstock.load(model) as served:
        for count in (1, 2, 3, 7, 16, 33, 64, 200):
            x = rows_of(model, count)
            y = served.infer({"x": x})["y"]
            assert y.tobytes() == alone(model, x).tobytes(), f"{count} rows"


def test_other_batch_sizes_are_close(model: Path) -> None:
    x = rows_of(model, 500)
    expected = alone(model, x)
    with penstock.load(model) as served:
        requests = [served.submit({"x": x[i : i + 1]}) for i in range(len(x))]
        for i, request in enumerate(requests):
            np.testing.assert_allclose(
                request.result(10)["y"], expected[i : i + 1], rtol=1e-4, atol=1e-5
            )
        assert served.statistics()["execution_count"] < len(x)
