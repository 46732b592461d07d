"""What one image may cost: bombs are rejects, or images for little memory. The campaign of fuzzed files measures memory."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from extractor import image_policy
from extractor.image_policy import HEADER_SIGNATURE, Decoder, read_header
from extractor.image_size import stated_size, without_bulk
from extractor.limits import LARGEST_FILE, MAX_PIXELS, Limits, UndecodableError
from extractor.to_rgb import to_rgb
from scripts import bombs
from storage.errors import UsageError
from tests.extractor.plain import decode

Pixels = npt.NDArray[np.uint8]
Photo = Callable[..., Pixels]
_JXL = b"\0\0\0\x0cJXL \r\n\x87\n"  # the first box of a container
Encode = Callable[..., bytes]
QUICK = [
    "png-claims-much.png", "png-texts.png", "tiff-claims-much.tif", "gif-frames.gif", "gif-frames-without-an-end.gif",
    "gif-frames-that-only-one-reads.gif", "webp-claims-much.webp", "webp-frames.webp", "apng-frames.png", "ico-many-entries.ico",
    "bmp-claims-much.bmp", "jpeg-claims-much.jpg", "jpeg-scans.jpg", "jxl-claims-much.jpg",
]  # fmt: skip
TOO_LARGE = {
    "png-claims-much.png",
    "tiff-claims-much.tif",
    "webp-claims-much.webp",
    "bmp-claims-much.bmp",
    "jpeg-claims-much.jpg",
    "jpeg-scans.jpg",
    "jxl-claims-much.jpg",
}


@pytest.fixture(scope="module")
def in_graph() -> Callable[[bytes], Pixels]:
    """As the pipeline decodes, to 32 pixels."""
    signature = [tf.TensorSpec((), tf.string), *HEADER_SIGNATURE]
    graph = tf.function(lambda encoded, *header: image_policy.decode_in_graph(encoded, header, 32), input_signature=signature)

    def go(encoded: bytes) -> Pixels:
        [plain] = graph(encoded, *read_header(encoded, 32).values()).numpy()
        return np.asarray(plain)

    return go


@pytest.mark.parametrize("name", QUICK)
def test_a_bomb_is_too_large_or_cheap(name: str) -> None:
    bomb = bombs.BOMBS[name]()
    if name in TOO_LARGE:
        with pytest.raises(UndecodableError) as caught:
            decode(bomb, 32)
        assert caught.value.reason == "too-large"
        assert read_header(bomb, 32).decoder == Decoder.PILLOW  # whose errors are kept
    else:
        assert decode(bomb, 32).shape == (32, 32, 3)


def test_a_small_tiff_with_a_large_tile_is_too_large() -> None:
    assert decode(bombs.tiff(8, 8, (16, 16), bombs._zeros(16 * 16 * 3)), 32).max() == 0
    with pytest.raises(UndecodableError, match="16384x16384 are more than"):
        decode(bombs.tiff(8, 8, (16384, 16384), b""), 32)


def test_an_icon_cannot_hide_a_large_image() -> None:
    with pytest.raises(UndecodableError) as caught:
        decode(bombs.ico(bombs.png(13_000, 13_000, data=b""), 1), 32)
    assert caught.value.reason == "too-large"


def test_the_limit_of_pixels_can_be_lower(photo: Photo, encode: Encode) -> None:
    for kind in ("JPEG", "PNG"):
        encoded = encode(photo(40, 50), kind)
        assert decode(encoded, 32, max_pixels=2000).shape == (32, 32, 3)
        assert read_header(encoded, 32, max_pixels=1999).decoder == Decoder.PILLOW
        with pytest.raises(UndecodableError, match="50x40 are more than 1999 pixels"):
            decode(encoded, 32, max_pixels=1999)


def test_an_image_that_only_tensorflow_reads_has_a_limit_of_pixels(photo: Photo, encode: Encode) -> None:
    gif = b"GIF89b" + encode(photo(40, 50), "GIF")[6:]
    assert decode(gif, 32, max_pixels=2000).shape == (32, 32, 3)
    with pytest.raises(UndecodableError, match="50x40 are more than 1999 pixels"):
        decode(gif, 32, max_pixels=1999)


@pytest.mark.parametrize("options", [{"bytes": 0}, {"bytes": LARGEST_FILE + 1}, {"pixels": 0}, {"pixels": MAX_PIXELS + 1}])
def test_limits_that_cannot_be_kept_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=f"--max-{next(iter(options))} must be 1 to"):
        Limits(**options)


# Large images, one at a time


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_a_large_jpeg_has_the_same_pixels_alone(
    photo: Photo, encode: Encode, in_graph: Callable[[bytes], Pixels], monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    encoded = encode(photo(200, 300), "JPEG", **options)
    together = in_graph(encoded)
    monkeypatch.setattr("extractor.image_policy.ALONE_PIXELS", 1000)
    assert read_header(encoded, 32).decoder == Decoder.TENSORFLOW_ALONE
    np.testing.assert_array_equal(in_graph(encoded), together)


def test_only_what_needs_much_memory_is_decoded_alone(photo: Photo, encode: Encode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extractor.image_policy.ALONE_PIXELS", 200 * 300 // 4)
    at_a_scale, whole = encode(photo(200, 300), "JPEG"), encode(photo(200, 300), "JPEG", progressive=True)
    assert [read_header(encoded, 32).decoder for encoded in (at_a_scale, whole)] == [Decoder.TENSORFLOW, Decoder.TENSORFLOW_ALONE]


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_large_images_wait_for_each_other(
    photo: Photo, encode: Encode, in_graph: Callable[[bytes], Pixels], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    encoded = encode(photo(100, 100), kind)
    monkeypatch.setattr("extractor.image_policy.ALONE_PIXELS", 1000)
    done = threading.Thread(target=in_graph, args=(encoded,), daemon=True)
    with image_policy._alone:
        done.start()
        done.join(0.2)
        assert done.is_alive()
    done.join(20)
    assert not done.is_alive()


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "I;16", "YCbCr"])
def test_strips_are_converted_as_the_whole(photo: Photo, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    image = Image.fromarray(photo(50, 40))
    image = Image.fromarray(photo(50, 40)[:, :, 0].astype(np.uint16) * 257) if mode == "I;16" else image.convert(mode)
    if mode == "P":
        image.info["transparency"] = bytes(range(256))
    whole = np.asarray(to_rgb(image))
    monkeypatch.setattr("extractor.to_rgb._STRIP_PIXELS", 40 * 7)
    np.testing.assert_array_equal(to_rgb(image), whole)


def test_scans_are_limited_by_the_pixels_they_walk_over(encode: Encode, photo: Photo, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = encode(photo(40, 50), "JPEG", progressive=True)
    scans = encoded.count(b"\xff\xda")
    assert scans == 10
    monkeypatch.setattr("extractor.image_policy.MAX_SCANNED_PIXELS", scans * 2000)
    assert decode(encoded, 32).shape == (32, 32, 3)
    monkeypatch.setattr("extractor.image_policy.MAX_SCANNED_PIXELS", scans * 2000 - 1)
    assert read_header(encoded, 32).decoder == Decoder.PILLOW
    with pytest.raises(UndecodableError, match="more than 9 scans"):
        decode(encoded, 32)


# What only TensorFlow reads


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "WEBP", "WEBP lossless", "WEBP alpha"])
@pytest.mark.parametrize(("width", "height"), [(1, 1), (300, 7), (5, 1000)])
def test_a_header_tells_the_size(encode: Encode, kind: str, width: int, height: int) -> None:
    name, _, variant = kind.partition(" ")
    image = Image.new("RGBA" if variant == "alpha" else "RGB", (width, height))
    encoded = encode(image, name, **({"lossless": True} if variant == "lossless" else {}))
    assert stated_size(encoded) == (width, height)


@pytest.mark.parametrize(
    ("header", "size"),
    [
        (b"\xff\x0a" + (0b000_00011_1 | 0b00111 << 9).to_bytes(12, "little"), (64, 32)),  # both in eighths
        (b"\xff\x0a" + (0b111_00011_1).to_bytes(12, "little"), (64, 32)),  # twice as wide as high
        (b"\xff\x0a" + (299 << 3 | 0b01 << 1 | 0b000 << 16 | 0b00 << 19 | 99 << 21).to_bytes(12, "little"), (100, 300)),
        (_JXL + b"\0\0\0\x17jxlc\xff\x0a" + (0b111_00011_1).to_bytes(12, "little"), (64, 32)),
        (_JXL + b"\0\0\0\1jxlc\0\0\0\0\0\0\1\xd0" + bytes.fromhex("ff0a7ca9232012080201009802"), (30_000, 30_000)),  # of cjxl
        (_JXL + b"\0\0\0\x0bjxlp\0\0\0\0\xff\x0a\x3f" + bytes(30), None),
        (b"\xff\x0a\0", None),
        (_JXL + b"\0\0\0\0what", None),
        (b"GIF89a\1\0\1\0\0\0\0;", None),
        (b"a shopping list", None),
    ],
)
def test_a_header_written_by_hand_tells_the_size(header: bytes, size: tuple[int, int] | None) -> None:
    assert stated_size(header) == size


@given(
    st.sampled_from(
        [b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"RIFF....WEBPVP8X", b"RIFF....WEBPVP8L", b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"]
    ),
    st.binary(max_size=60),
)
def test_any_header_has_a_size_or_none(magic: bytes, rest: bytes) -> None:
    size = stated_size(magic + rest)
    assert size is None or min(size) >= 0


def test_texts_and_further_frames_are_left_out(photo: Photo, encode: Encode) -> None:
    plain = bombs.png(8, 8)
    assert without_bulk(bombs.text_png(3, 1000)) == plain == without_bulk(plain)
    frames = [Image.fromarray(photo(40, 50, seed=seed)) for seed in (1, 2, 3)]
    first = without_bulk(encode(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    image = Image.open(io.BytesIO(first))
    assert (image.n_frames, image.size) == (1, (50, 40))
    assert tf.io.decode_gif(first).shape == (1, 40, 50, 3)
