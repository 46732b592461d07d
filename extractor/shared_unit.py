"""Who decodes which files of a unit: its worker from the front, helpers from the back. Pure, and not thread-safe."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from extractor.chunks import UNKNOWN_BYTES

CHUNK = 64  # files at most
PIXEL_BYTES = 8 << 20  # of a chunk's decoded images, at most, but of one image
FILE_BYTES = 16 << 20  # a chunk ends with the file that reaches this many


def share_out(sizes: Sequence[int | None], image_bytes: int) -> list[range]:
    """Positions that one of them decodes together. sizes: encoded bytes, as far as known. image_bytes: of a decoded image, all kinds."""
    most = max(1, min(CHUNK, PIXEL_BYTES // image_bytes))
    chunks, start, held = [], 0, 0
    for position, size in enumerate(sizes):
        held += UNKNOWN_BYTES if size is None else size
        if position + 1 - start == most or held >= FILE_BYTES:
            chunks.append(range(start, position + 1))
            start, held = position + 1, 0
    return [*chunks, range(start, len(sizes))] if start < len(sizes) else chunks


@dataclass(eq=False)
class Loan:
    """A chunk that a helper has. `granted`: what was claimed of it, as `extractor.claims.Claim` answers, by digest."""

    positions: range
    since: float
    claiming: bool = False
    granted: dict[bytes, int] = field(default_factory=dict)


class SharedUnit:
    """Each chunk ends with the worker or with one helper. One that comes back is the worker's, and so is what was claimed of it."""

    def __init__(self, chunks: Iterable[range]) -> None:
        self._waiting = deque(chunks)
        self._returned: deque[range] = deque()
        self._loans: list[Loan] = []  # oldest first
        self._granted: dict[bytes, int] = {}  # of returned chunks

    @property
    def has_chunks(self) -> bool:
        """For the worker."""
        return bool(self._returned or self._waiting)

    @property
    def has_loans(self) -> bool:
        return bool(self._loans)

    @property
    def is_claiming(self) -> bool:
        return any(loan.claiming for loan in self._loans)

    @property
    def next_loan(self) -> range | None:
        return self._waiting[-1] if self._waiting else None

    def take(self) -> range | None:
        """The worker's next chunk."""
        if self._returned:
            return self._returned.popleft()
        return self._waiting.popleft() if self._waiting else None

    def lend(self, now: float) -> Loan:
        """The chunk `next_loan`, to a helper."""
        self._loans.append(Loan(self._waiting.pop(), now))
        return self._loans[-1]

    def begin_claim(self, loan: Loan) -> bool:
        """Whether the loan still stands; until `end_claim` it is not taken back."""
        loan.claiming = loan in self._loans
        return loan.claiming

    def end_claim(self, loan: Loan, granted: dict[bytes, int]) -> None:
        loan.claiming, loan.granted = False, granted

    def settle(self, loan: Loan) -> bool:
        """A helper is done; whether what it made counts: not if the chunk was taken back."""
        stands = loan in self._loans
        if stands:
            self._loans.remove(loan)
        return stands

    def take_back(self, loan: Loan) -> None:
        """The helper is lost, or late."""
        if self.settle(loan):
            loan.claiming = False
            self._returned.append(loan.positions)
            self._granted |= loan.granted

    def take_back_late(self, before: float) -> None:
        """The oldest loan from before that time, if there is one."""
        late = [loan for loan in self._loans if loan.since < before and not loan.claiming]
        if late:
            self.take_back(late[0])

    def abandon(self) -> None:
        """Nobody decodes what is left; claims that are under way end."""
        self._waiting.clear()
        self._returned.clear()
        self._loans = [loan for loan in self._loans if loan.claiming]

    def pop_granted(self, digest: bytes) -> int | None:
        """What was claimed of a digest for a helper that did not use it; None if nothing was."""
        return self._granted.pop(digest, None)
