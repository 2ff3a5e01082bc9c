"""The page in a real browser shows what ``/v1/monitor`` says, to everybody, and runs no name."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from tests.views import fake
from tests.views.browser import Browser, find

PAGE = Path(fake.__file__).parents[2] / "src" / "penstock" / "control" / "page"
CHROMIUM = find()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium here (Debian package chromium)")
    with Browser(CHROMIUM, tmp_path_factory.mktemp("chromium")) as found:
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


def duration(seconds: float | None) -> str:
    """As the page has it: three digits in the unit that reads best."""
    if seconds is None:
        return "–"
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


@pytest.mark.parametrize("window", ["1m", "5m", "start"])
def test_figures_are_those_of_the_window(
    browser: Browser, url: str, answers: fake.Answers, window: str
) -> None:
    browser.open(url)
    choose_window(browser, window)
    report = answers.reports[0]
    traffic, total = report["traffic"][window], report["latency"][window]["total"]
    assert figure(browser, "verdict").endswith(report["drift"][window]["verdict"])
    assert figure(browser, "rate") == f"{traffic['rate']:.3g} /s"
    assert figure(browser, "failures") == grouped(traffic["failures"])
    assert figure(browser, "batch") == f"{traffic['mean_batch_rows']:.3g}"
    for name in ("p50", "p95", "p99"):
        assert figure(browser, name) == duration(total[name])
    shown = browser.texts("#stages tr")
    for line, key in enumerate(("mean", "p50", "p95", "p99", "p999", "max")):
        stages = report["latency"][window]
        expected = [duration(stages[stage][key]) for stage in ("queue", "compute", "total")]
        assert shown[line].endswith(" ".join(expected))


def test_slices_are_those_of_the_window(browser: Browser, url: str, answers: fake.Answers) -> None:
    browser.open(url)
    choose_window(browser, "1m")
    rows = browser.texts("#slices tbody tr")
    assert rows[-1] == "other 0 – – –"
    total = answers.reports[0]["slices"]["eu"]["1m"]["total"]
    times = " ".join(duration(total[name]) for name in ("p50", "p95", "p99"))
    assert f"eu {grouped(total['count'])} {times}" in rows


def test_charts_have_their_numbers_as_tables(
    browser: Browser, url: str, answers: fake.Answers
) -> None:
    browser.open(url)
    browser.run(
        "document.querySelectorAll('.pair details').forEach((each) => { each.open = true })"
    )
    browser.wait("document.querySelectorAll('.pair details table').length === 2")
    history = answers.reports[0]["history"]
    shown = browser.texts("#latency-data tbody tr")
    assert len(shown) == len(history)
    latest = [duration(history[-1][name]) for name in ("p50", "p95", "p99")]
    assert " ".join(latest) in shown[0]
    assert shown[-21].endswith("0 – – – –"), "the pause is no zero"
    sizes = answers.reports[0]["batch_rows"]
    expected = [f"{rows} {grouped(count)}" for rows, count in sizes.items()]
    assert browser.texts("#batch-data tbody tr") == expected
    assert browser.run("document.querySelectorAll('#batch-chart rect').length") == len(sizes)


def test_the_line_breaks_where_nothing_was_asked(browser: Browser, url: str) -> None:
    browser.open(url)
    for name in ("p50", "p95", "p99"):
        drawn = browser.run(f"document.querySelector('path.{name}').getAttribute('d')")
        assert drawn.count("M") == 2
        assert drawn.count("L") == 57 - 2


def test_histograms_are_shares_of_both(browser: Browser, url: str, answers: fake.Answers) -> None:
    browser.open(url)
    report = answers.reports[0]
    order = [20, *range(20), 21, 22]  # Below is drawn before the bins.
    script = """(name) => {
        const card = [...document.querySelectorAll('.card')].find(
            (each) => each.querySelector('h3').textContent === name);
        const heights = (kind) => [...card.querySelectorAll(`rect.bar.${kind}`)].map(
            (bar) => Number(bar.getAttribute('height')));
        return { reference: heights('reference'), live: heights('live') };
    }"""
    for name in ("income", "age", fake.HOSTILE):
        drawn = browser.run(f"({script})({json.dumps(name)})")
        live = next(f for f in report["drift"]["5m"]["features"] if f["name"] == name)["counts"]
        expected = next(f for f in report["reference"] if f["name"] == name)["counts"]
        shares = {
            "live": [live[i] / sum(live) for i in order],
            "reference": [expected[i] / sum(expected) for i in order],
        }
        largest = max(max(part) for part in shares.values())
        for kind, part in shares.items():
            for height, share in zip(drawn[kind], part, strict=True):
                wanted = 0 if share == 0 else max(1, share / largest * 88)
                assert height == pytest.approx(wanted)


def test_features_tell_verdict_p_and_psi(browser: Browser, url: str) -> None:
    browser.open(url)
    texts = dict(zip(cards(browser), browser.texts(".card"), strict=True))
    assert "◆ drifted" in texts["income"]
    assert "p 2.6e-8 by chi2 · PSI 0.431 · out of range 4.2 % · missing 0.4 %" in texts["income"]
    assert "▲ warning" in texts[fake.HOSTILE]
    assert "by ks" in texts[fake.HOSTILE]
    assert "insufficient data" in texts["scores"]
    assert "Too few rows to judge" in texts["scores"]
    assert "class of scores" in texts["scores"]
    browser.run("document.querySelector('.card details').open = true")
    browser.wait("document.querySelectorAll('.card details table').length === 2")
    numbers = browser.texts(".card details tr")
    assert "PSI 0.431 0.3" in numbers
    assert "below 0 % 0 % 0" in numbers


def test_features_can_be_filtered_sorted_and_found(
    browser: Browser, url: str, answers: fake.Answers
) -> None:
    browser.open(url)
    everything = [feature["name"] for feature in answers.reports[0]["reference"]]
    first = cards(browser)
    assert first[:3] == ["income", "country", fake.HOSTILE]
    assert sorted(first) == sorted(everything)
    chips = browser.texts("#verdicts button")
    assert chips == ["all 17", "drifted 2", "warning 1", "stable 13", "insufficient data 1"]
    browser.run("document.querySelectorAll('#verdicts button')[1].click()")
    assert cards(browser) == ["income", "country"]
    browser.run("document.querySelectorAll('#verdicts button')[0].click()")
    change = "(id, value) => { const at = document.getElementById(id); at.value = value;"
    change += " at.dispatchEvent(new Event('input')); }"
    browser.run(f"({change})('sort', 'model')")
    assert cards(browser) == everything
    browser.run(f"({change})('sort', 'name')")
    assert cards(browser).index("pixel_2") < cards(browser).index("pixel_10")
    browser.run(f"({change})('search', 'PIXEL_1')")
    assert cards(browser) == ["pixel_1", "pixel_10", "pixel_11"]
    browser.run(f"({change})('search', 'nothing')")
    assert "No feature is like that." in browser.text("#none-shown")


def test_a_name_is_a_text(browser: Browser, url: str) -> None:
    browser.open(f"{url}/#model={quote(fake.HOSTILE)}")
    assert browser.run("document.title") == f"{fake.HOSTILE} · Penstock"
    assert f"{fake.HOSTILE} v1" in browser.texts("#model option")
    assert f"{fake.HOSTILE} v1" in browser.texts("#overview-rows button")
    browser.open(url)
    assert fake.HOSTILE in cards(browser)
    assert fake.HOSTILE in browser.texts("#slices tbody th")
    assert browser.run("document.querySelectorAll('img').length") == 0


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


def test_a_server_that_is_gone_and_comes_back(browser: Browser, answers: fake.Answers) -> None:
    browser.layout(1280, 900)
    with fake.serve(answers) as url:
        browser.open(url)
        assert browser.run("document.querySelector('#problem').hidden")
    browser.wait("document.body.dataset.state === 'lost'")
    problem = browser.text("#problem")
    assert "The server cannot be reached." in problem
    assert "What is shown is from" in problem
    assert browser.text("#link") == "No connection"
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
    assert figure(browser, "p99") == "–"
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


def test_many_features_come_in_parts(browser: Browser, url: str, answers: fake.Answers) -> None:
    report = answers.reports[0]
    for part in (report["drift"]["5m"]["features"], report["reference"]):
        part += [part[0] | {"name": f"more_{i}", "column": 100 + i} for i in range(100)]
    browser.open(url)
    assert len(cards(browser)) == 60
    assert browser.text("#more") == "Show more (57 not shown)"
    browser.run("document.querySelector('#more').click()")
    assert len(cards(browser)) == 117


def test_models_are_chosen_and_remembered(
    browser: Browser, url: str, answers: fake.Answers
) -> None:
    answers.reports.append(fake.digits() | {"version": "4"})
    browser.open(url)
    browser.run("document.querySelectorAll('#overview-rows button')[3].click()")
    browser.wait("location.hash.includes('version=4')")
    browser.wait("document.body.dataset.state === 'live'")
    browser.wait(
        "document.querySelector('#overview-rows [aria-current=true]').innerText === 'digits v4'"
    )
    assert "/v1/monitor/digits?version=4" in answers.asked


def test_files_need_nothing_from_elsewhere() -> None:
    """What a strict policy forbids is not there, even where no test clicks."""
    names = {file.name for file in PAGE.iterdir()}
    assert {"index.html", "page.css", "page.js", "icon.svg"} <= names
    for file in PAGE.iterdir():
        text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "://" not in text, file.name
        assert "innerHTML" not in text
        assert "insertAdjacentHTML" not in text
        if file.suffix == ".html":
            assert re.search(r"\sstyle=|\son\w+=|<style|javascript:", text) is None
            assert re.findall(r"<script[^>]*>(.*?)</script>", text) == [""]
            assert set(re.findall(r'(?:src|href)="([^"#]+)"', text)) <= {f"page/{n}" for n in names}
        if file.suffix == ".js":
            assert set(re.findall(r'from "\./([^"]+)"', text)) <= names
            assert 'setAttribute("style"' not in text
