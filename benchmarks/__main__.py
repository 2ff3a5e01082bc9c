"""Measure the figures of benchmarks/README.md: ``make bench``.

Every figure stands beside the floor of the same run. Needs two cores, h2load
(Debian ``nghttp2-client``) and taskset.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime as ort

from benchmarks import harness, models, monitoring
from benchmarks.harness import Load, Server, h2load

SERVER_CORE, CLIENT_CORE = 0, 1
FLOOR = harness.ROOT / "build" / "csrc" / "release" / "floor"


@contextmanager
def floor(answer: Path, core: int | None = None) -> Iterator[Server]:
    """The same transport, answering fixed bytes at once."""
    with harness.peer([str(FLOOR), "0", "1", str(answer)], core) as server:
        yield server


def median(runs: int, measure: Callable[[], Load]) -> dict[str, float]:
    """Medians over ``runs`` runs, after one that does not count."""
    measure()
    loads = [measure() for _ in range(runs)]
    return {
        "cpu_us": statistics.median(load.cpu_us for load in loads),
        "rate": statistics.median(load.rate for load in loads),
        "median_us": statistics.median(load.median_us for load in loads),
        "p99_us": statistics.median(load.p99_us for load in loads),
    }


class Bench:
    """One set of repositories, bodies and repeat counts."""

    def __init__(self, folder: Path, runs: int, requests: int) -> None:
        self.folder, self.runs, self.requests = folder, runs, requests
        self.small = folder / "small"
        models.add_model(self.small, "mlp", models.mlp(models.SMALL))
        self.three = folder / "three"
        for i in range(3):
            models.add_model(self.three, f"mlp{i}", models.mlp(models.SMALL, i))
        self.body = models.request_body("mlp", models.SMALL[0])
        self.answer = folder / "answer"
        self.answer.write_bytes(self.fixed_answer())

    def fixed_answer(self) -> bytes:
        """What the model itself would answer: the floor sends as many bytes."""
        from penstock import protos

        response = protos.message("inference.ModelInferResponse")(
            model_name="mlp", model_version="1", id="1"
        )
        response.outputs.add(name="y", datatype="FP32", shape=[1, models.SMALL[-1]])
        response.raw_output_contents.append(bytes(4 * models.SMALL[-1]))
        return bytes(response.SerializeToString())

    def cost(self) -> dict[str, object]:
        """CPU per request at 8 connections x 32 streams: floor, MLP, grpcio."""
        result: dict[str, object] = {}
        with floor(self.answer) as base, harness.penstock(self.small) as ours:
            # In turns, so that noise of the machine meets both alike.
            pairs = [
                (
                    h2load(base, self.body, requests=self.requests),
                    h2load(ours, self.body, requests=self.requests),
                )
                for _ in range(self.runs + 1)
            ][1:]
            result["floor_cpu_us"] = statistics.median(a.cpu_us for a, _ in pairs)
            result["mlp_cpu_us"] = statistics.median(b.cpu_us for _, b in pairs)
            result["mlp_over_floor"] = statistics.median(b.cpu_us / a.cpu_us for a, b in pairs)
            few = self.requests // 20
            with harness.peer(
                [sys.executable, "-m", "benchmarks.peers.grpc_aio", str(self.answer)]
            ) as grpcio:
                other = median(self.runs, lambda: h2load(grpcio, self.body, requests=few))
                result["grpcio_cpu_us"] = other["cpu_us"]
                result["grpcio_over_mlp"] = other["cpu_us"] / float(str(result["mlp_cpu_us"]))
        return result

    def throughput(self) -> dict[str, object]:
        """Requests/s with the server on one core and the load on the other."""
        result: dict[str, object] = {}
        for name, server in (
            ("floor", floor(self.answer, SERVER_CORE)),
            ("mlp", harness.penstock(self.small, core=SERVER_CORE)),
        ):
            with server as running:
                measured = median(
                    self.runs,
                    lambda running=running: h2load(  # type: ignore[misc]
                        running, self.body, requests=self.requests, core=CLIENT_CORE
                    ),
                )
                result[f"{name}_per_s"] = measured["rate"]
                result[f"{name}_cpu_us"] = measured["cpu_us"]
        return result

    def latency(self) -> dict[str, object]:
        """One connection, one stream: the median, and what of it is ours."""
        few = 20_000

        def one(server: Server) -> Load:
            return h2load(server, self.body, requests=few, connections=1, streams=1, latencies=True)

        with floor(self.answer) as base:
            floor_us = median(self.runs, lambda: one(base))["median_us"]
        with harness.penstock(self.small) as ours:
            mlp = median(self.runs, lambda: one(ours))
        row_us = onnxruntime_seconds(models.mlp(models.SMALL), models.SMALL[0], 1) * 1e6
        return {
            "floor_us": floor_us,
            "onnxruntime_one_row_us": row_us,
            "mlp_us": mlp["median_us"],
            "mlp_p99_us": mlp["p99_us"],
            "ours_us": mlp["median_us"] - floor_us - row_us,
        }

    def compute_bound(self) -> dict[str, object]:
        """Rows/s of a large MLP against ONNX Runtime alone at its best batch size.

        With one thread the load and the transport have a core to themselves; with two they take
        theirs from the model's, and what is left of the ratio is the share that they need.
        """
        result: dict[str, object] = {}
        for threads in (1, 2):
            measured = self.rows_per_second(threads)
            result |= {f"{key}_{threads}_threads": value for key, value in measured.items()}
        return result

    def rows_per_second(self, threads: int) -> dict[str, float]:
        body = models.request_body("large", models.LARGE[0])
        model = models.mlp(models.LARGE)
        repository = self.folder / f"large{threads}"
        models.add_model(repository, "large", model, models.threads_config(threads))

        def rows_of(size: int) -> float:
            return size / onnxruntime_seconds(model, models.LARGE[0], size, threads)

        rows_alone = partial(rows_of, max((16, 32, 64, 128, 256), key=rows_of))
        with harness.penstock(repository) as ours:
            h2load(ours, body, requests=20_000)
            rates: list[float] = []
            alone: list[float] = []
            ratios: list[float] = []
            for _ in range(self.runs):
                before = rows_alone()
                rates.append(h2load(ours, body, requests=self.requests // 4).rate)
                after = rows_alone()
                alone += [before, after]
                # Between two, as the machine's speed drifts by more than what is measured.
                ratios.append(rates[-1] / statistics.mean((before, after)))
        return {
            "rows_per_s": statistics.median(rates),
            "onnxruntime_rows_per_s": statistics.median(alone),
            "ratio": statistics.median(ratios),
        }

    def memory(self) -> dict[str, object]:
        """Resident memory with three models, before, after a million requests and after two."""
        body = models.request_body("mlp0", models.SMALL[0])
        with harness.penstock(self.three) as server:
            result: dict[str, object] = {"ready_mib": server.rss_mib()}
            for millions in (1, 2):
                h2load(server, body, requests=1_000_000)
                result[f"after_{millions}_million_mib"] = server.rss_mib()
        return result

    def start(self) -> dict[str, object]:
        """Seconds from process start to ready, three small models."""
        taken = []
        for _ in range(self.runs + 1):
            with harness.penstock(self.three) as server:
                taken.append(server.seconds_to_ready)
        return {"seconds": statistics.median(taken[1:]), "cold_seconds": taken[0]}

    def idle_connections(self) -> dict[str, object]:
        """What 10,000 silent connections cost, and one active client beside them."""

        def active(server: Server) -> dict[str, float]:
            return median(
                self.runs,
                lambda: h2load(
                    server, self.body, requests=20_000, connections=1, streams=1, latencies=True
                ),
            )

        with harness.penstock(self.small) as server:
            alone = active(server)
            before = server.rss_mib()
            sockets = []
            hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
            for i in range(10_000):
                # From several addresses: one has too few ports to spare.
                client = socket.create_connection(
                    ("127.0.0.1", server.port), source_address=(f"127.0.0.{2 + i % 4}", 0)
                )
                client.sendall(hello)
                sockets.append(client)
            time.sleep(2)
            more = server.rss_mib() - before
            beside = active(server)
            for client in sockets:
                client.close()
        return {
            "more_mib": more,
            "p99_us_alone": alone["p99_us"],
            "p99_us_beside": beside["p99_us"],
            "median_us_alone": alone["median_us"],
            "median_us_beside": beside["median_us"],
        }

    def many_models(self) -> dict[str, object]:
        """CPU per request of a busy model beside 1,000 others, 200 of them loaded."""
        many = self.folder / "many"
        model = models.mlp(models.SMALL)
        models.add_model(many, "mlp", model)
        for i in range(999):
            models.add_model(many, f"other{i}", model)
        loaded = [flag for i in range(199) for flag in ("--load-model", f"other{i}")]
        flags = ["--model-control", "explicit", "--load-model", "mlp", *loaded]
        with (
            harness.penstock(self.small) as alone,
            harness.penstock(many, *flags) as crowded,
        ):
            pairs = [
                (
                    h2load(alone, self.body, requests=self.requests).cpu_us,
                    h2load(crowded, self.body, requests=self.requests).cpu_us,
                )
                for _ in range(self.runs + 1)
            ][1:]
        return {
            "alone_cpu_us": statistics.median(a for a, _ in pairs),
            "crowded_cpu_us": statistics.median(b for _, b in pairs),
            "ratio": statistics.median(b / a for a, b in pairs),
            "seconds_to_ready": crowded.seconds_to_ready,
        }


def onnxruntime_seconds(model: bytes, columns: int, rows: int, threads: int = 1) -> float:
    """Mean seconds of one ``run`` with bound buffers in a loop."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    data = np.random.default_rng(1).normal(size=(rows, columns)).astype(np.float32)
    binding.bind_cpu_input("x", data)
    binding.bind_output("y")
    session.run_with_iobinding(binding)
    runs = 0
    began = time.perf_counter()
    while (elapsed := time.perf_counter() - began) < 1.0:
        session.run_with_iobinding(binding)
        runs += 1
    return elapsed / runs


FIGURES = (
    "cost",
    "throughput",
    "latency",
    "compute_bound",
    "memory",
    "start",
    "idle_connections",
    "many_models",
    "kernels",
    "accuracy",
    "sketches",
    "drift",
    "streams",
    "monitoring",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help=", ".join(FIGURES))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--requests", type=int, default=500_000, help="in one run")
    arguments = parser.parse_args()
    for name in arguments.figures:
        if name not in FIGURES:
            parser.error(f"figure {name!r} is not one of {', '.join(FIGURES)}")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), arguments.runs, arguments.requests)
        watching = monitoring.figures(Path(folder), arguments.runs, arguments.requests)
        for name in arguments.figures or FIGURES:
            result = watching[name]() if name in watching else getattr(bench, name)()
            rounded = {
                key: round(value, 3) if isinstance(value, float) else value
                for key, value in result.items()
            }
            print(json.dumps({"figure": name, **rounded}), flush=True)


if __name__ == "__main__":
    main()
