"""Plain JPEGs to the views of an image in TensorFlow's own operations: the fast half of `extractor.image_policy`."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from extractor.image_policy_table import IMAGE_POLICIES
from extractor.views import ViewPolicy


def jpeg_views(encoded: tf.Tensor, header: Sequence[tf.Tensor], size: int, policy: str, views: ViewPolicy) -> tf.Tensor:
    """uint8 [V, size, size, 3]. header: orientation, exponents of the DCT scales for plain views and for crops, boxes [C, 4] of these."""
    orientation, dct, crop_dct, boxes = header
    antialias = IMAGE_POLICIES[policy].antialias
    image = _at_scale(encoded, dct)
    plain = _turned(resize(image, size, antialias), orientation)
    if not views.is_random:
        return tf.stack(views.in_order(plain, ()))
    source = tf.cond(tf.equal(crop_dct, dct), lambda: image, lambda: _at_scale(encoded, crop_dct))
    crops = [
        _turned(resize(source[box[1] : box[3], box[0] : box[2]], size, antialias), orientation)
        for box in tf.unstack(boxes, sum(view.crop is not None for view in views.views))
    ]
    return tf.stack(views.in_order(plain, crops))


def resize(image: tf.Tensor, size: int, antialias: bool) -> tf.Tensor:
    """uint8 [..., H, W, 3] to [..., size, size, 3], bilinear."""
    resized = tf.image.resize(image, (size, size), method="bilinear", antialias=antialias)
    small = tf.cast(resized, tf.float32)  # an image that has the size already is left as uint8
    return tf.cast(tf.clip_by_value(tf.floor(small + 0.5), 0.0, 255.0), tf.uint8)


def _at_scale(encoded: tf.Tensor, dct: tf.Tensor) -> tf.Tensor:
    def decode(exponent: int) -> tf.Tensor:
        return tf.io.decode_jpeg(encoded, channels=3, ratio=1 << exponent, dct_method="INTEGER_ACCURATE")

    return tf.switch_case(dct, [lambda e=exponent: decode(e) for exponent in range(4)])


def _turned(small: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    small = tf.cond(orientation >= 5, lambda: tf.transpose(small, (1, 0, 2)), lambda: small)
    # After the transpose of 5 to 8: 5 needs nothing more, 6 a mirror, 8 a flip, 7 both (and 2, 4, 3 likewise without it).
    small = tf.cond(tf.reduce_any(orientation == [2, 3, 6, 7]), lambda: tf.reverse(small, [1]), lambda: small)
    return tf.cond(tf.reduce_any(orientation == [3, 4, 7, 8]), lambda: tf.reverse(small, [0]), lambda: small)
