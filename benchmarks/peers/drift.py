"""What others need for PSI and Kolmogorov-Smirnov of 50 features over 50,000 rows each.

Run by `python -m benchmarks drift` in an environment of the peer's own: ``drift.py PEER``. Prints
milliseconds of the live rows' comparison as JSON, by statistic: {"psi": ..., "ks": ...}; what a
peer has not is left out, and what it can do with the reference beforehand is not counted.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

ROWS, FEATURES = 50_000, 50

warnings.filterwarnings("ignore")
# Neither calls home while it is measured.
os.environ |= {"NML_DISABLE_USAGE_LOGGING": "1", "DO_NOT_TRACK": "1"}


def data() -> tuple[Any, Any]:
    random = np.random.default_rng(3)
    reference = random.normal(size=(ROWS, FEATURES)).astype(np.float32)
    live = random.normal(0.02, 1, (ROWS, FEATURES)).astype(np.float32)
    return reference, live


def best(work: Callable[[], Any], rounds: int = 3) -> float:
    """Milliseconds of the fastest of some rounds."""
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return min(taken) * 1e3


def scipy_peer() -> dict[str, float]:
    """ks_2samp, and PSI over numpy's deciles."""
    from scipy.stats import ks_2samp

    reference, live = data()
    edges = np.quantile(reference, np.linspace(0, 1, 11), axis=0)
    edges[0], edges[-1] = -np.inf, np.inf
    shares = [np.histogram(reference[:, i], edges[:, i])[0] / ROWS for i in range(FEATURES)]

    def psi() -> None:
        for i in range(FEATURES):
            q = np.histogram(live[:, i], edges[:, i])[0] / ROWS
            float(((q - shares[i]) * np.log(q / shares[i])).sum())

    def ks() -> None:
        for i in range(FEATURES):
            ks_2samp(reference[:, i], live[:, i], method="asymp")

    return {"psi": best(psi), "ks": best(ks)}


def nannyml() -> dict[str, float]:
    """Its univariate drift calculator, fitted beforehand."""
    import pandas as pd
    from nannyml import UnivariateDriftCalculator

    names = [f"f{i}" for i in range(FEATURES)]
    reference, live = (pd.DataFrame(each, columns=names) for each in data())
    calculator = UnivariateDriftCalculator(
        column_names=names, continuous_methods=["kolmogorov_smirnov"], chunk_size=10_000
    ).fit(reference)
    return {"ks": best(lambda: calculator.calculate(live))}


def alibi_detect() -> dict[str, float]:
    """KSDrift, with the reference given beforehand."""
    from alibi_detect.cd import KSDrift

    reference, live = data()
    detector = KSDrift(reference, p_val=0.05)
    return {"ks": best(lambda: detector.predict(live))}


def evidently() -> dict[str, float]:
    """Its drift preset with each test in turn."""
    import pandas as pd
    from evidently import Report
    from evidently.presets import DataDriftPreset

    names = [f"f{i}" for i in range(FEATURES)]
    reference, live = (pd.DataFrame(each, columns=names) for each in data())

    def run(method: str) -> None:
        Report([DataDriftPreset(num_method=method)]).run(live, reference)

    return {name: best(lambda: run(name), rounds=1) for name in ("psi", "ks")}  # noqa: B023


PEERS = {
    "scipy": scipy_peer,
    "nannyml": nannyml,
    "alibi_detect": alibi_detect,
    "evidently": evidently,
}

if __name__ == "__main__":
    measured = PEERS[sys.argv[1]]()
    print(json.dumps({key: round(value, 1) for key, value in measured.items()}))
