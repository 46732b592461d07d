"""A version after one of which files are gone for good: items that stood in them, or that point at them, are pending in it."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from storage.commit import commit_next
from storage.corpus_items import blocks_of_file
from storage.errors import ConflictError, PermafrostError
from storage.files import FileEntry
from storage.items import ITEM_SCHEMA, read_tables, write_items
from storage.manifest import CorpusState, Manifest, succeed
from storage.names import SetName
from storage.place import Place
from storage.versions import list_versions, read_manifest

_SHARD = pa.schema([ITEM_SCHEMA.field("shard")])


def give_up_items(name: SetName, damaged: Collection[str]) -> int | None:
    """Follow the newest version by one without these item files and rejects, and without items of these shards; returns its number, None
    where there is no need.

    damaged: paths in the set. The next extraction, or import, finds the items pending and makes them again. Raises ConflictError.
    """
    versions = list_versions(name.folder)
    try:
        base = read_manifest(name.folder, versions[-1]) if versions else None
    except PermafrostError:
        return None
    shards = {entry.sha256 for entry in base.shards if entry.path in damaged} if base else set()
    states = {corpus: _state_without(state, damaged, shards, name.folder) for corpus, state in base.corpora.items()} if base else {}
    if base is None or states == base.corpora:
        return None
    now = datetime.now(UTC).isoformat(timespec="seconds")
    draft = replace(base, nonce=secrets.token_hex(16), created=now, corpora=states, provenance={"operation": "repair"})

    def follow_base(latest: Manifest | None) -> Manifest:
        if latest is None or latest != base:
            raise ConflictError(f"another writer has committed to {name.folder} while it was mended: run the same command again")
        return succeed(latest, draft)

    return commit_next(name, follow_base).version


def _state_without(state: CorpusState, damaged: Collection[str], shards: Collection[str], folder: Place) -> CorpusState:
    files = [entry.path for entry in (*state.items, *([state.rejects] if state.rejects else []))]
    if not {*files} & {*damaged} and not {*state.shards} & {*shards}:
        return state
    items: list[FileEntry] = []
    used: set[str] = set()
    for entry in (entry for entry in state.items if entry.path not in damaged):
        there = set(read_tables([entry], folder, _SHARD)["shard"].unique().to_pylist())
        items += write_items(_without(entry, shards, folder), folder) if there & {*shards} else (entry,)
        used |= there - {*shards}
    rejects = state.rejects if state.rejects and state.rejects.path not in damaged else None
    rows, rejected = sum(entry.rows for entry in items), rejects.rows if rejects else 0
    pending = state.listed - rows - rejected
    return replace(
        state, items=tuple(items), shards=tuple(sorted(used)), rejects=rejects, rows=rows, rejected=rejected, pending=pending
    )  # fmt: skip


def _without(entry: FileEntry, shards: Collection[str], folder: Place) -> Iterator[pa.Table]:
    gone = pa.array(sorted(shards), pa.string())
    for block in blocks_of_file(entry, folder):
        yield block.filter(pc.invert(pc.is_in(block["shard"], value_set=gone)))
