"""Training a whole network from images: epoch after epoch, layers unfrozen in stages, stopped by validation, resumable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from storage.errors import DivergedError, UsageError
from trainer.adam_by_part import AdamByPart
from trainer.arrays import Numbers
from trainer.checkpoint import Arrays, Checkpoint, Progress, Snapshot
from trainer.fine_tuning_options import PRECISIONS, FineTuningOptions
from trainer.image_stream import ImageStream
from trainer.network_depth import HEAD, DepthGroups
from trainer.plain_validation import PlainlyValidated
from trainer.task import Loss
from trainer.unfreezing import NextEpoch, next_epoch

ShowProgress = Callable[[int, int], None]
Note = Callable[[str], None]


@dataclass(frozen=True)
class Told:
    """Where the training tells how far it is (steps done now, of how many at most), what the user should know, and that images are read."""

    show: ShowProgress = lambda done, total: None
    note: Note = lambda message: None
    reading: Callable[[], None] = lambda: None


class ImageTraining:
    """Trains a copy of `model` (pixels to logits, in float32), on one device or on several, each with its share of a batch."""

    def __init__(
        self,
        model: keras.Model,
        stream: ImageStream,
        loss: Loss,
        metrics: Sequence[str],
        options: FineTuningOptions,
        seed: int,
        devices: Sequence[str] = (),
    ) -> None:
        """devices: TensorFlow's names, such as GPU:0; fewer than two: where TensorFlow puts it."""
        self._stream, self._loss, self._metrics, self._options, self._seed = stream, loss, list(metrics), options, seed
        self._strategy = tf.distribute.MirroredStrategy(list(devices)) if len(devices) > 1 else tf.distribute.get_strategy()
        self.devices = int(self._strategy.num_replicas_in_sync)
        with self._strategy.scope():
            keras.utils.set_random_seed(seed)
            self._model = keras.Model.from_config(_in_precision(model.get_config(), PRECISIONS[options.precision]))
            self._model.set_weights(model.get_weights())
            self.groups = DepthGroups.of(self._model, options.groups)
            self._optimizer = self._built_optimizer()
        # Of the same layers, and compiled once, as it does not matter to it what is trained. On the first device alone: Keras takes
        # batches of several only where each has an equal share, which the last batch of validation has not.
        self._judge = PlainlyValidated(self._model.inputs, self._model.outputs[0])
        self._judge.compile(loss=loss, metrics=list(metrics), jit_compile=False)
        self._opened: int | None = None
        self._first = 0  # epoch of this run

    def run(self, train: Numbers, validation: Numbers, checkpoint: Checkpoint, told: Told) -> tuple[Progress, Arrays]:
        """Train to the end, from the last finished epoch on that the checkpoint has; the best epoch's weights come with it.

        Without validation items, for max_epochs, and the last epoch's. Raises UsageError where not even the smallest batch fits,
        DivergedError where the network comes to no numbers.
        """
        before, note = checkpoint.get()
        if note:
            told.note(note)
        if before:
            self._restore(before.values)
        snapshot = before or self._start(validation)
        self._first = snapshot.progress.epochs
        while coming := next_epoch(self._options, snapshot.progress):
            if coming.from_best:
                told.note(self._words_of_stage(coming, snapshot.progress))
            snapshot = self._fitting_epoch(snapshot, coming, train, validation, told)
            checkpoint.put(snapshot)
        return snapshot.progress, snapshot.best

    def _start(self, validation: Numbers) -> Snapshot:
        """Before the first epoch: what the warm head gives with the network as it was."""
        progress = Progress(batch_size=self._options.batch_size)
        if len(validation):
            progress.curves["start_val_loss"] = [self._validated(validation)["loss"]]
        return Snapshot(progress, self._values(), self._model.get_weights())

    def _words_of_stage(self, coming: NextEpoch, progress: Progress) -> str:
        opened = (
            "the whole network" if coming.open_groups == self._options.groups else f"{coming.open_groups} of {self._options.groups} groups"
        )
        return (
            f"no better validation loss for --patience {self._options.patience}: from epoch {progress.epochs + 1} on {opened} and the head "
            f"are trained, beginning with the weights of epoch {progress.best_epoch}"
        )

    def _fitting_epoch(self, before: Snapshot, coming: NextEpoch, train: Numbers, validation: Numbers, told: Told) -> Snapshot:
        """One more epoch; where its batches do not fit in memory, with half of these, for good."""
        size = before.progress.batch_size
        try:
            return self._epoch(before, coming, train, validation, told)
        except tf.errors.ResourceExhaustedError:
            half = size // 2 // self.devices * self.devices
            if not half:
                raise UsageError(
                    f"not enough memory to train this network on {size} images at a time: use a set of a smaller --input-size, or "
                    "--precision bfloat16"
                ) from None
        told.note(f"a batch of {size} images does not fit in memory: {half} from here on")
        self._restore(before.values)
        return self._fitting_epoch(replace(before, progress=replace(before.progress, batch_size=half)), coming, train, validation, told)

    def _epoch(self, before: Snapshot, coming: NextEpoch, train: Numbers, validation: Numbers, told: Told) -> Snapshot:
        done, size = before.progress.epochs, before.progress.batch_size
        self._open(coming.open_groups)
        if coming.from_best:
            with self._strategy.scope():
                self._model.set_weights(before.best)
        steps = -(-len(train) // size)
        ticker = _Ticker(told.show, (done - self._first) * steps, (self._options.max_epochs - self._first) * steps)
        data = self._stream.training(train, size, self._seed, done, self._options.augmentation)
        found = {
            name: float(values[0])
            for name, values in self._called(self._model.fit, data, shuffle=False, callbacks=[ticker]).history.items()
        }
        if len(validation):
            found |= {f"val_{name}": value for name, value in self._validated(validation).items()}
        if not all(np.isfinite(value) for value in found.values()):
            raise DivergedError(f"training diverged in epoch {done + 1}: the network gives no numbers. Try {_less_daring(self._options)}")
        curves = {name: [*before.progress.curves.get(name, []), value] for name, value in found.items()}
        opened = [*before.progress.open_groups, coming.open_groups]
        progress = replace(before.progress, epochs=done + 1, curves={**before.progress.curves, **curves}, open_groups=opened)
        loss = found.get("val_loss")
        if loss is None or loss < progress.best_loss:
            best_epoch = done + 1 if loss is not None else 0
            progress = replace(progress, best_epoch=best_epoch, best_loss=float("inf") if loss is None else loss)
            return Snapshot(progress, self._values(), self._model.get_weights())
        return Snapshot(progress, self._values(), before.best)

    def _validated(self, numbers: Numbers) -> dict[str, float]:
        data = self._stream.plain(numbers, self._options.batch_size)
        return {name: float(value) for name, value in self._called(self._judge.evaluate, data, return_dict=True).items()}

    def _called(self, function: Callable[..., Any], data: tf.data.Dataset, **options: Any) -> Any:
        """Keras' fit or evaluate on a stream, with the errors of the stream as they are."""
        try:
            found = function(data, verbose=0, **options)
        except (tf.errors.OpError, ValueError):  # ValueError: of a stream that ended before its first batch
            if self._stream.failure:
                raise self._stream.failure from None
            raise
        if self._stream.failure:
            raise self._stream.failure
        return found

    def _open(self, opened: int) -> None:
        if opened == self._opened:
            return
        with self._strategy.scope():
            self.groups.train(opened, self._options.train_batch_norm)
            # jit_compile: XLA would compile anew for each stage; auto_scale_loss: the optimiser is wrapped already.
            self._model.compile(self._optimizer, self._loss, metrics=self._metrics, jit_compile=False, auto_scale_loss=False)
        self._opened = opened

    def _built_optimizer(self) -> keras.optimizers.Optimizer:
        """Built on all that is trained in the end, so that a stage more changes neither the moments nor what a checkpoint holds."""
        options = self._options
        _unfrozen(self._model)
        self.groups.train(options.groups, options.train_batch_norm)
        variables = self.groups.variables()
        shares = [options.rate_decay**group for _, group in variables]
        adam = AdamByPart(options.learning_rate, shares, options.weight_decay)
        optimizer = keras.optimizers.LossScaleOptimizer(adam) if options.precision == "float16" else adam
        optimizer.build([variable for variable, _ in variables])
        return optimizer

    def _variables(self) -> list[keras.Variable]:
        return [*self._model.variables, *self._optimizer.variables]

    def _values(self) -> Arrays:
        return [np.array(variable.numpy()) for variable in self._variables()]

    def _restore(self, values: Arrays) -> None:
        with self._strategy.scope():
            for variable, value in zip(self._variables(), values, strict=True):
                variable.assign(value)


def _less_daring(options: FineTuningOptions) -> str:
    """What is likelier to give numbers than these options."""
    ways = ["a smaller --learning-rate"]
    if options.precision != "float32":
        ways.append(f"--precision float32 instead of {options.precision}")
    if options.train_batch_norm:
        ways.append("training without --train-batch-norm")
    return ", or ".join(ways)


class _Ticker(keras.callbacks.Callback):  # type: ignore[misc]
    def __init__(self, show: ShowProgress, done: int, total: int) -> None:
        super().__init__()
        self._show, self._done, self._total = show, done, total

    def on_train_begin(self, logs: Any = None) -> None:
        self._show(self._done, self._total)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._show(self._done + batch + 1, self._total)


def _unfrozen(model: keras.Model) -> None:
    """A model inside the model that is frozen as a whole would hide the variables of its layers."""
    model.trainable = True
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            _unfrozen(layer)


def _in_precision(config: Any, policy: str) -> Any:
    """The configuration of a model with another precision for all layers but the head."""
    layers = [layer if layer["name"] == HEAD else _with_policy(layer, policy) for layer in config["layers"]]
    return config if policy == "float32" else {**config, "layers": layers}


def _with_policy(value: Any, policy: str) -> Any:
    if isinstance(value, dict):
        if value.get("class_name") == "DTypePolicy" and value["config"].get("name") == "float32":
            return {**value, "config": {"name": policy}}
        return {key: _with_policy(item, policy) for key, item in value.items()}
    return [_with_policy(item, policy) for item in value] if isinstance(value, (list, tuple)) else value
