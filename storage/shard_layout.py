"""Shape, dtype and feature space of the embeddings in one shard, as every format records them in its own metadata."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from math import prod

import numpy as np

from storage.errors import DamagedError

SHARD_VERSION = 1
STORED_DTYPES = ("float16", "float32")


@dataclass(frozen=True)
class ShardLayout:
    shape: tuple[int, ...]  # of one embedding, without N
    dtype: str  # float16 | float32, little-endian, C order
    space_id: str

    def __post_init__(self) -> None:
        if self.dtype not in STORED_DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(STORED_DTYPES)}, got {self.dtype!r}")
        if not self.shape or not all(type(size) is int and size > 0 for size in self.shape):
            raise ValueError(f"shape must be positive integers, got {self.shape}")

    @property
    def embedding_bytes(self) -> int:
        return prod(self.shape) * np.dtype(self.dtype).itemsize

    def to_json(self) -> bytes:
        return json.dumps({"shard_version": SHARD_VERSION, **asdict(self)}, sort_keys=True).encode()

    @classmethod
    def from_json(cls, data: bytes, where: object) -> ShardLayout:
        """Parse a shard's metadata; raises DamagedError naming the file `where`."""
        try:
            value = json.loads(data)
            if value["shard_version"] != SHARD_VERSION:
                raise DamagedError(f"{where}: shard version {value['shard_version']}, this program reads {SHARD_VERSION}")
            return cls(tuple(value["shape"]), value["dtype"], value["space_id"])
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedError(f"{where}: not the metadata of a shard ({error})") from None
