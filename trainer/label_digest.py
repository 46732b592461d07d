"""The digest of a label set: of images and their labels, whatever file, format, key or order they came in."""

from __future__ import annotations

import hashlib
import json

import numpy as np

from storage.digests import Words
from trainer.label_column import LabelColumn, Rows
from trainer.label_keys import digest_order


def digest_of_labels(images: Words, labels: LabelColumn) -> str:
    """sha256, in hex, of the names, then of the images [n] by ascending digest, then of their labels in that order.

    Two items of one image and label are two entries. The given splits are no part of it.
    """
    labels = labels.without_unused()
    order = _canonical_order(images, labels)
    ordered = labels.take(order)
    total = hashlib.sha256(json.dumps(["permafrost labels 1", *ordered.names]).encode())
    for array, kind in ((images[order], ">u8"), (ordered.offsets, "<i8"), (ordered.codes, "<i4")):
        total.update(array.astype(kind).tobytes())
    return total.hexdigest()


def _canonical_order(images: Words, labels: LabelColumn) -> Rows:
    """By digest; items of one image with several labels by these."""
    order = digest_order(images)
    near = np.flatnonzero(np.diff(images[order, 0]) == 0)  # the first 64 bits tell nearly all apart
    alike = near[(images[order[near + 1]] == images[order[near]]).all(axis=1)]
    if not labels.same(order[alike + 1], order[alike]).all():  # an image seldom has two labels
        words = images.tolist()
        order = np.array(sorted(order.tolist(), key=lambda row: (words[row], labels.label(row))), np.int64)
    return order
