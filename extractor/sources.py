"""From what a user names as a corpus to its listing: which kind of source it is."""

from __future__ import annotations

from pathlib import Path

from extractor.corpus import Listing
from extractor.folder_corpus import list_folder
from extractor.list_corpus import list_entries
from storage.errors import NotFoundError, UsageError
from storage.table_file import is_table_file


def list_corpus(source: str | Path, corpus_id: str | None = None) -> Listing:
    """List a folder of images, or a list file (CSV, JSONL, Parquet) of paths and URIs, without reading a single image.

    corpus_id: name of the corpus in the set; None derives it from the location. Raises NotFoundError, UsageError, PermafrostError.
    """
    if not str(source):
        raise UsageError("the corpus is an empty name; expected a folder of images or a list file")
    path = Path(source)
    if not path.exists():
        raise NotFoundError(f"no such folder or list: {source}")
    if path.is_dir():
        return list_folder(path, corpus_id)
    if is_table_file(path):
        return list_entries(path, corpus_id)
    raise UsageError(
        f"{source} is neither a folder nor a list; expected a folder of images, or a list with a column path that ends in .csv, .jsonl or "
        ".parquet"
    )
