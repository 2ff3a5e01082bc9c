"""A real server under load: its page in a real browser, its metrics in a real Prometheus."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families as parse_text

import penstock
from penstock import protos
from penstock._native.engine import submit
from penstock.control.exposition import PROTOBUF_TYPE
from tests import models
from tests.views.browser import Browser
from tests.views.shown import cards, choose_window
from tests.views.test_deploy import LABELS

PATIENCE_S = 60.0
RANDOM = np.random.default_rng(11)


def batch(rows: int, shift: float = 0.0) -> np.ndarray:
    made = RANDOM.normal(size=(rows, 4)).astype(np.float32)
    made[:, 1] += shift
    return made


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[penstock.Server]:
    """Serves a model with a profile; the second column of what it is asked has shifted."""
    repository = tmp_path_factory.mktemp("models")
    models.write(repository, "m", models.mlp())
    with penstock.load(repository / "m") as model:
        names = ["a", "b", "c", "d"]
        profile = penstock.build_profile(batch(5_000), model=model, names=names)
        profile.save(repository / "m/1/profile.json")
    with penstock.Server(repository, grpc_port=0, http_port=0) as running:
        version = running.versions()[0].version
        ended = threading.Event()

        def load() -> None:
            while not ended.is_set():
                submit(version, {"x": batch(4, shift=1.0)}).result(10)
                time.sleep(0.005)

        thread = threading.Thread(target=load)
        thread.start()
        try:
            yield running
        finally:
            ended.set()
            thread.join()


def ask(server: penstock.Server, path: str, accept: str = "*/*") -> tuple[str, bytes]:
    request = urllib.request.Request(
        f"http://{server.http_address}{path}", headers={"accept": accept}
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        return response.headers["content-type"], response.read()


def until(answer: Any, what: str) -> Any:
    """What ``answer()`` gives once it gives something."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if found := answer():
            return found
        time.sleep(0.2)
    raise AssertionError(f"{what} did not come")


def test_the_page_shows_what_the_monitor_says(
    server: penstock.Server, browser: Browser, tmp_path: Path
) -> None:
    def drifted() -> Any:
        report = json.loads(ask(server, "/v1/monitor/m")[1])
        return report if report["drift"]["start"]["verdict"] == "drifted" else None

    report = until(drifted, "the verdict")
    browser.open(f"http://{server.http_address}/")
    choose_window(browser, "start")
    browser.wait("document.querySelector('#cards h3') !== null")
    told = {each["name"]: each["verdict"] for each in report["drift"]["start"]["features"]}
    assert told["b"] == "drifted"
    assert told["a"] == "stable"
    shown = cards(browser)
    assert set(shown) == set(told)
    # The worst come first.
    assert told[shown[0]] == "drifted"
    assert "m" in browser.text("body")
    browser.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 10_000
    assert browser.errors == []


def test_the_page_is_kept_from_scripts_of_others(server: penstock.Server) -> None:
    with urllib.request.urlopen(f"http://{server.http_address}/", timeout=30) as response:
        policy = response.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    for path in ("/page/nothing.js", "/page/..%2fhttp.py", "/page/%2e%2e", "/page/x.py"):
        with pytest.raises(urllib.error.HTTPError) as raised:
            ask(server, path)
        assert raised.value.code == 404


def test_what_is_not_watched_is_said(server: penstock.Server) -> None:
    for path, message in (
        ("/v1/monitor/none", "model 'none' is not loaded"),
        ("/v1/monitor/m?version=9", "version 9 is not loaded"),
        ("/v1/monitor/m?version=x", "version 'x' came"),
    ):
        with pytest.raises(urllib.error.HTTPError) as raised:
            ask(server, path)
        assert raised.value.code == 404
        assert message in json.load(raised.value)["error"]


def test_everything_that_dashboard_and_alerts_ask_for_is_exported(server: penstock.Server) -> None:
    text = ask(server, "/metrics")[1].decode()
    found: dict[str, set[str]] = {}
    for family in parse_text(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    for name, labels in LABELS.items():
        assert found.get(name) == set(labels), name
    assert found["nv_inference_request_success"] == {"model", "version"}


def test_native_histograms_agree_with_classic_ones(server: penstock.Server) -> None:
    kind, body = ask(server, "/metrics", f"{PROTOBUF_TYPE.replace(' ', '')},text/plain;q=0.5")
    assert kind == PROTOBUF_TYPE
    families = {}
    message = protos.message("io.prometheus.client.MetricFamily")
    while body:
        size, shift = 0, 0
        while True:
            byte, body = body[0], body[1:]
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        family = message.FromString(body[:size])
        families[family.name] = family
        body = body[size:]
    histogram = families["penstock_request_duration_seconds"].metric[0].histogram
    count, total = histogram.zero_count, 0
    for delta in histogram.positive_delta:
        total += delta
        count += total
    assert histogram.schema == 6
    assert count == histogram.sample_count == histogram.bucket[-1].cumulative_count > 0
    assert sum(span.length for span in histogram.positive_span) == len(histogram.positive_delta)
    assert families["penstock_requests_total"].metric[0].counter.value > 0
    assert {label.name for label in families["penstock_drift_psi"].metric[0].label} == {
        "model", "version", "feature", "role", "window",
    }  # fmt: skip


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="no prometheus (Debian package)")
@pytest.mark.parametrize("native", [False, True])
def test_a_real_prometheus_scrapes_it(
    server: penstock.Server, tmp_path: Path, native: bool
) -> None:
    (tmp_path / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s}\n"
        "scrape_configs:\n"
        "  - job_name: penstock\n"
        f"    static_configs: [{{targets: ['{server.http_address}']}}]\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["prometheus", f"--config.file={tmp_path}/prometheus.yml"]
    command += [f"--web.listen-address=127.0.0.1:{port}", f"--storage.tsdb.path={tmp_path}/data"]
    command += ["--enable-feature=native-histograms"] if native else []
    with (tmp_path / "log").open("w") as log:
        running = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def query(expression: str) -> list[Any]:
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{port}/api/v1/query?query={quote(expression)}", timeout=10
            ) as response:
                answer: list[Any] = json.load(response)["data"]["result"]
        except (OSError, ValueError):
            return []
        return [each for each in answer if each["value"][1] != "NaN"]

    try:
        name = "penstock_request_duration_seconds"
        series = name if native else f"{name}_bucket"
        by = "" if native else " by (le)"
        quantile = f"histogram_quantile(0.99, sum{by} (rate({series}[10s])))"
        found = until(lambda: query(quantile), "a quantile")
        assert 1e-6 < float(found[0]["value"][1]) < 10
        verdict = query('penstock_drift_verdict{feature="b",role="input",window="start"}')
        assert float(verdict[0]["value"][1]) in (0, 1, 2, 3)
        health = query("up")
        assert health[0]["value"][1] == "1"
        assert query("nv_inference_count")[0]["metric"]["model"] == "m"
        assert not re.search(r"level=error", (tmp_path / "log").read_text())
    finally:
        running.terminate()
        running.wait(30)
