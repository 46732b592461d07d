"""The layers of a network by depth, and which of them are trained. Group 0 is the head, 1 the last part of the network, and so on."""

from __future__ import annotations

from dataclasses import dataclass

import keras

HEAD = "head"  # name of the head within the whole model


@dataclass(frozen=True)
class DepthGroups:
    """`layers`: those with weights, with the number of each one's group."""

    layers: tuple[tuple[keras.layers.Layer, int], ...]

    @classmethod
    def of(cls, model: keras.Model, groups: int) -> DepthGroups:
        """Divide the layers in front of the head into so many groups of about equal numbers of layers, by their order in the graph."""
        head = weighted_layers(model.get_layer(HEAD))
        network = [layer for layer in weighted_layers(model) if not any(layer is other for other in head)]
        numbered = [(layer, groups - i * groups // len(network)) for i, layer in enumerate(network)]
        return cls((*numbered, *((layer, 0) for layer in head)))

    def train(self, opened: int, batch_norm: bool) -> None:
        """Train the head and the last `opened` groups. A BatchNorm that is not trained computes as in inference, whatever Keras is told;
        that of the head is none, but what its features are standardised by (`trainer.standardise`)."""
        for layer, group in self.layers:
            frozen_norm = isinstance(layer, keras.layers.BatchNormalization) and not (batch_norm and group)
            layer.trainable = group <= opened and not frozen_norm

    def variables(self) -> list[tuple[keras.Variable, int]]:
        """What is trained now, each with its group."""
        return [(variable, group) for layer, group in self.layers for variable in layer.trainable_variables]

    def names(self, group: int) -> tuple[str, str]:
        """The first and the last layer of a group."""
        found = [layer.name for layer, number in self.layers if number == group]
        return found[0], found[-1]


def weighted_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """Layers with weights in the order of the graph, of models inside the model, too."""
    found: list[keras.layers.Layer] = []
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            found += weighted_layers(layer)
        elif layer.weights:
            found.append(layer)
    return found
