"""Distances between two histograms over the same bins, from their counts alone.

Every function takes counts [features, SLOTS] of the reference and of the live rows, and answers
for each feature. Nothing here decides; :mod:`penstock.monitoring.verdict` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from penstock.monitoring.special import Floats, chi2_sf, kolmogorov_sf
from penstock.spec import ABOVE, BELOW, MAX_BINS, MISSING, SLOTS, Bins

Counts = np.ndarray[Any, np.dtype[np.int64]]

SMOOTHING = 0.5
"""Added to each cell before logarithms (the Jeffreys prior): an empty one has a finite share."""


@dataclass(frozen=True, slots=True)
class Cells:
    """Which slots a feature has, and where they lie."""

    used: np.ndarray[Any, np.dtype[np.bool_]]
    """[features, SLOTS]: bins that there are, and other slots that either sample fell into."""
    numeric: np.ndarray[Any, np.dtype[np.bool_]]
    """[features]: the bins have an order and a scale."""
    places: Floats
    """[features, MAX_BINS + 2]: middle of each bin between the lowest and the highest edge, which
    stand for all that is beyond them."""

    @classmethod
    def of(cls, bins: Sequence[Bins], reference: Counts, live: Counts) -> Cells:
        """For features with these bins.

        Raises:
            ValueError: counts of another shape, or negative ones.
        """
        for what, counts in (("reference", reference), ("live", live)):
            if counts.shape != (len(bins), SLOTS):
                raise ValueError(
                    f"{what} counts of shape {counts.shape} came, expected ({len(bins)}, {SLOTS})"
                )
            if counts.size and counts.min() < 0:
                raise ValueError(f"{what} counts of {counts.min()} came, expected 0 or more")
        used = (reference > 0) | (live > 0)
        places = np.zeros((len(bins), MAX_BINS + 2))
        for index, feature in enumerate(bins):
            used[index, : feature.count] = True
            if feature.kind == "numeric":
                edges = np.array(feature.edges)
                places[index, 0], places[index, MAX_BINS + 1] = edges[0], edges[-1]
                places[index, 1 : feature.count + 1] = (edges[1:] + edges[:-1]) / 2
                places[index, feature.count + 1 : MAX_BINS + 1] = edges[-1]
        numeric = np.array([feature.kind == "numeric" for feature in bins], bool)
        return cls(used, numeric, places)

    @property
    def degrees(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """[features]: cells less one."""
        degrees: np.ndarray[Any, np.dtype[np.int64]] = np.maximum(self.used.sum(axis=1) - 1, 0)
        return degrees


def population_stability_index(reference: Counts, live: Counts, cells: Cells) -> Floats:
    """PSI: sum of (q - p) ln(q / p) over the cells' shares p, q, each count raised by SMOOTHING.

    Source: Yurdakul, "Statistical properties of the population stability index", Western Michigan
    University 2018, section 2. NaN where a sample is empty.
    """
    p, q = _smooth(reference, cells), _smooth(live, cells)
    terms = np.where(cells.used, (q - p) * np.log(np.where(cells.used, q / p, 1.0)), 0.0)
    return _known(terms.sum(axis=1), reference, live)


def psi_p_value(psi: Floats, reference: Counts, live: Counts, cells: Cells) -> Floats:
    """P(PSI as large | no drift): PSI / (1/n + 1/m) ~ chi2(cells - 1) (Yurdakul 2018, 3.1)."""
    return chi2_sf(psi / _inverse_sizes(reference, live), cells.degrees)


def jensen_shannon(reference: Counts, live: Counts) -> Floats:
    """Jensen-Shannon divergence in nats, from 0 to ln 2: the mean of KL(p || m) and KL(q || m),
    m = (p + q) / 2 (Lin, "Divergence measures based on the Shannon entropy", 1991, eq. 4.1)."""
    p, q = _shares(reference), _shares(live)
    middle = (p + q) / 2
    divergence = (_relative_entropy(p, middle) + _relative_entropy(q, middle)) / 2
    return _known(divergence, reference, live)


def js_p_value(js: Floats, reference: Counts, live: Counts, cells: Cells) -> Floats:
    """P(JS as large | no drift). To second order 8 JS = sum (p - q)^2 / p, so 8 JS / (1/n + 1/m) ~
    chi2(cells - 1) (Menendez et al., "The Jensen-Shannon divergence", 1997, section 4)."""
    return chi2_sf(8 * js / _inverse_sizes(reference, live), cells.degrees)


def kolmogorov_smirnov(reference: Counts, live: Counts, cells: Cells) -> tuple[Floats, Floats]:
    """Largest distance D_bin of the cumulative shares at the edges, and D_bin plus the mass of the
    largest bin: the D of the values themselves lies between the two.

    Missing values have no place in the order and are left out. NaN for categories.
    """
    p, q = _ordered_shares(reference), _ordered_shares(live)
    distance = np.abs(np.cumsum(p, axis=1) - np.cumsum(q, axis=1)).max(axis=1)
    # Within a bin one sample may lie wholly before the other.
    upper = np.minimum(distance + np.maximum(p, q).max(axis=1), 1.0)
    unknown = ~cells.numeric | (_ordered(reference).sum(1) == 0) | (_ordered(live).sum(1) == 0)
    return np.where(unknown, np.nan, distance), np.where(unknown, np.nan, upper)


def ks_p_value(distance: Floats, reference: Counts, live: Counts) -> Floats:
    """P(D as large | no drift), from the limiting distribution of sqrt(nm / (n + m)) D.

    Conservative, as D_bin <= D and no formula corrects for small samples (Smirnov 1948; Conover,
    "Practical Nonparametric Statistics", 6.3, on discrete distributions).
    """
    return kolmogorov_sf(distance * np.sqrt(_effective_size(reference, live)))


def wasserstein(reference: Counts, live: Counts, cells: Cells) -> Floats:
    """Wasserstein-1 distance in the feature's unit: the integral of the distance of the cumulative
    shares, every value put in the middle of its bin, those beyond the reference at its ends.

    So one value of 1e6 weighs no more than one at the end. NaN for categories. Source: Vallender,
    "Calculation of the Wasserstein distance between probability distributions on the line", 1973.
    """
    gap = np.abs(
        np.cumsum(_ordered_shares(reference), axis=1) - np.cumsum(_ordered_shares(live), axis=1)
    )
    distance = (gap[:, :-1] * np.diff(cells.places, axis=1)).sum(axis=1)
    unknown = ~cells.numeric | (_ordered(reference).sum(1) == 0) | (_ordered(live).sum(1) == 0)
    return np.where(unknown, np.nan, distance)


def wasserstein_p_bound(distance: Floats, reference: Counts, live: Counts, cells: Cells) -> Floats:
    """An upper bound of P(W1 as large | no drift): W1 <= range x D, so it is at most that of a
    Kolmogorov-Smirnov distance of W1 / range."""
    span = cells.places[:, -1] - cells.places[:, 0]
    return ks_p_value(distance / np.where(span > 0, span, 1.0), reference, live)


def chi_square(reference: Counts, live: Counts) -> tuple[Floats, np.ndarray[Any, Any]]:
    """Pearson's statistic of the two samples by cells, and its degrees of freedom.

    Args:
        reference, live: [features, cells], pooled as the caller sees fit; a cell that is empty in
            both counts for nothing.

    Source: Pearson, "On the probability that two independent distributions of frequency are
    really samples from the same population", 1911.
    """
    both = reference + live
    total = both.sum(axis=1, keepdims=True)
    statistic = np.zeros(len(both))
    for counts in (reference, live):
        expected = both * (counts.sum(axis=1, keepdims=True) / np.maximum(total, 1))
        square = (counts - expected) ** 2
        statistic += np.where(
            expected > 0, square / np.where(expected > 0, expected, 1.0), 0.0
        ).sum(1)
    degrees = np.maximum((both > 0).sum(axis=1) - 1, 0)
    return statistic, degrees


def _shares(counts: Counts) -> Floats:
    shares: Floats = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return shares


def _smooth(counts: Counts, cells: Cells) -> Floats:
    raised = np.where(cells.used, counts + SMOOTHING, 0.0)
    return np.where(cells.used, raised / np.maximum(raised.sum(axis=1, keepdims=True), 1e-9), 1.0)


def _ordered(counts: Counts) -> Counts:
    """In the order of values: below, bins, above."""
    return np.concatenate(
        (counts[:, BELOW : BELOW + 1], counts[:, :MAX_BINS], counts[:, ABOVE : ABOVE + 1]), axis=1
    )


def _ordered_shares(counts: Counts) -> Floats:
    return _shares(_ordered(counts))


def _relative_entropy(p: Floats, q: Floats) -> Floats:
    positive = p > 0
    ratio = np.where(positive, p, 1.0) / np.where(positive, q, 1.0)
    result: Floats = np.where(positive, p * np.log(ratio), 0.0).sum(axis=1)
    return result


def _inverse_sizes(reference: Counts, live: Counts) -> Floats:
    inverse: Floats = 1 / np.maximum(reference.sum(axis=1), 1) + 1 / np.maximum(live.sum(axis=1), 1)
    return inverse


def _effective_size(reference: Counts, live: Counts) -> Floats:
    """n m / (n + m), missing values left out."""
    n = (live.sum(axis=1) - live[:, MISSING]).astype(np.float64)
    m = (reference.sum(axis=1) - reference[:, MISSING]).astype(np.float64)
    size: Floats = n * m / np.maximum(n + m, 1)
    return size


def _known(values: Floats, reference: Counts, live: Counts) -> Floats:
    return np.where((reference.sum(1) == 0) | (live.sum(1) == 0), np.nan, values)
