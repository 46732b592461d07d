"""Locations to decoded batches: Python threads read, hash and claim; `tf.data` decodes in C++ threads; every item gets an outcome."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from extractor import image_policy
from extractor.claims import Claim
from extractor.content import Content, read_content
from extractor.image_policy import UndecodableError

CHUNK = 32  # files read and claimed together; two chunks are in memory at a time
READ_THREADS = 8  # reading waits for the disk or network, so more than there are cores


@dataclass
class Outcomes:
    """What became of each of n files, by position."""

    digests: list[bytes | None]
    rejects: dict[int, tuple[str, str]] = field(default_factory=dict)  # position -> (reason, message)
    claimed: list[int] = field(default_factory=list)  # positions to be embedded here
    read: int = 0
    bytes_read: int = 0


class DecodePipeline:
    """Decodes the claimed ones of n files. Use once: iterate `batches()` to the end, then read `outcomes`."""

    def __init__(self, locations: Sequence[str], claim: Claim, input_size: int, batch_size: int, threads: int) -> None:
        self._locations = locations
        self._claim = claim
        self._size = input_size
        self._batch_size = batch_size
        self._threads = threads
        self._failure: BaseException | None = None
        self.outcomes = Outcomes([None] * len(locations))

    def batches(self) -> Iterator[tuple[list[int], tf.Tensor]]:
        """Yield (positions, uint8 [n, size, size, 3]) with n <= batch_size, positions ascending within the main stream."""
        decoded: set[int] = set()
        for positions, images in self._dataset():
            chosen = [int(position) for position in positions]
            decoded.update(chosen)
            yield chosen, images
        if self._failure:
            raise self._failure
        missing = [position for position in self.outcomes.claimed if position not in decoded]
        yield from self._second_chance(missing)

    def _dataset(self) -> tf.data.Dataset:
        signature = (tf.TensorSpec((), tf.int64), tf.TensorSpec((), tf.string), *[tf.TensorSpec((), tf.int32)] * 3)
        stream = tf.data.Dataset.from_generator(self._claimed_files, output_signature=signature)

        def decode(
            position: tf.Tensor, encoded: tf.Tensor, decoder: tf.Tensor, orientation: tf.Tensor, dct: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor]:
            return position, image_policy.decode_in_graph(encoded, decoder, orientation, dct, self._size)

        # An op error drops its own element only; what is missing afterwards is decoded again, one by one, to learn why.
        # Nothing for AutoGraph to convert, and it leaves files in TMPDIR when an actor is killed.
        plain = tf.autograph.experimental.do_not_convert(decode)
        stream = stream.map(plain, num_parallel_calls=self._threads, deterministic=True).ignore_errors()
        return stream.batch(self._batch_size).prefetch(2)

    def _claimed_files(self) -> Iterator[tuple[int, bytes, int, int, int]]:
        try:
            for position, encoded in self._read_and_claim():
                header = image_policy.read_header(encoded, self._size)
                yield position, encoded, int(header.decoder), header.orientation, header.dct
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001 - ignore_errors() would swallow it; batches() raises it
            self._failure = error

    def _read_and_claim(self) -> Iterator[tuple[int, bytes]]:
        starts = list(range(0, len(self._locations), CHUNK))
        with ThreadPoolExecutor(READ_THREADS) as pool:

            def submit(start: int) -> list[Future[Content]]:
                return [pool.submit(read_content, location) for location in self._locations[start : start + CHUNK]]

            following = submit(starts[0]) if starts else []
            for i, start in enumerate(starts):
                current = following
                following = submit(starts[i + 1]) if i + 1 < len(starts) else []
                yield from self._claim_chunk(start, [future.result() for future in current])

    def _claim_chunk(self, start: int, files: list[Content]) -> Iterator[tuple[int, bytes]]:
        good = []
        for position, file in enumerate(files, start):
            if file.reason:
                self.outcomes.rejects[position] = (file.reason, file.message)
                continue
            self.outcomes.read += 1
            self.outcomes.bytes_read += len(file.encoded)
            digest = hashlib.sha256(file.encoded).digest()
            self.outcomes.digests[position] = digest
            good.append((position, digest, file.encoded))
        mine = self._claim([digest for _, digest, _ in good])
        for (position, _, encoded), is_mine in zip(good, mine, strict=True):
            if is_mine:
                self.outcomes.claimed.append(position)
                yield position, encoded

    def _second_chance(self, positions: list[int]) -> Iterator[tuple[list[int], tf.Tensor]]:
        for start in range(0, len(positions), self._batch_size):
            chosen, images = [], []
            for position in positions[start : start + self._batch_size]:
                try:
                    images.append(self._decode_again(position))
                    chosen.append(position)
                except UndecodableError as error:
                    self.outcomes.rejects[position] = (error.reason, str(error))
            if chosen:
                yield chosen, tf.constant(np.stack(images))

    def _decode_again(self, position: int) -> np.ndarray:
        file = read_content(self._locations[position])
        if file.reason or hashlib.sha256(file.encoded).digest() != self.outcomes.digests[position]:
            raise UndecodableError("changed", "the file changed or vanished while it was being read; run again")
        return image_policy.decode(file.encoded, self._size)
