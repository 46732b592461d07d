"""A head as a folder: `head.keras` and `head.json`, which says what space it reads, what it predicts and how good it was."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from storage.errors import AlreadyExistsError, DamagedError, NotFoundError
from storage.files import read_json, to_json, write_atomic
from storage.space import Space
from trainer.fit import FittedHead, summary

HEAD_FORMAT = 1


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
    """Write the folder under a private name and move it into place; an older head there is replaced, anything else is refused."""
    check_head_target(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    private = folder.parent / f".{folder.name}.{secrets.token_hex(8)}.partial"
    try:
        private.mkdir()
        fitted.model.save(private / "head.keras")
        write_atomic(private / "head.json", to_json(_describe(fitted)))
        if folder.exists():
            shutil.rmtree(folder)
        private.rename(folder)
    finally:
        shutil.rmtree(private, ignore_errors=True)


def check_head_target(folder: Path) -> None:
    """Raise AlreadyExistsError if something other than a head is in the way; worth asking before the work."""
    if folder.exists() and not (folder / "head.json").is_file() and not (folder.is_dir() and not any(folder.iterdir())):
        raise AlreadyExistsError(f"{folder} exists and is not a head folder: choose another --out")


def load_head(folder: Path) -> Head:
    """Load a head in Keras' safe mode. Raises NotFoundError, DamagedError."""
    if not folder.is_dir():
        raise NotFoundError(f"no head at {folder}: expected a folder made by `permafrost train --out {folder}`")
    value = read_json(folder / "head.json", "head description")
    if value.get("format") != HEAD_FORMAT:
        raise DamagedError(f"{folder}/head.json: head format {value.get('format')!r}, this program reads {HEAD_FORMAT}")
    try:
        model = keras.models.load_model(folder / "head.keras", compile=False, safe_mode=True)
        return Head(folder, model, tuple(value["classes"]), Space.from_dict(value["space"]), value["backbone"])
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise DamagedError(f"the head at {folder} cannot be loaded ({type(error).__name__}: {str(error).splitlines()[0]})") from None


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
