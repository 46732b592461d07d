"""The EXIF orientation of a JPEG in TensorFlow's own operations, for graphs that run where there is no Python.

JPEG segments: ITU-T T.81, B.1.1; where EXIF stands in them and how: CIPA DC-008 (Exif 2.32), 4.5 and 4.7.2; its tags: TIFF 6.0, section 2.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

_TAG, _SHORT, _LONG = 0x0112, 3, 4
_EXIF = tuple(b"Exif\0\0")

Bytes = Callable[[tf.Tensor], tf.Tensor]  # places to the bytes there, int32 of the same shape


def orientation_in_graph(encoded: tf.Tensor) -> tf.Tensor:
    """1 to 8, int32 scalar, of an encoded JPEG: that of its first EXIF segment; 1 where there is none, or none that is valid.

    One that stands in XMP alone is not found.
    """
    data = tf.io.decode_raw(encoded, tf.uint8)
    end = tf.size(data)
    data = tf.concat([data, tf.zeros(1, tf.uint8)], 0)  # what is read beyond the end is 0

    def at(places: tf.Tensor) -> tf.Tensor:
        return tf.cast(tf.gather(data, tf.clip_by_value(places, 0, end)), tf.int32)

    start = _exif_start(at, end)
    return tf.cond(start < end, lambda: _orientation(at, start), lambda: 1)


def _exif_start(at: Bytes, end: tf.Tensor) -> tf.Tensor:
    """Where the TIFF header of the first EXIF segment is; `end` if there is none."""

    def is_exif(place: tf.Tensor) -> tf.Tensor:
        return tf.logical_and(at(place + 1) == 0xE1, tf.reduce_all(at(place + 4 + tf.range(6)) == _EXIF))

    def goes_on(place: tf.Tensor) -> tf.Tensor:
        is_segment = tf.logical_and(at(place) == 0xFF, at(place + 1) != 0xDA)  # behind the start of scan is no header
        return tf.logical_and(is_segment, tf.logical_not(is_exif(place)))

    def following(place: tf.Tensor) -> tf.Tensor:
        length = at(place + 2) * 256 + at(place + 3)
        return tf.where(at(place + 1) == 0xFF, place + 1, place + 2 + length)  # 0xFF may be repeated

    [place] = tf.while_loop(goes_on, lambda place: [following(place)], [tf.constant(2)])
    return tf.where(is_exif(place), place + 10, end)


def _orientation(at: Bytes, start: tf.Tensor) -> tf.Tensor:
    """From a TIFF header on."""
    is_little = at(start) == ord("I")

    def number(place: tf.Tensor, width: int) -> tf.Tensor:
        """Of `width` bytes in the header's order, at each place; what does not fit into int32 becomes negative, and is no place."""
        little = tf.range(width) * 8
        shifts = tf.where(is_little, little, tf.reverse(little, [0]))
        return tf.reduce_sum(tf.bitwise.left_shift(at(place[..., None] + tf.range(width)), shifts), -1)

    directory = start + number(start + 4, 4)
    entries = directory + 2 + 12 * tf.range(number(directory, 2))
    kind = number(entries + 2, 2)
    is_one = tf.logical_and(number(entries, 2) == _TAG, number(entries + 4, 4) == 1)
    values = tf.where(kind == _SHORT, number(entries + 8, 2), tf.where(kind == _LONG, number(entries + 8, 4), 0))
    found = tf.boolean_mask(values, tf.logical_and(is_one, tf.logical_and(values >= 1, values <= 8)))
    return tf.cond(tf.size(found) > 0, lambda: found[-1], lambda: 1)
