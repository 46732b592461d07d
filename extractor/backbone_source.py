"""Where a backbone and its weights come from: what `--backbone` and `--weights` may name. Imports no TensorFlow."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from extractor.backbone_table import BACKBONES
from storage.errors import NotFoundError, UsageError

HUB = "hub:"
IMAGENET, OWN, RANDOM = "imagenet", "own", "random:"


def is_file(name: str) -> bool:
    """Whether a checked backbone is a model file."""
    return name not in BACKBONES and not name.startswith(HUB)


def check_backbone(name: str) -> str:
    """Return a name of the table, "hub:PRESET" or the absolute path of a model file.

    Raises UsageError for an unknown name or a file of another kind, NotFoundError for a missing one.
    """
    if name in BACKBONES:
        return name
    if name.startswith(HUB):
        return _check_preset(name.removeprefix(HUB))
    path = Path(name).expanduser().absolute()
    if path.suffix == ".keras":
        if not path.is_file():
            raise NotFoundError(f"--backbone {name}: no such file; expected a model saved by Keras 3 as .keras")
        return str(path)
    if path.suffix in (".h5", ".hdf5"):
        raise UsageError(
            f"--backbone {name} is refused: a model in .h5 cannot be loaded safely. Save it as .keras, or name its architecture "
            f"and pass the file as --weights {name}"
        )
    if (path / "saved_model.pb").exists() or path.suffix == ".pb":
        raise UsageError(f"--backbone {name} is refused: a SavedModel can run code. Save the Keras model as .keras")
    simple = {known.replace("_", ""): known for known in BACKBONES}
    near = difflib.get_close_matches(name.lower().replace("_", "").replace("-", ""), simple, 3)
    hint = f"near ones are {', '.join(simple[word] for word in near)}" if near else f"or one of {', '.join(BACKBONES)}"
    raise UsageError(
        f"unknown backbone {name!r}: expected a .keras model file, hub:PRESET (of KerasHub), a name of keras.applications; {hint}"
    )


def _check_preset(preset: str) -> str:
    if not preset:
        raise UsageError("--backbone hub: names no preset; expected such as hub:resnet_50_imagenet or hub:./folder")
    if not preset.startswith((".", "/", "~")):
        return HUB + preset
    folder = Path(preset).expanduser().absolute()
    if not (folder / "config.json").is_file():
        raise NotFoundError(f"--backbone hub:{preset}: no preset there; expected a folder with a config.json, made by save_to_preset()")
    return f"{HUB}{folder}"


def check_weights(backbone: str, weights: str) -> str:
    """Return `weights` of a checked backbone in their one spelling: a file is made absolute, "" is what the backbone usually has.

    Raises UsageError for a malformed seed or weights that cannot be chosen, NotFoundError for a missing file.
    """
    if backbone not in BACKBONES:
        if weights not in ("", OWN):
            raise UsageError(f"--weights {weights}: {backbone} brings its own weights; leave the option out")
        return OWN
    if weights in ("", IMAGENET):
        return IMAGENET
    if weights.startswith(RANDOM):
        seed = weights.removeprefix(RANDOM)
        if not re.fullmatch(r"[0-9]{1,10}", seed) or int(seed) >= 2**32:
            raise UsageError(f"--weights {weights!r}: expected random:SEED with a seed from 0 to {2**32 - 1}, such as random:0")
        return f"{RANDOM}{int(seed)}"
    path = Path(weights).expanduser().absolute()
    if not path.is_file():
        raise NotFoundError(f"--weights {weights}: no such file; expected imagenet, random:SEED or the path of an .h5 weights file")
    if path.suffix not in (".h5", ".hdf5"):
        way_out = "; pass a model file as --backbone" if path.suffix == ".keras" else ""
        raise UsageError(f"--weights {weights}: expected a weights file ending in .h5, got {path.suffix or 'no ending'}{way_out}")
    return str(path)
