"""`permafrost store rejects`, on a set of imported features some of which cannot be kept."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from tests.scripts.conftest import Said

KEYS = [f"{i:02d}.png" for i in range(6)]
BAD = {"00.png": "non-finite", "02.png": "non-finite", "05\x1b[31m.png": "underflow"}


@pytest.fixture(autouse=True)
def rejects(tmp_path: Path, say: Said) -> None:
    """The store `features` with the set me/clip: one corpus with the rejects BAD, and one with a reject of its own."""
    values = np.random.default_rng(1).standard_normal((6, 4)).astype(np.float32)
    values[[0, 2], 1] = np.nan
    values[5] *= 1e-9
    (tmp_path / "clip.json").write_text(json.dumps({"model": "clip"}))
    np.savez(tmp_path / "a.npz", keys=np.array([*KEYS[:5], "05\x1b[31m.png"]), embeddings=values)
    np.savez(tmp_path / "b.npz", keys=np.array(KEYS), embeddings=values[[1, 3, 4, 1, 3, 0]])
    for name in ("a", "b"):
        words = ["features/me/clip", "--space", "clip.json", "--dtype", "float16", "--corpus-id", name, "--add"]
        assert say("store", "import", f"{name}.npz", *words)[0] == 3


def told(say: Said, *words: str) -> dict[str, list[str]]:
    """reason -> keys by corpus, as the JSON has them."""
    code, out, _ = say("store", "rejects", "features/me/clip", *words, "--json")
    assert code == 0
    document = json.loads(out)
    found: dict[str, list[str]] = {}
    for reject in document["rejects"]:
        assert reject["message"]
        found.setdefault(reject["reason"], []).append(f"{reject['corpus']}/{reject['key']}")
    assert {reason: len(keys) for reason, keys in found.items()} == document["reasons"]
    return found


def test_rejects_are_chosen_by_reason_and_corpus(say: Said) -> None:
    everything = {"non-finite": ["a/00.png", "a/02.png", "b/05.png"], "underflow": ["a/05\x1b[31m.png"]}
    assert told(say) == everything
    assert told(say, "--corpus", "b") == {"non-finite": ["b/05.png"]}
    assert told(say, "--reason", "underflow") == {"underflow": everything["underflow"]}
    assert told(say, "--reason", "underflow", "--reason", "non-finite") == everything
    assert told(say, "--reason", "corrupt") == {}


def test_the_table_ends_at_its_limit_and_counts_all(say: Said) -> None:
    code, out, _ = say("store", "rejects", "features/me/clip")
    assert code == 0
    assert "\\x1b[31m.png" in out  # no name commands the terminal
    assert "\x1b" not in out
    assert "more" not in out
    code, out, _ = say("store", "rejects", "features/me/clip@2", "--limit", "1")
    assert "... and 3 more (--limit 0, --json or --out FILE for all)" in out
    assert "02.png" not in out
    assert [line.split() for line in out.splitlines()[-3:]] == [["non-finite", "3"], ["underflow", "1"], ["all", "4"]]


def test_rejects_are_written_to_a_file(say: Said) -> None:
    for name in ("r.csv", "r.parquet"):
        code, out, _ = say("store", "rejects", "features/me/clip", "--out", name)
        assert code == 0
        assert "02.png" not in out
        table = pyarrow.csv.read_csv(name) if name.endswith("csv") else pq.read_table(name)
        assert table.column_names == ["key", "corpus", "reason", "message"]
        assert table["key"].to_pylist() == ["00.png", "02.png", "05\x1b[31m.png", "05.png"]
