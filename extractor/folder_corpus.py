"""A corpus as a folder tree: what is in it, in a stable order, without reading a single image."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import pyarrow as pa

from extractor.content import stamp_of
from extractor.corpus import Item, Listing, ListingReject, derived_id, printable
from extractor.listing import ADD_ROWS, ListingBuilder
from storage.errors import PermafrostError, UsageError
from storage.store import STORE_FILE

_JPEG, _OTHERS = ("jpg", "jpeg", "jpe", "jfif", "mpo"), ("png", "gif", "bmp", "dib", "webp", "avif", "ico")
_TIFF, _NETPBM = ("tif", "tiff"), ("ppm", "pgm", "pbm", "pnm")
IMAGE_SUFFIXES = frozenset(f".{name}" for name in (*_JPEG, *_OTHERS, *_TIFF, *_NETPBM))
SPLIT_NAMES = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}


def list_folder(source: Path, corpus_id: str | None = None) -> Listing:
    """List the images of a folder tree by file name, sorted by key.

    Class folders give labels: `dress/a.jpg` has label "dress", also below deeper folders; where all top folders are names of splits
    (train, val, valid, validation, test), these give `split` and the folders in them the labels. Files at the top have no label.
    Links that lead out of the folder, links to folders, hidden names and names without an image ending are skipped and counted.
    Raises UsageError (no images), PermafrostError (a folder in it cannot be read).
    """
    root = source.resolve()
    skipped: Counter[str] = Counter()
    listing = ListingBuilder()
    tops: set[str] = set()
    files = walk_files(root, is_image_name, skipped)
    while found := list(islice(files, ADD_ROWS)):
        items = [Item(key, stamp, bytes=size) for key, stamp, size in found if _is_unicode(key)]
        listing.add(items)
        bad = ((key, stamp) for key, stamp, _ in found if not _is_unicode(key))
        listing.reject(ListingReject(printable(key), stamp, "bad-name", "the file name is not valid UTF-8") for key, stamp in bad)
        tops.update(key.split("/")[0].lower() for key, _, _ in found if "/" in key)
    if not (listing.found_items or listing.first_reject()):
        raise UsageError(f"no images in {source} by their file names ({_say(skipped)}); expected names such as photo.jpg or photo.png")
    has_splits = bool(tops) and tops <= SPLIT_NAMES.keys()
    return listing.finish(corpus_id or derived_id(root), root, root, skipped, _not_repeated, partial(_with_labels, has_splits))


def is_image_name(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def walk_files(root: Path, is_wanted: Callable[[str], bool], skipped: Counter[str]) -> Iterator[tuple[str, str, int]]:
    """(path below the root with '/', stamp, size) of every file whose name is wanted. What is passed over is counted by reason."""

    def unreadable(error: OSError) -> None:
        raise PermafrostError(f"cannot list {error.filename}: {error.strerror}; its images would be missing without a word")

    for folder, folders, names in os.walk(root, onerror=unreadable):
        if STORE_FILE in names:  # our own output is no input; its files change with every run
            skipped["feature-store"] += 1
            folders.clear()
            continue
        for name in list(folders):
            if name.startswith("."):
                skipped["hidden"] += 1
                folders.remove(name)
            elif os.path.islink(os.path.join(folder, name)):
                skipped["link-to-folder"] += 1  # os.walk does not follow it: it would list images twice or run in circles
        for name in names:
            path = os.path.join(folder, name)
            reason, stamp, size = _look_at(path, name, root, is_wanted)
            if reason:
                skipped[reason] += 1
            else:
                yield os.path.relpath(path, root).replace(os.sep, "/"), stamp, size


def _look_at(path: str, name: str, root: Path, is_wanted: Callable[[str], bool]) -> tuple[str, str, int]:
    """(reason to skip, "", 0) or ("", stamp, size)."""
    if name.startswith("."):
        return "hidden", "", 0
    if not is_wanted(name):
        return "not-an-image-name", "", 0
    try:
        if os.path.islink(path) and not Path(path).resolve(strict=True).is_relative_to(root):
            return "link-outside", "", 0
        status = os.stat(path)
    except (OSError, RuntimeError):  # RuntimeError: a link that leads to itself
        return "broken-link", "", 0
    if not stat.S_ISREG(status.st_mode):
        return "not-a-file", "", 0
    return "", stamp_of(status), status.st_size


def _with_labels(has_splits: bool, block: pa.Table) -> pa.Table:
    labels, splits = zip(*(_label_and_split(key, has_splits) for key in block["key"].to_pylist()), strict=True)
    for name, values in (("label", labels), ("split", splits)):
        block = block.set_column(block.schema.get_field_index(name), block.schema.field(name), pa.array(values, pa.string()))
    return block


def _not_repeated(item: Item, place: int, holder: Item, its_place: int) -> str:
    """Two files of one folder have two names."""
    raise AssertionError(f"{item.key} was listed twice")


def _label_and_split(key: str, has_splits: bool) -> tuple[str | None, str | None]:
    parts = key.split("/")[:-1]
    split = SPLIT_NAMES[parts.pop(0).lower()] if has_splits and parts else None
    return (parts[0] if parts else None), split


def _is_unicode(key: str) -> bool:
    try:
        key.encode("utf-8")
    except UnicodeEncodeError:  # os.walk hands undecodable bytes over as surrogates
        return False
    return True


def _say(skipped: Counter[str]) -> str:
    return ", ".join(f"{n} {reason}" for reason, n in sorted(skipped.items())) or "it is empty"
