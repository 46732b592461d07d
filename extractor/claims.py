"""Who computes which image: content digests are claimed before decoding, so that workers of one run never embed one image twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Protocol

from extractor.plan import is_part
from storage.digests import DigestMap, Words, words_of


class Claim(Protocol):
    """For each digest, in order: a bit for each set of the run, 1 << number: 1 if the caller is to embed the image for it now, 0 if it is
    known there or somebody else's."""

    def __call__(self, digests: Sequence[bytes]) -> list[int]: ...


class Claims:
    """The register of one set in one run. Not thread-safe: the executor serialises the calls.

    Memory: some objects for each claim of a unit that is not finished, and for all other digests what a `DigestMap` takes.
    """

    def __init__(self, known: Iterable[Words] = ()) -> None:
        """known: digests that have an embedding already, in any number of blocks."""
        self._settled = DigestMap()
        for words in known:
            self._settled.add(words)
        self._owners: dict[bytes, tuple[str, int]] = {}
        self._claimed: defaultdict[str, list[bytes]] = defaultdict(list)  # by unit; some may have been taken over since

    def claim(self, unit: str, attempt: int, digests: Sequence[bytes]) -> list[bool]:
        """Claim digests for one attempt at a unit.

        A later attempt takes over what an earlier one at the same unit had claimed, and a part what the unit had that was split.
        """
        settled = self._settled.holds(words_of(digests))
        return [not known and self._claim_one(digest, unit, attempt) for digest, known in zip(digests, settled.tolist(), strict=True)]

    def release(self, unit: str) -> None:
        """Give up a unit's claims, so that its images' duplicates in other units can be embedded."""
        for digest in self._owned_by(unit):
            del self._owners[digest]

    def finish(self, unit: str) -> None:
        """A unit is finished: whatever became of its images, nobody else is to embed them."""
        digests = self._owned_by(unit)
        self._settled.add(words_of(digests))
        for digest in digests:
            del self._owners[digest]

    def _owned_by(self, unit: str) -> list[bytes]:
        digests = dict.fromkeys(self._claimed.pop(unit, ()))
        return [digest for digest in digests if self._owners.get(digest, ("", 0))[0] == unit]

    def _claim_one(self, digest: bytes, unit: str, attempt: int) -> bool:
        owner = self._owners.get(digest)
        if owner is not None and not is_part(unit, owner[0]) and (owner[0] != unit or owner[1] >= attempt):
            return False
        self._owners[digest] = (unit, attempt)
        self._claimed[unit].append(digest)
        return True


class ClaimRegister:
    """The registers of all sets of one run, in their order. Not thread-safe."""

    def __init__(self, known: Iterable[Iterable[Words]] = ((),)) -> None:
        """known: as `Claims` takes it, of each set."""
        self._of_sets = [Claims(of_set) for of_set in known]

    def claim(self, unit: str, attempt: int, digests: Sequence[bytes], finished: Sequence[str] = ()) -> list[int]:
        """As `Claim` answers. finished: other units, which need no call of their own."""
        for each in finished:
            self.finish(each)
        answers = [of_set.claim(unit, attempt, digests) for of_set in self._of_sets]
        return [sum(granted << number for number, granted in enumerate(of_digest)) for of_digest in zip(*answers, strict=True)]

    def release(self, unit: str) -> None:
        for of_set in self._of_sets:
            of_set.release(unit)

    def finish(self, unit: str) -> None:
        for of_set in self._of_sets:
            of_set.finish(unit)


class TaughtRegister:
    """A register that may be made anew, empty: it answers nothing until somebody has told it what is known. Not thread-safe."""

    def __init__(self) -> None:
        self._register: ClaimRegister | None = None

    def learn(self, known: Iterable[Iterable[Words]]) -> None:
        """As `ClaimRegister` takes it. Whoever comes second tells nothing new."""
        self._register = self._register or ClaimRegister(known)

    def claim(self, unit: str, attempt: int, digests: Sequence[bytes], finished: Sequence[str] = ()) -> list[int] | None:
        """As of a `ClaimRegister`; None while nothing was told."""
        return self._register.claim(unit, attempt, digests, finished) if self._register else None

    def release(self, unit: str) -> None:
        if self._register:
            self._register.release(unit)
