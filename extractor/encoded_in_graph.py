"""From encoded bytes to the network's input in TensorFlow's own operations: as much of an image policy as a graph without Python carries.

Carried: JPEGs in grey, YCbCr and RGB by the policy's own decoder, DCT scale and EXIF orientation; PNGs, transparent ones over white.
What else there is, other formats and JPEGs in CMYK, is refused as an op error, so that no image is decoded otherwise than by the policy.
"""

from __future__ import annotations

import tensorflow as tf

from extractor.image_policy_table import IMAGE_POLICIES
from extractor.jpeg_in_graph import jpeg_views, resize
from extractor.orientation_in_graph import orientation_in_graph
from extractor.views import PLAIN

CARRIED = (
    "JPEG in grey, YCbCr or RGB, at the policy's DCT scale",
    "EXIF orientation of JPEGs",
    "PNG, its first frame, 16 bits scaled to 8",
    "transparency over white",
    "resizing and rounding",
)
NOT_CARRIED = (
    "JPEG in CMYK and all other formats (GIF, BMP, WebP, TIFF, PPM, AVIF, ICO): refused",
    "orientation of PNGs, and of JPEGs that have it in XMP alone: taken as upright",
    "limits on bytes and pixels: the server has to bound what it takes",
    "files that are cut off or damaged, of which the policy takes what can be decoded: refused",
)
_JPEG, _PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"


def decode_batch(encoded: tf.Tensor, size: int, policy: str) -> tf.Tensor:
    """Encoded images, string [N], to uint8 [N, size, size, 3]. An image that is refused is an op error."""
    of_one = tf.TensorSpec((size, size, 3), tf.uint8)
    return tf.map_fn(lambda one: _decode(one, size, policy), encoded, fn_output_signature=of_one)


def _decode(encoded: tf.Tensor, size: int, policy: str) -> tf.Tensor:
    is_jpeg, is_png = _starts(encoded, _JPEG), _starts(encoded, _PNG)
    refused = tf.debugging.Assert(tf.logical_or(is_jpeg, is_png), ["expected an encoded JPEG or PNG"])
    with tf.control_dependencies([refused]):
        encoded = tf.identity(encoded)
    image = tf.cond(is_jpeg, lambda: _from_jpeg(encoded, size, policy), lambda: _from_png(encoded, size, policy))
    return tf.ensure_shape(image, (size, size, 3))


def _starts(encoded: tf.Tensor, magic: bytes) -> tf.Tensor:
    return tf.logical_and(tf.strings.length(encoded) > len(magic), tf.equal(tf.strings.substr(encoded + magic, 0, len(magic)), magic))


def _from_jpeg(encoded: tf.Tensor, size: int, policy: str) -> tf.Tensor:
    height, width, channels = tf.unstack(tf.io.extract_jpeg_shape(encoded))
    refused = tf.debugging.Assert(channels != 4, ["JPEGs in CMYK are refused: convert them to RGB"])
    with tf.control_dependencies([refused]):
        encoded = tf.identity(encoded)
    dct = tf.constant(0)
    if IMAGE_POLICIES[policy].dct:
        scale = tf.minimum(width // (2 * size), height // (2 * size))
        dct = tf.reduce_sum(tf.cast(scale >= [2, 4, 8], tf.int32))
    return jpeg_views(encoded, (orientation_in_graph(encoded), dct, dct, tf.zeros((0, 4), tf.int32)), size, policy, PLAIN)[0]


def _from_png(encoded: tf.Tensor, size: int, policy: str) -> tf.Tensor:
    rgba = tf.cast(tf.io.decode_png(encoded, channels=4), tf.int32)
    colour, alpha = rgba[:, :, :3], _alpha(encoded, rgba)
    over_white = (colour * alpha + 255 * (255 - alpha) + 127) // 255
    # One rounding is within a grey level of Pillow, which reads PNGs in the policy and rounds after rows and columns, in an order that
    # depends on the sizes since its pull request 9549.
    return resize(tf.cast(over_white, tf.uint8), size, IMAGE_POLICIES[policy].antialias)


def _alpha(encoded: tf.Tensor, rgba: tf.Tensor) -> tf.Tensor:
    """int32 [H, W, 1], 0 to 255.

    A PNG of 1, 2 or 4 bits a sample that has none gets 1, 3 or 15 from TensorFlow and not 255 (tensorflow/core/lib/png/png_io.cc,
    `CommonInitDecode`: the filling of png_set_add_alpha goes by the file's bits). Decoded to as many channels as it has, a palette has
    three without transparency and four with it.
    """
    grey, alpha = rgba[:, :, :1], rgba[:, :, 3:]
    bits = tf.io.decode_raw(tf.strings.substr(encoded, 24, 1), tf.uint8)[0]  # in IHDR, behind width and height

    def of_few_bits() -> tf.Tensor:
        channels = tf.shape(tf.io.decode_png(encoded))[2]
        # Pillow compares the transparent grey of 2 and 4 bits with values of 8, so that none but black is.
        transparent = tf.logical_and(alpha == 0, tf.logical_or(bits == 1, grey == 0))
        return tf.where(channels == 1, tf.where(transparent, 0, 255), tf.where(channels == 3, 255, alpha))

    return tf.cond(bits < 8, of_few_bits, lambda: alpha)
