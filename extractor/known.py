"""What is known before a run: embeddings by digest and items by key, from versions and from the finished units of runs that died."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute

from extractor.diff import Known
from extractor.ledger import add_shard, known_items
from extractor.receipt import Receipt
from storage.feature_set import FeatureSet
from storage.index import EmbeddingIndex, committed_index
from storage.names import SetName
from storage.runs import unfinished_runs


def what_is_known(
    name: SetName, base: FeatureSet | None, corpus: str, mine: EmbeddingIndex | None = None
) -> tuple[EmbeddingIndex, dict[str, Known]]:
    """The embeddings of any version or unfinished run, and the items of `corpus` by key; the newest version has the last word.

    mine: what the asking run itself has stored so far.
    """
    index = committed_index(name)
    if mine:
        index.merge(mine)
    known: dict[str, Known] = {}
    for run in unfinished_runs(name):
        for table in run.receipts():
            receipt = Receipt.from_table(table)
            if receipt.shard:
                index.look_at((receipt.shard,), name.folder)
            add_shard(index, receipt)
            if receipt.corpus == corpus:
                known |= known_items(receipt)
    known |= _committed_items(base, corpus) if base else {}
    # Left out: what a receipt left to another unit that never delivered it, and what stood in a shard that is gone.
    return index, {key: item for key, item in known.items() if item.reject or item.digest in index.places}


def _committed_items(base: FeatureSet, corpus: str) -> dict[str, Known]:
    chosen = base.items.filter(pa.compute.equal(base.items["corpus"].cast(pa.string()), corpus))
    rejects = base.rejects.filter(pa.compute.equal(base.rejects["corpus"], corpus))
    known = {
        key: Known(stamp, digest)
        for key, stamp, digest in zip(*(chosen[name].to_pylist() for name in ("key", "stamp", "digest")), strict=True)
    }
    columns = (rejects[name].to_pylist() for name in ("key", "stamp", "digest", "reason", "message"))
    known |= {key: Known(stamp, digest, (reason, message)) for key, stamp, digest, reason, message in zip(*columns, strict=True)}
    return known
