"""The HTTP port: health and metrics."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request

import grpc
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conformance import wire
from tests.conformance.process import Running


def get(url: str, method: str = "GET") -> tuple[int, str, str]:
    """Status, content type, text."""
    request = urllib.request.Request(url, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.headers["content-type"], response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers.get("content-type", ""), error.read().decode()


@pytest.mark.parametrize("probe", ["live", "ready"])
def test_health(http: str, probe: str) -> None:
    assert get(f"{http}/v2/health/{probe}")[0] == 200
    assert get(f"{http}/v2/health/{probe}", "HEAD")[0] in (200, 405)


def test_metadata(http: str, strict: bool) -> None:
    status, content_type, text = get(f"{http}/v2")
    assert status == 200
    assert content_type.startswith("application/json")
    metadata = json.loads(text)
    assert {"name", "version"} <= metadata.keys()
    assert metadata["name"] == "penstock" or not strict


def test_what_is_not_there(http: str) -> None:
    assert get(f"{http}/nothing")[0] in (400, 404)
    assert get(f"{http}/v2/health/live", "DELETE")[0] in (400, 404, 405)


def samples(ours: Running) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    status, content_type, text = get(f"http://{ours.http}/metrics")
    assert status == 200
    assert content_type.startswith("text/plain")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_count_exactly(ours: Running, channel: grpc.Channel) -> None:
    labels = {"model": "echo_int8", "version": "1"}
    message = wire.request("echo_int8", "INT8", np.ones((3, 1), np.int8))
    wire.infer(channel, message)
    before = samples(ours)
    wire.infer(channel, message)
    wire.infer(channel, message)
    wire.refusal(channel, wire.full("nobody", 1))
    after = samples(ours)

    def grown(name: str, **more: str) -> float:
        key = name, frozenset((labels | more).items())
        return after[key] - before.get(key, 0)

    assert grown("penstock_requests_total") == 2
    assert grown("penstock_rows_total") == 6
    assert grown("penstock_batch_rows_count") == 2
    assert grown("penstock_batch_rows_sum") == 6
    assert grown("penstock_batch_rows_bucket", le="2.0") == 0
    assert grown("penstock_batch_rows_bucket", le="4.0") == 2
    assert grown("penstock_batch_rows_bucket", le="+Inf") == 2
    assert grown("penstock_request_duration_seconds_count") == 2
    assert grown("penstock_request_duration_seconds_sum") > 0
    assert after["penstock_queue_depth", frozenset(labels.items())] == 0
    released = [
        after[key] - before.get(key, 0)
        for key in after
        if key[0] == "penstock_batches_total" and dict(key[1]).get("model") == "echo_int8"
    ]
    assert sum(released) == 2
    of_server = {name: value for (name, its), value in after.items() if not its}
    assert of_server["penstock_ready"] == 1
    assert of_server["penstock_open_connections"] >= 1
    assert of_server["penstock_received_bytes_total"] > 0
    assert of_server["penstock_sent_bytes_total"] > 0
    assert of_server["process_resident_memory_bytes"] > 0
    ended = {
        dict(its)["code"]: value - before.get((name, its), 0)
        for (name, its), value in after.items()
        if name == "penstock_calls_ended_total"
    }
    assert {code for code, count in ended.items() if count} == {"OK", "NOT_FOUND"}


def test_failures_are_counted_by_reason(ours: Running, channel: grpc.Channel) -> None:
    bad = wire.request("lookup", "INT64", np.array([9], np.int64), name="index")
    wire.refusal(channel, bad)
    found = {
        dict(labels)["reason"]: value
        for (name, labels), value in samples(ours).items()
        if name == "penstock_failures_total" and dict(labels)["model"] == "lookup"
    }
    assert found["backend"] >= 1


def test_every_metric_says_what_it_is(ours: Running) -> None:
    text = get(f"http://{ours.http}/metrics")[2]
    families = {family.name: family for family in text_string_to_metric_families(text)}
    for name, family in families.items():
        assert family.documentation, name
        # Triton's counters do not end in `_total`, so the client library cannot type them.
        assert family.type != "unknown" or name.startswith("nv_"), name
    typed = re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)
    assert len(typed) == len(set(typed))
