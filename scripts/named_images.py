"""The images that a user names on the command line: files, URIs, folders of them and list files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from extractor.content import is_uri, locate
from extractor.corpus import Listing, printable
from extractor.sources import list_corpus, names_corpus
from storage.errors import NotFoundError


@dataclass
class NamedImages:
    """`names` as they are shown, `locations` to read them from, entries of folders and lists that cannot be images, and how many names
    of folders were passed over, by reason."""

    names: list[str] = field(default_factory=list)
    locations: list[str] = field(default_factory=list)
    rejects: list[dict[str, str]] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)

    def add(self, listing: Listing, prefix: str) -> None:
        self.names += [prefix + item.key for item in listing.items]
        self.locations += [locate(listing.base, item) for item in listing.items]
        self.rejects += [{"image": prefix + r.key, "reason": r.reason, "message": r.message} for r in listing.rejects]
        self.skipped.update(listing.skipped)


def name_images(inputs: Sequence[str]) -> NamedImages:
    """Files and URIs as given, folders as their listing, lists and containers (tars, Parquet, TFRecord) under their keys.

    Raises NotFoundError for what is not there; what is wrong with a list or folder is what `list_corpus` raises.
    """
    images = NamedImages()
    for name in inputs:
        path = Path(name)
        if path.is_dir():
            images.add(list_corpus(path), os.path.join(printable(name), ""))
        elif names_corpus(name):
            images.add(list_corpus(name), "")
        elif path.exists() or is_uri(name):
            images.names.append(printable(name))
            images.locations.append(name)
        else:
            raise NotFoundError(f"no such image: {name} (nor a folder, list or feature set of this name)")
    return images
