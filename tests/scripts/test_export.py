"""`permafrost export`, and the served examples of docs/export.md in processes that have only their serving libraries."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from scripts import export
from scripts.cli import build_parser, main
from scripts.export_folder import check_export_target, new_export, write_description
from storage.errors import AlreadyExistsError, PermafrostError, UsageError
from storage.names import parse_set
from storage.sealed import read_sealed, seal
from storage.store import ensure_store, require_possible_set
from tests.conftest import draw
from tests.scripts.conftest import Said
from tests.scripts.serving_library import with_nothing_but

if TYPE_CHECKING:
    from scripts.export_parity import Parity
    from scripts.export_sample import Sample

DOCUMENT = Path(__file__).parents[2] / "docs" / "export.md"
EXAMPLES = dict(
    zip(
        ("savedmodel", "onnx", "litert", "keras"),
        re.findall(r"^```python\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL),
        strict=True,
    )
)
SERVING = {"savedmodel": ["tensorflow"], "onnx": ["onnxruntime"], "litert": ["ai-edge-litert"], "keras": ["keras", "tensorflow"]}
WITHOUT = {"savedmodel": ["keras"]}  # which TensorFlow requires, and a SavedModel does not
BACKBONE = ["--backbone", "mobilenet", "--backbone-arg", "alpha=0.25", "--weights", "random:0", "--input-size", "32", "--dtype", "float32"]
BACKBONE += ["--layer", "conv_pw_2_relu"]  # the end of a random network is nearly nothing


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The working directory of the documentation: a head, its network, and a photograph."""
    folder = tmp_path_factory.mktemp("export")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for i in range(12):
            path = Path("photos") / ("ant", "bee")[i % 2] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(draw(i))
        Path("photo.jpg").write_bytes(draw(3, 70, "JPEG"))
        assert main(["extract", "photos", "features/me/photos", "--local", *BACKBONE]) == 0
        assert main(["train", "features/me/photos", "--head", "logistic", "--c", "1", "--out", "heads/photos"]) == 0
        yield folder


@pytest.fixture(scope="module")
def served(desk: Path) -> tuple[Sample, dict[str, list[Parity]]]:
    """What the command does for each format, with one network; the last image of the sample is the photograph."""
    import trainer
    from scripts.export_model import join
    from scripts.export_sample import take_sample
    from scripts.export_writing import write_export
    from scripts.named_images import name_images
    from scripts.predict import recipe_of

    head = trainer.load_head(desk / "heads" / "photos")
    sample = take_sample(head, recipe_of(head, {}), name_images(["photos/ant", "photo.jpg"]))
    exported = join(head, recipe_of(head, {}))
    return sample, {to: write_export(head, exported, sample, to, desk / "served" / to) for to in export.NEEDS}


@pytest.mark.slow
@pytest.mark.parametrize("to", EXAMPLES)
def test_what_the_documentation_serves_needs_the_serving_library_alone_and_is_what_the_cached_path_says(
    to: str, desk: Path, served: tuple[Sample, dict[str, list[Parity]]]
) -> None:
    alone = with_nothing_but(["pillow", *SERVING[to]], WITHOUT.get(to, ()))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", f"{alone}{EXAMPLES[to]}print([classes, probabilities.tolist()])\n"]
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=desk, check=False)
    assert ran.returncode == 0, ran.stderr
    expected = served[0].expected[-1]
    best, line = [line for line in ran.stdout.splitlines() if line]
    classes, probabilities = ast.literal_eval(line)
    assert (classes, best) == (["ant", "bee"], classes[expected.argmax()])
    np.testing.assert_allclose(probabilities, expected, atol=0.05)  # Pillow's JPEG decoder is a grey level off


@pytest.mark.slow
def test_parity_is_measured_on_images_that_differ(served: tuple[Sample, dict[str, list[Parity]]], desk: Path) -> None:
    sample, found = served
    assert len(sample.names) == 13
    assert np.ptp(sample.expected[:, 0]) > 0.3
    inputs = {to: {parity.input: parity for parity in parities} for to, parities in found.items()}
    assert {to: list(of_format) for to, of_format in inputs.items()} == {
        "keras": ["pixels", "pixels of any size"],
        "savedmodel": ["pixels", "pixels of any size", "image_bytes"],
        "onnx": ["pixels"],
        "litert": ["pixels"],
    }
    for of_format in inputs.values():
        assert (of_format["pixels"].images, of_format["pixels"].other_class) == (13, 0)
        assert of_format["pixels"].worst < 1e-4
    encoded = inputs["savedmodel"]["image_bytes"]
    assert (encoded.images, encoded.grey_levels, encoded.refused) == (13, 1, [])
    described = json.loads((desk / "served" / "savedmodel" / "export.json").read_text())
    assert described["parity"] == [parity.to_dict() for parity in found["savedmodel"]]
    assert {entry["path"] for entry in described["files"]} >= {"saved_model.pb", "variables/variables.index"}


@pytest.mark.slow
def test_the_command_says_what_it_wrote(desk: Path, say: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(desk)
    Path("photos/ant/broken.jpg").write_bytes(b"\xff\xd8nothing")
    code, out, err = say("export", "heads/photos", "--to", "litert", "--out", "lite", "--images", "photos/ant", "--json")
    assert code == 0, err
    assert "not compared: photos/ant/broken.jpg" in err
    said = json.loads(out)
    assert said == {**json.loads(Path("lite/export.json").read_text()), "out": "lite"}
    assert (said["to"], said["strategy"], said["classes"]) == ("litert", "feature-extraction", ["ant", "bee"])
    assert said["parity"][0]["images"] == 12
    assert {path.name for path in Path("lite").iterdir()} == {"export.json", "model.tflite"}
    assert not list(desk.glob(".*"))


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_a_head_on_features_of_fewer_bits_is_told_what_it_needs(precision: str, desk: Path, say: Said, tmp_path: Path) -> None:
    """Whatever else its space has: an int8 one has its quantization, which no float32 network has."""
    head = tmp_path / "head"
    shutil.copytree(desk / "heads" / "photos", head)
    described = read_sealed(head / "head.json", "head")
    described["space"] |= {"precision": precision} | ({"quantization": "openvino:1"} if precision == "int8" else {})
    (head / "head.json").write_bytes(seal(described))
    code, _, err = say("export", head, "--to", "keras", "--out", tmp_path / "out", "--images", desk / "photos")
    assert code == 2
    assert f"reads features computed in {precision}, and exported models compute in float32: extract the features in float32" in err


@pytest.mark.slow
@pytest.mark.parametrize("fault", [{"worst": 0.2}, {"worst": float("nan")}, {"grey_levels": 2}])
def test_too_far_from_the_cached_path_is_told(fault: dict[str, float]) -> None:
    from scripts.export_parity import Parity, require_parity

    sound = Parity("image_bytes", 4, 0.01, "golden small.jpg", 0.02, 0, 1)
    require_parity([sound, replace(sound, other_class=1)], "savedmodel")  # told alone: two classes may be as good as equal
    with pytest.raises(PermafrostError, match="the savedmodel model is not exported"):
        require_parity([sound, replace(sound, **fault)], "savedmodel")


def test_an_export_replaces_an_export_and_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "served" / "photos"
    for content in ("older", "newer"):
        check_export_target(out)
        with new_export(out) as folder:
            (folder / "model").write_text(content)
            write_description(folder, {"to": "onnx"})
    with suppress(PermafrostError), new_export(out) as folder:
        (folder / "model").write_text("a model that is not kept")
        raise PermafrostError("too far")
    assert (out / "model").read_text() == "newer"
    assert [path.name for path in out.parent.iterdir()] == ["photos"]
    [described] = json.loads((out / "export.json").read_text())["files"]
    assert (described["path"], described["bytes"]) == ("model", 5)
    (out / "set.json").write_text("of somebody else")
    with pytest.raises(AlreadyExistsError, match=r"holds set\.json, which no export wrote"):
        check_export_target(out)
    with pytest.raises(AlreadyExistsError, match=r"holds set\.json"), new_export(out) as folder:
        write_description(folder, {"to": "onnx"})
    assert (out / "set.json").read_text() == "of somebody else"
    (out / "export.json").write_text("{}")
    with pytest.raises(AlreadyExistsError, match="does not tell the files of an export"):
        check_export_target(out)
    (out / "export.json").unlink()
    with pytest.raises(AlreadyExistsError, match="exists and is not an exported model"):
        check_export_target(out)


def test_exports_and_sets_never_share_a_folder(tmp_path: Path) -> None:
    ensure_store(tmp_path / "features")
    for place in ("me/photos", "heads/me/served", "served"):
        with pytest.raises(UsageError, match=r"is in the store .* choose an --out outside of it"):
            check_export_target(tmp_path / "features" / place)
    with new_export(tmp_path / "served" / "me" / "photos") as folder:
        write_description(folder, {"to": "onnx"})
    with pytest.raises(UsageError, match="photos holds an exported model"):
        require_possible_set(parse_set(tmp_path / "served" / "me" / "photos"))


def test_the_commands_of_the_documentation_are_as_the_program_takes_them() -> None:
    [block] = re.findall(r"^```sh\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    parsed = [build_parser().parse_args(line.split()[1:]) for line in block.splitlines()]
    assert [(args.to, args.out) for args in parsed] == [(to, f"served/{to}") for to in EXAMPLES]


def test_wrong_use_is_told_before_tensorflow_is_imported(say: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    code, _, err = say("export", "nowhere", "--to", "keras", "--out", "x")
    assert (code, "no head at nowhere" in err) == (1, True)
    Path("head").mkdir()
    Path("head/head.json").write_text("{}")
    monkeypatch.setitem(export.NEEDS, "onnx", ("onnx_of_nobody",))
    code, _, err = say("export", "head", "--to", "onnx", "--out", "x")
    assert (code, "needs onnx_of_nobody: pip install 'permafrost[export]'" in err) == (2, True)
    code, _, err = say("export", "head", "--to", "keras", "--out", "head")
    assert (code, "head exists and is not an exported model" in err) == (1, True)
