"""A corpus in containers: WebDataset tars, Parquet files or TFRecord files of encoded images."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

from extractor.container import Container
from extractor.container_kind import PARQUET, TAR, TFRECORD, container_kind, is_compressed_container
from extractor.container_search import Containers
from extractor.content import is_uri
from extractor.contents import BadLabels, Contents
from extractor.corpus import Item, Listing, derived_id
from extractor.listing import ListingBuilder
from extractor.parquet_corpus import read_parquet
from extractor.tar_corpus import read_tar
from extractor.tfrecord_corpus import read_tfrecord
from storage.errors import UsageError

logger = logging.getLogger(__name__)

_PLACE_BITS = 40  # of an item's place, for its number in the container; the bits above are the container's
LISTING_THREADS = 32  # containers looked at together: over a network the time goes into waiting

_READERS: dict[str, Callable[[Container, str, str], Iterator[Contents]]] = {TAR: read_tar, PARQUET: read_parquet, TFRECORD: read_tfrecord}


def list_containers(containers: Containers, corpus_id: str | None = None) -> Listing:
    """List the images of containers of one kind, sorted by key, from their headers, labels and footers alone.

    A damaged container is a reject, `bad-container`, and the others are listed. Raises UsageError (no images at all, or several kinds),
    NotFoundError, PermafrostError (one that cannot be read).
    """
    read = _READERS[_one_kind(containers)]
    listing = ListingBuilder()

    def enter(numbered: tuple[int, tuple[str, str]]) -> tuple[Counter[str], BadLabels, set[str]]:
        number, (name, location) = numbered
        place, skipped, bad_labels, left_out = number << _PLACE_BITS, Counter[str](), BadLabels(), set[str]()
        with Container(location if is_uri(location) else os.path.join(containers.base, location)) as container:
            for found in read(container, name, location):
                listing.add(found.items, range(place, place + len(found.items)), _attributes(found))
                listing.reject(found.rejects)
                skipped += found.skipped
                bad_labels.join(found.bad_labels)
                left_out |= found.left_out
                place += len(found.items)
        return skipped, bad_labels, left_out

    with ThreadPoolExecutor(LISTING_THREADS) as pool:
        entered = list(pool.map(enter, enumerate(containers.names.items())))
    skipped = sum((of_one for of_one, _, _ in entered), containers.skipped)
    _warn_of([of_one for _, of_one, _ in entered], set[str]().union(*(of_one for _, _, of_one in entered)))
    if not listing.found_items:
        first = listing.first_reject()
        raise UsageError(
            f"no images in {containers.source}{f'; the first problem of {listing.rejected}: {first.message}' if first else ''}"
        )
    return listing.finish(corpus_id or derived_id(containers.source), containers.source, containers.base, skipped, _tell_repeated)


def _warn_of(of_containers: list[BadLabels], left_out: set[str]) -> None:
    bad = BadLabels()
    for of_one in of_containers:
        bad.join(of_one)
    if bad.count:
        logger.warning(
            "%d items are kept without a label, split or file name, because it cannot be read; the first is %s", bad.count, bad.first
        )
    if left_out:
        logger.warning("columns of bytes, lists or structs are no attributes and were left out: %s", ", ".join(sorted(left_out)))


def _attributes(found: Contents) -> pa.Table | None:
    return pa.table(found.attributes) if found.attributes else None


def _tell_repeated(item: Item, place: int, holder: Item, its_place: int) -> str:
    return f"{item.location} has the key of {holder.location}"


def _one_kind(containers: Containers) -> str:
    if packed := [name for name in containers.names if is_compressed_container(name)]:
        raise UsageError(f"{packed[0]} is compressed and cannot be read at places: unpack it (JPEGs do not shrink)")
    by_kind = {container_kind(name): name for name in containers.names}
    if len(by_kind) > 1:
        examples = ", ".join(f"{name} ({kind or 'no container'})" for kind, name in by_kind.items())
        raise UsageError(f"{containers.source} has several kinds of containers: {examples}; name one kind with a pattern such as '*.tar'")
    kind = next(iter(by_kind))
    if kind is None:
        raise UsageError(f"{containers.source} names no containers of images; expected names that end in .tar, .parquet or .tfrecord")
    return kind
