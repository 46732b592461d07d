"""What a takedown has to rewrite or remove in a set, as `storage.takedown_scan` finds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from storage.files import FileEntry
from storage.manifest import Manifest
from storage.receipt_rows import ReceiptRows
from storage.tombstones import Gone, KnownFile

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ItemFacts:
    """Of one item file. taken_shards: those that rows to go point at. by_key: digests of rows that go by their key alone.

    key_rows: where in the shards these stand. kept_rows: where those stand that stay.
    """

    taken: int
    shards: frozenset[str]
    taken_shards: frozenset[str]
    by_key: frozenset[bytes]
    key_rows: Mapping[str, Rows]
    kept_rows: Mapping[str, Rows]
    known: frozenset[KnownFile]


@dataclass(frozen=True)
class Found:
    """What has to be rewritten or removed. Files by path."""

    manifests: Mapping[int, Manifest]
    facts: Mapping[str, ItemFacts]
    shards: Mapping[str, tuple[FileEntry, Rows]]  # by sha256: rows that go
    items: tuple[FileEntry, ...]
    rejects: Mapping[str, tuple[FileEntry, int]]  # and how many rows go
    golden: tuple[FileEntry, ...]
    unlisted: tuple[FileEntry, ...]  # no version lists them, and nobody can read them: they go whole
    receipts: tuple[ReceiptRows, ...]  # with rows that go
    known: frozenset[KnownFile]
    lost: Mapping[str, Gone]  # shards, by sha256, that earlier takedowns removed and that something still points at
    unreadable: tuple[str, ...] = ()  # receipts

    @property
    def anything(self) -> bool:
        return bool(self.shards or self.items or self.rejects or self.golden or self.unlisted or self.receipts)
