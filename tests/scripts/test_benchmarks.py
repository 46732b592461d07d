"""The benchmarks of storage and engines, on sizes that say nothing: they run, and what they read is right (they check that themselves)."""

from __future__ import annotations

import inspect
import json
import tempfile
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from extractor import Recipe
from extractor.backbones import build
from extractor.worker import Worker
from scripts import (
    bench_decode,
    bench_decode_helpers,
    bench_driver,
    bench_engine,
    bench_extract,
    bench_heads,
    bench_items,
    bench_load,
    bench_storage,
    bench_strategies,
    bench_worker,
)
from scripts.bench_extract_job import Task
from scripts.bench_extract_table import comparisons, limit, table
from scripts.net_cluster import possible
from tests.conftest import draw

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


def test_a_worker_is_given_units_one_at_a_time_and_several_at_once(tmp_path: Path) -> None:
    for i in range(8):
        (tmp_path / f"{i}.jpg").write_bytes(draw(i, 40, "JPEG"))
    found = bench_worker.bench(tmp_path / "out", sorted(tmp_path.glob("*.jpg")), 2, 32, None, 1)
    assert set(found["images_per_second"]) == set(bench_worker.WAYS)
    assert found["seconds"]["units overlap"]["infer"] > 0


def test_workers_that_only_wait_are_made_and_called_as_workers_are() -> None:
    made, real = bench_driver.Sleeper, Worker
    assert list(inspect.signature(made).parameters)[1:] == list(inspect.signature(real).parameters)
    for name in ("use", "check", "is_sound", "run"):
        assert list(inspect.signature(getattr(made, name)).parameters) == list(inspect.signature(getattr(real, name)).parameters)


def test_engines_are_compared_with_predict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.gemm_limit.SIDE", 64)
    recipe = Recipe("mobilenet", weights="random:0", input_size=32, args=(("alpha", 0.25),))
    found = bench_engine.bench(recipe, ["tensorflow"], bench_engine.random_pixels(2, 32), rounds=1)
    ways = {row["way"]: row for row in found["ways"]}
    assert ways[bench_engine.PREDICT]["ratio"] == 1
    assert ways["tensorflow float32"]["cosine_least"] == 1
    assert 0.9 < ways["tensorflow bfloat16"]["cosine_least"] < 1
    assert len(bench_engine.table(found).splitlines()) == 2 + len(ways) + 2
    assert found["gemm"]["gflop_an_image"] > 0
    found["ways"].append({**found["ways"][1], "way": "openvino int8"})
    assert "int8 of random weights says nothing" in bench_engine.table(found)
    assert "says nothing" not in bench_engine.table({**found, "random_weights": False})


def test_openvino_alone_gives_what_the_plain_model_gives_in_the_order_of_the_batches() -> None:
    pytest.importorskip("openvino", reason="an extra: pip install permafrost[openvino]")
    from scripts.openvino_alone import openvino_alone

    backbone = build(Recipe("mobilenet", weights="random:0", input_size=32, args=(("alpha", 0.25),)))
    drawn = np.random.default_rng(0).integers(0, 256, (5, 2, 32, 32, 3), np.uint8)
    batches = [bench_engine.preprocessed(images, backbone) for images in drawn]
    expected = backbone.model.predict(np.concatenate(batches), verbose=0)
    np.testing.assert_allclose(openvino_alone(backbone.model, (2, 32, 32, 3), "float32")(batches), expected, atol=1e-4)


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


@pytest.mark.full  # a minute: four whole runs on two hosts
@pytest.mark.skipif(not possible(), reason="network namespaces cannot be made here")
def test_a_run_with_decode_helpers_gives_the_same_features() -> None:
    with tempfile.TemporaryDirectory(prefix="pf-") as folder:  # Ray's sockets need a short path
        found = bench_decode_helpers.bench(Path(folder), 512, 1)
    assert found["same_features"]
    assert found["ways"]["alone"]["helped"] == 0
    assert 0 < found["ways"]["with a helper"]["helped"] < 512
    assert len(list(bench_decode_helpers.table(found))) == 7


@pytest.mark.full  # 17 s: each way is a process with TensorFlow of its own
def test_extraction_is_set_beside_what_its_stages_allow(tmp_path: Path) -> None:
    corpus, photos = tmp_path / "corpus", tmp_path / "photos"
    photos.mkdir()
    made_up_photos(corpus, 33)
    assert bench_extract.stage(corpus, photos, 1000) == 32  # whole batches
    task = Task(str(photos), str(tmp_path), "mobilenet", "random:0", ("alpha=0.25",), 32, 2)
    ours = bench_extract.Way(bench_extract.OURS, "permafrost", ("--local",))
    peer = bench_extract.Way(bench_extract.PEERS, "pytorch", needs="no_such_library")
    assert bench_extract.ways(further=["--local --engine openvino"])["permafrost --local --engine openvino"].engine == "openvino float32"
    found = bench_extract.bench(task, {"permafrost --local, float32": ours, "a peer": peer}, ["tensorflow float32"], rounds=1)
    assert found["left_out"] == ["a peer"]
    assert all(0 < share < 20 for share in comparisons(found)["permafrost --local, float32 / what the stages allow"])
    assert "left out, not installed: a peer" in table(found)


@pytest.mark.full  # 10 s
def test_a_mistake_in_a_benchmark_of_extraction_shows_no_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_up_photos(tmp_path / "corpus", 32)
    (tmp_path / "w.h5").write_bytes(b"not HDF5")
    words = ["bench_extract", str(tmp_path / "corpus"), "--backbone", "mobilenet", "--images", "32", "--only=--local,"]
    for more, told in ((["--backbone", "no_such"], "no_such"), (["--weights", str(tmp_path / "w.h5")], "not a readable HDF5 file")):
        monkeypatch.setattr("sys.argv", [*words, *more])
        with pytest.raises(SystemExit, match=told) as ended:
            bench_extract.main()
        assert "Traceback" not in str(ended.value)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("extract FOLDER --images 40", "argument --images: expected a multiple of 32, 32 or more; got '40'"),
        ("extract FOLDER --rounds 0", "argument --rounds: expected a whole number, 1 or more; got '0'"),
        ("extract FOLDER --only nothing", "--only nothing names no way: there are permafrost --local, float32, "),
        ("extract nowhere", "argument corpus: expected a folder of JPEGs; there is no folder nowhere"),
        ("extract FOLDER --backbone nope", "unknown backbone 'nope'"),
        ("extract FOLDER --backbone mobilenet", "fewer than 32 different JPEGs"),
        ("engine --images nowhere", "argument --images: expected a folder of JPEGs; there is no folder nowhere"),
        ("engine --images FOLDER --backbone mobilenet", "has 3 JPEGs, and --batch is 32: expected as many at least"),
        ("engine --batch 0", "argument --batch: expected a whole number, 1 or more; got '0'"),
        ("engine --input-size 0", "argument --input-size: expected a whole number, 32 or more; got '0'"),
        ("engine --backbone nope", "unknown backbone 'nope'"),
        ("engine --rounds 0", "argument --rounds: expected a whole number, 1 or more; got '0'"),
        ("decode --images nowhere.tar", "argument --images: expected a tar file, and nowhere.tar is none"),
        ("decode --small 0", "argument --small: expected a whole number, 1 or more; got '0'"),
        ("decode_helpers --images 0", "argument --images: expected a whole number, 1 or more; got '0'"),
        ("worker EMPTY", "argument corpus: expected a folder of JPEGs (.jpg, .jpeg); none is in "),
        ("worker FOLDER --rate 0", "argument --rate: expected a number above 0, got '0'"),
        ("driver --workers 0", "argument --workers: expected a whole number, 1 or more; got '0'"),
        ("load --rows 1000", "argument --rows: expected a whole number, 100000 or more; got '1000'"),
        ("heads --classes 10,1", "argument --classes: expected a whole number, 2 or more; got '1'"),
        ("heads --width 1", "argument --width: expected a whole number, 2 or more; got '1'"),
        ("heads --set --classes 2", "--set joins classes two by two: --classes must be 4 or more"),
        ("heads --c nan", "argument --c: expected a number above 0, got 'nan'"),
        ("sweep --heads 0", "argument --heads: expected a whole number, 1 or more; got '0'"),
        ("items --items 7", "argument --items: expected a multiple of 5,000, 5,000 or more; got '7'"),
        ("plan --items 200000", "argument --items: expected a multiple of 100,000, 300,000 or more; got '200000'"),
        ("storage --out nowhere/result.json", "expected a file to write, in a folder that is there; got 'nowhere/result.json'"),
        ("storage --mib 0", "argument --mib: expected a whole number, 1 or more; got '0'"),
        ("strategies nowhere --seeds 0", "argument --seeds: expected a whole number, 1 or more; got '0'"),
        ("gpu --minutes nan", "argument --minutes: expected a number above 0, got 'nan'"),
        ("gpu --real x", "--real needs --images FOLDER"),
        ("gpu", "Keras computes on tensorflow here: set KERAS_BACKEND=jax"),
    ],
)
def test_what_a_benchmark_cannot_do_is_refused_in_words_at_the_start(
    words: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made_up_photos(tmp_path / "photos", 3)
    (tmp_path / "empty").mkdir()
    name, *more = words.replace("FOLDER", str(tmp_path / "photos")).replace("EMPTY", str(tmp_path / "empty")).split()
    bench = pytest.importorskip(f"scripts.bench_{name}", exc_type=ImportError)
    monkeypatch.setattr("sys.argv", [f"bench_{name}", *more])
    with pytest.raises(SystemExit) as ended:
        bench.main()
    assert told in (ended.value.code if isinstance(ended.value.code, str) else capsys.readouterr().err)


@pytest.mark.skipif(not find_spec("openvino"), reason="needs the extra openvino")
def test_batches_that_the_cores_cannot_share_are_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("scripts.bench_engine.usable_cores", lambda: 2)
    monkeypatch.setattr("sys.argv", ["bench", "--backbone", "mobilenet", "--batch", "3"])
    with pytest.raises(SystemExit):
        bench_engine.main()
    assert "--batch 3: expected a multiple of the 2 cores" in capsys.readouterr().err


def test_the_limit_is_that_of_stages_that_share_the_cores() -> None:
    rates = {"images_per_second": 10.0, "images_per_cpu_second": 5.0}
    alone = {"tensorflow float32": rates, "decoding": {name: 9 * rate for name, rate in rates.items()}}
    assert limit(alone, "tensorflow float32") == pytest.approx({"images_per_second": 9.0, "images_per_cpu_second": 4.5})


def made_up_photos(folder: Path, n: int) -> None:
    folder.mkdir()
    for seed in range(n):
        pixels = np.random.default_rng(seed).integers(0, 256, (40, 50, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{seed}.jpg")


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


def test_a_network_of_the_table_needs_no_preprocessing_to_be_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["bench", str(tmp_path / "photos"), "--backbone", "mobilenet", "--input-size", "32"])
    with pytest.raises(SystemExit, match=r"no such folder.*photos"):  # of the corpus: the options were taken
        bench_strategies.main()


@pytest.mark.full  # 25 s of a core, and 9 s for feature extraction and one hybrid head alone
def test_the_three_strategies_stand_in_one_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((32, 32, 3))
    for name in ("first", "second", "third"):
        x = keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name=name)(x)
    keras.Model(inputs, x).save(tmp_path / "small.keras")
    for i in range(24):
        path = tmp_path / "photos" / ("ant", "bee")[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(draw(i))
    network = [
        "--backbone",
        str(tmp_path / "small.keras"),
        "--weights",
        "own",
        "--preprocessing",
        "tf",
        "--input-size",
        "32",
        "--last",
        "1",
    ]
    monkeypatch.setattr("sys.argv", ["bench", str(tmp_path / "photos"), *network, "--epochs", "2", "--rate", "0.01", "--seeds", "1"])
    bench_strategies.main()
    told = json.loads(capsys.readouterr().out)
    ways = ["feature-extraction", "hybrid, float32 cache", "hybrid, float16 cache", "hybrid, from the images", "fine-tuning"]
    assert list(told["summary"])[: len(ways)] == ways
    cached, images = (told["runs"][0][way]["loss"] for way in ways[1:4:2])
    assert cached == pytest.approx(images, abs=1e-3)
    assert told["planner"]["bytes"] == told["images"] * 4 * 8 * 8 * 8
