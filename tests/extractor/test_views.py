"""How views are written, and the geometry of crops."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from extractor.image_policy import _TRANSPOSES, _dct_exponent
from extractor.recipe import Recipe
from extractor.views import MAX_VIEWS, Crop, Frame, ViewPolicy, parse_view, plan_cuts, random_crop
from storage.errors import UsageError

DEFAULT = parse_view("crop").crop
NO_VIEWS = [
    "plain",
    "mirror",
    "Flip",
    "flip:0.5-1",
    "crop:",
    "crop:a-b",
    "crop:0.5",
    "crop:0-1",
    "crop:-1-1",
    "crop:1e-9-1",
    "crop:0.5-1.1",
    "crop:0.9-0.5",
    "crop:nan-1",
    "crop:0.5-1:0-1",
    "crop:0.5-1:1-11",
    "crop:0.5-1:1-1:1-1",
]
SIDES = st.integers(1, 4000)
DIGESTS = st.binary(min_size=32, max_size=32)
SEEDS = st.integers(0, 2**31 - 1)


@st.composite
def ranges(draw: st.DrawFn, low: float, high: float) -> tuple[float, float]:
    a, b = draw(st.floats(low, high)), draw(st.floats(low, high))
    return min(a, b), max(a, b)


CROPS = st.builds(Crop, ranges(0.01, 1.0), ranges(0.1, 10.0))


def views_of(*texts: str, seed: int = 0) -> ViewPolicy:
    return ViewPolicy(tuple(map(parse_view, texts)), seed)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("flip", "flip"),
        ("crop", "crop:0.35-1:0.75-1.33333"),
        ("flip-crop", "flip-crop:0.35-1:0.75-1.33333"),
        ("crop:0.5-1", "crop:0.5-1:0.75-1.33333"),
        ("crop:.08-1.0:1-1", "crop:0.08-1:1-1"),
        ("flip-crop:0.25-0.3333333333", "flip-crop:0.25-0.333333:0.75-1.33333"),
    ],
)
def test_a_view_is_stored_with_all_its_numbers(text: str, canonical: str) -> None:
    assert str(parse_view(text)) == canonical
    assert parse_view(canonical) == parse_view(text)


@pytest.mark.parametrize("text", ["", "crop 0.5-1", *NO_VIEWS])
def test_what_is_no_view_is_refused_in_words(text: str) -> None:
    with pytest.raises(UsageError, match="--views"):
        parse_view(text)


def test_the_plain_image_needs_no_mention() -> None:
    with pytest.raises(UsageError, match="the plain image is always there, as view 0"):
        Recipe("mobilenet", views=("plain", "flip"))


def test_a_recipe_takes_views_as_a_list_or_as_text_and_keeps_them_in_full() -> None:
    recipe = Recipe("mobilenet", views="flip,crop,crop:0.5-1", view_seed=7)  # type: ignore[arg-type]
    assert recipe == Recipe("mobilenet", views=("flip", "crop", "crop:0.5-1"), view_seed=7)
    assert recipe.views == ("flip", "crop:0.35-1:0.75-1.33333", "crop:0.5-1:0.75-1.33333")
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    assert (recipe.view_policy.count, recipe.view_policy.seed) == (4, 7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"views": ("flip", "crop", "flip")}, "names flip twice"),
        ({"views": ("crop",) * (MAX_VIEWS + 1)}, f"at most {MAX_VIEWS}"),
        ({"views": ("crop",), "view_seed": -1}, "--view-seed must be from 0"),
        ({"views": ("crop",), "view_seed": 1.5}, "view_seed must be"),
        ({"views": ("flip",), "view_seed": 1}, "--views names none"),
        ({"view_seed": 1}, "--views names none"),
    ],
)
def test_views_that_cannot_be_meant_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Recipe("mobilenet", **options)


@settings(deadline=None, max_examples=300)
@given(CROPS, SEEDS, st.integers(1, MAX_VIEWS), DIGESTS, SIDES, SIDES)
def test_a_crop_is_inside_and_of_the_area_and_ratio_that_are_asked_for(
    crop: Crop, seed: int, number: int, digest: bytes, width: int, height: int
) -> None:
    left, top, right, bottom = random_crop(crop, seed, number, digest, width, height)
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    across, down = right - left, bottom - top
    # Both sides are rounded to pixels, so a ratio may lie that much outside; and there is no side of less than one.
    assert (across + 0.5) / (down - 0.5) >= crop.ratio[0] or down == 1
    assert (across - 0.5) / (down + 0.5) <= crop.ratio[1] or across == 1
    in_the_middle = abs((left + right) - width) <= 1 and abs((top + bottom) - height) <= 1 and (across == width or down == height)
    assert in_the_middle or crop.area[0] * width * height <= (across + 0.5) * (down + 0.5)
    assert in_the_middle or crop.area[1] * width * height >= (across - 0.5) * (down - 0.5)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 4000), (4000, 1), (3, 100)])
def test_a_strip_gets_the_largest_crop_in_its_middle(width: int, height: int) -> None:
    left, top, right, bottom = random_crop(Crop((1.0, 1.0), (0.75, 4 / 3)), 0, 1, b"d" * 32, width, height)
    assert (right - left, bottom - top) == (min(width, max(1, round(height * 4 / 3))), min(height, max(1, round(width / 0.75))))
    assert abs(left + right - width) <= 1
    assert abs(top + bottom - height) <= 1


def test_draws_are_spread_over_their_ranges_and_the_places_over_the_image() -> None:
    """As torchvision's: uniform area, uniform logarithm of the ratio, uniform place among those that fit."""
    crop = Crop((0.1, 0.5), (0.5, 2.0))
    boxes = np.array([random_crop(crop, 0, 1, hashlib.sha256(bytes([i % 256, i // 256])).digest(), 1000, 1000) for i in range(4000)])
    across, down = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    # Ratios that do not fit are drawn again: of squares up to half of the image in area with ratios up to 2, all fit.
    for share in (
        (across * down / 1e6 - 0.1) / 0.4,
        np.log2(across / down) / 2 + 0.5,
        boxes[:, 0] / (1000 - across + 1),
        boxes[:, 1] / (1000 - down + 1),
    ):
        counts, _ = np.histogram(share, bins=10, range=(0, 1))
        assert np.abs(counts / len(share) - 0.1).max() < 0.025


def test_seed_number_and_image_each_decide_the_crop_and_nothing_else_does() -> None:
    assert DEFAULT is not None
    known = random_crop(DEFAULT, 0, 1, b"a" * 32, 640, 480)
    assert known == (29, 68, 417, 407)  # never to change: stored embeddings depend on it
    others = [(1, 1, b"a" * 32), (0, 2, b"a" * 32), (0, 1, b"b" * 32)]
    assert len({known, *(random_crop(DEFAULT, *other, 640, 480) for other in others)}) == 4


@given(st.integers(1, 8), st.integers(1, 40), st.integers(1, 40), DIGESTS)
def test_a_box_of_the_stored_image_shows_what_the_one_of_the_upright_image_does(
    orientation: int, width: int, height: int, digest: bytes
) -> None:
    stored = Image.fromarray(np.arange(width * height, dtype=np.int32).reshape(height, width))
    policy = views_of("crop:0.1-0.6")
    [box] = plan_cuts(policy, digest, Frame(width, height, orientation), 1, 0).boxes

    def turned(image: Image.Image) -> Image.Image:
        for transpose in _TRANSPOSES.get(orientation, ()):
            image = image.transpose(transpose)
        return image

    upright = turned(stored)
    crop = policy.views[0].crop
    assert crop is not None
    expected = upright.crop(random_crop(crop, 0, 1, digest, *upright.size))
    np.testing.assert_array_equal(np.asarray(turned(stored.crop(box))), np.asarray(expected))


def smallest(boxes: Sequence[tuple[int, int, int, int]]) -> int:
    return min(min(right - left, bottom - top) for left, top, right, bottom in boxes)


@given(st.integers(32, 300), st.integers(1, 3), st.integers(0, 3000), st.integers(0, 3000), DIGESTS)
def test_the_default_crops_never_need_a_second_decode(size: int, scale: int, more: int, still_more: int, digest: bytes) -> None:
    frame = Frame((2 * size << scale) + more, (2 * size << scale) + still_more)
    dct = _dct_exponent(frame.width, frame.height, size)
    assert plan_cuts(views_of("crop", "flip-crop", "crop"), digest, frame, size, dct).dct == dct >= 1


@given(st.integers(32, 300), CROPS, st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 8), DIGESTS)
def test_no_crop_is_enlarged_where_the_file_has_the_pixels(
    size: int, crop: Crop, width: int, height: int, orientation: int, digest: bytes
) -> None:
    frame, policy = Frame(width, height, orientation), views_of(f"crop:{crop.area[0]:g}-{crop.area[1]:g}", "flip")
    dct = _dct_exponent(width, height, size)
    cuts = plan_cuts(policy, digest, frame, size, dct)
    whole = plan_cuts(policy, digest, frame, size, 0)
    assert 0 <= cuts.dct <= dct
    assert smallest(cuts.boxes) >= min(size, smallest(whole.boxes))
    for left, top, right, bottom in cuts.boxes:
        assert 0 <= left < right <= math.ceil(width / 2**cuts.dct)
        assert 0 <= top < bottom <= math.ceil(height / 2**cuts.dct)
    if cuts.dct < dct:  # the next smaller decode would not have done
        assert smallest(whole.boxes) / 2 ** (cuts.dct + 1) <= size + 1
