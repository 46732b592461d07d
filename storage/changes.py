"""Changing single items of a set: append, replace, remove, relabel. Each makes the next version, on top of whatever others did meanwhile.

A set is named ROOT/TEAM/SET[@VERSION]: the version that the change is computed from, the newest one if none is named. What goes together
with what other writers do, and what does not, is in docs/store.md ("Several writers"); the rule is in `storage.item_change`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
import pyarrow as pa

from storage.corpus_items import PLAIN_ITEMS, item_blocks, seen_keys, with_keys, without_keys
from storage.errors import NotFoundError, UsageError
from storage.feature_set import FeatureSet, open_set
from storage.flat_arrays import ArraysFlat
from storage.import_columns import attribute_names, read_attributes
from storage.import_rows import Imported, read_rows, without_taken, write_rows
from storage.item_change import ItemChange, commit_change
from storage.items import sorted_items
from storage.kept_columns import keep_columns
from storage.more import nor_more
from storage.names import SetName, check_name
from storage.requests import corpus_of_request, keys_in_order, keys_of, require_meant_names, texts_by_key
from storage.shard import shard_format
from storage.shard_layout import ShardLayout
from storage.stated_space import STATED
from storage.tombstones import read_tombstones

DEFAULT_CORPUS = "imported"
_EMBEDDINGS = "the embeddings"


@dataclass(frozen=True)
class Changed:
    """The version that holds the change. committed: False where the newest version held it already."""

    set: str
    version: int
    committed: bool
    corpus: str
    keys: int  # that were asked for
    rejected: Mapping[str, str]  # key -> reason, of embeddings that cannot be stored


def append(
    uri: str | Path | SetName, keys: Sequence[str], embeddings: npt.ArrayLike, *, corpus: str = DEFAULT_CORPUS, **columns: Any
) -> Changed:
    """Add items that are not in the corpus yet. A key that is there with the same image, embedding and columns stays as it is.

    embeddings: [N, *shape], floating point, of view 0 of a set without other views, in the set's space: nobody can check that.
    columns: label, split, digest (sha256 of the image; else a stand-in is made of corpus, key and embedding) and attributes, N values each.
    The corpus is one by hand: the next extraction of a folder into the same corpus would mirror that folder, and take the items out.

    Raises AlreadyExistsError (a key is there with something else: replace it), ConflictError (another writer did that meanwhile),
    NotFoundError, UsageError, DamagedError.
    """
    feature_set, asked = open_set(uri), keys_in_order(keys, _EMBEDDINGS)
    return _put(feature_set, corpus, asked, embeddings, columns, are_new=True)


def replace(
    uri: str | Path | SetName, keys: Sequence[str], embeddings: npt.ArrayLike, *, corpus: str | None = None, **columns: Any
) -> Changed:
    """Put other images in the place of items, as for `append`. corpus: None for the one that has the keys.

    Labels, splits and attributes that are not given stay as they are, and so do items whose new embedding cannot be stored
    (`Changed.rejected` names them).

    Raises NotFoundError (no such key), ConflictError (another writer has changed one of them meanwhile), UsageError, DamagedError.
    """
    feature_set, asked = open_set(uri), keys_in_order(keys, _EMBEDDINGS)
    return _put(feature_set, corpus_of_request(corpus) or corpus_of(feature_set, asked), asked, embeddings, columns, are_new=False)


def remove(uri: str | Path | SetName, keys: Collection[str], *, corpus: str | None = None) -> Changed:
    """Take items, or rejects, out of the newest version. Older versions keep them: see `permafrost store takedown`.

    An extraction of a folder that still has them would put them back. Raises as `replace` does.
    """
    feature_set = open_set(uri)
    asked = keys_of(keys)
    change = ItemChange(corpus_of_request(corpus) or corpus_of(feature_set, asked), "", tuple(dict.fromkeys(asked)))
    return _commit(feature_set, change, "remove", {})


def relabel(
    uri: str | Path | SetName,
    labels: Mapping[str, str | None] | None = None,
    splits: Mapping[str, str | None] | None = None,
    *,
    corpus: str | None = None,
) -> Changed:
    """Give items other labels or splits, by key; None takes one away. No embedding is touched.

    An extraction of a folder gives them again what the folder says. Raises as `replace` does.
    """
    feature_set = open_set(uri)
    given = {"label": texts_by_key(labels, "labels"), "split": texts_by_key(splits, "splits")}
    keys = pa.array(dict.fromkeys([*given["label"], *given["split"]]), pa.string())
    owner = corpus_of_request(corpus) or corpus_of(feature_set, keys.to_pylist())
    blocks = item_blocks(feature_set.manifest.corpora.get(owner), feature_set.name.folder)
    found = [with_keys(block, keys) for block in blocks]
    items = pa.concat_tables(found) if found else PLAIN_ITEMS.empty_table()
    held = items["key"].to_pylist()
    for name, values in given.items():
        new = [values.get(key, old) for key, old in zip(held, items[name].to_pylist(), strict=True)]
        items = items.set_column(items.schema.get_field_index(name), PLAIN_ITEMS.field(name), pa.array(new, pa.string()))
    if missing := set(keys.to_pylist()) - set(held):
        raise NotFoundError(f"{feature_set.name.folder} has no item {min(missing)!r} in corpus {owner!r}{nor_more(missing)}")
    change = ItemChange(owner, "", tuple(keys.to_pylist()), items)
    return _commit(feature_set, change, "relabel", {})


def corpus_of(feature_set: FeatureSet, keys: Collection[str]) -> str:
    """The one corpus of a version that has any of these keys. Raises NotFoundError, UsageError (several have)."""
    if not keys:
        raise UsageError("no keys are named, so nothing can be changed")
    wanted = pa.array(keys, pa.string())
    found = [corpus for corpus, state in feature_set.manifest.corpora.items() if seen_keys(state, feature_set.name.folder, wanted)]
    if not found:
        raise NotFoundError(
            f"version {feature_set.version} of {feature_set.name.folder} has none of the keys, such as {next(iter(keys))!r}"
        )
    if len(found) > 1:
        raise UsageError(f"the keys are in several corpora of {feature_set.name.folder}: say in which one, {', '.join(found)}")
    return found[0]


def change_of(imported: Imported, items: pa.Table, source: str, are_new: bool) -> ItemChange:
    """The change that puts rows which have been written to shards into their corpus. items: those of them that can be stored.

    What cannot be stored takes the place of nothing: the item that is there stays.
    """
    rejects, good = imported.rejects_table(), dict.fromkeys(items["key"].to_pylist())
    bad = tuple(dict.fromkeys(key for key in rejects["key"].to_pylist() if key not in good))
    if are_new:
        return ItemChange(imported.corpus, source, (*good, *bad), items, rejects, tuple(imported.shards), are_new)
    rejects = without_keys(rejects, pa.array(bad, pa.string()))
    return ItemChange(imported.corpus, source, tuple(good), items, rejects, tuple(imported.shards), staying=bad)


def _put(
    feature_set: FeatureSet, corpus: str, keys: Sequence[str], embeddings: npt.ArrayLike, columns: Mapping[str, Any], are_new: bool
) -> Changed:
    name, description = feature_set.name, feature_set.description
    check_name(corpus, "corpus")
    require_meant_names(columns)
    flat = ArraysFlat(keys, embeddings, columns)
    if len(feature_set.views) > 1:
        raise UsageError(f"{name.folder} has {len(feature_set.views)} views of each image, and single embeddings cannot be put beside them")
    if flat.shape != description.shape:
        raise UsageError(f"the embeddings have shape {list(flat.shape)}, those of {name.folder} {list(description.shape)}")
    kept, left_out = attribute_names(flat)
    if left_out:
        raise UsageError(
            f"{left_out[0]!r} cannot be an attribute: it is no name, or one of the set's own, or has not one short value for each key"
        )
    stones = read_tombstones(name)
    rows, taken = without_taken(read_rows(flat, None), stones, corpus)
    _require_none_taken(name, sum(taken.values()))
    imported = Imported(corpus, read_attributes(flat, kept))
    layout = ShardLayout(description.shape, description.dtype, description.space.id)
    write_rows(flat, rows, imported, feature_set, stones, name.folder, shard_format(description.shard_format), layout)
    _require_none_taken(name, imported.taken)
    rejected = {row.key: reason for row, reason, _ in imported.rejects}
    items, _ = keep_columns(sorted_items(imported.items_table()), flat.further, feature_set.manifest.corpora.get(corpus), name.folder)
    return _commit(feature_set, change_of(imported, items, "", are_new), "append" if are_new else "replace", rejected)


def _require_none_taken(name: SetName, taken: int) -> None:
    if taken:
        raise UsageError(f"{taken} of the keys, or their images, were taken down in {name.root}, and do not come back: leave them out")


def _commit(feature_set: FeatureSet, change: ItemChange, operation: str, rejected: Mapping[str, str]) -> Changed:
    base = feature_set.manifest
    stated = {"space": STATED} if change.shards else {}
    after, is_new = commit_change(feature_set.name, base, change, base.golden, feature_set.space.id, {"operation": operation, **stated})
    named = f"{feature_set.name.folder}"
    asked = len(change.keys) + len(change.staying)
    return Changed(named, after.version, is_new, change.corpus, asked, rejected)
