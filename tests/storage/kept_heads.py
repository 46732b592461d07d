"""Stores with heads, as far as `head.json` goes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def put_head(root: Path, name: str, score: float | None, tested: str | None = "a" * 64, **changes: Any) -> None:
    test = {"rows": 50, "accuracy": score, "intervals": {"accuracy": [score - 0.1, score + 0.1]}} if score is not None else {}
    value = {
        "set": f"{root}/me/photos",
        "version": 2,
        "space_id": "c" * 64,
        "backbone": {"name": "resnet50"},
        "options": {"head": "linear"},
        "created": "2026-11-27T12:00:00+00:00",
        "labels": {"source": "labels.csv", "sha256": hashlib.sha256(b"key,label").hexdigest()},
        "tested_sha256": tested,
        "metrics": {"test": test} if test else {"train": {}},
        **changes,
    }
    folder = root / "heads" / name
    folder.mkdir(parents=True)
    (folder / "head.json").write_text(json.dumps(value))
    (folder / "head.keras").write_bytes(b"a model")


def put_heads(root: Path) -> Path:
    """Two heads with the same test items, one with others, one that does not say, one that was not tested, one that is broken."""
    put_head(root, "me/good", 0.8)
    put_head(root, "me/better", 0.9, set=f"{root}/you/photos", labels={"source": "labels.csv"})
    put_head(root, "you/other-items", 0.99, tested="b" * 64)
    put_head(root, "you/older", 0.95, tested=None)
    put_head(root, "you/untested", None)
    (root / "heads" / "you" / "broken").mkdir()
    return root
