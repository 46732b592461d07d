"""What became of a label set when it met a feature set: what matched, what did not, what was left out, and its digest."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from trainer.label_options import KEY

EXAMPLES = 3  # shown of what did not meet


@dataclass(frozen=True)
class Unmet:
    """How many found no partner, and the first few of them."""

    count: int = 0
    examples: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"such as {', '.join(self.examples)}"


@dataclass(frozen=True)
class LabelReport:
    """Where labels came from and what did not meet. `digest`: sha256 of the file. `joined_digest`: of the images and their labels as
    they were joined (see `label_digest`). `shared`: labels without corpus whose key occurs in several corpora. `merged`: the new name
    of each merged class. `left_out`: items by class that is none of the chosen ones; `left_out_rows`: items that are gone with it.
    `absent`: chosen classes that no item has. `doubts`: what may be wrong with the names of the classes, in words."""

    source: str
    digest: str | None = None
    unmatched: Unmet = field(default_factory=Unmet)
    unlabelled: Unmet = field(default_factory=Unmet)
    shared: int = 0
    joined_by: str = KEY
    joined_digest: str | None = None
    merged: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    left_out_rows: int = 0
    absent: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

    def warnings(self) -> list[str]:
        found = []
        if self.unmatched.count:
            what = "labels are of no image" if self.joined_by != KEY else "labels fit no item"
            found.append(f"{self.unmatched.count} {what} of the set, {self.unmatched}")
        if self.unlabelled.count:
            found.append(f"{self.unlabelled.count} items have no label and were left out, {self.unlabelled}")
        if self.shared:
            found.append(f"{self.shared} labels without corpus fit items of several corpora and were given to all of them")
        if self.left_out:
            shown = ", ".join(f"{n} {name}" for name, n in list(self.left_out.items())[:EXAMPLES])
            more = ", ..." if len(self.left_out) > EXAMPLES else ""
            items = f"{self.left_out_rows} items" if self.left_out_rows else "no item"
            found.append(f"{len(self.left_out)} classes are not among the chosen ones ({shown}{more}): {items} left out for it")
        if self.absent:
            found.append(f"no item of the set has the chosen class {', '.join(map(repr, self.absent))}")
        return [*found, *self.doubts]

    def to_dict(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "sha256": self.digest,
            "joined_sha256": self.joined_digest,
            "joined_by": self.joined_by,
            "unmatched": self.unmatched.count,
            "unmatched_examples": list(self.unmatched.examples),
            "unlabelled_items": self.unlabelled.count,
            "unlabelled_examples": list(self.unlabelled.examples),
            "shared_between_corpora": self.shared,
            "merged": self.merged,
            "left_out": self.left_out,
            "left_out_items": self.left_out_rows,
            "absent_classes": list(self.absent),
        }
