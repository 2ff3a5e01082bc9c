"""What watching costs, and what others need for the same."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import penstock
from benchmarks import harness, models
from benchmarks.harness import h2load
from penstock.monitoring import statistics as distances
from penstock.monitoring.binning import bins_of_numbers
from penstock.monitoring.statistics import Cells
from penstock.monitoring.watcher import ModelWatcher

KERNELS = harness.ROOT / "build" / "csrc" / "release" / "kernel_costs"
PEERS = harness.ROOT / "build" / "peers"
SKETCH_PEERS = ("ddsketch", "datasketches", "hdrhistogram")
DRIFT_PEERS = {
    "scipy": ("scipy", "pandas<3"),
    "nannyml": ("nannyml==0.13.1", "statsmodels"),
    "alibi_detect": ("alibi-detect",),
    "evidently": ("evidently", "pandas<3"),
}
"""What an environment of each consists of: as released, some import only with another's help."""
ROWS, FEATURES = 50_000, 50


def kernels(runs: int) -> dict[str, object]:
    """Nanoseconds a value in the executor's own loop, the median over runs of medians."""
    measured = [
        json.loads(subprocess.run([KERNELS], capture_output=True, check=True).stdout)
        for _ in range(runs)
    ]
    return {key: statistics.median(each[key] for each in measured) for key in measured[0]}


def sketches() -> dict[str, object]:
    """LatencySketch beside its peers, in an environment that has them."""
    return _in_environment("sketches", ("numpy", *SKETCH_PEERS), "benchmarks.peers.sketches")


def accuracy(folder: Path) -> dict[str, object]:
    """The sketch's relative error at p50, p95, p99 and p99.9, the largest of each distribution.

    The live stream is what requests to a model in this process took, as their caller saw it.
    """
    random = np.random.default_rng(6)
    samples = {
        "lognormal": random.lognormal(-6, 1, 1_000_000),
        "pareto": (random.pareto(1.5, 1_000_000) + 1) * 1e-4,
        "bimodal": np.where(
            random.random(1_000_000) < 0.9,
            random.normal(2e-3, 2e-4, 1_000_000),
            random.normal(0.2, 1e-2, 1_000_000),
        ),
    }
    models.add_model(folder, "mlp0", models.mlp(models.SMALL))
    row = {"x": random.normal(size=(1, models.SMALL[0])).astype(np.float32)}
    with penstock.load(folder / "mlp0") as model:
        taken = np.empty(50_000)
        for i in range(len(taken)):
            began = time.perf_counter()
            model.infer(row)
            taken[i] = time.perf_counter() - began
    samples["live"] = taken
    ranks = (0.5, 0.95, 0.99, 0.999)
    found = {}
    for name, values in samples.items():
        sketch = penstock.LatencySketch()
        sketch.add_many(values)
        exact = np.quantile(values, ranks, method="inverted_cdf")
        found[name] = float(np.max(np.abs(np.array(sketch.quantiles(ranks)) / exact - 1)))
    return {f"{name}_percent": 100 * error for name, error in found.items()}


def streams() -> dict[str, object]:
    """Delay and false alarms on river's streams, in an environment that has river."""
    return _in_environment("river", ("river",), "benchmarks.peers.streams")


def drift(runs: int) -> dict[str, object]:
    """PSI and Kolmogorov-Smirnov of 50 features, 50,000 live rows against 50,000 of reference.

    The reference is counted once, as a profile is: so it is given to the peers beforehand too,
    where they can keep it.
    """
    random = np.random.default_rng(3)
    reference = random.normal(size=(ROWS, FEATURES)).astype(np.float32)
    live = random.normal(0.02, 1, (ROWS, FEATURES)).astype(np.float32)
    bins = [bins_of_numbers(column) for column in reference.T]
    histogram = penstock.DriftHistogram(bins)
    histogram.observe(reference)
    then = histogram.counts.astype(np.int64)
    taken = []
    for _ in range(runs):
        began = time.perf_counter()
        fresh = penstock.DriftHistogram(bins)
        fresh.observe(live)
        now = fresh.counts.astype(np.int64)
        cells = Cells.of(bins, then, now)
        psi = distances.population_stability_index(then, now, cells)
        distance, _ = distances.kolmogorov_smirnov(then, now, cells)
        distances.ks_p_value(distance, then, now)
        taken.append(time.perf_counter() - began)
        assert np.isfinite(psi).all()
    ours = statistics.median(taken)
    result: dict[str, object] = {"penstock_ms": ours * 1e3}
    for name, packages in DRIFT_PEERS.items():
        try:
            python = _environment(name, packages)
            done = subprocess.run(
                [python, str(Path(__file__).parent / "peers" / "drift.py"), name],
                capture_output=True,
                check=True,
                timeout=600,
            )
            peer = json.loads(done.stdout.splitlines()[-1])
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            result[name] = f"did not run: {str(error)[-200:]}"
            continue
        result[name] = peer | {"times_ours": round(sum(peer.values()) / 1e3 / ours, 1)}
    return result


def overhead(folder: Path, runs: int, requests: int) -> dict[str, object]:
    """CPU per request with everything watched over nothing watched, in turns; and its memory."""
    model = models.mlp(models.SMALL)
    for switch in ("off", "on"):
        config = f'parameters {{ key: "monitoring" value {{ string_value: "{switch}" }} }}'
        models.add_model(folder / switch, "mlp0", model, config)
    rows = np.random.default_rng(4).normal(size=(20_000, models.SMALL[0])).astype(np.float32)
    with penstock.load(folder / "on" / "mlp0") as loaded:
        penstock.build_profile(rows, model=loaded).save(folder / "on/mlp0/1/profile.json")
    body = models.request_body("mlp0", models.SMALL[0])
    with harness.penstock(folder / "off") as off, harness.penstock(folder / "on") as on:
        pairs = [
            tuple(h2load(each, body, requests=requests).cpu_us for each in (off, on))
            for _ in range(runs)
        ]
    return {
        "off_cpu_us": statistics.median(pair[0] for pair in pairs),
        "on_cpu_us": statistics.median(pair[1] for pair in pairs),
        "on_over_off": statistics.median(pair[1] / pair[0] for pair in pairs),
        "version_kib": _version_bytes(folder / "on" / "mlp0") / 1024,
    }


def _version_bytes(folder: Path) -> float:
    """Memory of a version's sketches, histogram and full windows under traffic of all kinds."""

    class Clock:
        now = 0.0

        def __call__(self) -> float:
            return self.now

    random = np.random.default_rng(5)
    with penstock.load(folder) as model:
        loaded = model._loaded
        assert loaded.watcher is not None
        profile = loaded.watcher.profile
        assert profile is not None
        clock = Clock()
        watcher = ModelWatcher(loaded.version, profile, clock, clock)
        for _ in range(80):
            for rows in (1, 8, 64):
                batch = random.normal(size=(rows, models.SMALL[0]))
                model.infer({"x": batch.astype(np.float32)})
            clock.now += 5
            watcher.tick()
        live = 3 * penstock.LatencySketch().counts.nbytes + len(profile.features) * 37 * 8
        bins = len(profile.features) * (320 + 576)
        return watcher.window_bytes + live + bins + profile.counts.nbytes


def _in_environment(name: str, packages: tuple[str, ...], module: str) -> dict[str, object]:
    """What a module prints that has both some packages and this checkout."""
    environment = os.environ | {"PYTHONPATH": f"{harness.ROOT}/src{os.pathsep}{harness.ROOT}"}
    command = [_environment(name, packages), "-m", module]
    done = subprocess.run(command, capture_output=True, check=True, env=environment)
    result: dict[str, object] = json.loads(done.stdout)
    return result


def _environment(name: str, packages: tuple[str, ...]) -> Path:
    """A virtual environment with some packages, made if there is none; its Python."""
    folder = PEERS / name
    python = folder / "bin" / "python"
    stamp = folder / ".ready"
    if not stamp.exists():
        print(f"installing {', '.join(packages)}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        stamp.touch()
    return python


def figures(folder: Path, runs: int, requests: int) -> dict[str, Any]:
    """How each figure of this module is measured, by name."""
    return {
        "kernels": lambda: kernels(runs),
        "accuracy": lambda: accuracy(folder / "accuracy"),
        "sketches": sketches,
        "drift": lambda: drift(runs),
        "streams": streams,
        "monitoring": lambda: overhead(folder / "monitoring", runs, requests),
    }
