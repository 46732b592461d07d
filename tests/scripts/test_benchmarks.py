"""The benchmarks of storage and engines, on sizes that say nothing: they run, and what they read is right (they check that themselves)."""

from __future__ import annotations

from pathlib import Path

import pytest

from extractor import Recipe
from scripts import bench_decode, bench_engine, bench_heads, bench_items, bench_load, bench_storage

pytestmark = pytest.mark.slow


def test_every_way_of_storing_embeddings_gives_them_back(tmp_path: Path) -> None:
    found = bench_storage.bench(tmp_path, 1 << 20, 1)
    assert set(found["vectors"]) == set(found["maps"]) == set(bench_storage.WAYS)
    assert found["vectors"]["our Parquet"]["size"] < 1.1


def test_items_are_looked_up_compared_and_updated(tmp_path: Path) -> None:
    steps = bench_items.bench(tmp_path, 5000)["steps"]
    assert steps["commit: 1% in one place"]["item_bytes"] > 0
    assert steps["by_key: one key"]["again_ms"] > 0


def test_every_way_of_loading_gives_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_load, "STREAM_BYTES", 1 << 20)
    for name, size in {"WIDTH": 16, "BATCH": 64, "ROWS_PER_SHARD": 20_000, "TFRECORD_ROWS": 500}.items():
        monkeypatch.setattr(bench_load, name, size)
    for name in ("WINDOW_BYTES", "BLOCK_BYTES"):
        monkeypatch.setattr(f"trainer.shuffle_plan.{name}", 4096)
    found = bench_load.bench(tmp_path, 40_000, rounds=1, seconds=0.02, peaks=False)
    assert set(found["rows_per_second"]) == {"memcpy", *bench_load.WAYS}
    assert all(rate > 0 for rate in found["rows_per_second"].values())


def test_exact_heads_reach_the_loss_of_scikit_learn() -> None:
    found = bench_heads.bench(300, [3], 16, 0.01, 1, theirs=True)["heads"]["3"]
    assert found["logistic"]["scikit_learn"]["reached"]
    assert found["ridge"]["path"]["strengths"] == 32


def test_engines_are_compared_with_predict() -> None:
    recipe = Recipe("mobilenet", weights="random:0", input_size=32, args=(("alpha", 0.25),))
    found = bench_engine.bench(recipe, ["tensorflow"], bench_engine.random_pixels(2, 32), rounds=1)
    ways = {row["way"]: row for row in found["ways"]}
    assert ways[bench_engine.PREDICT]["ratio"] == 1
    assert ways["tensorflow float32"]["cosine_least"] == 1
    assert 0.9 < ways["tensorflow bfloat16"]["cosine_least"] < 1
    assert len(bench_engine.table(found).splitlines()) == 2 + len(ways)


def test_every_way_of_decoding_gives_the_image_of_the_policy(tmp_path: Path) -> None:
    images = [bench_decode.made_images(1, width, height, [])[0] for width, height in ((70, 50), (960, 900))]
    for number, encoded in enumerate(images):
        found = bench_decode.bench([encoded], tmp_path, rounds=1, threads=2)
        assert found["dct"] == ("1/1", "1/2")[number]
        ways = {row["way"]: row for row in found["ways"]}
        assert ways[bench_decode.FULL]["ratio"] == 1
        assert ways["image-v1, in tf.data"]["largest_difference"] <= 1
        assert ways["Pillow"]["mean_difference"] < 2
        assert len(list(bench_decode.table({"cores": 2, "rounds": 1, "sizes": {"small": found}}))) == 3 + len(ways)


def test_what_matters_most_is_measured_first_on_a_gpu() -> None:
    bench_gpu = pytest.importorskip("scripts.bench_gpu", reason="needs the extra jax")
    cells = bench_gpu.ordered(["a", "b"], [32, 512, 256, 128], ["bfloat16", "float32"])
    assert len(set(cells)) == len(cells) == 2 * 4 * 2
    assert [(cell.network, cell.precision, cell.batch) for cell in cells[:4]] == [
        ("a", "bfloat16", 256),
        ("b", "bfloat16", 256),
        ("a", "float32", 256),
        ("b", "float32", 256),
    ]
