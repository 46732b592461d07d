"""Fine-tuning: the whole network from the images, started from a head that was fitted on cached features (Kumar et al. 2022, LP-FT)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

import storage
from storage.errors import UsageError
from storage.space import Space
from trainer.checkpoint import Checkpoint, Progress
from trainer.fine_tuning_options import FineTuningOptions
from trainer.fitted import FittedHead
from trainer.fitted_items import told_of_items, warnings_of_items
from trainer.fitting import FirstFit
from trainer.head_folder import Head
from trainer.heads import HeadOptions, with_activation
from trainer.image_stream import ImageStream
from trainer.image_training import ImageTraining, Told
from trainer.images import ImageRows, Images
from trainer.measured import Measured, calibrated, digest_of_tested, evenly, measure
from trainer.memory import require_room
from trainer.network_depth import HEAD, weighted_layers
from trainer.options import FitOptions
from trainer.prepared import Prepared, prepare
from trainer.seen_items import Seen
from trainer.softening import Softening
from trainer.splits import TEST, TRAIN, VALIDATION
from trainer.tuned_warnings import warnings_of_tuning
from trainer.unfinished import unfinished

FINE_TUNING = "fine-tuning"
MEASURED_TRAIN = 2048  # of the training items: each one measured costs a third of what training on it does


@dataclass(frozen=True)
class ImageNetwork:
    """`model`: uint8 [N, S, S, 3] to features of the set's space. `space`: that of its pixels, which the fine-tuned head reads."""

    model: keras.Model
    space: Space


def fine_tune(
    uri: str | Path,
    labels: str | Path | None,
    images: Images,
    network: ImageNetwork,
    options: FitOptions,
    tuning: FineTuningOptions,
    checkpoint: Path,
    start: Head | None = None,
    told: Told | None = None,
    devices: Sequence[str] | None = None,
) -> FittedHead:
    """Train network and head on the images of the set's items; splits, labels and metrics are those of `fit` with the same options.

    start: the head to begin with, of the set's space; None: one is fitted on the cached features of train first, as `options` say.
    checkpoint: a folder; the same call goes on there after it was killed. devices: several share each batch (None: all GPUs).
    Raises what `fit` does, UsageError for batches that do not fit in memory, before anything is fitted or read; SpaceMismatchError for a
    start of another space, and what `images` raises.
    """
    started, told = time.perf_counter(), told or Told()
    tuning = _in_groups(tuning, network.model, told)
    if start:
        start.require_space_of(storage.open(uri))
        options = replace(options, **_head_options(start))
    prepared = prepare(uri, labels, options)
    if devices is None:
        devices = [device.name for device in tf.config.list_logical_devices("GPU")]
    train, validation = (prepared.split.positions(name) for name in (TRAIN, VALIDATION))
    batches = _batches(tuning, network.model, len(train), len(devices))
    begun = FirstFit(start.model, {}) if start else _warm_head(prepared)
    seen = _check_start(prepared, start) if start else Seen()
    logits = _joined(network.model, begun.model, prepared.options.head)
    told.reading()
    images.prepare(prepared.labelled.joined.positions)
    training = _training(prepared, logits, images, batches, devices)
    fit_started = time.perf_counter()
    progress, best = training.run(train, validation, Checkpoint(checkpoint, _identity(prepared, start, tuning)), told)
    fit_seconds = time.perf_counter() - fit_started
    logits.set_weights(best)
    model = with_activation(logits, prepared.data.task.activation())
    measured = _measured(prepared, model, images)
    unvalidated = "training went on for all of --max-epochs"
    outcome = [
        *warnings_of_tuning(progress, str(start.folder) if start else None, prepared.options.describe(), seen),
        *unfinished(progress.curves, tuning.max_epochs, tuning.patience, "Raise --max-epochs"),
    ]
    return FittedHead(
        **told_of_items(prepared.feature_set, prepared.labelled, prepared.split),
        model=model,
        options=prepared.options,
        metrics=calibrated({name: each.evaluation for name, each in measured.items()}),
        epochs=progress.best_epoch or progress.epochs,
        history=progress.curves,
        seconds=round(time.perf_counter() - started, 3),
        warnings=[*warnings_of_items(prepared.labelled, prepared.split, unvalidated), *filter(None, [seen.note]), *outcome],
        positions={name: prepared.labelled.joined.positions[each.numbers] for name, each in measured.items()},
        fit_seconds=round(fit_seconds, 3),
        strategy=FINE_TUNING,
        frozen={"start": _told_start(start, begun), **_frozen(training, tuning, progress)},
        input_space=network.space,
    )


def _in_groups(tuning: FineTuningOptions, network: keras.Model, told: Told) -> FineTuningOptions:
    own = tuning.for_depth(len(weighted_layers(network)))
    if own.groups < tuning.groups:
        layers = f"{own.groups} {'layer' if own.groups == 1 else 'layers'} with weights"
        told.note(f"the network has {layers}, so --groups is {own.groups}, not {tuning.groups}")
    return own


def _batches(tuning: FineTuningOptions, network: keras.Model, items: int, devices: int) -> FineTuningOptions:
    """With the size of batches for so many items. Raises UsageError where a device's share of one does not fit in memory."""
    own = tuning.for_items(items, devices)
    require_room(network, own.batch_size // max(1, devices), "a set of a smaller --input-size")
    return own


def _training(prepared: Prepared, logits: keras.Model, images: Images, tuning: FineTuningOptions, devices: Sequence[str]) -> ImageTraining:
    labelled, task, train = prepared.labelled, prepared.data.task, prepared.split.positions(TRAIN)
    loss = task.loss(prepared.data.class_weights(train))
    softening = Softening(len(labelled.classes), tuning.label_smoothing)
    stream = ImageStream(images, labelled.joined.positions, labelled.y, softening)
    return ImageTraining(logits, stream, loss, task.metrics, tuning, prepared.options.seed, devices)


def _measured(prepared: Prepared, model: keras.Model, images: Images) -> dict[str, Measured]:
    positions, split = prepared.labelled.joined.positions, prepared.split
    rows = ImageRows(images, positions, prepared.feature_set.columns("key")["key"].take(positions))
    data = replace(prepared.data, rows=rows, known=None)
    parts = {TRAIN: evenly(split.positions(TRAIN), MEASURED_TRAIN), VALIDATION: split.positions(VALIDATION), TEST: split.positions(TEST)}
    return {name: measure(model, data, part) for name, part in parts.items() if len(part)}


def _warm_head(prepared: Prepared) -> FirstFit:
    """Fitted on train, and chosen by validation, as `fit` does first; not on validation as well, by which the fine-tuning is to stop."""
    train, validation = (prepared.split.positions(name) for name in (TRAIN, VALIDATION))
    return prepared.fitting().with_validation(train, validation)


def _head_options(start: Head) -> dict[str, Any]:
    """What the start says of its kind."""
    told = start.description.get("options", {})
    found = {each.name: told[each.name] for each in fields(HeadOptions) if each.name in told}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}


def _check_start(prepared: Prepared, start: Head) -> Seen:
    """What it has seen of the validation items. Raises UsageError."""
    labelled, test = prepared.labelled, prepared.split.positions(TEST)
    if start.classes != labelled.classes or start.task.multi_label != prepared.data.task.multi_label:
        raise UsageError(
            f"the head {start.folder} has the classes {', '.join(start.classes[:5])}{' ...' if len(start.classes) > 5 else ''}, and these "
            f"labels {', '.join(labelled.classes[:5])}{' ...' if len(labelled.classes) > 5 else ''}: start from a head of the same labels, "
            "or leave out --from, and one is fitted first"
        )
    tested = digest_of_tested(labelled.digests[test], labelled.y[test], labelled.classes) if len(test) else None
    if start.description.get("tested_sha256") != tested:
        return Seen(False, f"the head {start.folder} was tested on other items: it may have been fitted on what is tested here")
    few_shots = start.description.get("options", {}).get("shots")  # as only such a head is not fitted again with validation
    if len(prepared.split.positions(VALIDATION)) and not few_shots:
        return Seen(True, f"the head {start.folder} was fitted on the validation items as well: validation numbers are too good at first")
    return Seen()


def _joined(network: keras.Model, head: keras.Model, kind: str) -> keras.Model:
    """From pixels to logits, as a copy; the head is a layer of this name."""
    if kind == "knn":
        raise UsageError("the knn head has nothing that training could change: start from another head, such as logistic or linear")
    logits = keras.Model(head.inputs, head.layers[-1].input, name=HEAD)
    joined = keras.Model(network.inputs, logits(network.outputs[0]))
    copy = keras.Model.from_config(joined.get_config())
    copy.set_weights(joined.get_weights())
    return copy


def _identity(prepared: Prepared, start: Head | None, tuning: FineTuningOptions) -> Mapping[str, Any]:
    labelled, split = prepared.labelled, prepared.split
    feature_set = prepared.feature_set
    return {
        "set": [str(feature_set.name), feature_set.version, feature_set.space.id],
        "labels": labelled.joined.report.joined_digest,
        "split": [split.positions(name).tolist() for name in (TRAIN, VALIDATION, TEST)],
        "options": asdict(prepared.options),
        "fine-tuning options": asdict(tuning),
        "starting head": start.description.get("model_sha256") if start else None,
    }


def _told_start(start: Head | None, begun: FirstFit) -> dict[str, Any]:
    """For head.json. A head that was fitted first is not written: with what it chose it can be fitted again, on the training items."""
    digest = start.description.get("model_sha256") if start else None
    return {"head": str(start.folder) if start else None, "model_sha256": digest, "chosen": begun.chosen, "path": begun.path}


def _frozen(training: ImageTraining, tuning: FineTuningOptions, progress: Progress) -> dict[str, Any]:
    """For head.json: what was trained when and how fast, and how many groups were when the kept epoch ended."""
    groups = range(1, tuning.groups + 1)
    layers = {group: training.groups.names(group) for group in groups}
    return {
        "groups": [{"group": g, "first_layer": layers[g][0], "last_layer": layers[g][1], "learning_rate": tuning.rate(g)} for g in groups],
        "stages": [
            {
                "epochs": epochs,
                "epochs_trained": progress.open_groups.count(opened),  # fewer: patience ended it
                "trained": ["head", *range(1, opened + 1)],
                "frozen": list(range(opened + 1, tuning.groups + 1)),
            }
            for opened, epochs in [*enumerate(tuning.stages), (tuning.groups, None)]  # None: what max_epochs leaves
        ],
        "groups_by_epoch": progress.open_groups,
        "groups_trained": progress.open_groups[(progress.best_epoch or progress.epochs) - 1],
        "devices": training.devices,
        "options": {**asdict(tuning), "batch_size": progress.batch_size},
    }
