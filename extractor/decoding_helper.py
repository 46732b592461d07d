"""The decode helper itself, in whatever process it is: files are read and decoded by the pipeline that workers have."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow  # noqa: F401 - before TensorFlow: the other order has crashed on some builds of both

from extractor.content import Content, read_content
from extractor.decode_helper import DecodedFiles, ReadFiles
from extractor.decode_stream import DecodeStream
from extractor.input_kind import InputKind
from extractor.limits import Limits
from extractor.pipeline import READ_THREADS, DecodePipeline, timed

HELD_BYTES = 256 << 20  # encoded, between `read` and `decode`; what does not fit is read again
BATCH = 64  # images; a chunk of most workers


class DecodingHelper:
    """A `Helper` with so many decoding threads."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._held = _HeldFiles()
        self._streams: dict[tuple[tuple[InputKind, ...], int], DecodeStream] = {}
        self._decoding = threading.Lock()  # one chunk fills all threads
        self._reading = ThreadPoolExecutor(READ_THREADS)

    def prepare(self) -> None:
        """It can."""

    def read(self, locations: Sequence[str], limits: Limits) -> ReadFiles:
        found = ReadFiles([None] * len(locations), {}, 0, 0.0)
        size, seconds = 0, 0.0
        read = self._reading.map(lambda location: timed(read_content, location, limits.bytes), locations)
        for number, (file, took) in enumerate(read):
            seconds += took
            if file.reason:
                found.rejects[number] = (file.reason, file.message)
                continue
            size += len(file.encoded)
            found.digests[number] = digest = hashlib.sha256(file.encoded).digest()
            self._held.add(digest, file.encoded)
        return ReadFiles(found.digests, found.rejects, size, seconds)

    def decode(self, files: Sequence[tuple[str, bytes]], kinds: Sequence[InputKind], limits: Limits) -> DecodedFiles:
        held = {location: self._held.take(digest) for location, digest in files}
        wanted = {digest for _, digest in files}

        def read(location: str, max_bytes: int) -> Content:
            encoded = held[location]
            return read_content(location, max_bytes) if encoded is None else Content(encoded)

        def claim(digests: Sequence[bytes]) -> list[int]:
            return [int(digest in wanted) for digest in digests]

        with self._decoding:
            locations, stream = [location for location, _ in files], self._stream(tuple(kinds), limits.pixels)
            everything = [range(len(files))]
            pipeline = DecodePipeline(locations, claim, kinds, BATCH, self._threads, limits, None, stream, everything, read)
            numbers, batches = [], []
            for positions, images in pipeline.batches():
                numbers += positions
                batches.append([of_kind.numpy() for of_kind in images])
        images = [np.concatenate(of_kind) for of_kind in zip(*batches, strict=True)]
        return DecodedFiles(numbers, images, pipeline.outcomes.rejects, pipeline.outcomes.seconds.get("decode", 0.0))

    def _stream(self, kinds: tuple[InputKind, ...], max_pixels: int) -> DecodeStream:
        wanted = (kinds, max_pixels)
        if wanted not in self._streams:  # the workers of a run all want the same
            self._streams = {wanted: DecodeStream(kinds, BATCH, self._threads, max_pixels)}
        return self._streams[wanted]


class _HeldFiles:
    """Encoded bytes by digest, HELD_BYTES of them and one file more at most: the oldest go first."""

    def __init__(self) -> None:
        self._files: OrderedDict[bytes, bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def add(self, digest: bytes, encoded: bytes) -> None:
        with self._lock:
            self._remove(digest)
            while self._bytes > HELD_BYTES:
                self._remove(next(iter(self._files)))
            self._files[digest] = encoded
            self._bytes += len(encoded)

    def take(self, digest: bytes) -> bytes | None:
        with self._lock:
            return self._remove(digest)

    def _remove(self, digest: bytes) -> bytes | None:
        encoded = self._files.pop(digest, None)
        self._bytes -= len(encoded or b"")
        return encoded
