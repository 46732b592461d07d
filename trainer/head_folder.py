"""A head as a folder: `head.keras` and `head.json`, which says what space it reads, what it predicts and how good it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from storage.errors import AlreadyExistsError, DamagedError, NotFoundError
from storage.files import private_file, read_json, sha256_file, to_json, write_atomic
from storage.space import Space
from trainer.fit import FittedHead, summary

HEAD_FORMAT = 1
MODEL_FILE = "head.keras"


@dataclass(frozen=True)
class Head:
    """A kept head. `backbone` is the recipe of the network that makes its features, `space` what that must give."""

    folder: Path
    model: keras.Model
    classes: tuple[str, ...]
    space: Space
    backbone: Mapping[str, Any]

    def predict(self, features: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
        """Class probabilities [N, C] of features [N, *shape] of the head's space."""
        return np.asarray(self.model.predict(features.astype(np.float32), batch_size=1024, verbose=0), np.float32)


def save_head(fitted: FittedHead, folder: Path) -> None:
    """Write `head.keras`, then `head.json` with its checksum. Replaces an older head and touches nothing else in the folder."""
    check_head_target(folder)
    with private_file(folder) as partial:
        model = partial.with_suffix(".keras")  # Keras goes by the ending
        try:
            fitted.model.save(model)
            sha256 = sha256_file(model)
            model.replace(folder / MODEL_FILE)
        finally:
            model.unlink(missing_ok=True)
    write_atomic(folder / "head.json", to_json({**_describe(fitted), "model_sha256": sha256}))


def check_head_target(folder: Path) -> None:
    """Raise AlreadyExistsError if something other than a head is in the way; worth asking before the work."""
    if folder.exists() and not (folder / "head.json").is_file() and not (folder.is_dir() and not any(folder.iterdir())):
        raise AlreadyExistsError(f"{folder} exists and is not a head folder: choose another --out")


def load_head(folder: Path) -> Head:
    """Load a head in Keras' safe mode. Raises NotFoundError, DamagedError."""
    if not (folder / "head.json").is_file():
        raise NotFoundError(f"no head at {folder}: expected a folder made by `permafrost train --out {folder}`")
    value = read_json(folder / "head.json", "head description")
    if value.get("format") != HEAD_FORMAT:
        raise DamagedError(f"{folder}/head.json: head format {value.get('format')!r}, this program reads {HEAD_FORMAT}")
    try:
        if sha256_file(folder / MODEL_FILE) != value["model_sha256"]:
            raise DamagedError(f"{folder / MODEL_FILE} is not the model that head.json describes: train again, or restore both from a copy")
        model = keras.models.load_model(folder / MODEL_FILE, compile=False, safe_mode=True)
        head = Head(folder, model, _class_names(value["classes"]), Space.from_dict(value["space"]), _recipe(value["backbone"]))
        if model.output_shape[-1] != len(head.classes):
            raise ValueError(f"{len(head.classes)} classes for a model with {model.output_shape[-1]} outputs")
        return head
    except DamagedError:
        raise
    except Exception as error:  # noqa: BLE001 - a model file written by somebody else can fail in any way
        raise DamagedError(f"the head at {folder} cannot be loaded ({type(error).__name__}: {_first_line(error)})") from None


def _class_names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise TypeError("classes must be a list of names")
    return tuple(value)


def _recipe(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or "name" not in value:
        raise TypeError("backbone must be a recipe with a name")
    return value


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]


def _describe(fitted: FittedHead) -> dict[str, Any]:
    description = fitted.feature_set.description
    return {
        "format": HEAD_FORMAT,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "space": description.space.to_dict(),
        "backbone": dict(description.backbone),
        "feature_shape": list(description.shape),
        "options": asdict(fitted.options),
        "history": fitted.history,
        **summary(fitted),
    }
