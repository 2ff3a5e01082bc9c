"""Tail probabilities of the chi-square and the Kolmogorov distribution, on arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

Floats = np.ndarray[Any, np.dtype[np.float64]]

_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def chi2_sf(x: ArrayLike, df: ArrayLike) -> Floats:
    """P(X > x) for X ~ chi-square with ``df`` (whole, 0 or more) degrees of freedom.

    Q(df/2, x/2), the regularised upper incomplete gamma function, from Q(1/2, y) = erfc(sqrt y) or
    Q(1, y) = exp(-y) by Q(a + 1, y) = Q(a, y) + y^a exp(-y) / gamma(a + 1) (DLMF 8.4.6, 8.8.6):
    all terms are positive, so nothing cancels. 1 where df is 0.
    """
    half, degrees = np.broadcast_arrays(np.asarray(x, np.float64) / 2, np.asarray(df, np.int64))
    y = np.maximum(half, 0.0)
    odd = degrees % 2 == 1
    a = np.where(odd, 0.5, 1.0)
    tail = np.where(odd, _erfc(np.sqrt(y)) if y.size else y, np.exp(-y))
    # y^a exp(-y) / gamma(a + 1), for the first a.
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        term = np.where(odd, 2 * np.sqrt(y / np.pi), y) * np.exp(-y)
        while np.any(more := 2 * a < degrees):
            tail = np.where(more, tail + term, tail)
            a = np.where(more, a + 1, a)
            term = term * y / a
    tail = np.where(np.isinf(y), 0.0, tail)
    return np.where(degrees == 0, 1.0, np.minimum(tail, 1.0))


def kolmogorov_sf(x: ArrayLike) -> Floats:
    """P(K > x) for Kolmogorov's limiting distribution of sqrt(n) D.

    Two series of the same function (Feller, "On the Kolmogorov-Smirnov limit theorems", 1948): one
    converges fast for small x, the other for large.
    """
    values = np.maximum(np.asarray(x, np.float64), 0.0)
    small = np.maximum(values, 0.04)[..., np.newaxis]
    odd = 2 * np.arange(1, 5) - 1
    below = np.sqrt(2 * np.pi) / small[..., 0] * np.exp(-((odd * np.pi / small) ** 2) / 8).sum(-1)
    k = np.arange(1, 6)
    signs = np.where(k % 2 == 1, 2.0, -2.0)
    above = (signs * np.exp(-2 * (k * values[..., np.newaxis]) ** 2)).sum(-1)
    tail: Floats = np.clip(np.where(values < 1, 1 - below, above), 0.0, 1.0)
    return tail


def hypergeometric_tail(seen: int, other: int, drawn: int, rest: int) -> float:
    """P(X >= seen) where ``seen + other`` marked ones lie among ``drawn + rest``, ``drawn`` taken.

    Fisher's exact test, one-sided: that a share is higher among the drawn.
    """
    marked = seen + other
    if seen == 0:
        return 1.0
    log = _log_choose(drawn, seen) + _log_choose(rest, other) - _log_choose(drawn + rest, marked)
    term = math.exp(log)
    total = 0.0
    for k in range(seen, min(marked, drawn) + 1):
        total += term
        if term < total * 1e-17:
            break
        left = marked - k
        term *= (drawn - k) * left / ((k + 1) * (rest - left + 1))
    return min(total, 1.0)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
