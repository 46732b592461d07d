"""What each strategy reaches on a task: plain training loops, so that the adviser is judged by something it has no part in.

Feature extraction: the better of `permafrost train`'s logistic and mlp heads by validation. Hybrid: the last blocks, from their cached
input, started from the logistic head. Fine-tuning: everything, started from the same head, from images that are shifted and (where a label
allows it) mirrored. BatchNorm stays in inference mode. Epochs and rate are fixed before, the same for all tasks, and nothing sees test.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from scripts.advice_tasks import Pixels

WEIGHTS = {
    "mobilenet-75": "mobilenet_7_5_224_tf_no_top.h5",
    "mobilenet-v2-35": "mobilenet_v2_0.35_224_no_top.h5",
    "squeezenet": "squeezenet_1_1_notop.keras",
}
# Where the frozen part ends: two blocks of three (the fire modules) or of depthwise and pointwise convolutions are trained.
CUTS = {
    "mobilenet-75": "conv_pw_11_relu",
    "mobilenet-v2-35": "block_14_add",
    "squeezenet": "fire7_concat",
}
EXTRACTS = {
    "mobilenet-75": ("--backbone", "mobilenet", "--backbone-arg", "alpha=0.75"),
    "mobilenet-v2-35": ("--backbone", "mobilenet_v2", "--backbone-arg", "alpha=0.35"),
    "squeezenet": ("--preprocessing", "caffe"),
}
HEADS = ("logistic", "mlp")  # k-NN, which chooses its k on the 90 validation items, was the best of them and 7 points worse on test
BATCH, RATE, SHIFT = 32, 3e-4, 1 / 16  # images, of Adam, of the width
HYBRID_EPOCHS, TUNING_EPOCHS, LEAST_STEPS = 15, 8, 120
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Reached:
    """Of one strategy: which of the test items it has right, and how long it took."""

    right: npt.NDArray[np.bool_]
    seconds: float
    how: str

    def to_dict(self) -> dict[str, Any]:
        right = "".join("01"[int(each)] for each in self.right)
        return {"accuracy": float(self.right.mean()), "seconds": round(self.seconds, 1), "how": self.how, "right": right}


@dataclass(frozen=True)
class Examples:
    """Images uint8 [N, size, size, 3] and class numbers [N], of train and test."""

    train: Pixels
    train_y: Array
    test: Pixels
    test_y: Array

    @classmethod
    def of(cls, rows: list[dict[str, str]], pixels: Mapping[str, Pixels], classes: tuple[str, ...]) -> Examples:
        """rows: of a label file."""
        parts: list[Any] = []
        for split in ("train", "test"):
            mine = [row for row in rows if row["split"] == split]
            parts += [np.stack([pixels[row["key"]] for row in mine]), np.array([classes.index(row["label"]) for row in mine])]
        return cls(*parts)


def build_network(backbone: str, folder: Path, weights: Path, size: int) -> keras.Model:
    """The whole network in Keras, on preprocessed images; a model file is written to `folder` once more, for images of this size."""
    shape = (size, size, 3)
    if backbone == "squeezenet":
        path = folder / f"squeezenet_{size}.keras"
        if not path.exists():
            large = keras.models.load_model(weights / WEIGHTS[backbone], compile=False)
            small = keras.models.clone_model(large, input_tensors=keras.Input(shape))
            small.set_weights(large.get_weights())
            small.save(path)
        return keras.models.load_model(path, compile=False)
    if backbone == "mobilenet-v2-35":
        return keras.applications.MobileNetV2(alpha=0.35, include_top=False, input_shape=shape, weights=str(weights / WEIGHTS[backbone]))
    return keras.applications.MobileNet(alpha=0.75, include_top=False, input_shape=shape, weights=str(weights / WEIGHTS[backbone]))


def preprocessed(backbone: str, images: Pixels) -> npt.NDArray[np.float32]:
    if backbone == "squeezenet":
        return images[..., ::-1].astype(np.float32) - np.array([103.939, 116.779, 123.68], np.float32)
    return images.astype(np.float32) / 127.5 - 1


def feature_extraction(uri: str, labels: Path) -> tuple[Reached, keras.Model]:
    """The best head by validation accuracy, and the logistic one, which the other strategies start from."""
    import trainer

    started = time.perf_counter()
    fitted = {name: trainer.fit(uri, labels, trainer.FitOptions(name, split_by="given")) for name in HEADS}
    best = max(fitted, key=lambda name: fitted[name].metrics["validation"].leading)
    said = ", ".join(f"{name} {each.metrics['test'].leading:.3f}" for name, each in fitted.items())
    evaluation = fitted[best].metrics["test"]
    order = np.argsort(fitted[best].positions["test"])  # items by key, as in the label file
    return Reached(np.asarray(evaluation.right)[order], time.perf_counter() - started, f"{best} of {said}"), fitted["logistic"].model


def hybrid(backbone: str, network: keras.Model, head: keras.Model, examples: Examples) -> Reached:
    """The tail from cached maps."""
    started = time.perf_counter()
    at = network.get_layer(CUTS[backbone]).output
    frozen, tail = keras.Model(network.input, at), _joined(keras.Model(at, network.output), head)
    cached = [frozen.predict(preprocessed(backbone, images), batch_size=64, verbose=0) for images in (examples.train, examples.test)]
    epochs = _epochs(len(examples.train), HYBRID_EPOCHS)
    _compile(tail, len(examples.train), epochs)
    tail.fit(cached[0], examples.train_y, batch_size=BATCH, epochs=epochs, verbose=0)
    right = tail.predict(cached[1], batch_size=64, verbose=0).argmax(axis=1) == examples.test_y
    return Reached(right, time.perf_counter() - started, f"from {CUTS[backbone]}, {epochs} epochs")


def fine_tuning(backbone: str, network: keras.Model, head: keras.Model, examples: Examples, flips: bool) -> Reached:
    started = time.perf_counter()
    model = _joined(network, head)
    epochs = _epochs(len(examples.train), TUNING_EPOCHS)
    _compile(model, len(examples.train), epochs)
    random = np.random.default_rng(0)
    for _ in range(epochs):
        order = random.permutation(len(examples.train))
        images = preprocessed(backbone, _augmented(examples.train[order], random, flips))
        model.fit(images, examples.train_y[order], batch_size=BATCH, shuffle=False, verbose=0)
    right = model.predict(preprocessed(backbone, examples.test), batch_size=64, verbose=0).argmax(axis=1) == examples.test_y
    return Reached(right, time.perf_counter() - started, f"all layers, {epochs} epochs")


def check_features(uri: str, backbone: str, network: keras.Model, pixels: Mapping[str, Pixels]) -> float:
    """The least cosine between the features of the set and those of this network: that both are one network is shown, not believed."""
    import storage

    keys, features = storage.open(uri).to_numpy()
    chosen = range(0, len(keys), max(1, len(keys) // 16))
    maps = network.predict(preprocessed(backbone, np.stack([pixels[keys[i]] for i in chosen])), verbose=0)
    ours, theirs = maps.mean(axis=(1, 2)), features[list(chosen)].astype(np.float32)
    return float(((ours * theirs).sum(axis=1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)).min())


def _joined(network: keras.Model, head: keras.Model) -> keras.Model:
    """From the network's input to probabilities; what standardises in the head stays fixed, as do means and spreads of BatchNorm."""
    own = keras.models.clone_model(head)
    own.set_weights(head.get_weights())
    for layer in own.layers:
        layer.trainable = isinstance(layer, keras.layers.Dense)
    for layer in network.layers:
        layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    return keras.Model(network.input, own(keras.layers.GlobalAveragePooling2D()(network.output)))


def _compile(model: keras.Model, rows: int, epochs: int) -> None:
    steps = epochs * -(-rows // BATCH)
    rate = keras.optimizers.schedules.CosineDecay(0.0, steps, warmup_target=RATE, warmup_steps=max(1, steps // 10))
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")


def _epochs(rows: int, usual: int) -> int:
    """More where there are few images: steps are what training takes."""
    return max(usual, -(-LEAST_STEPS // -(-rows // BATCH)))


def _augmented(images: Pixels, random: np.random.Generator, flips: bool) -> Pixels:
    shift = round(SHIFT * images.shape[1])
    padded = np.pad(images, ((0, 0), (shift, shift), (shift, shift), (0, 0)), mode="edge")
    out = np.empty_like(images)
    for i, (y, x) in enumerate(random.integers(0, 2 * shift + 1, (len(images), 2))):
        out[i] = padded[i, y : y + images.shape[1], x : x + images.shape[2]]
    if flips:
        mirrored = random.random(len(images)) < 0.5
        out[mirrored] = out[mirrored, :, ::-1]
    return out
