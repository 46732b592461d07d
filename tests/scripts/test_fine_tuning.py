"""Fine-tuning on the command line: from a set and its corpus to a head that reads images, and back to the same items."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest

from scripts.train_images import fine_tuning_pairs
from tests.scripts.conftest import Said

if TYPE_CHECKING:
    from trainer import FittedHead

pytestmark = pytest.mark.slow
QUICK = ("--max-epochs", 2, "--stages", "", "--batch-size", 8, "--groups", 2)


def write_network(path: Path) -> None:
    """From 32 pixels to 8 numbers; seconds faster to trace than the smallest of keras.applications."""
    import keras

    keras.utils.set_random_seed(3)
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(6, 5, strides=3, activation="relu")(inputs)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(x)
    keras.Model(inputs, x).save(path)


@pytest.mark.parametrize(
    ("trained", "words", "how"),
    [
        (0, "no layers of the network", ", the head alone"),
        (1, "the last 1 of 3 groups of layers", "; learning rates from the last layers to the first: 0.0001"),
        (3, "", "; learning rates from the last layers to the first: 0.0001, 0.0001, 0.0001"),
    ],
)
def test_it_says_how_much_of_the_network_the_kept_epoch_had_trained_and_no_rates_of_other_layers(
    trained: int, words: str, how: str
) -> None:
    frozen = {
        "groups": [{"learning_rate": 1e-4}] * 3,
        "groups_by_epoch": [0, 0, 1, 3],
        "groups_trained": trained,
        "start": {"head": "heads/cached"},
        "devices": 1,
    }
    pairs = dict(fine_tuning_pairs(cast("FittedHead", SimpleNamespace(strategy="fine-tuning", frozen=frozen, epochs=1))))
    assert pairs["strategy"] == f"fine-tuning from heads/cached{how}"
    assert pairs["stages"] == "2 epochs of the head alone, 1 epoch of the head and 1 of 3 groups, 1 epoch of all"
    assert pairs.get("trained", "") == (words and f"the head and {words}: in the kept epoch, 1, no more were open (--stages)")


def test_a_network_is_fine_tuned_measured_and_asked(say: Said, make_corpus: Callable[..., Path], tmp_path: Path) -> None:
    photos = make_corpus(24)
    write_network(tmp_path / "net.keras")
    backbone = ("--backbone", "net.keras", "--preprocessing", "caffe", "--input-size", 32, "--dtype", "float32")
    code, _, err = say("extract", "photos", "features/me/photos", *backbone, "--local")
    assert code == 0, err
    train = ("train", "features/me/photos", "--out")
    code, _, err = say(*train, "heads/cached", "--head", "logistic")
    assert code == 0, err

    told_in_words(say)
    code, out, err = say(*train, "heads/alone", "--strategy", "fine-tuning", "--max-epochs", 1, "--stages", "1,1", "--json")
    assert code == 0, err
    assert "no layer of the network was trained" in err
    assert any("no layer of the network was trained" in warning for warning in json.loads(out)["warnings"])

    # From a head that is there; the images have moved.
    photos.rename(tmp_path / "moved")
    tune = (*train, "heads/tuned", "--strategy", "fine-tuning", "--from", "heads/cached", *QUICK)
    code, _, err = say(*tune)
    assert (code, "pass --corpus" in err) == (1, True)
    code, out, err = say(*tune, "--corpus", "moved", "--image-memory", 0, "--report", "tuned.html")  # each epoch decodes
    assert code == 0, err
    assert "fine-tuning from heads/cached" in out
    assert all(words in Path("tuned.html").read_text() for words in ("On test:", "tuned: fine-tuning, logistic on photos"))
    assert "fitted on the validation items as well" in err
    assert not list((tmp_path / "heads").glob(".*"))  # no checkpoint is left
    described = {name: json.loads(Path(f"heads/{name}/head.json").read_text()) for name in ("cached", "tuned")}
    assert described["tuned"]["tested_sha256"] == described["cached"]["tested_sha256"]
    assert described["tuned"]["strategy"] == "fine-tuning"
    assert described["tuned"]["frozen"]["start"]["model_sha256"] == described["cached"]["model_sha256"]

    # The same items by way of the set and as images.
    code, out, err = say("evaluate", "heads/tuned", "features/me/photos", "--corpus", "moved", "--against", "heads/cached", "--json")
    assert code == 0, err
    said = json.loads(out)
    assert (said["metrics"]["rows"], said["against"]["rows"]) == (24, 24)
    found = {}
    for name, words in {"set": ("features/me/photos", "--corpus", "moved"), "images": ("moved",)}.items():
        code, out, err = say("predict", "heads/tuned", *words, "--json")
        assert code == 0, err
        rows = json.loads(out)["predictions"]
        found[name] = {row.get("key", row.get("image", "")).removeprefix("moved/"): list(row["probabilities"].values()) for row in rows}
    assert found["set"].keys() == found["images"].keys()
    for key, probabilities in found["set"].items():
        np.testing.assert_allclose(found["images"][key], probabilities, atol=1e-6)
    code, _, err = say("predict", "heads/tuned", "features/me/photos", "--corpus", "moved", "--weights", "x")
    assert code == 2

    # An image that is another one now is refused; so is a network with other weights, by the names of the fields.
    shutil.copy(tmp_path / "moved/ant/0001.jpg", tmp_path / "moved/ant/0005.jpg")
    (tmp_path / "moved/ant/0007.jpg").unlink()
    for memory in (0, 1):
        code, _, err = say(*tune, "--corpus", "moved", "--image-memory", memory)
        assert code == 2
        assert "2 of 24 images are not at hand as they were embedded" in err
        assert "ant/0005.jpg (changed since it was embedded)" in err
    write_network(tmp_path / "other.keras")
    code, _, err = say(*tune, "--corpus", "moved", "--backbone", reseeded(tmp_path))
    assert code == 1
    assert "they differ in weights" in err


def reseeded(folder: Path) -> Path:
    import keras

    model = keras.models.load_model(folder / "net.keras")
    model.set_weights([weight + 1 for weight in model.get_weights()])
    model.save(folder / "other.keras")
    return folder / "other.keras"


def told_in_words(say: Said) -> None:
    train = ("train", "features/me/photos", "--out")
    for words, told in {
        ("--augment", "flip"): "--augment is about --strategy fine-tuning",
        ("--strategy", "fine-tuning", "--augment", "spin"): "--augment takes flip",
        ("--strategy", "fine-tuning", "--stages", "1,1,1,1"): "stages are the epochs",
        ("--strategy", "fine-tuning", "--folds", "3"): "cross-validate the head on cached features",
        ("--strategy", "fine-tuning", "--classes", "ant"): "two classes",
        ("--strategy", "fine-tuning", "--head", "knn"): "the knn head has nothing that training could change",
        ("--strategy", "fine-tuning", "--from", "heads/none"): "no head at heads/none",
    }.items():
        code, _, err = say(*train, "heads/other", *words)
        assert code in (1, 2), words
        assert told in err, words
        assert "reading images" not in err, words
