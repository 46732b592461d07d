"""How items are divided into train, validation and test."""

from __future__ import annotations

from dataclasses import dataclass

from storage.asked import check_fields
from storage.errors import UsageError

AUTO, GIVEN, HASH, STRATIFIED, GROUPED = "auto", "given", "hash", "stratified", "grouped"
HOW = (AUTO, GIVEN, HASH, STRATIFIED, GROUPED)
MAX_SHARE = 0.9
MAX_SEED = 2**31 - 1


@dataclass(frozen=True)
class SplitOptions:
    """how: "given" keeps the splits of items or labels, "hash" draws each image by its digest, "stratified" holds out a share of each
    class, "grouped" whole groups; "auto" keeps given splits where there are any, and else is grouped or stratified.

    test: share held out where no splits are given. validation: share of the rest held out where no validation split is given. group_by:
    a column of the items; those with one value stay together. shots: training images kept of each class; None: all.
    """

    how: str = AUTO
    test: float = 0.2
    validation: float = 0.15
    seed: int = 0
    group_by: str = ""
    shots: int | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if self.how not in HOW:
            raise UsageError(f"items are split by one of {', '.join(HOW)}; got {self.how!r}")
        for name in ("test", "validation"):
            share = getattr(self, name)
            if not 0 <= share <= MAX_SHARE:
                raise UsageError(f"{name} must be from 0 to {MAX_SHARE:g}, got {share!r}")
        if not 0 <= self.seed <= MAX_SEED:
            raise UsageError(f"seed must be from 0 to {MAX_SEED}, got {self.seed!r}")
        if self.shots is not None and self.shots < 1:
            raise UsageError(f"shots must be a whole number from 1, got {self.shots!r}")
        if self.how == GROUPED and not self.group_by:
            raise UsageError("a grouped split needs the column of the groups: pass --group-by COLUMN")
        if self.how == STRATIFIED and self.group_by:
            raise UsageError(f"a stratified split divides the groups of {self.group_by}: split by {GROUPED} or {HASH}, or leave groups out")
