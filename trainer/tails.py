"""The trained part of a hybrid head: the network from a cut to its end, which the caller builds, as a Keras model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from storage.errors import UsageError
from trainer.heads import HEADS
from trainer.options import FitOptions

FEATURE_EXTRACTION, HYBRID = "feature-extraction", "hybrid"
DEFAULT_POOLING = "avg"  # of maps at the network's end: flattened, the head would have far more weights than the layers below it
TAIL_LEARNING_RATE = 1e-4


@dataclass(frozen=True, eq=False)
class Tail:
    """model: features at the cut [N, *shape] to the network's end [N, *end], with the weights that training starts from; it is left as it
    is. about: what `head.json` says of the part that is frozen, and of this one.
    """

    model: keras.Model
    about: Mapping[str, Any]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.model.input_shape[1:])

    @property
    def end(self) -> tuple[int, ...]:
        return tuple(self.model.output_shape[1:])

    def require_features(self, shape: tuple[int, ...], name: str) -> None:
        """Raise UsageError unless features of this shape can enter it."""
        if shape != self.shape:
            raise UsageError(
                f"the tail takes features of {self.shape} and {name} has {shape}: extract a set at its cut with --pooling none"
            )

    def options(self, options: FitOptions) -> FitOptions:
        """The same with all that was left open filled in. Raises UsageError for a head that is not trained by steps."""
        if HEADS[options.head].build is None:
            raise UsageError(f"the {options.head} head is found exactly, and a tail is trained in steps: choose the head linear or mlp")
        pooling = options.map or (DEFAULT_POOLING if len(self.end) > 1 else "")
        return options.for_tail(pooling, self.end, TAIL_LEARNING_RATE)

    def fresh(self, train_batch_norm: bool = False) -> keras.Model:
        """A copy with the weights to start from, for one fit. BatchNorm is frozen in it, and so in inference mode, unless it is to train.

        Not by `training=False` in the call, as the guide on transfer learning has it: `fit` calls with training=True, and Keras 3 hands
        that on to all layers (https://github.com/keras-team/keras/issues/20285; a MobileNetV2 of 96 pixels fell from 0.62 to 0.08).
        """
        copy = keras.models.clone_model(self.model)
        copy.set_weights([np.asarray(weight) for weight in self.model.weights])
        for layer in copy._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = train_batch_norm
        return copy
