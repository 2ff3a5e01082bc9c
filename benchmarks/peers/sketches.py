"""Latency sketches side by side: the same values, one at a time and a batch at a time.

Run by `python -m benchmarks sketches` in an environment of its own that has the peers. Prints one
JSON object: for each sketch nanoseconds a value per call and per batch (null: it takes no
batches), and the relative error of four quantiles in percent.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

QUANTILES = (0.5, 0.95, 0.99, 0.999)
PER_CALL, PER_BATCH = 200_000, 1_000_000
ROUNDS = 5


@dataclass(frozen=True)
class Peer:
    """How one library's sketch is used."""

    make: Callable[[], Any]
    add: Callable[[Any], Callable[[float], Any]]
    add_many: Callable[[Any, np.ndarray[Any, Any]], Any] | None
    quantile: Callable[[Any, float], float]


def peers() -> dict[str, Peer]:
    """Those that are installed."""
    import datasketches
    from ddsketch import DDSketch
    from hdrh.histogram import HdrHistogram

    from penstock import LatencySketch

    def hdr_add(sketch: Any) -> Callable[[float], Any]:
        # Whole microseconds.
        return lambda value: sketch.record_value(int(value * 1e6))

    def of_datasketches(make: Callable[[], Any]) -> Peer:
        return Peer(
            make,
            lambda sketch: sketch.update,
            lambda sketch, values: sketch.update(values),
            lambda sketch, q: float(sketch.get_quantile(q)),
        )

    return {
        "penstock LatencySketch": Peer(
            LatencySketch,
            lambda sketch: sketch.add,
            lambda sketch, values: sketch.add_many(values),
            lambda sketch, q: sketch.quantile(q),
        ),
        "ddsketch (1 %)": Peer(
            lambda: DDSketch(0.01),
            lambda sketch: sketch.add,
            None,
            lambda sketch, q: sketch.get_quantile_value(q),
        ),
        "datasketches KLL (k=200)": of_datasketches(lambda: datasketches.kll_doubles_sketch(200)),
        "datasketches REQ (k=12)": of_datasketches(
            lambda: datasketches.req_floats_sketch(12, True)
        ),
        "datasketches t-digest (k=200)": of_datasketches(lambda: datasketches.tdigest_double(200)),
        "hdrhistogram (2 digits)": Peer(
            lambda: HdrHistogram(1, 3_600_000_000, 2),
            hdr_add,
            None,
            lambda sketch, q: sketch.get_value_at_percentile(q * 100) / 1e6,
        ),
    }


def measure(peer: Peer, values: np.ndarray[Any, Any], exact: list[float]) -> dict[str, Any]:
    """Best of some rounds: whatever else runs only makes them slower."""
    singles = values[:PER_CALL].tolist()
    per_call, per_batch = math.inf, math.inf
    for _ in range(ROUNDS):
        add = peer.add(peer.make())
        began = time.perf_counter()
        for value in singles:
            add(value)
        per_call = min(per_call, (time.perf_counter() - began) / len(singles))
        if peer.add_many is not None:
            sketch = peer.make()
            began = time.perf_counter()
            peer.add_many(sketch, values)
            per_batch = min(per_batch, (time.perf_counter() - began) / len(values))
    sketch = peer.make()
    if peer.add_many is not None:
        peer.add_many(sketch, values)
    else:
        add = peer.add(sketch)
        for value in values.tolist():
            add(value)
    errors = [
        abs(peer.quantile(sketch, q) / true - 1) * 100
        for q, true in zip(QUANTILES, exact, strict=True)
    ]
    return {
        "per_call_ns": round(per_call * 1e9, 1),
        "per_batch_ns": None if peer.add_many is None else round(per_batch * 1e9, 2),
        "errors_percent": [round(error, 3) for error in errors],
    }


def main() -> None:
    random = np.random.default_rng(1)
    values = random.lognormal(math.log(5e-3), 0.8, PER_BATCH)
    exact = [float(np.quantile(values, q, method="inverted_cdf")) for q in QUANTILES]
    singles = values[:PER_CALL].tolist()
    began = time.perf_counter()
    for _ in singles:
        pass
    loop = (time.perf_counter() - began) / len(singles)
    table = {name: measure(peer, values, exact) for name, peer in peers().items()}
    print(json.dumps({"empty_loop_ns": round(loop * 1e9, 1), "sketches": table}))


if __name__ == "__main__":
    main()
