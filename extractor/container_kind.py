"""What kind of container a file is, by its name."""

from __future__ import annotations

import re

TAR, PARQUET, TFRECORD = "WebDataset tar", "Parquet file", "TFRecord file"

_COMPRESSED = re.compile(r"\.(tgz|tbz2?|txz|(tar|tfrecords?)\.(gz|bz2|xz|zst|lz4|zlib))\Z", re.IGNORECASE)
# TensorFlow's datasets end in .tfrecord-00000-of-00010; the classic ImageNet conversion has train-00000-of-01024 and no ending at all.
_TFRECORD = re.compile(r"\.tfrecords?(-[0-9]+-of-[0-9]+)?\Z|-[0-9]{5}-of-[0-9]{5}\Z", re.IGNORECASE)


def container_kind(name: str) -> str | None:
    """TAR, PARQUET or TFRECORD, or None for any other name."""
    lower = name.lower()
    if lower.endswith(".tar"):
        return TAR
    if lower.endswith((".parquet", ".pq")):
        return PARQUET
    return TFRECORD if _TFRECORD.search(name) else None


def is_compressed_container(name: str) -> bool:
    """A compressed tar or TFRecord file has no places to read at: it must be unpacked."""
    return _COMPRESSED.search(name) is not None
