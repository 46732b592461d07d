from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.parquet_pages import column_chunks, least_values, pages_of
from storage.thrift import read_struct


def written(path: Path, table: pa.Table, group: int, **options: object) -> np.ndarray:
    pq.write_table(table, path, row_group_size=group, **options)
    return np.fromfile(path, np.uint8)


def values_of(rows: int, width: int) -> pa.Table:
    data = pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), rows, [None, pa.py_buffer(np.random.default_rng(0).bytes(rows * width))])
    return pa.table(
        [pa.array(range(rows)), data], schema=pa.schema([("n", pa.int64()), pa.field("value", pa.binary(width), nullable=False)])
    )


@pytest.mark.parametrize(("rows", "group", "page"), [(1, 1, 1 << 20), (50, 20, 100), (3000, 1000, 4096), (50, 50, 1 << 20)])
def test_pages_hold_the_values_that_pyarrow_reads(tmp_path: Path, rows: int, group: int, page: int) -> None:
    table = values_of(rows, 24)
    file = written(tmp_path / "f", table, group, compression="none", use_dictionary=False, data_page_size=page, write_batch_size=8)
    metadata = pq.read_metadata(tmp_path / "f")
    chunks = column_chunks(file, "value")
    columns = [metadata.row_group(i).column(1) for i in range(metadata.num_row_groups)]
    assert chunks == [(column.data_page_offset, column.total_compressed_size) for column in columns]
    found = [file[p.offset : p.offset + 24 * p.values].tobytes() for chunk in chunks for p in pages_of(file, *chunk, 24)]
    assert b"".join(found) == b"".join(table["value"].to_pylist())
    assert len(found) > len(chunks) or page == 1 << 20


@pytest.mark.parametrize("options", [{"compression": "zstd"}, {"compression": "none", "use_dictionary": True}])
def test_compressed_and_encoded_values_are_refused(tmp_path: Path, options: dict[str, object]) -> None:
    file = written(tmp_path / "f", values_of(50, 24), 50, **options)
    with pytest.raises(ValueError, match=r"column|page"):
        [list(pages_of(file, *chunk, 24)) for chunk in column_chunks(file, "value")]


def test_the_least_values_are_those_of_the_statistics(tmp_path: Path) -> None:
    texts = ["b", "a", "ü", "é", "x" * 5000, "y"]
    table = pa.table({"tags": pa.array([["t"]] * 6), "key": texts})
    assert least_values(written(tmp_path / "f", table, 2), "key") == [b"a", "é".encode(), None]
    assert least_values(written(tmp_path / "f", table, 2, write_statistics=False), "key") == [None] * 3
    with pytest.raises(ValueError, match="column colour"):
        least_values(written(tmp_path / "f", table, 2), "colour")


@given(raw=st.binary(max_size=60))
def test_any_bytes_are_a_struct_or_refused_in_words(raw: bytes) -> None:
    try:
        _, length = read_struct(raw)
    except ValueError:
        return
    assert 1 <= length <= len(raw)
