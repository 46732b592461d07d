"""TensorFlow and Keras leave out what they can do without; whoever else asks for it gets it."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from extractor.lean_imports import SPARED, keeping_all

ROOT = Path(__file__).resolve().parents[2]
CODE = """
import json, sys
from extractor.lean_imports import import_lean
import_lean()
import keras, tensorflow
from storage.digests import from_words, words_of
from_words(words_of([bytes(32)]))  # an array of pyarrow
if keras.backend.backend() == "tensorflow":
    from trainer.labels import read_labels
    read_labels("labels.csv")  # which calls what pyarrow has in Python
spared = sorted(set({names}) & sys.modules.keys())
import sklearn.linear_model
print(json.dumps([spared, keras.backend.backend(), sklearn.linear_model.LogisticRegression.__name__]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "wanted"), [("tensorflow", []), pytest.param("jax", ["jax", "scipy"], marks=pytest.mark.full)])
def test_what_is_installed_beside_is_left_out_unless_it_is_asked_for(backend: str, wanted: list[str], tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip(backend)
    (tmp_path / "labels.csv").write_text("key,label\na.jpg,ant\nb.jpg,bee\n")
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(names=set(SPARED))],
        capture_output=True, text=True, cwd=tmp_path, check=True,
        env={**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert json.loads(done.stdout.splitlines()[-1]) == [wanted, backend, "LogisticRegression"]


def test_what_is_imported_is_looked_through_no_more() -> None:
    """Also where an import fails."""
    before = gc.get_freeze_count()
    with keeping_all():
        assert not gc.isenabled()
        made = [[number] for number in range(1000)]
    assert gc.isenabled()
    assert gc.get_freeze_count() >= before + len(made)
    with pytest.raises(ImportError), keeping_all():
        import no_such_module  # noqa: F401
    assert gc.isenabled()
