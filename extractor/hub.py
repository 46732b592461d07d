"""Backbones from KerasHub presets (`--backbone hub:PRESET`); needs the extra `hub`."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from extractor.backbone_source import HUB
from extractor.model_file import as_image_network
from extractor.recipe import PREPROCESSINGS, Recipe
from extractor.weights_file import open_tensors
from storage.errors import PermafrostError, UsageError


def load_preset(recipe: Recipe) -> tuple[keras.Model, Recipe]:
    """The preset's image backbone, and the recipe with its input size and preprocessing.

    Raises UsageError where the extra is missing, for a preset that is no image backbone, and where the preprocessing has to be stated;
    PermafrostError where the preset cannot be had.
    """
    try:
        import keras_hub
    except ImportError as error:
        raise UsageError(f"{recipe.name} needs KerasHub ({error}): pip install 'permafrost[hub]'") from None
    preset = recipe.name.removeprefix(HUB)
    if Path(preset).is_dir():
        for path in Path(preset).glob("*.h5"):
            with open_tensors(path, f"--backbone {recipe.name}: {path.name}"):
                pass  # refuses links to elsewhere
    try:
        with redirect_stdout(sys.stderr):
            model = keras_hub.models.Backbone.from_preset(preset, dtype="float32")
            converter = _image_converter(keras_hub, preset)
    except Exception as error:  # noqa: BLE001 - hubs and their clients raise all kinds
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise PermafrostError(
            f"the preset {preset} could not be loaded ({first_line}). Expected an image backbone of KerasHub. Without a network, "
            "save it elsewhere with backbone.save_to_preset(FOLDER) and image_converter.save_to_preset(FOLDER), and pass hub:FOLDER"
        ) from None
    model, recipe = as_image_network(model, recipe, _own_size(converter))
    return model, replace(recipe, preprocessing=recipe.preprocessing or _own_preprocessing(converter, recipe))


def _image_converter(keras_hub: Any, preset: str) -> Any:
    """How the preset turns pixels into its input. None: it does not say."""
    try:
        return keras_hub.layers.ImageConverter.from_preset(preset)
    except (FileNotFoundError, ValueError):  # no such part, or none for this class of backbone
        return None


def _own_size(converter: Any) -> int:
    size = converter.image_size if converter else None
    return int(size[0]) if size and size[0] and size[0] == size[1] else 0


def _own_preprocessing(converter: Any, recipe: Recipe) -> str:
    """The mode that scales pixels as the preset's own converter does. Raises UsageError if there is none."""
    if converter is None:
        raise UsageError(f"state --preprocessing: {recipe.name} does not say how its pixels are scaled")
    probe = np.array([[[[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 0, 255]]]], np.float32)
    scale, offset = (np.asarray(default if value is None else value) for value, default in ((converter.scale, 1), (converter.offset, 0)))
    expected = probe * scale + offset
    for mode in PREPROCESSINGS:
        scaled = probe if mode == "none" else keras.applications.imagenet_utils.preprocess_input(probe.copy(), mode=mode)
        # Presets give their constants with a few digits; 1e-3 of a unit range is a quarter of a grey level.
        if np.allclose(scaled, expected, rtol=0, atol=1e-3):
            return mode
    raise UsageError(
        f"state --preprocessing: {recipe.name} scales pixels by {converter.scale} and adds {converter.offset}, which is none of "
        f"{', '.join(PREPROCESSINGS)}"
    )
