"""A corpus: the images to embed, as the listing of a source. `sources` reads one; each kind of source has a file of its own."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import pyarrow as pa

from storage.names import check_name

MAX_NAME = 4096  # bytes of a key: what a path may have

# Reject reasons that the listing itself finds, anew each time: nothing is known of such an entry from earlier runs.
LISTING_REASONS = frozenset({"bad-name", "repeated-key", "missing", "not-a-file", "truncated", "bad-label", "bad-record"})


@dataclass(frozen=True)
class Item:
    key: str  # unique in the corpus: path relative to it with '/', or what the list says
    stamp: str  # changes when the bytes do: size and mtime in ns, or etag; "" where none is to be had
    label: str | None = None
    split: str | None = None
    bytes: int | None = None  # size of its encoded bytes, where the source says it
    location: str = (
        ""  # a path relative to the corpus' base, an absolute one, or a URI, perhaps with a part (`extractor.part`); "": the key
    )


@dataclass(frozen=True)
class ListingReject:
    """An entry of the listing that cannot be an item. `key` is escaped where it is no valid Unicode."""

    key: str
    stamp: str
    reason: str  # one of LISTING_REASONS
    message: str


@dataclass(frozen=True)
class Listing:
    """The items of a corpus, sorted by key; what is no item; and how many names were passed over, by reason."""

    corpus_id: str
    source: Path | str  # the folder, list file or container; a pattern or URI is text
    base: Path  # the folder that relative locations start from
    items: tuple[Item, ...]
    rejects: tuple[ListingReject, ...] = ()
    skipped: dict[str, int] = field(default_factory=dict)
    attributes: pa.Table | None = None  # further columns, row i of item i

    @property
    def listed(self) -> int:
        return len(self.items) + len(self.rejects)


def derived_id(source: Path | str) -> str:
    """A corpus id from its resolved location: readable, and different for two sources of one name."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", PurePosixPath(source).name).strip("-.") or "corpus"
    return check_name(f"{readable[:60]}-{hashlib.sha256(os.fsencode(source)).hexdigest()[:8]}", "corpus id")


def printable(name: str) -> str:
    """A name as valid Unicode of bounded length: bytes that are none are escaped."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")[:MAX_NAME]
