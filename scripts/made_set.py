"""Small real sets without images, for tests and campaigns: every picture is a number, from which its digest and its embedding follow."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from storage.commit import commit, create_set, open_newest
from storage.feature_set import FeatureSet, SetDescription, open_set
from storage.files import FileEntry, private_file, publish_by_content
from storage.golden import GoldenImages, write_golden
from storage.items import REJECT_SCHEMA, sorted_items, write_items, write_table
from storage.manifest import CorpusState, Manifest
from storage.names import SetName
from storage.patience import full_disk_told
from storage.place import Place
from storage.shard import shard_format
from storage.shard_layout import ShardLayout
from storage.space import Space


def made_space(**changes: Any) -> Space:
    values: dict[str, Any] = {
        "graph": "a" * 64,
        "weights": "b" * 64,
        "layer": "avg_pool",
        "pooling": "avg",
        "input_size": 224,
        "image_policy": "image-v1",
        "preprocessing": "caffe",
        "precision": "float32",
        "dtype": "float16",
    }
    return Space(**{**values, **changes})


@dataclass(frozen=True)
class MadeSet:
    """A set and what it takes to fill it. Pictures are numbers; a corpus maps keys to pictures."""

    name: SetName
    description: SetDescription

    @property
    def folder(self) -> Place:
        return self.name.folder

    @property
    def uri(self) -> str:
        return str(self.name)

    def digest(self, picture: int) -> bytes:
        return hashlib.sha256(str(picture).encode()).digest()

    @property
    def views(self) -> int:
        return len(self.description.space.views)

    def embedding(self, picture: int, view: int = 0) -> npt.NDArray[np.generic]:
        values = np.random.default_rng(picture + 10_000 * view).standard_normal(self.description.shape)
        return values.astype(self.description.dtype)

    def embeddings(self, pictures: Sequence[int]) -> npt.NDArray[np.generic]:
        """Of all views, those of a picture together."""
        rows = [self.embedding(picture, view) if view else self.embedding(picture) for picture in pictures for view in range(self.views)]
        return np.stack(rows) if rows else np.empty((0, *self.description.shape), self.description.dtype)

    def write_shard(self, pictures: Sequence[int], space_id: str | None = None, shape: tuple[int, ...] | None = None) -> FileEntry:
        kind = shard_format(self.description.shard_format)
        layout = ShardLayout(shape or self.description.shape, self.description.dtype, space_id or self.description.space.id)
        folder = self.folder / "shards"
        with full_disk_told(self.folder), private_file(folder) as partial:
            writer = kind.writer(partial, layout)
            values = self.embeddings(pictures) if shape is None else np.zeros((len(pictures) * self.views, *shape), layout.dtype)
            digests = [self.digest(picture) for picture in pictures for _ in range(self.views)]
            writer.append(digests, list(range(self.views)) * len(pictures), values)
            rows = writer.close()
            sha256, size = publish_by_content(partial, folder, kind.suffix)
        return FileEntry(f"shards/{sha256}{kind.suffix}", sha256, size, rows)

    def items_table(self, corpus: str, pictures: Mapping[str, int], places: Mapping[int, tuple[str, int]]) -> pa.Table:
        return pa.table(
            {
                "key": pa.array(list(pictures), pa.string()),
                "corpus": pa.array([corpus] * len(pictures), pa.string()),
                "digest": pa.array([self.digest(p) for p in pictures.values()], pa.binary(32)),
                "stamp": pa.array([f"stamp-{p}" for p in pictures.values()], pa.string()),
                "shard": pa.array([places[p][0] for p in pictures.values()], pa.string()),
                "row": pa.array([places[p][1] for p in pictures.values()], pa.int32()),
                "label": pa.array([f"label-{p % 3}" if p % 2 else None for p in pictures.values()], pa.string()),
                "split": pa.array(["train" if p % 5 else None for p in pictures.values()], pa.string()),
            }
        )

    def draft(self, corpus: str, pictures: Mapping[str, int], per_shard: int = 3, rejected: Sequence[str] = ()) -> Manifest:
        """Write shards and items of a corpus, and return the manifest that would publish them."""
        unique = list(dict.fromkeys(pictures.values()))
        groups = [unique[start : start + per_shard] for start in range(0, len(unique), per_shard)]
        shards = [self.write_shard(group) for group in groups]
        places = {
            picture: (shard.sha256, number * self.views)
            for shard, group in zip(shards, groups, strict=True)
            for number, picture in enumerate(group)
        }
        return self.draft_of(corpus, self.items_table(corpus, pictures, places), shards, rejected)

    def draft_of(self, corpus: str, items: pa.Table, shards: Sequence[FileEntry], rejected: Sequence[str] = ()) -> Manifest:
        rejects = [
            {"key": key, "corpus": corpus, "digest": None, "stamp": "s", "reason": "unreadable", "message": "no bytes"} for key in rejected
        ]
        state = CorpusState(
            source=f"/images/{corpus}",
            listed=items.num_rows + len(rejected),
            rows=items.num_rows,
            rejected=len(rejected),
            pending=0,
            skipped={},
            items=write_items([sorted_items(items)], self.folder),
            shards=tuple(sorted({shard.sha256 for shard in shards})),
            rejects=write_table(pa.Table.from_pylist(rejects, REJECT_SCHEMA), self.folder, "rejects") if rejects else None,
        )
        return Manifest(
            version=0,
            parent=None,
            nonce=secrets.token_hex(16),
            created="2025-01-01T00:00:00+00:00",
            space_id=self.description.space.id,
            shards=tuple(shards),
            golden=write_golden(self.golden_images(), self.folder),
            corpora={corpus: state},
            provenance={"operation": "test"},
        )

    def golden_images(self) -> GoldenImages:
        images = (b"png bytes", b"jpeg bytes")
        return GoldenImages(("small.png", "large.jpg"), images, self.embed(images))

    def embed(self, images: Sequence[bytes]) -> npt.NDArray[np.generic]:
        """As a worker does with golden images: the same in all spaces, pooled or not, so that sets agree about them."""
        return np.ones((len(images) * self.views, *self.description.shape), self.description.dtype)

    def commit(self, corpus: str, pictures: Mapping[str, int], per_shard: int = 3, rejected: Sequence[str] = ()) -> Manifest:
        base = open_newest(self.name)
        return commit(self.name, base.manifest if base else None, self.draft(corpus, pictures, per_shard, rejected), corpus)

    def open(self, at: str | None = None) -> FeatureSet:
        return open_set(SetName(self.name.root, self.name.team, self.name.name, at))


def new_set(name: SetName, space: Space, shard_format: str, shape: tuple[int, ...] = (3,)) -> MadeSet:
    """A set without versions; a bucket must be a store already."""
    made_by, created = {"name": "resnet50"}, "2025-01-01T00:00:00+00:00"
    description = SetDescription(space, shard_format, shape, space.dtype, made_by, created, {"owner": "me"})
    create_set(name, description)
    return MadeSet(name, description)
