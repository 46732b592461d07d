"""`image-v1` and `keras-v1`: the rules from encoded bytes to the network's input. Never changed; a better rule gets a new name.

EXIF orientation applied; RGB; alpha over white; 16-bit scaled to 8; first frame; squashed to the input size (no crop), bilinear with
antialiasing; rounded to uint8. A JPEG at least twice the input size in both directions is decoded at the largest DCT scale (1/2, 1/4,
1/8) that stays at or above twice the input.

`keras-v1` has neither antialiasing nor DCT scales: the pixels of `tf.image.resize(..., method="bilinear", antialias=False)`, rounded.

Two decoders share each rule, and the file alone decides which one is used. JPEGs in grey or YCbCr go through TensorFlow (C++ threads,
no interpreter lock: 1.09 against 1.47 ms an image on two cores, 400x534 to 224x224), all else through Pillow, which knows the other
formats, modes and colour spaces. They agree within one grey level: Pillow rounds between its two passes.
"""

from __future__ import annotations

import io
import threading
import warnings
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TILELENGTH, TILEWIDTH, TiffImageFile

from extractor.image_policy_table import IMAGE_POLICIES
from extractor.image_size import stated_size, without_bulk
from extractor.limits import ALONE_PIXELS, MAX_PIXELS, MAX_SCANNED_PIXELS, UndecodableError, check_pixels
from extractor.quiet_tiff import quiet_libtiff

# No format that runs a program (EPS) or that nobody keeps photographs in. JPEG includes MPO.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "DIB", "WEBP", "TIFF", "PPM", "AVIF", "ICO")
_ORIENTATION = 0x0112  # EXIF tag, 1 to 8
_WHITE = (255, 255, 255, 255)
_TRANSPOSES = {
    2: (Image.Transpose.FLIP_LEFT_RIGHT,),
    3: (Image.Transpose.ROTATE_180,),
    4: (Image.Transpose.FLIP_TOP_BOTTOM,),
    5: (Image.Transpose.TRANSPOSE,),
    6: (Image.Transpose.ROTATE_270,),
    7: (Image.Transpose.TRANSVERSE,),
    8: (Image.Transpose.ROTATE_90,),
}


# Pillow warns of odd EXIF, palettes and sizes; here each file has an outcome instead. By module and once, because
# warnings.catch_warnings is not safe in the threads that decode.
warnings.filterwarnings("ignore", module=r"PIL\.")
quiet_libtiff()
# What an icon says of the PNG inside it need not be true; Pillow itself refuses twice this many when it opens that one.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2 + 1

_alone = threading.Lock()  # held while a large image is decoded: a worker's memory must not grow with its threads
_STRIP_PIXELS = 1 << 20  # of what is converted by several copies in between


class Decoder(IntEnum):
    TENSORFLOW = 0
    PILLOW = 1
    TENSORFLOW_ALONE = 2  # needs much memory


@dataclass(frozen=True)
class Header:
    """What the first bytes tell: who decodes, EXIF orientation (1 to 8), DCT scale exponent (0 to 3 for 1/1 to 1/8)."""

    decoder: Decoder
    orientation: int = 1
    dct: int = 0


def read_header(encoded: bytes, size: int, policy: str = "image-v1", max_pixels: int = MAX_PIXELS) -> Header:
    """Decide how to decode; costs about 20 microseconds and never raises. Anything odd goes to Pillow, whose errors are kept."""
    try:
        image = Image.open(io.BytesIO(encoded), formats=("JPEG",))
    except Exception:  # noqa: BLE001 - hostile bytes raise almost anything in a parser
        return Header(Decoder.PILLOW)
    pixels = image.width * image.height
    if (
        image.mode not in ("RGB", "L")
        or image.format != "JPEG"
        or pixels > max_pixels
        or _scanned_pixels(image, encoded) > MAX_SCANNED_PIXELS
    ):
        return Header(Decoder.PILLOW)
    dct = _dct_exponent(image.width, image.height, size) if IMAGE_POLICIES[policy].dct else 0
    in_memory = pixels if image.info.get("progressive") else pixels >> 2 * dct  # all coefficients of a progressive one, at any scale
    decoder = Decoder.TENSORFLOW_ALONE if in_memory > ALONE_PIXELS else Decoder.TENSORFLOW
    return Header(decoder, _orientation(image), dct)


def decode_in_graph(
    encoded: tf.Tensor,
    decoder: tf.Tensor,
    orientation: tf.Tensor,
    dct: tf.Tensor,
    size: int,
    policy: str = "image-v1",
    max_pixels: int = MAX_PIXELS,
) -> tf.Tensor:
    """One image, uint8 [size, size, 3], for use in `tf.data`; an image that cannot be decoded is an op error."""

    def in_python(data: bytes, decoder: int, orientation: int, dct: int) -> npt.NDArray[np.uint8]:
        if decoder == Decoder.PILLOW:
            return decode_with_pillow(data, size, policy, max_pixels)
        with _alone, tf.device("CPU"):
            return np.asarray(_jpeg_in_graph(tf.constant(data), tf.constant(orientation), tf.constant(dct), size, policy).numpy())

    def tensorflow() -> tf.Tensor:
        return _jpeg_in_graph(encoded, orientation, dct, size, policy)

    image = tf.cond(
        tf.equal(decoder, Decoder.TENSORFLOW),
        tensorflow,
        lambda: tf.numpy_function(in_python, [encoded, decoder, orientation, dct], tf.uint8),
    )
    return tf.ensure_shape(image, (size, size, 3))


def decode(encoded: bytes, size: int, policy: str = "image-v1", max_pixels: int = MAX_PIXELS) -> npt.NDArray[np.uint8]:
    """One image, uint8 [size, size, 3], by whichever decoder can: for files on which the usual one failed.

    Raises UndecodableError with Pillow's reason if TensorFlow cannot either.
    """
    try:
        return decode_with_pillow(encoded, size, policy, max_pixels)
    except UndecodableError as error:
        if error.reason in ("too-large", "empty"):
            raise
        try:
            check_pixels(*_size_for_tensorflow(encoded), max_pixels)
            with _alone:
                pixels = tf.io.decode_image(without_bulk(encoded), expand_animations=False).numpy()
                return _finish(Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels), size, 1, policy)
        except (tf.errors.OpError, ValueError, IndexError):
            raise error from None


def _size_for_tensorflow(encoded: bytes) -> tuple[int, int]:
    """(width, height); raises an op error or ValueError for what TensorFlow does not read, or is not known to."""
    if encoded.startswith(b"\xff\xd8"):
        height, width, _ = tf.io.extract_jpeg_shape(encoded).numpy()
        return int(width), int(height)
    if found := stated_size(encoded):
        return found
    raise ValueError("no format of TensorFlow's")


def decode_with_pillow(encoded: bytes, size: int, policy: str = "image-v1", max_pixels: int = MAX_PIXELS) -> npt.NDArray[np.uint8]:
    """The policy in Pillow: uint8 [size, size, 3]. Raises UndecodableError with a reason code."""
    if not encoded:
        raise UndecodableError("empty", "the file has no bytes")
    try:
        image = Image.open(io.BytesIO(encoded), formats=FORMATS)
        pixels = image.width * image.height
        _check_cost(image, encoded, max_pixels)
        if image.format == "JPEG" and IMAGE_POLICIES[policy].dct:
            image.draft(None, (2 * size, 2 * size))
        with _alone_if(pixels > ALONE_PIXELS):
            _load(image)
            # After load(): Pillow turns TIFFs by itself and then drops their tag.
            return _finish(image, size, _orientation(image), policy)
    except UndecodableError:
        raise
    except Image.DecompressionBombError as error:
        raise UndecodableError("too-large", f"more than {max_pixels} pixels: {error}") from None
    except UnidentifiedImageError:
        raise UndecodableError("not-an-image", f"no known image format (of {', '.join(FORMATS)})") from None
    except MemoryError:
        raise UndecodableError("out-of-memory", "not enough memory to decode it here") from None
    except Exception as error:  # noqa: BLE001 - hostile bytes raise almost anything in a parser
        raise UndecodableError("corrupt", f"{type(error).__name__}: {error}") from None


def _load(image: Image.Image) -> None:
    try:
        image.load()
    except (OSError, ValueError, SyntaxError):
        # Pillow sets `tile` to nothing once all pixels are there, and then reads a PNG to its end: that may be cut off.
        if image.format != "PNG" or getattr(image, "tile", True):
            raise


def _check_cost(image: Image.Image, encoded: bytes, max_pixels: int) -> None:
    """Raise UndecodableError if this would take too much memory or time to decode, by what its header says."""
    check_pixels(image.width, image.height, max_pixels)
    if isinstance(image, TiffImageFile):  # a tile is unpacked whole, however small the image
        check_pixels(image.tag_v2.get(TILEWIDTH, 0), image.tag_v2.get(TILELENGTH, 0), max_pixels)
    if image.format in ("JPEG", "MPO") and _scanned_pixels(image, encoded) > MAX_SCANNED_PIXELS:
        raise UndecodableError("too-large", f"more than {MAX_SCANNED_PIXELS // (image.width * image.height)} scans")


def _scanned_pixels(image: Image.Image, encoded: bytes) -> int:
    """Pixels times scans. Start-of-scan markers occur in no entropy-coded data; those of thumbnails count as well."""
    pixels: int = image.width * image.height
    return pixels * encoded.count(b"\xff\xda")


def _alone_if(large: bool) -> AbstractContextManager[object]:
    return _alone if large else nullcontext()


def _finish(image: Image.Image, size: int, orientation: int, policy: str) -> npt.NDArray[np.uint8]:
    """RGB over white, squashed, turned. Turning the small square is the same as turning first, and cheaper."""
    rgb = _to_rgb(image)
    small = rgb.resize((size, size), Image.Resampling.BILINEAR) if IMAGE_POLICIES[policy].antialias else _nearest_four(rgb, size)
    for transpose in _TRANSPOSES.get(orientation, ()):
        small = small.transpose(transpose)
    return np.asarray(small, np.uint8)


def _nearest_four(rgb: Image.Image, size: int) -> Image.Image:
    """Bilinear without antialiasing, by TensorFlow: Pillow's `transform` rounds down, half a grey level too dark, and is slower."""
    with tf.device("CPU"):
        return Image.fromarray(_resize_in_tensorflow(np.asarray(rgb), size, antialias=False).numpy())


def _resize_in_tensorflow(image: tf.Tensor, size: int, antialias: bool) -> tf.Tensor:
    resized = tf.image.resize(image, (size, size), method="bilinear", antialias=antialias)
    small = tf.cast(resized, tf.float32)  # an image that has the size already is left as uint8
    return tf.cast(tf.clip_by_value(tf.floor(small + 0.5), 0.0, 255.0), tf.uint8)


def _to_rgb(image: Image.Image) -> Image.Image:
    """In strips where there are copies in between, so that none of them is of the whole image."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    rows = max(1, _STRIP_PIXELS // image.width)
    if image.height <= rows:
        return _strip_to_rgb(image)
    rgb = Image.new("RGB", image.size)
    for top in range(0, image.height, rows):
        rgb.paste(_strip_to_rgb(image.crop((0, top, image.width, min(top + rows, image.height)))), (0, top))
    return rgb


def _strip_to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey, also where Pillow widens it to 32
        wide = np.asarray(image)
        grey = ((np.clip(wide, 0, 65535).astype(np.uint32) + 128) // 257).astype(np.uint8)
        if isinstance(image.info.get("transparency"), int):
            grey[wide == image.info["transparency"]] = 255
        return Image.fromarray(grey).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, _WHITE), rgba).convert("RGB")
    return image.convert("RGB")


def _jpeg_in_graph(encoded: tf.Tensor, orientation: tf.Tensor, dct: tf.Tensor, size: int, policy: str) -> tf.Tensor:
    def at_scale(exponent: int) -> tf.Tensor:
        return tf.io.decode_jpeg(encoded, channels=3, ratio=1 << exponent, dct_method="INTEGER_ACCURATE")

    image = tf.switch_case(dct, [lambda e=exponent: at_scale(e) for exponent in range(4)])
    small = _resize_in_tensorflow(image, size, IMAGE_POLICIES[policy].antialias)
    small = tf.cond(orientation >= 5, lambda: tf.transpose(small, (1, 0, 2)), lambda: small)
    # After the transpose of 5 to 8: 5 needs nothing more, 6 a mirror, 8 a flip, 7 both (and 2, 4, 3 likewise without it).
    small = tf.cond(tf.reduce_any(orientation == [2, 3, 6, 7]), lambda: tf.reverse(small, [1]), lambda: small)
    return tf.cond(tf.reduce_any(orientation == [3, 4, 7, 8]), lambda: tf.reverse(small, [0]), lambda: small)


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - broken EXIF blocks raise almost anything; the image itself may be fine
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _dct_exponent(width: int, height: int, size: int) -> int:
    scale = min(width // (2 * size), height // (2 * size))
    return 3 if scale >= 8 else 2 if scale >= 4 else 1 if scale >= 2 else 0
