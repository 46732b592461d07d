"""Writing an export: model, parity test and description, in a folder that is there whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from extractor.encoded_in_graph import CARRIED, NOT_CARRIED
from scripts.console import quiet_native
from scripts.export_folder import new_export, write_description
from scripts.export_formats import FORMATS
from scripts.export_model import ExportedModel
from scripts.export_parity import Parity, measure_parity, require_parity
from scripts.export_sample import Sample
from storage.files import sha256_of
from trainer import Head

EXPORT_FORMAT = 1


def write_export(head: Head, exported: ExportedModel, sample: Sample, to: str, out: Path) -> list[Parity]:
    """Raises PermafrostError where the written model does not answer as the cached path does; then nothing is left."""
    with new_export(out) as folder:
        with quiet_native():
            FORMATS[to].write(exported, folder)
            parity = measure_parity(FORMATS[to], folder, sample, exported.kind)
        require_parity(parity, to)
        write_description(folder, _describe(to, head, exported, parity))
    return parity


def _describe(to: str, head: Head, exported: ExportedModel, parity: Sequence[Parity]) -> dict[str, Any]:
    """What `export.json` says beside the files."""
    carries_bytes = to == "savedmodel"
    resizes = ["resizing and rounding"] if FORMATS[to].any_size else []
    return {
        "format": EXPORT_FORMAT,
        "to": to,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "classes": list(exported.classes),
        "multi_label": head.task.multi_label,
        "input_size": exported.kind.size,
        "image_policy": exported.kind.policy,
        "image_policy_carried": list(CARRIED) if carries_bytes else resizes,
        "image_policy_not_carried": list(NOT_CARRIED) if carries_bytes else _left_to_the_client(bool(resizes)),
        "preprocessing": head.space.preprocessing,
        "strategy": head.description.get("strategy", "feature-extraction"),
        "space_id": head.space.id,
        "head": {
            "set": head.fitted_on,
            "version": head.version,
            "model_sha256": head.description["model_sha256"],
            "description_sha256": sha256_of(head.folder / "head.json"),
        },
        "temperature": head.temperature,
        "parity": [each.to_dict() for each in parity],
        "libraries": {name: version(name) for name in ("tensorflow", "keras", *FORMATS[to].libraries)},
    }


def _left_to_the_client(resizes: bool) -> list[str]:
    """Of the image policy, by a model that takes pixels."""
    decoding = "decoding: EXIF orientation, colours, transparency over white, a large JPEG at a DCT scale"
    return [decoding] if resizes else [decoding, "resizing to the input size, rounded to uint8"]
