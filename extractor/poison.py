"""Images that kill or break whoever works on them: found by splitting their unit (`unit_queue`), and accounted for here."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from extractor.content import Content, locate, read_content
from extractor.job import Job
from extractor.receipt import Receipt, items_table, masked
from extractor.unit_queue import Fault, Poison

REASON = "fatal"


def condemn(poison: Poison, job: Job) -> Receipt:
    """Write the receipt that no worker lives to write: its one item is a reject.

    The driver reads and hashes the file, which decodes nothing: with its digest, copies in other units, which leave the image to this
    one, are rejects as well and kill nobody. A file that hung its worker may do so in reading, and is left alone.
    """
    [item] = poison.unit.items
    content = Content(reason="hung") if poison.fault is Fault.HUNG else read_content(locate(job.base, item))
    digest = None if content.reason else hashlib.sha256(content.encoded).digest()
    message = f"kills, breaks or hangs its worker: {poison.message}"
    counters = {"read": int(digest is not None), "bytes_read": len(content.encoded), "embedded": 0}
    table = items_table([item], [digest], {}, {0: (REASON, message)})
    receipt = Receipt(poison.unit.id, job.corpus, None, masked(table, job.corpus, job.stones), counters, {}, "driver")
    also = tuple(replace(receipt, items=masked(table, job.corpus, each.stones), counters=dict.fromkeys(counters, 0)) for each in job.also)
    for each, of_set in zip((*job.also, job), (*also, receipt), strict=True):
        each.run.write_receipt(receipt.unit, of_set.to_table())
    return replace(receipt, also=also)


def found_receipt(unit: str, job: Job) -> Receipt | None:
    """What a worker has written of a unit for all sets, or None. Its last receipt is that of the first set."""
    if job.run.read_receipt(unit) is None:
        return None
    first, *also = (Receipt.from_table(table) for each in job.all_sets if (table := each.run.read_receipt(unit)) is not None)
    return replace(first, also=tuple(also))
