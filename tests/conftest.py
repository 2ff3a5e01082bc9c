"""Options of the suite; ``tests/conformance`` can run against a server from elsewhere."""

from __future__ import annotations

import pytest
from hypothesis import settings

# Two shared cores are slow at times: an example's time says nothing.
settings.register_profile("penstock", deadline=None)
settings.load_profile("penstock")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--faults-seconds", type=float, default=10, help="length of the load-and-fault test"
    )
