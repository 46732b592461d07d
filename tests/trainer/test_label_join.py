"""Joining by key and by digest, with options; every joint equals that of a plain dictionary."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.errors import UsageError
from trainer.label_column import LabelColumn
from trainer.label_digest import digest_of_labels
from trainer.label_join import Joined
from trainer.label_keys import number_digests
from trainer.label_options import LabelOptions
from trainer.labels import join, labels_of_items, read_labels


def digest(image: str) -> bytes:
    return hashlib.sha256(image.encode()).digest()


def items(*rows: tuple[str, str], corpus: str = "photos", labels: list[str | None] | None = None) -> pa.Table:
    """Items of (key, image)."""
    nothing = pa.nulls(len(rows), pa.string())
    return pa.table(
        {
            "key": pa.array([key for key, _ in rows], pa.string()),
            "corpus": pa.array([corpus] * len(rows), pa.string()).dictionary_encode(),
            "digest": pa.array([digest(image) for _, image in rows], pa.binary(32)),
            "label": nothing if labels is None else pa.array(labels, pa.string()),
            "split": nothing,
        }
    )


FIVE = items(("a", "1"), ("b", "2"), ("c", "3"), ("d", "1"), ("e", "9"))


def label_file(tmp_path: Path, rows: list[dict[str, Any]], suffix: str = ".jsonl") -> Path:
    path = tmp_path / f"labels{suffix}"
    if suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        table = pa.Table.from_pylist(rows)
        (pq.write_table if suffix == ".parquet" else pa.csv.write_csv)(table, path)
    return path


@pytest.mark.parametrize(
    ("text", "why"),
    [("key,label\n", "it has no rows"), ("key,label\na,\na,\nb,\n", "all its labels are empty, of 2 keys")],
)
def test_a_file_without_any_label_is_told(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(UsageError, match=f"there is no label in .*labels.csv: {why}"):
        join(FIVE, read_labels(path))


def by_key(**labels: Any) -> list[dict[str, Any]]:
    return [{"key": key, "label": label} for key, label in labels.items()]


def joined(tmp_path: Path, rows: list[dict[str, Any]], multi_label: bool = False, **options: Any) -> Joined:
    return join(FIVE, read_labels(label_file(tmp_path, rows), multi_label, LabelOptions(**options)))


# Against a dictionary

KEYS = st.sampled_from(["a", "b", "c", "d é", "e"])
CORPORA = st.sampled_from(["one", "two"])
NAMES = st.sampled_from(["hat", "coat", "shoe"])
ROWS = st.dictionaries(st.tuples(st.none() | CORPORA, KEYS), st.tuples(st.none() | NAMES, st.none() | st.sampled_from(["train", "test"])))


@given(ROWS, st.lists(st.tuples(CORPORA, KEYS), unique=True, min_size=1))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_join_by_key_equals_that_of_dictionaries(tmp_path: Path, rows: dict[Any, Any], places: list[tuple[str, str]]) -> None:
    table = pa.concat_tables([items((key, key), corpus=corpus) for corpus, key in sorted(places)]).unify_dictionaries()
    schema = pa.schema([(name, pa.string()) for name in ("corpus", "key", "label", "split")])
    pq.write_table(
        pa.Table.from_pylist([dict(zip(schema.names, (*place, *cells), strict=True)) for place, cells in rows.items()], schema),
        tmp_path / "labels.parquet",
    )
    label_set = read_labels(tmp_path / "labels.parquet")
    labels = {place: label for place, (label, _) in rows.items() if label}
    splits = {place: split for place, (_, split) in rows.items() if split}
    found = [place if place in labels else (None, place[1]) for place in sorted(places)]
    expected = [i for i, place in enumerate(found) if place in labels]
    if not expected:
        with pytest.raises(UsageError, match="fits any of the" if labels else "there is no label in"):
            join(table, label_set)
        return
    result = join(table, label_set)
    assert result.positions.tolist() == expected
    assert result.labels == [(labels[found[i]],) for i in expected]
    assert result.splits == [splits.get(sorted(places)[i]) or splits.get((None, sorted(places)[i][1])) for i in expected]
    assert result.report.unmatched.count == len(labels.keys() - {found[i] for i in expected})
    assert result.report.unlabelled.count == len(places) - len(expected)


@given(st.dictionaries(st.integers(0, 6), NAMES, min_size=1), st.lists(st.integers(0, 6), min_size=1, max_size=9), st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_join_by_digest_equals_that_of_dictionaries(tmp_path: Path, labels: dict[int, str], images: list[int], as_bytes: bool) -> None:
    digests = [digest(str(image)) for image in labels]
    column = pa.array(digests, pa.binary(32)) if as_bytes else pa.array([value.hex().upper() for value in digests])
    pq.write_table(pa.table({"digest": column, "label": list(labels.values())}), tmp_path / "labels.parquet")
    table = items(*((f"{i:03d}", str(image)) for i, image in enumerate(images)))
    expected = [i for i, image in enumerate(images) if image in labels]
    if not expected:
        with pytest.raises(UsageError, match="the items have digests like"):
            join(table, read_labels(tmp_path / "labels.parquet"))
        return
    result = join(table, read_labels(tmp_path / "labels.parquet"))
    assert result.positions.tolist() == expected
    assert result.labels == [(labels[images[i]],) for i in expected]
    assert result.report.unmatched.count == len(labels.keys() - set(images))
    assert (result.report.shared, result.report.joined_by) == (0, "digest")


# By digest


def test_each_item_of_an_image_gets_its_label(tmp_path: Path) -> None:
    rows = [{"digest": digest(image).hex(), "label": label} for image, label in (("1", "hat"), ("3", "coat"), ("77", "hat"))]
    result = joined(tmp_path, rows)
    assert result.positions.tolist() == [0, 2, 3]
    assert result.labels == [("hat",), ("coat",), ("hat",)]
    assert result.report.warnings()[0] == f"1 labels are of no image of the set, such as {digest('77').hex()}"


def test_keys_go_before_digests_unless_asked_otherwise(tmp_path: Path) -> None:
    rows = [{"key": "a", "digest": digest("3").hex(), "label": "hat"}]
    assert joined(tmp_path, rows).positions.tolist() == [0]
    assert joined(tmp_path, rows, join_by="digest").positions.tolist() == [2]
    with pytest.raises(UsageError, match=r"must have the columns digest and label; it has key, label"):
        joined(tmp_path, by_key(a="hat"), join_by="digest")


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("abc", r"row 2: 'abc' is no sha256 in hexadecimal \(64 digits\)"),
        ("g" * 64, "row 2: 'g+' is no sha256"),
        ("é" * 32, "row 2: .* is no sha256"),
        (None, "row 2: there is no digest"),
        ("", "row 2: there is no digest"),
    ],
)
def test_what_is_no_digest_is_told_with_its_row(tmp_path: Path, cell: str | None, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        joined(tmp_path, [{"digest": digest("1").hex(), "label": "hat"}, {"digest": cell, "label": "hat"}])


def test_two_labels_of_an_image_are_told(tmp_path: Path) -> None:
    rows = [{"digest": digest("1").hex(), "label": "hat"}, {"digest": digest("1").hex(), "label": "coat"}]
    with pytest.raises(UsageError, match=rf"row 2: '{digest('1').hex()}' has two labels, 'hat' and 'coat'"):
        joined(tmp_path, rows)


def test_digests_of_one_beginning_are_told_apart() -> None:
    words = np.array([[7, 0, 0, 2], [7, 0, 0, 1], [3, 0, 0, 0], [7, 0, 0, 2]], np.uint64)
    keys, numbers = number_digests(words)
    assert numbers.tolist() == [0, 1, 2, 0]
    assert keys.words.tolist() == words[:3].tolist()


# Options


def test_missing_labels_are_refused_by_option(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"3 items have no label in .*labels\.jsonl, such as c, d, e, and missing labels are refused"):
        joined(tmp_path, by_key(a="hat", b="coat"), missing="refuse")
    assert len(joined(tmp_path, by_key(a="hat", b="coat", c="hat", d="hat", e="hat"), missing="refuse").positions) == 5


def test_classes_that_are_not_chosen_are_left_out_and_counted(tmp_path: Path) -> None:
    result = joined(tmp_path, by_key(a="hat", b="coat", c="shoe", d="shoe"), classes=("coat", "hat"))
    assert (result.positions.tolist(), result.labels, result.classes) == ([0, 1], [("hat",), ("coat",)], ("coat", "hat"))
    assert (result.report.left_out, result.report.left_out_rows) == ({"shoe": 2}, 2)
    assert "1 classes are not among the chosen ones (2 shoe): 2 items left out for it" in result.report.warnings()


def test_of_many_labels_the_others_are_left_out_and_the_item_stays(tmp_path: Path) -> None:
    result = joined(tmp_path, by_key(a=["hat", "shoe"], b=["coat"], c=["shoe"]), multi_label=True, classes=("hat",))
    assert (result.positions.tolist(), result.labels) == ([0, 1, 2], [("hat",), (), ()])
    assert (result.report.left_out, result.report.left_out_rows) == ({"coat": 1, "shoe": 2}, 0)
    assert result.report.warnings()[-1] == "2 classes are not among the chosen ones (1 coat, 2 shoe): no item left out for it"


def test_classes_are_merged_before_they_are_chosen(tmp_path: Path) -> None:
    rows = by_key(a="hat", b="coat", c="shoe", d="sock")
    result = joined(tmp_path, rows, merge={"clothing": ("hat", "coat")}, classes=("clothing", "shoe"))
    assert result.labels == [("clothing",), ("clothing",), ("shoe",)]
    assert (result.report.merged, result.report.left_out) == ({"hat": "clothing", "coat": "clothing"}, {"sock": 1})
    assert joined(tmp_path, rows, merge={"hat": ("coat",)}).labels == [("hat",), ("hat",), ("shoe",), ("sock",)]


def test_merged_classes_of_one_item_are_one(tmp_path: Path) -> None:
    result = joined(tmp_path, by_key(a=["hat", "coat"], b=[]), multi_label=True, merge={"clothing": ("hat", "coat")})
    assert result.labels == [("clothing",), ()]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"classes": ("hat", "boot")}, "no label in .* is of the class 'boot' to keep; there are 'coat', 'hat'"),
        ({"merge": {"x": ("boot", "hat")}}, "no label in .* is of the class 'boot' to merge; there are 'coat', 'hat'"),
        ({"merge": {"x": ("hat",)}, "classes": ("y",)}, "no label in .* is of the class 'y' to keep; there are 'coat', 'x'"),
    ],
)
def test_classes_that_no_label_has_are_told(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        joined(tmp_path, by_key(a="hat", b="coat"), **options)


def test_a_chosen_class_that_fits_no_item_is_said(tmp_path: Path) -> None:
    result = joined(tmp_path, by_key(a="hat", b="coat", elsewhere="shoe"), classes=("hat", "shoe", "coat"))
    assert result.report.absent == ("shoe",)
    assert "no item of the set has the chosen class 'shoe'" in result.report.warnings()
    with pytest.raises(UsageError, match="no item has a label of the chosen classes shoe; the items have coat, hat"):
        joined(tmp_path, by_key(a="hat", b="coat", elsewhere="shoe"), classes=("shoe",))


# The digest of what was joined


def test_equal_labels_have_one_digest_whatever_they_came_in(tmp_path: Path) -> None:
    labels = {"e": "hat", "a": "coat", "b": "hat", "d": "coat"}
    images = {"a": "1", "b": "2", "d": "1", "e": "9"}
    keyed = [{"key": key, "label": label} for key, label in labels.items()]
    seen = {
        join(FIVE, read_labels(label_file(tmp_path, rows, suffix), multi_label)).report.joined_digest
        for suffix in (".csv", ".jsonl", ".parquet")
        for rows in (keyed, keyed[::-1], [{"digest": digest(images[key]).hex(), "label": label} for key, label in labels.items()])
        for multi_label in (False, True)
    }
    seen.add(join(FIVE, labels_of_items(items(*zip("abcde", "12319", strict=True), labels=["coat", "hat", None, "coat", "hat"]), "set"))
             .report.joined_digest)  # fmt: skip
    renamed = items(("x", "9"), ("y", "1"), ("z", "1"), ("zz", "2"), labels=["hat", "coat", "coat", "hat"])
    seen.add(join(renamed, labels_of_items(renamed, "set")).report.joined_digest)
    assert len(seen) == 1


def test_options_and_labels_change_the_digest(tmp_path: Path) -> None:
    rows = by_key(a="hat", b="coat", c="shoe")
    results = [
        joined(tmp_path, rows),
        joined(tmp_path, rows, merge={"coat": ("hat",)}),
        joined(tmp_path, rows, merge={"cap": ("hat",)}),
        joined(tmp_path, rows, classes=("hat", "coat")),
        joined(tmp_path, by_key(a="hat", b="coat", c="coat")),
        joined(tmp_path, by_key(a="hat", b="coat", e="shoe")),
    ]
    assert len({result.report.joined_digest for result in results}) == len(results)
    assert joined(tmp_path, rows, missing="skip", classes=("hat", "coat", "shoe")).report.joined_digest == results[0].report.joined_digest


@given(st.lists(st.tuples(st.integers(0, 3), st.sets(NAMES).map(sorted)), max_size=8), st.randoms(use_true_random=False))
def test_the_order_of_items_does_not_change_the_digest(rows: list[tuple[int, list[str]]], random: Any) -> None:
    def of(rows: list[tuple[int, list[str]]]) -> str:
        images = np.array([[image, 0, 0, image] for image, _ in rows], np.uint64).reshape(-1, 4)
        return digest_of_labels(images, LabelColumn.of([names for _, names in rows]))

    shuffled = list(rows)
    random.shuffle(shuffled)
    assert of(rows) == of(shuffled)


def test_classes_that_are_probably_one_stay_and_are_told(tmp_path: Path) -> None:
    rows = [{"key": key, "label": label} for key, label in zip("abcde", ("hat", "Hat", "coat", "nan", "coat"), strict=True)]
    found = join(FIVE, read_labels(label_file(tmp_path, rows)))
    assert found.classes == ("Hat", "coat", "hat", "nan")
    differ, nothing = found.report.warnings()
    assert "'Hat' (1) and 'hat' (1)" in differ
    assert "'nan' (1)" in nothing
    merged = LabelOptions(merge={"hat": ("hat", "Hat")}, classes=("hat", "coat"))
    assert "differ only" not in " ".join(join(FIVE, read_labels(label_file(tmp_path, rows), options=merged)).report.warnings())
