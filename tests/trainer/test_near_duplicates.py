from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import storage
from trainer.near_duplicates import near_duplicates, near_duplicates_of


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 20), st.integers(1, 20), st.integers(1, 7))
def test_pairs_are_those_of_all_cosines_whatever_the_blocks(seed: int, n: int, m: int, block: int) -> None:
    random = np.random.default_rng(seed)
    test, train = random.normal(size=(n, 3)).astype(np.float16), random.normal(size=(m, 3)).astype(np.float16)
    unit = [rows.astype(np.float64) / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True) for rows in (test, train)]
    cosines = unit[0] @ unit[1].T
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trainer.near_duplicates.BLOCK_ROWS", block)
        batches = [(train[i : i + 6], np.arange(i, min(i + 6, m))) for i in range(0, m, 6)]
        found = near_duplicates(test, batches, threshold=0.9)
    assert {a for a, _, _ in found.pairs} == set(np.flatnonzero(cosines.max(axis=1) >= 0.9).tolist())
    assert [cosine for _, _, cosine in found.pairs] == sorted((c for _, _, c in found.pairs), reverse=True)
    for a, b, cosine in found.pairs:
        assert cosine == pytest.approx(cosines[a, b], abs=1e-5) == pytest.approx(cosines[a].max(), abs=1e-5)


def test_tiny_and_empty_features_are_compared_too() -> None:
    tiny = np.array([[3e-30, 4e-30], [0, 0]], np.float32)
    found = near_duplicates(tiny, [(np.array([[0.6, 0.8]], np.float32), np.array([7]))])
    assert [(a, b) for a, b, _ in found.pairs] == [(0, 7)]


def test_of_a_set_the_very_same_images_are_counted_apart(
    write_set: Callable[..., str], separable_rows: Callable[..., list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = separable_rows(4)
    near = replace(rows[0], key="x-near.jpg", embedding=rows[0].embedding * 1.01)
    same = replace(rows[1], key="x-same.jpg", image=rows[1].key)
    feature_set = storage.open(write_set([*rows, near, same]))
    keys = feature_set.items["key"].to_pylist()
    test = np.array([keys.index(near.key), keys.index(same.key)])
    train = np.array([i for i in range(len(keys)) if i not in test])
    found = near_duplicates_of(feature_set, test, train, 0.9999)
    assert (found.same, found.rows) == (1, 1)
    said = found.to_dict(lambda positions: [keys[i] for i in positions])
    assert [(pair["test"], pair["train"]) for pair in said["pairs"]] == [(near.key, rows[0].key)]
    monkeypatch.setattr("trainer.near_duplicates.MOST_PRODUCTS", 1)
    assert near_duplicates_of(feature_set, train, test).rows == 1
