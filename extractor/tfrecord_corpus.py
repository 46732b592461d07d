"""TFRecord files of `tf.train.Example`: framing, and what a record says of its image. No TensorFlow: a driver that uses Ray has none.

Framing (tensorflow/core/lib/io/record_writer.h): length uint64, masked crc32c of the length uint32, data, masked crc32c of the data uint32.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from extractor.container import Container, Window
from extractor.contents import BadLabels, Contents
from extractor.corpus import Item, ListingReject
from extractor.crc32c import masked_crc32c
from extractor.part import ByteRange, RecordImage
from extractor.tfrecord_example import Span, bytes_span, label_of, read_features
from storage.errors import DamagedError
from storage.table_file import cell_text

_HEADER, _FOOTER = 12, 4
_IMAGE, _FILENAME, _LABELS = "image/encoded", "image/filename", ("image/class/text", "image/class/label", "label")


def read_tfrecord(container: Container, name: str, location: str) -> Iterator[Contents]:
    """The images of one file, in parts: key `NAME#NUMBER`, `image/encoded`, label from `image/class/text`, `image/class/label` or `label`.

    `image/filename` is kept as the attribute `filename`. A record that is no Example with one image is a reject. Of the checksums that of
    each length is verified, which the walk depends on; those of the data are when an image is read (`content`).
    What follows a damaged length is lost (`bad-container`). Raises PermafrostError (it cannot be read).
    """
    found = Contents()
    if not container.size:  # which is a whole TFRecord file, and what a copy that failed leaves
        found.skipped["empty-container"] += 1
    window = Window(container)
    filenames: list[str | None] = []
    for number, record in enumerate(_intact_records(container, window, name, found)):
        key = f"{name}#{number:08d}"
        if record.end > container.size - _FOOTER:
            message = f"{name} ends at offset {container.size}, within the record at offset {record.start - _HEADER}; what followed is lost"
            found.rejects.append(ListingReject(key, container.stamp, "truncated", message))
            break
        try:
            features = read_features(window, record)
            image = _image(window, features)
        except ValueError as error:
            message = f"the record at offset {record.start - _HEADER} of {name} is not usable: {error}"
            found.rejects.append(ListingReject(key, container.stamp, "bad-record", message))
            continue
        label, filename = _label_and_filename(window, features, key, found.bad_labels)
        data = ByteRange(record.start, record.end - record.start)
        part = RecordImage(data, image.start - record.start, image.end - image.start)
        found.items.append(Item(key, f"{container.stamp}{part}", label, None, part.length, f"{location}{part}"))
        filenames.append(filename)
        if found.is_full:
            yield _with_filenames(found.hand_over(), filenames)
            filenames = []
    yield _with_filenames(found, filenames)


def _with_filenames(found: Contents, filenames: list[str | None]) -> Contents:
    if any(filenames):
        found.attributes["filename"] = pa.array(filenames, pa.string())
    return found


def _intact_records(container: Container, window: Window, name: str, found: Contents) -> Iterator[Span]:
    with found.damage_rejected(name, container.stamp):
        yield from _records(container, window, name)


def _records(container: Container, window: Window, name: str) -> Iterator[Span]:
    """Where each record's data lies; the last one may reach over the end. Raises DamagedError."""
    at = 0
    while at < container.size:
        header = window.read(at, _HEADER)
        if len(header) < _HEADER:
            yield Span(at + _HEADER, container.size)
            return
        length, checksum = struct.unpack("<QI", header)
        if masked_crc32c(header[:8]) != checksum:
            if at == 0:
                raise DamagedError(f"{name} is not an uncompressed TFRecord file (no record at offset 0)")
            raise DamagedError(f"{name} is damaged: the record at offset {at} has a length with a wrong checksum; what followed is lost")
        yield Span(at + _HEADER, at + _HEADER + length)
        at += _HEADER + length + _FOOTER


def _image(window: Window, features: dict[str, Span]) -> Span:
    """Raises ValueError."""
    if _IMAGE not in features:
        names = ", ".join(sorted(features)[:10]) or "no features"
        raise ValueError(f"expected a tf.train.Example with {_IMAGE}, it has {names[:300]}")
    image = bytes_span(window, features[_IMAGE])
    if image is None:
        raise ValueError(f"{_IMAGE} is not one text of bytes")
    return image


def _label_and_filename(window: Window, features: dict[str, Span], key: str, bad: BadLabels) -> tuple[str | None, str | None]:
    label = filename = None
    try:
        labels = (_cell(window, features[name]) for name in _LABELS if name in features)
        label = next((label for label in labels if label is not None), None)
        filename = _cell(window, features[_FILENAME]) if _FILENAME in features else None
    except ValueError as error:
        bad.add(key, str(error))
    return label, filename


def _cell(window: Window, feature: Span) -> str | None:
    value: Any = label_of(window, feature)
    return cell_text(value)
