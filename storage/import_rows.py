"""The rows of an import on their way into shards: each ends as an item with an embedding, or as a reject with a reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from storage.disk import sha256_file
from storage.errors import UsageError
from storage.feature_set import FeatureSet
from storage.files import FileEntry
from storage.flat_file import FlatFile, text_cell
from storage.held_embeddings import HeldEmbeddings
from storage.import_columns import own_column
from storage.items import ITEM_SCHEMA, REJECT_SCHEMA
from storage.place import Place
from storage.shard import ShardFormat
from storage.shard_layout import ShardLayout
from storage.shard_series import SHARD_BYTES, ShardSeries
from storage.stand_in import is_stand_in, stand_in_digest
from storage.stored import to_stored
from storage.table_file import label_text
from storage.tombstones import TAKEN_DOWN, Tombstones

BATCH_BYTES = 4 << 20  # 4 MiB of embeddings at a time; checking them takes several times as much
STAMP = "imported"  # no stamp of a file: an extraction of the same corpus reads each image, and finds its digest known
_HEX_CHARACTERS = 64
Placed = tuple[int | str, int]  # number of a new shard, or sha256 of one that was there; row in it


@dataclass(frozen=True, slots=True)
class Row:
    """What is known of a row apart from its embedding. digest: of its image; None where none is known, and a stand-in takes its place."""

    number: int  # in the file
    key: str
    digest: bytes | None
    label: str | None
    split: str | None
    reject: tuple[str, str] | None = None


@dataclass
class Imported:
    """Where the rows went. `copies` share an earlier row's digest and point at its embedding; `differing` of them had another one.

    Of the others, `held` point at an embedding that the set had, and `others` have another one than the set of the same image (or key,
    where there is none). taken: rows left out because their stand-ins were taken down.
    """

    corpus: str
    attributes: pa.Table  # of all rows of the file
    shards: list[FileEntry] = field(default_factory=list)
    items: list[tuple[Row, bytes, Placed]] = field(default_factory=list)  # with digest or stand-in
    rejects: list[tuple[Row, str, str]] = field(default_factory=list)  # the row, reason, message
    copies: int = 0
    differing: int = 0
    held: int = 0
    others: int = 0
    taken: int = 0

    def items_table(self) -> pa.Table:
        rows = [row for row, _, _ in self.items]
        columns = {
            "key": [row.key for row in rows],
            "corpus": [self.corpus] * len(rows),
            "digest": [digest for _, digest, _ in self.items],
            "stamp": [STAMP] * len(rows),
            "shard": [shard if isinstance(shard, str) else self.shards[shard].sha256 for _, _, (shard, _) in self.items],
            "row": [row for _, _, (_, row) in self.items],
            "label": [row.label for row in rows],
            "split": [row.split for row in rows],
        }
        table = pa.table({name: pa.array(values, ITEM_SCHEMA.field(name).type) for name, values in columns.items()}, schema=ITEM_SCHEMA)
        attributes = self.attributes.take(pa.array([row.number for row in rows], pa.int64()))
        return pa.table([*table.columns, *attributes.columns], schema=pa.schema([*table.schema, *attributes.schema]))

    def rejects_table(self) -> pa.Table:
        columns = {
            "key": [row.key for row, _, _ in self.rejects],
            "corpus": [self.corpus] * len(self.rejects),
            "digest": [row.digest for row, _, _ in self.rejects],
            "stamp": [STAMP] * len(self.rejects),
            "reason": [reason for _, reason, _ in self.rejects],
            "message": [message for _, _, message in self.rejects],
        }
        return pa.table(columns, schema=REJECT_SCHEMA)

    @property
    def reasons(self) -> dict[str, int]:
        return dict(sorted(Counter(reason for _, reason, _ in self.rejects).items()))


def read_rows(flat: FlatFile, images: Path | None, only: str | None = None) -> list[Row | None]:
    """Keys, labels, splits and digests of all rows; None for those of other corpora than `only`, if that is given.

    Raises UsageError for a row without a key and for digests that are none.
    """
    columns = [flat.keys(), *(own_column(flat, name) for name in ("label", "split", "digest", "corpus"))]
    seen: dict[str, int] = {}
    rows: list[Row | None] = []
    for number, (raw_key, label, split, digest, owner) in enumerate(zip(*columns, strict=True)):
        if only is not None and text_cell(owner, flat.path) != only:
            rows.append(None)
            continue
        key = text_cell(raw_key, flat.path)
        if key is None:
            raise UsageError(f"{flat.path}: row {number} has no key")
        reject = ("repeated-key", f"row {number} has the key of row {seen[key]}, which stands") if key in seen else None
        seen.setdefault(key, number)
        found, missing = _image_digest(images, key) if images and not reject else (_given_digest(digest, flat.path, number), None)
        of_image = found if found and not is_stand_in(found) else None  # an export of an import brings the stand-ins back
        rows.append(Row(number, key, of_image, _label(label, flat.path), text_cell(split, flat.path), reject or missing))
    return rows


def without_taken(rows: list[Row | None], stones: Tombstones, corpus: str) -> tuple[list[Row | None], dict[str, int]]:
    """(the rows, with None for those of images and keys that were taken down; how many those are, by reason)."""
    left = [row if row is None or not (row.digest in stones.images or stones.holds_key(corpus, row.key)) else None for row in rows]
    taken = left.count(None) - rows.count(None)
    return left, {TAKEN_DOWN: taken} if taken else {}


def write_rows(
    flat: FlatFile,
    rows: Sequence[Row | None],
    imported: Imported,
    base: FeatureSet | None,
    stones: Tombstones,
    set_folder: Place,
    kind: ShardFormat,
    layout: ShardLayout,
) -> None:
    """Write the embeddings of rows to new shards, a batch at a time, but for those that `base` has; `imported` says where all went."""
    digests, keys = [row.digest for row in rows if row and row.digest], [row.key for row in rows if row and not row.digest]
    held, places = HeldEmbeddings(base, imported.corpus, digests, keys), _Places()
    with ShardSeries(set_folder, kind, layout, SHARD_BYTES) as shards:
        start = 0
        for batch in flat.batches(max(1, BATCH_BYTES // layout.embedding_bytes)):
            stored, faults = to_stored(batch, layout.dtype)
            good = _storable(rows[start : start + len(batch)], stored, faults, imported, stones)
            there = held.places([digest for _, _, digest in good], stored[[i for i, _, _ in good]])
            new: list[tuple[int, bytes]] = []
            for (i, row, digest), known in zip(good, there, strict=True):
                place, is_first, differs = places.of(digest, stored[i].tobytes(), known or (shards.number, shards.rows + len(new)))
                imported.items.append((row, digest, place))
                imported.copies += not is_first
                imported.differing += differs
                imported.held += is_first and known is not None
                if is_first and not known:
                    imported.others += held.has_of(digest, row.key)
                    new.append((i, digest))
            shards.append([digest for _, digest in new], stored[[i for i, _ in new]])
            start += len(batch)
    imported.shards = shards.published


def _storable(
    rows: Sequence[Row | None],
    stored: npt.NDArray[np.generic],
    faults: Mapping[int, tuple[str, str]],
    imported: Imported,
    stones: Tombstones,
) -> list[tuple[int, Row, bytes]]:
    """(number in the batch, row, digest or stand-in) of those that become items; `imported` says what the others become."""
    good = []
    for i, row in enumerate(rows):
        if row is None:
            continue
        if reject := row.reject or faults.get(i):
            imported.rejects.append((row, *reject))
            continue
        digest = row.digest or stand_in_digest(imported.corpus, row.key, stored[i].tobytes())
        if digest in stones.images:
            imported.taken += 1
        else:
            good.append((i, row, digest))
    return good


class _Places:
    """Where each digest's embedding went, and a hash of it to tell copies from contradictions."""

    def __init__(self) -> None:
        self._places: dict[bytes, tuple[Placed, int]] = {}

    def of(self, digest: bytes, embedding: bytes, place: Placed) -> tuple[Placed, bool, bool]:
        """(place, is the first of its digest, differs from the first one)."""
        is_first = digest not in self._places
        first, its_hash = self._places.setdefault(digest, (place, hash(embedding)))
        return first, is_first, its_hash != hash(embedding)


def _label(value: Any, path: Path) -> str | None:
    return label_text(value) if isinstance(value, list) else text_cell(value, path)


def _image_digest(images: Path, key: str) -> tuple[bytes | None, tuple[str, str] | None]:
    """(digest of the file of that key, None), or (None, reject)."""
    path = images / key
    if not path.resolve().is_relative_to(images.resolve()):
        return None, ("unreadable", f"the key {key!r} leads out of {images}")
    try:
        return bytes.fromhex(sha256_file(path)), None
    except (OSError, ValueError) as error:
        return None, ("unreadable", f"no digest of {path}: {error}")


def _given_digest(value: Any, path: Path, number: int) -> bytes | None:
    if value is None or value in ("", b""):
        return None
    if isinstance(value, bytes) and len(value) == 32:
        return value
    try:
        text = value.decode("ascii") if isinstance(value, bytes) else value
        if len(text) == _HEX_CHARACTERS:
            return bytes.fromhex(text)
    except (AttributeError, TypeError, ValueError):
        pass
    raise UsageError(f"{path}: the digest of row {number} should be a sha256, as 64 hex characters or 32 bytes, not {value!r}")
