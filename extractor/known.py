"""What is known before a run: embeddings by digest and items by key, from versions and from the finished units of runs that died."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute

from extractor.corpus import LISTING_REASONS, Listing
from extractor.diff import Known
from extractor.ledger import add_shard, known_items
from extractor.receipt import Receipt
from storage.errors import DamagedError
from storage.feature_set import FeatureSet
from storage.index import EmbeddingIndex, committed_index
from storage.names import SetName
from storage.runs import unfinished_runs


def what_is_known(
    name: SetName, base: FeatureSet | None, listing: Listing, mine: EmbeddingIndex | None = None
) -> tuple[EmbeddingIndex, dict[str, Known]]:
    """The embeddings of any version or unfinished run, and the items of the listing's corpus by key.

    The newest version has the first word on an item, an unfinished run where it saw the listed state of a file and the version did not.
    mine: what the asking run itself has stored so far.
    """
    index = committed_index(name)
    if mine:
        index.merge(mine)
    recovered: dict[str, Known] = {}
    stamps = {item.key: item.stamp for item in listing.items}
    for run in unfinished_runs(name):
        for table in run.receipts():
            try:
                receipt = Receipt.from_table(table)
            except DamagedError:  # as if its unit had not been finished
                continue
            if receipt.shard:
                index.look_at((receipt.shard,), name.folder)
            add_shard(index, receipt)
            if receipt.corpus == listing.corpus_id:
                recovered |= {key: item for key, item in known_items(receipt).items() if item.stamp == stamps.get(key)}
    committed = _usable(_committed_items(base, listing.corpus_id), index) if base else {}
    current = {key: item for key, item in committed.items() if item.stamp == stamps.get(key)}
    return index, committed | _usable(recovered, index) | current


def _usable(known: dict[str, Known], index: EmbeddingIndex) -> dict[str, Known]:
    """Leave out what a receipt left to another unit that never delivered it, and what stood in a shard that is gone."""
    return {key: item for key, item in known.items() if item.reject or item.digest in index.places}


def _committed_items(base: FeatureSet, corpus: str) -> dict[str, Known]:
    chosen = base.items.filter(pa.compute.equal(base.items["corpus"].cast(pa.string()), corpus))
    rejects = base.rejects.filter(pa.compute.equal(base.rejects["corpus"], corpus))
    known = {
        key: Known(stamp, digest)
        for key, stamp, digest in zip(*(chosen[name].to_pylist() for name in ("key", "stamp", "digest")), strict=True)
    }
    columns = (rejects[name].to_pylist() for name in ("key", "stamp", "digest", "reason", "message"))
    known |= {
        key: Known(stamp, digest, (reason, message))
        for key, stamp, digest, reason, message in zip(*columns, strict=True)
        if reason not in LISTING_REASONS
    }
    return known
