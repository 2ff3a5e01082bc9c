"""A browser and a server for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.views import fake
from tests.views.browser import Browser, find


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = find()
    if program is None:
        pytest.skip("no Chromium here (Debian package chromium)")
    with Browser(program, tmp_path_factory.mktemp("chromium")) as found:
        yield found


@pytest.fixture
def answers() -> fake.Answers:
    return fake.Answers()


@pytest.fixture
def url(answers: fake.Answers, browser: Browser) -> Iterator[str]:
    """A server; afterwards the browser is away from it, and has logged no error."""
    browser.layout(1280, 900)
    with fake.serve(answers) as found:
        yield found
        errors = list(browser.errors)
        browser.call("Page.navigate", url="about:blank")
    assert errors == []
