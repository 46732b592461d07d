"""The pixels of views: one contract for both decoders, and for images in any order and company."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from extractor import image_policy
from extractor.image_policy import HEADER_SIGNATURE, Decoder, decode_in_graph, read_header
from extractor.image_policy_table import IMAGE_POLICIES
from extractor.input_kind import InputKind
from extractor.limits import MAX_PIXELS
from extractor.pipeline import DecodePipeline
from extractor.views import PLAIN, ViewPolicy, parse_view, random_crop

pytestmark = pytest.mark.slow

SIZE = 32
VIEWS = ViewPolicy(tuple(map(parse_view, ("flip", "crop", "flip-crop", "crop:0.02-0.05"))), seed=3)
Pixels = npt.NDArray[np.uint8]
Photo = Callable[..., Pixels]
Encode = Callable[..., bytes]
Decode = Callable[..., Pixels]


def in_graph(encoded: bytes, policy: str, views: ViewPolicy = VIEWS) -> Pixels:
    graph = tf.function(
        lambda encoded, *header: decode_in_graph(encoded, header, SIZE, policy, MAX_PIXELS, views),
        input_signature=[tf.TensorSpec((), tf.string), *HEADER_SIGNATURE],
    )
    return np.asarray(graph(encoded, *read_header(encoded, SIZE, policy, views=views).values()).numpy())


def with_pillow(encoded: bytes, policy: str, views: ViewPolicy = VIEWS) -> Pixels:
    return image_policy.decode_with_pillow(encoded, SIZE, policy, views=views)


@pytest.fixture(params=[in_graph, with_pillow])
def decode(request: pytest.FixtureRequest) -> Decode:
    found: Decode = request.param
    return found


@pytest.fixture(params=IMAGE_POLICIES)
def policy(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def difference(a: npt.NDArray[np.generic], b: npt.NDArray[np.generic]) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max())


def test_view_0_is_the_plain_image_to_the_bit_and_flips_mirror_it(decode: Decode, policy: str, photo: Photo, encode: Encode) -> None:
    for encoded in (encode(photo(300, 200), "JPEG"), encode(photo(90, 120), "PNG")):
        plain, flipped, *_ = decode(encoded, policy)
        [alone] = decode(encoded, policy, PLAIN)
        np.testing.assert_array_equal(plain, alone)
        np.testing.assert_array_equal(flipped, alone[:, ::-1])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_crops_are_cut_from_the_upright_image_and_resized_as_it_is(decode: Decode, orientation: int, photo: Photo, encode: Encode) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    encoded = encode(photo(60, 50), "JPEG", exif=exif, quality=95)  # too small for a DCT scale
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(encoded)))
    digest = hashlib.sha256(encoded).digest()
    found = decode(encoded, "image-v1")
    for number, view in enumerate(VIEWS.views, 1):
        if view.crop:
            box = random_crop(view.crop, VIEWS.seed, number, digest, *upright.size)
            expected = np.asarray(upright.crop(box).resize((SIZE, SIZE), Image.Resampling.BILINEAR))
            assert difference(found[number], expected[:, ::-1] if view.flip else expected) <= 1


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
@pytest.mark.parametrize(("height", "width"), [(61, 97), (200, 300), (777, 501), (1200, 1600)])
def test_the_two_decoders_agree_within_one_grey_level(
    policy: str, height: int, width: int, options: dict[str, object], photo: Photo, encode: Encode
) -> None:
    encoded = encode(photo(height, width), "JPEG", **options)
    assert read_header(encoded, SIZE, policy, views=VIEWS).decoder == Decoder.TENSORFLOW
    assert difference(in_graph(encoded, policy), with_pillow(encoded, policy)) <= 1


def test_a_small_crop_of_a_large_jpeg_has_the_detail_that_the_file_has(decode: Decode, photo: Photo, encode: Encode) -> None:
    """At the DCT scale of view 0 (64 pixels of 512) a crop of 2 to 5% would be 9 to 14 pixels wide."""
    pixels = photo(512, 512, noise=60)
    encoded = encode(pixels, "JPEG", quality=98)
    header = read_header(encoded, SIZE, views=VIEWS)
    assert header.dct == 3
    assert header.cuts.dct < 2
    crop = VIEWS.views[3].crop
    assert crop is not None
    box = random_crop(crop, VIEWS.seed, 4, hashlib.sha256(encoded).digest(), 512, 512)
    whole = Image.open(io.BytesIO(encoded)).convert("RGB")
    expected = np.asarray(whole.crop(box).resize((SIZE, SIZE), Image.Resampling.BILINEAR), float)
    found = decode(encoded, "image-v1")[4].astype(float)
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.98


def test_large_images_are_decoded_alone_with_their_views(photo: Photo, encode: Encode, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = encode(photo(200, 300), "JPEG")
    expected = in_graph(encoded, "image-v1")
    monkeypatch.setattr("extractor.image_policy.ALONE_PIXELS", 1000)
    assert read_header(encoded, SIZE, views=VIEWS).decoder == Decoder.TENSORFLOW_ALONE
    np.testing.assert_array_equal(in_graph(encoded, "image-v1"), expected)


def test_the_larger_decode_of_crops_counts_for_memory(photo: Photo, encode: Encode, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = encode(photo(512, 512), "JPEG")
    monkeypatch.setattr("extractor.image_policy.ALONE_PIXELS", 512 * 512 // 8)
    assert [read_header(encoded, SIZE, views=views).decoder for views in (PLAIN, VIEWS)] == [Decoder.TENSORFLOW, Decoder.TENSORFLOW_ALONE]


def images_by_digest(paths: Sequence[Path], batch_size: int, threads: int) -> dict[bytes, bytes]:
    pipeline = DecodePipeline([str(path) for path in paths], lambda d: [True] * len(d), [InputKind(SIZE, views=VIEWS)], batch_size, threads)
    found = {}
    for positions, [images] in pipeline.batches():
        assert images.shape == (len(positions) * VIEWS.count, SIZE, SIZE, 3)
        assert len(positions) <= batch_size
        for position, of_image in zip(positions, images.numpy().reshape(len(positions), VIEWS.count, -1), strict=True):
            digest = pipeline.outcomes.digests[position]
            assert digest is not None
            found[digest] = of_image.tobytes()
    return found


def test_views_depend_on_the_image_alone(tmp_path: Path, photo: Photo, encode: Encode) -> None:
    paths = [tmp_path / f"{i}.{'png' if i % 3 else 'jpg'}" for i in range(13)]
    for i, path in enumerate(paths):
        path.write_bytes(encode(photo(70 + 30 * i, 100, seed=i), "PNG" if i % 3 else "JPEG"))
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(paths[0].read_bytes()[:2000])
    first = images_by_digest(paths, 4, 1)
    assert len(first) == 13
    for batch_size, threads in ((1, 2), (5, 2), (10, 1), (64, 2)):
        assert images_by_digest([broken, *reversed(paths)], batch_size, threads) == first
