"""From the account of a run to the manifest that it asks to commit."""

from __future__ import annotations

import secrets
from importlib.metadata import version as installed_version

import pyarrow as pa
import pyarrow.compute

from extractor.corpus import Listing
from extractor.job import WorkerInfo
from extractor.ledger import Standing
from storage.files import FileEntry
from storage.index import EmbeddingIndex
from storage.items import write_items, write_table
from storage.manifest import CorpusState, Manifest
from storage.runs import RunFolder


def write_state(standing: Standing, listing: Listing, run: RunFolder) -> CorpusState:
    """Write the item files and rejects of the corpus; nobody sees them before a manifest lists them."""
    rejects = write_table(standing.rejects, run.set_folder, "rejects") if standing.rejects.num_rows else None
    return CorpusState(
        source=str(listing.source),
        listed=listing.listed,
        rows=standing.items.num_rows,
        rejected=standing.rejects.num_rows,
        pending=standing.pending,
        skipped=listing.skipped,
        items=write_items(standing.items, run.set_folder),
        shards=tuple(sorted(pa.compute.unique(standing.items["shard"].cast(pa.string())).to_pylist())),
        rejects=rejects,
    )


def draft_manifest(
    state: CorpusState, listing: Listing, index: EmbeddingIndex, golden: FileEntry, worker: WorkerInfo, run: RunFolder, now: str
) -> Manifest:
    """A manifest of this corpus alone; `storage.commit` puts it on top of what is there."""
    used = set(state.shards)
    return Manifest(
        version=0,
        parent=None,
        nonce=secrets.token_hex(16),
        created=now,
        space_id=worker.space.id,
        shards=tuple(entry for sha256, entry in sorted(index.shards.items()) if sha256 in used),
        golden=golden,
        corpora={listing.corpus_id: state},
        provenance={
            "operation": "extract",
            "run": run.run_id,
            "permafrost": installed_version("permafrost"),
            "environment": worker.environment,
        },
    )
