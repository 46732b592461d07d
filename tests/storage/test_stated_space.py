from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.errors import NotFoundError, UsageError
from storage.space import Space, differing_fields
from storage.stated_space import read_space, require_rebuildable, state_space

CLIP = {"model": "clip ViT-B/32", "weights": "openai", "preprocessing": {"resize": 224, "crop": "centre"}}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@settings(max_examples=10)
@given(statement=st.dictionaries(st.text() | st.sampled_from(["weights", "layer", "pooling"]), VALUES, min_size=1, max_size=4))
def test_a_statement_is_a_space_of_its_own_whatever_its_order(statement: dict[str, Any]) -> None:
    space = state_space(statement, "float16")
    assert space == state_space(dict(reversed(statement.items())), "float16") == Space.from_dict(space.to_dict())
    assert space.graph.startswith("stated:")  # a built graph is a plain sha256 in hex
    assert space != state_space({**statement, "one more": 1}, "float16")


@pytest.mark.parametrize(
    ("change", "fields"),
    [({"weights": "laion"}, ["weights"]), ({"model": "ViT-L/14"}, ["graph"]), ({"preprocessing": {"resize": 256}}, ["preprocessing"])],
)
def test_the_fields_that_differ_can_be_named(change: dict[str, Any], fields: list[str]) -> None:
    assert differing_fields(state_space(CLIP, "float16"), state_space({**CLIP, **change}, "float16")) == fields


def test_exactly_the_fields_of_a_space_are_that_space(make_space: Callable[..., Space], tmp_path: Path) -> None:
    space = make_space()
    (tmp_path / "space.json").write_text(json.dumps(space.to_dict()))
    assert read_space(tmp_path / "space.json", "float32")[0] == space


@pytest.mark.parametrize("content", ["", "[]", "7", "{}", "{", "\xff"])
def test_what_states_nothing_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "space.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(UsageError):
        read_space(tmp_path / "space.json", "float16")


@pytest.mark.parametrize("change", [{"dtype": "int8"}, {"views": 7}])
def test_fields_of_a_space_that_cannot_be_are_refused(make_space: Callable[..., Space], tmp_path: Path, change: dict[str, Any]) -> None:
    (tmp_path / "space.json").write_text(json.dumps({**make_space().to_dict(), **change}))
    with pytest.raises(UsageError, match=r"space\.json"):
        read_space(tmp_path / "space.json", "float16")


def test_a_missing_statement_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no statement of a space at"):
        read_space(tmp_path / "space.json", "float16")


def test_a_network_that_is_only_stated_cannot_be_rebuilt(tmp_path: Path) -> None:
    (tmp_path / "space.json").write_text(json.dumps(CLIP))
    _, backbone = read_space(tmp_path / "space.json", "float16")
    with pytest.raises(UsageError, match=r"features were imported, and their network is only stated .*weights openai"):
        require_rebuildable(backbone)
    require_rebuildable({"name": "resnet50", "weights": "imagenet"})
