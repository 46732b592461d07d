"""Locations to decoded batches: Python threads read, hash and claim; `tf.data` decodes in C++ threads; every item gets an outcome."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from extractor import image_policy
from extractor.chunks import plan_chunks
from extractor.claims import Claim
from extractor.content import Content, read_content
from extractor.decode_stream import DecodeStream, Piece, stacked
from extractor.input_kind import InputKind
from extractor.limits import DEFAULT_LIMITS, Limits, UndecodableError
from extractor.stopwatch import Stopwatch

PIECE = 16  # files that go to TensorFlow in one call, which costs 0.5 ms: a fifth of what a small image does
PIECE_BYTES = 8 << 20  # a piece ends with the file that reaches this many
CHANGED = ("changed", "the file changed or vanished while it was being read; run again")
READ_THREADS = 8  # reading waits for the disk or network, so more than there are cores

Read = Callable[[str, int], Content]  # from a location and the most bytes


@dataclass
class Outcomes:
    """What became of each of n files, by position."""

    digests: list[bytes | None]
    rejects: dict[int, tuple[str, str]] = field(default_factory=dict)  # position -> (reason, message)
    claimed: dict[int, int] = field(default_factory=dict)  # position -> for whom it is to be embedded here (`Claim`)
    read: int = 0
    bytes_read: int = 0
    helped: int = 0  # images that decode helpers decoded
    seconds: dict[str, float] = field(default_factory=dict)  # by stage of extractor.stages, complete at the end of `batches`


class _DecodeTimes:
    """Adds up the intervals in which images were decoded, from the timestamps that the graph takes."""

    def __init__(self) -> None:
        self.busy, self._first, self._last = 0.0, float("inf"), 0.0

    def add(self, started: npt.NDArray[np.float64], ended: npt.NDArray[np.float64]) -> None:
        self.busy += float((ended - started).sum())
        self._first, self._last = min(self._first, float(started.min())), max(self._last, float(ended.max()))

    def idle(self, threads: int) -> float:
        """Thread-seconds between the first image and the last in which a decoding thread had nothing to do."""
        return max(0.0, threads * (self._last - self._first) - self.busy)


class DecodePipeline:
    """Decodes the claimed ones of n files. Use once: iterate `batches()` to the end, then read `outcomes`."""

    def __init__(
        self,
        locations: Sequence[str],
        claim: Claim,
        kinds: Sequence[InputKind],
        batch_size: int,
        threads: int,
        limits: Limits = DEFAULT_LIMITS,
        sizes: Sequence[int | None] | None = None,
        stream: DecodeStream | None = None,
        chunks: Iterable[range] | None = None,
        read: Read | None = None,
        on_taken: Callable[[], None] = lambda: None,
    ) -> None:
        """kinds: what is made of each image, from one read. sizes: encoded bytes, as far as known. stream: of the same kinds, batch size,
        threads and limit of pixels, if there is one. chunks: positions that are read and claimed together, where not all are to be decoded
        here, asked for when there is room for one. on_taken: called when the decoder has taken the last file, from a thread of its own.
        """
        self._locations = locations
        self._claim = claim
        self._kinds = kinds
        self._threads = threads
        self._limits = limits
        self._chunks = plan_chunks(sizes or [None] * len(locations)) if chunks is None else chunks
        self._read = read or read_content
        self._stream = stream or DecodeStream(kinds, batch_size, threads, limits.pixels)
        self._on_taken = on_taken
        self._failure: BaseException | None = None
        self._read_seconds = 0.0
        self._reader = Stopwatch()  # of the thread that runs `_pieces`
        self._decoding = _DecodeTimes()
        self.outcomes = Outcomes([None] * len(locations))

    def batches(self) -> Iterator[tuple[list[int], list[tf.Tensor]]]:
        """Yield (positions, of each kind uint8 [n * V, size, size, 3]): n images with their V views each, which stand together.

        n <= batch_size. Positions ascend within the main stream.
        """
        decoded: set[int] = set()
        for positions, started, ended, *images in self._stream.batches(self._pieces):
            chosen = [int(position) for position in positions]
            decoded.update(chosen)
            self._decoding.add(started.numpy(), ended.numpy())
            yield chosen, [_flat(of_kind) for of_kind in images]
        if self._failure:
            raise self._failure
        missing = [position for position in self.outcomes.claimed if position not in decoded]
        yield from self._second_chance(missing)
        self.outcomes.seconds = dict(self._reader.seconds)
        if self._locations:
            self.outcomes.seconds["read"] = self._read_seconds
        if decoded:
            self.outcomes.seconds |= {"decode": self._decoding.busy, "decode_idle": self._decoding.idle(self._threads)}

    def _pieces(self) -> Iterator[Piece]:
        """Positions, bytes and headers of images to decode, some at a time."""
        self._reader = Stopwatch()
        try:
            for piece in chain.from_iterable(map(_in_pieces, self._read_and_claim())):
                rows = [(position, encoded, *self._headers(encoded)) for position, encoded in piece]
                self._reader.lap("hash")
                yield stacked(rows, self._kinds)
                self._reader.lap("wait_decoder")
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001 - ignore_errors() would swallow it; batches() raises it
            self._failure = error
        finally:
            self._on_taken()

    def _headers(self, encoded: bytes) -> list[list[int]]:
        read = image_policy.read_header
        return [read(encoded, kind.size, kind.policy, self._limits.pixels, kind.views).packed() for kind in self._kinds]

    def _read_and_claim(self) -> Iterator[list[tuple[int, bytes]]]:
        """Position and bytes of what is to be decoded here, a chunk at a time."""
        chunks = iter(self._chunks)
        with ThreadPoolExecutor(READ_THREADS) as pool:

            def submit(chunk: range | None) -> list[Future[tuple[Content, float]]]:
                return [pool.submit(timed, self._read, self._locations[position], self._limits.bytes) for position in chunk or ()]

            following = next(chunks, None)
            reading = submit(following)
            while following:
                chunk, current = following, reading
                following = next(chunks, None)
                reading = submit(following)
                files = [future.result() for future in current]
                current.clear()  # or they would keep the chunk's bytes until the next one is read
                self._reader.lap("wait_read")
                yield self._claim_chunk(chunk.start, files)

    def _claim_chunk(self, start: int, files: list[tuple[Content, float]]) -> list[tuple[int, bytes]]:
        good = []
        for position, (file, seconds) in enumerate(files, start):
            self._read_seconds += seconds
            if file.reason:
                self.outcomes.rejects[position] = (file.reason, file.message)
                continue
            self.outcomes.read += 1
            self.outcomes.bytes_read += len(file.encoded)
            digest = hashlib.sha256(file.encoded).digest()
            self.outcomes.digests[position] = digest
            good.append((position, digest, file.encoded))
        self._reader.lap("hash")
        mine = self._claim([digest for _, digest, _ in good])
        self._reader.lap("wait_claim")
        granted = [(position, encoded, int(bits)) for (position, _, encoded), bits in zip(good, mine, strict=True) if bits]
        self.outcomes.claimed.update({position: bits for position, _, bits in granted})
        return [(position, encoded) for position, encoded, _ in granted]

    def _second_chance(self, positions: list[int]) -> Iterator[tuple[list[int], list[tf.Tensor]]]:
        for start in range(0, len(positions), self._stream.images_at_once):
            chosen, images = [], []
            for position in positions[start : start + self._stream.images_at_once]:
                try:
                    images.append(self._decode_again(position))
                    chosen.append(position)
                except UndecodableError as error:
                    self.outcomes.rejects[position] = (error.reason, str(error))
            if chosen:
                yield chosen, [tf.constant(np.concatenate(of_kind)) for of_kind in zip(*images, strict=True)]

    def _decode_again(self, position: int) -> list[npt.NDArray[np.uint8]]:
        file = self._read(self._locations[position], self._limits.bytes)
        if file.reason or hashlib.sha256(file.encoded).digest() != self.outcomes.digests[position]:
            raise UndecodableError(*CHANGED)
        return [image_policy.decode(file.encoded, kind.size, kind.policy, self._limits.pixels, kind.views) for kind in self._kinds]


def _in_pieces(files: Sequence[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    piece, held = [], 0
    for position, encoded in files:
        piece.append((position, encoded))
        held += len(encoded)
        if len(piece) == PIECE or held >= PIECE_BYTES:
            yield piece
            piece, held = [], 0
    if piece:
        yield piece


def _flat(images: tf.Tensor) -> tf.Tensor:
    """From [n, V, size, size, 3] to [n * V, size, size, 3]."""
    return tf.reshape(images, (-1, *images.shape[2:]))


def timed(read: Read, location: str, max_bytes: int) -> tuple[Content, float]:
    """What was read, and in how many seconds."""
    started = time.perf_counter()
    return read(location, max_bytes), time.perf_counter() - started
