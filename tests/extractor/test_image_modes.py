"""Every colour mode and format that image-v1 reads, by the pixels it must give; and real odd files, by what other decoders say of them.

tests/extractor/test_image_policy.py has alpha, palettes, bit depths of PNGs and first frames.
"""

from __future__ import annotations

import csv
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from extractor.limits import UndecodableError
from extractor.reasons import REASONS
from scripts.bombs import JXL, tiff
from tests.extractor.plain import decode

Encode = Callable[..., bytes]
RGB = (9, 99, 199)


def first_pixel(encoded: bytes) -> list[int]:
    return [int(value) for value in decode(encoded, 2)[0, 0]]


def flat(mode: str, colour: Any, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (16, 16), colour).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("mode", "colour", "kind", "expected"),
    [
        *[("L", 77, kind, (77, 77, 77)) for kind in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "PPM", "WEBP")],
        *[("1", 1, kind, (255, 255, 255)) for kind in ("PNG", "BMP", "TIFF", "PPM", "GIF")],
        *[("RGB", RGB, kind, RGB) for kind in ("JPEG", "PNG", "BMP", "DIB", "TIFF", "PPM", "WEBP", "AVIF", "ICO", "MPO")],
        *[("RGBA", (*RGB, 0), kind, (255, 255, 255)) for kind in ("PNG", "TIFF", "WEBP", "AVIF", "ICO")],
        *[("RGBA", (*RGB, 128), kind, (132, 177, 227)) for kind in ("PNG", "TIFF", "AVIF")],
        *[("LA", (100, 51), kind, (224, 224, 224)) for kind in ("PNG", "TIFF")],
        *[("CMYK", (0, 128, 255, 0), kind, (255, 127, 0)) for kind in ("JPEG", "TIFF")],
        ("CMYK", (0, 0, 0, 155), "TIFF", (100, 100, 100)),
        ("YCbCr", (150, 128, 200), "TIFF", (251, 99, 150)),
        ("YCbCr", (150, 128, 200), "JPEG", (251, 99, 150)),
        ("LAB", (128, 128, 128), "TIFF", (119, 119, 119)),
        ("LAB", (128, 0, 0), "TIFF", (0, 165, 255)),
        ("I;16", 25_700, "TIFF", (100, 100, 100)),
        ("I;16", 25_700, "PNG", (100, 100, 100)),
        ("I", 25_700, "TIFF", (100, 100, 100)),  # 32 bits: as 16, clipped
        ("I", 1_000_000, "TIFF", (255, 255, 255)),
        ("F", 100.0, "TIFF", (100, 100, 100)),  # floats: 0 to 255, clipped
        ("F", 300.0, "TIFF", (255, 255, 255)),
    ],
)  # fmt: skip
def test_a_mode_gives_these_pixels(mode: str, colour: Any, kind: str, expected: tuple[int, ...]) -> None:
    best = {"JPEG": {"quality": 100}, "MPO": {"quality": 100}, "WEBP": {"lossless": True, "exact": True}, "AVIF": {"quality": 100}}
    assert np.abs(np.subtract(first_pixel(flat(mode, colour, kind, **best.get(kind, {}))), expected)).max() <= 2


def test_a_ycck_jpeg_is_converted_to_cmyk_first() -> None:
    encoded = flat("CMYK", (105, 127, 55, 0), "JPEG", quality=100)  # stored inverted, so Y 150, Cb 128, Cr 200
    adobe = encoded.index(b"Adobe")
    ycck = encoded[: adobe + 11] + b"\2" + encoded[adobe + 12 :]
    assert Image.open(io.BytesIO(ycck)).info["adobe_transform"] == 2
    assert np.abs(np.subtract(first_pixel(ycck), (4, 156, 105))).max() <= 2  # as Adobe's inverted CMYK


@pytest.mark.parametrize("kind", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "zstd", "lzma"])
@pytest.mark.parametrize("big", [False, True])
def test_every_compression_of_a_tiff_is_read(kind: str, big: bool) -> None:
    encoded = flat("RGB", RGB, "TIFF", compression=kind, big_tiff=big, **({"quality": 100} if kind == "jpeg" else {}))
    assert np.abs(np.subtract(first_pixel(encoded), RGB)).max() <= 2


@pytest.mark.parametrize("kind", ["group3", "group4"])
def test_a_fax_is_read(kind: str) -> None:
    assert first_pixel(flat("1", 1, "TIFF", compression=kind)) == [255, 255, 255]


def test_jpeg_xl_is_read_by_tensorflow() -> None:
    assert first_pixel(JXL) == list(RGB)


def test_a_tiled_tiff_is_read() -> None:
    assert first_pixel(tiff(8, 8, (16, 16), zlib.compress(bytes(RGB) * 256))) == list(RGB)


def test_a_16_bit_rgb_tiff_is_scaled() -> None:
    data = np.array([*RGB], "<u2") * 257
    assert first_pixel(tiff(2, 2, None, zlib.compress(data.tobytes() * 4), bits=16)) == list(RGB)


def test_a_tiff_of_several_pages_is_its_first_page() -> None:
    pages = [Image.new("RGB", (16, 16), colour) for colour in (RGB, (1, 2, 3))]
    buffer = io.BytesIO()
    pages[0].save(buffer, "TIFF", save_all=True, append_images=pages[1:])
    assert first_pixel(buffer.getvalue()) == list(RGB)


def test_a_planar_tiff_is_read() -> None:
    encoded = bytearray(flat("RGB", RGB, "TIFF", compression="raw"))
    image = Image.open(io.BytesIO(encoded))
    start = image.tag_v2[273][0]  # type: ignore[attr-defined]
    # One strip a colour instead of one in all: the tags get three values, which stand behind the data.
    planes = b"".join(bytes([value]) * 256 for value in RGB)
    encoded[start : start + 768] = planes
    at = len(encoded) + len(encoded) % 2
    encoded += bytes(at - len(encoded)) + struct.pack("<6I", start, start + 256, start + 512, 256, 256, 256)
    directory = struct.unpack_from("<I", encoded, 4)[0]
    for i in range(struct.unpack_from("<H", encoded, directory)[0]):
        entry = directory + 2 + 12 * i
        tag = struct.unpack_from("<H", encoded, entry)[0]
        if tag in (273, 279):
            struct.pack_into("<HII", encoded, entry + 2, 4, 3, at if tag == 273 else at + 12)
        elif tag == 284:
            struct.pack_into("<HIHH", encoded, entry + 2, 3, 1, 2, 0)
    assert first_pixel(bytes(encoded)) == list(RGB)


def test_a_png_that_is_cut_off_behind_its_pixels_is_read(encode: Encode) -> None:
    rough = encode(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8), "PNG")
    end = rough.index(b"IEND") - 4
    # The last bytes of the data are zlib's checksum, then the chunk's.
    assert decode(rough[: end - 2], 32).tolist() == decode(rough, 32).tolist()
    with pytest.raises(UndecodableError) as caught:
        decode(rough[: end - 100], 32)
    assert caught.value.reason == "corrupt"


def outcome(encoded: bytes) -> npt.NDArray[np.uint8] | str:
    try:
        return decode(encoded, 32)
    except UndecodableError as error:
        return error.reason


@pytest.mark.slow
def test_what_another_decoder_reads_is_an_image_and_nothing_else_is(shared_data: Path) -> None:
    with open(shared_data / "hostile" / "expected.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 38
    for row in rows:
        found = outcome((shared_data / "hostile" / "files" / row["name"]).read_bytes())
        if "ok" in (row["pillow_result"], row["tf_result"]):
            assert not isinstance(found, str), row["name"]
            has_alpha = row["pillow_mode"] not in ("RGB", "L", "CMYK") or not row["pillow_mode"]
            mean = float(row["pillow_rgb_mean"] or row["tf_rgb_mean"])
            assert has_alpha or abs(found.mean() - mean) < 2, row["name"]
        else:
            assert found in REASONS, row["name"]
