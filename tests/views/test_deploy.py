"""The dashboard and the alert rules ask for what Penstock exports, in words Prometheus takes."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

DEPLOY = Path(__file__).parents[2] / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
DASHBOARD = DEPLOY / "grafana" / "penstock.json"
PROMTOOL = shutil.which("promtool")

needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="no promtool here (Debian package prometheus)"
)

LABELS = {
    "penstock_ready": (),
    "penstock_requests_total": ("model", "version"),
    "penstock_failures_total": ("model", "version", "reason"),
    "penstock_rows_total": ("model", "version"),
    "penstock_batches_total": ("model", "version", "reason"),
    "penstock_batch_rows_bucket": ("model", "version", "le"),
    "penstock_batch_rows_sum": ("model", "version"),
    "penstock_batch_rows_count": ("model", "version"),
    "penstock_queue_depth": ("model", "version"),
    "penstock_in_flight_requests": ("model", "version"),
    "penstock_request_duration_seconds_bucket": ("model", "version", "le"),
    "penstock_request_duration_seconds_count": ("model", "version"),
    "penstock_latency_quantile_seconds": ("model", "version", "stage", "window", "quantile"),
    "penstock_drift_psi": ("model", "version", "feature", "role", "window"),
    "penstock_drift_p_value": ("model", "version", "feature", "role", "window"),
    "penstock_drift_verdict": ("model", "version", "feature", "role", "window"),
    "penstock_feature_out_of_range_rows_total": ("model", "version", "feature", "role"),
    "penstock_feature_missing_rows_total": ("model", "version", "feature", "role"),
}
"""Each exported series that is asked for here, with the labels it has."""

FROM_PROMETHEUS = {"job", "instance"}


def promtool(*arguments: str | Path, folder: Path = PROMETHEUS) -> str:
    """What it says; it must be content."""
    assert PROMTOOL is not None
    done = subprocess.run(
        [PROMTOOL, *map(str, arguments)], cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def dashboard() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return read


def queries() -> Iterator[str]:
    """Every expression of the dashboard, its variables replaced as Grafana does."""
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            yield replaced(target["expr"])


def replaced(expression: str) -> str:
    values = {"$__rate_interval": "5m", "$model": ".*", "$version": "1|2", "$window": "5m"}
    for name, value in values.items():
        expression = expression.replace(name, value)
    assert "$" not in expression, f"{expression}: a variable that there is not"
    return expression


def used(text: str) -> Iterator[tuple[str, set[str]]]:
    """Metrics named in PromQL, each with the labels of its own selector."""
    for name, selector in re.findall(r"\b(penstock_\w+)(?:\{([^}]*)\})?", text):
        yield name, set(re.findall(r"(\w+)\s*=?[=~!]", selector))


def rules() -> str:
    """The alerts' expressions and annotations; comments name metrics freely."""
    lines = (PROMETHEUS / "alerts.yml").read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith("#"))


@pytest.mark.parametrize("source", ["dashboard", "alerts", "tests of the alerts"])
def test_only_what_is_exported_is_asked_for(source: str) -> None:
    text = {
        "dashboard": "\n".join(queries()),
        "alerts": rules(),
        "tests of the alerts": (PROMETHEUS / "alerts_test.yml").read_text(encoding="utf-8"),
    }[source]
    found = list(used(text))
    assert found
    for name, labels in found:
        assert name in LABELS, f"{name} is not exported"
        assert labels <= {*LABELS[name], *FROM_PROMETHEUS}, f"{name} has no {labels}"


def test_every_alert_is_tested() -> None:
    alerts = re.findall(r"alert: (\w+)", rules())
    tests = (PROMETHEUS / "alerts_test.yml").read_text(encoding="utf-8")
    assert len(set(alerts)) == len(alerts)
    for alert in alerts:
        firing = re.search(rf"alertname: {alert}\n\s+exp_alerts:\n\s+- exp_labels", tests)
        assert firing is not None, f"{alert} is never raised in alerts_test.yml"


@needs_promtool
def test_the_configuration_and_the_rules_are_valid() -> None:
    said = promtool("check", "config", "prometheus.yml")
    assert "1 rule files found" in said
    assert f"SUCCESS: {len(re.findall('alert: ', rules()))} rules found" in said


@needs_promtool
def test_the_alerts_are_raised_when_they_should_be() -> None:
    assert "SUCCESS" in promtool("test", "rules", "alerts_test.yml")


@needs_promtool
def test_the_dashboards_queries_are_valid(tmp_path: Path) -> None:
    expressions = list(queries())
    assert len(expressions) > 15
    rows = [
        {"record": f"dashboard:{i}", "expr": expression} for i, expression in enumerate(expressions)
    ]
    # JSON is YAML.
    (tmp_path / "queries.yml").write_text(json.dumps({"groups": [{"name": "all", "rules": rows}]}))
    said = promtool("check", "rules", "queries.yml", folder=tmp_path)
    assert f"{len(expressions)} rules found" in said


def test_the_dashboard_can_be_imported_anywhere() -> None:
    """No data source of somebody's own, no id of somebody's database."""
    board = dashboard()
    assert board.get("id") is None
    variables = {each["name"]: each for each in board["templating"]["list"]}
    assert list(variables) == ["datasource", "model", "version", "window"]
    assert variables["datasource"]["type"] == "datasource"
    assert variables["window"]["query"] == "1m,5m,start"
    sources = re.findall(r'"uid": "(.*?)"', DASHBOARD.read_text(encoding="utf-8"))
    assert set(sources) == {"${datasource}", "penstock"}
    for name in ("model", "version"):
        asked = list(used(variables[name]["definition"]))
        assert asked[0][0] in LABELS


def test_the_dashboards_panels_are_told_apart_and_do_not_overlap() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    titles = [panel["title"] for panel in panels]
    assert len(set(titles)) == len(titles)
    places = [panel["gridPos"] for panel in panels]
    for place in places:
        assert 0 <= place["x"] < place["x"] + place["w"] <= 24
    for one, other in itertools.combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, f"{one} lies over {other}"
    for panel in panels:
        if panel["type"] != "row":
            assert panel["description"]
            assert [t["refId"] for t in panel["targets"]] == list("ABC")[: len(panel["targets"])]
