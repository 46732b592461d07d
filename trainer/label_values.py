"""What a label is: one cell of a label file, and a whole column of them as arrays."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from storage.errors import UsageError
from storage.table_file import SEPARATOR, cell_text
from trainer.label_column import Label, LabelColumn


class CellError(UsageError):
    """A cell that is not what it should be; row: counted from 0."""

    def __init__(self, message: str, row: int) -> None:
        super().__init__(message)
        self.row = row


def parse_label(value: Any, multi_label: bool) -> Label | None:
    """A label as a tuple of class names, sorted; None where there is none. Numbers and truth values become text.

    With multi_label a text is split at '|' and a list is taken as it is; `[]` and a lone '|' mean: none of the classes.
    """
    if isinstance(value, list):
        if not multi_label:
            raise UsageError(f"the label {value!r} is a list: pass --multi-label for items with any number of classes")
        return _names(value)
    if multi_label and isinstance(value, str):
        return _names(value.split(SEPARATOR)) if value.strip() else None
    name = parse_text(value)
    return None if name is None else (name,)


def parse_text(value: Any) -> str | None:
    """A value as text without space around it, None where it is empty."""
    if isinstance(value, (dict, list)):
        raise UsageError(f"expected text, a number or a truth value, got {type(value).__name__} {value!r}")
    return (cell_text(value) or "").strip() or None


def parse_labels(column: pa.ChunkedArray, multi_label: bool) -> tuple[LabelColumn, npt.NDArray[np.bool_]]:
    """The labels of n cells, and whether each has one [n]. Equal cells are parsed once. Raises CellError."""
    if multi_label and (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)) and not _nested(column.type.value_type):
        return _of_lists(column)
    cells, codes = distinct(column)
    labels = [label and tuple(label) for label in _each(cells, codes, lambda cell: parse_label(cell, multi_label))]
    return _spread(labels, codes)


def parse_texts(column: pa.ChunkedArray) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    """Texts of n cells: the different ones, and which each cell has, -1 where it is empty. Raises CellError."""
    cells, codes = distinct(column)
    texts = _each(cells, codes, parse_text)
    names = {text: i for i, text in enumerate(dict.fromkeys(text for text in texts if text is not None))}
    return tuple(names), np.array([-1 if text is None else names[text] for text in texts] + [-1], np.int64)[codes]


def distinct(column: pa.ChunkedArray) -> tuple[list[Any], npt.NDArray[np.int64]]:
    """The different cells of a column as Python values, and which each cell has, -1 where it is null."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if _nested(column.type):  # Arrow has no dictionaries of these
        return column.to_pylist(), np.where(column.is_valid().to_numpy(), np.arange(len(column)), -1)
    encoded = column.combine_chunks().dictionary_encode()
    return encoded.dictionary.to_pylist(), encoded.indices.fill_null(-1).to_numpy().astype(np.int64)


def _nested(kind: pa.DataType) -> bool:
    return pa.types.is_nested(kind) or isinstance(kind, pa.BaseExtensionType)


def _each(cells: list[Any], codes: npt.NDArray[np.int64], parse: Any) -> list[Any]:
    found = []
    for number, cell in enumerate(cells):
        try:
            found.append(parse(cell))
        except UsageError as error:
            raise CellError(str(error), int(np.flatnonzero(codes == number)[0])) from None
    return found


def _spread(labels: list[Label | None], codes: npt.NDArray[np.int64]) -> tuple[LabelColumn, npt.NDArray[np.bool_]]:
    """From labels of different cells to those of all cells; code -1 has none."""
    labelled = np.array([label is not None for label in labels] + [False], bool)[codes]
    return LabelColumn.of([label or () for label in [*labels, None]]).take(codes % (len(labels) + 1)), labelled


def _of_lists(column: pa.ChunkedArray) -> tuple[LabelColumn, npt.NDArray[np.bool_]]:
    lists = column.combine_chunks()
    sizes = np.asarray(pa.compute.list_value_length(lists).fill_null(0), np.int64)
    names, codes = parse_texts(pa.chunked_array([lists.flatten()]))
    rows = np.repeat(np.arange(len(lists)), sizes)[codes >= 0]
    sizes = np.bincount(rows, minlength=len(lists))
    return LabelColumn.normal(names, sizes, codes[codes >= 0]), lists.is_valid().to_numpy(zero_copy_only=False)


def _names(values: Iterable[Any]) -> Label:
    return tuple(sorted({name for name in map(parse_text, values) if name is not None}))
