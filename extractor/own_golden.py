"""Golden images as this run's workers embed them: those drawn for its new sets, and those of sets that may lend to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from extractor.golden_images import draw_golden_images
from extractor.refusals import require_different, require_independent
from extractor.set_run import SetRun
from storage.errors import UnstorableError
from storage.golden import GoldenImages

Embeddings = npt.NDArray[np.generic]


class OwnGolden:
    """Each image is embedded once, for all sets of the run, by one of its workers."""

    def __init__(self, embed: Callable[[Sequence[bytes]], Sequence[Embeddings]]) -> None:
        """embed: `Executor.embed_images`."""
        self._embed = embed
        self._known: dict[bytes, list[Embeddings]] = {}  # of an encoded image: [V, *shape] for each set

    def of(self, images: Sequence[bytes]) -> list[Embeddings]:
        """[n * V, *shape] for each set. Raises UnstorableError."""
        if new := [image for image in dict.fromkeys(images) if image not in self._known]:
            of_sets = [embedded.reshape(len(new), -1, *embedded.shape[1:]) for embedded in self._embed(new)]
            self._known.update(zip(new, (list(of_image) for of_image in zip(*of_sets, strict=True)), strict=True))
        return [np.concatenate(of_set) for of_set in zip(*(self._known[image] for image in images), strict=True)]

    def of_set(self, number: int, images: Sequence[bytes]) -> Embeddings:
        return self.of(images)[number]

    def draw(self, sets: Sequence[SetRun], batch_size: int) -> list[GoldenImages]:
        """New golden images for each set. batch_size: images that a worker's engine takes at once.

        Raises RunError for a network that sees no difference between them, or that mixes the images of a batch, UnstorableError.
        """
        images = draw_golden_images()
        try:
            embedded = self.of(tuple(images.values()))
            # Whole batches of one image; above each had others beside it, and padding. Of two: what a network takes from the whole batch,
            # such as the largest number, may come from either of them.
            alone = [self._embed([image] * batch_size) for image in list(images.values())[:2]]
        except UnstorableError as error:
            raise UnstorableError(f"{sets[error.number].name}: {error}", error.number) from None
        for each, embeddings, *again in zip(sets, embedded, *alone, strict=True):
            if each.base is None:
                # First: where a network takes features from elsewhere in the batch, all can have those of padding.
                for own, repeated in zip(np.split(embeddings, len(images)), again, strict=False):
                    require_independent(own, repeated, each.options.recipe.precision)
                require_different(embeddings, each.options.recipe.precision)
        return [GoldenImages(tuple(images), tuple(images.values()), embeddings) for embeddings in embedded]
