"""What a worker asks of a decode helper: a process elsewhere that reads and decodes files for it. Imports no TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from extractor.input_kind import InputKind
from extractor.limits import Limits

Rejects = dict[int, tuple[str, str]]  # number of the file in the call -> (reason, message)


@dataclass(frozen=True)
class ReadFiles:
    """Of n files, in order: the sha256 of each one's bytes, None where it is a reject."""

    digests: list[bytes | None]
    rejects: Rejects
    bytes: int
    seconds: float  # of reading, summed over threads


@dataclass(frozen=True)
class DecodedFiles:
    """Of each kind uint8 [n * V, size, size, 3]: the V views of the n files `numbers`, which ascend but for those that needed a second try.

    A file that is neither among them nor a reject has no longer the bytes of its digest.
    """

    numbers: list[int]
    images: list[npt.NDArray[np.uint8]]
    rejects: Rejects
    seconds: float  # of decoding, summed over threads


class HelperLostError(Exception):
    """A call to a helper will not be answered. for_good: nor will any other."""

    def __init__(self, message: str, for_good: bool = False) -> None:
        super().__init__(message)
        self.for_good = for_good


class Helper(Protocol):
    """Serves any number of workers, from any thread of theirs; each call raises HelperLostError.

    It claims nothing: a worker asks for digests, claims them, and asks for the images of those that are its own. Whatever becomes of the
    helper, claims are the worker's, which can decode the files itself.
    """

    def prepare(self) -> None:
        """Wait until it can work."""
        ...

    def read(self, locations: Sequence[str], limits: Limits) -> ReadFiles: ...

    def decode(self, files: Sequence[tuple[str, bytes]], kinds: Sequence[InputKind], limits: Limits) -> DecodedFiles:
        """files: locations and digests, as `read` told them."""
        ...
