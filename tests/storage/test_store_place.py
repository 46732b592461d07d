"""No store lies in another one, whichever of the two was there first; and who is told so has written nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scripts.damaged_sets import fill
from scripts.made_set import MadeSet
from scripts.s3_server import new_bucket
from storage.errors import NotFoundError, UsageError
from storage.files import list_folders, write_atomic
from storage.import_features import import_features
from storage.import_options import ImportOptions
from storage.names import parse_set
from storage.place import Place
from storage.store import ensure_store, init_store, require_possible_root
from storage.store_place import LEVELS_BELOW
from storage.transfer import copy_set


@pytest.fixture
def vectors(tmp_path: Path) -> tuple[Path, ImportOptions]:
    np.savez(tmp_path / "v.npz", keys=["a", "b"], embeddings=np.ones((2, 3), "float16"))
    (tmp_path / "space.json").write_text('{"model": "m", "weights": "w", "preprocessing": "p"}')
    return tmp_path / "v.npz", ImportOptions(space=tmp_path / "space.json")


def files_below(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("inner", ["st", "a/st", "sub/a/st"])
def test_nothing_becomes_a_store_around_one(tmp_path: Path, inner: str) -> None:
    outer = tmp_path / "outer"
    ensure_store(outer / inner)
    before = files_below(outer)
    for make in (init_store, ensure_store, require_possible_root):
        with pytest.raises(UsageError, match=rf"because {outer / inner} in it is one: .*{outer / inner}/TEAM/SET; .* choose a folder"):
            make(outer)
    assert files_below(outer) == before
    ensure_store(outer / "beside")
    ensure_store(outer / inner)  # which is one, and stays one


def test_how_deep_is_looked_is_bounded(tmp_path: Path) -> None:
    ensure_store(tmp_path.joinpath(*["x"] * (LEVELS_BELOW + 1)))
    ensure_store(tmp_path)


def test_what_may_not_be_looked_into_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: Place) -> list[str]:
        raise PermissionError if folder.name == "private" else NotADirectoryError

    def look(folder: Place) -> list[str]:
        return refuse(folder) if folder.name == "private" else list_folders(folder)

    (tmp_path / "store" / "private").mkdir(parents=True)
    monkeypatch.setattr("storage.store_place.list_folders", look)
    ensure_store(tmp_path / "store")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("features/clip", r"because .*features in it is one: .*features/TEAM/SET"),  # a part too few
        ("features/team/set/more", r"team is a folder of the store .*features: .* named .*features/TEAM/SET"),  # one too many
    ],
)
def test_an_import_or_copy_that_is_refused_has_written_nothing(
    make_set: Callable[..., MadeSet], vectors: tuple[Path, ImportOptions], tmp_path: Path, name: str, told: str
) -> None:
    fill(make_set(root=tmp_path / "features"))
    source, (file, options) = fill(make_set()), vectors
    before = files_below(tmp_path)
    with pytest.raises(UsageError, match=told):
        import_features(file, tmp_path / name, options)
    with pytest.raises(UsageError, match=told):
        copy_set(source.name, parse_set(tmp_path / name))
    assert files_below(tmp_path) == before


def test_prefixes_of_a_bucket_are_as_folders(server: str, make_set: Callable[..., MadeSet], vectors: tuple[Path, ImportOptions]) -> None:
    bucket = new_bucket(server)
    write_atomic(bucket / "notes.txt", b"x")
    init_store(bucket / "main" / "st")
    assert (list_folders(bucket), list_folders(bucket / "main" / "st")) == (["main"], [])
    for root in (bucket, bucket / "main"):
        with pytest.raises(UsageError, match=rf"{root} cannot be made a store, because {bucket}/main/st in it is one"):
            init_store(root)
    file, options = vectors
    for write in (
        lambda: import_features(file, f"{bucket}/team/set", options),
        lambda: copy_set(fill(make_set()).name, replace(parse_set(f"{bucket}/team/set"))),
    ):
        with pytest.raises(NotFoundError, match="store init"):
            write()
    assert list_folders(bucket) == ["main"]
