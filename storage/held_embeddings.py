"""What a set has already of the rows of an import: an embedding that is there with the same bytes is pointed at, and not written again."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from storage.errors import DamagedError
from storage.feature_set import FeatureSet
from storage.items import ITEM_SCHEMA, read_in_blocks
from storage.reading import Embeddings
from storage.shard_layout import ShardLayout
from storage.stand_in import are_stand_ins

_COLUMNS = pa.schema([ITEM_SCHEMA.field(name) for name in ("key", "digest", "shard", "row")])
Place = tuple[str, int]  # sha256 of a shard, row of view 0


class HeldEmbeddings:
    """In one version, of any of its corpora. Memory: what is asked for of keys and digests, and the embeddings of one call.

    A damaged item file or shard holds nothing: what is in it is written anew.
    """

    def __init__(self, base: FeatureSet | None, corpus: str, digests: Sequence[bytes], keys: Sequence[str]) -> None:
        """digests: of images. keys: of rows of the corpus without one, which are known by their stand-ins."""
        self._places: dict[bytes, Place] = {}
        self._keys: set[str] = set()
        if base is None:
            return
        layout = ShardLayout(base.shape, base.description.dtype, base.space.id)
        self._embeddings = Embeddings(base.name, base.version, base.description.shard_format, layout, base.manifest.shards, base.views)
        wanted, named = pa.array(digests, pa.binary(32)), pa.array(keys, pa.string())
        for owner, state in sorted(base.manifest.corpora.items()):
            for entry in state.items:
                with suppress(DamagedError):
                    for block in read_in_blocks(entry, base.name.folder, _COLUMNS):
                        self._add(block.filter(pc.is_in(block["digest"], value_set=wanted)))
                        if owner == corpus:
                            found = block.filter(pc.and_(pc.is_in(block["key"], value_set=named), are_stand_ins(block["digest"])))
                            self._keys.update(found["key"].to_pylist())
                            self._add(found)

    def has_of(self, digest: bytes, key: str) -> bool:
        """Whether there is an embedding of that image; or, under a stand-in, of that key: the same one or another."""
        return digest in self._places or key in self._keys

    def places(self, digests: Sequence[bytes], embeddings: npt.NDArray[np.generic]) -> list[Place | None]:
        """Where each of the embeddings [n, *shape] of these digests is; None for what is not there, or with other bytes."""
        asked = [i for i, digest in enumerate(digests) if digest in self._places]
        found: list[Place | None] = [None] * len(digests)
        with suppress(DamagedError, FileNotFoundError):
            for i, is_same in zip(asked, self._are_same([self._places[digests[i]] for i in asked], embeddings[asked]), strict=True):
                found[i] = self._places[digests[i]] if is_same else None
        return found

    def _add(self, items: pa.Table) -> None:
        for digest, shard, row in zip(*(items[name].to_pylist() for name in ("digest", "shard", "row")), strict=True):
            self._places.setdefault(digest, (shard, row))

    def _are_same(self, places: Sequence[Place], embeddings: npt.NDArray[np.generic]) -> list[bool]:
        if not places:
            return []
        shards, rows = (pa.array(column) for column in zip(*places, strict=True))
        held = self._embeddings.read(pa.table({"shard": shards.dictionary_encode(), "row": rows.cast(pa.int32())}), view=0)
        one, other = (np.ascontiguousarray(each).reshape(len(places), -1).view(np.uint8) for each in (held, embeddings))
        same: list[bool] = (one == other).all(axis=1).tolist()  # by bytes: 0.0 and -0.0 are two embeddings
        return same
