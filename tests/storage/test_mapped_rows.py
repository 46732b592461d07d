from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from storage.errors import DamagedError
from storage.mapped_rows import Block, MappedRows, as_bytes
from storage.shard_layout import ShardLayout

BLOCKS = [Block(0, 3, 10), Block(3, 2, 40)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(bytes(range(60)))
    return tmp_path / "file"


def test_rows_in_one_block_are_not_copied_and_stay_when_the_file_is_closed_and_gone(file: Path) -> None:
    rows = MappedRows(file, 4).read(BLOCKS[:1], 1, 3)
    file.unlink()
    assert rows.tolist() == [[14, 15, 16, 17], [18, 19, 20, 21]]
    assert not rows.flags.owndata
    assert not rows.flags.writeable


def test_rows_of_several_blocks_come_one_after_the_other(file: Path) -> None:
    assert MappedRows(file, 4).read(BLOCKS, 2, 5).tobytes() == bytes([*range(18, 22), *range(40, 48)])


def test_a_block_beyond_the_file_is_damage_and_named(file: Path) -> None:
    with pytest.raises(DamagedError, match=rf"{file} is damaged: rows 0:3 would be at bytes 50:62 of 60"):
        MappedRows(file, 4).read([Block(0, 3, 50)], 0, 3)


@pytest.mark.parametrize(
    "out",
    [np.zeros((2, 3), np.float32), np.zeros((2, 4), np.float16), np.zeros((2, 6), np.float16)[:, ::2]],
    ids=["dtype", "shape", "gaps"],
)
def test_room_for_other_embeddings_is_refused(out: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"expected room for embeddings \(3,\) float16 side by side"):
        as_bytes(out, ShardLayout((3,), "float16", "5" * 64))
