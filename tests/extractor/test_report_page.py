"""The page: everything escaped, nothing loaded, readable by a browser, numbers where a person looks for them."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extractor.report_charts import BINS, rates, round_up
from extractor.report_page import render
from storage.html import Markup, join, tag
from storage.sizes import human_seconds
from tests.chromium import look_with_chromium
from tests.extractor.report_example import HOSTILE, make_example


class Page(HTMLParser):
    """Elements, attributes and visible text of a page, and that every element is closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.names.add(name)
        self.attributes += attributes
        if name not in ("meta", "link"):
            self._open.append(name)

    def handle_endtag(self, name: str) -> None:
        assert self._open.pop() == name

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.text += data


def test_the_page_shows_the_account_the_rejects_and_what_binds() -> None:
    text = Page(render(make_example(failures=("unit 000001 (3 items): OSError: <b>full</b>",)))).text
    assert "40listed=33rows+7rejected+0pending" in text
    assert "Decoding: the forward pass waited 55%" in text
    for said in ("2 → 3", "corrupt", "not-an-image", "OSError: <b>full</b>", "hidden", "mobilenet_v2", "random:1", "rejects/x.parquet"):
        assert said in text


def test_what_was_not_asked_for_is_told_in_words() -> None:
    report = make_example()
    report["settings"]["recipe"] |= {"input_size": 0, "preprocessing": "", "layer": "", "args": {}, "views": []}
    text = Page(render(report)).text
    for said in ("input sizethe network's own", "preprocessingthe network's own", "layerthe network's end", "argsnone", "viewsnone"):
        assert said in text


def test_all_that_came_before_the_work_is_counted_and_the_larger_parts_are_named() -> None:
    report = make_example()
    report["seconds"]["driver"] |= {"calibrate": 20.0, "engine": 3.0, "weigh": 6.0, "prepare": 0.1}
    text = Page(render(report | {"seconds": report["seconds"] | {"total": 50.0}})).text
    assert "33.6 s of 50.0 s passed before work on units began: 4.0 s starting workers, building the network; 20.0 s calibrating" in text
    assert "6.0 s weighing the precision: some images in float32 as well." in text
    assert "3.0 s measuring engines;" not in text


def test_a_further_set_says_where_the_work_stands_and_contradicts_nothing() -> None:
    report = make_example()
    text = Page(render({**report, "sets": ["store/team/first", report["set"]]})).text
    assert "stand in the report of store/team/first" in text
    assert "files readwith the first set" in text
    for other in ("Workers finished no unit", "the forward pass waited", "images decoded0"):
        assert other not in text


def test_hostile_names_are_text_and_what_cannot_be_seen_is_made_visible() -> None:
    page = Page(render(make_example()))
    assert HOSTILE[0] in page.text
    assert HOSTILE[1] in page.text
    assert "a'&amp;b\\x1b[31m\\u202egpj.exe" in page.text
    assert not {"script", "img", "iframe", "b"} & page.names
    assert not [name for name, _ in page.attributes if name.startswith("on") or name == "src"]
    assert [value for name, value in page.attributes if name == "href"] == ["data:,"]
    assert "url(" not in render(make_example())


def test_a_run_that_read_nothing_has_a_page_too() -> None:
    text = Page(render(make_example(units=0))).text
    assert "No file was read" in text
    assert "forward pass" not in text.replace("no forward pass", "")
    assert "3, nothing changed" in text


def test_a_run_with_something_missing_says_so_at_the_top() -> None:
    assert "too many rejects" in Page(render(make_example(complete=False))).text
    assert "complete" in Page(render(make_example())).text


@settings(max_examples=50, deadline=None)
@given(st.text(), st.text())
def test_any_text_stays_text(text: str, attribute: str) -> None:
    page = Page(tag("p", text, title=attribute))
    assert page.names == {"p"}
    visible = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    assert page.text == visible
    page_bytes = join(text).encode()  # lone surrogates too
    assert b"<" not in page_bytes


def test_only_markup_is_not_escaped() -> None:
    assert join("<", Markup("<br>")) == "&lt;<br>"


POINTS = st.lists(st.tuples(st.floats(0.01, 50), st.floats(0, 100), st.integers(0, 1000)), min_size=1, max_size=30)


@settings(max_examples=30, deadline=None)
@given(POINTS)
def test_rates_over_time_add_up_to_what_was_done(steps: list[tuple[float, float, int]]) -> None:
    points = [[0.0, 0, 0, 0, 0.0]]
    for gap, took, images in steps:
        seconds = points[-1][0] + gap
        points.append([seconds, 0, points[-1][2] + images, 0, max(0.0, seconds - took)])
    found = rates(points, 2)
    assert len(found) == BINS
    assert min(found) >= 0
    assert sum(found) * points[-1][0] / BINS == pytest.approx(points[-1][2])


def test_work_is_shown_when_it_was_done_not_when_it_ended() -> None:
    found = rates([[0.0, 0, 0, 0, 0.0], [60.0, 0, 60, 0, 0.0], [60.0, 0, 120, 0, 30.0]], 2)
    assert found[:30] == pytest.approx([1.0] * 30)
    assert found[30:] == pytest.approx([3.0] * 30)


@pytest.mark.parametrize(("value", "rounded"), [(0, 1), (1, 1), (1.2, 1.5), (43, 50), (73.8, 80), (81, 100), (0.03, 0.03), (2630, 3000)])
def test_scales_end_at_round_numbers(value: float, rounded: float) -> None:
    assert round_up(value) == pytest.approx(rounded)


@pytest.mark.parametrize(
    ("seconds", "told"), [(0, "0.0 s"), (49.62, "49.6 s"), (110, "110 s"), (200, "3 min 20 s"), (7500, "2 h 05 min"), (119.99, "120 s")]
)
def test_seconds_in_words(seconds: float, told: str) -> None:
    assert human_seconds(seconds) == told


@pytest.mark.slow
def test_chromium_shows_the_page_without_a_request_or_a_complaint(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(render(make_example()))
    dom, console, asked = look_with_chromium(page)
    assert (console, asked) == ([], [])
    assert "40listed=33rows+7rejected+0pending" in Page(dom.partition("<html")[1] + dom.partition("<html")[2]).text


@pytest.mark.slow
def test_requests_and_complaints_of_a_page_would_be_seen(tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text('<!doctype html><img src="http://127.0.0.1:9/x.png"><script>console.error("boo")</script>')
    _, console, asked = look_with_chromium(page)
    assert "boo" in console[0]
    assert set(asked) == {"http://127.0.0.1:9/x.png"}
