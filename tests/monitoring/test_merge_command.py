"""``penstock merge`` over two real servers."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import numpy as np
import pytest

import penstock
from penstock._native.engine import submit
from penstock.cli import main
from tests import models


def rows(count: int, shift: float) -> np.ndarray:
    made = np.random.default_rng(count).normal(shift, 1, (count, 4))
    return made.astype(np.float32)


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[penstock.Server]]:
    """Neither sees much alone; the second one's traffic has shifted."""
    repository = tmp_path_factory.mktemp("models")
    models.write(repository, "m", models.mlp())
    models.write(repository, "bare", models.mlp())
    with penstock.load(repository / "m") as model:
        profile = penstock.build_profile(rows(4_000, 0), model=model, names=["a", "b", "c", "d"])
        profile.save(repository / "m/1/profile.json")
    ports = {"grpc_port": 0, "http_port": 0}
    with (
        penstock.Server(repository, **ports) as first,
        penstock.Server(repository, **ports) as second,
    ):
        for server, shift in ((first, 0.0), (second, 1.5)):
            version = next(v.version for v in server.versions() if v.spec.name == "m")
            for _ in range(40):
                submit(version, {"x": rows(5, shift)}, parameters={"slice": f"by {shift}"}).result(
                    10
                )
        yield [first, second]


def urls(replicas: list[penstock.Server]) -> list[str]:
    return [f"http://{server.http_address}" for server in replicas]


def test_the_union_as_a_table(
    replicas: list[penstock.Server], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["merge", *urls(replicas), "--model", "m", "--window", "start"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("m version 1, 2 replicas, window start: 80 requests, 0 failures, ")
    assert lines[1].split() == ["p50", "p95", "p99", "p99.9", "max"]
    assert [line.split()[0] for line in lines[2:5]] == ["queue", "compute", "total"]
    assert {line[:13].strip() for line in lines[5:7]} == {"slice by 0.0", "slice by 1.5"}
    assert lines[7] == "drift over 400 rows: drifted"
    assert {line.split(":")[0].strip() for line in lines[8:]} >= {"a", "b", "c", "d"}


def test_the_union_for_programs(
    replicas: list[penstock.Server], capsys: pytest.CaptureFixture[str]
) -> None:
    # Without a scheme as well, and every model.
    addresses = [server.http_address for server in replicas]
    assert main(["merge", *addresses, "--json"]) == 0
    merged = {model["model"]: model for model in json.loads(capsys.readouterr().out)}
    assert set(merged) == {"bare", "m"}
    window = merged["m"]["windows"]["start"]
    assert (window["requests"], window["rows"]) == (80, 400)
    assert window["latency"]["total"]["count"] == 80


def test_what_is_no_replica(
    replicas: list[penstock.Server], capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port = bound.getsockname()[1]
    good = urls(replicas)[0]
    assert main(["merge", good, f"http://127.0.0.1:{port}", "--model", "m"]) == 1
    assert f"127.0.0.1:{port}" in capsys.readouterr().err
    assert main(["merge", good, "--model", "nobody"]) == 1
    assert "nobody" in capsys.readouterr().err
    # A directory of static files, say.
    assert main(["merge", f"{good}/v2", "--model", "m"]) == 1
    assert "penstock merge: error: " in capsys.readouterr().err
