"""`tf.train.Example` in protobuf's wire format, read at places: where its bytes lie, not what they are.

Example {1: Features}; Features {1: map entry}; entry {1: name, 2: Feature}; Feature {1: BytesList, 2: FloatList, 3: Int64List}; each list
{1: values}. tensorflow/core/example/{example,feature}.proto, https://protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from extractor.container import Window

MAX_FEATURES = 10_000  # of one record
MAX_TEXT = 64 << 10  # bytes of a name or label
MAX_VARINT = 10  # bytes
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True)
class Span:
    """Bytes `start` to `end` of the container."""

    start: int
    end: int


def read_features(window: Window, record: Span) -> dict[str, Span]:
    """Feature by name: where its `Feature` message lies. Raises ValueError where the record is no Example."""
    found: dict[str, Span] = {}
    for features in _messages(window, record, 1):
        for entry in _messages(window, features, 1):
            if len(found) == MAX_FEATURES:
                raise ValueError(f"more than {MAX_FEATURES} features")
            parts = {number: Span(start, end) for number, wire, start, end in _fields(window, entry) if wire == _LENGTH and number < 3}
            if len(parts) == 2:  # of what is there twice the last one counts, as everywhere in protobuf
                found[_text(window, parts[1])] = parts[2]
    return found


def bytes_span(window: Window, feature: Span) -> Span | None:
    """Where the one value of a BytesList lies; None if there is none, or several."""
    every = (value for kind in _messages(window, feature, 1) for value in _messages(window, kind, 1))
    values = list(islice(every, 2))  # a hostile record has billions
    return values[0] if len(values) == 1 else None


def label_of(window: Window, feature: Span) -> str | int | None:
    """The first value of a BytesList or Int64List."""
    for kind in _messages(window, feature, 1):
        for value in _messages(window, kind, 1):
            return _text(window, value)
    for kind in _messages(window, feature, 3):
        for number, wire, start, end in _fields(window, kind):
            if number == 1 and start < end and wire in (_VARINT, _LENGTH):  # packed or not
                integer, _ = _varint(window.read(start, min(MAX_VARINT, end - start)), 0, start)
                return integer - (1 << 64) if integer >> 63 else integer
    return None


def _text(window: Window, span: Span) -> str:
    if span.end - span.start > MAX_TEXT:
        raise ValueError(f"a text of {span.end - span.start} bytes, the limit is {MAX_TEXT}")
    return window.read(span.start, span.end - span.start).decode("utf-8", "backslashreplace")


def _messages(window: Window, span: Span, wanted: int) -> Iterator[Span]:
    for number, wire, start, end in _fields(window, span):
        if number == wanted:
            if wire != _LENGTH:
                raise ValueError(f"field {number} at offset {start} is of the wrong kind")
            yield Span(start, end)


def _fields(window: Window, span: Span) -> Iterator[tuple[int, int, int, int]]:
    """(number, wire type, start of the value, its end) of each field."""
    at = span.start
    while at < span.end:
        head = window.read(at, min(2 * MAX_VARINT, span.end - at))
        tag, used = _varint(head, 0, at)
        wire, length = tag & 7, 0
        if wire == _VARINT:
            length = _varint(head, used, at)[1] - used
        elif wire == _LENGTH:
            length, used = _varint(head, used, at)
        elif wire in (_FIXED64, _FIXED32):
            length = 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"no protobuf field at offset {at}")
        start, end = at + used, at + used + length
        if tag < 8:
            raise ValueError(f"a field of number 0 at offset {at}")
        if end > span.end:
            raise ValueError(f"the field at offset {at} is longer than what holds it")
        yield tag >> 3, wire, start, end
        at = end


def _varint(data: bytes, start: int, at: int) -> tuple[int, int]:
    """(value, the index behind it). at: where the data lies, for the message."""
    value = 0
    for i in range(start, min(start + MAX_VARINT, len(data))):
        value |= (data[i] & 0x7F) << (7 * (i - start))
        if data[i] < 0x80:
            return value & ((1 << 64) - 1), i + 1
    raise ValueError(f"no number in the field at offset {at}")
