"""`permafrost export`, and the served examples of docs/export.md, each in a process that has only its serving library."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from scripts import export
from scripts.cli import main
from tests.conftest import draw
from tests.scripts.conftest import Said

pytestmark = pytest.mark.slow
EXAMPLES = dict(
    zip(
        ("savedmodel", "onnx", "litert", "keras"),
        re.findall(r"^```python\n(.*?)^```$", (Path(__file__).parents[2] / "docs" / "export.md").read_text(), re.MULTILINE | re.DOTALL),
        strict=True,
    )
)
OURS = ["extractor", "storage", "trainer", "scripts"]
NOT_LOADED = {"savedmodel": OURS, "keras": OURS, "onnx": [*OURS, "tensorflow", "keras"], "litert": [*OURS, "tensorflow", "keras"]}
BACKBONE = ["--backbone", "mobilenet", "--backbone-arg", "alpha=0.25", "--weights", "random:0", "--input-size", "32", "--dtype", "float32"]


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
        assert main(["train", "features/me/photos", "--head", "ridge", "--alpha", "1", "--out", "heads/photos"]) == 0
        yield folder


@pytest.fixture
def there(desk: Path, say: Said, monkeypatch: pytest.MonkeyPatch) -> Said:
    monkeypatch.chdir(desk)
    return say


@pytest.mark.parametrize("to", EXAMPLES)
def test_what_the_documentation_serves_is_what_predict_says(to: str, there: Said) -> None:
    code, out, err = there("export", "heads/photos", "--to", to, "--out", f"served/{to}", "--images", "photos/ant", "photo.jpg", "--json")
    assert code == 0, err
    said = json.loads(out)
    assert said["parity"][0]["images"] == 11
    assert {entry["path"] for entry in said["files"]} >= {{"savedmodel": "saved_model.pb", "litert": "model.tflite"}.get(to, f"model.{to}")}
    check = f"import sys; assert not set(sys.modules) & set({NOT_LOADED[to]}); print({{'classes': classes, 'p': probabilities.tolist()}})"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    served = subprocess.run([sys.executable, "-c", EXAMPLES[to] + check], capture_output=True, text=True, env=environment, check=False)
    assert served.returncode == 0, served.stderr
    answer = json.loads(served.stdout.splitlines()[-1].replace("'", '"'))
    [row] = json.loads(there("predict", "heads/photos", "photo.jpg", "--json")[1])["predictions"]
    assert answer["classes"] == said["classes"] == list(row["probabilities"])
    assert served.stdout.splitlines()[0] == row["class"]
    np.testing.assert_allclose(answer["p"], list(row["probabilities"].values()), atol=0.01)


def test_an_export_replaces_an_export_and_nothing_else(there: Said, desk: Path) -> None:
    (desk / "mine").mkdir()
    (desk / "mine" / "thesis.txt").write_text("years of work")
    code, _, err = there("export", "heads/photos", "--to", "keras", "--out", "mine")
    assert (code, "mine exists and is not an exported model: choose another --out" in err) == (1, True)
    for _ in range(2):
        assert there("export", "heads/photos", "--to", "keras", "--out", "twice")[0] == 0
    assert {path.name for path in Path("twice").iterdir()} == {"export.json", "model.keras"}
    assert not list(desk.glob(".*"))


def test_beyond_the_tolerance_nothing_is_left(there: Said, desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from scripts.export_parity import TOLERANCES

    monkeypatch.setitem(TOLERANCES, "pixels of any size", -1.0)
    code, _, err = there("export", "heads/photos", "--to", "keras", "--out", "far")
    assert (code, "given pixels of any size, its probabilities for golden" in err) == (1, True)
    assert not Path("far").exists()
    assert not list(desk.glob(".*"))


def test_wrong_use_is_told(there: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    code, _, err = there("export", "nowhere", "--to", "keras", "--out", "x")
    assert (code, "no head at nowhere" in err) == (1, True)
    code, _, err = there("export", "heads/photos", "--to", "keras", "--out", "x", "--weights", "random:1")
    assert (code, "differ in weights" in err) == (1, True)
    monkeypatch.setitem(export.NEEDS, "onnx", ("onnx_of_nobody",))
    code, _, err = there("export", "heads/photos", "--to", "onnx", "--out", "x")
    assert (code, "needs onnx_of_nobody: pip install 'permafrost[export]'" in err) == (2, True)
    assert not Path("x").exists()
