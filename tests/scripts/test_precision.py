"""`extract --precision bfloat16`, through what comes after it."""

from __future__ import annotations

from pathlib import Path

import pytest

import storage
from tests.conftest import draw
from tests.scripts.conftest import Said

BACKBONE = ["--backbone", "mobilenet", "--backbone-arg", "alpha=0.25", "--weights", "random:0", "--input-size", "32", "--local"]
BACKBONE += ["--layer", "conv_pw_2_relu"]  # the end of a random network is nearly nothing


@pytest.mark.slow
def test_features_in_fewer_bits_are_a_space_of_their_own(say: Said, tmp_path: Path) -> None:
    for i in range(8):
        path = tmp_path / "corpus" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(draw(i))
    corpus, name, head = str(tmp_path / "corpus"), str(tmp_path / "store" / "team" / "set"), str(tmp_path / "head")
    assert say("extract", corpus, name, *BACKBONE, "--precision", "bfloat16")[0] == 0
    assert storage.open(name).description.space.precision == "bfloat16"
    code, _, err = say("extract", corpus, name, *BACKBONE)
    assert (code, "precision: the set" in err) == (1, True)
    assert say("train", name, "--head", "linear", "--max-epochs", "2", "--split-by", "hash", "--test", "0.3", "--out", head)[0] == 0
    assert say("predict", head, corpus)[0] == 0
    code, _, err = say("export", head, "--to", "keras", "--out", str(tmp_path / "served"))
    assert (code, "computed in bfloat16, and exported models compute in float32" in err) == (2, True)
