"""Targets that are less than certain, for training alone: label smoothing, and mixup of features."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf


@dataclass(frozen=True)
class Softening:
    """Of batches (x [n, *shape], y) for C classes; y: class numbers [n], or 0 and 1 [n, C].

    smoothing: the share of a target that is spread evenly over all classes (Szegedy et al., CVPR 2016; of several labels an item, over yes
    and no). mixup: a of Beta(a, a), from which the share of each batch is drawn by (seed, step); the batch is mixed with itself, moved by
    one (Zhang et al., ICLR 2018, on features as in Verma et al., ICML 2019). Batches are shuffled, so the neighbour is anyone.
    """

    classes: int
    smoothing: float = 0.0
    mixup: float = 0.0
    seed: int = 0

    @property
    def is_none(self) -> bool:
        return not (self.smoothing or self.mixup)

    def of_training(self, batches: tf.data.Dataset, first_step: int = 0) -> tf.data.Dataset:
        """Batches (x, float32 targets [n, C]); the first one is that of this step."""
        if self.is_none:
            return batches

        def soft(step: tf.Tensor, batch: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
            x, y = batch
            multi_label = y.shape.rank > 1
            y = self._targets(y)
            if self.smoothing:
                y = y * (1 - self.smoothing) + self.smoothing / (2 if multi_label else self.classes)
            return self._mixed(step, x, y) if self.mixup else (x, y)

        plain = tf.autograph.experimental.do_not_convert
        return tf.data.Dataset.zip((tf.data.Dataset.counter(first_step), batches)).map(plain(soft)).prefetch(1)

    def of_validation(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """The same features and targets, in the form that training has them in: Keras' accuracy goes by the first batch it meets."""
        if self.is_none:
            return batches
        return batches.map(tf.autograph.experimental.do_not_convert(lambda x, y: (x, self._targets(y))))

    def _targets(self, y: tf.Tensor) -> tf.Tensor:
        return tf.cast(y, tf.float32) if y.shape.rank > 1 else tf.one_hot(y, self.classes)

    def _mixed(self, step: tf.Tensor, x: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # Beta by way of two gammas. float64, as those of a small parameter end below float32's range.
        drawn = tf.random.stateless_gamma([2], seed=[self.seed, step], alpha=tf.constant(self.mixup, tf.float64), dtype=tf.float64)
        share = tf.cast(drawn[0] / (drawn[0] + drawn[1]), tf.float32)
        return tuple(share * part + (1 - share) * tf.roll(part, 1, axis=0) for part in (x, y))
