"""What the page shows, and how it writes numbers."""

from __future__ import annotations

from tests.views.browser import Browser

NONE = "\N{EN DASH}"
"""Where there is no number."""


def duration(seconds: float | None) -> str:
    """As the page has it: three digits in the unit that reads best."""
    if seconds is None:
        return NONE
    unit, size = ("s", 1.0) if seconds >= 1 else ("ms", 1e-3) if seconds >= 1e-3 else ("µs", 1e-6)
    return f"{seconds / size:.3g} {unit}"


def grouped(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def figure(browser: Browser, key: str) -> str:
    return browser.text(f'#figures [data-key="{key}"] .value')


def cards(browser: Browser) -> list[str]:
    """Names of the features shown, in order."""
    return browser.texts("#cards h3")


def choose_window(browser: Browser, name: str) -> None:
    browser.run(f"document.querySelector('#windows input[value=\"{name}\"]').click()")
