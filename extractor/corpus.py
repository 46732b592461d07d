"""A corpus as a folder tree: what is in it, in a stable order, without reading a single image."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from storage.errors import NotFoundError, PermafrostError, UsageError
from storage.names import check_name
from storage.store import STORE_FILE

_JPEG, _OTHERS = ("jpg", "jpeg", "jpe", "jfif", "mpo"), ("png", "gif", "bmp", "dib", "webp", "avif", "ico")
_TIFF, _NETPBM = ("tif", "tiff"), ("ppm", "pgm", "pbm", "pnm")
IMAGE_SUFFIXES = frozenset(f".{name}" for name in (*_JPEG, *_OTHERS, *_TIFF, *_NETPBM))
SPLIT_NAMES = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}


@dataclass(frozen=True)
class Item:
    key: str  # path relative to the corpus, with '/'; unique
    stamp: str  # size in bytes and mtime in ns: changes when the file does
    label: str | None = None
    split: str | None = None


@dataclass(frozen=True)
class Listing:
    """The items of a corpus, sorted by key, and how many names were passed over, by reason."""

    corpus_id: str
    source: Path
    items: tuple[Item, ...]
    unnameable: tuple[Item, ...]  # file names that are no valid Unicode: listed, then rejected; keys are escaped
    skipped: dict[str, int]

    @property
    def listed(self) -> int:
        return len(self.items) + len(self.unnameable)


def list_folder(source: str | Path, corpus_id: str | None = None) -> Listing:
    """List the images of a folder tree by file name, sorted by key.

    Class folders give labels: `dress/a.jpg` has label "dress", also below deeper folders; where all top folders are names of splits
    (train, val, valid, validation, test), these give `split` and the folders in them the labels. Files at the top have no label.
    Links that lead out of the folder, links to folders, hidden names and names without an image ending are skipped and counted.
    Raises NotFoundError, UsageError (not a folder, no images), PermafrostError (a folder in it cannot be read).
    """
    if not str(source):
        raise UsageError("the corpus is an empty name; expected a folder of images")
    root = Path(source)
    if not root.exists():
        raise NotFoundError(f"no such folder: {source}")
    if not root.is_dir():
        raise UsageError(f"{source} is not a folder; expected a folder of images, with one folder a class for labels")
    root = root.resolve()
    skipped: Counter[str] = Counter()
    found = sorted(_walk(root, skipped), key=lambda pair: os.fsencode(pair[0]))
    has_splits = _tops_are_splits([key for key, _ in found])
    items, unnameable = [], []
    for key, stamp in found:
        label, split = _label_and_split(key, has_splits)
        if _is_unicode(key):
            items.append(Item(key, stamp, label, split))
        else:
            unnameable.append(Item(os.fsencode(key).decode("utf-8", "backslashreplace"), stamp))
    if not found:
        raise UsageError(f"no images in {source} by their file names ({_say(skipped)}); expected names such as photo.jpg or photo.png")
    return Listing(corpus_id or derived_id(root), root, tuple(items), tuple(unnameable), dict(sorted(skipped.items())))


def derived_id(root: Path) -> str:
    """A corpus id from its location: readable, and different for two folders of one name."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", root.name).strip("-.") or "corpus"
    return check_name(f"{readable[:60]}-{hashlib.sha256(os.fsencode(root)).hexdigest()[:8]}", "corpus id")


def _walk(root: Path, skipped: Counter[str]) -> Iterator[tuple[str, str]]:
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
            reason, stamp = _look_at(path, name, root)
            if reason:
                skipped[reason] += 1
            else:
                yield os.path.relpath(path, root).replace(os.sep, "/"), stamp


def _look_at(path: str, name: str, root: Path) -> tuple[str, str]:
    """(reason to skip, "") or ("", stamp)."""
    if name.startswith("."):
        return "hidden", ""
    if os.path.splitext(name)[1].lower() not in IMAGE_SUFFIXES:
        return "not-an-image-name", ""
    try:
        if os.path.islink(path) and not Path(path).resolve(strict=True).is_relative_to(root):
            return "link-outside", ""
        status = os.stat(path)
    except (OSError, RuntimeError):  # RuntimeError: a link that leads to itself
        return "broken-link", ""
    if not stat.S_ISREG(status.st_mode):
        return "not-a-file", ""
    return "", f"{status.st_size}-{status.st_mtime_ns}"


def _tops_are_splits(keys: list[str]) -> bool:
    tops = {key.split("/")[0].lower() for key in keys if "/" in key}
    return bool(tops) and tops <= SPLIT_NAMES.keys()


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
