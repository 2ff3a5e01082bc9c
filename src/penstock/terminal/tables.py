"""The tables of ``penstock watch``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from penstock.terminal.numbers import (
    BLOCKS,
    NONE,
    duration,
    percent,
    printable,
    probability,
    significant,
    sparklines,
)

Report = Mapping[str, Any]

_SEVERITY: Mapping[str | None, int] = {
    "drifted": 0, "warning": 1, "stable": 2, "insufficient data": 3
}  # fmt: skip
_STYLES: Mapping[str | None, str] = {
    "drifted": "bold red", "warning": "yellow", "stable": "green"
}  # fmt: skip
_WINDOW_NAMES = {"1m": "last minute", "5m": "last 5 minutes", "start": "since start"}


@dataclass(frozen=True, slots=True)
class Look:
    """How the tables are drawn."""

    window: str
    features: int
    """Rows of the second table, at most."""
    spark_width: int = 32
    blocks: str = BLOCKS


@dataclass(frozen=True, slots=True)
class _Watched:
    """A feature with both of its histograms."""

    model: str
    told: Report
    reference: Sequence[int]

    @property
    def order(self) -> tuple[int, float]:
        """The most drifted first."""
        psi = self.told["psi"]
        return _SEVERITY.get(self.told["verdict"], 4), -(psi if psi is not None else -1.0)


def tables(reports: Sequence[Report], look: Look) -> RenderableType:
    """A line for each model version, then the features that drifted most.

    Args:
        reports: answers of ``/v1/monitor/{model}``.
    """
    if not reports:
        return Text("No model is watched: none is loaded, or monitoring is off.")
    parts: list[RenderableType] = [_models(reports, look)]
    watched = sorted(_features(reports, look.window), key=lambda each: each.order)
    if watched:
        parts.append(_drift(watched, look))
    parts += [Text(line, style="dim") for line in _remarks(reports, look, len(watched))]
    return Group(*parts)


def _table(title: str) -> Table:
    return Table(
        title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False
    )


def _models(reports: Sequence[Report], look: Look) -> Table:
    table = _table(f"Models, {_WINDOW_NAMES[look.window]}")
    table.add_column("model", overflow="fold")
    for heading in ("rate/s", "failures", "p50", "p95", "p99", "rows/batch"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for report in reports:
        traffic = report["traffic"][look.window]
        total = report["latency"][look.window]["total"] or {}
        failures = traffic["failures"]
        table.add_row(
            _title(report),
            significant(traffic["rate"]),
            Text(f"{failures:,}", style="bold red" if failures else ""),
            *(duration(total.get(name)) for name in ("p50", "p95", "p99")),
            significant(traffic["mean_batch_rows"]),
            _verdict_of(report, look.window),
        )
    return table


def _title(report: Report) -> Text:
    return Text(f"{printable(report['model'])} v{printable(report['version'])}")


def _verdict_of(report: Report, window: str) -> Text:
    drift = (report["drift"] or {}).get(window)
    if drift is not None:
        return _verdict(drift["verdict"])
    profile = report["profile"]
    if profile["state"] == "learning":
        return Text(f"learning, {profile['learned_rows']:,} of {profile['learn_rows']:,} rows")
    return Text("no profile", style="dim")


def _verdict(verdict: str | None) -> Text:
    text = NONE if verdict is None else printable(verdict)
    return Text(text, style=_STYLES.get(verdict, "dim"))


def _features(reports: Sequence[Report], window: str) -> list[_Watched]:
    watched = []
    for report in reports:
        drift = (report["drift"] or {}).get(window)
        if drift is None or report["reference"] is None:
            continue
        counts = {_key(each): each["counts"] for each in report["reference"]}
        name = _title(report).plain
        watched += [
            _Watched(name, told, counts[_key(told)])
            for told in drift["features"]
            if _key(told) in counts
        ]
    return watched


def _key(feature: Report) -> tuple[Any, ...]:
    return feature["role"], feature["tensor"], feature["column"], feature["name"]


def _drift(watched: Sequence[_Watched], look: Look) -> Table:
    several = len({each.model for each in watched}) > 1
    table = _table("Features, the most drifted first")
    if several:
        table.add_column("model", overflow="fold")
    table.add_column("feature", overflow="fold")
    table.add_column("verdict", no_wrap=True)
    for heading in ("PSI", "p", "outside", "missing"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("reference\nlive", no_wrap=True)
    for each in watched[: look.features]:
        told = each.told
        adjusted = told["p_adjusted"]
        # The last three slots are apart: below or other, above, missing.
        above, below = sparklines(
            each.reference[:-3], told["counts"][:-3], look.spark_width, look.blocks
        )
        table.add_row(
            *([each.model] if several else []),
            Text(printable(told["name"])),
            _verdict(told["verdict"]),
            significant(told["psi"]),
            probability(adjusted if adjusted is not None else told["p_value"]),
            percent(told["out_of_range"]),
            percent(told["missing"]),
            Text.assemble((above, "dim"), "\n", (below, _STYLES.get(told["verdict"], ""))),
        )
    return table


def _remarks(reports: Sequence[Report], look: Look, watched: int) -> list[str]:
    """What the tables alone would leave open."""
    lines = []
    if watched > look.features:
        lines.append(f"{watched - look.features} more features; --features shows more")
    traffic = [report["traffic"][look.window] for report in reports]
    if not any(each["requests"] + each["failures"] for each in traffic):
        lines.append("No traffic in this window: latencies and verdicts need requests.")
    return lines
