from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from storage.disk import sha256_file
from storage.errors import AlreadyExistsError, DamagedError, NotFoundError, UsageError
from storage.files import to_json
from storage.sealed import CHECKSUM, seal
from trainer.fitted import FittedHead
from trainer.head_folder import OLDER_CHECKSUM, check_head_target, checksum, load_head, save_head

Features = np.random.default_rng(0).normal(0, 3, (30, 8)).astype(np.float16)


@pytest.fixture(scope="module")
def kept(fitted: FittedHead) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        save_head(fitted, Path(folder) / "head")
        yield Path(folder) / "head"


@pytest.fixture
def head_folder(kept: Path, tmp_path: Path) -> Path:
    """A head as `save_head` left it, for this test alone."""
    return Path(shutil.copytree(kept, tmp_path / "heads" / "head"))


def tamper(folder: Path, **changes: Any) -> Path:
    """Change head.json (... removes a field) and write the checksum that belongs to it: whoever forges one can forge both."""
    path = folder / "head.json"
    value = {**json.loads(path.read_text()), **changes}
    value = {name: item for name, item in value.items() if item is not ...}
    path.write_bytes(seal({name: item for name, item in value.items() if name != CHECKSUM}) if CHECKSUM in value else to_json(value))
    return folder


@pytest.mark.slow
def test_a_head_that_was_kept_predicts_identically(fitted: FittedHead, head_folder: Path) -> None:
    head = load_head(head_folder)
    probabilities = head.predict(Features)
    np.testing.assert_array_equal(probabilities, fitted.model.predict_on_batch(Features.astype(np.float32)))
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


def test_a_head_carries_classes_space_and_backbone(fitted: FittedHead, head_folder: Path) -> None:
    head = load_head(head_folder)
    assert head.classes == fitted.classes
    assert head.space == fitted.feature_set.space
    assert head.backbone == {"name": "mobilenet_v2", "weights": "random:0"}
    assert head.folder == head_folder


def test_the_description_says_what_it_was_fitted_on(fitted: FittedHead, head_folder: Path) -> None:
    value = json.loads((head_folder / "head.json").read_text())
    assert value["set"] == str(fitted.feature_set.name)
    assert (value["version"], value["space_id"], value["feature_shape"]) == (1, fitted.feature_set.space.id, [8])
    assert value["set_created"] == fitted.feature_set.description.created
    assert value["options"]["head"] == "linear"
    assert {"train", "validation", "test"} == set(value["metrics"])


def test_only_the_two_files_are_left(head_folder: Path) -> None:
    assert sorted(path.name for path in head_folder.iterdir()) == ["head.json", "head.keras"]
    assert [path.name for path in head_folder.parent.iterdir()] == ["head"]


def test_parent_folders_are_made(fitted: FittedHead, tmp_path: Path) -> None:
    save_head(fitted, tmp_path / "a" / "b" / "head")
    assert load_head(tmp_path / "a" / "b" / "head").classes == fitted.classes


def test_an_older_head_and_an_empty_folder_are_replaced(fitted: FittedHead, head_folder: Path, tmp_path: Path) -> None:
    save_head(fitted, head_folder)
    (tmp_path / "empty").mkdir()
    save_head(fitted, tmp_path / "empty")
    assert load_head(head_folder).classes == load_head(tmp_path / "empty").classes


def test_a_head_that_lost_its_description_is_trained_again(fitted: FittedHead, tmp_path: Path) -> None:
    save_head(fitted, tmp_path / "head")
    (tmp_path / "head" / "head.json").unlink()
    save_head(fitted, tmp_path / "head")
    assert load_head(tmp_path / "head").classes == fitted.classes


def test_a_folder_that_is_no_head_is_not_overwritten(fitted: FittedHead, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(AlreadyExistsError, match="is not a head folder"):
        save_head(fitted, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_a_file_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(AlreadyExistsError):
        check_head_target(tmp_path / "file")


def test_what_is_free_is_a_target(tmp_path: Path) -> None:
    check_head_target(tmp_path / "nothing" / "there")
    check_head_target(tmp_path)


def test_other_files_beside_an_older_head_survive(fitted: FittedHead, head_folder: Path) -> None:
    (head_folder / "report.md").write_text("what we found")
    with contextlib.suppress(AlreadyExistsError):
        save_head(fitted, head_folder)
    assert (head_folder / "report.md").read_text() == "what we found"


def test_a_link_to_an_older_head_is_followed_or_refused_in_words(fitted: FittedHead, head_folder: Path) -> None:
    link = head_folder.parent / "link"
    link.symlink_to(head_folder)
    try:
        check_head_target(link)
        save_head(fitted, link)
    except AlreadyExistsError:
        pass
    assert load_head(head_folder)


def test_a_head_of_an_older_version_loads(fitted: FittedHead, head_folder: Path) -> None:
    """It knew neither the checksum nor several tasks, heads and poolings."""
    options = {"head": "linear", "c": 0.01, "learning_rate": 0.001, "batch_size": 256}
    tamper(head_folder, **{CHECKSUM: ...}, multi_label=..., options=options)
    assert load_head(head_folder).classes == fitted.classes


def test_a_head_of_before_descriptions_were_sealed_loads_and_its_own_checksum_counts(fitted: FittedHead, head_folder: Path) -> None:
    value = json.loads((tamper(head_folder, **{CHECKSUM: ...}) / "head.json").read_text())
    (head_folder / "head.json").write_bytes(to_json({**value, OLDER_CHECKSUM: checksum(value)}))
    assert load_head(head_folder).classes == fitted.classes
    tamper(head_folder, classes=["boot", "coat", "hat"])
    with pytest.raises(DamagedError, match="was changed after it was written"):
        load_head(head_folder)


def test_what_it_reached_and_its_temperature_are_kept(fitted: FittedHead, head_folder: Path) -> None:
    head, test = load_head(head_folder), fitted.metrics["test"]
    assert head.tested == (test.accuracy, test.intervals["accuracy"])
    assert head.temperature == pytest.approx(test.temperature)
    assert (head.version, head.description["tested_sha256"]) == (1, fitted.tested)


def test_a_head_opens_in_plain_keras(head_folder: Path) -> None:
    model = keras.models.load_model(head_folder / "head.keras", safe_mode=True)
    assert {layer.__module__.split(".")[0] for layer in model.layers} == {"keras"}


# What cannot be loaded


def test_an_edited_description_is_told(head_folder: Path) -> None:
    path = head_folder / "head.json"
    path.write_text(path.read_text().replace('"shoe"', '"boot"'))
    with pytest.raises(DamagedError, match=r"changed by hand"):
        load_head(head_folder)


def test_a_head_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no head at"):
        load_head(tmp_path / "nowhere")
    with pytest.raises(NotFoundError, match="no head at"):
        load_head(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 3},
        {"format": ...},
        {"space": ...},
        {"space": None},
        {"space": "resnet50"},
        {"space": {}},
        {"classes": ...},
        {"classes": 3},
        {"backbone": ...},
    ],
    ids=str,
)
def test_a_tampered_description_is_damaged(head_folder: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(DamagedError):
        load_head(tamper(head_folder, **changes))


@pytest.mark.parametrize("classes", [["coat", "hat"], ["coat", "hat", "shoe", "tie"], "abc", [1, 2, 3], []], ids=str)
def test_classes_that_do_not_fit_the_model_are_damage(head_folder: Path, classes: Any) -> None:
    with pytest.raises(DamagedError):
        load_head(tamper(head_folder, classes=classes))


@pytest.mark.parametrize("changes", [{"backbone": "resnet50"}, {"backbone": None}, {"backbone": []}], ids=str)
def test_a_backbone_that_is_no_recipe_is_damage(head_folder: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(DamagedError):
        load_head(tamper(head_folder, **changes))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"null"])
def test_a_description_that_is_no_json_object_is_damaged(head_folder: Path, content: bytes) -> None:
    (head_folder / "head.json").write_bytes(content)
    with pytest.raises(DamagedError):
        load_head(head_folder)


def test_a_missing_model_is_damage(head_folder: Path) -> None:
    (head_folder / "head.keras").unlink()
    with pytest.raises(DamagedError, match=r"has no head\.keras, only its description: train again"):
        load_head(head_folder)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_truncated_model_is_damage(head_folder: Path, share: float) -> None:
    path = head_folder / "head.keras"
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(DamagedError, match=r"is not the model that head\.json describes"):
        load_head(head_folder)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.25, 0.5, 0.75, 0.9])
def test_a_changed_byte_in_the_model_is_damage_or_harmless(head_folder: Path, share: float) -> None:
    path = head_folder / "head.keras"
    expected = load_head(head_folder).predict(Features)
    data = bytearray(path.read_bytes())
    data[int(share * len(data))] ^= 0xFF
    path.write_bytes(data)
    with contextlib.suppress(DamagedError):
        np.testing.assert_array_equal(load_head(head_folder).predict(Features), expected)


@pytest.mark.parametrize("content", [b"\x80\x04K\x01.", b"PK\x05\x06" + bytes(18), b"\x89HDF\r\n\x1a\n"])
def test_a_model_of_another_kind_is_refused(head_folder: Path, content: bytes) -> None:
    (head_folder / "head.keras").write_bytes(content)
    with pytest.raises(DamagedError):
        load_head(head_folder)


def test_a_model_that_would_run_code_is_refused(head_folder: Path, tmp_path: Path) -> None:
    marker = str(tmp_path / "it ran")
    inputs = keras.Input((8,))
    outputs = keras.layers.Lambda(lambda x: (open(marker, "w").close(), x[:, :3])[1], output_shape=(3,))(inputs)
    keras.Model(inputs, outputs).save(head_folder / "head.keras")
    Path(marker).unlink(missing_ok=True)
    tamper(head_folder, model_sha256=sha256_file(head_folder / "head.keras"))  # whoever plants a model writes its checksum too
    with pytest.raises(DamagedError, match="cannot be loaded"):
        load_head(head_folder)
    assert not Path(marker).exists()


@pytest.mark.skipif(find_spec("keras_hub") is not None, reason="is about where KerasHub is not installed")
def test_a_head_of_layers_that_are_not_installed_is_told(head_folder: Path) -> None:
    path = head_folder / "head.keras"
    with zipfile.ZipFile(path) as packed:
        parts = {name: packed.read(name) for name in packed.namelist()}
    config = json.loads(parts["config.json"])
    config["config"]["layers"][1] |= {
        "module": "keras_hub.src.models.vit.vit_layers",
        "class_name": "ViTEncoder",
        "registered_name": "keras_hub>ViTEncoder",
    }
    with zipfile.ZipFile(path, "w") as packed:
        for name, content in {**parts, "config.json": to_json(config)}.items():
            packed.writestr(name, content)
    tamper(head_folder, model_sha256=sha256_file(path))
    with pytest.raises(UsageError, match=r"has layers of KerasHub in it: pip install 'permafrost\[hub\]'"):
        load_head(head_folder)
