"""Golden images: a few images kept with the set, and what they embedded to when it was made.

Whoever extends the set embeds them first. That shows drift (other hardware, engine, library versions) before it gets into rows.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from storage.errors import DriftError
from storage.files import FileEntry
from storage.items import read_tables, write_table
from storage.place import Place

# By compute precision; docs/design.md, "Numbers".
MIN_COSINE = {"float32": 0.99999, "tf32": 0.9999, "bfloat16": 0.99, "float16": 0.99, "int8": 0.99}


QUANTIZED = "quantized"  # a column


@dataclass(frozen=True)
class GoldenImages:
    """G images as encoded bytes, and the embeddings of their V views, [G * V, *shape] in the stored dtype. G is 0 in imported sets.

    quantized: the calibrated network of an int8 space, as its engine packed it: with it the set is continued.
    """

    names: tuple[str, ...]
    images: tuple[bytes, ...]
    embeddings: npt.NDArray[np.generic]
    quantized: bytes | None = None

    @property
    def views(self) -> int:
        return len(self.embeddings) // len(self.images) if self.images else 1

    @property
    def plain(self) -> GoldenImages:
        """The same with view 0 alone."""
        return replace(self, embeddings=self.embeddings[:: self.views])


def write_golden(golden: GoldenImages, set_folder: Place) -> FileEntry:
    """Write golden images and embeddings as one content-named file of the set: a row a view, the image itself only beside view 0.

    A calibrated network has a row of its own, and a column.
    """
    width = int(np.prod(golden.embeddings.shape[1:])) * golden.embeddings.itemsize
    rows = [(name, image, view) for name, image in zip(golden.names, golden.images, strict=True) for view in range(golden.views)]
    table = pa.table(
        {
            "name": pa.array([name for name, _, _ in rows], pa.string()),
            "image": pa.array([None if view else image for _, image, view in rows], pa.binary()),
            "digest": pa.array([hashlib.sha256(image).digest() for _, image, _ in rows], pa.binary(32)),
            "view": pa.array([view for _, _, view in rows], pa.int16()),
            "embedding": pa.array([row.tobytes() for row in golden.embeddings], pa.binary(width)),
        }
    )
    if golden.quantized is not None:
        columns = {"name": ["network"], "digest": [hashlib.sha256(golden.quantized).digest()], QUANTIZED: [golden.quantized]}
        row = pa.table({name: pa.array(values, pa.binary(32) if name == "digest" else None) for name, values in columns.items()})
        table = pa.concat_tables([table, row], promote_options="default")
    return write_table(table, set_folder, "golden")


def read_golden(entry: FileEntry, set_folder: Place, shape: tuple[int, ...], dtype: str) -> GoldenImages:
    width = int(np.prod(shape)) * np.dtype(dtype).itemsize
    schema = pa.schema([("name", pa.string()), ("image", pa.binary()), ("embedding", pa.binary(width))])
    table = read_tables([entry], set_folder, schema, further=(QUANTIZED,))
    embeddings = np.frombuffer(b"".join(table["embedding"].drop_null().to_pylist()), dtype).reshape(-1, *shape)
    images = table.filter(pa.compute.is_valid(table["image"]))
    networks = table[QUANTIZED].drop_null().to_pylist() if QUANTIZED in table.column_names else []
    return GoldenImages(tuple(images["name"].to_pylist()), tuple(images["image"].to_pylist()), embeddings, next(iter(networks), None))


def no_golden_images(shape: tuple[int, ...], dtype: str) -> GoldenImages:
    """Of a set whose features were made elsewhere: nobody here has embedded anything, so there is nothing to compare with."""
    return GoldenImages((), (), np.empty((0, *shape), dtype))


def cosines(a: npt.NDArray[np.generic], b: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    """Cosine of each pair of rows of two [N, ...] arrays; two zero rows count as equal (1), a zero and a non-zero as 0."""
    x = a.reshape(len(a), -1).astype(np.float64)
    y = b.reshape(len(b), -1).astype(np.float64)
    norms = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    both_zero = ~x.any(axis=1) & ~y.any(axis=1)
    return np.asarray(np.where(both_zero, 1.0, (x * y).sum(axis=1) / np.where(norms == 0, 1.0, norms)))


@dataclass(frozen=True)
class Drift:
    """The golden image that embeds furthest from what is kept, outside the tolerance. `told`: `golden image NAME with cosine ...`."""

    image: str
    cosine: float
    least: float  # that the tolerance asks for

    @property
    def told(self) -> str:
        return f"golden image {self.image!r} with cosine {self.cosine:.7f}"


def drift_of(golden: GoldenImages, embedded: npt.NDArray[np.generic], precision: str) -> Drift | None:
    """The worst of the golden images, by what they embed to elsewhere; None where all are within the tolerance of `precision`."""
    values = cosines(golden.embeddings, embedded)
    worst = int(np.argmin(values))
    if values[worst] >= MIN_COSINE[precision]:
        return None
    return Drift(golden.names[worst // golden.views], float(values[worst]), MIN_COSINE[precision])


def require_no_drift(golden: GoldenImages, embedded: npt.NDArray[np.generic], precision: str, where: str) -> None:
    """Raise DriftError with the worst image if any golden image embeds outside the tolerance of `precision`."""
    if drift := drift_of(golden, embedded, precision):
        raise DriftError(
            f"{where} embeds {drift.told} to the set's own embedding; "
            f"{precision} features need at least {drift.least}. Another library version, engine or device is the usual "
            "cause: use the versions that `permafrost store show` lists for the set, or extract into a new set"
        )
