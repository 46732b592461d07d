"""Which labels count, and under what name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from storage.asked import check_fields, checked
from storage.errors import UsageError

SKIP, REFUSE = "skip", "refuse"
MISSING = (SKIP, REFUSE)
KEY, DIGEST = "key", "digest"
JOINS = ("", KEY, DIGEST)
CALLED_LABELS = "labels (a file is an argument of its own)"  # of options, in messages


@dataclass(frozen=True)
class LabelOptions:
    """missing: items without a label are left out, or refused. classes: those that count, after merging; (): all. merge: new name to
    the old names that get it. join_by: how a label file names images; "": by key where it has a column of keys, else by digest. lenient:
    names that no label has are passed over."""

    missing: str = SKIP
    classes: tuple[str, ...] = ()
    merge: Mapping[str, Sequence[str]] = field(default_factory=dict)
    join_by: str = ""
    lenient: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        if self.missing not in MISSING:
            raise UsageError(f"missing labels must be one of {', '.join(MISSING)}; got {self.missing!r}")
        if self.join_by not in JOINS:
            raise UsageError(f"labels are joined by {KEY} or {DIGEST}; got {self.join_by!r}")
        if not all(self.classes):
            raise UsageError(f"classes must be names such as ('hat', 'coat'); got {self.classes!r}")
        if twice := _repeated(self.classes):
            raise UsageError(f"the class {twice!r} is named twice in the classes")
        self._check_merge()

    def _check_merge(self) -> None:
        for new, old in self.merge.items():
            if not new or not old or not all(old):
                raise UsageError(f"a merge must be a new name and old ones, such as clothing=hat,coat; got {new!r} and {old!r}")
        if twice := _repeated([name for old in self.merge.values() for name in old]):
            raise UsageError(f"the class {twice!r} is merged twice")
        if chained := [name for new, old in self.merge.items() for name in old if name in self.merge and name != new]:
            raise UsageError(
                f"the class {chained[0]!r} is made by one merge and merged away by another: name its old classes in the other merge"
            )
        if gone := [name for name in self.classes if name in self.new_names and self.new_names[name] != name]:
            raise UsageError(f"the class {gone[0]!r} is merged into {self.new_names[gone[0]]!r}: name that one among the classes")

    def or_names_of(self, other: LabelOptions) -> LabelOptions:
        """With the classes and merges of another one where these have none."""
        if self.classes or self.merge:
            return self
        return replace(self, classes=other.classes, merge=other.merge, lenient=True)

    @property
    def new_names(self) -> dict[str, str]:
        """New name by old name."""
        return {name: new for new, old in self.merge.items() for name in old}


@checked()
def parse_classes(text: str) -> tuple[str, ...]:
    """`hat,coat` as names. Names with a comma can be given in Python only."""
    return tuple(name.strip() for name in text.split(","))


@checked()
def parse_merges(texts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Texts such as `clothing=hat,coat` as a mapping; raises UsageError."""
    merges: dict[str, tuple[str, ...]] = {}
    for text in texts:
        new, marker, old = text.partition("=")
        if not marker or not new.strip() or not all(parse_classes(old)):
            raise UsageError(f"a merge must be NEW=OLD,OLD such as clothing=hat,coat; got {text!r}")
        if new.strip() in merges:
            raise UsageError(f"two merges make the class {new.strip()!r}: name all its old classes in one")
        merges[new.strip()] = parse_classes(old)
    return merges


def _repeated(names: Sequence[str]) -> str | None:
    seen: set[str] = set()
    return next((name for name in names if name in seen or seen.add(name)), None)  # type: ignore[func-returns-value]
