"""A vision transformer B/16 of Keras layers, with random weights: keras.applications has none, and a benchmark of speed needs no others.

As in "An Image is Worth 16x16 Words" (arXiv 2010.11929), but without the class token: 196 tokens, 12 blocks, width 768, 12 heads.
"""

from __future__ import annotations

from typing import Any

import keras

SIZE, PATCH, WIDTH, HEADS, DEPTH = 224, 16, 768, 12, 12


def vit_b16() -> keras.Model:
    """float32 [N, 224, 224, 3] to tokens [N, 196, 768]."""
    side = SIZE // PATCH
    images = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Reshape((side, PATCH, side, PATCH, 3))(images)
    x = keras.layers.Permute((1, 3, 2, 4, 5))(x)
    x = keras.layers.Reshape((side**2, PATCH * PATCH * 3))(x)
    # The bias of each patch is the sum of the embedding's bias and the position's.
    x = keras.layers.EinsumDense("npd,de->npe", output_shape=(side**2, WIDTH), bias_axes="pe")(x)
    for _ in range(DEPTH):
        x = _block(x)
    return keras.Model(images, keras.layers.LayerNormalization(epsilon=1e-6)(x), name="vit_b16")


def _block(x: Any) -> Any:
    y = keras.layers.LayerNormalization(epsilon=1e-6)(x)
    x = keras.layers.Add()([x, keras.layers.MultiHeadAttention(HEADS, WIDTH // HEADS)(y, y)])
    y = keras.layers.LayerNormalization(epsilon=1e-6)(x)
    y = keras.layers.Dense(4 * WIDTH, activation="gelu")(y)
    return keras.layers.Add()([x, keras.layers.Dense(WIDTH)(y)])
