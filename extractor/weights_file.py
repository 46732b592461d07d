"""Weights from an HDF5 file, read as tensors only: a model description inside it is never looked at, and nothing is unpickled.

Not through `Model.load_weights`, which takes the file's word for shapes, picks its reader by the file's name, and leaves out silently
what the model does not ask for.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import h5py
import keras
import numpy as np

from storage.errors import UsageError

# What h5py raises, beside OSError, for files whose parts are missing, of other kinds, or run in circles.
HDF5_SYMPTOMS = (OSError, KeyError, TypeError, AttributeError, ValueError, RecursionError, RuntimeError, MemoryError)


@dataclass(frozen=True)
class StoredLayer:
    name: str
    tensors: list[h5py.Dataset]

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        return [tuple(tensor.shape) for tensor in self.tensors]


@dataclass(frozen=True)
class Pair:
    """A layer that the network has, and what the file has in its place (None: nothing)."""

    name: str
    layer: keras.Layer
    stored: StoredLayer | None

    @property
    def expected(self) -> list[tuple[int, ...]]:
        return [tuple(weight.shape) for weight in self.layer.weights]

    @property
    def fits(self) -> bool:
        return self.stored is not None and self.stored.shapes == self.expected


class WeightsFile:
    """An open file in one of the two layouts that Keras writes.

    The classic `.h5` one lists layers by name, in order: they are matched by order. Keras 3's `.weights.h5` has a group for each layer,
    named by class and count: they are matched by that.
    """

    def __init__(self, file: h5py.File, path: str) -> None:
        group = file["model_weights"] if "model_weights" in file and "layer_names" not in file.attrs else file
        if "layer_names" in group.attrs:
            self._in_order, self._by_path = _classic_layers(group), None
        elif isinstance(file.get("layers"), h5py.Group):
            self._in_order, self._by_path = [], _layers_by_path(file["layers"], "layers")
        else:
            raise UsageError(f"--weights {path} is in no layout of Keras' weights: it has neither 'layer_names' nor 'layers'")

    def match(self, model: keras.Model) -> tuple[list[Pair], list[StoredLayer]]:
        """The network's layers with weights, in order, each with what the file has for it; and what is left of the file."""
        if self._by_path is None:
            layers = [layer for layer in model.layers if layer.weights]
            stored: list[StoredLayer | None] = [*self._in_order, *[None] * len(layers)]
            pairs = [Pair(layer.name, layer, found) for layer, found in zip(layers, stored, strict=False)]
            return pairs, self._in_order[len(layers) :]
        paths = dict(_paths(model.layers, "layers"))
        pairs = [Pair(path, layer, self._by_path.get(path)) for path, layer in paths.items()]
        return pairs, [stored for path, stored in self._by_path.items() if path not in paths]

    def load_into(self, model: keras.Model, dropped: int, name: str) -> None:
        """Set the weights of `model`, called `name` in messages, where each layer fits. A file may have `dropped` layers more.

        Raises UsageError with the first difference.
        """
        pairs, left = self.match(model)
        if not all(pair.fits for pair in pairs) or len(left) not in (0, dropped):
            raise UsageError(_misfit(name, pairs, left))
        for pair in pairs:
            assert pair.stored is not None
            pairs_of_tensors = zip(pair.layer.weights, pair.stored.tensors, strict=True)
            pair.layer.set_weights([np.asarray(tensor, weight.dtype) for weight, tensor in pairs_of_tensors])
            if isinstance(pair.layer, keras.layers.Normalization):
                pair.layer.finalize_state()  # what it computes with is derived from its weights


@contextmanager
def open_weights(path: str) -> Iterator[WeightsFile]:
    """Open a weights file. Raises UsageError for what is no readable file of weights, also while it is being read."""
    with open_tensors(path, f"--weights {path}") as file:
        yield WeightsFile(file, path)


@contextmanager
def open_tensors(source: Any, called: str) -> Iterator[h5py.File]:
    """Open HDF5 (a path or a binary file) without links to elsewhere. Raises UsageError, with `called` for the file's name."""
    try:
        with h5py.File(source, "r") as file:
            refuse_links(file, called)
            yield file
    except UsageError:
        raise
    except HDF5_SYMPTOMS as error:
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UsageError(f"{called} is not a readable HDF5 file of weights ({first_line})") from None


def refuse_links(file: h5py.File, called: str) -> None:
    """An HDF5 file can point into other files; one of weights has no business there."""

    def check(group: h5py.Group) -> None:
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise UsageError(f"{called} is refused: {name!r} in it is a link, possibly to another file")
            member = group[name]
            if isinstance(member, h5py.Group):
                check(member)
            elif member.external or member.is_virtual:
                raise UsageError(f"{called} is refused: the data of {name!r} lies in another file")

    check(file)


def _classic_layers(group: h5py.Group) -> list[StoredLayer]:
    names = [name.decode() if isinstance(name, bytes) else str(name) for name in group.attrs["layer_names"]]
    layers = [StoredLayer(name, [group[name][weight] for weight in group[name].attrs["weight_names"]]) for name in names]
    return [layer for layer in layers if layer.tensors]


def _layers_by_path(group: h5py.Group, path: str) -> dict[str, StoredLayer]:
    """Layers with weights below a `layers` group; a nested model has a `layers` group of its own."""
    found: dict[str, StoredLayer] = {}
    for name, layer in group.items():
        tensors = layer.get("vars", {})
        if len(tensors):
            found[f"{path}/{name}"] = StoredLayer(f"{path}/{name}", [tensors[str(i)] for i in range(len(tensors))])
        if "layers" in layer:
            found |= _layers_by_path(layer["layers"], f"{path}/{name}/layers")
    return found


def _paths(layers: list[keras.Layer], prefix: str) -> Iterator[tuple[str, keras.Layer]]:
    """The group that Keras 3 gives each layer with weights: its class in snake case, counted from the second one on."""
    counts: Counter[str] = Counter()
    for layer in layers:
        name = re.sub("([a-z])([A-Z])", r"\1_\2", re.sub("(.)([A-Z][a-z]+)", r"\1_\2", type(layer).__name__)).lower()
        path = f"{prefix}/{name}" + (f"_{counts[name]}" if counts[name] else "")
        counts[name] += 1
        if isinstance(layer, keras.Model):
            yield from _paths(layer.layers, f"{path}/layers")
        elif layer.weights:
            yield path, layer


def _misfit(name: str, pairs: list[Pair], left: list[StoredLayer]) -> str:
    received = sum(pair.stored is not None for pair in pairs) + len(left)
    lines = [f"the weights do not fit {name}: it has {len(pairs)} layers with weights, the file {received}"]
    for i, pair in enumerate(pairs):
        if not pair.fits:
            there = f"has {pair.stored.name} {pair.stored.shapes}" if pair.stored else "ends" if not left else "has nothing"
            lines.append(f"  first difference, layer {i}: expected {pair.name} {pair.expected}, the file {there}")
            break
    else:
        lines.append(f"  left over in the file: {', '.join(layer.name for layer in left[:4])}, and that is no classification top")
    lines.append("The file is of another architecture, width (--backbone-arg) or top; pass weights of this backbone")
    return "\n".join(lines)
