"""Trains a classifier, serves it, and holds every served answer against scikit-learn's own.

Then the same rows come again with two pixels shifted, and the server says which.

    python examples/demo.py                  the whole demonstration, about ten seconds
    python examples/demo.py --prepare-only   only the model repository, for `penstock serve`

Exit status: 0 if every answer was right, 1 if not.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc as triton
from numpy.typing import NDArray
from skl2onnx import to_onnx
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import penstock

MODEL = "digits"
SHIFTED = {"pixel_2_3": 3.0, "pixel_5_4": -2.0}
"""What the second act adds to two of the features."""
TOLERANCE = 1e-4
"""Largest difference of a probability: the server computes in float32."""

# Whatever is not said here, the server reads from model.onnx.
CONFIG = """\
max_batch_size: 64
dynamic_batching { }
"""


@dataclass(frozen=True)
class HeldOut:
    """Rows the model never saw, what they are, and what scikit-learn says they are."""

    rows: NDArray[np.float32]
    truth: NDArray[np.int64]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]


@dataclass(frozen=True)
class Addresses:
    """Where a server listens."""

    grpc: str
    http: str


@dataclass
class Tally:
    """What one client thread saw."""

    latencies_ms: list[float] = field(default_factory=list)
    wrong_labels: int = 0
    """Not what scikit-learn says."""
    true_labels: int = 0
    """What the row really is."""
    deviation: float = 0.0
    error: BaseException | None = None


def prepare(repository: Path) -> HeldOut:
    """Train on three quarters of the digits and write ``repository/digits/1/model.onnx``."""
    images, truth = load_digits(return_X_y=True)
    rows = images.astype(np.float32)
    seen, held_out, seen_truth, held_out_truth = train_test_split(
        rows, truth, test_size=0.25, random_state=0, stratify=truth
    )
    network = MLPClassifier((64, 64), max_iter=80, early_stopping=True, random_state=0)
    classifier = make_pipeline(StandardScaler(), network).fit(seen, seen_truth)

    version = repository / MODEL / "1"
    version.mkdir(parents=True, exist_ok=True)
    exported = to_onnx(classifier, seen[:1], options={"zipmap": False})
    # Renamed into place, for a server may be watching.
    for target, content in (
        (version / "model.onnx", exported.SerializeToString()),
        (repository / MODEL / "config.pbtxt", CONFIG.encode()),
    ):
        written = target.with_name(target.name + ".new")
        written.write_bytes(content)
        written.replace(target)

    pixels = [f"pixel_{row}_{column}" for row in range(8) for column in range(8)]
    # Of its own training rows a network is surer than of any other: only inputs are compared.
    with penstock.load(repository / MODEL, with_profile=False) as model:
        profile = penstock.build_profile(seen, model=model, names=pixels, outputs=False)
    profile.save(version / "profile.json")

    print(
        f"trained a 64-64-64-10 network on {len(seen):,} of scikit-learn's digits, "
        f"kept {len(held_out):,} back; exported to {version / 'model.onnx'}"
    )
    return HeldOut(
        rows=held_out,
        truth=held_out_truth,
        labels=classifier.predict(held_out),
        probabilities=classifier.predict_proba(held_out),
    )


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in sockets]
    for listener in sockets:
        listener.close()
    return ports


@contextmanager
def served(repository: Path) -> Iterator[Addresses]:
    """A ``penstock serve`` of its own on the repository."""
    grpc_port, http_port = free_ports(2)
    address = f"127.0.0.1:{grpc_port}"
    command = Path(sys.executable).with_name("penstock")
    ports = ["--grpc-port", str(grpc_port), "--http-port", str(http_port)]
    log = repository.parent / "server.log"
    with log.open("wb") as output:
        began = time.perf_counter()
        server = subprocess.Popen(
            [command, "serve", repository, *ports], stdout=output, stderr=subprocess.STDOUT
        )
        try:
            wait_until_ready(server, address, log)
            print(f"serving on {address}, ready after {time.perf_counter() - began:.2f} s")
            yield Addresses(address, f"http://127.0.0.1:{http_port}")
            server.terminate()
            status = server.wait(timeout=30)
        finally:
            if server.poll() is None:
                server.kill()
                server.wait()
    if status != 0:
        raise SystemExit(f"the server ended with status {status}:\n{log.read_text()}")


def wait_until_ready(server: subprocess.Popen[bytes], address: str, log: Path) -> None:
    """Return once the server answers that it is ready; give up after 60 s."""
    give_up = time.monotonic() + 60
    with triton.InferenceServerClient(address) as client:
        while time.monotonic() < give_up:
            try:
                if client.is_server_ready() and client.is_model_ready(MODEL):
                    return
            except triton.InferenceServerException:
                pass  # Not listening yet.
            if server.poll() is not None:
                break
            time.sleep(0.02)
    raise SystemExit(f"the server did not become ready:\n{log.read_text()}")


def send(address: str, held_out: HeldOut, turns: range, tally: Tally) -> None:
    """One client: a row a request, one request after the other."""
    try:
        with triton.InferenceServerClient(address) as client:
            metadata = client.get_model_metadata(MODEL)
            name = metadata.inputs[0].name
            label, probabilities = (output.name for output in metadata.outputs)
            for turn in turns:
                row = turn % len(held_out.rows)
                tensor = triton.InferInput(name, [1, held_out.rows.shape[1]], "FP32")
                tensor.set_data_from_numpy(held_out.rows[row : row + 1])
                began = time.perf_counter()
                answer = client.infer(MODEL, [tensor])
                tally.latencies_ms.append((time.perf_counter() - began) * 1e3)
                served = answer.as_numpy(label).item()
                tally.wrong_labels += served != held_out.labels[row]
                tally.true_labels += served == held_out.truth[row]
                difference = answer.as_numpy(probabilities)[0] - held_out.probabilities[row]
                tally.deviation = max(tally.deviation, float(np.abs(difference).max()))
    except BaseException as error:
        tally.error = error


def measure(address: str, held_out: HeldOut, passes: int, threads: int) -> bool:
    """Send the held-out rows, over and over, and say what came back; whether all was right."""
    requests = passes * len(held_out.rows)
    tallies = [Tally() for _ in range(threads)]
    clients = [
        threading.Thread(target=send, args=(address, held_out, range(i, requests, threads), tally))
        for i, tally in enumerate(tallies)
    ]
    began = time.perf_counter()
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    elapsed = time.perf_counter() - began
    for tally in tallies:
        if tally.error is not None:
            raise tally.error

    latencies = np.concatenate([tally.latencies_ms for tally in tallies])
    wrong = sum(tally.wrong_labels for tally in tallies)
    true = sum(tally.true_labels for tally in tallies)
    deviation = max(tally.deviation for tally in tallies)
    p50, p95, p99 = np.percentile(latencies, (50, 95, 99))
    right = len(latencies) == requests and wrong == 0 and deviation <= TOLERANCE
    print(
        f"\n{requests:,} requests of one row from {threads} threads in {elapsed:.1f} s: "
        f"{requests / elapsed:,.0f} requests/s\n"
        f"latency at the client: p50 {p50:.2f} ms, p95 {p95:.2f} ms, p99 {p99:.2f} ms\n"
        f"answers that differ from scikit-learn's: {wrong} labels of {len(latencies):,}; "
        f"probabilities by {deviation:.1e} at most\n"
        f"accuracy on the {len(held_out.rows)} held-out rows: {true / len(latencies):.1%}\n"
        f"{'every answer is right' if right else 'WRONG ANSWERS'}"
    )
    return right


def watch(server: Addresses, rows: NDArray[np.float32]) -> dict[str, Any]:
    """Send each row once, and ask the server how they compare with the training rows."""
    with triton.InferenceServerClient(server.grpc) as client:
        name = client.get_model_metadata(MODEL).inputs[0].name
        for row in rows:
            tensor = triton.InferInput(name, [1, len(row)], "FP32")
            tensor.set_data_from_numpy(row[np.newaxis])
            client.infer(MODEL, [tensor])
    with urllib.request.urlopen(f"{server.http}/v1/monitor/{MODEL}", timeout=30) as response:
        drift: dict[str, Any] = json.load(response)["drift"]["start"]
    print(f"\ndrift over {drift['rows']} rows: {drift['verdict']}")
    for feature in drift["features"]:
        if feature["verdict"] in ("warning", "drifted"):
            print(
                f"  {feature['name']}: {feature['verdict']} (adjusted p {feature['p_adjusted']:.1g}"
                f", {feature['test']}; PSI {feature['psi']:.2f}; "
                f"{feature['out_of_range']:.0%} of the rows outside what was trained on)"
            )
    return drift


def drifted(drift: dict[str, Any]) -> set[str]:
    """Names of the features that have."""
    return {each["name"] for each in drift["features"] if each["verdict"] == "drifted"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repository", type=Path, default=Path(".demo/repository"))
    parser.add_argument("--prepare-only", action="store_true")
    parser.add_argument("--passes", type=int, default=14, help="over the held-out rows")
    parser.add_argument("--threads", type=int, default=4)
    arguments = parser.parse_args()

    held_out = prepare(arguments.repository)
    if arguments.prepare_only:
        return 0
    with served(arguments.repository) as server:
        calm = not drifted(watch(server, held_out.rows))
        right = measure(server.grpc, held_out, arguments.passes, arguments.threads)

    print(f"\nthe same rows, {' and '.join(SHIFTED)} shifted")
    shifted = held_out.rows.copy()
    for name, by in SHIFTED.items():
        _, row, column = name.split("_")
        shifted[:, 8 * int(row) + int(column)] += by
    with served(arguments.repository) as server:
        found = drifted(watch(server, shifted))
    if not calm or found != set(SHIFTED):
        print(f"WRONG VERDICT: {sorted(found)} drifted, expected {sorted(SHIFTED)}")
        return 1
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
