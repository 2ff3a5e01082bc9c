"""NannyML's car-loan set: drift where there is some, from row 25,000 on, and nowhere else."""

import csv
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from penstock.monitoring.binning import bins_of_numbers, bins_of_texts
from penstock.monitoring.verdict import compare
from tests.monitoring.histograms import count

DRIFTED = ("car_value", "loan_length", "salary_range", "repaid_loan_on_prev_car", "y_pred_proba")
STABLE = ("debt_to_income_ratio", "size_of_downpayment", "driver_tenure")
CHUNK = 5_000
FOLDER = "nannyml/datasets/data"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data lie in NannyML's wheel, which need not be installed for them."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", str(folder)]
    done = subprocess.run([*command, "nannyml==0.13.1"], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"NannyML's wheel cannot be had: {done.stderr.strip().splitlines()[-1:]}")
    return next(folder.glob("*.whl"))


def columns(wheel: Path, part: str) -> dict[str, np.ndarray]:
    name = f"{FOLDER}/synthetic_car_loan_{part}.csv"
    with zipfile.ZipFile(wheel) as archive, archive.open(name) as file:
        rows = list(csv.DictReader(io.TextIOWrapper(file)))
    found = {}
    for name in (*DRIFTED, *STABLE):
        values = [row[name] for row in rows]
        try:
            found[name] = np.array([float(value) if value else np.nan for value in values])
        except ValueError:
            found[name] = np.array(values, object)
    return found


def test_no_false_alarm_and_every_drifted_chunk_found(wheel: Path) -> None:
    reference, analysis = columns(wheel, "reference"), columns(wheel, "analysis")
    features = [
        (name, bins_of_texts(values) if values.dtype == object else bins_of_numbers(values))
        for name, values in reference.items()
    ]
    then = np.array([count(bins, reference[name]) for name, bins in features])
    alarms = set()
    for chunk in range(10):
        part = slice(chunk * CHUNK, (chunk + 1) * CHUNK)
        now = np.array([count(bins, analysis[name][part]) for name, bins in features])
        for feature in compare(features, then, now).features:
            if feature.verdict in ("warning", "drifted"):
                alarms.add((chunk, feature.name, feature.verdict))
    assert alarms == {(chunk, name, "drifted") for chunk in range(5, 10) for name in DRIFTED}
