"""The line with views by command: made, shown, trained on, and the head used where there are none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scripts.conftest import SMALL_START, Said

BACKBONE = [*SMALL_START, "--dtype", "float32", "--local"]
VIEWS = ["--views", "flip,crop:0.5-1", "--view-seed", "3"]


@pytest.mark.slow
def test_a_head_that_learned_from_views_serves_images_and_sets_without_them(
    say: Said, make_corpus: Callable[..., Path], tmp_path: Path
) -> None:
    corpus = make_corpus(24)
    code, out, _ = say("extract", corpus, "features/team/viewed", *BACKBONE, *VIEWS)
    assert (code, "24 files read, 24 images decoded, 24 embedded in 3 views each, 0 rows reused" in out) == (0, True)

    code, out, _ = say("store", "show", "features/team/viewed")
    assert code == 0
    assert "24 (0 rejected, 0 pending)" in out
    assert "72 of shape 32 float32" in out
    assert "0 plain, 1 flip, 2 crop:0.5-1:0.75-1.33333; seed 3" in out

    code, out, _ = say("extract", corpus, "features/team/plain", *BACKBONE)
    assert (code, "0 images decoded, 0 embedded, 24 rows reused (24 embeddings from other sets)" in out) == (0, True)

    code, out, _ = say("train", "features/team/viewed", "--out", "head", "--max-epochs", "2")
    assert (code, "features/team/viewed@1, 3 views at random" in out) == (0, True)

    both = [json.loads(say("evaluate", "head", f"features/team/{name}", "--json")[1])["metrics"] for name in ("viewed", "plain")]
    assert both[0] == both[1]
    by_set = json.loads(say("predict", "head", "features/team/viewed", "--json")[1])["predictions"]
    code, out, _ = say("predict", "head", corpus, "--json")
    by_image = json.loads(out)["predictions"]
    assert (code, len(by_image), len(by_set)) == (0, 24, 24)
    assert sorted(row["class"] for row in by_image) == sorted(row["class"] for row in by_set)
