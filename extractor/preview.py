"""A run that reads and hashes all that is to be read, and embeds and writes nothing: what a run would do, item by item.

It enters made-up receipts into the run's own ledger, so that kinds and account are those of the run itself. What only decoding tells it
cannot know: an image that no decoder reads, and that no run has rejected yet, counts as one to embed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from extractor.bad_images import BadImages
from extractor.claims import Claims
from extractor.content import locate, read_content
from extractor.corpus import Item
from extractor.diff import DIGEST, MESSAGE, REASON, STATE, UNCHANGED, Diff
from extractor.ledger import Ledger
from extractor.limits import Limits
from extractor.plan import Unit, make_units
from extractor.reasons import PASSING_REASONS
from extractor.receipt import Receipt, items_table, masked
from storage.files import FileEntry
from storage.lending import Lender

READ_THREADS = 8  # each has one file in memory: at most 8 times --max-bytes


def preview(
    ledger: Ledger, lenders: Sequence[Lender], image_bytes: int, limits: Limits, on_unit: Callable[[int], None] = lambda items: None
) -> None:
    """Enter into the ledger what a run would find. image_bytes: stored bytes of one image. on_unit: called with the items done so far.

    What a lender's index has counts as lent. A damaged shard of his, or an embedding that float16 cannot hold, shows only in copying.
    """
    lent = (lender.index.digests() for lender in lenders)
    claims, bad = Claims(chain(ledger.known_digests(), *lent)), _rejected_before(ledger.diff)
    read = partial(_read, base=ledger.listing.base, max_bytes=limits.bytes)
    done = 0
    with ThreadPoolExecutor(READ_THREADS) as pool:
        for unit in make_units(ledger.diff.to_read, image_bytes):
            found = _without_known_rejects(list(pool.map(read, unit.items)), bad)
            receipt = _receipt(unit, ledger.listing.corpus_id, found, claims, image_bytes)
            ledger.add(replace(receipt, items=masked(receipt.items, receipt.corpus, ledger.stones)))
            done += len(found)
            on_unit(done)
    _lend(ledger, lenders, image_bytes)


@dataclass(frozen=True)
class _Found:
    """What reading one item gave. digest: None where it cannot be read."""

    digest: bytes | None
    bytes: int = 0
    reason: str | None = None
    message: str | None = None


def _read(item: Item, base: Path, max_bytes: int) -> _Found:
    content = read_content(locate(base, item), max_bytes)
    if content.reason:
        return _Found(None, 0, content.reason, content.message)
    digest = hashlib.sha256(content.encoded).digest()
    return _Found(digest, len(content.encoded), *(() if content.encoded else ("empty", "the file has no bytes")))


def _rejected_before(diff: Diff) -> BadImages:
    """Images to read whose very bytes gave no embedding when they were read last."""
    bad = BadImages()
    passing = pa.array(sorted(PASSING_REASONS), pa.string())
    for block in diff.decided.blocks():
        again = pc.and_(pc.not_equal(block[STATE], int(UNCHANGED)), pc.invert(pc.is_in(block[REASON], value_set=passing)))
        bad.add(block.filter(again).select([DIGEST, REASON, MESSAGE]).rename_columns(["digest", "reason", "message"]))
    return bad


def _without_known_rejects(found: Sequence[_Found], bad: BadImages) -> list[_Found]:
    readable = [i for i, each in enumerate(found) if not each.reason]
    held, reasons, messages = bad.why(pa.chunked_array([pa.array([found[i].digest for i in readable], pa.binary(32))]))
    causes = dict(zip((i for i, is_bad in zip(readable, held, strict=True) if is_bad), zip(reasons, messages, strict=True), strict=True))
    return [replace(each, reason=causes[i][0], message=causes[i][1]) if i in causes else each for i, each in enumerate(found)]


def _receipt(unit: Unit, corpus: str, found: Sequence[_Found], claims: Claims, image_bytes: int) -> Receipt:
    hashed = {i: each.digest for i, each in enumerate(found) if each.digest}
    mine = claims.claim(unit.id, 1, list(hashed.values()))
    claims.finish(unit.id)
    wanted = [i for i, is_mine in zip(hashed, mine, strict=True) if is_mine]
    rows = {position: row for row, position in enumerate(i for i in wanted if not found[i].reason)}
    rejects = {i: (each.reason, each.message or "") for i, each in enumerate(found) if each.reason}
    table = items_table(unit.items, [each.digest for each in found], rows, rejects)
    shard = _made_up_shard(f"unit {unit.id}", len(rows), image_bytes) if rows else None
    size = sum(each.bytes for each in found)
    counters = {"read": len(hashed), "bytes_read": size, "decoded": len(rows), "embedded": len(rows)}
    return Receipt(unit.id, corpus, shard, table, counters, {})


def _lend(ledger: Ledger, lenders: Sequence[Lender], image_bytes: int) -> None:
    words = ledger.homeless().words()
    for lender in lenders:
        numbers, rows = lender.index.find(words)
        lent = numbers >= 0
        if lent.any():
            shard = _made_up_shard(f"lent by {lender.name}", int(lent.sum()), image_bytes)
            ledger.index.add_rows(words[lent], rows[lent].tolist(), shard)
            ledger.new_shards.append(shard.sha256)
            ledger.counters["copied"] += int(lent.sum())
        words = words[~lent]


def _made_up_shard(name: str, rows: int, image_bytes: int) -> FileEntry:
    return FileEntry(f"would be {name}", hashlib.sha256(name.encode()).hexdigest(), rows * image_bytes, rows)
