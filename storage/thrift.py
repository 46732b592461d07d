"""Structs in Thrift's compact protocol, as far as Parquet's footers and page headers need it, with every byte looked at in Python.

Source: apache/thrift doc/specs/thrift-compact-protocol.md.
"""

from __future__ import annotations

from typing import Any

_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _BINARY, _LIST, _STRUCT = 1, 2, 3, 4, 5, 6, 8, 9, 12
_DEEPEST = 8


def read_struct(raw: bytes) -> tuple[dict[int, Any], int]:
    """(values by field id: numbers, truth values, bytes, lists, structs; bytes read). Raises ValueError."""
    reader = _Reader(raw)
    try:
        return reader.fields(0), reader.at
    except IndexError:
        raise ValueError("a header has no end") from None


class _Reader:
    def __init__(self, raw: bytes) -> None:
        self._raw, self.at = raw, 0

    def fields(self, depth: int) -> dict[int, Any]:
        found: dict[int, Any] = {}
        field = 0
        while head := self._byte():
            field = field + (head >> 4) if head >> 4 else self._zigzag()
            found[field] = self._value(head & 15, depth)
        return found

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (_TRUE, _FALSE):
            return kind == _TRUE
        if kind in (_I16, _I32, _I64):
            return self._zigzag()
        if kind == _BYTE:
            return self._byte()
        if kind == _BINARY:
            return self._bytes(self._varint())
        if kind == _LIST and depth < _DEEPEST:
            head = self._byte()
            count = head >> 4 if head >> 4 < 15 else self._varint()
            return [self._element(head & 15, depth + 1) for _ in range(count)]
        if kind == _STRUCT and depth < _DEEPEST:
            return self.fields(depth + 1)
        raise ValueError(f"a header has a field of type {kind}")

    def _element(self, kind: int, depth: int) -> Any:
        """Of a list: where a truth value takes a byte, unlike in a struct. So a list cannot be longer than the bytes that are there."""
        return self._byte() if kind in (_TRUE, _FALSE) else self._value(kind, depth)

    def _byte(self) -> int:
        value = self._raw[self.at]
        self.at += 1
        return value

    def _bytes(self, length: int) -> bytes:
        self.at += length
        if self.at > len(self._raw):
            raise IndexError
        return self._raw[self.at - length : self.at]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def _zigzag(self) -> int:
        value = self._varint()
        return value >> 1 ^ -(value & 1)
