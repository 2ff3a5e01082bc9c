"""/metrics in both formats, read back by Prometheus' own parsers."""

from __future__ import annotations

import re
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from penstock import __version__
from penstock.control.metrics import PenstockCollector
from penstock.control.readiness import Readiness
from tests.control.fakes import TRANSPORT, FakeEngine, FakeLoaded, FakeRepository, run, spec

FRAUD = 'model="fraud",version="1"'

EXPECTED = {
    f'penstock_build_info{{version="{__version__}"}}': 1,
    "penstock_ready": 1,
    "penstock_open_connections": 2,
    "penstock_connections_total": 10,
    "penstock_open_calls": 3,
    "penstock_calls_total": 40,
    'penstock_calls_ended_total{code="OK"}': 30,
    'penstock_calls_ended_total{code="NOT_FOUND"}': 7,
    "penstock_in_flight_bytes": 500,
    "penstock_received_bytes_total": 6_000,
    "penstock_sent_bytes_total": 70_000,
    'penstock_limit_hits_total{limit="max_streams"}': 1,
    'penstock_limit_hits_total{limit="flood"}': 0,
    f"penstock_requests_total{{{FRAUD}}}": 8,
    'penstock_failures_total{model="fraud",reason="rejected",version="1"}': 1,
    'penstock_failures_total{model="fraud",reason="backend",version="1"}': 2,
    f"penstock_rows_total{{{FRAUD}}}": 9,
    'penstock_batches_total{model="fraud",reason="full",version="1"}': 1,
    'penstock_batches_total{model="fraud",reason="idle_instance",version="1"}': 2,
    f'penstock_batch_rows_bucket{{le="1.0",{FRAUD}}}': 1,
    f'penstock_batch_rows_bucket{{le="2.0",{FRAUD}}}': 1,
    f'penstock_batch_rows_bucket{{le="4.0",{FRAUD}}}': 3,
    f'penstock_batch_rows_bucket{{le="6.0",{FRAUD}}}': 3,
    f'penstock_batch_rows_bucket{{le="+Inf",{FRAUD}}}': 3,
    f"penstock_batch_rows_count{{{FRAUD}}}": 3,
    f"penstock_batch_rows_sum{{{FRAUD}}}": 9,
    f"penstock_queue_depth{{{FRAUD}}}": 6,
    f"penstock_queued_rows{{{FRAUD}}}": 7,
    f"penstock_in_flight_requests{{{FRAUD}}}": 8,
    'penstock_stage_duration_seconds_count{model="fraud",stage="queue",version="1"}': 5,
    'penstock_stage_duration_seconds_sum{model="fraud",stage="queue",version="1"}': 1e-6,
    'penstock_stage_duration_seconds_count{model="fraud",stage="compute_input",version="1"}': 5,
    'penstock_stage_duration_seconds_sum{model="fraud",stage="compute_input",version="1"}': 2e-8,
    'penstock_stage_duration_seconds_count{model="fraud",stage="compute_infer",version="1"}': 5,
    'penstock_stage_duration_seconds_sum{model="fraud",stage="compute_infer",version="1"}': 3e-6,
    'penstock_stage_duration_seconds_count{model="fraud",stage="compute_output",version="1"}': 5,
    'penstock_stage_duration_seconds_sum{model="fraud",stage="compute_output",version="1"}': 4e-8,
    f"penstock_cost_batch_seconds{{{FRAUD}}}": 5e-5,
    f"penstock_cost_row_seconds{{{FRAUD}}}": 2.5e-6,
    f"penstock_last_inference_timestamp_seconds{{{FRAUD}}}": 1_700_000_000.123,
    f"nv_inference_request_success{{{FRAUD}}}": 5,
    f"nv_inference_request_failure{{{FRAUD}}}": 3,
    f"nv_inference_count{{{FRAUD}}}": 9,
    f"nv_inference_exec_count{{{FRAUD}}}": 3,
    f"nv_inference_request_duration_us{{{FRAUD}}}": 5,
    f"nv_inference_queue_duration_us{{{FRAUD}}}": 1,
    f"nv_inference_compute_input_duration_us{{{FRAUD}}}": 0,
    f"nv_inference_compute_infer_duration_us{{{FRAUD}}}": 3,
    f"nv_inference_compute_output_duration_us{{{FRAUD}}}": 0,
}
"""Labels in alphabetical order."""


def registry_of(*loaded: FakeLoaded) -> CollectorRegistry:
    engine = FakeEngine()
    engine.close()
    engine.counters = TRANSPORT
    readiness = Readiness()
    readiness.set("ready")
    collector = PenstockCollector(
        engine,  # type: ignore[arg-type]
        FakeRepository(*loaded),  # type: ignore[arg-type]
        readiness,
    )
    registry = CollectorRegistry()
    registry.register(collector)
    return registry


def samples(families: Any) -> dict[str, float]:
    found: dict[str, float] = {}
    for family in families:
        for sample in family.samples:
            pairs = sorted(f'{key}="{value}"' for key, value in sample.labels.items())
            name = f"{sample.name}{{{','.join(pairs)}}}" if pairs else sample.name
            assert name not in found
            found[name] = sample.value
    return found


@pytest.fixture(scope="module")
def registry() -> CollectorRegistry:
    async def make() -> CollectorRegistry:
        return registry_of(FakeLoaded(spec("fraud", max_batch_size=6)))

    return run(make())


def test_every_sample_as_text(registry: CollectorRegistry) -> None:
    found = samples(parse_text(generate_latest(registry).decode()))
    assert found == pytest.approx(EXPECTED)


def test_every_sample_as_openmetrics(registry: CollectorRegistry) -> None:
    """Its parser is strict: no family twice, units and suffixes as they must be."""
    text = openmetrics.generate_latest(registry).decode()
    assert samples(parse_openmetrics(text)) == pytest.approx(EXPECTED)


def test_names_follow_the_rules(registry: CollectorRegistry) -> None:
    for family in registry.collect():
        assert family.documentation.endswith("."), family.name
        if family.name.startswith("nv_"):
            continue  # Triton's
        assert re.fullmatch(r"penstock_[a-z_]+", family.name), family.name
        assert not family.name.endswith(("_total", "_count", "_sum", "_ms", "_us", "_ns"))


def test_what_is_not_known_is_absent() -> None:
    async def make() -> CollectorRegistry:
        fresh = FakeLoaded(spec(max_batch_size=0), cost_us=None, last_inference_ms=0)
        return registry_of(fresh)

    names = {sample.split("{")[0] for sample in samples(run(make()).collect())}
    assert "penstock_queue_depth" in names
    assert not {name for name in names if "cost" in name or "timestamp" in name}


def test_an_empty_repository() -> None:
    async def make() -> CollectorRegistry:
        return registry_of()

    found = samples(parse_text(generate_latest(run(make())).decode()))
    assert found == {name: value for name, value in EXPECTED.items() if "fraud" not in name}
