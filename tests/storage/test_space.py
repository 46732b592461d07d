from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from storage.errors import DamagedError, SpaceMismatchError
from storage.space import Space, differing_fields, require_same_space

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SPACES = st.builds(
    Space,
    graph=TEXT,
    weights=TEXT,
    layer=TEXT,
    pooling=st.sampled_from(["avg", "max", "none"]),
    input_size=st.integers(1, 4096),
    image_policy=TEXT,
    preprocessing=TEXT,
    precision=TEXT,
    dtype=st.sampled_from(["float16", "float32"]),
    views=st.lists(TEXT, max_size=3).map(tuple),
    view_seed=st.none() | st.integers(0, 9),
    quantization=st.none() | TEXT,
)
OTHER: dict[str, Any] = {
    "graph": "c" * 64,
    "weights": "d" * 64,
    "layer": "conv5",
    "pooling": "max",
    "input_size": 256,
    "image_policy": "image-v2",
    "preprocessing": "tf",
    "precision": "bfloat16",
    "dtype": "float32",
    "views": ("plain", "flip"),
    "view_seed": 7,
    "quantization": "int8",
}


def test_the_table_of_changes_has_every_field() -> None:
    assert list(OTHER) == [field.name for field in fields(Space)]


def test_the_id_of_a_space_without_views_stays_what_it_was(make_space: Callable[..., Space]) -> None:
    assert make_space().id == "f0e369aa57ba806a08bc42eac43e174e7cae0753a89b06e2ac4540aec297574f"


def test_the_plain_space_is_that_of_view_0(make_space: Callable[..., Space]) -> None:
    viewed = make_space(views=("plain", "flip", "crop:0.5-1:1-1"), view_seed=3)
    assert viewed.id != make_space().id
    assert viewed.plain == make_space() == make_space().plain


@pytest.mark.parametrize("field", OTHER)
def test_the_id_depends_on_every_field(make_space: Callable[..., Space], field: str) -> None:
    assert make_space(**{field: OTHER[field]}).id != make_space().id


@pytest.mark.parametrize("field", OTHER)
def test_a_differing_field_is_named(make_space: Callable[..., Space], field: str) -> None:
    assert differing_fields(make_space(), make_space(**{field: OTHER[field]})) == [field]


def test_the_order_of_views_is_part_of_the_id(make_space: Callable[..., Space]) -> None:
    assert make_space(views=("plain", "flip")).id != make_space(views=("flip", "plain")).id


def test_the_id_of_a_known_space_never_changes(make_space: Callable[..., Space]) -> None:
    """Sets on disk carry this id: a change of the canonical JSON would make all of them unreadable."""
    assert make_space().id == "f0e369aa57ba806a08bc42eac43e174e7cae0753a89b06e2ac4540aec297574f"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"views": ("plain", "flip", "crop:0.4-1:1-2", "flip")}, "ours has 3 (2 crop:0.5-1:1-1), yours 4 (2 crop:0.4-1:1-2, 3 flip)"),
        ({"views": ("plain", "flip")}, "views: ours has 3 (2 crop:0.5-1:1-1), yours 2"),
        ({"weights": "0123456789abcdef" * 4}, "weights: ours has w, yours 0123456789ab…\n"),
        ({"weights": "stated:" + "0123456789abcdef" * 4}, "weights: ours has w, yours stated:0123456789ab…\n"),
        ({"layer": "a_layer_of_a_network_of_networks" * 4}, f"layer: ours has l, yours {'a_layer_of_a_network_of_networks' * 4}\n"),
    ],
)  # fmt: skip
def test_what_differs_is_shown_and_nothing_of_it_cut_off(make_space: Callable[..., Space], change: dict[str, Any], said: str) -> None:
    ours = make_space(views=("plain", "flip", "crop:0.5-1:1-1"), view_seed=3, weights="w", layer="l")
    with pytest.raises(SpaceMismatchError) as caught:
        require_same_space(ours, replace(ours, **change), "ours", "yours", "a way out")
    assert said in str(caught.value)


@given(space=SPACES)
def test_an_id_is_a_hex_sha256(space: Space) -> None:
    assert re.fullmatch("[0-9a-f]{64}", space.id)


@given(a=SPACES, b=SPACES)
def test_ids_are_equal_only_for_equal_spaces(a: Space, b: Space) -> None:
    assert (a.id == b.id) == (a == b) == (not differing_fields(a, b))


@given(space=SPACES)
def test_a_space_comes_back_from_its_json(space: Space) -> None:
    again = Space.from_dict(json.loads(json.dumps(space.to_dict())))
    assert again == space
    assert again.id == space.id


@pytest.mark.parametrize("field", OTHER)
def test_a_missing_field_is_named(make_space: Callable[..., Space], field: str) -> None:
    value = make_space().to_dict()
    del value[field]
    with pytest.raises(DamagedError, match=rf"missing or unknown: \['{field}'\]"):
        Space.from_dict(value)


def test_an_unknown_field_is_named(make_space: Callable[..., Space]) -> None:
    with pytest.raises(DamagedError, match="engine"):
        Space.from_dict({**make_space().to_dict(), "engine": "xla"})


def test_equal_spaces_pass(make_space: Callable[..., Space]) -> None:
    require_same_space(make_space(), make_space(), "the set", "this run", "way out")


def test_a_mismatch_names_each_field_with_both_values_and_the_way_out(make_space: Callable[..., Space]) -> None:
    other = make_space(input_size=256, preprocessing="tf")
    with pytest.raises(SpaceMismatchError) as caught:
        require_same_space(make_space(), other, "the set", "this run", "choose another set")
    text = str(caught.value)
    assert "differ in input_size, preprocessing" in text
    assert "input_size: the set has 224, this run 256" in text
    assert "preprocessing: the set has caffe, this run tf" in text
    assert text.endswith("choose another set")


def test_a_mismatch_shortens_digests(make_space: Callable[..., Space]) -> None:
    with pytest.raises(SpaceMismatchError, match=r"b{12}…, this run d{12}…"):
        require_same_space(make_space(), make_space(weights="d" * 64), "the set", "this run", "")


@given(a=SPACES, b=SPACES)
def test_two_spaces_never_pass_as_one(a: Space, b: Space) -> None:
    assume(a != b)
    with pytest.raises(SpaceMismatchError):
        require_same_space(a, b, "a", "b", "")


@given(space=SPACES, seed=st.integers(10, 20))
def test_the_seed_of_the_views_is_part_of_the_id(space: Space, seed: int) -> None:
    assert replace(space, view_seed=seed).id != space.id
