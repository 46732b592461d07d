from __future__ import annotations

from typing import Any

import pytest

from storage.errors import UsageError
from trainer.label_options import LabelOptions, parse_classes, parse_merges


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"missing": "drop"}, "missing labels must be one of skip, refuse; got 'drop'"),
        ({"join_by": "row"}, "joined by key or digest; got 'row'"),
        ({"classes": "hat"}, "classes must be a list of texts; got 'hat'"),
        ({"classes": ("",)}, "classes must be names"),
        ({"classes": ("hat", "hat")}, "the class 'hat' is named twice"),
        ({"merge": {"x": "hat"}}, "'x' of merge must be a list of texts; got 'hat'"),
        ({"merge": {"x": ()}}, "a merge must be a new name and old ones"),
        ({"merge": {"": ("hat",)}}, "a merge must be a new name and old ones"),
        ({"merge": {"x": ("hat",), "y": ("hat",)}}, "the class 'hat' is merged twice"),
        ({"merge": {"x": ("hat",), "y": ("x",)}}, "the class 'x' is made by one merge and merged away by another"),
        ({"merge": {"x": ("hat",)}, "classes": ("hat",)}, "the class 'hat' is merged into 'x': name that one"),
    ],
)
def test_wrong_options_are_told(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        LabelOptions(**options)


def test_a_class_may_be_merged_into_itself_and_others_into_it() -> None:
    assert LabelOptions(merge={"hat": ("hat", "cap")}, classes=("hat",)).new_names == {"hat": "hat", "cap": "hat"}


def test_classes_and_merges_as_text() -> None:
    assert parse_classes("hat, coat") == ("hat", "coat")
    assert parse_merges(["clothing = hat,coat", "x=y"]) == {"clothing": ("hat", "coat"), "x": ("y",)}


@pytest.mark.parametrize("text", ["hat", "=hat", "x=", "x=a,,b"])
def test_what_is_no_merge_is_told(text: str) -> None:
    with pytest.raises(UsageError, match=r"a merge must be NEW=OLD,OLD such as clothing=hat,coat; got"):
        parse_merges([text])


def test_two_merges_of_one_name_are_told() -> None:
    with pytest.raises(UsageError, match="two merges make the class 'x'"):
        parse_merges(["x=a", "x=b"])
