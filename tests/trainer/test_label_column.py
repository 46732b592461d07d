from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import UsageError
from trainer.label_column import Label, LabelColumn, require_two_classes

NAMES = st.sampled_from(["coat", "hat", "shoe", "a|b", "é"])
SINGLE = st.lists(NAMES.map(lambda name: (name,)), max_size=12)
MANY = st.lists(st.sets(NAMES, max_size=3).map(lambda names: tuple(sorted(names))), max_size=12)
LABELS = st.one_of(SINGLE, MANY)


@given(LABELS)
def test_what_goes_in_comes_out(labels: list[Label]) -> None:
    column = LabelColumn.of(labels)
    assert column.to_list() == labels == [column.label(row) for row in range(len(column))]
    assert column.names == tuple(sorted({name for label in labels for name in label}))
    assert column.counted() == dict(Counter(name for label in labels for name in label))


@given(LABELS, st.data())
def test_items_are_taken_in_any_order_and_as_often_as_asked(labels: list[Label], data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.integers(0, len(labels) - 1), max_size=20)) if labels else []
    taken = LabelColumn.of(labels).take(np.array(rows, np.int64))
    assert taken.to_list() == [labels[row] for row in rows]
    assert taken.without_unused().to_list() == taken.to_list()
    assert set(taken.without_unused().names) == {name for row in rows for name in labels[row]}


@given(LABELS, st.dictionaries(NAMES, st.sampled_from(["hat", "clothing", "zebra"])))
def test_renaming_merges(labels: list[Label], new_names: dict[str, str]) -> None:
    expected = [tuple(sorted({new_names.get(name, name) for name in label})) for label in labels]
    assert LabelColumn.of(labels).renamed(new_names).to_list() == expected


@given(LABELS, st.sets(NAMES))
def test_only_some_names_are_kept(labels: list[Label], names: set[str]) -> None:
    kept = LabelColumn.of(labels).only(names)
    assert kept.to_list() == [tuple(name for name in label if name in names) for label in labels]
    assert set(kept.names) <= names


@given(MANY)
def test_targets_of_many_classes_are_an_indicator(labels: list[Label]) -> None:
    column = LabelColumn.of(labels)
    y = column.targets(multi_label=True)
    assert (y.dtype, y.shape) == (np.uint8, (len(labels), len(column.names)))
    assert [tuple(column.names[i] for i in np.flatnonzero(row)) for row in y] == labels


def test_targets_may_be_of_other_classes() -> None:
    classes = ["tie", "hat", "shoe"]
    assert LabelColumn.of([("hat",), ("coat",), ("tie",)]).targets(False, classes).tolist() == [1, -1, 0]
    many = LabelColumn.of([("hat",), (), ("coat", "tie")])
    assert many.targets(True, classes).tolist() == [[0, 1, 0], [0, 0, 0], [1, 0, 0]]


@given(SINGLE)
def test_targets_of_one_class_are_its_number(labels: list[Label]) -> None:
    column = LabelColumn.of(labels)
    y = column.targets(multi_label=False)
    assert y.dtype == np.int64
    assert [(column.names[i],) for i in y] == labels


@given(MANY, st.data())
def test_same_compares_whole_labels(labels: list[Label], data: st.DataObject) -> None:
    if labels:
        pairs = data.draw(st.lists(st.tuples(*[st.integers(0, len(labels) - 1)] * 2), min_size=1, max_size=20))
        rows, others = np.array(pairs, np.int64).T
        assert LabelColumn.of(labels).same(rows, others).tolist() == [labels[a] == labels[b] for a, b in pairs]


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([("hat",), ("hat",)], "all 2 labelled items have the label 'hat': a head needs at least two classes"),
        ([(), ()], "all 2 labelled items have no class at all"),
        ([("coat", "hat")] * 3, "all 3 labelled items have the label 'coat' and 'hat'"),
    ],
)
def test_one_label_alone_is_told(labels: list[Label], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        require_two_classes(LabelColumn.of(labels))


@pytest.mark.parametrize("labels", [[("hat",), ("coat",)], [("hat",), ()], [("coat", "hat"), ("hat",)]])
def test_two_labels_are_enough(labels: list[Label]) -> None:
    require_two_classes(LabelColumn.of(labels))
