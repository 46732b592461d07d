from __future__ import annotations

import io

from PIL import Image

from extractor.golden_images import draw_golden_images
from extractor.image_policy import read_header
from tests.extractor.plain import decode


def test_they_are_small_and_large_jpeg_and_png() -> None:
    images = {name: Image.open(io.BytesIO(encoded)) for name, encoded in draw_golden_images().items()}
    assert {name: (image.format, image.size) for name, image in images.items()} == {
        "small.jpg": ("JPEG", (97, 61)),
        "small.png": ("PNG", (61, 97)),
        "large.jpg": ("JPEG", (1920, 1280)),
        "large.png": ("PNG", (640, 480)),
    }


def test_drawing_twice_gives_the_same_bytes() -> None:
    assert draw_golden_images.__wrapped__() == draw_golden_images()


def test_they_are_four_different_images() -> None:
    assert len({decode(encoded, 32).tobytes() for encoded in draw_golden_images().values()}) == 4


def test_the_large_jpeg_is_decoded_at_a_dct_scale_and_the_small_one_is_not() -> None:
    images = draw_golden_images()
    assert [read_header(images[name], 224).dct for name in ("small.jpg", "large.jpg")] == [0, 1]
