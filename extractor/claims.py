"""Who computes which image: content digests are claimed before decoding, so that workers of one run never embed one image twice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from extractor.plan import is_part


class Claim(Protocol):
    """For each digest, in order: True if the caller is to embed it now, False if it is known or somebody else's."""

    def __call__(self, digests: Sequence[bytes]) -> list[bool]: ...


class Claims:
    """The register of one run. `known` digests have an embedding already. Not thread-safe: the executor serialises the calls."""

    def __init__(self, known: Iterable[bytes] = ()) -> None:
        self._known = set(known)
        self._owners: dict[bytes, tuple[str, int]] = {}

    def claim(self, unit: str, attempt: int, digests: Sequence[bytes]) -> list[bool]:
        """Claim digests for one attempt at a unit.

        A later attempt takes over what an earlier one at the same unit had claimed, and a part what the unit had that was split.
        """
        return [self._claim_one(digest, unit, attempt) for digest in digests]

    def release(self, unit: str) -> None:
        """Give up a unit's claims, so that its images' duplicates in other units can be embedded."""
        self._owners = {digest: owner for digest, owner in self._owners.items() if owner[0] != unit}

    def _claim_one(self, digest: bytes, unit: str, attempt: int) -> bool:
        if digest in self._known:
            return False
        owner = self._owners.get(digest)
        if owner is not None and not is_part(unit, owner[0]) and (owner[0] != unit or owner[1] >= attempt):
            return False
        self._owners[digest] = (unit, attempt)
        return True
