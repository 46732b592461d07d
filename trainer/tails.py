"""The trained part of a hybrid head: the network from a cut to its end, which the caller builds, as a Keras model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import keras
import numpy as np

from storage.asked import check_fields
from storage.errors import UsageError
from trainer.heads import HEADS
from trainer.options import FitOptions

FEATURE_EXTRACTION, HYBRID = "feature-extraction", "hybrid"
DEFAULT_POOLING = "avg"  # of maps at the network's end: flattened, the head would have far more weights than the layers below it
TAIL_LEARNING_RATE = 1e-4
PARTS = 3  # of the layers that can be trained, which a search takes if nothing is said


@dataclass(frozen=True, eq=False)
class Tail:
    """model: features at the cut [N, *shape] to the network's end [N, *end], with the weights that training starts from; it is left as it
    is. about: what `head.json` says of the part that is frozen, and of this one. layers: names of the network's last layers, in its order,
    that a number of last layers counts; (): those of the model.
    """

    model: keras.Model
    about: Mapping[str, Any]
    layers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_fields(self, model="the model of a tail", about="what is told of a tail")

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
        """The same with all that was left open filled in. Raises UsageError for a head that is not trained by steps, and for a number of
        last layers of which none, or not all, can be trained."""
        if HEADS[options.head].build is None:
            raise UsageError(f"the {options.head} head is found exactly, and a tail is trained in steps: choose the head linear or mlp")
        self._require_last(options.train_last, options.train_batch_norm)
        pooling = options.map or (DEFAULT_POOLING if len(self.end) > 1 else "")
        return options.for_tail(pooling, self.end, TAIL_LEARNING_RATE)

    def fresh(self, train_batch_norm: bool = False, train_last: int | None = None) -> keras.Model:
        """A copy with the weights to start from, for one fit. BatchNorm is frozen in it, and so in inference mode, unless it is to train;
        all else is to, in a network that was saved as frozen, too.

        Not by `training=False` in the call, as the guide on transfer learning has it: `fit` calls with training=True, and Keras 3 hands
        that on to all layers (https://github.com/keras-team/keras/issues/20285; a MobileNetV2 of 96 pixels fell from 0.62 to 0.08).

        train_last: so many of the network's last layers train, the others compute as they do before the cut; None: all.
        """
        copy = keras.models.clone_model(self.model)
        copy.set_weights([np.asarray(weight) for weight in self.model.weights])
        for layer in copy._flatten_layers():
            layer.trainable = train_batch_norm or not isinstance(layer, keras.layers.BatchNormalization)
        if train_last is not None:
            for layer in copy.layers:
                if layer.name not in self._last(train_last):
                    _freeze(layer)
        return copy

    def trained(self, options: FitOptions) -> tuple[str, ...]:
        """Names of the layers that train."""
        last = self._names if options.train_last is None else self._last(options.train_last)
        return tuple(name for name in last if name in self._trainable[options.train_batch_norm])

    @cached_property
    def _trainable(self) -> Mapping[bool, frozenset[str]]:
        """Names of the layers that can be trained, by whether BatchNorm is."""
        return {norm: frozenset(layer.name for layer in self.fresh(norm).layers if layer.trainable_weights) for norm in (False, True)}

    def spread(self, train_batch_norm: bool = False) -> tuple[int, ...]:
        """Numbers of last layers to choose from: none, and the fewest with which about a third, two thirds, and all of those train that
        can. Raises UsageError where none can."""
        self._require_last(None, train_batch_norm)
        numbers = [number for number, name in enumerate(reversed(self._names), 1) if name in self._trainable[train_batch_norm]]
        places = [-(-part * len(numbers) // PARTS) - 1 for part in range(1, PARTS + 1)]
        return tuple(sorted({0, *(numbers[place] for place in places)}))

    def told(self, options: FitOptions) -> dict[str, Any]:
        """What `head.json` says of a head with these options."""
        weights = self.fresh(options.train_batch_norm, options.train_last).trainable_weights
        last = {} if options.train_last is None else {"train_last": options.train_last}
        return {**self.about, **last, "parameters_trained": sum(int(np.prod(one.shape)) for one in weights)}

    @property
    def _names(self) -> tuple[str, ...]:
        inputs = keras.layers.InputLayer
        return self.layers or tuple(layer.name for layer in self.model.layers if not isinstance(layer, inputs))

    def _last(self, number: int) -> tuple[str, ...]:
        return self._names[len(self._names) - number :]

    def _require_last(self, number: int | None, train_batch_norm: bool) -> None:
        names = self._names
        if number is not None and number > len(names):
            raise UsageError(
                f"--train-last {number}: from a set cut at {self.about['cut']} at most the last {len(names)} layers can be trained: "
                "take fewer, or extract a set with a larger --train-last"
            )
        if number == 0 or self.trained(FitOptions(train_last=number, train_batch_norm=train_batch_norm)):
            return
        norm = "" if train_batch_norm else ", or only those of BatchNorm, which is frozen without --train-batch-norm"
        if number is None:
            raise UsageError(
                f"the layers behind {self.about['cut']} have no weights{norm}, so nothing would be trained: take --train-last 0 for "
                "the head alone, or extract a set with a larger --train-last"
            )
        least = next((i for i, name in enumerate(reversed(names), 1) if name in self._trainable[train_batch_norm]), 0)
        last = self._last(number)
        have = f"the last layer ({last[0]}) has" if number == 1 else f"the last layers ({', '.join(last)}) have"
        raise UsageError(
            f"--train-last {number}: {have} no weights{norm}, so nothing would be trained: "
            f"take {f'{least} at least, or ' if least else ''}0 for the head alone"
        )


def _freeze(layer: keras.layers.Layer) -> None:
    """Let a layer compute as in inference whatever Keras is told: for random layers `trainable` does not do that."""
    layer.trainable = False
    for one in layer._flatten_layers():
        if hasattr(one, "seed_generator"):
            one.call = partial(_in_inference, one.call)


def _in_inference(call: Callable[..., Any], *inputs: Any, training: bool | None = None, **options: Any) -> Any:
    return call(*inputs, training=False, **options)
