"""Embeddings that other sets of the store hold: found by digest, and copied, or derived, instead of computed again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass

import numpy as np

from storage.catalog import set_names
from storage.derive import Derivation, derivation
from storage.errors import DamagedError, PermafrostError
from storage.feature_set import read_description
from storage.files import FileEntry, private_file, publish_by_content, sha256_file
from storage.index import EmbeddingIndex, committed_index
from storage.names import SetName
from storage.shard import ShardFormat, ShardLayout, shard_format
from storage.space import Space


@dataclass(frozen=True)
class Lender:
    """Another set, where its embeddings are, and how ours follow from them."""

    name: SetName
    format: ShardFormat
    derivation: Derivation
    index: EmbeddingIndex


@dataclass(frozen=True)
class Copied:
    """A new shard of the borrowing set: `digests` by row."""

    shard: FileEntry
    digests: tuple[bytes, ...]


def find_lenders(borrower: SetName, space: Space) -> list[Lender]:
    """The other sets of the store whose features are in the space, or lead to it without a forward pass; those in the space first.

    A damaged one lends nothing, and is no reason to stop either.
    """
    lenders: list[tuple[bool, Lender]] = []
    for name in set_names(borrower.root):
        if name.folder != borrower.folder:
            with suppress(PermafrostError, OSError):
                description = read_description(name)
                if way := derivation(description.space, space):
                    lender = Lender(name, shard_format(description.shard_format), way, committed_index(name))
                    lenders.append((description.space != space, lender))
    return [lender for _, lender in sorted(lenders, key=lambda pair: pair[0])]


def copy_embeddings(
    digests: Iterable[bytes], lenders: Sequence[Lender], borrower: SetName, kind: ShardFormat, layout: ShardLayout
) -> Iterator[Copied]:
    """Copy or derive the embeddings of those digests that a lender has: new shards of the borrower, one for each they stand in.

    A lender's shard that is gone, or is not what its manifest lists, or does not hold the image that its items say, lends nothing:
    damage must not spread from set to set. The caller computes what it did not get.
    """
    wanted: dict[tuple[int, str], list[tuple[int, bytes]]] = defaultdict(list)
    for digest in sorted(digests):
        for number, lender in enumerate(lenders):
            if digest in lender.index.places:
                shard, row = lender.index.places[digest]
                wanted[number, shard].append((row, digest))
                break
    for (number, shard), rows in sorted(wanted.items()):
        copied = None
        with suppress(DamagedError, OSError):
            copied = _copy_one(lenders[number], shard, sorted(rows), borrower, kind, layout)
        if copied:
            yield copied


def _copy_one(
    lender: Lender, shard: str, rows: list[tuple[int, bytes]], borrower: SetName, kind: ShardFormat, layout: ShardLayout
) -> Copied | None:
    positions = np.array([row for row, _ in rows])
    digests = tuple(digest for _, digest in rows)
    path = lender.name.folder / lender.index.shards[shard].path
    if sha256_file(path) != shard:
        raise DamagedError(f"the shard {path} is damaged: its sha256 is not its name")
    with closing(lender.format.reader(path)) as reader:
        first, last = int(positions[0]), int(positions[-1]) + 1
        held = reader.digests()
        if first < 0 or last > reader.rows or tuple(held[row] for row in positions) != digests:
            raise DamagedError(f"the items of {lender.name} point at wrong rows of {path}")
        embeddings, good = lender.derivation.apply(reader.read(first, last)[positions - first])
    digests = tuple(digest for digest, is_good in zip(digests, good, strict=True) if is_good)
    if not digests:
        return None
    folder = borrower.folder / "shards"
    with private_file(folder) as partial:
        writer = kind.writer(partial, layout)
        writer.append(digests, [0] * len(digests), embeddings[good])
        written = writer.close()
        sha256, size = publish_by_content(partial, folder, kind.suffix)
    return Copied(FileEntry(f"shards/{sha256}{kind.suffix}", sha256, size, written), digests)
