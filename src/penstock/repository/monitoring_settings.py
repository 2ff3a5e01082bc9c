"""Penstock's own parameters of config.pbtxt that say what is monitored."""

from __future__ import annotations

from typing import Any

from penstock.backends.base import LoadError
from penstock.spec import Monitoring

MAX_SLICES = 256
"""Each has sketches of its own in every instance: 45 kB."""
MAX_LEARN_ROWS = 1_000_000


def monitoring_settings(message: Any) -> Monitoring:
    """Parameters ``monitoring``, ``max_slices`` and ``learn_profile_rows``.

    Raises:
        LoadError: naming the one that cannot be.
    """
    given = {key: value.string_value for key, value in message.parameters.items()}
    switch = given.get("monitoring", "on")
    if switch not in ("on", "off"):
        raise LoadError(f"parameter monitoring is {switch!r}, expected 'on' or 'off'")
    default = Monitoring()
    return Monitoring(
        enabled=switch == "on",
        max_slices=_number(given, "max_slices", default.max_slices, MAX_SLICES),
        learn_rows=_number(given, "learn_profile_rows", default.learn_rows, MAX_LEARN_ROWS),
    )


def _number(given: dict[str, str], key: str, default: int, limit: int) -> int:
    text = given.get(key, str(default))
    if not text.isascii() or not text.isdigit() or int(text) > limit:
        raise LoadError(f"parameter {key} is {text!r}, expected a number from 0 to {limit}")
    return int(text)
