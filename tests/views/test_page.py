"""The page in a real browser shows what ``/v1/monitor`` says, and runs no name."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.views import fake
from tests.views.browser import Browser
from tests.views.shown import NONE, cards, choose_window, duration, figure, grouped

PAGE = Path(fake.__file__).parents[2] / "src" / "penstock" / "control" / "page"


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
    assert rows[-1] == f"other 0 {NONE} {NONE} {NONE}"
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
    assert shown[-21].endswith(" ".join(["0", *[NONE] * 4])), "the pause is no zero"
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
    answers.reports.append(fake.digits() | {"version": "4", "uptime_s": 7200.0})
    browser.open(url)
    browser.run("document.querySelectorAll('#overview-rows button')[3].click()")
    browser.wait("document.querySelector('#link').innerText.endsWith('up 2 h')")
    assert "version=4" in browser.run("location.hash")
    assert browser.text("#overview-rows [aria-current=true]") == "digits v4"
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
