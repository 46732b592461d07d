"""The contract of every shard format in the table: a new one is picked up here by itself."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import DamagedError, UsageError
from storage.shard import SHARD_FORMATS, ShardFormat, ShardLayout, ShardReader, embedding_bytes, shard_format

DTYPES = ("float16", "float32")
SPACE_ID = "5" * 64


@pytest.fixture(params=SHARD_FORMATS.values(), ids=list(SHARD_FORMATS), scope="session")
def kind(request: pytest.FixtureRequest) -> ShardFormat:
    found: ShardFormat = request.param
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shard"


@contextmanager
def small_blocks() -> Iterator[Path]:
    """A folder, and blocks (Parquet's row groups, HDF5's chunks) so small that a few rows make several."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("storage.parquet.ROW_GROUP_BYTES", 64)
        patch.setattr("storage.hdf5.CHUNK_BYTES", 160)
        yield Path(folder)


def digests_of(rows: int) -> list[bytes]:
    return [i.to_bytes(32, "big") for i in range(rows)]


def values_of(rows: int, shape: tuple[int, ...] = (3,), dtype: str = "float32") -> npt.NDArray[np.generic]:
    return np.random.default_rng(rows).standard_normal((rows, *shape)).astype(dtype)


def write(
    kind: ShardFormat, path: Path, values: npt.NDArray[np.generic], cuts: tuple[int, ...] = (), views: list[int] | None = None
) -> int:
    """Write `values` in chunks that end at `cuts`."""
    digests, views = digests_of(len(values)), views or [0] * len(values)
    writer = kind.writer(path, ShardLayout(values.shape[1:], str(values.dtype), SPACE_ID))
    borders = [0, *sorted(cuts), len(values)]
    for start, stop in pairwise(borders):
        writer.append(digests[start:stop], views[start:stop], values[start:stop])
    return writer.close()


@st.composite
def shards(draw: st.DrawFn) -> tuple[npt.NDArray[np.generic], tuple[int, ...], list[int]]:
    """Any bits as embeddings (NaN, infinities, -0 too), the chunks they are appended in, and views."""
    shape = tuple(draw(st.lists(st.integers(1, 3), min_size=1, max_size=3)))
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    rows = draw(st.integers(0, 20))
    raw = np.random.default_rng(draw(st.integers(0, 99))).bytes(rows * int(np.prod(shape)) * dtype.itemsize)
    cuts = tuple(draw(st.lists(st.integers(0, rows), max_size=5)))
    views = draw(st.lists(st.integers(0, 300), min_size=rows, max_size=rows))
    return np.frombuffer(raw, dtype).reshape(rows, *shape), cuts, views


@given(shard=shards(), data=st.data())
def test_any_rows_come_back_bit_for_bit_at_any_slice(
    kind: ShardFormat, shard: tuple[npt.NDArray[np.generic], tuple[int, ...], list[int]], data: st.DataObject
) -> None:
    values, cuts, views = shard
    with small_blocks() as folder:
        assert write(kind, folder / "shard", values, cuts, views) == len(values)
        reader = kind.reader(folder / "shard")
        assert reader.rows == len(values)
        assert reader.digests() == digests_of(len(values))
        assert reader.views().tolist() == views
        for _ in range(4):
            start, stop = sorted(data.draw(st.tuples(st.integers(0, len(values)), st.integers(0, len(values)))))
            got = reader.read(start, stop)
            assert got.shape == (stop - start, *values.shape[1:])
            assert got.dtype == values.dtype
            assert got.tobytes() == values[start:stop].tobytes()
            out = np.zeros_like(got, values.dtype)
            reader.read_into(start, stop, out)
            assert out.tobytes() == got.tobytes()
        raw, width = (folder / "shard").read_bytes(), reader.layout.embedding_bytes
        assert b"".join(raw[block.offset : block.offset + block.rows * width] for block in reader.blocks()) == values.tobytes()
        assert [block.first for block in reader.blocks()] == [0, *np.cumsum([block.rows for block in reader.blocks()])][:-1]
        reader.close()


@pytest.mark.slow
@given(shard=shards())
def test_the_chunks_of_appending_do_not_change_what_is_read(
    kind: ShardFormat, shard: tuple[npt.NDArray[np.generic], tuple[int, ...], list[int]]
) -> None:
    values, cuts, views = shard
    with small_blocks() as folder:
        for name, chunks in (("one", ()), ("many", cuts)):
            write(kind, folder / name, values, chunks, views)
        one, many = kind.reader(folder / "one"), kind.reader(folder / "many")
        assert one.read(0, len(values)).tobytes() == many.read(0, len(values)).tobytes()
        assert one.digests() == many.digests()
        one.close()
        many.close()


def test_embeddings_larger_than_a_read_block_come_back_at_every_slice(kind: ShardFormat, path: Path) -> None:
    values = values_of(10, (512, 512, 2), "float16")  # 1 MiB each: several real blocks
    write(kind, path, values, (3, 4))
    reader = kind.reader(path)
    for start, stop in [(0, 10), (0, 1), (3, 5), (4, 8), (7, 9), (9, 10), (2, 2)]:
        np.testing.assert_array_equal(reader.read(start, stop), values[start:stop])
    reader.close()


def test_the_layout_comes_back(kind: ShardFormat, path: Path) -> None:
    write(kind, path, values_of(2, (2, 2, 3), "float16"))
    reader = kind.reader(path)
    assert reader.layout == ShardLayout((2, 2, 3), "float16", SPACE_ID)
    reader.close()


def test_a_shard_of_no_rows_is_a_shard(kind: ShardFormat, path: Path) -> None:
    assert write(kind, path, values_of(0)) == 0
    reader = kind.reader(path)
    assert (reader.rows, reader.digests(), reader.views().tolist()) == (0, [], [])
    assert reader.read(0, 0).shape == (0, 3)
    reader.close()


def test_the_views_of_an_image_stay_in_adjacent_rows(kind: ShardFormat, path: Path) -> None:
    write(kind, path, values_of(6), (1, 4), [0, 1, 2, 0, 1, 2])
    reader = kind.reader(path)
    assert reader.views().tolist() == [0, 1, 2, 0, 1, 2]
    assert reader.views().dtype == np.int16
    reader.close()


@pytest.mark.parametrize(("start", "stop"), [(-1, 1), (0, 6), (3, 2), (6, 6), (-2, -1)])
def test_rows_outside_the_shard_are_refused(kind: ShardFormat, path: Path, start: int, stop: int) -> None:
    write(kind, path, values_of(5))
    reader = kind.reader(path)
    with pytest.raises(IndexError):
        reader.read(start, stop)
    reader.close()


def test_what_was_read_outlives_the_reader(kind: ShardFormat, path: Path) -> None:
    values = values_of(5)
    write(kind, path, values)
    reader = kind.reader(path)
    got = reader.read(1, 4)
    reader.close()
    path.unlink()
    np.testing.assert_array_equal(got, values[1:4])


def test_the_writer_keeps_no_hold_on_the_callers_array(kind: ShardFormat, path: Path) -> None:
    values = values_of(4)
    writer = kind.writer(path, ShardLayout((3,), "float32", SPACE_ID))
    buffer = values.copy()
    writer.append(digests_of(4), [0] * 4, buffer)
    buffer[:] = -1
    writer.close()
    reader = kind.reader(path)
    np.testing.assert_array_equal(reader.read(0, 4), values)
    reader.close()


def test_a_strided_array_is_written_in_c_order(kind: ShardFormat, path: Path) -> None:
    values = np.asfortranarray(values_of(8, (4, 3)))[::2, :, ::-1]
    writer = kind.writer(path, ShardLayout((4, 3), "float32", SPACE_ID))
    writer.append(digests_of(4), [0] * 4, values)
    writer.close()
    reader = kind.reader(path)
    np.testing.assert_array_equal(reader.read(0, 4), values)
    reader.close()


@pytest.mark.parametrize(
    "values",
    [values_of(2, (4,)), values_of(2, (1, 3)), values_of(3), values_of(2, dtype="float16"), values_of(2).astype(">f4")],
    ids=["width", "rank", "rows", "dtype", "byte order"],
)
def test_embeddings_that_do_not_fit_are_refused(kind: ShardFormat, path: Path, values: npt.NDArray[np.generic]) -> None:
    writer = kind.writer(path, ShardLayout((3,), "float32", SPACE_ID))
    with pytest.raises(ValueError, match="expected embeddings"):
        writer.append(digests_of(2), [0, 0], values)


@pytest.mark.parametrize(("digests", "views"), [([b"short"] * 2, [0, 0]), (digests_of(2), [0])], ids=["digest", "views"])
def test_digests_and_views_that_do_not_fit_are_refused(kind: ShardFormat, path: Path, digests: list[bytes], views: list[int]) -> None:
    writer = kind.writer(path, ShardLayout((3,), "float32", SPACE_ID))
    with pytest.raises(ValueError):  # noqa: PT011 (each format has its own words)
        writer.append(digests, views, values_of(2))


def test_nothing_is_readable_before_the_writer_is_closed(kind: ShardFormat, path: Path) -> None:
    writer = kind.writer(path, ShardLayout((3,), "float32", SPACE_ID))
    writer.append(digests_of(4), [0] * 4, values_of(4))
    with pytest.raises(DamagedError, match=str(path)):
        kind.reader(path)
    writer.close()


def test_a_missing_shard_is_damaged_and_named(kind: ShardFormat, path: Path) -> None:
    with pytest.raises(DamagedError, match=f"the shard {path} is listed but is not there"):
        kind.reader(path)


def test_a_truncated_shard_is_damaged_and_named(kind: ShardFormat, path: Path) -> None:
    write(kind, path, values_of(50))
    whole = path.read_bytes()
    for size in sorted({0, 1, 4, 8, 12, *range(13, len(whole), 97), len(whole) - 8, len(whole) - 1}):
        path.write_bytes(whole[:size])
        with pytest.raises(DamagedError, match=str(path)):
            kind.reader(path)


@pytest.mark.parametrize("content", [b"\0" * 4096, b"PAR1" * 500, b"\x89HDF\r\n\x1a\n" + b"\xff" * 900, b"<html></html>"])
def test_what_is_no_shard_is_damaged_and_named(kind: ShardFormat, path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(DamagedError, match=str(path)):
        kind.reader(path)


def flips_of(path: Path) -> Iterator[int]:
    """Damages the file at `path` byte by byte, and gives the place of each damage while it lasts."""
    whole = path.read_bytes()
    with open(path, "r+b", buffering=0) as f:
        for place, byte in enumerate(whole):
            f.seek(place)
            f.write(bytes([byte ^ 0x10]))
            yield place
            f.seek(place)
            f.write(bytes([byte]))


def opened(kind: ShardFormat, path: Path) -> ShardReader | None:
    """A reader, or None where the file was refused in the right words."""
    try:
        return kind.reader(path)
    except DamagedError as error:
        assert str(path) in str(error)  # noqa: PT017 (most damages are harmless)
        return None


@pytest.mark.slow
def test_opening_a_damaged_shard_works_or_is_refused_in_words(kind: ShardFormat, path: Path) -> None:
    write(kind, path, values_of(12))
    problems: set[str] = set()
    for _ in flips_of(path):
        try:
            reader = opened(kind, path)
        except Exception as error:  # noqa: BLE001 (all of them are what is looked for)
            problems.add(type(error).__name__)
        else:
            if reader:
                reader.close()
    assert problems == set()


@pytest.mark.slow
def test_reading_a_damaged_shard_gives_all_rows_or_is_refused_in_words(kind: ShardFormat, path: Path) -> None:
    write(kind, path, values_of(12))
    problems: set[str] = set()
    for _ in flips_of(path):
        with suppress(Exception):  # the test above is about these
            reader = opened(kind, path)
            if reader:
                problems |= problems_of(reader)
                reader.close()
    assert problems == set()


def problems_of(reader: ShardReader) -> set[str]:
    try:
        got = {len(reader.read(0, reader.rows)), len(reader.digests()), len(reader.views())}
        return {f"{got} rows of {reader.rows}"} if got != {reader.rows} else set()
    except DamagedError:
        return set()
    except Exception as error:  # noqa: BLE001 (all of them are what is looked for)
        return {type(error).__name__}


@pytest.mark.slow
def test_a_damaged_shard_of_many_blocks_gives_all_rows_or_is_refused_in_words(kind: ShardFormat) -> None:
    with small_blocks() as folder:
        write(kind, folder / "shard", values_of(30))
        problems: set[str] = set()
        for _ in flips_of(folder / "shard"):
            reader = opened(kind, folder / "shard")
            if reader:
                problems |= problems_of(reader)
                reader.close()
    assert problems == set()


@pytest.mark.slow
@pytest.mark.parametrize("name", SHARD_FORMATS)
def test_a_full_disk_at_any_point_is_an_error_of_the_disk_and_the_process_lives(name: str, tmp_path: Path) -> None:
    """In a process of its own, since HDF5 by itself would crash it. A limit on the size of files stands in for the full disk."""
    done = subprocess.run([sys.executable, "-c", FULL_DISK, name, str(tmp_path / "shard")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "{27}\n", "")  # EFBIG


FULL_DISK = """
import pathlib, resource, signal, sys
import numpy as np
import storage.hdf5, storage.parquet
from storage.shard import SHARD_FORMATS, ShardLayout

storage.hdf5.CHUNK_BYTES = storage.parquet.ROW_GROUP_BYTES = 4000
kind, path = SHARD_FORMATS[sys.argv[1]], pathlib.Path(sys.argv[2])

def write():
    writer = kind.writer(path, ShardLayout((8,), "float16", "s" * 64))
    for part in range(10):
        writer.append([bytes([part]) * 32] * 60, [0] * 60, np.full((60, 8), part, np.float16))
    writer.close()

write()
size, errors = path.stat().st_size, set()
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for limit in range(0, size, 499):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        write()
    except OSError as error:
        errors.add(error.errno)
    else:
        errors.add(f"none at {limit}")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(errors)
"""


def test_every_format_is_found_by_name_and_has_a_suffix_of_its_own() -> None:
    assert [shard_format(name) for name in SHARD_FORMATS] == list(SHARD_FORMATS.values())
    assert len({entry.suffix for entry in SHARD_FORMATS.values()}) == len(SHARD_FORMATS)


@pytest.mark.parametrize("name", ["", "csv", "Parquet"])
def test_an_unknown_format_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(UsageError, match=", ".join(SHARD_FORMATS)):
        shard_format(name)


@pytest.mark.parametrize(("shape", "dtype", "size"), [((3,), "float16", 6), ((7, 7, 2048), "float32", 401_408), ((1,), "float32", 4)])
def test_the_bytes_of_an_embedding_follow_from_shape_and_dtype(shape: tuple[int, ...], dtype: str, size: int) -> None:
    assert embedding_bytes(shape, dtype) == size
    assert ShardLayout(shape, dtype, SPACE_ID).embedding_bytes == size


@given(shape=st.lists(st.integers(1, 9), min_size=1, max_size=4).map(tuple), dtype=st.sampled_from(DTYPES), space_id=st.text(max_size=9))
def test_a_layout_comes_back_from_its_json(shape: tuple[int, ...], dtype: str, space_id: str) -> None:
    layout = ShardLayout(shape, dtype, space_id)
    assert ShardLayout.from_json(layout.to_json(), "somewhere") == layout


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"{",
        b"[]",
        b"7",
        b"null",
        b"\xff",
        b'{"shard_version": 1}',
        b'{"shard_version": 1, "shape": 3, "dtype": "", "space_id": ""}',
    ],
)
def test_what_is_no_layout_is_damaged_and_names_the_file(data: bytes) -> None:
    with pytest.raises(DamagedError, match="the-shard"):
        ShardLayout.from_json(data, "the-shard")


@pytest.mark.parametrize(("shape", "dtype"), [([3], "bloat32"), ([3], "object"), ([3], 7), (["x"], "float32"), ([-1], "float32")])
def test_a_layout_that_cannot_be_is_damaged_and_names_the_file(shape: list[object], dtype: object) -> None:
    data = json.dumps({"shard_version": 1, "shape": shape, "dtype": dtype, "space_id": SPACE_ID}).encode()
    with pytest.raises(DamagedError, match="the-shard"):
        ShardLayout.from_json(data, "the-shard")


def test_a_shard_of_a_later_program_is_refused_with_both_versions() -> None:
    data = ShardLayout((3,), "float16", SPACE_ID).to_json().replace(b'"shard_version": 1', b'"shard_version": 2')
    with pytest.raises(DamagedError, match="the-shard: shard version 2, this program reads 1"):
        ShardLayout.from_json(data, "the-shard")
