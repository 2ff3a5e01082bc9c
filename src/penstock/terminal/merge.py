"""``penstock merge``: several replicas as one."""

from __future__ import annotations

import argparse
import json
import sys

from penstock import exits
from penstock.monitoring.merge import MergedModel, MergeError, fetch_models, merge
from penstock.monitoring.watcher import QUANTILES, STAGES, stage_summary
from penstock.monitoring.windows import WINDOWS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``penstock merge``."""
    parser.add_argument("urls", nargs="+", metavar="URL", help="HTTP address of each replica")
    parser.add_argument("--model", metavar="NAME", help="default: every model of the first replica")
    parser.add_argument("--model-version", metavar="N", default="", help="default: the newest")
    parser.add_argument(
        "--window", choices=tuple(WINDOWS), default="5m", help="of the table (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="every window, for programs")


def run(arguments: argparse.Namespace) -> int:
    """Print the union of what the replicas saw; the exit status."""
    try:
        models = [arguments.model] if arguments.model else fetch_models(arguments.urls[0])
        merged = [merge(arguments.urls, model, arguments.model_version) for model in models]
    except MergeError as error:
        print(f"penstock merge: error: {error}", file=sys.stderr)
        return exits.FAILURE
    if arguments.json:
        print(json.dumps([model.to_dict() for model in merged], indent=2))
    else:
        print("\n\n".join(_table(model, arguments.window) for model in merged))
    return 0


def _table(model: MergedModel, window: str) -> str:
    view = model.windows[window]
    summary = view.summary()
    lines = [
        f"{model.model} version {model.version}, {model.replicas} replicas, window {window}: "
        f"{summary['requests']} requests, {summary['failures']} failures, "
        f"{summary['rate']:.1f}/s"
    ]
    heads = (*QUANTILES, "max")
    shown = (*(f"p{100 * rank:g}" for rank in QUANTILES.values()), "max")
    lines.append(f"{'':16}" + "".join(f"{head:>12}" for head in shown))
    rows = {stage: stage_summary(view.latency[stage]) for stage in STAGES}
    rows |= {f"slice {name}": stage_summary(each["total"]) for name, each in view.slices.items()}
    for name, values in rows.items():
        cells = ("-" if values is None else f"{values[head] * 1e3:.3f} ms" for head in heads)
        lines.append(f"{name:16}" + "".join(f"{cell:>12}" for cell in cells))
    drift = model.drift(window)
    if drift is None:
        lines.append("no reference profile")
        return "\n".join(lines)
    lines.append(f"drift over {drift.rows} rows: {drift.verdict}")
    for feature in drift.to_dict()["features"]:
        if feature["verdict"] in ("warning", "drifted"):
            lines.append(
                f"  {feature['name']}: {feature['verdict']}, PSI {feature['psi']:.3f}, "
                f"adjusted p {feature['p_adjusted']:.2g}"
            )
    return "\n".join(lines)
