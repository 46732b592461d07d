"""The page: everything escaped, nothing loaded, readable by a browser, numbers where a person looks for them."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.chromium import look_with_chromium
from tests.trainer.report_example import HOSTILE, make_evaluation, make_multi_label, make_report
from trainer.report import write_report
from trainer.report_charts import colour
from trainer.report_classes import shortened
from trainer.report_page import render
from trainer.sweep_interval import SeedInterval
from trainer.sweep_result import ends_of

VOID = ("meta", "link", "img", "input")


class Page(HTMLParser):
    """Elements, attributes and visible text of a page, and that every element is closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.names.append(name)
        self.attributes += attributes
        if name not in VOID:
            self._open.append(name)

    def handle_endtag(self, name: str) -> None:
        assert self._open.pop() == name

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.text += data


def test_it_is_said_whether_the_head_learned_from_validation() -> None:
    assert "before its refit on train and validation together" in Page(render(make_report())).text
    assert "fitted on train alone, and chosen by validation" in Page(render(make_report(refitted=False))).text


def test_the_page_shows_what_there_is_to_know() -> None:
    report = make_report()
    page = Page(render(report))
    accuracy = report.evaluation.to_dict()["accuracy"]
    assert f"accuracy{accuracy:.3f}" in page.text
    for heading in (
        "On test: 200 items",
        "Splits",
        "Learning curves",
        "validation: the loss of the items alone",
        "Sweep: 5 candidates",
        "Can its probabilities be believed?",
        "By class, lowest F1 first",
        "Confusion matrix",
        "Worst mistakes",
        "Likely label errors",
        "7 of 200 items",
        "3 are in training themselves",
        "Drift: version 1 to 3",
        "no difference that 3 items could show",
        "few items",
        "Map of the embeddings: 10 items",
        "divided by temperature 0.7",
    ):
        assert heading in page.text, heading
    assert (page.names.count("img"), page.names.count("image"), page.names.count("script")) == (4, 1, 0)


def test_nothing_is_divided_by_one() -> None:
    evaluation = make_evaluation(["hat", "shoe", "coat"])
    assert "logits divided by 0.7" in Page(render(make_report(evaluation))).text
    assert "divided by" not in Page(render(make_report(evaluation.with_temperature(1.0004)))).text


def test_hostile_names_are_text_and_nothing_is_asked_for() -> None:
    page = Page(render(make_report()))
    assert HOSTILE[0] in page.text
    assert HOSTILE[1] in page.text
    assert "a'&amp;b\\x1b[31m\\u202egpj.exe" in page.text
    assert not {"script", "iframe", "object"} & set(page.names)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    asked = {str(value).partition(",")[0] for name, value in page.attributes if name in ("src", "href")}
    assert asked == {"data:", "data:image/jpeg;base64"}
    assert "url(" not in render(make_report())


def test_a_head_without_mistakes_curves_and_further_questions_has_a_page_too() -> None:
    report = make_report(history={}, sweep=(), points=(), mistakes=(), errors=None, duplicates=(), near=None, slices={}, comparison=None)
    page = Page(render(report))
    assert "Not told: they need probabilities of one class an item" in page.text
    assert "None was found" in Page(render(make_report(errors=()))).text
    for absent in ("Learning curves", "Sweep", "Map of", "Slices", "Against", "Near-duplicates"):
        assert absent not in page.text


def test_numbers_that_are_none_have_no_charts() -> None:
    nan = float("nan")
    text = Page(render(make_report(history={"loss": [nan, nan]}, sweep=[{"c": 1.0, "validation": {"mean": nan}}]))).text
    assert "Learning curves" not in text
    assert "No candidate has a number" in text


def test_of_many_classes_the_worst_part_is_shown() -> None:
    names = [f"class {i:03d}" for i in range(100)]
    page = Page(render(make_report(make_evaluation(names), points=())))
    assert "the 24 of 100 classes with the most mistakes" in page.text
    assert re.search(r"the 60 of \d+ with the lowest F1", page.text)
    assert page.names.count("td") < 2000


def test_long_names_keep_the_matrix_small_and_are_told_whole() -> None:
    names = [f"animals/mammals/felines/cats/{i}/" + "x" * 100 for i in range(9)]
    page = Page(render(make_report(make_evaluation(names), points=())))
    assert ("title", names[3]) in page.attributes
    assert "animals/mam…" in page.text
    assert (shortened("hat"), shortened("a" * 12 + "b" * 20), len(shortened("c" * 99))) == ("hat", "a" * 11 + "…" + "b" * 12, 24)


def test_the_candidates_of_a_sweep_are_a_table_whose_rows_the_points_name() -> None:
    numbers = {"mean": 0.9571, "low": 0.8, "high": 1.0, "metric": "macro_f1"}
    sweep = [
        {"head": "mlp", "hidden": (512, 128), "class_weights": None, "learning_rate": 0.001, "validation": numbers},
        {
            "head": "linear",
            "hidden": (),
            "class_weights": "balanced",
            "learning_rate": 0.01,
            "validation": {"mean": 0.5, "low": 0.5, "high": 0.5},
        },
    ]
    page = render(make_report(sweep=sweep))
    text = Page(page).text
    assert "Validation, macro f1, with 95% intervals" in text
    assert "1mlp512x128none0.0010.9570.800 to 1.0002linearnonebalanced0.010.500The numbers" in text
    assert re.search(r"<circle[^>]*><title>0.9571: [^<]*</title></circle>", page)
    assert re.search(r"<text [^>]*>1</text>", page)
    same = [{"head": "linear", "c": c, "validation": {"mean": 0.5, "low": 0.4, "high": 0.6}} for c in (0.1, 0.1, 1)]
    assert ">1, 2</text>" in render(make_report(sweep=same))
    assert "Sweep: 1 candidate" in Page(render(make_report(sweep=sweep[:1]))).text
    assert "The best 100 of 150; sweep.json has all" in Page(render(make_report(sweep=sweep * 75))).text


def test_an_interval_of_a_share_ends_with_the_shares() -> None:
    assert ends_of(SeedInterval(0.95, 0.093), True) == {"mean": 0.95, "low": pytest.approx(0.857), "high": 1.0}
    assert ends_of(SeedInterval(1.2, 1.5), False) == {"mean": 1.2, "low": 0.0, "high": pytest.approx(2.7)}
    assert ends_of(SeedInterval(0.4, None), True) == {"mean": 0.4, "low": 0.4, "high": 0.4}


def test_several_labels_an_item_have_average_precision_and_no_matrix() -> None:
    text = Page(render(make_report(make_multi_label(["coat", "hat", "shoe"])))).text
    assert "mAP" in text
    assert "AP" in text
    assert "Confusion matrix" not in text


def test_neighbouring_classes_have_colours_of_their_own() -> None:
    for classes in (2, 3, 10, 20):
        assert len({colour(i, classes) for i in range(classes)}) == classes
    assert colour(3, 21) == colour(-1, 2)


@pytest.mark.slow
def test_chromium_shows_the_page_without_a_request_or_a_complaint(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    write_report(page, make_report())
    dom, console, asked = look_with_chromium(page)
    assert console == []
    assert not [url for url in asked if not url.startswith("data:")]
    assert "On test: 200 items" in dom
