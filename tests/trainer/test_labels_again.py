from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from storage.errors import UsageError
from storage.names import parse_set
from trainer.fitted import FittedHead
from trainer.head_folder import _describe
from trainer.label_options import LabelOptions
from trainer.labels import join, labels_for
from trainer.labels_again import label_sets_of


def test_a_file_of_the_same_labels_gives_the_label_set_of_the_head(
    fitted_exactly: FittedHead, separable_set: str, write_csv: Callable[..., Path], tmp_path: Path
) -> None:
    fitted, feature_set, root = fitted_exactly, fitted_exactly.feature_set, parse_set(separable_set).root
    rows = [(key, label.upper()) for key, label in zip(*feature_set.columns("key", "label").to_pydict().values(), strict=True)]
    file = write_csv(["key", "label"], *reversed(rows))
    assert label_sets_of([_describe(fitted)], root, file).isdisjoint({fitted.labels.joined_digest})
    merge = {label: (label.upper(),) for label in fitted.classes}
    merged = replace(fitted, options=replace(fitted.options, labels=LabelOptions(merge=merge)))
    found = label_sets_of([_describe(merged), {"set": "x"}, {**_describe(fitted), "version": 9}], root, file)
    assert found == {fitted.labels.joined_digest}
    assert found == {join(feature_set.items, labels_for(feature_set, file, options=LabelOptions(merge=merge))).report.joined_digest}
    assert label_sets_of([_describe(merged)], tmp_path, file) == set()
    (tmp_path / "wrong.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UsageError, match="must have the columns key"):
        label_sets_of([], root, tmp_path / "wrong.csv")
