"""Embeddings that other sets of the store hold: found by digest, and copied, or derived, instead of computed again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from storage.catalog import set_names
from storage.derive import Derivation, derivation
from storage.digests import DigestMap, Words, from_words
from storage.errors import DamagedError, PermafrostError, UnstorableError
from storage.feature_set import SetDescription, read_description
from storage.files import FileEntry, open_proven
from storage.golden import GoldenImages, drift_of, read_golden
from storage.index import EmbeddingIndex, committed_index
from storage.names import SetName
from storage.new_shard import new_shard
from storage.place import Place, same_place
from storage.shard import ShardFormat, ShardLayout, shard_format
from storage.space import Space
from storage.stated_space import STATED
from storage.versions import list_versions, read_manifest

Embed = Callable[[Sequence[bytes]], npt.NDArray[np.generic]]  # n encoded images -> [n * V, *shape] in the borrower's space, here and now

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Lender:
    """Another set, where its embeddings are, how ours follow from them, and its golden images with what ours would be."""

    name: SetName
    format: ShardFormat
    derivation: Derivation
    index: EmbeddingIndex
    golden: GoldenImages


@dataclass(frozen=True)
class Copied:
    """A new shard of the borrowing set, with the `views` views of each of the `digests`, one image after the other."""

    shard: FileEntry
    digests: tuple[bytes, ...]
    views: int = 1

    @property
    def rows(self) -> range:
        """The row of view 0 of each digest."""
        return range(0, self.views * len(self.digests), self.views)


def find_lenders(borrower: SetName, space: Space, further: Sequence[Place] = ()) -> list[Lender]:
    """The other sets of its store, and of the `further` stores, whose features are in the space, or lead to it without a forward pass.

    Those in the space come first, and among them those of the borrower's own store. Whether they agree with what is computed here,
    `agreeing` says.

    A damaged one lends nothing, and is no reason to stop either. Nor does one with features that somebody only said to be in its space.
    """
    lenders: list[tuple[bool, Lender]] = []
    for name in [name for root in (borrower.root, *further) for name in set_names(root)]:
        if not same_place(name.folder, borrower.folder):
            with suppress(PermafrostError, OSError):
                description = read_description(name)
                if (way := derivation(description.space, space)) and (golden := _golden_of(name, description)):
                    as_lent = replace(golden, embeddings=way.of_golden(golden))
                    lender = Lender(name, shard_format(description.shard_format), way, committed_index(name), as_lent)
                    lenders.append((description.space != space, lender))
    return [lender for _, lender in sorted(lenders, key=lambda pair: pair[0])]


def agreeing(lenders: Sequence[Lender], borrower: SetName, precision: str, embed: Embed) -> list[Lender]:
    """Those whose features could be extended here.

    A space leaves open which engine, device and library versions compute it, within a tolerance. So a set outside it, by its golden
    images and what they embed to here, lends nothing; nor does one without golden images. Both are told.
    """
    reasons = [_why_not(lender.golden, precision, embed) for lender in lenders]
    for lender, why in zip(lenders, reasons, strict=True):
        if why:
            logger.warning("%s lends nothing to %s, though features in its space would do: %s", lender.name, borrower, why)
    return [lender for lender, why in zip(lenders, reasons, strict=True) if not why]


def _golden_of(name: SetName, description: SetDescription) -> GoldenImages | None:
    """None of a set without versions, or with features that are only stated."""
    manifests = [read_manifest(name.folder, version) for version in list_versions(name.folder)]
    if not manifests or any(manifest.provenance.get("space") == STATED for manifest in manifests):
        return None
    return read_golden(manifests[-1].golden, name.folder, description.shape, description.dtype)


def _why_not(golden: GoldenImages, precision: str, embed: Embed) -> str:
    if not golden.images:
        return "it has no golden images (it was imported, or they were taken down), so nobody can see whether its features agree with these"
    try:
        drift = drift_of(golden, embed(golden.images), precision)
    except UnstorableError as error:
        return f"its golden images cannot be compared ({error})"
    if not drift:
        return ""
    return (
        f"this run embeds its {drift.told} to that set's own embedding; {precision} features need at least {drift.least}. "
        "It was made with another engine, device or library version; what it has is embedded again"
    )


def copy_embeddings(
    wanted: DigestMap, lenders: Sequence[Lender], borrower: SetName, kind: ShardFormat, layout: ShardLayout
) -> Iterator[Copied]:
    """Copy or derive the embeddings of those digests that a lender has: new shards of the borrower, one for each they stand in.

    A lender's shard that is gone, or is not what its manifest lists, or does not hold the image that its items say, lends nothing:
    damage must not spread from set to set. The caller computes what it did not get.
    """
    words = wanted.words()
    for lender in lenders:
        numbers, rows = lender.index.find(words)
        for number, chosen in _by_shard(numbers, rows):
            copied = None
            with suppress(DamagedError, OSError):
                copied = _copy_one(lender, lender.index.names[number], rows[chosen], words[chosen], borrower, kind, layout)
            if copied:
                yield copied
        words = words[numbers < 0]


def _by_shard(numbers: npt.NDArray[np.int32], rows: npt.NDArray[np.int32]) -> Iterator[tuple[int, npt.NDArray[np.intp]]]:
    """(number of a shard, positions of what it holds in the order of its rows)."""
    order = np.lexsort((rows, numbers))
    order = order[np.searchsorted(numbers[order], 0) :]  # without what is not held, -1
    held, starts = np.unique(numbers[order], return_index=True)
    for number, (start, stop) in zip(held, pairwise([*starts, len(order)]), strict=True):
        yield int(number), order[start:stop]


def _copy_one(
    lender: Lender, shard: str, positions: npt.NDArray[np.int32], words: Words, borrower: SetName, kind: ShardFormat, layout: ShardLayout
) -> Copied | None:
    views = np.array(lender.derivation.views)
    places = positions[:, None] + views
    digests = tuple(from_words(words).to_pylist())

    with closing(open_proven(lender.name.folder, lender.index.shards[shard], lender.format.reader)) as reader:
        first, last = int(places.min()), int(places.max()) + 1
        held = reader.digests()
        outside = first < 0 or last > reader.rows
        if outside or any({held[row] for row in image} != {digest} for image, digest in zip(places, digests, strict=True)):
            raise DamagedError(f"the items of {lender.name} point at wrong rows of shard {shard}")
        if (reader.views()[places] != views).any():
            raise DamagedError(f"the rows of an image in shard {shard} are not its views in their order")
        embeddings, storable = lender.derivation.apply(reader.read(first, last)[places.reshape(-1) - first])
    good = np.asarray(storable.reshape(places.shape).all(axis=1))
    digests = tuple(digest for digest, is_good in zip(digests, good, strict=True) if is_good)
    with new_shard(borrower.folder, kind, layout) as shard_of_ours:
        shard_of_ours.append(digests, embeddings[np.repeat(good, len(views))], len(views))
        entry = shard_of_ours.publish()
    return Copied(entry, digests, len(views)) if entry else None
