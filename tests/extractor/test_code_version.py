"""What differs between a worker and its driver: refused, or only told."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from extractor.code_version import EXACT, LIBRARIES, code_digest, require_same_code, versions_here
from storage.errors import CodeMismatchError

pytestmark = pytest.mark.slow

DRIVER = {"code": "0a1b2c", "permafrost": "0.1.0", "python": "3.11", "tensorflow": "2.21.0", "keras": "3.15.1"}
DRIVER |= {"numpy": "2.4.6", "pillow": "13.0.0", "pyarrow": "26.0.1", "h5py": "3.14.0"}


def test_the_same_is_welcome() -> None:
    assert require_same_code(DRIVER, dict(DRIVER), "10.0.0.2") == []
    assert require_same_code(versions_here(), versions_here(), "here") == []


@pytest.mark.parametrize(
    ("field", "there"),
    [
        ("code", "ffffff"),
        ("permafrost", "0.1.1"),
        ("python", "3.12"),
        ("keras", "3.14.1"),
        ("numpy", "1.26.4"),
        ("pillow", "not installed"),
    ],
)
def test_what_is_refused_names_node_field_and_both_values(field: str, there: str) -> None:
    with pytest.raises(CodeMismatchError, match="Install one permafrost") as error:
        require_same_code(DRIVER, {**DRIVER, field: there}, "10.0.0.2 (gpu-2)")
    assert f"node 10.0.0.2 (gpu-2) does not run what the driver runs: {field} {there} there, {DRIVER[field]} here." in str(error.value)


def test_every_field_that_is_refused_is_named_and_patch_releases_are_not() -> None:
    with pytest.raises(CodeMismatchError) as error:
        require_same_code(DRIVER, {**DRIVER, "code": "ffffff", "numpy": "2.4.5", "tensorflow": "2.20.0"}, "b")
    assert "code ffffff there, 0a1b2c here; tensorflow 2.20.0 there, 2.21.0 here." in str(error.value)
    assert "numpy" not in str(error.value)


def test_other_patch_releases_are_told() -> None:
    [caution] = require_same_code(DRIVER, {**DRIVER, "numpy": "2.4.5", "keras": "3.15.0"}, "10.0.0.2")
    assert caution.startswith("node 10.0.0.2 has other patch releases (keras 3.15.0 there, 3.15.1 here; numpy 2.4.5 there, 2.4.6 here)")


def test_a_worker_of_an_older_permafrost_says_less_and_is_refused() -> None:
    with pytest.raises(CodeMismatchError, match="h5py not installed there"):
        require_same_code(DRIVER, {name: value for name, value in DRIVER.items() if name != "h5py"}, "b")


def test_every_field_is_known_here() -> None:
    assert set(versions_here()) == set(EXACT) | set(LIBRARIES)
    assert len(code_digest()) == 12


def test_two_checkouts_of_one_version_are_told_apart(tmp_path: Path) -> None:
    """Copies with the same files have one digest, wherever they are; one more comment is another one, and no TensorFlow is loaded."""
    root = Path(__file__).parents[2]
    for name in ("one", "two", "three"):
        for package in ("extractor", "storage"):
            shutil.copytree(root / package, tmp_path / name / package, ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "three" / "storage" / "names.py").open("a") as file:
        file.write("# another checkout\n")
    code = "from extractor.code_version import code_digest; import sys; print(code_digest(), 'tensorflow' in sys.modules)"
    found = [
        subprocess.run([sys.executable, "-c", code], cwd=tmp_path / name, capture_output=True, text=True, check=True).stdout.split()
        for name in ("one", "two", "three")
    ]
    assert found[0] == found[1] == [code_digest(), "False"]
    assert found[2] != found[0]
