"""24 small coloured images, a network of two convolutions, and a set of its features: what fine-tuning is tested on in seconds."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt

import storage
from storage.space import space_of_pixels
from tests.trainer.conftest import Row, write_set_to
from trainer.arrays import Numbers
from trainer.fine_tuning import ImageNetwork, fine_tune
from trainer.fine_tuning_options import FineTuningOptions
from trainer.fitted import FittedHead
from trainer.image_training import Told
from trainer.images import Pixels
from trainer.options import FitOptions

COUNT, SIZE = 24, 8


def draw() -> Pixels:
    """uint8 [24, 8, 8, 3]: noise, redder in every other image."""
    pixels = np.random.default_rng(0).integers(0, 160, (COUNT, SIZE, SIZE, 3))
    pixels[::2, :, :, 0] += 60
    return pixels.astype(np.uint8)


def key(number: int) -> str:
    return f"{('red', 'grey')[number % 2]}/{number:02d}.png"


@dataclass
class MemoryImages:
    """`Images` of the items of a set, in the order of `draw`'s keys. asked: positions of each pass."""

    pixels: Pixels
    asked: list[Numbers] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.pixels.shape[1:]

    def prepare(self, positions: Numbers) -> None: ...

    def batches(self, positions: Numbers, batch_size: int = 4) -> Iterator[tuple[Numbers, Pixels]]:
        self.asked.append(positions)
        for start in range(0, len(positions), batch_size):
            part = positions[start : start + batch_size]
            yield part, self.pixels[part]


def network(middle: keras.layers.Layer | None = None) -> keras.Model:
    """uint8 [N, 8, 8, 3] to vectors of 6; two convolutions with BatchNorm, and perhaps a layer between them."""
    keras.utils.set_random_seed(7)
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Conv2D(4, 3, activation="relu", name="first")(inputs)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = middle(x) if middle else x
    x = keras.layers.Conv2D(6, 3, name="second")(x)
    inner = keras.Model(inputs, x, name="inner")
    inner.trainable = False  # as a backbone's
    images = keras.Input((SIZE, SIZE, 3), dtype="uint8")
    scaled = keras.ops.cast(images, "float32") / 127.5 - 1.0
    return keras.Model(images, keras.ops.mean(inner(scaled), axis=(1, 2)))


@dataclass(frozen=True)
class Coloured:
    uri: str
    images: MemoryImages
    network: ImageNetwork

    def tune(self, checkpoint: Path, told: Told | None = None, devices: tuple[str, ...] = (), **options: object) -> FittedHead:
        tuning = FineTuningOptions(**{"batch_size": 8, "groups": 2, "learning_rate": 0.01, **options})  # type: ignore[arg-type]
        fit = FitOptions("logistic", c=1.0)
        return fine_tune(self.uri, None, self.images, self.network, fit, tuning, checkpoint, None, told, devices)


def coloured(store: Path, middle: keras.layers.Layer | None = None) -> Coloured:
    """A new store with the set in it."""
    pixels, model = draw(), network(middle)
    features = np.asarray(model.predict_on_batch(pixels), np.float32)
    uri = write_set_to(f"{store}/team/set", [Row(key(i), features[i], key(i).split("/")[0]) for i in range(COUNT)], "float32")
    order = [int(name.split("/")[1][:2]) for name in storage.open(uri).columns("key")["key"].to_pylist()]
    return Coloured(uri, MemoryImages(pixels[order]), ImageNetwork(model, space_of_pixels(SIZE, "image-v1")))


def on_two_devices(folder: str) -> None:
    """Write the curves and weights of a run on two logical CPUs: a program of its own, as devices are settled before the first use."""
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    head = coloured(Path(folder) / "store").tune(Path(folder) / "state", devices=("CPU:0", "CPU:1"), stages=(), max_epochs=2)
    np.savez(f"{folder}/two.npz", *head.model.get_weights(), losses=head.history["loss"], devices=head.frozen["devices"])


def weights_of(head: FittedHead) -> list[npt.NDArray[np.float32]]:
    return [np.asarray(weight) for weight in head.model.get_weights()]


if __name__ == "__main__":
    on_two_devices(sys.argv[1])
