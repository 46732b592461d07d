from __future__ import annotations

import contextlib
import csv
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import storage
from storage.errors import NotFoundError, PermafrostError, UsageError
from trainer.given_splits import GivenSplits
from trainer.label_column import Label, LabelColumn
from trainer.label_keys import ItemKeys
from trainer.label_report import LabelReport, Unmet
from trainer.label_values import parse_label
from trainer.labels import LabelSet, join, labels_for, labels_of_items, read_labels

WriteCsv = Callable[..., Path]
ItemKey = tuple[str | None, str]  # corpus (None: any) and key


def items(*rows: tuple[str, str | None, str | None], corpus: str = "photos") -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [[], [], []]
    table = pa.table({name: pa.array(values, pa.string()) for name, values in zip(("key", "label", "split"), columns, strict=True)})
    digests = pa.array([hashlib.sha256(key.encode()).digest() for key in columns[0]], pa.binary(32))
    return table.append_column("corpus", pa.array([corpus] * len(rows), pa.string())).append_column("digest", digests)


def label_set_of(
    labels: Mapping[ItemKey, Label], splits: Mapping[ItemKey, str], source: str = "labels.csv", digest: str | None = None, **more: Any
) -> LabelSet:
    """A label set by key from plain mappings."""
    keys = list(dict.fromkeys(key for _, key in [*labels, *splits]))
    corpora = tuple(dict.fromkeys(corpus for corpus, _ in [*labels, *splits] if corpus))

    def ids(entries: Mapping[ItemKey, Any]) -> Any:
        return np.array([keys.index(key) + len(keys) * (1 + corpora.index(corpus) if corpus else 0) for corpus, key in entries], np.int64)

    return LabelSet(
        keys=ItemKeys(pa.array(keys, pa.string())),
        corpora=corpora,
        label_ids=ids(labels),
        labels=LabelColumn.of(labels.values()),
        split_ids=ids(splits),
        splits=GivenSplits.of(list(splits.values())),
        source=source,
        digest=digest,
        **more,
    )


def labels_in(label_set: LabelSet) -> dict[ItemKey, Label]:
    return dict(zip(_names(label_set, label_set.label_ids), label_set.labels.to_list(), strict=True))


def splits_in(label_set: LabelSet) -> dict[ItemKey, Any]:
    return dict(zip(_names(label_set, label_set.split_ids), label_set.splits.to_list(), strict=True))


def _names(label_set: LabelSet, ids: Any) -> list[ItemKey]:
    places = [divmod(int(number), len(label_set.keys)) for number in ids]
    return [(label_set.corpora[corpus - 1] if corpus else None, label_set.keys.show(key)) for corpus, key in places]


def by_key(values: Mapping[ItemKey, Any]) -> dict[str, Any]:
    """Labels (as text) or splits of a label set that names no corpus."""
    assert all(corpus is None for corpus, _ in values)
    return {key: "|".join(value) if isinstance(value, tuple) else value for (_, key), value in values.items()}


def write(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "labels.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("column", ["key", "path"])
def test_keys_labels_and_splits_are_read(write_csv: WriteCsv, column: str) -> None:
    path = write_csv([column, "label", "split"], ["a.jpg", "hat", "train"], ["b/c.jpg", "coat", ""])
    label_set = read_labels(path)
    assert by_key(labels_in(label_set)) == {"a.jpg": "hat", "b/c.jpg": "coat"}
    assert by_key(splits_in(label_set)) == {"a.jpg": "train"}
    assert (label_set.source, label_set.digest) == (str(path), hashlib.sha256(path.read_bytes()).hexdigest())


def test_key_goes_before_path(write_csv: WriteCsv) -> None:
    assert by_key(labels_in(read_labels(write_csv(["path", "key", "label"], ["p", "k", "hat"])))) == {"k": "hat"}


def test_other_columns_and_their_order_do_not_matter(write_csv: WriteCsv) -> None:
    assert by_key(labels_in(read_labels(write_csv(["price", "label", "key"], ["3", "hat", "a.jpg"])))) == {"a.jpg": "hat"}


def test_a_row_without_label_counts_as_unlabelled(write_csv: WriteCsv) -> None:
    assert by_key(labels_in(read_labels(write_csv(["key", "label"], ["a", ""], ["b", "  "], ["c", "hat"])))) == {"c": "hat"}


def test_windows_line_ends_and_a_byte_order_mark_are_fine(tmp_path: Path) -> None:
    assert by_key(labels_in(read_labels(write(tmp_path, b"\xef\xbb\xbfkey,label\r\na.jpg,hat\r\n")))) == {"a.jpg": "hat"}


def test_the_same_label_twice_is_fine(write_csv: WriteCsv) -> None:
    assert by_key(labels_in(read_labels(write_csv(["key", "label"], ["a", "hat"], ["a", "hat"])))) == {"a": "hat"}


def test_two_labels_for_a_key_are_told_with_the_line(write_csv: WriteCsv) -> None:
    with pytest.raises(UsageError, match=r"labels\.csv, row 2: 'a' has two labels, 'hat' and 'coat'"):
        read_labels(write_csv(["key", "label"], ["a", "hat"], ["a", "coat"]))


def test_two_splits_for_a_key_are_told(write_csv: WriteCsv) -> None:
    with pytest.raises(UsageError, match="split"):
        read_labels(write_csv(["key", "label", "split"], ["a", "hat", "test"], ["a", "hat", "train"]))


@pytest.mark.parametrize(("content", "has"), [("a.jpg,hat\n", "a.jpg, hat"), ("key\na\n", "key")])
def test_missing_columns_are_told_with_those_that_are_there(tmp_path: Path, content: str, has: str) -> None:
    with pytest.raises(UsageError, match=f"must have the columns key .* and label; it has {has}"):
        read_labels(write(tmp_path, content))


def test_a_file_that_is_not_utf8_is_told_with_the_place(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is not UTF-8 text: .* at byte 13"):
        read_labels(write(tmp_path, b"key,label\ncaf\xe9.jpg,hat\n"))


def test_utf_16_is_not_utf8(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not UTF-8 text"):
        read_labels(write(tmp_path, "key,label\na,hat\n".encode("utf-16")))


@pytest.mark.parametrize("name", ["nowhere.csv"])
def test_a_file_that_is_not_there_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(NotFoundError, match="no such label file"):
        read_labels(tmp_path / name)


@pytest.mark.parametrize("name", ["labels.csv/x.csv", "x" * 5000 + ".csv", "a\0b.csv", "a\0b.parquet"])
def test_a_path_that_cannot_be_opened_is_told(tmp_path: Path, name: str) -> None:
    write(tmp_path, "key,label\n")
    with pytest.raises(PermafrostError):
        read_labels(tmp_path / name)


def test_a_quote_that_is_never_closed_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        read_labels(write(tmp_path, 'key,label\n"a,cat\n' + "b.jpg,dog\n" * 20_000))


def test_a_row_without_key_is_no_label(tmp_path: Path) -> None:
    with contextlib.suppress(UsageError):
        assert None not in labels_in(read_labels(write(tmp_path, "label,key\nhat\ncoat,a.jpg\n")))


KEYS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8)
LABELS = st.text("abc ,\"'é", min_size=1, max_size=5).filter(lambda text: text.strip())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(KEYS, LABELS, max_size=4))
def test_what_csv_writes_is_read_back(tmp_path: Path, labels: dict[str, str]) -> None:
    path = tmp_path / "labels.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("key", "label"), *labels.items()])
    assert by_key(labels_in(read_labels(path))) == {key: label.strip() for key, label in labels.items()}


def test_labels_of_items_are_those_of_class_folders() -> None:
    label_set = labels_of_items(items(("a", "hat", "train"), ("b", None, None), ("c", "coat", None)), "the set")
    assert labels_in(label_set) == {(None, "a"): ("hat",), (None, "c"): ("coat",)}
    assert (splits_in(label_set), label_set.digest) == ({(None, "a"): "train"}, None)


def test_items_without_any_label_are_told() -> None:
    with pytest.raises(UsageError, match=r"the items of the set carry no labels .*pass --labels FILE"):
        labels_of_items(items(("a", None, None)), "the set")


# Every format


def write_rows(tmp_path: Path, suffix: str, rows: list[dict[str, Any]]) -> Path:
    path = tmp_path / f"labels{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif suffix == ".csv":
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


FORMATS = [".csv", ".jsonl", ".ndjson", ".parquet"]


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_gives_the_same_label_set(tmp_path: Path, suffix: str) -> None:
    rows = [
        {"path": "a.jpg", "label": "hat", "split": "train", "corpus": None, "price": 3},
        {"path": "b é.jpg", "label": "coat", "split": None, "corpus": "mine", "price": 4},
        {"path": "c.jpg", "label": None, "split": None, "corpus": None, "price": 5},
    ]
    label_set = read_labels(write_rows(tmp_path, suffix, rows))
    assert labels_in(label_set) == {(None, "a.jpg"): ("hat",), ("mine", "b é.jpg"): ("coat",)}
    assert splits_in(label_set) == {(None, "a.jpg"): "train"}
    assert label_set.digest == hashlib.sha256((tmp_path / f"labels{suffix}").read_bytes()).hexdigest()


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_tells_missing_columns(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(UsageError, match=r"must have the columns key \(or path, or digest\) and label; it has key, class"):
        read_labels(write_rows(tmp_path, suffix, [{"key": "a", "class": "hat"}]))


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_tells_where_two_labels_are(tmp_path: Path, suffix: str) -> None:
    rows = [{"key": "a", "label": "hat"}, {"key": "a", "label": "coat"}]
    with pytest.raises(UsageError, match=r"row 2: 'a' has two labels, 'hat' and 'coat'"):
        read_labels(write_rows(tmp_path, suffix, rows))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("labels.xlsx", b"PK", r"should end in \.csv, \.jsonl or \.parquet"),
        ("labels", b"key,label", r"should end in \.csv"),
        ("labels.parquet", b"key,label\na,hat\n", "is not a readable Parquet file"),
        ("labels.jsonl", b'{"key": "a", "label": "hat"}\n{"key": "b"', "has no JSON object in line 2"),
        ("labels.jsonl", b'["a", "hat"]', "a list in line 1; expected one JSON object a line"),
        ("labels.jsonl", b"[" * 100_000, "has no JSON object in line 1"),
        ("labels.jsonl", b"", "is empty"),
        ("labels.jsonl", b'{"key": "a", "label": {"name": "hat"}}', r"row 1: expected text, a number or a truth value, got dict"),
        ("labels.jsonl", b'{"label": "hat"}\n{"key": "a"}', r"row 1: there is no key"),
        ("labels.jsonl", b'{"key": "a", "label": "\xe9"}', "is not UTF-8 text"),
    ],
)  # fmt: skip
def test_files_that_are_no_labels_are_told(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=said):
        read_labels(tmp_path / name)


@given(st.binary(max_size=200), st.sampled_from(FORMATS))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_content_makes_a_traceback(tmp_path: Path, content: bytes, suffix: str) -> None:
    (tmp_path / f"labels{suffix}").write_bytes(content)
    with contextlib.suppress(UsageError):
        read_labels(tmp_path / f"labels{suffix}")


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (3, "3"), (3.0, "3"), (0.5, "0.5"), (True, "true"), (False, "false"), (" hat ", "hat"), ("a|b", "a|b"),
        (None, None), ("", None), (" ", None), (float("nan"), None),
    ],
)  # fmt: skip
def test_what_is_no_text_becomes_text(value: Any, label: str | None) -> None:
    assert parse_label(value, multi_label=False) == (None if label is None else (label,))


def test_whole_numbers_of_a_column_with_gaps_stay_whole(tmp_path: Path) -> None:
    pq.write_table(pa.table({"key": ["a", "b"], "label": pa.array([1.0, None])}), tmp_path / "labels.parquet")
    assert by_key(labels_in(read_labels(tmp_path / "labels.parquet"))) == {"a": "1"}


@pytest.mark.parametrize(
    ("column", "labels"),
    [
        (pa.array(["a", None], pa.large_string()), {"x": "a"}),
        (pa.array(["a", "b"]).dictionary_encode(), {"x": "a", "y": "b"}),
        (pa.array(["a", "b"], pa.string_view()), {"x": "a", "y": "b"}),
        (pa.array([b"a", None]), {"x": "a"}),
        (pa.array([Decimal("1.5"), None]), {"x": "1.5"}),
        (pa.array(np.array([1, 2], np.float16)), {"x": "1", "y": "2"}),
        (pa.array([b"0" * 16, None], pa.uuid()), {"x": "30303030-3030-3030-3030-303030303030"}),
        (pa.nulls(2), {}),
    ],
)
def test_every_type_of_parquet_becomes_text(tmp_path: Path, column: pa.Array, labels: dict[str, str]) -> None:
    pq.write_table(pa.table({"key": ["x", "y"], "label": column, "split": column}), tmp_path / "labels.parquet")
    label_set = read_labels(tmp_path / "labels.parquet")
    assert by_key(labels_in(label_set)) == by_key(splits_in(label_set)) == labels


# Many labels an item


@pytest.mark.parametrize(
    ("value", "label"),
    [
        ("b|a", ("a", "b")), ("hat", ("hat",)), (" a | | b ", ("a", "b")), ("|", ()), ("", None), (None, None),
        ([], ()), (["b", "a", "b"], ("a", "b")), (["a|b"], ("a|b",)), ([1, True, None], ("1", "true")), (7, ("7",)),
    ],
)  # fmt: skip
def test_labels_of_many_classes(value: Any, label: tuple[str, ...] | None) -> None:
    assert parse_label(value, multi_label=True) == label


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_list_without_multi_label_is_told_with_the_option(tmp_path: Path, suffix: str) -> None:
    path = write_rows(tmp_path, suffix, [{"key": "a", "label": ["hat", "coat"]}, {"key": "b", "label": []}])
    with pytest.raises(UsageError, match=r"(line|row) 1: the label \['hat', 'coat'\] is a list: pass --multi-label"):
        read_labels(path)
    assert by_key(labels_in(read_labels(path, multi_label=True))) == {"a": "coat|hat", "b": ""}


def test_labels_of_items_may_name_many_classes() -> None:
    label_set = labels_of_items(items(("a", "hat|coat", None), ("b", None, None)), "the set", multi_label=True)
    assert labels_in(label_set) == {(None, "a"): ("coat", "hat")}


# Joining


def test_join_keeps_item_order_and_tells_what_did_not_meet() -> None:
    labels = {(None, key): (label,) for key, label in {"c": "hat", "a": "coat", "x": "hat", "y": "hat"}.items()}
    label_set = label_set_of(labels, {(None, "a"): "test", (None, "x"): "train"}, "labels.csv", "digest")
    joined = join(items(("a", None, None), ("b", None, None), ("c", None, None)), label_set)
    assert (joined.positions.tolist(), joined.labels, joined.splits) == ([0, 2], [("coat",), ("hat",)], ["test", None])
    report = joined.report
    assert replace(report, joined_digest=None) == LabelReport("labels.csv", "digest", Unmet(2, ("x", "y")), Unmet(1, ("b",)))
    assert report.warnings() == [
        "2 labels fit no item of the set, such as x, y",
        "1 items have no label and were left out, such as b",
    ]


def test_only_a_few_examples_are_kept() -> None:
    labels = {(None, f"x{i}"): ("hat",) for i in range(50)} | {(None, "a"): ("hat",)}
    unmatched = join(items(("a", None, None)), label_set_of(labels, {}, "labels.csv")).report.unmatched
    assert (unmatched.count, unmatched.examples) == (50, ("x0", "x1", "x2"))


def test_a_label_goes_to_its_corpus_and_one_without_corpus_to_all() -> None:
    table = pa.concat_tables([items(("a", None, None), ("b", None, None), corpus=name) for name in ("one", "two")])
    labels: dict[ItemKey, Label] = {(None, "a"): ("any",), ("two", "b"): ("second",), ("three", "b"): ("nowhere",)}
    splits: dict[ItemKey, str] = {(None, "a"): "train", ("two", "a"): "test"}
    joined = join(table, label_set_of(labels, splits, "labels.csv"))
    assert joined.positions.tolist() == [0, 2, 3]
    assert joined.labels == [("any",), ("any",), ("second",)]
    assert joined.splits == ["train", "test", None]
    assert joined.report.unmatched == Unmet(1, ("b (corpus three)",))
    assert joined.report.unlabelled == Unmet(1, ("b (corpus one)",))
    assert joined.report.shared == 1
    assert joined.report.warnings()[-1] == "1 labels without corpus fit items of several corpora and were given to all of them"


def test_a_label_with_corpus_goes_before_one_without() -> None:
    table = pa.concat_tables([items(("a", None, None), corpus=name) for name in ("one", "two")])
    joined = join(table, label_set_of({(None, "a"): ("any",), ("two", "a"): ("mine",)}, {}, "labels.csv"))
    assert joined.labels == [("any",), ("mine",)]
    assert (joined.report.unmatched.count, joined.report.shared) == (0, 0)


def test_labels_that_fit_nothing_are_told_with_a_key_of_either_side() -> None:
    with pytest.raises(
        UsageError, match=r"none of the 1 labels in labels.csv fits any of the 1 items: .*'a/b.jpg', the labels like 'b.jpg'"
    ):
        join(items(("a/b.jpg", None, None)), label_set_of({(None, "b.jpg"): ("hat",)}, {}, "labels.csv"))


def test_labels_for_another_corpus_are_told_by_its_name() -> None:
    with pytest.raises(UsageError, match="the labels are for the corpus elsewhere, and the set holds photos"):
        join(items(("a.jpg", None, None), corpus="photos"), label_set_of({("elsewhere", "a.jpg"): ("hat",)}, {}, "labels.csv"))


def test_an_empty_set_or_label_set_fits_nothing() -> None:
    with pytest.raises(UsageError, match=r"\(none\)"):
        join(items(), label_set_of({(None, "b.jpg"): ("hat",)}, {}, "labels.csv"))
    with pytest.raises(UsageError, match=r"there is no label in labels\.csv: it has no rows"):
        join(items(("a", None, None)), label_set_of({}, {}, "labels.csv"))


def test_an_empty_text_names_no_file(separable_set: str) -> None:
    with pytest.raises(UsageError, match="the label file is an empty text"):
        labels_for(storage.open(separable_set), "")
