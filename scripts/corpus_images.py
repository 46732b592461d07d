"""The images of a set's items, for heads that read images: where its corpora were, or where the user says that they are now."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from extractor.sources import names_corpus
from scripts.console import warn
from storage.errors import UsageError
from storage.feature_set import FeatureSet
from storage.space import Space

if TYPE_CHECKING:
    from extractor.set_images import SetImages


def add_corpus_option(parser: argparse._ActionsContainer, when: str) -> None:
    parser.add_argument(
        "--corpus",
        action="append",
        default=[],
        metavar="[ID=]SOURCE",
        help=f"{when}: where the set's images are now (folder, list, tar, ...; default: where they were). Of several corpora ID=SOURCE "
        "each; repeatable",
    )


def images_of(feature_set: FeatureSet, space: Space, sources: Sequence[str], memory: int | None = None) -> SetImages:
    """The set's images as a head of this space, of pixels, reads them. Raises UsageError, NotFoundError."""
    from extractor.input_kind import InputKind
    from extractor.set_images import MEMORY_BYTES, SetImages

    kind = InputKind(space.input_size, space.image_policy)
    return SetImages(feature_set, kind, _by_corpus(feature_set, sources), MEMORY_BYTES if memory is None else memory, warn)


def _by_corpus(feature_set: FeatureSet, sources: Sequence[str]) -> dict[str, str]:
    corpora = sorted(feature_set.manifest.corpora)
    found: dict[str, str] = {}
    for text in sources:
        name, separator, source = text.partition("=")
        if not (separator and name in corpora):
            if separator and not {"/", ":"} & set(name) and not (Path(text).exists() or names_corpus(text)):
                raise UsageError(
                    f"{feature_set.name} has no corpus {name!r}, which --corpus {text} names: expected one of {', '.join(corpora)}"
                )
            if len(corpora) > 1:
                raise UsageError(
                    f"{feature_set.name} has several corpora ({', '.join(corpora)}): pass --corpus ID=SOURCE for each that moved"
                )
            name, source = corpora[0], text
        if name in found:
            raise UsageError(f"--corpus names the place of {name} twice: {found[name]} and {source}")
        found[name] = source
    return found
