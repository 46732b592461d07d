"""A corpus in containers: WebDataset tars, Parquet files or TFRecord files of encoded images."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from extractor.container import Container
from extractor.container_kind import PARQUET, TAR, TFRECORD, container_kind, is_compressed_container
from extractor.container_search import Containers
from extractor.content import is_uri
from extractor.contents import Contents, join
from extractor.corpus import Listing, derived_id
from extractor.parquet_corpus import read_parquet
from extractor.tar_corpus import read_tar
from extractor.tfrecord_corpus import read_tfrecord
from storage.errors import UsageError

LISTING_THREADS = 32  # containers looked at together: over a network the time goes into waiting

_READERS: dict[str, Callable[[Container, str, str], Contents]] = {TAR: read_tar, PARQUET: read_parquet, TFRECORD: read_tfrecord}


def list_containers(containers: Containers, corpus_id: str | None = None) -> Listing:
    """List the images of containers of one kind, sorted by key, from their headers, labels and footers alone.

    Raises UsageError (no images, or several kinds), NotFoundError, PermafrostError (unreadable or damaged).
    """
    read = _READERS[_one_kind(containers)]

    def look(entry: tuple[str, str]) -> Contents:
        name, location = entry
        with Container(location if is_uri(location) else os.path.join(containers.base, location)) as container:
            return read(container, name, location)

    with ThreadPoolExecutor(LISTING_THREADS) as pool:
        contents = list(pool.map(look, containers.names.items()))
    joined = join(contents)
    if not joined.items:
        why = f"; the first problem: {joined.rejects[0].message}" if joined.rejects else ""
        raise UsageError(f"no images in {containers.source}{why}")
    skipped = sum((found.skipped for found in contents), containers.skipped)
    return Listing(
        corpus_id or derived_id(containers.source),
        containers.source,
        containers.base,
        joined.items,
        joined.rejects,
        dict(sorted(skipped.items())),
        joined.attributes,
    )


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
