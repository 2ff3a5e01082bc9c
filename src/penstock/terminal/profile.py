"""``penstock profile``: training data as the reference profile of a model version."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from penstock import exits
from penstock.backends.base import LoadError
from penstock.local import load
from penstock.monitoring.profile import ProfileError
from penstock.monitoring.readers import Table, read_file
from penstock.monitoring.training import profile_of_table
from penstock.spec import MAX_BINS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``penstock profile``."""
    parser.add_argument("data", metavar="DATA", type=Path, help="*.parquet, *.csv or *.npy")
    parser.add_argument(
        "--model", required=True, metavar="DIR", type=Path, help="folder MODEL/VERSION/model.onnx"
    )
    parser.add_argument(
        "--model-version", metavar="N", type=int, help="default: the newest of the folder"
    )
    parser.add_argument(
        "--target", action="append", default=[], metavar="COLUMN", help="no feature; repeatable"
    )
    parser.add_argument(
        "--categorical",
        action="append",
        default=[],
        metavar="COLUMN",
        help="numbers that are names; repeatable",
    )
    parser.add_argument(
        "--bins", type=int, default=MAX_BINS, metavar="N", help="per feature (default: %(default)s)"
    )
    parser.add_argument(
        "--no-outputs", action="store_true", help="do not run the model over the data"
    )
    parser.add_argument(
        "--output", metavar="FILE", type=Path, help="default: profile.json beside the model version"
    )


def run(arguments: argparse.Namespace) -> int:
    """Build and write a profile; the exit status."""
    try:
        with ExitStack() as stack:
            table = read_file(arguments.data)
            model = load(arguments.model, version=arguments.model_version, with_profile=False)
            stack.callback(model.close)
            shown = _with_progress(table, stack, passes=2)
            began = time.monotonic()
            profile = profile_of_table(
                shown,
                model,
                arguments.target,
                arguments.categorical,
                arguments.bins,
                not arguments.no_outputs,
            )
            seconds = time.monotonic() - began
            target = arguments.output
            if target is None:
                target = arguments.model / str(model.spec.version) / "profile.json"
            profile.save(target)
    except (ProfileError, LoadError, OSError) as error:
        print(f"penstock profile: error: {error}", file=sys.stderr)
        return exits.FAILURE
    print(
        f"{target}: {len(profile.features)} features of {profile.rows} rows, "
        f"{target.stat().st_size} bytes, {seconds:.1f} s"
    )
    return 0


def _with_progress(table: Table, stack: ExitStack, passes: int) -> Table:
    """The same table, with a bar on the terminal while it is read."""
    if not sys.stderr.isatty():
        return table
    try:
        from rich.console import Console
        from rich.progress import Progress
    except ImportError:
        # Only something to look at.
        return table
    progress = stack.enter_context(Progress(console=Console(stderr=True), transient=True))
    total = table.rows * passes if table.rows is not None else None
    task = progress.add_task(table.source, total=total)

    def batches() -> Iterator[list[Any]]:
        for batch in table.batches():
            yield batch
            progress.advance(task, len(batch[0]) if batch else 0)

    return Table(table.names, batches, table.rows, table.source, table.content_hash)
