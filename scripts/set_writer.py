"""A process that commits to a set again and again until it is killed (`scripts.campaign_writers`)."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import time
from contextlib import suppress
from multiprocessing.connection import Connection

import pyarrow as pa

from scripts.made_set import MadeSet
from storage.commit import commit, open_newest
from storage.errors import ConflictError
from storage.feature_set import FeatureSet, read_description
from storage.manifest import Manifest
from storage.names import parse_set

LONGEST_PAUSE = 0.05  # seconds between the commits of a writer, so that their steps do not fall together
SHARED = "shared"
ADDED = 2  # items in a commit


def write(environment: dict[str, str], uri: str, writer: int, life: int, shared: bool, saying: Connection) -> None:
    """The set's one corpus, which all share, or one of its own. Says None at its start, and (version, nonce) when `commit` has returned."""
    os.environ.update(environment)
    saying.send(None)
    name = parse_set(uri)
    made, chance = MadeSet(name, read_description(name)), random.Random(f"{writer}-{life}")
    for serial in itertools.count():
        base = open_newest(name)
        pictures = {key: picture_of(key) for key in (f"{writer:02d}/{life}/{serial:04d}/{i}" for i in range(ADDED))}
        draft = added(made, base, pictures) if shared else made.draft(f"corpus-{writer:02d}", pictures)
        with suppress(ConflictError):
            committed = commit(name, base.manifest if base else None, draft, next(iter(draft.corpora)))
            saying.send((committed.version, draft.nonce))
        time.sleep(chance.uniform(0, LONGEST_PAUSE))


def picture_of(key: str) -> int:
    """The number of the picture (scripts.made_set) from which digest and embedding follow."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:6])


def added(made: MadeSet, base: FeatureSet | None, pictures: dict[str, int]) -> Manifest:
    """The one corpus with these items, too."""
    shard = made.write_shard(list(pictures.values()))
    items = made.items_table(SHARED, pictures, {picture: (shard.sha256, row) for row, picture in enumerate(pictures.values())})
    if base is None:
        return made.draft_of(SHARED, items, [shard])
    return made.draft_of(SHARED, pa.concat_tables([base.items.cast(items.schema), items]), [*base.manifest.shards, shard])
