"""Which spaces lead to which without a forward pass, and that the values are those of pooling and casting."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest

from storage.derive import Derivation, derivation
from storage.golden import cosines
from storage.space import Space

MakeSpace = Callable[..., Space]
KINDS = list(product(("avg", "max", "none"), ("float16", "float32")))


def test_only_pooling_maps_and_narrowing_are_derivations(make_space: MakeSpace) -> None:
    allowed = {
        (source, target)
        for source, target in product(KINDS, KINDS)
        if derivation(make_space(pooling=source[0], dtype=source[1]), make_space(pooling=target[0], dtype=target[1]))
    }
    same = {(kind, kind) for kind in KINDS}
    narrowed = {((pooling, "float32"), (pooling, "float16")) for pooling in ("avg", "max", "none")}
    pooled = {(("none", dtype), (pooling, dtype)) for pooling in ("avg", "max") for dtype in ("float16", "float32")}
    both = {(("none", "float32"), (pooling, "float16")) for pooling in ("avg", "max")}
    assert allowed == same | narrowed | pooled | both


@pytest.mark.parametrize(
    "change", [{"weights": "c" * 64}, {"layer": "x"}, {"input_size": 96}, {"preprocessing": "tf"}, {"views": ("plain", "flip")}]
)
def test_any_other_difference_takes_the_network(make_space: MakeSpace, change: dict[str, object]) -> None:
    assert derivation(make_space(pooling="none"), make_space(**change)) is None


CROP, OTHER = "crop:0.35-1:0.75-1.33333", "crop:0.5-1:0.75-1.33333"


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        (("plain", CROP, "flip"), ("plain",), (0,)),
        (("plain", CROP, "flip"), ("plain", "flip"), (0, 2)),
        (("plain", CROP, "flip"), ("plain", CROP), (0, 1)),
        (("plain", CROP, "flip"), ("plain", CROP, "flip"), (0, 1, 2)),
        (("plain", CROP, "flip"), ("plain", "flip", CROP), None),  # a crop goes by its number
        (("plain", CROP), ("plain", OTHER), None),
        (("plain", CROP), ("plain", CROP, CROP), None),
        (("plain",), ("plain", "flip"), None),
    ],
)
def test_views_that_the_source_has_too_are_taken_from_it(
    make_space: MakeSpace, source: tuple[str, ...], target: tuple[str, ...], expected: tuple[int, ...] | None
) -> None:
    def space(views: tuple[str, ...], pooling: str) -> Space:
        return make_space(views=views, view_seed=3 if {CROP, OTHER} & set(views) else None, pooling=pooling)

    for pooling in ("avg", "none"):
        found = derivation(space(source, pooling), space(target, "avg"))
        assert (found.views if found else None) == expected


def test_crops_of_another_seed_are_others(make_space: MakeSpace) -> None:
    views = ("plain", CROP)
    assert derivation(make_space(views=views, view_seed=1), make_space(views=views, view_seed=2)) is None


@pytest.mark.parametrize("shape", [(7, 7, 32), (49, 32)])
@pytest.mark.parametrize("stored", ["float16", "float32"])
def test_pooled_values_are_within_the_tolerance_of_pooling_before_storing(shape: tuple[int, ...], stored: str) -> None:
    maps = np.abs(np.random.default_rng(0).standard_normal((20, *shape))).astype(np.float32)
    axes = tuple(range(1, maps.ndim - 1))
    for pooling, expected in (("avg", maps.mean(axis=axes)), ("max", maps.max(axis=axes))):
        derived, good = Derivation(pooling, stored).apply(maps.astype(stored))
        assert good.all()
        assert derived.dtype == np.dtype(stored)
        assert cosines(derived, expected.astype(stored)).min() >= 0.99999


def test_rows_that_the_dtype_cannot_hold_are_told() -> None:
    rows = np.array([[1.0, 2.0], [1e6, 1.0], [1e-9, 1e-9], [0.0, 0.0]], np.float32)
    _, good = Derivation(None, "float16").apply(rows)
    assert good.tolist() == [True, False, False, True]
