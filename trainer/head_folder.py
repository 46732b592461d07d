"""A head as a folder: `head.keras` and `head.json`, which says what space it reads, what it predicts and how good it was."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from storage.asked import checked
from storage.disk import sha256_file
from storage.errors import DamagedError, NotFoundError, UsageError
from storage.feature_set import FeatureSet
from storage.files import exists, local_file, private_file, publish_as, read_json, to_json, write_atomic
from storage.head_place import is_head, parse_head, require_head_place
from storage.heads import DESCRIPTION, MODEL_FILE
from storage.place import Place
from storage.sealed import CHECKSUM, read_sealed, seal
from storage.space import Space, require_same_space
from trainer.fitted import FittedHead, summary
from trainer.input_pipeline import rows_per_batch
from trainer.intervals import Interval
from trainer.label_options import LabelOptions
from trainer.task import Task, task_of

HEAD_FORMAT = 1
MULTI_LABEL_FORMAT = 2  # programs that knew format 1 alone would take the largest of its sigmoids for the one class
OLDER_CHECKSUM = "description_sha256"  # before descriptions were sealed
MAX_PREDICT_ROWS = 1024


@dataclass(frozen=True)
class Head:
    """A kept head. `backbone` is the recipe of the network that makes its features, `space` what that must give in view 0."""

    folder: Place
    model: keras.Model
    classes: tuple[str, ...]
    space: Space
    backbone: Mapping[str, Any]
    task: Task
    fitted_on: str  # name of the feature set
    description: Mapping[str, Any] = field(default_factory=dict)  # the whole of head.json

    @property
    def version(self) -> int | None:
        """Of the feature set; None: not told."""
        version = self.description.get("version")
        return version if isinstance(version, int) else None

    @property
    def temperature(self) -> float | None:
        """By which its logits should be divided, as validation found; None: not known."""
        for metrics in self._metrics().values():
            if isinstance(metrics, dict) and isinstance(metrics.get("temperature_scaled"), dict):
                return float(metrics["temperature_scaled"]["temperature"])
        return None

    @property
    def tested(self) -> tuple[float, Interval] | None:
        """Accuracy on its test items when it was fitted, with its interval; None where it was not tested, or by an older version."""
        test = self._metrics().get("test", {})
        interval = test.get("intervals", {}).get("accuracy")
        return (float(test["accuracy"]), Interval(*interval)) if interval else None

    @property
    def label_options(self) -> LabelOptions:
        """The classes that were chosen for it, and the merges; of heads of older versions nothing is known."""
        options = self.description.get("options")
        labels = options.get("labels", {}) if isinstance(options, dict) else {}
        merge = {new: tuple(old) for new, old in labels.get("merge", {}).items()}
        return LabelOptions(classes=tuple(labels.get("classes", ())), merge=merge)

    def _metrics(self) -> dict[str, Any]:
        metrics = self.description.get("metrics")
        return metrics if isinstance(metrics, dict) else {}

    @checked()
    def predict(self, features: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
        """Class probabilities [N, C] of features [N, *shape] of the head's space, in any float dtype, or pixels; cast a batch at a time.

        Raises UsageError for another shape, and for what are no numbers.
        """
        read = self.model.input_shape[1:]
        if features.shape[1:] != read or features.dtype.kind not in "fiu":
            raise UsageError(
                f"the head {self.folder} reads features [N, {', '.join(map(str, read))}]; got {list(features.shape)} of {features.dtype}"
            )
        size = rows_per_batch(features.shape[1:], MAX_PREDICT_ROWS)
        parts = [
            np.asarray(self.model.predict_on_batch(_as_read(features[start : start + size])), np.float32)
            for start in range(0, len(features), size)
        ]
        return np.concatenate([np.empty((0, len(self.classes)), np.float32), *parts])

    def require_space_of(self, feature_set: FeatureSet) -> None:
        """Raise SpaceMismatchError, naming the fields, unless view 0 of the set is in the head's space."""
        way_out = "Extract those images with the head's backbone and options, or train a head on this set"
        if self.space.is_pixels:
            way_out = "This head was fine-tuned and reads images, not features"
        require_same_space(self.space, feature_set.space.plain, f"the head {self.folder}", str(feature_set.name), way_out)


def _as_read(features: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    return features if features.dtype == np.uint8 else features.astype(np.float32)  # pixels stay what they are


@checked(fitted="what is saved (trainer.fit and trainer.sweep(...).fitted give it)", folder="the folder")
def save_head(fitted: FittedHead, folder: str | Place) -> None:
    """Write `head.keras`, then `head.json` with its checksum. Replaces an older head and touches nothing else in the folder.

    Raises as `check_head_target` does.
    """
    folder = parse_head(folder)
    require_head_place(folder)
    with private_file(folder) as partial:
        model = partial.with_suffix(".keras")  # Keras goes by the ending
        try:
            fitted.model.save(model)
            sha256 = sha256_file(model)
            publish_as(model, folder / MODEL_FILE)
        finally:
            model.unlink(missing_ok=True)
    description = {**_describe(fitted), "model_sha256": sha256}
    write_atomic(folder / DESCRIPTION, seal(description))


def checksum(description: Mapping[str, Any]) -> str:
    """What `description_sha256` must be in a head of an older version: of all else that its `head.json` says."""
    return hashlib.sha256(to_json({name: value for name, value in description.items() if name != OLDER_CHECKSUM})).hexdigest()


@checked(folder="the folder")
def check_head_target(folder: str | Place) -> None:
    """Raise UsageError, AlreadyExistsError or PermafrostError if no head can be written there (`require_head_place`); worth asking before
    the work."""
    require_head_place(parse_head(folder))


@checked(folder="the folder")
def load_head(folder: str | Place) -> Head:
    """Load a head in Keras' safe mode, from a disk, a bucket or a web server.

    Raises NotFoundError, DamagedError; UsageError for one of layers that are not installed.
    """
    folder = parse_head(folder)
    if not is_head(folder):
        raise NotFoundError(f"no head at {folder}: expected a folder made by `permafrost train --out {folder}`")
    value = read_json(folder / DESCRIPTION, "head description")
    if value.get("format") not in (HEAD_FORMAT, MULTI_LABEL_FORMAT):
        raise DamagedError(
            f"{folder}/{DESCRIPTION}: head format {value.get('format')!r}, this program reads {HEAD_FORMAT} and {MULTI_LABEL_FORMAT}"
        )
    if CHECKSUM in value:
        value = read_sealed(folder / DESCRIPTION, "head description")
    elif OLDER_CHECKSUM in value and value[OLDER_CHECKSUM] != checksum(value):  # still older heads have none
        raise DamagedError(f"{folder}/{DESCRIPTION} was changed after it was written: train again, or restore it from a copy")
    if not exists(folder / MODEL_FILE):
        raise DamagedError(f"the head at {folder} has no {MODEL_FILE}, only its description: train again, or restore it from a copy")
    with local_file(folder / MODEL_FILE) as path:
        return _loaded(folder, path, value)


def _loaded(folder: Place, path: Path, value: Mapping[str, Any]) -> Head:
    """path: of the model, here."""
    try:
        if sha256_file(path) != value["model_sha256"]:
            raise DamagedError(f"{folder / MODEL_FILE} is not the model that head.json describes: train again, or restore both from a copy")
        model = keras.models.load_model(path, compile=False, safe_mode=True)
        head = Head(
            folder=folder,
            model=model,
            classes=_class_names(value["classes"]),
            space=Space.from_dict(value["space"]),
            backbone=_recipe(value["backbone"]),
            task=task_of(value["format"] == MULTI_LABEL_FORMAT),
            fitted_on=str(value.get("set", "")),
            description=value,
        )
        if model.output_shape[-1] != len(head.classes):
            raise ValueError(f"{len(head.classes)} classes for a model with {model.output_shape[-1]} outputs")
        return head
    except DamagedError:
        raise
    except Exception as error:  # noqa: BLE001 - a model file written by somebody else can fail in any way
        if find_spec("keras_hub") is None and "keras_hub" in str(error):
            raise UsageError(f"the head at {folder} has layers of KerasHub in it: pip install 'permafrost[hub]'") from None
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
    description = fitted.feature_set.description.plain
    return {
        "set_created": description.created,  # tells the set from another one that is made under its name
        "format": MULTI_LABEL_FORMAT if fitted.options.multi_label else HEAD_FORMAT,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "space": (fitted.input_space or description.space).to_dict(),
        "backbone": dict(description.backbone),
        "feature_shape": list(fitted.model.input_shape[1:]) if fitted.input_space else list(description.shape),
        "options": asdict(fitted.options),
        "history": fitted.history,
        **summary(fitted),
    }
