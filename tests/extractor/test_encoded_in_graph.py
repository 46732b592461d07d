from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from PIL import Image

from extractor.encoded_in_graph import decode_batch
from extractor.golden_images import draw_golden_images
from extractor.image_policy import Decoder, decode_in_graph, decode_with_pillow, read_header
from extractor.image_policy_table import IMAGE_POLICIES
from extractor.orientation_in_graph import orientation_in_graph

pytestmark = pytest.mark.slow

SIZE = 48
ORIENTATION = 0x0112
decode_here = tf.function(decode_batch, autograph=False)
orientation_here = tf.function(orientation_in_graph, input_signature=[tf.TensorSpec((), tf.string)], autograph=False)


def by_policy(encoded: bytes, policy: str = "image-v1") -> npt.NDArray[np.int16]:
    header = read_header(encoded, SIZE, policy)
    if header.decoder == Decoder.PILLOW:
        return decode_with_pillow(encoded, SIZE, policy)[0].astype(np.int16)
    values = [tf.constant(value) for value in header.values()]
    return decode_in_graph(tf.constant(encoded), values, SIZE, policy).numpy()[0].astype(np.int16)


def in_graph(encoded: bytes, policy: str = "image-v1") -> npt.NDArray[np.int16]:
    return decode_here(tf.constant([encoded]), SIZE, policy).numpy()[0].astype(np.int16)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(mode: str, channels: int) -> Image.Image:
    pixels = np.random.default_rng(1).integers(0, 256, (70, 90, channels)).astype(np.uint8)
    return Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels, mode)


def turned(orientation: int, order: str = "II") -> bytes:
    exif = Image.Exif()
    exif.endian = "<" if order == "II" else ">"
    exif[0x010F] = "a maker"
    exif[ORIENTATION] = orientation
    return saved(draw(), "JPEG", exif=exif)


def draw() -> Image.Image:
    return Image.open(io.BytesIO(draw_golden_images()["small.jpg"]))


@pytest.mark.parametrize("policy", IMAGE_POLICIES)
@pytest.mark.parametrize("name", ["small.jpg", "small.png", "large.jpg", "large.png"])
def test_golden_images_are_as_the_policy_makes_them(name: str, policy: str) -> None:
    encoded = draw_golden_images()[name]
    assert np.abs(in_graph(encoded, policy) - by_policy(encoded, policy)).max() <= (1 if name.endswith("png") else 0)


@pytest.mark.parametrize("order", ["II", "MM"])
@pytest.mark.parametrize("orientation", range(10))  # 0 and 9 are none
def test_jpegs_are_turned_as_their_exif_says(orientation: int, order: str) -> None:
    encoded = turned(orientation, order)
    assert read_header(encoded, SIZE).orientation == int(orientation_here(encoded))
    np.testing.assert_array_equal(in_graph(encoded), by_policy(encoded))


@pytest.mark.parametrize(("mode", "channels"), [("RGBA", 4), ("LA", 2), ("L", 1)])
def test_transparent_and_grey_pngs_are_those_of_the_policy(mode: str, channels: int) -> None:
    encoded = saved(noise(mode, channels), "PNG")
    assert np.abs(in_graph(encoded) - by_policy(encoded)).max() <= 1


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palettes_of_few_bits_are_those_of_the_policy(bits: int) -> None:
    random, colours = np.random.default_rng(bits), 1 << bits
    image = Image.fromarray(random.integers(0, colours, (70, 90)).astype(np.uint8), "P")
    image.putpalette(random.integers(0, 256, 3 * colours).astype(np.uint8).tobytes())
    opacity = bytes(random.integers(0, 256, colours).astype(np.uint8))
    for transparency in ({}, {"transparency": 1}, {"transparency": opacity}, {"transparency": bytes([colours - 1] * colours)}):
        encoded = saved(image, "PNG", bits=bits, **transparency)
        assert encoded[24] == bits
        assert np.abs(in_graph(encoded) - by_policy(encoded)).max() <= 1, transparency


@pytest.mark.parametrize("transparent", [None, 0, 1])
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_of_few_bits_is_that_of_the_policy(bits: int, transparent: int | None) -> None:
    encoded = grey_png(bits, transparent)
    assert np.abs(in_graph(encoded) - by_policy(encoded)).max() <= 1


def grey_png(bits: int, transparent: int | None) -> bytes:
    """Pillow writes grey of 1 and 8 bits alone."""
    samples = np.random.default_rng(bits).integers(0, 1 << bits, (30, 40, 1)).astype(np.uint8)
    rows = np.packbits(np.unpackbits(samples, axis=2)[:, :, 8 - bits :].reshape(30, -1), axis=1)
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 40, 30, bits, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(np.pad(rows, ((0, 0), (1, 0))).tobytes())),
    ]
    if transparent is not None:
        chunks.insert(1, (b"tRNS", struct.pack(">H", transparent)))
    packed = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in [*chunks, (b"IEND", b"")]
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def test_what_a_graph_does_not_carry_is_refused() -> None:
    for encoded in (saved(noise("CMYK", 4), "JPEG"), saved(noise("RGB", 3), "GIF"), b"\xff\xd8", b"\x89PNG", b"", b"words"):
        with pytest.raises(tf.errors.InvalidArgumentError):
            in_graph(encoded)


def test_orientations_of_real_and_hostile_jpegs_are_those_that_pillow_finds(shared_data: Path) -> None:
    files = [path for path in sorted((shared_data / "hostile" / "files").iterdir()) if path.read_bytes()[:2] == b"\xff\xd8"]
    assert len(files) > 5
    for path in files:
        assert int(orientation_here(path.read_bytes())) == read_header(path.read_bytes(), SIZE).orientation, path.name
    encoded = turned(6)
    for end in range(2, 90):  # cut off anywhere
        assert 1 <= int(orientation_here(encoded[:end])) <= 8
