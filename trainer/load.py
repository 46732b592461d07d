"""A feature set and labels as tf.data.

import trainer
for x, y in trainer.load("features/products/resnet50", options=trainer.LoadOptions(split="train", epochs=10)):
    ...
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

import storage
from storage.asked import check_fields, checked
from storage.errors import UsageError
from storage.feature_set import FeatureSet
from storage.requests import require_whole
from trainer.features import RANDOM, READERS, VIEWS, LabelledItems, label_items, read_features
from trainer.input_pipeline import InMemory, Source, rows_per_batch, stream
from trainer.label_column import Rows
from trainer.label_options import CALLED_LABELS, LabelOptions
from trainer.labels import labels_for
from trainer.position import Position
from trainer.shuffle_plan import Share, ShufflePlan
from trainer.split_options import AUTO, SplitOptions
from trainer.splits import normal_split, split_joined
from trainer.streaming import Streamed, bytes_of_batches, bytes_streamed
from trainer.task import Targets, task_of

MEMORY_BYTES = 1 << 30  # 1 GiB
CALLED_START = "start (Position.to_dict gives what can be kept)"
STREAM_VERSION = 1  # of what decides the order: another one is another dataset


@dataclass(frozen=True)
class LoadOptions:
    """What to load and how: `split` train, validation or test (None: all labelled items), split and shuffled by `seed`.

    batch_size: None for 256, or as many rows as make 16 MiB of float32 features if these are fewer. epochs: None for a stream without
    end. memory: bytes for features and batches; what exceeds it is streamed, and neither the batches nor their order depend on it.
    share: (index, count) of this trainer and all. readers: threads that read at a time; None for one while streaming, beside those
    that make batches (two take a tenth more CPU time a row), and two for what is held at once.
    """

    split: str | None = None
    batch_size: int | None = None
    epochs: int | None = 1
    shuffle: bool = True
    seed: int = 0
    share: tuple[int, int] = (0, 1)
    views: str = RANDOM  # "plain": view 0 alone; without shuffling it is always view 0
    multi_label: bool = False
    labels: LabelOptions = field(default_factory=LabelOptions)
    split_by: str = AUTO  # see SplitOptions, of this and the next four
    test: float = 0.2
    validation: float = 0.15
    group_by: str = ""
    shots: int | None = None
    memory: int = MEMORY_BYTES
    readers: int | None = None

    def __post_init__(self) -> None:
        check_fields(self, labels=CALLED_LABELS, share="the share, (index, count),")
        Share(*self.share)
        _ = self.splitting  # it checks itself, and the seed
        if self.split is not None:
            normal_split(self.split)
        if self.views not in VIEWS:
            raise UsageError(f"views must be one of {', '.join(VIEWS)}; got {self.views!r}")
        for name, least in (("batch_size", 1), ("epochs", 0), ("memory", 1), ("readers", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UsageError(f"{name} must be a number from {least} on, got {value!r}")

    @property
    def splitting(self) -> SplitOptions:
        return SplitOptions(self.split_by, self.test, self.validation, self.seed, self.group_by, self.shots)


@dataclass(frozen=True, eq=False)
class Stream:
    """Batches to come: of which `classes`, how many an epoch, and from which position on."""

    feature_set: FeatureSet
    items: LabelledItems  # all that have a label
    chosen: Rows  # those of the split, among them
    options: LoadOptions

    @property
    def classes(self) -> tuple[str, ...]:
        return self.items.classes

    @property
    def rows(self) -> int:
        """Items of an epoch in this share."""
        return self.plan.size

    @property
    def batch_size(self) -> int:
        return self.options.batch_size or rows_per_batch(self.feature_set.shape)

    @property
    def batches(self) -> int:
        """In an epoch."""
        return -(-self.rows // self.batch_size)

    @property
    def in_memory(self) -> bool:
        """Whether all features are held at once."""
        return self._bytes_in_memory <= self.options.memory

    @property
    def least_memory(self) -> int:
        """Bytes that it takes to have batches at all: streamed, or at once, if that is less."""
        streamed = bytes_streamed(self.plan, self.batch_size, self.feature_set.embedding_bytes) + self._bytes_of_batches
        return min(streamed, self._bytes_in_memory)

    @cached_property
    def plan(self) -> ShufflePlan:
        seed = self.options.seed if self.options.shuffle else None
        return ShufflePlan.of(len(self.chosen), self.feature_set.embedding_bytes, seed, Share(*self.options.share))

    @cached_property
    def digest(self) -> str:
        """sha256 of what the batches are made of: the space, the images in their order, their targets, the views, the sizes of batch,
        block and window, and the number of shares. Not the version: a new one in which all this is the same goes on where the old one was.
        """
        about = {
            "stream": STREAM_VERSION,
            "space": self.feature_set.space.id,
            "classes": self.classes,
            "views": self._views,
            "sizes": [self.batch_size, self.plan.block, self.plan.window, self.plan.share.count],
            "targets": [str(self._y.dtype), *self._y.shape],
        }
        found = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
        found.update(self.items.digests[self.chosen].astype(">u8").data)
        found.update(np.ascontiguousarray(self._y).data)
        return found.hexdigest()

    @checked(start=CALLED_START)
    def position(self, batches: int = 0, start: Position | Mapping[str, Any] | None = None) -> Position:
        """Where the stream is when so many batches were taken from `start` (None: its beginning) on."""
        require_whole(batches, "batches", 0)
        beginning = Position(self.digest, self.plan.seed) if start is None else Position.of(start)
        return beginning.after(batches, max(1, self.batches))

    @checked(start=CALLED_START)
    def dataset(self, start: Position | Mapping[str, Any] | None = None) -> tf.data.Dataset:
        """Batches (float32 [n, *shape], y [n, ...]) from a position on, or from what its `to_dict` gave. Raises UsageError for one of
        another stream."""
        start = self.position() if start is None else self._require_own(Position.of(start))
        if self.options.epochs is None and not self.rows:
            raise UsageError(
                f"the share {self.options.share} of {len(self.chosen)} items is empty, and a stream of it without end would have no batch: "
                "take fewer shares, or a number of epochs"
            )
        if self.options.epochs is not None and (start.epoch, start.batch) > (self.options.epochs, 0):
            raise UsageError(
                f"the position is in epoch {start.epoch}, at batch {start.batch}: beyond the {self.options.epochs} epochs asked for"
            )
        return stream(self._source, self._y, self.plan, self.batch_size, self.options.epochs, start.epoch, start.batch)

    def _require_own(self, start: Position) -> Position:
        if start.seed != self.plan.seed:  # before the digest, which differs by it: a seed draws the split, too
            raise UsageError(f"the position is of the order by seed {start.seed}, this stream has {self.plan.seed}: pass the same seed")
        if start.dataset != self.digest:
            raise UsageError(
                f"the position is of another dataset ({start.dataset[:12]}, this one is {self.digest[:12]}): its items, labels, split, "
                "views, batch size or number of shares were others. Load what it was saved for, or begin anew without start"
            )
        if start.batch > self.batches:
            raise UsageError(f"the position is at batch {start.batch}, an epoch has {self.batches}")
        return start.after(0, max(1, self.batches))

    @property
    def _views(self) -> int:
        return len(self.feature_set.views) if self.options.views == RANDOM else 1

    @property
    def _y(self) -> Targets:
        return self.items.y[self.chosen]

    @cached_property
    def _positions(self) -> Rows:
        """Of the chosen items, in the items table."""
        return np.asarray(self.items.joined.positions, np.int64)[self.chosen]

    @property
    def _bytes_of_batches(self) -> int:
        return bytes_of_batches(min(self.batch_size, self.rows), prod(self.feature_set.shape))

    @property
    def _bytes_in_memory(self) -> int:
        return len(self.chosen) * self._views * self.feature_set.embedding_bytes + self._bytes_of_batches

    @cached_property
    def _source(self) -> Source:
        if self.in_memory:
            view = None if self.options.views == RANDOM else 0
            features = read_features(self.feature_set, self._positions, view, self.options.readers or READERS)
            return InMemory(features, np.arange(len(self.chosen)), self._views)
        if self.options.memory < self.least_memory:
            raise UsageError(
                f"memory of {self.options.memory:,} bytes is too little: the windows and batches of {self.batch_size} that are held "
                f"at a time take {self.least_memory:,}. Allow that, or make batches smaller"
            )
        reader = self.feature_set.row_reader(self._positions, self.options.readers or 1)
        return Streamed(reader, self.plan, self.batch_size, self._views)


@checked(labels="the label file")
def open_stream(uri: str | Path, labels: str | Path | None = None, options: LoadOptions | None = None) -> Stream:
    """Join the feature set `ROOT/TEAM/SET[@VERSION|@TAG]` with labels from a file or (None) from the items, and choose a split.

    No feature is read yet. Raises UsageError (labels that fit nothing, one class only, a split without items), NotFoundError,
    DamagedError.
    """
    options = LoadOptions() if options is None else options
    feature_set = storage.open(uri)
    label_set = labels_for(feature_set, labels, options.multi_label, options.labels)
    items = label_items(feature_set, label_set, task_of(options.multi_label))
    return Stream(feature_set, items, _of_split(feature_set, items, options), options)


@checked(labels="the label file", start=CALLED_START)
def load(
    uri: str | Path,
    labels: str | Path | None = None,
    options: LoadOptions | None = None,
    start: Position | Mapping[str, Any] | None = None,
) -> tf.data.Dataset:
    """Batches (float32 [n, *shape], y [n, ...]) of a feature set joined with labels; `open_stream` tells more of them.

    start: a position of the same stream, or what its `to_dict` gave, whose remainder is given. Raises what `open_stream`
    does, and UsageError for a position of another stream and for too little memory.
    """
    return open_stream(uri, labels, options).dataset(start)


def _of_split(feature_set: FeatureSet, items: LabelledItems, options: LoadOptions) -> Rows:
    if options.split is None:
        return np.arange(len(items.y))
    wanted = normal_split(options.split)
    chosen = split_joined(feature_set.items, items.joined, options.splitting).positions(wanted)
    if not len(chosen):
        raise UsageError(f"the split {wanted} has no item of the {len(items.y)} that have a label")
    return chosen
