"""The images of a feature set's items, from the corpora that it was extracted from: uint8 pixels by position, for training from images."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from extractor.content import read_content
from extractor.decoded_images import Decoded, Pixels, decode_images
from extractor.input_kind import InputKind
from extractor.item_places import Note, locate_items
from extractor.pipeline import READ_THREADS
from storage.errors import UsageError
from storage.feature_set import FeatureSet

Numbers = npt.NDArray[np.int64]
MEMORY_BYTES = 2 << 30  # 2 GiB of pixels: 14,000 images of 224 pixels
BATCH_IMAGES = 32
EXAMPLES = 3
CHANGED = "changed since it was embedded"


class SetImages:
    """Gives the images of items by their positions in the items table. An image that is no longer the one that was embedded is refused.

    Images that fit into `memory` bytes are decoded once; of more than that, each pass decodes what it asks for.
    """

    def __init__(
        self,
        feature_set: FeatureSet,
        kind: InputKind,
        moved: Mapping[str, str] | None = None,
        memory: int = MEMORY_BYTES,
        note: Note = lambda message: None,
    ) -> None:
        """moved: corpus id -> where it is now, if not where it was. note: is told what the user should know. Raises as `locate_items`."""
        self.shape = (kind.size, kind.size, 3)
        self._set, self._kind, self._memory = feature_set, kind, memory
        self._threads = os.cpu_count() or 2
        table = feature_set.columns("corpus", "key", "digest")
        self._corpora, self._keys = table["corpus"].combine_chunks(), table["key"].combine_chunks()
        self._digests = table["digest"].combine_chunks()
        places = locate_items(feature_set, moved or {}, note)
        self._locations, self._sources = places.locations, places.sources
        self._held: Pixels | None = None
        self._places = np.full(feature_set.rows, -1)  # by position: the row in what is held

    def prepare(self, positions: Numbers) -> None:
        """Decode the images that will be asked for, where these fit in memory; else read each once. Raises UsageError that names what is
        missing or changed."""
        if len(positions) * int(np.prod(self.shape)) > self._memory:
            self._check(positions)
            return
        held = np.empty((len(positions), *self.shape), np.uint8)
        places = np.full(self._set.rows, -1)
        places[positions] = np.arange(len(positions))
        for found, images in self._decoded(positions, BATCH_IMAGES):
            held[places[found]] = images
        self._held, self._places = held, places

    def batches(self, positions: Numbers, batch_size: int = BATCH_IMAGES) -> Iterator[tuple[Numbers, Pixels]]:
        """(positions [n], uint8 [n, S, S, 3]) of all images asked for, in that order but for rare ones that are hard to decode."""
        if self._held is None or (self._places[positions] < 0).any():
            yield from self._decoded(positions, batch_size)
            return
        for start in range(0, len(positions), batch_size):
            part = positions[start : start + batch_size]
            yield part, self._held[self._places[part]]

    def _check(self, positions: Numbers) -> None:
        """Before the first epoch, rather than at its end."""
        expected = self._digests.take(pa.array(positions)).to_pylist()
        faults: dict[int, str] = {}
        with ThreadPoolExecutor(READ_THREADS) as pool:
            for i, (digest, fault) in enumerate(pool.map(_read, (self._locations[i] for i in positions))):
                if digest != expected[i]:
                    faults[int(positions[i])] = self._told(int(positions[i]), fault or CHANGED)
        if faults:
            raise self._refusal(faults, len(positions))

    def _decoded(self, positions: Numbers, batch_size: int) -> Iterator[tuple[Numbers, Pixels]]:
        locations = [self._locations[i] for i in positions]
        faults: dict[int, str] = {}
        for batch in decode_images(locations, self._kind, batch_size, self._threads):
            mine = positions[batch.positions]
            faults |= self._faults(batch, positions)
            yield mine, batch.images
        if faults:
            raise self._refusal(faults, len(positions))

    def _faults(self, batch: Decoded, positions: Numbers) -> dict[int, str]:
        """By position in the set, of images that are missing or not those that were embedded."""
        expected = self._digests.take(pa.array(positions[batch.positions])).to_pylist()
        changed = (i for i, a, b in zip(batch.positions, batch.digests, expected, strict=True) if a != b)
        found = {int(positions[i]): CHANGED for i in changed}
        rejects = ((int(positions[i]), f"{reason}: {message}") for i, (reason, message) in batch.rejects.items())
        return found | {position: self._told(position, fault) for position, fault in rejects}

    def _told(self, position: int, fault: str) -> str:
        return fault if self._locations[position] else f"not in {self._sources[self._corpora[position].as_py()]}"

    def _refusal(self, faults: Mapping[int, str], asked: int) -> UsageError:
        told = "; ".join(f"{self._keys[position]} ({fault})" for position, fault in list(faults.items())[:EXAMPLES])
        more = f"; and {len(faults) - EXAMPLES} more" if len(faults) > EXAMPLES else ""
        return UsageError(
            f"{len(faults)} of {asked} images are not at hand as they were embedded: {told}{more}. Pass --corpus with where the images "
            "are now, or extract the corpus again, and train on that version"
        )


def _read(location: str) -> tuple[bytes, str]:
    """(sha256, what is wrong)."""
    content = read_content(location)
    return hashlib.sha256(content.encoded).digest(), f"{content.reason}: {content.message}" if content.reason else ""
