"""Small pictures of items for a report, from the images themselves, where these are at hand and still the ones that were embedded."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import storage
from storage.errors import NotFoundError, PermafrostError

SIDE = 96  # pixels
QUALITY = 80  # about 3 KB a picture
MOST_LISTED = 200_000  # items of a list or container that are listed again to find where a few of them are


class ItemPictures:
    """Pictures by (corpus, key, digest): below `folder`, if one is named, else where the corpus was when it was embedded."""

    def __init__(self, feature_set: storage.FeatureSet, folder: str | None = None) -> None:
        if folder and not Path(folder).is_dir():
            raise NotFoundError(f"no such folder of images: {folder}")
        self._folder = folder
        self._sources = {corpus: state.source for corpus, state in feature_set.manifest.corpora.items()}
        self._is_small = feature_set.rows <= MOST_LISTED

    def __call__(self, items: Sequence[tuple[str, str, bytes]]) -> list[bytes | None]:
        return [self._picture(*item) for item in items]

    def _picture(self, corpus: str, key: str, digest: bytes) -> bytes | None:
        from extractor.content import read_content
        from extractor.image_policy import decode
        from extractor.limits import UndecodableError

        location = self._location(corpus, key)
        encoded = read_content(location).encoded if location else b""
        if hashlib.sha256(encoded).digest() != digest:
            return None
        try:
            return _jpeg(decode(encoded, SIDE)[0].tobytes())
        except UndecodableError:
            return None

    def _location(self, corpus: str, key: str) -> str | None:
        base = self._folder or self._sources.get(corpus, "")
        if base and Path(base).is_dir():
            return _below(Path(base), key)
        return _listed(base).get(key) if base and self._is_small and Path(base).exists() else None


def _below(base: Path, key: str) -> str | None:
    """The path of a key, which may come from anybody's list, if it stays below the folder."""
    path = os.path.realpath(base / key)
    return path if path.startswith(os.path.join(os.path.realpath(base), "")) and os.path.isfile(path) else None


@lru_cache(maxsize=8)
def _listed(source: str) -> Mapping[str, str]:
    """Where the items of a list or container are, by key; nothing for one that can no longer be read."""
    from extractor.content import locate
    from extractor.sources import list_corpus

    try:
        listing = list_corpus(source)
    except PermafrostError:
        return {}
    return {item.key: locate(listing.base, item) for item in listing.items}


def _jpeg(pixels: bytes) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.frombytes("RGB", (SIDE, SIDE), pixels).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()
