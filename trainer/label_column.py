"""Labels of many items as arrays of class numbers; Python objects only for what is shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from storage.errors import UsageError

Label = tuple[str, ...]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class LabelColumn:
    """The classes of each of n items: of item i `names[codes[offsets[i] : offsets[i + 1]]]`, each once and ascending.

    names: ascending, each once; not all need occur. offsets: int64 [n + 1]. codes: int32 [offsets[-1]].
    """

    names: tuple[str, ...]
    offsets: npt.NDArray[np.int64]
    codes: npt.NDArray[np.int32]

    @classmethod
    def of(cls, labels: Iterable[Iterable[str]]) -> LabelColumn:
        rows = [list(label) for label in labels]
        numbers: dict[str, int] = {}
        codes = np.array([numbers.setdefault(name, len(numbers)) for row in rows for name in row], np.int64)
        return cls.normal(list(numbers), np.array([len(row) for row in rows], np.int64), codes)

    @classmethod
    def normal(cls, names: Sequence[str], sizes: Rows, codes: npt.NDArray[Any]) -> LabelColumn:
        """From names in any order, also one several times, and items of `sizes` [n] classes, which may repeat in an item."""
        ordered = tuple(sorted(set(names)))
        place = {name: i for i, name in enumerate(ordered)}
        codes = np.array([place[name] for name in names], np.int64)[codes] if len(codes) else np.zeros(0, np.int64)
        if sizes.max(initial=0) > 1:
            rows = np.repeat(np.arange(len(sizes)), sizes)
            pairs = np.sort(rows * len(ordered) + codes)  # np.unique takes five times as long
            rows, codes = np.divmod(pairs[np.diff(pairs, prepend=-1) > 0], len(ordered))
            sizes = np.bincount(rows, minlength=len(sizes))
        return cls(ordered, _offsets(sizes), codes.astype(np.int32))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def sizes(self) -> Rows:
        """How many classes each item has [n]."""
        return np.diff(self.offsets)

    @cached_property
    def is_single(self) -> bool:
        """Whether each item has one class: then its code stands in its place, and offsets need not be looked at."""
        return len(self) == len(self.codes) and bool((self.sizes == 1).all())

    @property
    def rows(self) -> Rows:
        """The item of each code."""
        return np.arange(len(self)) if self.is_single else np.repeat(np.arange(len(self)), self.sizes)

    def take(self, rows: npt.NDArray[np.integer[Any]]) -> LabelColumn:
        """The labels of these items, in their order."""
        if self.is_single:
            return LabelColumn(self.names, np.arange(len(rows) + 1), self.codes[rows])
        sizes = self.sizes[rows]
        offsets = _offsets(sizes)
        places = np.repeat(self.offsets[rows] - offsets[:-1], sizes) + np.arange(offsets[-1])
        return LabelColumn(self.names, offsets, self.codes[places])

    def counts(self) -> Rows:
        """How many items have each name [len(names)]."""
        return np.bincount(self.codes, minlength=len(self.names))

    def counted(self) -> dict[str, int]:
        """The same by name, of those that occur."""
        return {name: int(n) for name, n in zip(self.names, self.counts(), strict=True) if n}

    def renamed(self, new_names: Mapping[str, str]) -> LabelColumn:
        """With other names for some; an item that gets a name twice has it once."""
        return LabelColumn.normal([new_names.get(name, name) for name in self.names], self.sizes, self.codes)

    def only(self, names: Iterable[str]) -> LabelColumn:
        """Without all other names: an item may be left without any."""
        wanted = set(names)
        return self._kept(np.array([name in wanted for name in self.names], bool))

    def without_unused(self) -> LabelColumn:
        """The same labels, and no name that no item has."""
        return self._kept(self.counts() > 0)

    def _kept(self, keep: npt.NDArray[np.bool_]) -> LabelColumn:
        if keep.all():
            return self
        names = tuple(name for name, kept in zip(self.names, keep, strict=True) if kept)
        kept = keep[self.codes]
        sizes = np.bincount(self.rows[kept], minlength=len(self))
        return LabelColumn(names, _offsets(sizes), (np.cumsum(keep) - 1)[self.codes[kept]].astype(np.int32))

    def targets(self, multi_label: bool, classes: Sequence[str] | None = None) -> npt.NDArray[np.generic]:
        """Class numbers [n] int64 of items of one class each, or [n, C] uint8 of 0 and 1.

        classes: those that are numbered, None for `names`; another one is -1, or left out of those of an item.
        """
        places = {name: i for i, name in enumerate(self.names if classes is None else classes)}
        numbers = np.array([places.get(name, -1) for name in self.names], np.int64)[self.codes]
        if not multi_label:
            return numbers
        y, known = np.zeros((len(self), len(places)), np.uint8), numbers >= 0
        y[self.rows[known], numbers[known]] = 1
        return y

    def to_list(self) -> list[Label]:
        """Tuples of names. Equal ones of one class are one object."""
        singles = np.empty(len(self.names), object)
        singles[:] = [(name,) for name in self.names]
        if self.is_single:
            return singles[self.codes].tolist()  # type: ignore[no-any-return]
        names, ends = [self.names[code] for code in self.codes.tolist()], self.offsets.tolist()
        return [tuple(names[start:end]) for start, end in pairwise(ends)]

    def label(self, row: int) -> Label:
        return tuple(self.names[code] for code in self.codes[self.offsets[row] : self.offsets[row + 1]])

    def same(self, rows: Rows, others: Rows) -> npt.NDArray[np.bool_]:
        """Whether each of the items `rows` has the label of that of `others`."""
        if self.is_single:
            return np.asarray(self.codes[rows] == self.codes[others])
        a, b = self.take(rows), self.take(others)
        equal = np.asarray(a.sizes == b.sizes)
        alike = np.flatnonzero(equal)
        a, b = a.take(alike), b.take(alike)
        equal[alike[a.rows[a.codes != b.codes]]] = False
        return equal


def require_two_classes(labels: LabelColumn) -> None:
    """Raise UsageError where all items have the same label: there is nothing to tell apart."""
    if len(labels) and not labels.same(np.arange(len(labels)), np.zeros(len(labels), np.int64)).all():
        return
    alike = " and ".join(map(repr, labels.label(0))) if len(labels) else ""
    what = f"the label {alike}" if alike else "no class at all"
    raise UsageError(f"all {len(labels)} labelled items have {what}: a head needs at least two classes")


def _offsets(sizes: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)])
