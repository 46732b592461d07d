from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.errors import UsageError
from storage.table_file import read_table_file
from trainer.plain_csv import read_plain_csv

LINES = st.lists(st.text('ab,é \t|\ufeff\u2028\x0b\x1c"\0', max_size=6), max_size=6)


@pytest.mark.slow
@given(st.sampled_from(["key,label", "key ,label", "key, label", "\ufeffkey,label", "key", "key,key", "a,,b", ""]), LINES, st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
def test_what_is_read_quickly_is_what_the_careful_reader_reads(tmp_path: Path, header: str, lines: list[str], data: st.DataObject) -> None:
    path = tmp_path / "labels.csv"
    ends = [data.draw(st.sampled_from(["\n", "\r\n", "\n\n", "\r"])) for _ in range(len(lines) + 1)]
    path.write_bytes("".join(line + end for line, end in zip([header, *lines], ends, strict=True)).encode())
    quick = read_plain_csv(path)
    try:
        careful = read_table_file(path, "label file")
    except UsageError:
        assert quick is None
        return
    assert quick is None or quick.to_pydict() == careful.to_pydict()
    assert quick is None or quick.schema == careful.schema


@pytest.mark.parametrize(
    "content", [b"key,label\na,hat\nb,\n", b"\xef\xbb\xbfkey,label\r\na,hat\r\n\r\nb, coat", b"key,label,n\n007,NA,null\n"]
)
def test_plain_files_are_read_quickly(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "labels.csv").write_bytes(content)
    quick = read_plain_csv(tmp_path / "labels.csv")
    assert quick is not None
    assert quick.to_pylist() == read_table_file(tmp_path / "labels.csv", "label file").to_pylist()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.csv", b'key,label\n"a",hat\n'),
        ("labels.csv", b"key,label\ncaf\xe9,hat\n"),
        ("labels.csv", b"key,label\na,hat,3\n"),
        ("labels.csv", b"key,label\na,hat\rb,coat\n"),
        ("labels.csv", b""),
        ("labels.jsonl", b"{}"),
        ("none.csv", b""),
        ("a\0b.csv", b""),
    ],
)
def test_all_others_are_left_to_the_careful_reader(tmp_path: Path, name: str, content: bytes) -> None:
    if name.startswith("labels"):
        (tmp_path / name).write_bytes(content)
    assert read_plain_csv(tmp_path / name) is None
