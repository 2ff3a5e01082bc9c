"""Numbers and names as a terminal shows them."""

from __future__ import annotations

import math
from collections.abc import Sequence

NONE = "-"
BLOCKS = " ▁▂▃▄▅▆▇█"
ASCII_BLOCKS = " .:-=+*#%@"
"""Where the terminal's encoding has no blocks."""


def duration(seconds: float | None) -> str:
    """Seconds in the unit that reads best, three digits."""
    if seconds is None:
        return NONE
    if seconds == 0:
        return "0"
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        # 0.9999 ms is written 1 ms, not 1e+03 us.
        if seconds >= size * 0.9995:
            return f"{significant(seconds / size)} {unit}"
    return f"{significant(seconds / 1e-9)} ns"


def significant(value: float | None) -> str:
    """Three digits; whole numbers beyond a thousand."""
    if value is None:
        return NONE
    if abs(value) >= 999.5:
        return f"{value:,.0f}"
    if value != 0 and abs(value) < 1e-3:
        return f"{value:.1e}"
    return f"{value:.3g}"


def percent(share: float | None) -> str:
    """A share as per cent, to a tenth; one that is not zero is never shown as such."""
    if share is None:
        return NONE
    if 0 < share < 0.0005:
        return "<0.1%"
    return f"{share * 100:.1f}%" if share else "0%"


def probability(p: float | None) -> str:
    """A p-value, two digits."""
    if p is None:
        return NONE
    if p < 1e-12:
        return "<1e-12"
    return f"{p:.1e}" if p < 1e-3 else f"{p:.2g}"


def printable(name: str) -> str:
    """A name from elsewhere, without what a terminal would obey or a reader misread."""
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii")
        for each in name
    )


def pooled(counts: Sequence[int], width: int) -> list[int]:
    """Neighbouring bins added up until there are at most ``width`` of them."""
    each = math.ceil(len(counts) / max(1, width))
    return [sum(counts[at : at + each]) for at in range(0, len(counts), max(1, each))]


def sparklines(
    reference: Sequence[int], live: Sequence[int], width: int, blocks: str = BLOCKS
) -> tuple[str, str]:
    """Both histograms as shares of their rows, on one scale.

    Args:
        reference: counts of the bins, and of nothing else.
        live: of as many.
        width: characters that there are.
        blocks: from nothing to full.
    """
    parts = []
    for counts in (reference, live):
        total = sum(counts)
        parts.append([each / total if total else 0.0 for each in pooled(counts, width)])
    largest = max((share for part in parts for share in part), default=0.0)
    full = len(blocks) - 1
    lines = []
    for part in parts:
        # What is there is seen: a bin that is not empty has at least the lowest block.
        heights = [math.ceil(share / largest * full) if share else 0 for share in part]
        lines.append("".join(blocks[min(full, height)] for height in heights))
    return lines[0], lines[1]
