"""What a worker does with the decoded images of a unit: a shard for each set of the run, then the receipts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from extractor.helped_pipeline import HelpedPipeline
from extractor.job import Job
from extractor.network import Part
from extractor.pipeline import DecodePipeline
from extractor.plan import Unit
from extractor.receipt import Receipt
from extractor.set_account import SetAccount
from extractor.turns import Turn
from storage.new_shard import new_shard
from storage.shard import shard_format

# Positions, the sets that each is for (as `extractor.claims.Claim` answers), of each kind uint8 [n * V, size, size, 3].
Embed = Callable[[list[int], list[int], list[Any]], list[Part]]


def work_off(unit: Unit, job: Job, pipeline: DecodePipeline | HelpedPipeline, embed: Embed, turn: Turn, worker: str) -> Receipt:
    """Embed what the pipeline gives, publish the shards, then write the receipts. worker: its name."""
    with ExitStack() as stack:
        accounts = []
        for number, each in enumerate(job.all_sets):
            shard = new_shard(each.run.set_folder, shard_format(each.format), each.layout, each.run.run_id)
            accounts.append(SetAccount(number, stack.enter_context(shard), each.views))
        _fill(unit, accounts, pipeline, embed, turn)
        turn.embedded()
        entries = [account.shard.publish() for account in accounts]
    outcomes = pipeline.outcomes
    cost = {"read": outcomes.read, "bytes_read": outcomes.bytes_read, "decoded": len(outcomes.claimed.keys() - outcomes.rejects.keys())}
    cost |= {"helped": outcomes.helped} if outcomes.helped else {}
    seconds = {**turn.seconds, **outcomes.seconds}
    # The last one written is that of the first set: whoever finds it knows that the others are there.
    also = [
        _write_receipt(unit, each, account.receipt(unit, each, outcomes, entry, dict.fromkeys(cost, 0), {}, worker))
        for each, account, entry in list(zip(job.all_sets, accounts, entries, strict=True))[1:]
    ]
    first = replace(accounts[0].receipt(unit, job, outcomes, entries[0], cost, seconds, worker), also=tuple(also))
    _write_receipt(unit, job, first)
    turn.published()  # to write it takes as long as to write a small shard, and only the driver can be told
    return replace(first, seconds={**turn.seconds, **outcomes.seconds})


def _write_receipt(unit: Unit, job: Job, receipt: Receipt) -> Receipt:
    job.run.write_receipt(unit.id, receipt.to_table())
    return receipt


def _fill(unit: Unit, accounts: Sequence[SetAccount], pipeline: DecodePipeline | HelpedPipeline, embed: Embed, turn: Turn) -> None:
    """Embed all batches into the shards.

    What is granted goes by the image, so that a set may be granted one whose item it does not read: it was taken down there, or is a reject
    that stays one. If another item of it has the same image, the next round finds that missing.
    """
    for positions, images in pipeline.batches():
        turn.await_embedding()
        turn.lap("wait")
        claimed = [pipeline.outcomes.claimed[position] & unit.wanted_by(position) for position in positions]
        parts = embed(positions, claimed, images)
        turn.lap("infer")
        for part in parts:
            accounts[part.output.number].add(part, pipeline.outcomes)
        turn.lap("write")
    turn.await_embedding()
    turn.lap("wait")
