"""The same images as a folder, tars, Parquet and TFRecord files: what tests of sources write."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

HF_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write_tar(path: Path, members: Mapping[str, bytes], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", **options) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def write_parquet(path: Path, images: Sequence[bytes | None], /, rows_per_group: int = 1000, struct: bool = True, **columns: Any) -> Path:
    """`class_names=[...]` writes Hugging Face's note of a ClassLabel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = columns.pop("class_names", None)
    cells: list[Any] = [{"bytes": image, "path": f"{i}.jpg"} for i, image in enumerate(images)] if struct else list(images)
    table = pa.table({"image": pa.array(cells, HF_IMAGE if struct else pa.binary()), **columns})
    if names:
        features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, row_group_size=rows_per_group)
    return path


def write_tfrecord(path: Path, records: Sequence[Mapping[str, bytes | int | float] | bytes]) -> Path:
    import tensorflow as tf

    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record if isinstance(record, bytes) else example(record))
    return path


def example(features: Mapping[str, bytes | int | float]) -> bytes:
    """A serialised tf.train.Example."""
    import tensorflow as tf

    def feature(value: bytes | int | float) -> Any:
        if isinstance(value, bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        if isinstance(value, int):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
        return tf.train.Feature(float_list=tf.train.FloatList(value=[value]))

    fields = {name: feature(value) for name, value in features.items()}
    serialised: bytes = tf.train.Example(features=tf.train.Features(feature=fields)).SerializeToString()
    return serialised
