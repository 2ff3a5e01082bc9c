"""The page says what is wrong, and what there is not."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

import pytest

from tests.views import fake
from tests.views.browser import Browser
from tests.views.shown import NONE, figure


def test_a_server_that_is_gone_and_comes_back(browser: Browser, answers: fake.Answers) -> None:
    browser.layout(1280, 900)
    with fake.serve(answers) as url:
        browser.open(url)
        assert browser.run("document.querySelector('#problem').hidden")
    browser.wait("document.body.dataset.state === 'lost'")
    problem = browser.text("#problem")
    assert "The server cannot be reached." in problem
    assert "What is shown is from" in problem
    assert browser.text("#link") == "No answer"
    assert figure(browser, "p50") == "2.34 ms", "what was known stays"
    with fake.serve(answers, urlsplit(url).port or 0):
        browser.wait("document.body.dataset.state === 'live'")
        assert browser.run("document.querySelector('#problem').hidden")
        browser.call("Page.navigate", url="about:blank")


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (500, b"{}", "status 500"),
        (404, b'{"error": "model <b>x</b> is not loaded"}', "404: model <b>x</b> is not loaded"),
        (200, b"<html>", "something else than schema 1"),
        (200, b'{"schema": 2, "models": []}', "something else than schema 1"),
    ],
)
def test_wrong_answers_are_told(browser: Browser, status: int, body: bytes, told: str) -> None:
    with fake.serve(fake.Answers(broken=(status, body))) as url:
        browser.open(url)
        assert browser.run("document.body.dataset.state") == "lost"
        assert told in browser.text("#problem")
        assert browser.run("document.querySelector('#main').hidden")
        browser.call("Page.navigate", url="about:blank")


def test_no_traffic_and_no_profile_are_told(browser: Browser, url: str) -> None:
    browser.open(f"{url}/#model={quote(fake.HOSTILE)}")
    assert "No traffic in the last 5 minutes" in browser.text("#quiet")
    assert figure(browser, "p99") == NONE
    assert figure(browser, "verdict").endswith("no profile")
    assert "No request in the last 5 minutes" in browser.text("#latency-chart")
    assert "No reference profile" in browser.text("#unwatched")
    assert "learn_profile_rows" in browser.text("#unwatched")
    browser.open(f"{url}/#model=fresh&window=1m")
    assert "Learning a reference profile from live rows: 1 234 of 5 000" in browser.text(
        "#unwatched"
    )
    assert figure(browser, "verdict").endswith("learning")


def test_a_watched_model_without_rows_shows_its_reference(
    browser: Browser, url: str, answers: fake.Answers
) -> None:
    report = answers.reports[0]
    for feature in report["drift"]["5m"]["features"]:
        undefined = {key: None for key, value in feature.items() if isinstance(value, float)}
        feature |= undefined | {"verdict": "insufficient data", "test": None}
        feature["counts"] = [0] * len(feature["counts"])
    report["drift"]["5m"] |= {"rows": 0, "verdict": "insufficient data"}
    browser.open(url)
    assert "No rows in the last 5 minutes" in browser.text(".card .tests")
    assert browser.run("document.querySelectorAll('#cards .bar.live').length") == 0
    assert browser.run("document.querySelectorAll('#cards .bar.reference').length") > 0


def test_a_server_without_models(browser: Browser, url: str, answers: fake.Answers) -> None:
    answers.reports.clear()
    browser.open(url)
    assert "No model is watched" in browser.text("#problem")
    assert browser.run("document.querySelector('#main').hidden")
    assert browser.run("document.querySelector('#model').disabled")


def test_it_rests_while_hidden(browser: Browser, url: str, answers: fake.Answers) -> None:
    browser.open(url)
    browser.run(
        "Object.defineProperty(document, 'hidden', { value: true, configurable: true });"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    assert browser.text("#link") == "Paused while hidden"
    browser.run("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    browser.wait("document.body.dataset.state === 'live'")


def test_numbers_of_one_model_never_stand_under_another(browser: Browser) -> None:
    with fake.serve(fake.Answers()) as url:
        browser.open(url)
        assert browser.run("document.title") == "digits · Penstock"
    browser.run("document.querySelectorAll('#overview-rows button')[2].click()")
    browser.wait("document.body.dataset.state === 'lost'")
    browser.wait("document.querySelector('#main').hidden")
    assert "What is shown" not in browser.text("#problem")
    browser.call("Page.navigate", url="about:blank")
