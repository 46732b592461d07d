from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import DamagedError, DriftError
from storage.golden import MIN_COSINE, GoldenImages, cosines, no_golden_images, read_golden, require_no_drift, write_golden

SHAPES = st.sampled_from([(1,), (5,), (2, 2, 3)])
FLOATS = st.floats(-1000, 1000, width=16)


@st.composite
def arrays(draw: st.DrawFn) -> npt.NDArray[np.float32]:
    shape = (draw(st.integers(1, 4)), *draw(SHAPES))
    size = int(np.prod(shape))
    return np.array(draw(st.lists(FLOATS, min_size=size, max_size=size)), np.float32).reshape(shape)


def golden(shape: tuple[int, ...] = (4,), dtype: str = "float32") -> GoldenImages:
    values = np.random.default_rng(1).standard_normal((3, *shape)).astype(dtype)
    return GoldenImages(("a.png", "b.jpg", "ü.png"), (b"one", b"\0two", b"three" * 1000), values)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("shape", [(4,), (2, 2, 3)])
def test_golden_images_come_back_bit_for_bit(tmp_path: Path, shape: tuple[int, ...], dtype: str) -> None:
    written = golden(shape, dtype)
    again = read_golden(write_golden(written, tmp_path), tmp_path, shape, dtype)
    assert (again.names, again.images) == (written.names, written.images)
    assert (again.embeddings.shape, again.embeddings.dtype) == (written.embeddings.shape, written.embeddings.dtype)
    assert again.embeddings.tobytes() == written.embeddings.tobytes()


def test_all_views_of_a_golden_image_are_kept_and_the_image_once(tmp_path: Path) -> None:
    values = np.random.default_rng(1).standard_normal((6, 4)).astype(np.float32)
    written = GoldenImages(("a.png", "b.jpg"), (b"one", b"two" * 1000), values)
    assert written.views == 3
    entry = write_golden(written, tmp_path)
    again = read_golden(entry, tmp_path, (4,), "float32")
    assert (again.names, again.images, again.views) == (written.names, written.images, 3)
    np.testing.assert_array_equal(again.embeddings, values)
    np.testing.assert_array_equal(again.plain.embeddings, values[::3])
    table = pq.read_table(tmp_path / entry.path)
    assert table["view"].to_pylist() == [0, 1, 2] * 2
    assert table["image"].null_count == 4


def test_the_calibrated_network_of_an_int8_space_stands_with_them(tmp_path: Path) -> None:
    written = replace(golden(), quantized=b"scales of activations")
    again = read_golden(write_golden(written, tmp_path), tmp_path, (4,), "float32")
    assert (again.quantized, again.names, again.images) == (b"scales of activations", written.names, written.images)
    assert np.array_equal(again.embeddings, written.embeddings)
    assert read_golden(write_golden(golden(), tmp_path), tmp_path, (4,), "float32").quantized is None


def test_drift_of_any_view_names_its_image() -> None:
    values = np.random.default_rng(1).standard_normal((6, 4)).astype(np.float32)
    drifted = values.copy()
    drifted[4] *= -1
    with pytest.raises(DriftError, match=r"golden image 'b\.jpg' with cosine -1"):
        require_no_drift(GoldenImages(("a.png", "b.jpg"), (b"one", b"two"), values), drifted, "float32", "here")


@pytest.mark.parametrize(("precision", "angle"), [("float32", 0.003), ("bfloat16", 0.13), ("float16", 0.13)])
def test_fewer_bits_may_drift_further(precision: str, angle: float) -> None:
    turned = np.array([[np.cos(angle), np.sin(angle)]], np.float32)
    first = GoldenImages(("a.png",), (b"one",), np.array([[1, 0]], np.float32))
    require_no_drift(first, turned, precision, "here")
    with pytest.raises(DriftError, match=f"{precision} features need at least"):
        require_no_drift(first, turned * [1, 2], precision, "here")


def test_no_golden_images_are_a_file_without_rows(tmp_path: Path) -> None:
    entry = write_golden(no_golden_images((2, 3), "float16"), tmp_path)
    again = read_golden(entry, tmp_path, (2, 3), "float16")
    assert (entry.rows, again.names, again.images) == (0, (), ())
    assert (again.embeddings.shape, again.embeddings.dtype) == ((0, 2, 3), np.float16)


def test_equal_golden_images_are_one_file(tmp_path: Path) -> None:
    assert write_golden(golden(), tmp_path) == write_golden(golden(), tmp_path)
    assert len(list((tmp_path / "golden").iterdir())) == 1


def test_the_file_can_be_read_by_other_tools(tmp_path: Path) -> None:
    table = pq.read_table(tmp_path / write_golden(golden(), tmp_path).path)
    assert table["name"].to_pylist() == ["a.png", "b.jpg", "ü.png"]
    assert table["image"].to_pylist()[1] == b"\0two"


def test_missing_golden_images_are_damage_and_named(tmp_path: Path) -> None:
    entry = write_golden(golden(), tmp_path)
    (tmp_path / entry.path).unlink()
    with pytest.raises(DamagedError, match=entry.path):
        read_golden(entry, tmp_path, (4,), "float32")


@pytest.mark.parametrize(("shape", "dtype"), [((5,), "float32"), ((4,), "float16"), ((2,), "float32")])
def test_golden_images_of_another_shape_are_damage_and_named(tmp_path: Path, shape: tuple[int, ...], dtype: str) -> None:
    entry = write_golden(golden(), tmp_path)
    with pytest.raises(DamagedError, match=entry.path):
        read_golden(entry, tmp_path, shape, dtype)


@given(values=arrays())
def test_the_cosine_of_a_row_with_itself_is_one(values: npt.NDArray[np.float32]) -> None:
    np.testing.assert_allclose(cosines(values, values), 1.0, atol=1e-9)


@given(values=arrays(), factor=st.floats(0.01, 100))
def test_the_cosine_does_not_depend_on_scale(values: npt.NDArray[np.float32], factor: float) -> None:
    np.testing.assert_allclose(cosines(values, values.astype(np.float64) * factor), 1.0, atol=1e-9)


@given(values=arrays())
def test_the_cosine_with_the_opposite_is_minus_one_and_one_for_zeros(values: npt.NDArray[np.float32]) -> None:
    zero = ~values.reshape(len(values), -1).any(axis=1)
    np.testing.assert_allclose(cosines(values, -values), np.where(zero, 1.0, -1.0), atol=1e-9)


@given(a=arrays(), seed=st.integers(0, 99))
def test_cosines_lie_between_minus_one_and_one_and_are_symmetric(a: npt.NDArray[np.float32], seed: int) -> None:
    b = np.random.default_rng(seed).standard_normal(a.shape)
    values = cosines(a, b)
    assert values.shape == (len(a),)
    assert (np.abs(values) <= 1 + 1e-9).all()
    np.testing.assert_allclose(values, cosines(b, a))


def test_zero_rows_count_as_equal_and_a_zero_with_another_as_nothing() -> None:
    a = np.array([[0, 0], [0, 0], [1, 0]], np.float16)
    b = np.array([[0, 0], [0, 1], [0, 0]], np.float16)
    assert cosines(a, b).tolist() == [1, 0, 0]


def test_the_largest_float16_does_not_overflow() -> None:
    values = np.full((1, 2048), 65504, np.float16)
    np.testing.assert_allclose(cosines(values, values), 1.0)


@given(precision=st.sampled_from(sorted(MIN_COSINE)), values=arrays())
def test_equal_embeddings_are_no_drift(precision: str, values: npt.NDArray[np.float32]) -> None:
    require_no_drift(GoldenImages(("n",) * len(values), (b"",) * len(values), values), values.copy(), precision, "here")


def test_noise_within_the_tolerance_is_no_drift() -> None:
    images = golden((512,))
    noise = np.random.default_rng(2).standard_normal(images.embeddings.shape).astype(np.float32)
    require_no_drift(images, np.add(images.embeddings, 0.003 * noise), "float32", "here")


def test_drift_names_the_worst_image_the_place_and_a_way_out() -> None:
    images = golden((512,))
    noise = np.random.default_rng(2).standard_normal(images.embeddings.shape).astype(np.float32)
    strength = np.array([[0.001], [0.05], [0.01]], np.float32)
    with pytest.raises(DriftError, match=r"gpu-7 embeds golden image 'b\.jpg' with cosine 0\.99.*at least 0\.99999.*a new set"):
        require_no_drift(images, np.add(images.embeddings, strength * noise), "float32", "gpu-7")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_embedding_that_is_not_finite_is_drift(bad: float) -> None:
    images = golden()
    embedded = images.embeddings.copy()
    embedded[1, 2] = bad
    with np.errstate(invalid="ignore"), pytest.raises(DriftError, match=r"b\.jpg"):
        require_no_drift(images, embedded, "float32", "here")


def test_a_zero_embedding_is_drift() -> None:
    images = golden()
    with pytest.raises(DriftError):
        require_no_drift(images, np.zeros_like(images.embeddings), "float32", "here")


def test_embeddings_in_another_order_are_drift() -> None:
    images = golden()
    with pytest.raises(DriftError):
        require_no_drift(images, images.embeddings[::-1], "float32", "here")


def test_maps_are_compared_as_a_whole() -> None:
    images = golden((2, 2, 3))
    require_no_drift(images, images.embeddings, "float32", "here")
    with pytest.raises(DriftError):
        require_no_drift(replace(images, embeddings=images.embeddings), images.embeddings[:, ::-1], "float32", "here")
