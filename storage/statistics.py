"""Sums over a version's features that no label changes, kept beside the set: `statistics/<version>.json`, which names an HDF5 file.

They are derived, so anybody may remove them; and they are sums over images, so a takedown does. A file counts only for the very items
that it was made of.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from storage.content_files import files_in
from storage.digests import to_words
from storage.disk import sha256_file
from storage.errors import PermafrostError
from storage.files import (
    FileEntry,
    is_writable,
    list_names,
    open_listed,
    private_file,
    publish_by_content,
    remove,
    write_atomic,
)
from storage.manifest import Manifest
from storage.names import SetName
from storage.sealed import read_sealed, seal
from storage.versions import list_versions, read_manifest

FOLDER = "statistics"
SUFFIX = ".h5"
FOLDS = 20  # of about equally many images: a share of 5% can be held out
FORMAT = 2  # 1 had no squares

Sums = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FoldSums:
    """Of view 0 of all items, as offsets x from `pivot` [D], by fold: counts [F], sums [F, D] of x, and of x x^T the upper triangles
    [F, D * (D + 1) / 2], row by row. squares [F, D]: the most that the sums of x^2 have been; what was taken away since has left its
    rounding, in float32 products, behind."""

    pivot: npt.NDArray[np.float32]
    counts: Sums
    totals: Sums
    triangles: npt.NDArray[np.float32]
    squares: Sums

    @classmethod
    def zero(cls, pivot: npt.NDArray[np.float32]) -> FoldSums:
        width = len(pivot)
        return cls(
            pivot,
            np.zeros(FOLDS),
            np.zeros((FOLDS, width)),
            np.zeros((FOLDS, width * (width + 1) // 2), np.float32),
            np.zeros((FOLDS, width)),
        )

    def note_squares(self) -> None:
        """Those of now, where they are more than ever."""
        width = len(self.pivot)
        diagonal = np.cumsum(np.r_[0, np.arange(width, 1, -1)])
        np.maximum(self.squares, self.triangles[:, diagonal], out=self.squares)


def triangle_of(gram: Sums) -> Sums:
    """The upper triangle of a symmetric matrix [D, D], row by row. Rows as they are: four times as fast as by `triu_indices`."""
    return np.concatenate([row[i:] for i, row in enumerate(gram)])


def gram_of(triangle: npt.NDArray[np.floating[Any]], width: int) -> Sums:
    """The symmetric matrix [D, D] of an upper triangle."""
    upper, start = np.zeros((width, width)), 0
    for i in range(width):
        upper[i, i:] = triangle[start : start + width - i]
        start += width - i
    gram = upper + upper.T
    np.fill_diagonal(gram, upper.diagonal())
    return gram


def fold_of(digests: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """The fold of each of N images [N], by its digest (32 bytes): the same in every set, version and split."""
    return (to_words(digests)[:, 0] % np.uint64(FOLDS)).astype(np.int64)


def contents_of(manifest: Manifest) -> str:
    """A digest of the items of a version: a takedown changes it, a tag or a card does not."""
    entries = [entry.sha256 for _, state in sorted(manifest.corpora.items()) for entry in state.items]
    return hashlib.sha256("\n".join(entries).encode()).hexdigest()


def kept_versions(name: SetName) -> list[int]:
    """Versions that have statistics, ascending."""
    names = (each.removesuffix(".json") for each in list_names(name.folder / FOLDER) if each.endswith(".json"))
    return sorted(int(each) for each in names if each.isdecimal())


def read_statistics(name: SetName, manifest: Manifest) -> FoldSums | None:
    """Those of a version; None if there are none, or what is there is damaged or of other items."""
    with suppress(PermafrostError, OSError, KeyError, TypeError):
        said = read_sealed(name.folder / FOLDER / f"{manifest.version:08d}.json", "statistics")
        if (said["format"], said["contents"], said["folds"]) != (FORMAT, contents_of(manifest), FOLDS):
            return None
        return open_listed(name.folder, FileEntry(**said["file"]), lambda path: _read(path, said["file"]["sha256"]))
    return None


def _read(path: Path, sha256: str) -> FoldSums | None:
    if sha256_file(path) != sha256:
        return None
    with h5py.File(path) as file:
        return FoldSums(file["pivot"][:], file["counts"][:], file["totals"][:], file["grams"][:], file["squares"][:])


def keep_statistics(name: SetName, manifest: Manifest, found: FoldSums) -> None:
    """Keep them for a version in the place of those of others; where nobody may write, they are not kept.

    Of a version that a takedown rewrites meanwhile nothing is left: it removes what it finds, and what it does not find is removed here.
    """
    folder = name.folder / FOLDER
    if not is_writable(name.folder):
        return
    with private_file(folder) as partial:
        with h5py.File(partial, "w") as file:
            file["pivot"], file["counts"], file["totals"] = found.pivot, found.counts, found.totals
            file["grams"], file["squares"] = found.triangles, found.squares
        sha256, size = publish_by_content(partial, folder, SUFFIX)
    entry = {"path": f"{FOLDER}/{sha256}{SUFFIX}", "sha256": sha256, "bytes": size, "rows": FOLDS}
    said = {"format": FORMAT, "version": manifest.version, "contents": contents_of(manifest), "folds": FOLDS, "file": entry}
    write_atomic(folder / f"{manifest.version:08d}.json", seal(said))
    for version in kept_versions(name):
        if version != manifest.version:
            remove(folder / f"{version:08d}.json")
    remove_stale_statistics(name)


def stale_statistics(name: SetName) -> Iterator[str]:
    """Paths in the set of statistics of versions that are gone or were rewritten, or that nobody can read; then of files that no other
    names."""
    versions, named = set(list_versions(name.folder)), set[str]()
    for version in kept_versions(name):
        path = f"{FOLDER}/{version:08d}.json"
        try:
            said = read_sealed(name.folder / path, "statistics")
            if version in versions and said["contents"] == contents_of(read_manifest(name.folder, version)):
                named.add(said["file"]["path"])
                continue
        except (PermafrostError, KeyError, TypeError):
            pass
        yield path
    yield from (entry.path for entry in files_in(name.folder, FOLDER) if entry.path.endswith(SUFFIX) and entry.path not in named)


def remove_stale_statistics(name: SetName) -> list[str]:
    """Remove them; their paths."""
    paths = list(stale_statistics(name))
    for path in paths:
        with suppress(FileNotFoundError):
            remove(name.folder / path)
    return paths
