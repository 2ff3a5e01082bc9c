"""Version.statistics() in the words of Triton's ModelStatistics."""

from __future__ import annotations

from typing import Any


def fill_statistics(entry: Any, counters: dict[str, Any]) -> None:
    """Fill an ``inference.ModelStatistics`` from the core's counters."""
    entry.last_inference = counters["last_inference_ms"]
    entry.inference_count = counters["inference_count"]
    entry.execution_count = counters["execution_count"]
    stats = entry.inference_stats
    success = counters["success"]
    _duration(stats.success, success, counters["success_ns"])
    _duration(stats.fail, sum(counters["failure"].values()), counters["failure_ns"])
    _duration(stats.queue, success, counters["queue_ns"])
    _duration(stats.compute_input, success, counters["compute_input_ns"])
    _duration(stats.compute_infer, success, counters["compute_infer_ns"])
    _duration(stats.compute_output, success, counters["compute_output_ns"])
    for rows, size in sorted(counters["batch_sizes"].items()):
        batch = entry.batch_stats.add(batch_size=rows)
        _duration(batch.compute_input, size["count"], size["compute_input_ns"])
        _duration(batch.compute_infer, size["count"], size["compute_infer_ns"])
        _duration(batch.compute_output, size["count"], size["compute_output_ns"])


def _duration(duration: Any, count: int, ns: int) -> None:
    duration.count = count
    duration.ns = ns
