"""What the trainer's tests share: small feature sets on disk, written through storage's own API."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from storage.commit import commit, create_set, open_newest
from storage.feature_set import SetDescription
from storage.files import FileEntry, private_file, publish_by_content
from storage.golden import GoldenImages, write_golden
from storage.items import ITEM_SCHEMA, sorted_items, write_items
from storage.manifest import CorpusState, Manifest
from storage.names import parse_set
from storage.shard import SHARD_FORMATS, ShardLayout
from storage.space import Space
from trainer.fit import fit
from trainer.fitted import FittedHead
from trainer.options import FitOptions


@dataclass(frozen=True)
class Row:
    """One item and its embedding, and those of further views. Rows with equal `image` are duplicates of one image."""

    key: str
    embedding: npt.NDArray[np.generic]
    label: str | None = None
    split: str | None = None
    image: str = ""  # "": one of its own, named by the key
    views: tuple[npt.NDArray[np.generic], ...] = ()

    @property
    def digest(self) -> bytes:
        return hashlib.sha256((self.image or self.key).encode()).digest()


def write_set_to(uri: str, rows: Sequence[Row], dtype: str = "float16") -> str:
    """Commit rows as the next version of the set, in one Parquet shard; returns the set's name."""
    name = parse_set(uri)
    shape = rows[0].embedding.shape
    views = ("plain", *(f"crop:0.{n}-1:1-1" for n in range(1, 1 + len(rows[0].views))))
    space = Space("0" * 64, "1" * 64, "relu_9", "avg", 224, "image-v1", "tf", "float32", dtype, views, 0 if rows[0].views else None)
    backbone = {"name": "mobilenet_v2", "weights": "random:0", "views": list(views[1:]), "view_seed": 0}
    create_set(name, SetDescription(space, "parquet", shape, dtype, backbone, "2026-01-01T00:00:00+00:00"))
    images = {row.digest: (row.embedding, *row.views) for row in rows}
    places = {digest: i * len(views) for i, digest in enumerate(images)}
    shard = _write_shard(name.folder, images, ShardLayout(shape, dtype, space.id))
    columns: dict[str, list[Any]] = {
        "key": [row.key for row in rows],
        "corpus": ["photos"] * len(rows),
        "digest": [row.digest for row in rows],
        "stamp": ["1-1"] * len(rows),
        "shard": [shard.sha256] * len(rows),
        "row": [places[row.digest] for row in rows],
        "label": [row.label for row in rows],
        "split": [row.split for row in rows],
    }
    table = pa.table({name: pa.array(values, ITEM_SCHEMA.field(name).type) for name, values in columns.items()}, schema=ITEM_SCHEMA)
    state = CorpusState("/photos", len(rows), len(rows), 0, 0, {}, write_items([sorted_items(table)], name.folder), (shard.sha256,))
    golden = write_golden(GoldenImages(("one",), (b"image",), np.zeros((1, *shape), dtype)), name.folder)
    draft = Manifest(0, None, os.urandom(16).hex(), "2026-01-01T00:00:00+00:00", space.id, (shard,), golden, {"photos": state})
    base = open_newest(name)
    commit(name, base.manifest if base else None, draft, "photos")
    return uri


def _write_shard(folder: Path, images: dict[bytes, tuple[npt.NDArray[np.generic], ...]], layout: ShardLayout) -> FileEntry:
    kind = SHARD_FORMATS["parquet"]
    with private_file(folder / "shards") as partial:
        writer = kind.writer(partial, layout)
        rows = [(digest, view, row) for digest, rows in images.items() for view, row in enumerate(rows)]
        digests, views, embeddings = zip(*rows, strict=True)
        writer.append(digests, views, np.stack(embeddings).astype(layout.dtype))
        written = writer.close()
        sha256, size = publish_by_content(partial, folder / "shards", kind.suffix)
    return FileEntry(f"shards/{sha256}{kind.suffix}", sha256, size, written)


def _separable_rows(per_class: int = 40, shape: tuple[int, ...] = (8,), classes: Sequence[str] = ("coat", "hat", "shoe")) -> list[Row]:
    """Labelled rows whose classes lie far apart."""
    random = np.random.default_rng(0)
    centres = random.normal(0, 3, (len(classes), *shape))
    return [
        Row(f"{label}/{i:03d}.jpg", (centres[c] + random.normal(0, 0.5, shape)).astype(np.float32), label)
        for c, label in enumerate(classes)
        for i in range(per_class)
    ]


@pytest.fixture(scope="session")
def separable_rows() -> Callable[..., list[Row]]:
    return _separable_rows


@pytest.fixture
def write_set(tmp_path: Path) -> Callable[..., str]:
    """Write rows as a version of a set in a store of the test's own; returns its name for `fit`."""

    def write(rows: Sequence[Row], name: str = "team/set", dtype: str = "float16") -> str:
        return write_set_to(f"{tmp_path}/store/{name}", rows, dtype)

    return write


@pytest.fixture(scope="session")
def separable_set(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A set of 120 labelled, separable rows in three classes, for reading only: each fit costs a second or two."""
    return write_set_to(f"{tmp_path_factory.mktemp('store')}/team/set", _separable_rows())


@pytest.fixture(scope="session")
def fitted(separable_set: str) -> FittedHead:
    """A head fitted on it, for reading only."""
    return fit(separable_set, options=FitOptions(learning_rate=0.03, max_epochs=12, batch_size=64))


@pytest.fixture(scope="session")
def fitted_exactly(separable_set: str) -> FittedHead:
    """One that takes no time, for what is the same of each head."""
    return fit(separable_set, options=FitOptions("class-mean"))


@pytest.fixture
def write_csv(tmp_path: Path) -> Callable[..., Path]:
    def write(header: Sequence[str], *rows: Sequence[str]) -> Path:
        path = tmp_path / "labels.csv"
        with open(path, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *rows])
        return path

    return write
