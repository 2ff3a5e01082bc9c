"""A reference profile of training data: the call under ``penstock profile``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.monitoring.build import profile_of_batches
from penstock.monitoring.mapping import map_table
from penstock.monitoring.profile import ProfileError, ReferenceProfile
from penstock.monitoring.readers import Table, of_object, read_file
from penstock.spec import MAX_BINS

if TYPE_CHECKING:
    from penstock.local import LocalModel


def build_profile(
    data: Any,
    *,
    model: LocalModel | None = None,
    target: Sequence[str] = (),
    categorical: Sequence[str] = (),
    bins: int = MAX_BINS,
    names: Sequence[str] | None = None,
    outputs: bool = True,
) -> ReferenceProfile:
    """A reference profile of training data.

    Args:
        data: a pandas DataFrame, an Arrow table or record-batch reader, an array [rows, columns]
            or of records, or the path of a Parquet, CSV or npy file.
        model: whose inputs the columns are, as :func:`penstock.load` gives it; else they are
            features of a tensor "input".
        target: columns that are no features.
        categorical: columns of numbers whose values are names.
        bins: per feature at most, 1 to 32.
        names: of an array's columns.
        outputs: let the model compute the rows, and profile what it answers too.

    Raises:
        ProfileError: data that cannot be profiled, or do not fit the model.
    """
    is_path = isinstance(data, str | os.PathLike)
    table = read_file(Path(data)) if is_path else of_object(data, names)
    return profile_of_table(table, model, target, categorical, bins, outputs)


def profile_of_table(
    table: Table,
    model: LocalModel | None,
    target: Sequence[str],
    categorical: Sequence[str],
    bins: int,
    outputs: bool,
) -> ReferenceProfile:
    """As :func:`build_profile`, of a table that is open."""
    if not 1 <= bins <= MAX_BINS:
        raise ProfileError(f"{bins} bins came, expected 1 to {MAX_BINS}")
    mapped = map_table(
        table,
        model.spec if model is not None else None,
        target=target,
        categorical=categorical,
        infer=model.infer_rows if model is not None and outputs else None,
    )
    return profile_of_batches(
        mapped.columns,
        mapped.batches,
        content_hash=table.content_hash,
        source=table.source,
        limit=bins,
    )
