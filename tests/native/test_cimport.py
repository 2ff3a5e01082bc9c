"""The sketch from other people's Cython code, compiled against what the package installs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import penstock

SOURCE = """
# distutils: language = c++
# cython: language_level = 3
from penstock._native.sketch cimport LatencySketch


def record(LatencySketch sketch not None, const double[::1] seconds):
    cdef Py_ssize_t i
    with nogil:
        for i in range(seconds.shape[0]):
            sketch.observe(seconds[i], 2)
"""


def test_another_module_observes_without_the_interpreter(tmp_path: Path) -> None:
    pytest.importorskip("Cython")
    (tmp_path / "recorder.pyx").write_text(SOURCE)
    command = [sys.executable, "-m", "Cython.Build.Cythonize", "-i", "-q", "recorder.pyx"]
    built = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert built.returncode == 0, built.stderr
    program = """
import sys
import numpy as np
import penstock, recorder
sketch = penstock.LatencySketch()
recorder.record(sketch, np.linspace(0.001, 1, 1000))
sys.stdout.buffer.write(sketch.to_bytes())
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    expected = penstock.LatencySketch()
    for _ in range(2):
        expected.add_many(np.linspace(0.001, 1, 1000))
    got = penstock.LatencySketch.from_bytes(ran.stdout)
    assert got.count == 2000
    assert got.quantiles((0.01, 0.5, 0.99)) == expected.quantiles((0.01, 0.5, 0.99))
