"""Images by item, as fine-tuning reads them: whoever opens files hands them over."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trainer.arrays import Numbers

Pixels = npt.NDArray[np.uint8]
BATCH_IMAGES = 32  # that are measured at a time


class Images(Protocol):
    """The images of a set's items, by positions in its table: uint8 [S, S, 3] as the network was shown them at extraction.

    `prepare` is called first, with all that will be asked for. Both refuse an image that is no longer the one that was embedded.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...

    def prepare(self, positions: Numbers) -> None: ...

    def batches(self, positions: Numbers, batch_size: int = ...) -> Iterator[tuple[Numbers, Pixels]]:
        """(positions [n], uint8 [n, S, S, 3]), each of those asked for as often as it was; a few may come later than their turn."""
        ...


@dataclass(frozen=True)
class ImageRows:
    """The images of L labelled items as rows (`trainer.rows.Rows`); positions [L], ascending; keys name the items."""

    images: Images
    positions: Numbers
    keys: pa.ChunkedArray
    views: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        return self.images.shape

    def blocks(self, numbers: Numbers, every_view: bool = False) -> Iterator[tuple[Numbers, npt.NDArray[np.generic]]]:
        for found, pixels in self.images.batches(self.positions[numbers], BATCH_IMAGES):
            if len(found):
                yield np.searchsorted(self.positions, found), pixels[:, None]

    def names(self, numbers: Numbers) -> list[str]:
        return [self.keys[int(number)].as_py() for number in numbers]
