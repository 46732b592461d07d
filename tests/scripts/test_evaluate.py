"""`train` and `evaluate` with all that can be asked of a head, on a made-up set with real images beside it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import storage
from scripts.report_pictures import ItemPictures
from tests.scripts.conftest import Said

SPACE = {"model": "CLIP ViT-B/32", "weights": "openai"}


def make_photos(folder: Path, count: int = 24) -> None:
    for i in range(count):
        path = folder / f"{'coat' if i % 2 else 'hat'}/{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 10), (i * 10, 0, 90)).save(path)


def import_set(say: Said, folder: Path) -> None:
    """Embeddings of the photos, made up, with the digests of the photos, as the next version of the set."""
    paths = sorted(folder.rglob("*.png"))
    random = np.random.default_rng(0)
    keys = [path.relative_to(folder).as_posix() for path in paths]
    labels = [key.split("/")[0] for key in keys]
    values = np.stack([random.normal(0, 1, 8) + 3 * (label == "hat") for label in labels]).astype(np.float16)
    digests = np.array([hashlib.sha256(path.read_bytes()).hexdigest() for path in paths])
    splits = np.array(["test" if i % 3 == 0 else "val" if i % 3 == 1 else "train" for i in range(len(keys))])
    np.savez("made.npz", keys=np.array(keys), labels=np.array(labels), splits=splits, digests=digests, embeddings=values)
    Path("clip.json").write_text(json.dumps(SPACE))
    code, _, err = say("store", "import", "made.npz", "features/me/photos", "--space", "clip.json")
    assert code == 0, err


@pytest.mark.slow
def test_a_head_is_trained_reported_asked_and_ranked(say: Said, tmp_path: Path) -> None:
    make_photos(tmp_path / "photos")
    import_set(say, tmp_path / "photos")
    train = ["train", "features/me/photos", "--max-epochs", 3, "--out"]
    report = ["--report", "report.html", "--images", "photos", "--tensorboard", "log"]
    code, _, err = say(*train, "features/heads/me/one", *report)
    assert code == 0, err
    page = Path("report.html").read_text()
    assert "On test: 8 items" in page
    assert "data:image/jpeg;base64," in page
    assert {path.name for path in Path("log").iterdir()} == {"train", "validation", "test"}
    code, _, _ = say(*train, "features/heads/me/two", "--c", 1e-6)
    assert code == 0

    questions = ["--against", "features/heads/me/two", "--slice-by", "label", "--label-errors", "--near-duplicates", "--report", "e.html"]
    code, out, err = say("evaluate", "features/heads/me/one", "features/me/photos", "--split", "test", *questions, "--json")
    assert code == 0, err
    said = json.loads(out)
    assert (said["against"]["rows"], said["near_duplicates"]["rows"], said["label_errors"]["rows"], said["drift"]) == (8, 8, 8, None)
    assert {each["value"] for each in said["slices"]["label"]} == {"coat", "hat"}
    assert "Against features/heads/me/two" in Path("e.html").read_text()
    code, out, _ = say("evaluate", "features/heads/me/one", "features/me/photos", "--split", "test", *questions)
    for told in ("accuracy", "95%", "calibration error", "by label, worst first", "likely label errors", "near-duplicates in train"):
        assert told in out

    code, _, err = say("evaluate", "features/heads/me/one", "features/me/photos", "--slice-by", "nope")
    assert (code, "no item has a column 'nope'" in err, "evaluating" in err) == (2, True, False)

    make_photos(tmp_path / "photos", 25)
    import_set(say, tmp_path / "photos")
    code, out, _ = say("evaluate", "features/heads/me/one", "features/me/photos")
    assert code == 0
    assert "drift since version 1: 1 of 25 labelled items are new (4.0%)" in out
    rows = [f"{label}/{i:02d}.png,{label}" for i, label in enumerate(["hat", "coat"] * 12)]
    Path("same.csv").write_text("\n".join(["key,label", *rows, "", ""]))
    code, out, err = say("leaderboard", "features", "--labels", "same.csv")
    assert (code, "me/one" in out, "me/two" in out) == (0, True, True), err
    assert "no head was fitted with the very file same.csv" in err
    Path("other.csv").write_text("\n".join(["key,label", *rows[:-1]]))
    code, _, err = say("leaderboard", "features", "--labels", "other.csv")
    assert (code, "neither with this very file, nor with the same labels for the items of its set" in err) == (1, True)
    code, out, _ = say("leaderboard", "features")
    assert code == 0
    assert "8 test items" in out
    assert out.count("me/photos@1") == 2


@pytest.mark.slow
def test_what_the_labels_forbid_is_refused_without_a_line_of_progress(say: Said, tmp_path: Path) -> None:
    make_photos(tmp_path / "photos")
    import_set(say, tmp_path / "photos")
    train = ["train", "features/me/photos", "--head", "ridge", "--out", "head"]
    code, _, err = say(*train, "--folds", 50)
    assert (code, err.startswith("permafrost: 16 images (or groups) cannot be divided into 50 folds")) == (2, True), err
    code, _, err = say(*train, "--folds", 3)
    assert (code, "folds: 0 of 3\n" in err, "folds: 3 of 3" in err) == (0, True, True)
    rows = [f"{label}/{i:02d}.png,{label},train" for i, label in enumerate(["hat", "coat"] * 12)]
    Path("labels.csv").write_text("\n".join(["key,label,split", *rows]))
    evaluate = ["evaluate", "head", "features/me/photos", "--split", "test"]
    code, _, err = say(*evaluate, "--labels", "labels.csv")
    assert (code, err.startswith("permafrost: no item gets the split 'test' from labels.csv")) == (2, True), err
    code, _, err = say(*evaluate)
    assert (code, "evaluating: 8 of 8" in err) == (0, True), err
    Path("one.csv").write_text("\n".join(["key,label", "hat/00.png,x", "coat/01.png,x"]))
    code, _, err = say("advise", "features/me/photos", "--labels", "one.csv")
    assert (code, err.startswith("permafrost: ")) == (2, True), err


def test_a_report_that_cannot_be_written_is_told_before_the_work(say: Said, tmp_path: Path) -> None:
    make_photos(tmp_path / "photos", 4)
    import_set(say, tmp_path / "photos")
    train = ["train", "features/me/photos", "--out", "head"]
    Path("file").write_text("")
    for words, told in (
        (["--report", "nowhere/report.html"], "no folder to write the report"),
        (["--report", "photos"], "--report photos is a folder: name a file in it, such as photos/report.html"),
        (["--tensorboard", "file"], "--tensorboard file must be a folder, there or to be made"),
        (["--tensorboard", "file/log"], "is a file"),
        (["--images", "photos"], "pass --report"),
        (["--report", "r.html", "--images", "nowhere"], "no such folder of images: nowhere"),
    ):
        code, _, err = say(*train, *words)
        assert code in (1, 2)
        assert told in err
        assert not Path("head").exists()


def test_a_folder_that_may_not_be_written_to_is_told_before_the_work(say: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_photos(tmp_path / "photos", 4)
    import_set(say, tmp_path / "photos")
    monkeypatch.setattr("os.access", lambda path, mode: Path(path).name != "photos")  # root may write everywhere
    for words in (["--report", "photos/r.html"], ["--tensorboard", "photos/new/log"]):
        code, _, err = say("train", "features/me/photos", "--out", "head", *words)
        assert (code, f"{words[0]} {words[1]}: you may not write to the folder" in err) == (2, True)
        assert not Path("head").exists()


def test_pictures_are_those_of_the_very_images_below_the_folder(say: Said, tmp_path: Path) -> None:
    make_photos(tmp_path / "photos", 4)
    import_set(say, tmp_path / "photos")
    feature_set = storage.open("features/me/photos")
    Path("photos/hat/00.png").write_bytes(b"not an image any more")
    Path("secret.png").write_bytes(Path("photos/hat/02.png").read_bytes())
    digest = hashlib.sha256(Path("secret.png").read_bytes()).digest()
    pictures = ItemPictures(feature_set, "photos")
    keys = feature_set.items["key"].to_pylist()
    found = pictures(list(zip(["-"] * 4, keys, feature_set.items["digest"].to_pylist(), strict=True)))
    assert {key: bool(picture) for key, picture in zip(keys, found, strict=True)} == {key: key != "hat/00.png" for key in keys}
    assert pictures([("-", "../secret.png", digest), ("-", "no.png", digest)]) == [None, None]
    assert ItemPictures(feature_set)([("-", "hat/02.png", digest)]) == [None]  # nobody knows where they were
    broken = hashlib.sha256(b"not an image any more").digest()
    assert pictures([("-", "hat/00.png", broken)]) == [None]
