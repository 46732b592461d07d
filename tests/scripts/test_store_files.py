"""`permafrost store import` and `export`: there and back, and wrong use in words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import storage
from tests.scripts.conftest import Said

VALUES = np.random.default_rng(1).standard_normal((40, 6)).astype(np.float32)
KEYS = [f"{i:02d}.png" for i in range(40)]


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> None:
    """clip.npz with its statement, and the store `features` with the set made of them."""
    labels = np.where(VALUES[:, 0] > 0, "ant", "bee")
    np.savez(tmp_path / "clip.npz", keys=np.array(KEYS), embeddings=VALUES, labels=labels)
    (tmp_path / "clip.json").write_text(json.dumps({"model": "clip ViT-B/32", "weights": "openai"}))
    np.save(tmp_path / "clip.npy", VALUES)


IMPORT = ["store", "import", "clip.npz", "features/me/clip", "--space", "clip.json"]


def test_an_import_tells_its_account_and_that_there_are_no_golden_images(say: Said) -> None:
    code, out, err = say(*IMPORT)
    assert code == 0
    assert "40 listed = 40 rows + 0 rejected + 0 pending" in out
    assert "0 of images, 40 stand-ins" in out
    assert "no golden images" in err
    code, out, _ = say(*IMPORT, "--json")
    assert code == 0
    told = json.loads(out)
    assert (told["version"], told["committed"], told["listed"], told["rows"], told["golden"]) == (1, False, 40, 40, 0)
    code, out, _ = say("store", "show", "features/me/clip")
    assert code == 0
    assert "stated only, model clip ViT-B/32, weights openai" in out


def test_another_key_of_a_known_image_takes_the_place_of_none(say: Said) -> None:
    for number, key in enumerate("ab"):
        values = np.full((1, 4), number, np.float16)
        np.savez(f"{key}.npz", keys=np.array([key]), embeddings=values, digest=np.array(["1" * 64]))
    assert say("store", "import", "a.npz", "features/me/two", "--space", "clip.json")[0] == 0
    code, out, _ = say("store", "import", "b.npz", "features/me/two", "--append", "--space", "clip.json")
    assert (code, "1 it had not, 1 of these with other bytes than it had of the same image or key" in out) == (0, True), out


def test_rejects_over_the_limit_are_exit_code_3(say: Said, tmp_path: Path) -> None:
    broken = VALUES.copy()
    broken[3, 3] = np.nan
    np.savez(tmp_path / "clip.npz", keys=np.array(KEYS), embeddings=broken)
    code, out, _ = say(*IMPORT)
    assert code == 3
    assert "40 listed = 39 rows + 1 rejected + 0 pending" in out
    assert "1 non-finite" in out
    assert say(*IMPORT, "--max-rejects", "5%")[0] == 0


@pytest.mark.parametrize("ending", ["parquet", "h5", "npz"])
def test_what_is_exported_is_imported_without_a_word_about_its_space(say: Said, ending: str) -> None:
    say(*IMPORT, "--format", "hdf5")
    code, out, _ = say("store", "export", "features/me/clip@1", f"flat.{ending}", "--json")
    assert code == 0
    assert json.loads(out)["rows"] == 40
    assert say("store", "import", f"flat.{ending}", "features/me/back")[0] == 0
    one, two = (storage.open(f"features/me/{name}") for name in ("clip", "back"))
    assert one.space == two.space
    np.testing.assert_array_equal(one.to_numpy()[1], two.to_numpy()[1])


def test_an_import_says_how_many_rows_it_passed_over_because_they_were_taken_down(say: Said) -> None:
    say(*IMPORT)
    say("store", "export", "features/me/clip", "flat.parquet")
    assert say("store", "takedown", "features/me/clip", *(word for key in KEYS[:3] for word in ("--key", key)), "--yes")[0] == 0
    code, out, _ = say("store", "import", "flat.parquet", "features/me/clip")
    assert code == 0
    assert ["skipped", "3", "taken-down"] in [line.split() for line in out.splitlines()]
    assert "37 listed = 37 rows" in out


def test_what_a_repair_gave_up_comes_back_by_command(say: Said) -> None:
    say(*IMPORT)
    say("store", "remove", "features/me/clip", "--key", "00.png")
    [shard] = Path("features/me/clip/shards").iterdir()
    shard.unlink()
    code, out, _ = say("store", "repair", "features/me/clip", "--give-up")
    assert (code, "store import FILE features/me/clip --pending --like features/me/clip`" in out) == (3, True), out
    code, out, _ = say("store", "import", "clip.npz", "features/me/clip", "--pending", "--like", "features/me/clip", "--json")
    told = json.loads(out)
    assert (code, told["rows"], told["skipped"]) == (0, 39, {"not-pending": 1})
    code, out, err = say("store", "import", "clip.npz", "features/me/clip", "--pending", "--like", "features/me/clip")
    assert (code, "no item of the corpus is pending in version 4" in err) == (0, True), err
    assert "40 not-pending" in out


def test_a_mirror_says_how_many_rows_leave(say: Said, tmp_path: Path) -> None:
    say(*IMPORT)
    np.savez(tmp_path / "clip.npz", keys=np.array([*KEYS[:3], "new"]), embeddings=VALUES[:4])
    code, out, _ = say(*IMPORT)
    assert (code, "40 rows before, 4 now; 37 of those before have left" in out) == (0, True), out


def test_a_replacement_that_cannot_be_stored_is_told_with_what_stays(say: Said, tmp_path: Path) -> None:
    say(*IMPORT)
    np.savez(tmp_path / "nan.npz", keys=np.array(KEYS[:2]), embeddings=VALUES[:2] * [[np.nan], [-1]])
    code, out, _ = say("store", "import", "nan.npz", "features/me/clip", "--replace", "--space", "clip.json")
    assert (code, "not replaced   00.png: the new embedding cannot be stored, and the item that was there stays" in out) == (3, True), out


def test_a_set_of_hdf5_shards_is_shown_with_a_snippet_for_h5py(say: Said) -> None:
    say(*IMPORT, "--format", "hdf5")
    code, out, _ = say("store", "show", "features/me/clip")
    assert code == 0
    assert "h5py.File(path, locking=False)" in out
    assert "DuckDB" not in out


@pytest.mark.slow
def test_a_head_on_imported_features_is_trained_and_then_refuses_new_images_in_words(say: Said) -> None:
    say(*IMPORT)
    code, _, _ = say("train", "features/me/clip", "--out", "head", "--max-epochs", "3")
    assert code == 0
    code, _, err = say("predict", "head", "clip.npz")
    assert code == 2
    assert "these features were imported, and their network is only stated (model clip ViT-B/32, weights openai)" in err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["store", "import", "none.npz", "features/me/x", "--space", "clip.json"], 1, "no such file: none.npz"),
        (["store", "import", "clip.npz", "features/me/x"], 2, "does not say which feature space its embeddings are in"),
        (["store", "import", "clip.npz", "features/me/x", "--space", "none.json"], 1, "no statement of a space at none.json"),
        (["store", "import", "clip.npz", "features/me/x", "--space", "clip.npy"], 2, "is not valid JSON"),
        (["store", "import", "clip.npz", "features/me/x", "--like", "features/me/none"], 1, "features is not a feature store"),
        (["store", "import", "clip.npz", "features/me/x", "--like", "a/b/c", "--space", "clip.json"], 2, "pass one of them"),
        (["store", "import", "clip.npz", "x", "--space", "clip.json"], 2, "expected ROOT/TEAM/SET"),
        (["store", "import", "clip.npz", "clip.npy/me/x", "--space", "clip.json"], 2, "clip.npy is a file"),
        (["store", "import", "clip.npy", "features/me/x", "--space", "clip.json"], 2, "pass --keys FILE with one key a line"),
        (["store", "import", "clip.npy", "features/me/x", "--space", "clip.json", "--keys", "none"], 1, "no such file: none"),
        (["store", "import", "clip.npy", "features/me/x", "--space", "clip.json", "--keys", "clip.json"], 2, "1 keys for 40 embeddings"),
        (["store", "import", "clip.npz", "features/me/x", "--space", "clip.json", "--key-column", "id"], 2, "clip.npz has no 'id'"),
        (["store", "import", "clip.npz", "features/me/x", "--space", "clip.json", "--images", "none"], 1, "--images none: no such folder"),
        (["store", "import", "clip.npz", "features/me/x", "--space", "clip.json", "--corpus-id", "a/b"], 2, "is not a usable name"),
        (["store", "import", "clip.json", "features/me/x", "--space", "clip.json"], 2, "ends in .npy, .npz, .parquet, .h5 or .hdf5"),
        (["store", "export", "features/me/x", "x.h5"], 1, "features is not a feature store"),
    ],
)  # fmt: skip
def test_wrong_use_is_told_in_words_and_makes_no_store(say: Said, tmp_path: Path, words: list[str], code: int, said: str) -> None:
    received, _, err = say(*words)
    assert said in err
    assert received == code
    assert not (tmp_path / "features").exists()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["features/me/clip@7", "x.h5"], 1, "has no version 7"),
        (["features/me/clip", "x.csv"], 2, "ends in .parquet, .h5 or .npz, got .csv"),
        (["features/me/clip", "clip.npz"], 1, "clip.npz exists already: pass --force"),
        (["features/me/clip", "features", "--force"], 2, "got no ending"),
        (["features/me/clip", "none/x.h5"], 1, "no such folder: none"),
        (["features/me/clip", "x.npz", "--layout", "list"], 2, "--layout list is for .parquet files"),
        (["features/me/clip", "x.npz", "--layout", "rows"], 2, "invalid choice"),
    ],
)
def test_wrong_targets_are_told_in_words(say: Said, words: list[str], code: int, said: str) -> None:
    say(*IMPORT)
    received, _, err = say("store", "export", *words)
    assert said in err
    assert received == code
