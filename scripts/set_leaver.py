"""Processes that let versions of a copy expire and bring them back (`scripts.campaign_leaving`), or begin sets of one store."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from scripts.made_set import made_space, new_set
from storage.errors import ConflictError, NotFoundError
from storage.expire import expire_versions
from storage.names import SetName, parse_set
from storage.transfer import copy_set


def leave_and_come(environment: Mapping[str, str], source: str, target: str, seed: int, times: int) -> None:
    os.environ.update(environment)
    chance, name, copied = random.Random(seed), parse_set(target), parse_set(source)
    for _ in range(times):
        with suppress(ConflictError, NotFoundError):  # which is said, and leaves all as it is
            if chance.random() < 0.6:
                expire_versions(name, chance.randint(1, 4), None, remove_them=True)
            else:
                copy_set(replace(copied, at=chance.choice([None, "1", "2", "4"])), name)


def commit_first(root: str, name: str) -> None:
    new_set(SetName(Path(root), "team", name), made_space(), "parquet").commit("one", {"a": 1})
