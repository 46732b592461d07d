"""Digests that stand in for that of an image which is not at hand: made of what is known, and told from all digests of images."""

from __future__ import annotations

import hashlib

import pyarrow as pa
import pyarrow.compute as pc

_END = b"stand-in"  # of 32 bytes; at the end, because digests are looked up by their beginning


def stand_in_digest(corpus: str, key: str, embedding: bytes) -> bytes:
    """Of one item: another embedding, as it is stored, is another stand-in."""
    about = hashlib.sha256(f"{corpus}\0{key}\0".encode() + hashlib.sha256(embedding).digest())
    return about.digest()[: -len(_END)] + _END


def is_stand_in(digest: bytes) -> bool:
    """An image whose sha256 ends so hardly exists, unless somebody made it on purpose."""
    return digest.endswith(_END)


def are_stand_ins(digests: pa.ChunkedArray) -> pa.ChunkedArray:
    """Of binary(32) [n], truth values."""
    return pc.equal(pc.binary_slice(digests.cast(pa.binary()), -len(_END)), pa.scalar(_END, pa.binary()))
