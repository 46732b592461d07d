"""Who trains, who validates, who tests: pure functions of digests, labels and a seed.

Items that share a digest are one image and never straddle a split, except where a given split says so; then they are counted.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from storage.errors import UsageError
from trainer.labels import Label

TRAIN, VALIDATION, TEST = "train", "validation", "test"
_SPELLINGS = {"train": TRAIN, "training": TRAIN, "val": VALIDATION, "valid": VALIDATION, "validation": VALIDATION, "test": TEST}


@dataclass(frozen=True)
class Split:
    """The split of each of L items. `straddling`: digests that the given splits put on both sides."""

    names: list[str]
    given: bool
    straddling: int

    def positions(self, *names: str) -> list[int]:
        return [i for i, name in enumerate(self.names) if name in names]


def split_items(
    digests: Sequence[bytes],
    labels: Sequence[str],
    given: Sequence[str | None],
    test: float = 0.2,
    validation: float = 0.15,
    seed: int = 0,
) -> Split:
    """Split L items. Given splits are kept (an item without one then trains); else a share `test` is held out. A share `validation`
    of what is left to train is held out too, unless a validation split is given. Shares are by class and by image."""
    has_given = any(given)
    names = [normal_split(name) if name else TRAIN for name in given]
    if not has_given:
        for i in hold_out(digests, labels, range(len(names)), test, seed, TEST):
            names[i] = TEST
    if VALIDATION not in names:
        remaining = [i for i, name in enumerate(names) if name == TRAIN]
        for i in hold_out(digests, labels, remaining, validation, seed, VALIDATION):
            names[i] = VALIDATION
    sides: dict[bytes, set[str]] = defaultdict(set)
    for digest, name in zip(digests, names, strict=True):
        sides[digest].add(name)
    return Split(names, has_given, sum(len(side) > 1 for side in sides.values()))


def hold_out(
    digests: Sequence[bytes], labels: Sequence[str], candidates: Iterable[int], share: float, seed: int, purpose: str
) -> list[int]:
    """Choose about `share` of the candidates of each class, whole images at a time, by a hash of digest, seed and purpose.

    An image (with all its items) belongs to the class of its first item. A class always keeps at least one image for training.
    """
    images: dict[bytes, list[int]] = defaultdict(list)
    for i in candidates:
        images[digests[i]].append(i)
    by_class: dict[str, list[bytes]] = defaultdict(list)
    for digest, members in images.items():
        by_class[labels[members[0]]].append(digest)
    chosen: list[int] = []
    for members_of_class in by_class.values():
        ordered = sorted(members_of_class, key=lambda digest: hashlib.sha256(f"{seed} {purpose} ".encode() + digest).digest())
        count = min(round(share * len(ordered)), len(ordered) - 1)
        chosen += [i for digest in ordered[:count] for i in images[digest]]
    return sorted(chosen)


def strata(labels: Sequence[Label]) -> list[str]:
    """The class by which each item is held out: its only one, or the rarest of several, which are the hardest to share out evenly.

    "" for an item without classes. Iterative stratification (Sechidis et al. 2011) is evener, but there an added item moves others.
    """
    counts = Counter(name for label in labels for name in label)
    return [min(label, key=lambda name: (counts[name], name), default="") for label in labels]


def normal_split(name: str) -> str:
    """train, validation or test, from any of their spellings; raises UsageError."""
    try:
        return _SPELLINGS[name.strip().lower()]
    except KeyError:
        raise UsageError(f"unknown split {name!r}: expected train, validation (val, valid) or test") from None
