"""`image-v1` and `keras-v1`: the rules from encoded bytes to the network's input. Never changed; a better rule gets a new name.

EXIF orientation applied; RGB; alpha over white; 16-bit scaled to 8; first frame; squashed to the input size (no crop), bilinear with
antialiasing; rounded to uint8. A JPEG at least twice the input size in both directions is decoded at the largest DCT scale (1/2, 1/4,
1/8) that stays at or above twice the input.

`keras-v1` has neither antialiasing nor DCT scales: the pixels of `tf.image.resize(..., method="bilinear", antialias=False)`, rounded.

Two decoders share each rule, and the file alone decides which one is used. JPEGs in grey or YCbCr go through TensorFlow (C++ threads,
no interpreter lock; docs/benchmarks.md has the times), all else through Pillow, which knows the other formats, modes and colour
spaces. They agree within one grey level: Pillow rounds between its two passes.

Further views (`extractor.views`) are made from the same decoded image: cut, then resized by the rule, turned and mirrored.
"""

from __future__ import annotations

import hashlib
import io
import threading
import warnings
from collections.abc import Sequence
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
from extractor.jpeg_in_graph import jpeg_views, resize
from extractor.limits import ALONE_PIXELS, MAX_PIXELS, MAX_SCANNED_PIXELS, UndecodableError, check_pixels
from extractor.quiet_tiff import quiet_libtiff
from extractor.to_rgb import to_rgb
from extractor.unsupported import unsupported_kind
from extractor.views import NO_CUTS, PLAIN, Cuts, Frame, ViewPolicy, plan_cuts

# No format that runs a program (EPS) or that nobody keeps photographs in. JPEG includes MPO.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "DIB", "WEBP", "TIFF", "PPM", "AVIF", "ICO")
_ORIENTATION = 0x0112  # EXIF tag, 1 to 8
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


class Decoder(IntEnum):
    TENSORFLOW = 0
    PILLOW = 1
    TENSORFLOW_ALONE = 2  # needs much memory


@dataclass(frozen=True)
class Header:
    """What the first bytes tell: who decodes, EXIF orientation (1 to 8), DCT scale exponent (0 to 3 for 1/1 to 1/8), where crops are.

    There is a box for each crop of the views, whoever decodes; Pillow does not look at them.
    """

    decoder: Decoder
    orientation: int = 1
    dct: int = 0
    cuts: Cuts = NO_CUTS

    def values(self) -> tuple[int, int, int, int, npt.NDArray[np.int32]]:
        """For HEADER_SIGNATURE."""
        boxes = np.array(self.cuts.boxes, np.int32).reshape(-1, 4)
        return int(self.decoder), self.orientation, self.dct, self.cuts.dct, boxes

    def packed(self) -> list[int]:
        """All of it in one vector: tf.data's `unbatch` crashes on tensors of no elements, which the boxes of no crops would be."""
        *numbers, boxes = self.values()
        return [*numbers, *boxes.ravel()]


def packed_length(views: ViewPolicy) -> int:
    return 4 + 4 * views.crops


def unpacked(header: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """What `Header.packed` gave, as HEADER_SIGNATURE says."""
    return *tf.unstack(header[:4]), tf.reshape(header[4:], (-1, 4))


HEADER_SIGNATURE = (*[tf.TensorSpec((), tf.int32)] * 4, tf.TensorSpec((None, 4), tf.int32))


def read_header(encoded: bytes, size: int, policy: str = "image-v1", max_pixels: int = MAX_PIXELS, views: ViewPolicy = PLAIN) -> Header:
    """Decide how to decode; costs about 20 microseconds and never raises. Anything odd goes to Pillow, whose errors are kept."""
    by_pillow = Header(Decoder.PILLOW, cuts=Cuts(0, ((0, 0, 0, 0),) * views.crops))
    try:
        image = Image.open(io.BytesIO(encoded), formats=("JPEG",))
    except Exception:  # noqa: BLE001 - hostile bytes raise almost anything in a parser
        return by_pillow
    pixels = image.width * image.height
    if (
        image.mode not in ("RGB", "L")
        or image.format != "JPEG"
        or pixels > max_pixels
        or _scanned_pixels(image, encoded) > MAX_SCANNED_PIXELS
    ):
        return by_pillow
    orientation, dct = _orientation(image), _dct_exponent(image.width, image.height, size) if IMAGE_POLICIES[policy].dct else 0
    cuts = _cuts(views, encoded, Frame(image.width, image.height, orientation), size, dct)
    in_memory = pixels if image.info.get("progressive") else pixels >> 2 * cuts.dct  # all coefficients of a progressive one, at any scale
    decoder = Decoder.TENSORFLOW_ALONE if in_memory > ALONE_PIXELS else Decoder.TENSORFLOW
    return Header(decoder, orientation, dct, cuts)


def decode_in_graph(
    encoded: tf.Tensor,
    header: Sequence[tf.Tensor],
    size: int,
    policy: str = "image-v1",
    max_pixels: int = MAX_PIXELS,
    views: ViewPolicy = PLAIN,
) -> tf.Tensor:
    """The V views of one image, uint8 [V, size, size, 3], for use in `tf.data`; an image that cannot be decoded is an op error.

    header: the tensors of HEADER_SIGNATURE.
    """

    def in_python(data: bytes, decoder: int, *rest: npt.NDArray[np.int32]) -> npt.NDArray[np.uint8]:
        if decoder == Decoder.PILLOW:
            return decode_with_pillow(data, size, policy, max_pixels, views)
        with _alone, tf.device("CPU"):
            return np.asarray(jpeg_views(tf.constant(data), [tf.constant(value) for value in rest], size, policy, views).numpy())

    images = tf.cond(
        tf.equal(header[0], Decoder.TENSORFLOW),
        lambda: jpeg_views(encoded, header[1:], size, policy, views),
        lambda: tf.numpy_function(in_python, [encoded, *header], tf.uint8),
    )
    return tf.ensure_shape(images, (views.count, size, size, 3))


def decode(
    encoded: bytes, size: int, policy: str = "image-v1", max_pixels: int = MAX_PIXELS, views: ViewPolicy = PLAIN
) -> npt.NDArray[np.uint8]:
    """The V views of one image, uint8 [V, size, size, 3], by whichever decoder can: for files on which the usual one failed.

    Raises UndecodableError with Pillow's reason if TensorFlow cannot either.
    """
    try:
        return decode_with_pillow(encoded, size, policy, max_pixels, views)
    except UndecodableError as error:
        if error.reason in ("too-large", "empty"):
            raise
        try:
            check_pixels(*_size_for_tensorflow(encoded), max_pixels)
            with _alone:
                pixels = tf.io.decode_image(without_bulk(encoded), expand_animations=False).numpy()
                image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
                cuts = _cuts(views, encoded, Frame(*image.size), size, 0)
                return _finish(image, image, cuts, size, 1, policy, views)
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


def decode_with_pillow(
    encoded: bytes, size: int, policy: str = "image-v1", max_pixels: int = MAX_PIXELS, views: ViewPolicy = PLAIN
) -> npt.NDArray[np.uint8]:
    """The policy in Pillow: uint8 [V, size, size, 3]. Raises UndecodableError with a reason code."""
    if not encoded:
        raise UndecodableError("empty", "the file has no bytes")
    try:
        image = Image.open(io.BytesIO(encoded), formats=FORMATS)
        width, height = image.size
        _check_cost(image, encoded, max_pixels)
        has_scales = image.format == "JPEG" and IMAGE_POLICIES[policy].dct
        dct = _dct_exponent(width, height, size) if has_scales else 0
        with _alone_if(width * height > ALONE_PIXELS):
            _load(image, dct)
            # After load(): Pillow turns TIFFs by itself and then drops their tag.
            orientation = _orientation(image)
            frame = Frame(width, height, orientation) if has_scales else Frame(image.width, image.height, orientation)
            cuts = _cuts(views, encoded, frame, size, dct)
            source = image
            if cuts.dct != dct:
                source = Image.open(io.BytesIO(encoded), formats=FORMATS)
                _load(source, cuts.dct)
            return _finish(image, source, cuts, size, orientation, policy, views)
    except UndecodableError:
        raise
    except Image.DecompressionBombError as error:
        raise UndecodableError("too-large", f"more than {max_pixels} pixels: {error}") from None
    except UnidentifiedImageError:
        if kind := unsupported_kind(encoded):
            raise UndecodableError("unsupported", f"{kind} is not read: convert it to one of {', '.join(FORMATS)}") from None
        raise UndecodableError("not-an-image", f"no known image format (of {', '.join(FORMATS)})") from None
    except MemoryError:
        raise UndecodableError("out-of-memory", "not enough memory to decode it here") from None
    except Exception as error:  # noqa: BLE001 - hostile bytes raise almost anything in a parser
        raise UndecodableError("corrupt", f"{type(error).__name__}: {error}") from None


def _load(image: Image.Image, dct: int) -> None:
    if dct:  # Pillow takes the largest scale at which at least this size is left
        image.draft(None, (image.width >> dct, image.height >> dct))
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
    each = np.frombuffer(encoded, np.uint8)  # 0.1 ms for a megabyte, of which bytes.count makes 0.9
    return pixels * int(np.count_nonzero((each[:-1] == 0xFF) & (each[1:] == 0xDA)))


def _alone_if(large: bool) -> AbstractContextManager[object]:
    return _alone if large else nullcontext()


def _cuts(views: ViewPolicy, encoded: bytes, frame: Frame, size: int, dct: int) -> Cuts:
    return plan_cuts(views, hashlib.sha256(encoded).digest(), frame, size, dct) if views.is_random else Cuts(dct)


def _finish(
    image: Image.Image, source: Image.Image, cuts: Cuts, size: int, orientation: int, policy: str, views: ViewPolicy
) -> npt.NDArray[np.uint8]:
    """All views, uint8 [V, size, size, 3]: plain ones from `image`, crops from `source`, which may be the same at a larger scale."""
    rgb = to_rgb(image)
    plain = _fit(rgb, size, orientation, policy)
    if cuts.boxes and source is not image:
        rgb = to_rgb(source)
    return np.stack(views.in_order(plain, [_fit(rgb.crop(box), size, orientation, policy) for box in cuts.boxes]))


def _fit(rgb: Image.Image, size: int, orientation: int, policy: str) -> npt.NDArray[np.uint8]:
    """Squashed and turned. Turning the small square is the same as turning first, and cheaper."""
    small = rgb.resize((size, size), Image.Resampling.BILINEAR) if IMAGE_POLICIES[policy].antialias else _nearest_four(rgb, size)
    for transpose in _TRANSPOSES.get(orientation, ()):
        small = small.transpose(transpose)
    return np.asarray(small, np.uint8)


def _nearest_four(rgb: Image.Image, size: int) -> Image.Image:
    """Bilinear without antialiasing, by TensorFlow: Pillow's `transform` rounds down, half a grey level too dark, and is slower."""
    with tf.device("CPU"):
        return Image.fromarray(resize(np.asarray(rgb), size, antialias=False).numpy())


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - broken EXIF blocks raise almost anything; the image itself may be fine
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _dct_exponent(width: int, height: int, size: int) -> int:
    scale = min(width // (2 * size), height // (2 * size))
    return 3 if scale >= 8 else 2 if scale >= 4 else 1 if scale >= 2 else 0
