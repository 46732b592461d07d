"""Where the images of a set's items are: by key in the sources of its corpora, and by content in a source that has other keys."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute

from extractor.content import locate, read_content
from extractor.pipeline import READ_THREADS
from extractor.sources import list_corpus
from storage.errors import NotFoundError, UsageError
from storage.feature_set import FeatureSet

READ_AT_ONCE = 1024  # images, after which it is asked whether all are found

Note = Callable[[str], None]


@dataclass(frozen=True)
class ItemPlaces:
    """`locations` in the order of the items; "" for one that is not in `sources`, which are by corpus."""

    locations: list[str]
    sources: Mapping[str, str]


def locate_items(feature_set: FeatureSet, moved: Mapping[str, str], note: Note) -> ItemPlaces:
    """Find the images of all items.

    moved: corpus id -> where it is now, if not where it was; what is not found there by key (the keys of a tar have its name in them)
    is looked for by content, for which images are read; `note` is told. Raises NotFoundError for a source that is nowhere, UsageError for
    one that has none of the items.
    """
    states = feature_set.manifest.corpora
    if unknown := sorted(set(moved) - set(states)):
        raise UsageError(f"{feature_set.name} has no corpus {unknown[0]!r}: expected one of {', '.join(states)}")
    table = feature_set.columns("corpus", "key", "digest")
    corpora = table["corpus"].combine_chunks()
    places = ItemPlaces([""] * feature_set.rows, {corpus: moved.get(corpus) or states[corpus].source for corpus in states})
    for corpus in sorted(set(corpora.to_pylist())):
        positions = np.flatnonzero(np.asarray(pa.compute.equal(corpora, corpus)))
        items = table.take(positions)
        wanted = _Wanted(f"{feature_set.name}", items["key"].to_pylist(), items["digest"].to_pylist())
        for position, location in zip(positions, _found(wanted, places.sources[corpus], corpus, corpus in moved, note), strict=True):
            places.locations[position] = location
    return places


@dataclass(frozen=True)
class _Wanted:
    """Items of one corpus."""

    owner: str
    keys: Sequence[str]
    digests: Sequence[bytes]


def _found(wanted: _Wanted, source: str, corpus: str, is_moved: bool, note: Note) -> list[str]:
    listed = _listed(source, corpus, wanted.owner, is_moved)
    found = [listed.get(key, "") for key in wanted.keys]
    others = sorted(listed.keys() - set(wanted.keys))
    if is_moved and others and "" in found:
        named = (
            f"{found.count('')} of {len(found)} items of {wanted.owner} are not in {source} by their keys ({_named(wanted, found, others)})"
        )
        note(f"{named}: {len(others)} images there are read to find them by content")
        by_content = {digest: location for digest, location in zip(wanted.digests, found, strict=True) if location}
        by_content |= _by_content([listed[key] for key in others], set(wanted.digests) - by_content.keys())
        found = [location or by_content.get(digest, "") for digest, location in zip(wanted.digests, found, strict=True)]
    if not any(found):
        way_out = (
            "nor anything of their content" if is_moved else "pass --corpus with where they are now, and they are found by content, too"
        )
        raise UsageError(f"{source} has none of the {len(found)} items of {wanted.owner} ({_named(wanted, found, others)}): {way_out}")
    return found


def _named(wanted: _Wanted, found: Sequence[str], others: Sequence[str]) -> str:
    """An example of keys on both sides."""
    there = f"there {others[0]}" if others else "there nothing"
    return f"such as {wanted.keys[found.index('')]}; {there}"


def _listed(source: str, corpus: str, owner: str, is_moved: bool) -> dict[str, str]:
    """Locations by key."""
    try:
        listing = list_corpus(source, corpus)
    except NotFoundError as error:
        if is_moved:
            raise NotFoundError(f"--corpus for {corpus} of {owner}: {error}") from error
        raise NotFoundError(
            f"the images of {owner} are no longer at {source} (corpus {corpus}): pass --corpus with where they are now"
        ) from error
    return {item.key: locate(listing.base, item) for item in listing.items}


def _by_content(locations: Sequence[str], wanted: set[bytes]) -> dict[bytes, str]:
    """Locations by the digests that are wanted."""
    found: dict[bytes, str] = {}
    with ThreadPoolExecutor(READ_THREADS) as pool:
        for start in range(0, len(locations), READ_AT_ONCE):
            part = locations[start : start + READ_AT_ONCE]
            for location, digest in zip(part, pool.map(_digest, part), strict=True):
                if digest in wanted:
                    found.setdefault(digest, location)
            if len(found) == len(wanted):
                break
    return found


def _digest(location: str) -> bytes:
    return hashlib.sha256(read_content(location).encoded).digest()
