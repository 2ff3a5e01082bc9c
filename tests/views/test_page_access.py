"""The page is for everybody: small windows, dark ones, the keyboard, eyes that tire."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest

from tests.views import fake
from tests.views.browser import Browser
from tests.views.shown import cards, duration


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_is_wider_than_the_window(
    browser: Browser, url: str, answers: fake.Answers, width: int, scheme: str, tmp_path: Path
) -> None:
    long = copy.deepcopy(fake.idle("a" * 200))
    answers.reports.append(long)
    answers.reports[0]["reference"][0]["name"] = "b" * 200
    answers.reports[0]["drift"]["5m"]["features"][0]["name"] = "b" * 200
    answers.reports[0]["slices"]["c" * 120] = answers.reports[0]["slices"]["eu"]
    browser.layout(width, 800, scheme)
    for model in ("digits", "a" * 200):
        browser.open(f"{url}/#model={model}")
        assert browser.run("document.documentElement.scrollWidth") <= width
        browser.screenshot(tmp_path / f"{model[:6]}-{width}-{scheme}.png")
    ground = browser.run("getComputedStyle(document.body).backgroundColor")
    brightness = [int(part) for part in re.findall(r"\d+", ground)]
    assert (max(brightness) < 64) == (scheme == "dark")


CONTRAST = """(() => {
    const canvas = document.createElement('canvas').getContext('2d');
    const rgb = (colour) => {
        canvas.fillStyle = colour;
        return [1, 3, 5].map((at) => parseInt(canvas.fillStyle.slice(at, at + 2), 16) / 255);
    };
    const light = (colour) => {
        const [r, g, b] = rgb(colour).map(
            (part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = (node) => {
        for (; node !== null; node = node.parentElement) {
            const colour = getComputedStyle(node).backgroundColor;
            if (colour !== 'rgba(0, 0, 0, 0)') return colour;
        }
        return 'rgb(255, 255, 255)';
    };
    const low = [];
    for (const node of document.querySelectorAll('body *')) {
        const own = [...node.childNodes].some((c) => c.nodeType === 3 && c.data.trim());
        if (!own || node.closest('[hidden], noscript, .skip, script, title')) continue;
        const style = getComputedStyle(node);
        const ink = node.namespaceURI.endsWith('svg') ? style.fill : style.color;
        const [a, b] = [light(ink), light(ground(node))].sort((x, y) => y - x);
        const ratio = (a + 0.05) / (b + 0.05);
        if (ratio < 4.5) low.push(`${node.tagName} ${node.className} ${ratio.toFixed(2)}`);
    }
    return [...new Set(low)];
})()"""
"""Texts whose contrast is under 4.5, as WCAG 2.2 (1.4.3) reckons it."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out(browser: Browser, url: str, scheme: str) -> None:
    browser.layout(1280, 900, scheme)
    browser.open(url)
    assert browser.run(CONTRAST) == []


def test_the_keyboard_reaches_everything(browser: Browser, url: str) -> None:
    browser.open(url)
    reached = []
    for _ in range(12):
        browser.key("Tab")
        told = browser.run(
            "(() => { const at = document.activeElement; const box = at.closest('label') ?? at;"
            "const seen = [at, at.nextElementSibling ?? at].some("
            "  (e) => getComputedStyle(e).outlineStyle !== 'none');"
            "return { id: at.id || at.name || at.parentElement.id || at.tagName, seen,"
            "  named: (at.ariaLabel || box.innerText || '').trim() !== '' }; })()"
        )
        assert told["seen"], f"no focus is seen on {told['id']}"
        assert told["named"], f"{told['id']} has no name"
        reached.append(told["id"])
    assert reached[:3] == ["A", "model", "window"]
    assert "log" in reached
    browser.run("document.querySelector('#windows input:checked').focus()")
    browser.key("ArrowRight")
    assert browser.text(".window-name") == "since start"
    assert "window=start" in browser.run("location.hash")


def test_the_latency_chart_is_read_by_arrow_keys(
    browser: Browser, url: str, answers: fake.Answers
) -> None:
    browser.open(url)
    history = answers.reports[0]["history"]
    assert duration(history[-1]["p99"]) in browser.text("#latency-readout")
    browser.run("document.querySelector('#latency-chart svg').focus()")
    for _ in range(3):
        browser.key("ArrowLeft")
    assert duration(history[-3]["p99"]) in browser.text("#latency-readout")
    answers.reports[0] = answers.reports[0] | {"uptime_s": 7200.0}
    browser.wait("document.querySelector('#link').innerText.endsWith('up 2 h')")
    assert browser.run("document.querySelector('#latency-chart svg') === document.activeElement")
    assert duration(history[-3]["p99"]) in browser.text("#latency-readout")


def test_a_refresh_keeps_focus_and_open_details(
    browser: Browser, url: str, answers: fake.Answers
) -> None:
    browser.open(url)
    browser.run("document.querySelector('.card:last-child summary').focus()")
    browser.key("Enter")
    answers.reports[0] = report = copy.deepcopy(answers.reports[0])
    for feature in report["drift"]["5m"]["features"]:
        if feature["name"] == "scores":
            feature["verdict"] = "drifted"
    report["traffic"]["5m"]["rate"] = 12.5
    browser.wait("document.querySelector('[data-key=rate] .value').innerText.startsWith('12.5')")
    names = cards(browser)
    assert names.index("scores") < names.index(fake.HOSTILE), "its verdict turned: it moves up"
    held = "document.activeElement.closest('.card').querySelector('h3').innerText"
    assert browser.run(held) == "scores"
    assert browser.run("document.activeElement.parentElement.open")


def test_cards_do_not_jump_with_every_number(
    browser: Browser, url: str, answers: fake.Answers
) -> None:
    browser.open(url)
    before = cards(browser)
    answers.reports[0] = report = copy.deepcopy(answers.reports[0])
    for at, feature in enumerate(report["drift"]["5m"]["features"]):
        feature["psi"] = 0.001 * ((at * 7) % 17)
    browser.wait("document.querySelector('.card .tests').innerText.includes('PSI 0.007')")
    assert cards(browser) == before
