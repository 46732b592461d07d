"""The feature space of a file of embeddings, and whether they fit the set that they are for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from storage.changes import DEFAULT_CORPUS
from storage.errors import UsageError
from storage.feature_set import SetDescription, open_set, read_description
from storage.files import exists
from storage.flat_file import FlatFile, text_cell
from storage.golden import GoldenImages
from storage.import_columns import own_column
from storage.import_options import ImportOptions
from storage.names import SetName
from storage.origin import Origin
from storage.shard import DEFAULT_FORMAT
from storage.space import Space, require_same_space
from storage.stated_space import read_space
from storage.store import require_possible_set


@dataclass(frozen=True)
class Source:
    """The space that the embeddings are in, the recipe that goes with it, and golden images if any are known."""

    space: Space
    backbone: Mapping[str, Any]
    golden: GoldenImages | None = None


def source_of(flat: FlatFile, options: ImportOptions, name: SetName) -> Source:
    """As the options or the file say. name: of the set to be. Raises UsageError, NotFoundError, SpaceMismatchError."""
    if options.like:
        other = open_set(options.like)
        plain = other.description.plain  # a file has one embedding a row
        source = Source(plain.space, plain.backbone, other.golden().plain)
        if flat.shape != other.shape:
            raise UsageError(f"{flat.path} holds embeddings of shape {list(flat.shape)}, {options.like} of {list(other.shape)}")
    elif options.space:
        source = Source(*read_space(options.space, options.dtype or _usual_dtype(flat, name)))
    elif flat.origin:
        source = Source(flat.origin.space, flat.origin.backbone)
    else:
        raise UsageError(
            f"{flat.path} does not say which feature space its embeddings are in: pass --space FILE.json with a statement of their origin "
            '(such as {"model": ..., "weights": ..., "preprocessing": ...}), or --like ROOT/TEAM/SET if they are in the space of that set'
        )
    if flat.origin:
        _require_own_space(flat, flat.origin, source)
    if options.dtype and source.space.dtype != options.dtype:
        raise UsageError(f"the feature space stores {source.space.dtype}; leave out --dtype {options.dtype}")
    return source


def _usual_dtype(flat: FlatFile, name: SetName) -> str:
    """That of the set that is there; else that of the file, as far as it can be stored."""
    if exists(name.folder / "set.json"):
        return read_description(name).dtype
    return "float16" if flat.dtype.itemsize == 2 else "float32"


def _require_own_space(flat: FlatFile, origin: Origin, source: Source) -> None:
    way_out = "The file says itself which space it is in: leave out --space and --like"
    require_same_space(origin.space, source.space, f"the file {flat.path}", "the space that was passed", way_out)


def corpus_of_file(flat: FlatFile) -> str:
    """The corpus of an export, so that a set can come back as it went; else the one that imports have."""
    if not flat.origin:
        return DEFAULT_CORPUS
    corpora = sorted({text for value in own_column(flat, "corpus") if (text := text_cell(value, flat.path))})
    if len(corpora) > 1:
        raise UsageError(
            f"{flat.path} holds the corpora {', '.join(corpora)}: pass --corpus ID to import one of them (and --add with each further "
            "one), or --corpus-id ID to make one corpus of all of them"
        )
    return corpora[0] if corpora else DEFAULT_CORPUS


def set_for(name: SetName, flat: FlatFile, source: Source, options: ImportOptions) -> SetDescription:
    """The set that is there, or the one to make."""
    require_possible_set(name)
    if exists(name.folder / "set.json"):
        return read_description(name)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return SetDescription(source.space, options.format or DEFAULT_FORMAT, flat.shape, source.space.dtype, source.backbone, created)


def require_fit(description: SetDescription, name: SetName, flat: FlatFile, source: Source) -> None:
    """Raises SpaceMismatchError, UsageError for another shape."""
    way_out = "Choose another set name, or state the space that the embeddings are really in"
    require_same_space(description.space, source.space, f"the set {name.folder}", f"the file {flat.path}", way_out)
    if description.shape != flat.shape:
        raise UsageError(f"{flat.path} holds embeddings of shape {list(flat.shape)}, the set {name.folder} of {list(description.shape)}")
