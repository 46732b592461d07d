"""What was found in a container, or in a stretch of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pyarrow as pa

from extractor.corpus import MAX_NAME, Item, ListingReject, printable
from extractor.listing import ADD_ROWS
from storage.errors import DamagedError


@dataclass
class BadLabels:
    """Items that are kept without a label, split or file name, because what is said of it cannot be read."""

    count: int = 0
    first: str = ""  # key and problem

    def add(self, key: str, problem: str) -> None:
        self.join(BadLabels(1, f"{key}: {problem}"))

    def join(self, others: BadLabels) -> None:
        self.count += others.count
        self.first = self.first or others.first


@dataclass
class Contents:
    """Items in the order in which they lie in the container, and what is no item."""

    items: list[Item] | pa.Table = field(default_factory=list)  # a table: ITEM_COLUMNS
    rejects: list[ListingReject] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    attributes: dict[str, pa.ChunkedArray | pa.Array] = field(default_factory=dict)  # each of as many values as there are items
    bad_labels: BadLabels = field(default_factory=BadLabels)
    left_out: set[str] = field(default_factory=set)  # columns that cannot be attributes

    @property
    def is_full(self) -> bool:
        return len(self.items) + len(self.rejects) >= ADD_ROWS

    def lose(self, name: str, stamp: str, message: str) -> None:
        """A container, or a stretch of it, with images that nobody can count: one reject, and the corpus goes on."""
        self.rejects.append(ListingReject(printable(name), stamp, "bad-container", message))

    @contextmanager
    def damage_rejected(self, name: str, stamp: str) -> Iterator[None]:
        """Where a container is damaged, `lose` it. What cannot be read at all stays an error: it may be there again next time, and an
        unchanged image that is not listed counts as deleted."""
        try:
            yield
        except DamagedError as error:
            self.lose(name, stamp, f"{error}; make or fetch it anew")

    def hand_over(self) -> Contents:
        """What was found so far; nothing of it is kept here."""
        found = Contents(self.items, self.rejects, self.skipped, self.attributes, self.bad_labels, self.left_out)
        self.items, self.rejects, self.skipped, self.attributes, self.bad_labels = [], [], Counter(), {}, BadLabels()
        return found


def name_problem(name: str) -> str:
    """Why this cannot be (part of) a key, or "". Keys become paths in other people's hands."""
    try:
        encoded = name.encode("utf-8")
    except UnicodeEncodeError:
        return "the name is not valid UTF-8"
    if name.startswith("/") or ".." in name.split("/"):
        return "the name leads out of the container"
    if "\0" in name:
        return "the name has a NUL character"
    return f"the name has {len(encoded)} bytes, the limit is {MAX_NAME}" if len(encoded) > MAX_NAME else ""
