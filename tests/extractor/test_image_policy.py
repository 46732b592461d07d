"""`image-v1` and `keras-v1`, by both decoders.

Measured on JPEGs of 1x1 to 777x1000 pixels (with and without DCT scaling, grey, progressive, 4:4:4, RGB, smooth and rough), the two
decoders differ by at most one grey level.
"""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from extractor.image_policy import HEADER_SIGNATURE, Decoder, decode_in_graph, read_header
from extractor.image_policy_table import IMAGE_POLICIES
from extractor.limits import MAX_PIXELS, UndecodableError
from tests.extractor.plain import decode, decode_with_pillow

Pixels = npt.NDArray[np.uint8]
Photo = Callable[..., Pixels]
Encode = Callable[..., bytes]
Decode = partial[Pixels]  # (encoded, size), with the policy given

_in_graph: dict[tuple[int, str], Any] = {}


def by_header(encoded: bytes, size: int, policy: str = "image-v1") -> Pixels:
    """As the pipeline decodes: header first, then in the graph, by the decoder that the header names."""
    if (size, policy) not in _in_graph:
        signature = [tf.TensorSpec((), tf.string), *HEADER_SIGNATURE]
        graph = tf.function(lambda encoded, *header: decode_in_graph(encoded, header, size, policy), input_signature=signature)
        _in_graph[size, policy] = graph
    [plain] = _in_graph[size, policy](encoded, *read_header(encoded, size, policy).values()).numpy()
    return np.asarray(plain)


DECODERS = {"as the pipeline": by_header, "Pillow": decode_with_pillow, "second chance": decode}


@pytest.fixture(params=IMAGE_POLICIES)
def policy(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=DECODERS)
def decoder(request: pytest.FixtureRequest, policy: str) -> Decode:
    return partial(DECODERS[request.param], policy=policy)


def difference(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max())


def squashed(image: Image.Image, size: int, policy: str) -> Pixels:
    rgb = image.convert("RGB")
    return nearest_four(np.asarray(rgb), size) if policy == "keras-v1" else np.asarray(rgb.resize((size, size), Image.Resampling.BILINEAR))


def nearest_four(pixels: Pixels, size: int) -> Pixels:
    return np.floor(tf.image.resize(pixels.astype(np.float32), (size, size), "bilinear", antialias=False).numpy() + 0.5).astype(np.uint8)


def reason(encoded: bytes, decoder: Callable[[bytes, int], Pixels] = decode) -> str:
    with pytest.raises(UndecodableError) as caught:
        decoder(encoded, 32)
    assert str(caught.value)
    return caught.value.reason


# Orientation


def oriented(photo: Photo, encode: Encode, format_name: str, orientation: int, height: int, width: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(photo(height, width), format_name, exif=exif)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_every_orientation_is_applied(
    photo: Photo, encode: Encode, decoder: Decode, policy: str, format_name: str, orientation: int
) -> None:
    encoded = oriented(photo, encode, format_name, orientation, 60, 40)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(encoded)))
    assert difference(decoder(encoded, 32), squashed(upright, 32, policy)) <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_to_a_jpeg_decoded_at_a_dct_scale(photo: Photo, encode: Encode, orientation: int) -> None:
    encoded = oriented(photo, encode, "JPEG", orientation, 300, 200)
    assert read_header(encoded, 32).dct == 1
    plain = decode_with_pillow(oriented(photo, encode, "JPEG", 1, 300, 200), 32)
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = Image.fromarray(plain)
    turned.info["exif"] = exif.tobytes()
    expected = np.asarray(ImageOps.exif_transpose(turned))
    assert difference(decode_with_pillow(encoded, 32), expected) == 0
    assert difference(by_header(encoded, 32), expected) <= 1


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_ignored(photo: Photo, encode: Encode, decoder: Decode, policy: str, value: int) -> None:
    encoded = oriented(photo, encode, "JPEG", value, 60, 40)
    assert difference(decoder(encoded, 32), decode_with_pillow(encode(photo(60, 40), "JPEG"), 32, policy)) <= 1


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff"])
def test_a_broken_exif_block_costs_no_image(photo: Photo, encode: Encode, decoder: Decode, exif: bytes) -> None:
    assert decoder(encode(photo(60, 40), "JPEG", exif=exif), 32).shape == (32, 32, 3)


# The two decoders agree

SIZES = [(1, 1), (1, 50), (50, 1), (3, 2), (31, 33), (64, 64), (127, 129), (128, 128), (200, 300), (256, 256), (512, 600), (777, 1000)]
VARIANTS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "progressive": {"progressive": True},
    "no subsampling": {"subsampling": 0},
    "low quality": {"quality": 20},
    "RGB without YCbCr": {"keep_rgb": True},
}


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_both_decoders_agree_on_jpegs(photo: Photo, encode: Encode, policy: str, height: int, width: int, options: dict[str, Any]) -> None:
    for noise in (0.0, 60.0):
        encoded = encode(photo(height, width, noise=noise), "JPEG", **options)
        assert read_header(encoded, 32, policy).decoder == Decoder.TENSORFLOW
        assert difference(by_header(encoded, 32, policy), decode_with_pillow(encoded, 32, policy)) <= 1


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_both_decoders_agree_on_grey_jpegs(photo: Photo, encode: Encode, policy: str, height: int, width: int) -> None:
    encoded = encode(Image.fromarray(photo(height, width)).convert("L"), "JPEG")
    assert read_header(encoded, 32, policy).decoder == Decoder.TENSORFLOW
    decoded = by_header(encoded, 32, policy)
    assert difference(decoded, decode_with_pillow(encoded, 32, policy)) <= 1
    assert (decoded == decoded[:, :, :1]).all()


@pytest.mark.parametrize(
    ("height", "width", "exponent"),
    [(127, 900, 0), (128, 128, 1), (255, 256, 1), (256, 256, 2), (511, 2000, 2), (512, 512, 3), (2000, 2000, 3), (63, 64, 0)],
)
def test_the_dct_scale_stays_at_or_above_twice_the_input(photo: Photo, encode: Encode, height: int, width: int, exponent: int) -> None:
    assert read_header(encode(np.zeros((height, width, 3), np.uint8), "JPEG"), 32).dct == exponent


# The definition of keras-v1. Images of the input's size, smaller ones, and such as image-v1 decodes at a DCT scale.
@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 90), (20, 30), (32, 32), (33, 31), (200, 300), (600, 500)])
def test_keras_v1_is_a_full_decode_resized_without_antialiasing(photo: Photo, encode: Encode, height: int, width: int) -> None:
    encoded = encode(photo(height, width, noise=60), "JPEG")
    full = tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE").numpy()
    assert full.shape == (height, width, 3)
    assert difference(by_header(encoded, 32, "keras-v1"), nearest_four(full, 32)) == 0
    assert difference(decode_with_pillow(encoded, 32, "keras-v1"), nearest_four(full, 32)) <= 1
    if height > 33:
        assert difference(by_header(encoded, 32), nearest_four(full, 32)) > 10


def test_keras_v1_takes_the_four_pixels_nearest_to_a_centre(encode: Encode) -> None:
    stripes = np.zeros((32, 16, 3), np.uint8)
    stripes[:, 0::4] = 255  # of four columns to one the outer two do not count
    stripes[:, 1::4] = 100
    for decoder in DECODERS.values():
        assert (decoder(encode(stripes, "PNG"), 4, "keras-v1") == 50).all()


def test_keras_v1_knows_no_dct_scale(encode: Encode) -> None:
    encoded = encode(np.zeros((512, 512, 3), np.uint8), "JPEG")
    assert {name: read_header(encoded, 32, name).dct for name in IMAGE_POLICIES} == {"image-v1": 3, "keras-v1": 0}


def test_dct_scaling_moves_little(photo: Photo, encode: Encode) -> None:
    encoded = encode(photo(600, 600), "JPEG", quality=95)
    full = squashed(Image.open(io.BytesIO(encoded)), 32, "image-v1")
    assert np.abs(by_header(encoded, 32).astype(int) - full).mean() < 2


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 200), st.integers(1, 200), st.integers(0, 99), st.integers(10, 100), st.integers(1, 8), st.booleans())
def test_both_decoders_agree_whatever_the_jpeg(height: int, width: int, seed: int, quality: int, orientation: int, grey: bool) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width) if grey else (height, width, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, exif=exif)
    for name in IMAGE_POLICIES:
        assert difference(by_header(buffer.getvalue(), 32, name), decode_with_pillow(buffer.getvalue(), 32, name)) <= 1


def test_bytes_behind_the_image_do_no_harm(photo: Photo, encode: Encode, decoder: Decode, policy: str) -> None:
    encoded = encode(photo(40, 40), "JPEG")
    assert difference(decoder(encoded + b"\0" * 100, 32), decode_with_pillow(encoded, 32, policy)) <= 1


# Formats

LOSSLESS = {"PNG": {}, "BMP": {}, "TIFF": {}, "PPM": {}, "WEBP": {"lossless": True}, "GIF": {}, "DIB": {}, "ICO": {"sizes": [(40, 40)]}}


# Each format of the list must be one that Pillow registers: one unknown name ("MPO") once made every other format a KeyError.
@pytest.mark.parametrize("format_name", LOSSLESS)
def test_each_format_is_decoded_by_pillow(photo: Photo, encode: Encode, policy: str, format_name: str) -> None:
    image = Image.fromarray(photo(40, 40)).quantize(256).convert("RGB") if format_name == "GIF" else Image.fromarray(photo(40, 40))
    encoded = encode(image, format_name, **LOSSLESS[format_name])
    assert read_header(encoded, 32).decoder == Decoder.PILLOW
    assert difference(decode_with_pillow(encoded, 32, policy), squashed(image, 32, policy)) <= 1
    assert difference(by_header(encoded, 32, policy), squashed(image, 32, policy)) <= 1


def test_avif_is_decoded(photo: Photo, encode: Encode, decoder: Decode, policy: str) -> None:
    encoded = encode(photo(40, 40), "AVIF", quality=95)
    assert np.abs(decoder(encoded, 32).astype(int) - squashed(Image.fromarray(photo(40, 40)), 32, policy)).mean() < 3


def test_the_first_image_of_an_mpo_is_decoded(photo: Photo, encode: Encode, decoder: Decode, policy: str) -> None:
    encoded = encode(photo(40, 40), "MPO", save_all=True, append_images=[Image.fromarray(photo(40, 40, seed=9))])
    assert np.abs(decoder(encoded, 32).astype(int) - squashed(Image.fromarray(photo(40, 40)), 32, policy)).mean() < 4


def test_a_raw_image_that_ends_in_zero_bytes_is_not_cut_off(decoder: Decode) -> None:
    assert (decoder(b"P6 2 2 255\n" + b"\xff" * 6 + b"\0" * 6, 2) == [[[255] * 3] * 2, [[0] * 3] * 2]).all()


def test_a_cmyk_jpeg_goes_to_pillow(photo: Photo, encode: Encode, decoder: Decode, policy: str) -> None:
    image = Image.fromarray(photo(60, 40)).convert("CMYK")
    encoded = encode(image, "JPEG", quality=95)
    assert read_header(encoded, 32).decoder == Decoder.PILLOW
    assert np.abs(decoder(encoded, 32).astype(int) - squashed(image, 32, policy)).mean() < 3


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "LAB"])
def test_every_mode_of_a_tiff_becomes_rgb(photo: Photo, encode: Encode, decoder: Decode, mode: str) -> None:
    base = Image.fromarray(photo(40, 40))
    assert decoder(encode(base if mode == "LAB" else base.convert(mode), "TIFF"), 32).shape == (32, 32, 3)


# Alpha


@pytest.mark.parametrize("format_name", ["PNG", "WEBP", "TIFF"])
def test_alpha_is_laid_over_white(encode: Encode, decoder: Decode, format_name: str) -> None:
    rgba = np.zeros((4, 4, 4), np.uint8)
    rgba[:, :, 3] = np.array([[0], [85], [170], [255]])
    encoded = encode(rgba, format_name, **({"lossless": True, "exact": True} if format_name == "WEBP" else {}))
    assert decoder(encoded, 4)[:, 0, 0].tolist() == [255, 170, 85, 0]


def test_alpha_of_a_grey_image_is_laid_over_white(encode: Encode, decoder: Decode) -> None:
    image = Image.merge("LA", (Image.new("L", (4, 4), 100), Image.fromarray(np.tile(np.uint8([[0], [255]]), (2, 4)))))
    assert decoder(encode(image, "PNG"), 4)[:, 0].tolist() == [[255] * 3, [100] * 3] * 2


@pytest.mark.parametrize("format_name", ["PNG", "GIF"])
def test_a_transparent_palette_entry_is_white(encode: Encode, decoder: Decode, format_name: str) -> None:
    image = Image.fromarray(np.uint8([[0, 1], [1, 0]]), "P")
    image.putpalette([10, 20, 30, 200, 100, 50])
    decoded = decoder(encode(image, format_name, transparency=0), 2)
    assert decoded.tolist() == [[[255] * 3, [200, 100, 50]], [[200, 100, 50], [255] * 3]]


def test_half_transparent_palette_entries_are_blended(encode: Encode, decoder: Decode) -> None:
    image = Image.fromarray(np.uint8([[0, 1]]), "P")
    image.putpalette([0, 0, 0, 0, 0, 0])
    assert decoder(encode(image, "PNG", transparency=bytes([0, 170])), 2)[0].tolist() == [[255] * 3, [85] * 3]


@pytest.mark.parametrize(("mode", "black"), [("RGB", (0, 0, 0)), ("L", 0)])
def test_a_transparent_colour_without_an_alpha_channel_is_white(encode: Encode, decoder: Decode, mode: str, black: Any) -> None:
    image = Image.new(mode, (2, 2), "white").point(lambda value: value)
    image.putpixel((0, 0), black)
    image.putpixel((1, 1), (0, 0, 9) if mode == "RGB" else 9)
    decoded = decoder(encode(image, "PNG", transparency=black), 2)
    assert decoded[0, 0].tolist() == [255] * 3
    assert decoded[1, 1, 2] == 9


# Bit depth


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, colour: int, rows: list[bytes] | None = None, extra: bytes = b"") -> bytes:
    """A PNG by hand: Pillow writes neither 16-bit RGB nor headers that lie."""
    data = zlib.compress(b"".join(b"\0" + row for row in rows or []))
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def big_endian(*values: int) -> bytes:
    return struct.pack(f">{len(values)}H", *values)


def test_a_16_bit_grey_png_is_scaled(decoder: Decode) -> None:
    encoded = png(2, 2, 16, 0, [big_endian(0, 30_000), big_endian(257, 65_535)])
    expected = np.array([[0, 117], [1, 255]])
    assert difference(decoder(encoded, 2), np.repeat(expected[:, :, None], 3, axis=2)) <= 1


def test_a_16_bit_grey_ramp_is_a_ramp_and_not_white(decoder: Decode) -> None:
    encoded = png(256, 1, 16, 0, [big_endian(*(257 * i for i in range(256)))])
    assert difference(decoder(encoded, 256)[0, :, 0], np.arange(256)) <= 1


def test_a_16_bit_rgb_png_is_scaled(decoder: Decode) -> None:
    encoded = png(2, 1, 16, 2, [big_endian(65_535, 30_000, 0, 257, 514, 64_000)])
    assert difference(decoder(encoded, 2)[0], np.array([[255, 117, 0], [1, 2, 249]])) <= 1


def test_16_bit_alpha_is_laid_over_white(decoder: Decode) -> None:
    assert decoder(png(2, 1, 16, 6, [big_endian(0, 0, 0, 0, 0, 0, 0, 65_535)]), 2)[0].tolist() == [[255] * 3, [0] * 3]
    assert decoder(png(2, 1, 16, 4, [big_endian(0, 0, 0, 65_535)]), 2)[0].tolist() == [[255] * 3, [0] * 3]


def test_a_transparent_grey_of_a_16_bit_png_is_white() -> None:
    encoded = png(2, 1, 16, 0, [big_endian(0, 65_535 // 2)], chunk(b"tRNS", big_endian(0)))
    assert decode_with_pillow(encoded, 2)[0, 0].tolist() == [255] * 3


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_low_bit_depths_reach_black_and_white(decoder: Decode, depth: int) -> None:
    low_bits = (1 << depth) - 1  # first pixel 0, second pixel full
    row = bytes([low_bits << (8 - 2 * depth)])
    assert decoder(png(2, 1, depth, 0, [row]), 2)[0, :, 0].tolist() == [0, 255]


def test_a_big_endian_16_bit_tiff_is_scaled(encode: Encode) -> None:
    for order in ("<u2", ">u2"):
        encoded = encode(Image.fromarray(np.array([[0, 30_000], [257, 65_535]], order)), "TIFF")
        assert decode_with_pillow(encoded, 2)[:, :, 0].tolist() == [[0, 117], [1, 255]]


# Frames


@pytest.mark.parametrize(("format_name", "options"), [("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {}), ("TIFF", {}), ("AVIF", {})])
def test_the_first_frame_counts(encode: Encode, decoder: Decode, format_name: str, options: dict[str, Any]) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue", "lime")]
    encoded = encode(frames[0], format_name, save_all=True, append_images=frames[1:], **options)
    assert difference(decoder(encoded, 4), np.full((4, 4, 3), [255, 0, 0])) <= 6


# What is refused


def test_no_bytes_are_empty(decoder: Decode) -> None:
    if decoder.func is by_header:
        with pytest.raises(tf.errors.OpError):
            decoder(b"", 32)
    else:
        assert reason(b"", decoder) == "empty"


@pytest.mark.parametrize(
    "encoded",
    [b"a shopping list\n", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"\0" * 1000, b"%PDF-1.7\n", b"PK\x03\x04", b"\x80\x04K\x01."],
)
def test_other_files_are_not_an_image(encoded: bytes) -> None:
    assert reason(encoded) == "not-an-image"


def of_12_bits(encoded: bytes) -> bytes:
    """With a header that says so."""
    at = encoded.index(b"\xff\xc0") + 4
    return encoded[:at] + b"\x0c" + encoded[at + 1 :]


def test_sound_images_that_no_decoder_reads_are_told_from_what_is_no_image(photo: Photo, encode: Encode, decoder: Decode) -> None:
    jpeg_2000 = encode(photo(20, 20), "JPEG2000")
    kinds = {
        "JPEG 2000": jpeg_2000,
        "a JPEG of 12 bits a sample": of_12_bits(encode(photo(20, 20), "JPEG")),
        "HEIF": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(50),
    }
    for kind, encoded in kinds.items():
        with pytest.raises((UndecodableError, tf.errors.OpError), match=f"{kind}.* is not read: convert it to one of JPEG, PNG"):
            decoder(encoded, 32)
    assert reason(jpeg_2000) == "unsupported"
    assert reason(b"\xff\xd8" + jpeg_2000[:100]) == "not-an-image"


def test_eps_is_not_accepted(photo: Photo, encode: Encode) -> None:
    encoded = encode(photo(20, 20), "EPS")
    assert Image.open(io.BytesIO(encoded)).format == "EPS"
    assert reason(encoded) == "not-an-image"


@pytest.mark.parametrize("format_name", ["PCX", "TGA", "SGI", "JPEG2000", "PDF"])
def test_formats_beside_the_list_are_refused(photo: Photo, encode: Encode, format_name: str) -> None:
    with pytest.raises(UndecodableError):
        decode(encode(photo(20, 20), format_name), 32)


@pytest.mark.parametrize("format_name", ["JPEG", "PNG"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_truncated_file_is_refused_by_every_decoder(
    photo: Photo, encode: Encode, decoder: Decode, format_name: str, share: float
) -> None:
    encoded = encode(photo(100, 100, noise=60), format_name)
    with pytest.raises((UndecodableError, tf.errors.OpError)):
        decoder(encoded[: int(share * len(encoded))], 32)


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_a_truncated_jpeg_is_corrupt(photo: Photo, encode: Encode, options: dict[str, Any]) -> None:
    encoded = encode(photo(100, 100, noise=60), "JPEG", **options)
    assert reason(encoded[: len(encoded) // 2]) == "corrupt"


def bmp_header(width: int, height: int) -> bytes:
    return b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


def jpeg_header(encode: Encode, width: int, height: int) -> bytes:
    encoded = bytearray(encode(np.zeros((8, 8, 3), np.uint8), "JPEG"))
    frame = encoded.index(b"\xff\xc0")
    encoded[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(encoded)


@pytest.mark.parametrize("decoder", [decode, decode_with_pillow])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF", "PPM"])
def test_a_decompression_bomb_is_too_large(encode: Encode, decoder: Decode, kind: str) -> None:
    bombs = {
        "PNG": png(60_000, 60_000, 8, 2),
        "JPEG": jpeg_header(encode, 60_000, 60_000),
        "BMP": bmp_header(60_000, 60_000),
        "GIF": b"GIF89a"
        + struct.pack("<HH", 60_000, 60_000)
        + b"\0\0\0,\0\0\0\0"
        + struct.pack("<HH", 60_000, 60_000)
        + b"\0\x02\x01\0\0;",
        "PPM": b"P6 60000 60000 255\n",
    }
    assert MAX_PIXELS < 60_000 * 60_000
    assert reason(bombs[kind], decoder) == "too-large"


def test_a_bomb_goes_to_pillow_and_not_to_tensorflow(encode: Encode) -> None:
    assert read_header(jpeg_header(encode, 60_000, 60_000), 32).decoder == Decoder.PILLOW


def test_extreme_aspect_ratios_are_decoded(encode: Encode, decoder: Decode) -> None:
    for shape in ((1, 5000, 3), (5000, 1, 3)):
        for format_name in ("JPEG", "PNG"):
            assert decoder(encode(np.full(shape, 200, np.uint8), format_name), 32).mean() == 200


def only_undecodable(encoded: bytes) -> None:
    for policy in IMAGE_POLICIES:
        read_header(encoded, 32, policy)
        for decoder in (decode, decode_with_pillow):
            try:
                assert decoder(encoded, 32, policy).shape == (32, 32, 3)
            except UndecodableError as error:
                assert error.reason in {"corrupt", "not-an-image", "unsupported", "too-large", "empty"}  # noqa: PT017
        with contextlib.suppress(tf.errors.OpError):
            assert by_header(encoded, 32, policy).shape == (32, 32, 3)


MAGIC = (b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"RIFF....WEBP", b"II*\0", b"MM\0*", b"P6 ", b"\0\0\1\0")


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(MAGIC), st.binary(max_size=200))
def test_random_bytes_raise_nothing_but_undecodable(magic: bytes, rest: bytes) -> None:
    only_undecodable(magic + rest)


def small_files() -> dict[str, bytes]:
    pixels = Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 9, 3), np.uint8))
    files = {}
    for format_name in ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "ICO", "AVIF"):
        buffer = io.BytesIO()
        pixels.save(buffer, format_name)
        files[format_name] = buffer.getvalue()
    return files


SMALL_FILES = small_files()


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(sorted(SMALL_FILES)), st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=6), st.integers(0, 10**6)
)
def test_damaged_images_raise_nothing_but_undecodable(format_name: str, changes: list[tuple[int, int]], cut: int) -> None:
    data = bytearray(SMALL_FILES[format_name])
    for position, value in changes:
        data[position % len(data)] = value
    only_undecodable(bytes(data[: 1 + cut % len(data)]) if cut % 2 else bytes(data))
