"""Where a network falls into two parts that meet in one tensor: a frozen one, whose output is kept, and a tail that can be trained.

Such a tensor is one that every path from the image to the output goes through. Of the nodes of a graph in topological order it is the
output of a node after which no other tensor is still waited for: all nodes are then before it or behind it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import keras

from extractor.cut import unknown_layer
from extractor.fingerprint import canonical_graph
from storage.errors import UsageError

BYTES = {"float16": 2, "float32": 4}  # of a stored number
NEAREST = 2  # cuts that are named in a refusal, before and behind


@dataclass(frozen=True)
class Cut:
    """A layer at whose output the network can be cut; `shape` of one image's features there.

    Parameters and FLOPs (an image, forward) are those of the frozen part and of the tail. FLOPs are those of layers with weights, two for
    each use of a weight; products of attention are not in them. `trained_behind`: of the parameters, those that are trained behind it
    while BatchNorm is frozen. `layers_behind`: of Keras' `model.layers`.
    """

    layer: str
    canonical: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    parameters_behind: int
    trained_behind: int
    flops: int
    flops_behind: int
    layers_behind: int
    is_random: bool  # a layer that draws in training, such as dropout: behind a cut that is left to it

    def bytes(self, dtype: str) -> int:
        """That one image takes as it is stored."""
        return BYTES[dtype] * prod(self.shape)


def valid_cuts(model: keras.Model) -> list[Cut]:
    """All of them, from the image on; the last one is the network's end, where nothing is left behind. `model` has a fixed input size."""
    nodes = nodes_in_order(model)
    canonical = dict(zip((operation.name for operation in model.operations), _canonical_names(model), strict=True))
    first_use = {id(node.operation): i for i, node in reversed(list(enumerate(nodes)))}
    parameters = [_parameters(node.operation) * (first_use[id(node.operation)] == i) for i, node in enumerate(nodes)]
    trained = [_trained(node.operation) * (first_use[id(node.operation)] == i) for i, node in enumerate(nodes)]
    flops = [_flops(node) for node in nodes]
    layers = {id(layer) for layer in model.layers}
    found = []
    for i in _separating(model, nodes):
        operation, tensor = nodes[i].operation, nodes[i].output_tensors[0]
        behind = {id(node.operation) for node in nodes[i + 1 :]}
        found.append(
            Cut(
                layer=operation.name,
                canonical=canonical[operation.name],
                kind=type(operation).__name__,
                shape=tuple(tensor.shape[1:]),
                parameters=sum(parameters[: i + 1]),
                parameters_behind=sum(parameters[i + 1 :]),
                trained_behind=sum(trained[i + 1 :]),
                flops=sum(flops[: i + 1]),
                flops_behind=sum(flops[i + 1 :]),
                layers_behind=len(behind & layers),
                is_random=hasattr(operation, "seed_generator"),
            )
        )
    return found


def cut_for_last(model: keras.Model, last: int, dtype: str, backbone: str) -> Cut:
    """The cut behind which at least the last so many layers (`model.layers[-last:]`) are, as cheap to keep as it can be.

    Raises UsageError where there is none.
    """
    if not 1 <= last < len(model.layers):
        raise UsageError(f"--train-last {last}: {backbone} has {len(model.layers)} layers, so it must be from 1 to {len(model.layers) - 1}")
    trained = {id(layer) for layer in model.layers[-last:]}
    first = min(i for i, node in enumerate(nodes_in_order(model)) if id(node.operation) in trained)
    order = {node.operation.name: i for i, node in enumerate(nodes_in_order(model))}
    cuts = valid_cuts(model)
    before = [i for i, cut in enumerate(cuts) if order[cut.layer] < first]
    if not before:
        raise UsageError(
            f"--train-last {last}: no tensor before these layers of {backbone} separates it in two; the most that can be trained from a "
            f"cache is the last {cuts[0].layers_behind}. `permafrost cuts {backbone}` lists the cuts"
        )
    chosen = moved(cuts, before[-1], dtype)
    if not chosen.trained_behind:
        raise _nothing_to_train(model, chosen, last, backbone)
    return chosen


def _nothing_to_train(model: keras.Model, chosen: Cut, last: int, backbone: str) -> UsageError:
    least = next((i for i, layer in enumerate(reversed(model.layers), 1) if _trained(layer)), 0)
    more = f"take {least} at least" if least else "it has no others"
    have = f"the last layer of {backbone} has" if last == 1 else f"the last {last} layers of {backbone} have"
    if not chosen.parameters_behind:
        return UsageError(f"--train-last {last}: {have} no weights to train; {more}")
    return UsageError(
        f"--train-last {last}: {have} weights of BatchNorm alone, which is frozen in training; {more}. To "
        f"train BatchNorm alone (`train --train-batch-norm`), cut there by --layer {chosen.layer} --pooling none"
    )


def moved(cuts: Sequence[Cut], number: int, dtype: str) -> Cut:
    """The cut, or one behind it with only layers without weights between them, whose features take the fewest bytes.

    Of equal ones the last: what is before it is computed once.
    """
    start = cuts[number]
    alike = [start]
    for cut in cuts[number + 1 :]:
        if cut.parameters_behind != start.parameters_behind or cut.is_random:
            break
        alike.append(cut)
    return min(reversed(alike), key=lambda cut: cut.bytes(dtype))


def most_trained(cuts: Sequence[Cut], cut: Cut, dtype: str) -> int:
    """The largest number of last layers for which `cut_for_last` takes this cut; where it takes it for none, how many are behind it."""
    return max(each.layers_behind for i, each in enumerate(cuts) if cut in (each, moved(cuts, i, dtype)))


def require_cut(model: keras.Model, name: str, backbone: str) -> Cut:
    """The cut at a layer (named as in Keras or by its canonical name) that something is behind.

    Raises UsageError for any other layer, with the nearest cuts.
    """
    cuts = valid_cuts(model)
    canonical = dict(zip(_canonical_names(model), (operation.name for operation in model.operations), strict=True))
    names = {operation.name for operation in model.operations}
    layer = name if name in names else canonical.get(name, "")
    if not layer:
        raise unknown_layer(model, name, backbone)
    for cut in cuts:
        if cut.layer == layer and cut.parameters_behind:
            return cut
    if cuts[-1].layer == layer or any(cut.layer == layer for cut in cuts):
        raise UsageError(f"behind {layer} no layer of {backbone} has weights, so there is nothing to train. {_nearest(model, cuts, layer)}")
    raise UsageError(
        f"{layer} does not separate {backbone}: other paths lead past it from the image to the output. {_nearest(model, cuts, layer)}"
    )


def _nearest(model: keras.Model, cuts: Sequence[Cut], layer: str) -> str:
    order = {node.operation.name: i for i, node in enumerate(nodes_in_order(model))}
    at = order[layer]
    useful = [cut.layer for cut in cuts if cut.trained_behind]
    near = [name for name in useful if order[name] < at][-NEAREST:] + [name for name in useful if order[name] > at][:NEAREST]
    return f"Extract a set with --layer at one of the nearest cuts: {', '.join(near)}" if near else "It has no cut"


def nodes_in_order(model: keras.Model) -> list[Any]:
    """The nodes (uses of operations) that lead to the model's outputs, each behind those that it reads."""
    order: list[Any] = []
    done: set[int] = set()
    waiting = [_node(tensor) for tensor in reversed(model.outputs)]
    while waiting:
        node = waiting[-1]
        missing = [before for tensor in node.input_tensors if id(before := _node(tensor)) not in done]
        if missing:
            waiting += missing
            continue
        waiting.pop()
        if id(node) not in done:
            done.add(id(node))
            order.append(node)
    return order


def _node(tensor: Any) -> Any:
    operation, index, _ = tensor._keras_history
    return operation._inbound_nodes[index]


def _separating(model: keras.Model, nodes: Sequence[Any]) -> list[int]:
    """Numbers of the nodes whose single output separates the graph, of layers that are used once, with no layer used on both sides."""
    uses = Counter(id(tensor) for node in nodes for tensor in node.input_tensors)
    uses.update(id(tensor) for tensor in model.outputs)
    last_use = {id(node.operation): i for i, node in enumerate(nodes)}
    times = Counter(id(node.operation) for node in nodes)
    live: set[int] = set()
    reach, found = 0, []
    for i, node in enumerate(nodes):
        for tensor in node.input_tensors:
            uses[id(tensor)] -= 1
            if not uses[id(tensor)]:
                live.discard(id(tensor))
        live.update(id(tensor) for tensor in node.output_tensors if uses[id(tensor)])
        reach = max(reach, last_use[id(node.operation)])
        is_one = len(node.output_tensors) == 1 and times[id(node.operation)] == 1
        is_input = isinstance(node.operation, keras.layers.InputLayer)
        if is_one and live == {id(node.output_tensors[0])} and reach <= i and not is_input:
            found.append(i)
    return found


def _canonical_names(model: keras.Model) -> list[str]:
    return [layer["name"] for layer in canonical_graph(model)["layers"]]


def _parameters(operation: Any) -> int:
    return int(sum(prod(weight.shape) for weight in getattr(operation, "weights", [])))


def _trained(operation: Any) -> int:
    """Whether the layer itself is marked as frozen or not: where a tail is trained, that is undone."""
    layers = operation._flatten_layers() if isinstance(operation, keras.Layer) else ()
    own = [layer for layer in layers if not isinstance(layer, keras.layers.BatchNormalization)]
    return int(sum(prod(weight.shape) for layer in own for weight in layer._trainable_variables))


def _flops(node: Any) -> int:
    """Each weight of a kernel is used once at each position of the output, be it that of a convolution, depthwise or not, or of a dense
    layer."""
    kernels = sum(prod(weight.shape) for weight in getattr(node.operation, "weights", []) if len(weight.shape) > 1)
    positions = prod(node.output_tensors[0].shape[1:-1]) if kernels else 0
    return int(2 * kernels * positions)
