"""What only Parquet shards have; the contract of all formats is in test_shard_formats.py."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.errors import DamagedError
from storage.parquet import ParquetShardReader, ParquetShardWriter
from storage.shard_layout import ShardLayout


def test_a_parquet_file_that_is_no_shard_is_damaged_and_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"embedding": [1, 2]}), tmp_path / "shard")
    with pytest.raises(DamagedError, match=str(tmp_path / "shard")):
        ParquetShardReader(tmp_path / "shard")


def test_a_parquet_shard_is_plain_enough_for_other_tools(tmp_path: Path) -> None:
    values = np.random.default_rng(5).standard_normal((5, 2, 3)).astype(np.float16)
    writer = ParquetShardWriter(tmp_path / "shard", ShardLayout((2, 3), "float16", "5" * 64))
    writer.append([bytes([i]) * 32 for i in range(5)], [0] * 5, values)
    writer.close()
    table = pq.read_table(tmp_path / "shard")
    assert table.column_names == ["digest", "view", "embedding"]
    assert table.schema.field("embedding").type == pa.binary(12)
    assert table["embedding"].to_pylist() == [row.astype("<f2").tobytes() for row in values]
    assert json.loads(table.schema.metadata[b"permafrost"])["shape"] == [2, 3]
