"""The three strategies in one table, as JSON, and hybrid heads from the cache beside the same layers trained from the images.

    python -m scripts.bench_strategies CORPUS --labels split.csv --weights FILE --out strategies.json
    python -m scripts.bench_strategies CORPUS --backbone vgg16 --last 5 --input-size 64 --weights random:0 --epochs 1 --seeds 1

Training from the images is the same fit (order of batches, rates, start from the head alone) of a model that has the frozen layers too,
without augmentation. Its images are decoded once and held: the time of decoding is told apart, and an epoch from the files is the sum of
both where, as here, the processor does both. Fine-tuning is the command's own by its defaults, but that --patience ends nothing; the head
it starts from is of the kind that the other strategies end with. It alone is not fitted again on train and validation together.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import storage
from scripts.bench_options import above_zero, at_least, mistakes_told, new_file
from scripts.bench_plan import tell_result
from scripts.console import import_tensorflow

Array = Any


@mistakes_told()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", help="a folder of images")
    parser.add_argument("--labels", help="with given splits (default: the items' own)")
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--weights", default="random:0")
    parser.add_argument("--preprocessing", default="", help="of a model file, as for extract (default: the network's own)")
    parser.add_argument("--last", type=at_least(1), default=20, help="layers trained (default 20)")
    parser.add_argument("--input-size", type=at_least(1), default=96)
    parser.add_argument("--epochs", type=at_least(1), default=6)
    parser.add_argument("--seeds", type=at_least(1), default=3)
    parser.add_argument("--rate", type=above_zero, default=1e-4, help="of the tail")
    parser.add_argument("--no-images", action="store_true", help="leave out training from the images")
    parser.add_argument("--out", type=new_file, help="JSON file to write")
    args = parser.parse_args()
    import_tensorflow()
    tell_result(lambda folder: _measured(args, folder), args.out)


def _measured(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    from extractor import ExtractOptions, Recipe, extract
    from extractor.cut_choice import cut_for
    from extractor.cut_plan import HybridWork, plan
    from extractor.cut_rates import measure_cut, measure_head

    own = {"input_size": args.input_size, "preprocessing": args.preprocessing}
    recipe = Recipe(args.backbone, args.weights, pooling="none", dtype="float32", **own)
    cut = cut_for(recipe, args.last)
    at_cut = replace(recipe, layer=cut.layer)
    made = {
        name: extract(args.corpus, f"{folder}/store/bench/{name}", ExtractOptions(each, local=True))
        for name, each in (("cut", at_cut), ("half", replace(at_cut, dtype="float16")), ("end", replace(recipe, pooling="avg")))
    }
    told: dict[str, Any] = {
        "options": {name: str(value) for name, value in vars(args).items()},
        "cut": cut.layer,
        "layers_behind": cut.layers_behind,
        "images": made["cut"].rows,
    }
    told["bytes"] = {name: result.bytes for name, result in made.items()}
    told["extract_seconds"] = {name: result.seconds for name, result in made.items()}
    uris = {name: result.set for name, result in made.items()}
    pixels, decoding = _pixels(uris["cut"], at_cut, Path(args.corpus))
    told["decode_seconds"] = decoding
    told["runs"] = [_of_seed(args, seed, uris, at_cut, pixels) for seed in range(args.seeds)]
    told["summary"] = _summary(told)
    some = [str(Path(args.corpus) / key) for key in _keys(uris["cut"])[:48]]
    rows, head = told["runs"][0]["rows"], measure_head(storage.open(uris["end"]).shape[-1])
    work = HybridWork(made["cut"].rows, rows["train"], rows["validation"], args.epochs)
    [foreseen] = plan([cut], [measure_cut(recipe, cut, some)], head, work, "float32")
    told["planner"] = {"extract_seconds": foreseen.extract, "epoch_seconds": foreseen.epoch, "bytes": foreseen.bytes}
    return told


def _keys(uri: str) -> list[str]:
    keys: list[str] = storage.open(uri).columns("key")["key"].to_pylist()
    return keys


def _pixels(uri: str, recipe: Any, corpus: Path) -> tuple[Array, float]:
    """uint8 [items, S, S, 3] in the order of the set's items, by its image policy, and the seconds that decoding took."""
    import tensorflow as tf

    from extractor.image_policy import decode_in_graph, read_header

    keys, size = _keys(uri), recipe.input_size
    decode = tf.function(lambda encoded, *header: decode_in_graph(encoded, header, size))
    out = np.empty((len(keys), size, size, 3), np.uint8)
    started = time.perf_counter()
    for number, key in enumerate(keys):
        encoded = (corpus / key).read_bytes()
        header = [tf.constant(value) for value in read_header(encoded, size).values()]
        [out[number]] = decode(tf.constant(encoded), *header)
    return out, time.perf_counter() - started


def _of_seed(args: argparse.Namespace, seed: int, uris: dict[str, str], recipe: Any, pixels: Array) -> dict[str, Any]:
    import trainer
    from extractor.tails import build_tail
    from trainer.prepared import prepare

    options = trainer.FitOptions("linear", tail_learning_rate=args.rate, max_epochs=args.epochs, patience=args.epochs, seed=seed)
    found: dict[str, Any] = {"seed": seed}
    plain = prepare(uris["end"], args.labels, replace(options, tail_learning_rate=None, max_epochs=200, patience=10))
    found["feature-extraction"] = _timed(plain.fitting(), plain)
    for name in ("cut", "half"):
        feature_set = storage.open(uris[name])
        built = build_tail(replace(recipe, dtype=feature_set.space.dtype), feature_set.space, name)
        prepared = prepare(uris[name], args.labels, options, trainer.Tail(built.model, built.about))
        found[f"hybrid, {feature_set.space.dtype} cache"] = _timed(prepared.fitting(), prepared)
    found["rows"] = {name: len(prepared.split.positions(name)) for name in ("train", "validation", "test")}
    if not args.no_images:
        found["hybrid, from the images"] = _timed(*_from_images(prepared, recipe, pixels))
        found["fine-tuning"] = _fine_tuned(args, seed, uris["end"])
    return found


def _fine_tuned(args: argparse.Namespace, seed: int, uri: str) -> dict[str, Any]:
    """Of the whole network, images held decoded. Its epochs are as many as those of the hybrid heads, and half as many again."""
    import trainer
    from scripts.corpus_images import images_of
    from scripts.train_images import network_of
    from trainer.fine_tuning import fine_tune
    from trainer.fine_tuning_options import FineTuningOptions
    from trainer.image_training import Told

    feature_set = storage.open(uri)
    network = network_of(feature_set)
    images = images_of(feature_set, network.space, [])
    epochs = args.epochs + args.epochs // 2
    tuning = FineTuningOptions(max_epochs=epochs, patience=epochs)
    ends: list[tuple[int, float]] = []
    told = Told(lambda done, total: ends.append((done, time.perf_counter())))
    with tempfile.TemporaryDirectory() as state:
        options = trainer.FitOptions("linear", seed=seed)
        started = time.perf_counter()
        fitted = fine_tune(uri, args.labels, images, network, options, tuning, Path(state), told=told)
        seconds = time.perf_counter() - started
    steps = -(-fitted.rows["train"] // tuning.batch_size)
    # From the first step of an epoch to its last, of those in which all is trained.
    by_step = dict(ends)
    gaps = [by_step[e * steps + steps] - by_step[e * steps + 1] for e in range(1, epochs) if e * steps + steps in by_step]
    return {
        "test_accuracy": round(float(fitted.metrics["test"].to_dict()["accuracy"]), 4),
        "seconds": round(seconds, 2),
        "epoch_seconds": round(float(np.median(gaps)) * steps / max(1, steps - 1), 3) if gaps else None,
        "epochs_kept": fitted.epochs,
        "loss": fitted.history["loss"],
        "val_loss": fitted.history["val_loss"],
    }


def _from_images(prepared: Any, recipe: Any, pixels: Array) -> tuple[Any, Any]:
    """The same fit with the whole network as its tail, whose first layers are frozen, on images."""
    import trainer
    from extractor.backbones import whole_network
    from trainer.rows import MemoryRows
    from trainer.tail_fit import TailFit

    network, settled = whole_network(recipe)
    tail = trainer.Tail(network, {})
    features = _scaled(pixels[prepared.labelled.joined.positions], settled.preprocessing)
    labelled = replace(prepared.labelled, features=features)
    options = replace(prepared.data.options, train_last=int(prepared.tail.about["layers_behind"]))
    data = replace(prepared.data, rows=MemoryRows(features), options=options)
    return TailFit(labelled, data, tail), replace(prepared, labelled=labelled, data=data, tail=tail)


def _scaled(pixels: Array, preprocessing: str) -> Array:
    import keras

    images = pixels.astype(np.float32)
    return images if preprocessing == "none" else keras.applications.imagenet_utils.preprocess_input(images, mode=preprocessing)


def _timed(fitting: Any, prepared: Any) -> dict[str, Any]:
    """Fit with validation, and measure on test what it gives. Seconds of an epoch are those between the ends of two, at the median."""
    import keras

    from trainer.measured import measure

    ends: list[float] = []
    plain_fit = keras.Model.fit

    def watched(model: keras.Model, *words: Any, callbacks: Any = (), **named: Any) -> Any:
        ends.clear()
        told = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: ends.append(time.perf_counter()))
        return plain_fit(model, *words, callbacks=[*callbacks, told], **named)

    keras.Model.fit = watched
    started = time.perf_counter()
    try:
        first = fitting.with_validation(prepared.split.positions("train"), prepared.split.positions("validation"))
    finally:
        keras.Model.fit = plain_fit
    seconds = time.perf_counter() - started
    accuracy = measure(first.model, prepared.data, prepared.split.positions("test")).evaluation.accuracy
    gaps = np.diff(ends)
    return {
        "test_accuracy": round(float(accuracy), 4),
        "seconds": round(seconds, 2),
        "epoch_seconds": round(float(np.median(gaps)), 3) if len(gaps) else None,
        "epochs_kept": first.chosen["epochs"],
        "loss": first.curves["loss"],
        "val_loss": first.curves["val_loss"],
    }


def _summary(told: dict[str, Any]) -> dict[str, Any]:
    """By way of training: accuracy over the seeds, seconds of an epoch; and the ratios of the latter."""
    ways = [name for name in told["runs"][0] if name not in ("seed", "rows")]
    rows: dict[str, Any] = {}
    for way in ways:
        accuracies = [run[way]["test_accuracy"] for run in told["runs"]]
        epochs = [run[way]["epoch_seconds"] for run in told["runs"] if run[way]["epoch_seconds"]]
        rows[way] = {
            "test_accuracy": [round(statistics.mean(accuracies), 4), min(accuracies), max(accuracies)],
            "seconds": round(statistics.mean(run[way]["seconds"] for run in told["runs"]), 1),
            "epoch_seconds": round(statistics.median(epochs), 3) if epochs else None,
        }
    cached, images = rows.get("hybrid, float32 cache"), rows.get("hybrid, from the images")
    if cached and images and cached["epoch_seconds"]:
        share = told["runs"][0]["rows"]["train"] / told["images"]
        from_files = images["epoch_seconds"] + told["decode_seconds"] * share
        rows["epoch ratio, decoded images : cache"] = round(images["epoch_seconds"] / cached["epoch_seconds"], 2)
        rows["epoch ratio, files : cache"] = round(from_files / cached["epoch_seconds"], 2)
    return rows


if __name__ == "__main__":
    main()
