"""From the settled rows of one corpus to a committed version: what extraction and import do alike at their end."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version as installed_version
from typing import Any

import pyarrow as pa
import pyarrow.compute

from storage.commit import commit
from storage.files import FileEntry
from storage.items import write_items, write_rejects
from storage.manifest import CorpusState, Manifest
from storage.names import SetName


@dataclass(frozen=True)
class Settled:
    """Where every listed entry of a corpus stands. `listed` is counted apart, so that the sum can be checked (`CorpusState`)."""

    corpus: str
    source: str
    listed: int
    items: Iterable[pa.Table]  # ITEM_SCHEMA and attributes, sorted by key
    rejects: Iterable[pa.Table]  # REJECT_SCHEMA
    pending: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)


def write_state(settled: Settled, name: SetName, base: Manifest | None = None) -> CorpusState:
    """Write the item files and rejects of the corpus; nobody sees them before a manifest lists them.

    base: the version before, whose files need not be sent again.
    """
    before = base.corpora.get(settled.corpus) if base else None
    shards: set[str] = set()

    def noting_shards() -> Iterator[pa.Table]:
        for table in settled.items:
            shards.update(pa.compute.unique(table["shard"]).to_pylist())
            yield table

    items = write_items(noting_shards(), name.folder, {entry.sha256 for entry in before.items} if before else ())
    rejects = write_rejects(settled.rejects, name.folder)
    return CorpusState(
        source=settled.source,
        listed=settled.listed,
        rows=sum(entry.rows for entry in items),
        rejected=rejects.rows if rejects else 0,
        pending=settled.pending,
        skipped=settled.skipped,
        items=items,
        shards=tuple(sorted(shards)),
        rejects=rejects,
    )


def commit_state(
    name: SetName,
    base: Manifest | None,
    corpus: str,
    state: CorpusState,
    shards: Iterable[FileEntry],
    golden: FileEntry,
    space_id: str,
    provenance: Mapping[str, Any],
    accept: Callable[[Manifest], None],
) -> Manifest:
    """Commit the state of a corpus on top of what is there; `base` itself where it holds that state already.

    shards: those that the state points at, and any others. accept and the errors are those of `storage.commit.commit`.
    """
    before = base.corpora.get(corpus) if base else None
    if base and before and replace(before, skipped=state.skipped) == state:
        return base
    draft = make_draft({corpus: state}, shards, golden, space_id, provenance)
    return commit(name, base, draft, corpus, accept)


def make_draft(
    corpora: Mapping[str, CorpusState], shards: Iterable[FileEntry], golden: FileEntry, space_id: str, provenance: Mapping[str, Any]
) -> Manifest:
    """The manifest of some corpora, before it has a number. shards: those that their states point at, and any others."""
    used = {sha256 for state in corpora.values() for sha256 in state.shards}
    return Manifest(
        version=0,
        parent=None,
        nonce=secrets.token_hex(16),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        space_id=space_id,
        shards=tuple(sorted((entry for entry in shards if entry.sha256 in used), key=lambda entry: entry.sha256)),
        golden=golden,
        corpora=corpora,
        provenance={**provenance, "permafrost": installed_version("permafrost")},
    )
