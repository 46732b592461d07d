from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from scripts.predictions import Columns, Predictions, check_out, open_predictions, require_clear, rows_of
from storage.errors import UsageError

CLASSES = ("coat", "hat")
FORMATS = [".csv", ".parquet"]


def batch(start: int, multi_label: bool = False) -> Predictions:
    """Two items."""
    chosen = [[0, 1], []] if multi_label else [[0], [1]]
    return Predictions({"image": [f"{start}.jpg", f"{start + 1}, é.jpg"]}, chosen, np.array([[0.75, 0.625], [0.25, 0.375]], np.float32))


def read(path: Path) -> list[dict[str, object]]:
    if path.suffix == ".parquet":
        rows: list[dict[str, object]] = pq.read_table(path).to_pylist()
        return rows
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("suffix", FORMATS)
def test_batches_become_one_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"p{suffix}"
    with open_predictions(path, Columns(("image",), CLASSES, False)) as writer:
        for start in (0, 2):
            writer.write(batch(start))
    rows = read(path)
    assert [row["image"] for row in rows] == ["0.jpg", "1, é.jpg", "2.jpg", "3, é.jpg"]
    assert [row["class"] for row in rows] == ["coat", "hat"] * 2
    assert [float(str(row["probability"])) for row in rows] == [0.75, 0.375] * 2
    assert list(rows[0]) == ["image", "class", "probability"]
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", FORMATS)
def test_all_probabilities_have_columns(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"p{suffix}"
    with open_predictions(path, Columns(("image",), CLASSES, False, True)) as writer:
        writer.write(batch(0))
    assert [[float(str(row[f"p({name})"])) for name in CLASSES] for row in read(path)] == [[0.75, 0.625], [0.25, 0.375]]


def test_many_classes_are_lists_or_joined(tmp_path: Path) -> None:
    for suffix in FORMATS:
        with open_predictions(tmp_path / f"p{suffix}", Columns(("image",), CLASSES, True)) as writer:
            writer.write(batch(0, True))
    assert [(row["class"], row["probability"]) for row in read(tmp_path / "p.parquet")] == [(["coat", "hat"], [0.75, 0.625]), ([], [])]
    assert [(row["class"], row["probability"]) for row in read(tmp_path / "p.csv")] == [("coat|hat", "0.750000|0.625000"), ("", "")]
    assert rows_of(batch(0, True), Columns(("image",), CLASSES, True))[1] == {
        "image": "1, é.jpg",
        "class": [],
        "probability": [],
        "probabilities": {"coat": 0.25, "hat": 0.375},
    }


@pytest.mark.parametrize("suffix", FORMATS)
def test_without_predictions_the_file_has_its_columns(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "new" / f"p{suffix}"
    with open_predictions(path, Columns(("corpus", "key"), CLASSES, False)):
        pass
    assert read(path) == []
    header = pq.read_schema(path).names if suffix == ".parquet" else path.read_text().strip().split(",")
    assert header == ["corpus", "key", "class", "probability"]


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_failure_leaves_the_older_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"p{suffix}"
    path.write_text("older")

    def write_and_fail() -> None:
        with open_predictions(path, Columns(("image",), CLASSES, False)) as writer:
            writer.write(batch(0))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_and_fail()
    assert path.read_text() == "older"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(("name", "said"), [("p.xlsx", "must end in .csv or .parquet; got .xlsx"), ("p", "got no ending")])
def test_other_endings_are_told(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        check_out(tmp_path / name)


def test_classes_that_a_csv_could_not_tell_apart_are_told() -> None:
    columns = Columns(("image",), ("coat", "a|b"), True)
    with pytest.raises(UsageError, match=r"class names contain '\|'.*a\|b.*parquet"):
        require_clear(Path("p.csv"), columns)
    require_clear(Path("p.parquet"), columns)
    require_clear(Path("p.csv"), Columns(("image",), ("coat", "a|b"), False))


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "p.csv").mkdir()
    with pytest.raises(UsageError, match="is a folder: name a file in it"):
        check_out(tmp_path / "p.csv")
