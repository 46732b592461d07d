"""Files of labels as columns: CSV, JSONL or Parquet, by the ending. What a label may be is said in `label_values`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from storage.digests import Words
from storage.disk import sha256_file
from storage.errors import UsageError
from storage.table_file import cell_text, read_table_file
from trainer.arrays import Numbers
from trainer.label_keys import ItemKeys, Keys, number_digests
from trainer.label_options import DIGEST
from trainer.label_values import CellError
from trainer.plain_csv import read_plain_csv

KEY_COLUMNS = ("key", "path")
COLUMNS = (*KEY_COLUMNS, DIGEST, "corpus", "label", "split")
HEX = 64  # digits of a sha256
_NIBBLES = np.full(256, 255, np.uint8)
_NIBBLES[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16)
_NIBBLES[np.frombuffer(b"ABCDEF", np.uint8)] = np.arange(10, 16)


@dataclass(frozen=True)
class LabelFile:
    """The rows of a file by `column`, which is key, path or digest; `table` has a column `label`, perhaps `split` and `corpus`.
    `digest`: sha256 of the file."""

    path: str
    digest: str
    column: str
    table: pa.Table

    def keys(self) -> tuple[Keys, Numbers]:
        """What the rows belong to, and the number of each. Raises CellError."""
        column = self.table[self.column]
        if self.column == DIGEST:
            return number_digests(_digest_words(column))
        keys = _texts(column)
        empty = pc.fill_null(pc.equal(keys, ""), True).to_numpy()
        if empty.any():
            raise CellError(f"there is no {self.column}", int(np.argmax(empty)))
        encoded = keys.combine_chunks().dictionary_encode()
        return ItemKeys(encoded.dictionary), encoded.indices.to_numpy().astype(np.int64)


def read_label_file(path: str | Path, join_by: str = "") -> LabelFile:
    """Read the columns `key` (or `path`) or `digest`, `label`, `split`, `corpus`; other columns are passed over.

    join_by: key or digest; "": by key where there is such a column. Raises NotFoundError, or UsageError (another ending, not readable
    as what its ending says, a missing column).
    """
    quick = read_plain_csv(Path(path))
    table = read_table_file(Path(path), "label file") if quick is None else quick
    columns = table.column_names
    wanted = (DIGEST,) if join_by == DIGEST else KEY_COLUMNS if join_by else (*KEY_COLUMNS, DIGEST)
    column = next((name for name in wanted if name in columns), None)
    if column is None or "label" not in columns:
        needed = "digest" if join_by == DIGEST else "key (or path)" if join_by else "key (or path, or digest)"
        raise UsageError(f"the label file {path} must have the columns {needed} and label; it has {', '.join(columns)}")
    table = table.select([name for name in COLUMNS if name in columns])
    try:
        table.validate(full=True)
    except pa.ArrowInvalid as error:
        raise UsageError(f"the label file {path} is damaged, or has text that is not UTF-8: {error}") from None
    return LabelFile(str(path), sha256_file(Path(path)), column, table)


def _texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_string(column.type):
        return column
    return pa.chunked_array([pa.array([cell_text(value) for value in column.to_pylist()], pa.string())])


def _digest_words(column: pa.ChunkedArray) -> Words:
    """sha256 in hex, or as 32 bytes."""
    if pa.types.is_fixed_size_binary(column.type) or pa.types.is_binary(column.type):
        column = pa.chunked_array([pa.array([value and value.hex() for value in column.to_pylist()], pa.string())])
    texts = pc.utf8_trim_whitespace(_texts(column).fill_null(""))
    wrong = pc.not_equal(pc.binary_length(texts), HEX).to_numpy()
    if wrong.any():
        raise _no_digest(texts, int(np.argmax(wrong)))
    digits = _NIBBLES[_bytes_of(texts)]
    wrong = (digits == 255).any(axis=1)
    if wrong.any():
        raise _no_digest(texts, int(np.argmax(wrong)))
    return (digits[:, 0::2] << 4 | digits[:, 1::2]).view(">u8").astype(np.uint64)


def _bytes_of(texts: pa.ChunkedArray) -> npt.NDArray[np.uint8]:
    """Texts of HEX bytes each [n, HEX]."""
    array = texts.combine_chunks()
    if not len(array):
        return np.zeros((0, HEX), np.uint8)
    return np.frombuffer(array.cast(pa.binary()).cast(pa.binary(HEX)).buffers()[1], np.uint8, len(array) * HEX).reshape(-1, HEX)


def _no_digest(texts: pa.ChunkedArray, row: int) -> CellError:
    text = texts[row].as_py()
    return CellError(f"{text!r} is no sha256 in hexadecimal ({HEX} digits)" if text else "there is no digest", row)
