"""From what a user names as a corpus to its listing: which kind of source it is."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from urllib.parse import unquote, urlsplit

from extractor.container_corpus import list_containers
from extractor.container_search import (
    containers_by_pattern,
    containers_by_uri,
    containers_in_folder,
    is_container_name,
    one_container,
)
from extractor.content import is_uri
from extractor.corpus import Listing
from extractor.folder_corpus import is_image_name, list_folder, walk_files
from extractor.list_corpus import list_entries
from extractor.parquet_corpus import holds_images
from extractor.patterns import is_pattern
from storage.errors import NotFoundError, UsageError
from storage.table_file import is_table_file


def list_corpus(source: str | Path, corpus_id: str | None = None) -> Listing:
    """List a corpus without reading a single image: a folder of images, a list file (CSV, JSONL, Parquet) of paths and URIs, or containers
    (WebDataset tars, Parquet with encoded images, TFRecord files): one, a folder, a pattern, or a URI.

    A Parquet file that has image bytes is a container, any other one a list. A folder that has files named as images is a folder of images.
    corpus_id: name of the corpus in the set; None derives it from the location. Raises NotFoundError, UsageError, PermafrostError.
    """
    name = str(source)
    if not name:
        raise UsageError("the corpus is an empty name; expected a folder of images, a list file, or containers of images")
    if name.lower().startswith("file://"):
        name = unquote(urlsplit(name).path)
    if is_uri(name):
        return list_containers(containers_by_uri(name), corpus_id)
    path = Path(name)
    if path.is_dir():
        return _list_folder(path, corpus_id)
    if path.exists():
        return _list_file(path, corpus_id)
    if is_pattern(name):
        return list_containers(containers_by_pattern(name), corpus_id)
    raise NotFoundError(f"no such folder, list or container: {source}")


def names_corpus(name: str) -> bool:
    """Whether this is what `list_corpus` takes, and no single image: a folder, a list or a container that is there, a pattern or URI of
    containers."""
    path = Path(name)
    if path.exists():
        return path.is_dir() or is_table_file(path) or is_container_name(name)
    return (is_uri(name) or is_pattern(name)) and is_container_name(name)


def _list_folder(path: Path, corpus_id: str | None) -> Listing:
    # Only until the first image: a folder of images is not walked twice.
    if next(walk_files(path.resolve(), is_image_name, Counter()), None) is None:
        containers = containers_in_folder(path)
        if containers.names:
            return list_containers(containers, corpus_id)
    return list_folder(path, corpus_id)


def _list_file(path: Path, corpus_id: str | None) -> Listing:
    if is_table_file(path) and not (is_container_name(path.name) and holds_images(path)):
        return list_entries(path, corpus_id)
    if is_container_name(path.name):
        return list_containers(one_container(path), corpus_id)
    raise UsageError(
        f"{path} is neither a folder nor a list nor a container; expected a folder of images, a list with a column path that ends in .csv, "
        ".jsonl or .parquet, or images in a .tar, .parquet or .tfrecord"
    )
