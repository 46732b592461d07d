"""A unit that a worker and its decode helpers decode together: the worker from the front, helpers from the back, whoever is free."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

import numpy as np
import tensorflow as tf

from extractor.claims import Claim
from extractor.decode_helper import DecodedFiles, Helper, HelperLostError, ReadFiles
from extractor.decode_stream import DecodeStream
from extractor.helper_pool import HelperPool
from extractor.input_kind import InputKind
from extractor.limits import Limits
from extractor.pipeline import CHANGED, DecodePipeline, Outcomes
from extractor.shared_unit import Loan, SharedUnit, share_out

LATE_SECONDS = 2.0  # after which a worker with nothing else to decode takes back a chunk
LOOK_SECONDS = 0.05  # between two looks for chunks that came back or are late
OWN_BATCHES = 2  # of the worker's own decoder that wait for the engine, beside those in its stream

_NOTHING = DecodedFiles([], [], {}, 0.0)


@dataclass
class _Told:
    """Images, which may be none, and what became of files by position."""

    positions: list[int] = field(default_factory=list)
    images: list[Any] = field(default_factory=list)
    digests: dict[int, bytes] = field(default_factory=dict)
    claimed: dict[int, int] = field(default_factory=dict)
    rejects: dict[int, tuple[str, str]] = field(default_factory=dict)
    read: int = 0
    bytes_read: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    lent: int | None = None  # bytes of a helper's images in flight; None: the worker's own


class _LeftError(Exception):
    """The unit is given up."""


class HelpedPipeline:
    """As `DecodePipeline`, with the same images, digests and rejects; but batches come in the order in which they are ready.

    claim: is called from several threads. stream: of these kinds, threads and limit of pixels. on_taken: called when the worker's own
    decoder has nothing more to take, from a thread of its own; of what helpers have, something may still come back.
    """

    def __init__(
        self,
        locations: Sequence[str],
        claim: Claim,
        kinds: Sequence[InputKind],
        threads: int,
        limits: Limits,
        sizes: Sequence[int | None] | None,
        stream: DecodeStream,
        pool: HelperPool,
        on_taken: Callable[[], None] = lambda: None,
    ) -> None:
        self._locations, self._claim, self._kinds, self._threads = locations, claim, kinds, threads
        self._limits, self._stream, self._pool = limits, stream, pool
        self._image_bytes = sum(kind.views.count * kind.size * kind.size * 3 for kind in kinds)
        self._unit = SharedUnit(share_out(sizes or [None] * len(locations), self._image_bytes))
        self._told: SimpleQueue[_Told | BaseException | None] = SimpleQueue()  # None: all is told
        self._on_taken = on_taken
        self._room = threading.Semaphore(OWN_BATCHES)
        self._is_left = False
        self._is_claiming = False  # for the worker's own decoder
        self._waiting: list[_Told] = []  # from helpers, less than a batch
        self._seconds: Counter[str] = Counter()
        self.outcomes = Outcomes([None] * len(locations))

    def batches(self) -> Iterator[tuple[list[int], list[tf.Tensor]]]:
        """As `DecodePipeline.batches`, in any order."""
        own = threading.Thread(target=self._decode_own, name="permafrost-own-decoding", daemon=True)
        self._pool.enlist(self)
        own.start()
        try:
            yield from self._in_batches()
        finally:
            self._leave(own)
        self.outcomes.seconds = dict(self._seconds)

    def _in_batches(self) -> Iterator[tuple[list[int], list[tf.Tensor]]]:
        """The worker's own as they are, and those of helpers joined: what a helper sends is seldom a whole batch."""
        while told := self._told.get():
            if isinstance(told, BaseException):
                raise told
            self._book(told)
            if told.lent is None:
                if told.positions:
                    yield told.positions, told.images
                    self._room.release()
                continue
            self._waiting.append(told)
            images, held = sum(len(each.positions) for each in self._waiting), _lent(self._waiting)
            if images >= self._stream.images_at_once or 2 * held >= self._pool.in_flight_bytes:
                yield from self._joined()
        yield from self._joined()

    def _joined(self) -> Iterator[tuple[list[int], list[tf.Tensor]]]:
        """What waits, copied: it may lie in shared memory, which is free then."""
        positions = [position for each in self._waiting for position in each.positions]
        images = [np.concatenate(of_kind) for of_kind in zip(*(each.images for each in self._waiting if each.positions), strict=True)]
        self._pool.give_room(_lent(self._waiting))
        self._waiting = []
        most = self._stream.images_at_once
        for start in range(0, len(positions), most):
            chosen = positions[start : start + most]
            rows = [slice(start * kind.views.count, (start + len(chosen)) * kind.views.count) for kind in self._kinds]
            yield chosen, [tf.constant(of_kind[mine]) for of_kind, mine in zip(images, rows, strict=True)]

    def _book(self, told: _Told) -> None:
        """Only the thread that embeds writes `outcomes`."""
        for position, digest in told.digests.items():
            self.outcomes.digests[position] = digest
        self.outcomes.claimed.update(told.claimed)
        self.outcomes.rejects.update(told.rejects)
        self.outcomes.read += told.read
        self.outcomes.bytes_read += told.bytes_read
        self.outcomes.helped += len(told.positions) if told.lent is not None else 0
        self._seconds.update(told.seconds)  # a Counter adds floats as well

    def _leave(self, own: threading.Thread) -> None:
        """Also in the middle of a unit: then nothing of it is claimed or decoded any more when this returns."""
        with self._pool.changed:
            self._is_left = True
            self._unit.abandon()
            self._pool.changed.notify_all()
            self._pool.changed.wait_for(lambda: not (self._is_claiming or self._unit.is_claiming))
        self._pool.dismiss(self)
        self._room.release()
        own.join()
        while not self._told.empty():
            if isinstance(told := self._told.get(), _Told):
                self._waiting.append(told)
        self._pool.give_room(_lent(self._waiting))

    # The worker's own decoding, in a thread of its own.

    def _decode_own(self) -> None:
        try:
            while self._await_chunks():
                chunks = iter(self._take, None)
                pipeline = DecodePipeline(
                    self._locations,
                    self._claim_own,
                    self._kinds,
                    self._stream.images_at_once,
                    self._threads,
                    self._limits,
                    stream=self._stream,
                    chunks=chunks,
                    on_taken=self._on_taken,
                )
                for positions, images in pipeline.batches():
                    self._room.acquire()
                    if self._is_left:
                        raise _LeftError
                    found = pipeline.outcomes
                    digests = {position: digest for position in positions if (digest := found.digests[position])}
                    self._told.put(_Told(positions, images, digests, {position: found.claimed[position] for position in positions}))
                self._told.put(_rest(pipeline.outcomes))
        except _LeftError:
            pass
        except BaseException as error:  # noqa: BLE001 - the thread that embeds raises it
            self._told.put(error)
        finally:
            self._on_taken()
            self._told.put(None)

    def _await_chunks(self) -> bool:
        """Wait until there is a chunk for the worker; False once helpers have nothing any more, either."""
        with self._pool.changed:
            while not (self._unit.has_chunks or self._is_left):
                if not self._unit.has_loans:
                    return False
                self._unit.take_back_late(time.monotonic() - LATE_SECONDS)
                self._pool.changed.wait(LOOK_SECONDS)
            return not self._is_left

    def _take(self) -> range | None:
        with self._pool.changed:
            return self._unit.take()

    def _claim_own(self, digests: Sequence[bytes]) -> list[int]:
        """What a lost helper was to decode is this worker's already, for which nobody is granted it again."""
        with self._pool.changed:
            if self._is_left:  # the reader may be at work for a moment after the unit was left
                raise _LeftError
            self._is_claiming = True
            held = [self._unit.pop_granted(digest) for digest in digests]
        try:
            asked = iter(self._claim([digest for digest, bits in zip(digests, held, strict=True) if bits is None]))
            return [next(asked) if bits is None else bits for bits in held]
        finally:
            with self._pool.changed:
                self._is_claiming = False
                self._pool.changed.notify_all()

    # What a lane of the pool needs.

    def next_bytes(self) -> int | None:
        chunk = self._unit.next_loan
        return len(chunk) * self._image_bytes if chunk else None

    def lend(self) -> Loan:
        return self._unit.lend(time.monotonic())

    def work_on(self, loan: Loan, helper: Helper) -> None:
        lent = len(loan.positions) * self._image_bytes
        told = None
        try:
            told = self._ask(loan, helper)
        except HelperLostError:
            raise
        except Exception as error:  # noqa: BLE001 - such as of a claim; the thread that embeds raises it
            self._told.put(error)
        finally:
            with self._pool.changed:
                if told and self._unit.settle(loan) and not self._is_left:
                    told.lent = lent
                    self._told.put(told)
                else:
                    self._unit.take_back(loan)
                    self._pool.in_flight -= lent
                self._pool.changed.notify_all()

    def _ask(self, loan: Loan, helper: Helper) -> _Told | None:
        """None where the chunk was taken back meanwhile."""
        first = loan.positions.start
        locations = [self._locations[position] for position in loan.positions]
        read = helper.read(locations, self._limits)
        with self._pool.changed:
            if self._is_left or not self._unit.begin_claim(loan):
                return None
        there = [(number, digest) for number, digest in enumerate(read.digests) if digest]
        granted: dict[int, int] = {}
        try:
            bits = self._claim([digest for _, digest in there])
            granted = {number: int(mine) for (number, _), mine in zip(there, bits, strict=True) if mine}
        finally:
            with self._pool.changed:
                self._unit.end_claim(loan, {digest: granted[number] for number, digest in there if number in granted})
                self._pool.changed.notify_all()
        wanted = [(number, digest) for number, digest in there if number in granted]
        decoded = _NOTHING
        if wanted:
            decoded = helper.decode([(locations[number], digest) for number, digest in wanted], self._kinds, self._limits)
        return _told(read, decoded, granted, [number for number, _ in wanted], first)


def _lent(several: Sequence[_Told]) -> int:
    return sum(each.lent or 0 for each in several)


def _rest(found: Outcomes) -> _Told:
    """What batches did not tell."""
    digests = {position: digest for position, digest in enumerate(found.digests) if digest}
    return _Told([], [], digests, found.claimed, found.rejects, found.read, found.bytes_read, found.seconds)


def _told(read: ReadFiles, decoded: DecodedFiles, granted: dict[int, int], wanted: Sequence[int], first: int) -> _Told:
    """wanted: number of each file of `decoded` in `read`. first: position of the first of those."""
    numbers = [wanted[number] for number in decoded.numbers]
    rejects = read.rejects | {wanted[number]: reject for number, reject in decoded.rejects.items()}
    vanished = set(granted).difference(numbers, rejects)
    rejects |= dict.fromkeys(vanished, CHANGED)
    digests = {number: digest for number, digest in enumerate(read.digests) if digest}
    return _Told(
        [first + number for number in numbers],
        decoded.images,
        {first + number: digest for number, digest in digests.items()},
        {first + number: bits for number, bits in granted.items()},
        {first + number: reject for number, reject in rejects.items()},
        read=len(digests),
        bytes_read=read.bytes,
        seconds={"help_read": read.seconds, "help_decode": decoded.seconds},
    )
