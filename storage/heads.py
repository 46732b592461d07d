"""The heads of a store that were fitted on a set, as far as `head.json` tells; `trainer` writes and loads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.errors import PermafrostError
from storage.files import list_names, read_json
from storage.names import SetName, parse_set
from storage.place import Place

FOLDER = "heads"
_TOLD = ("accuracy", "mean_average_precision", "macro_f1", "log_loss")  # of the many numbers of an evaluation, on cards


@dataclass(frozen=True)
class HeadNote:
    """metrics: of the split that says most of it: test, else validation, else train."""

    name: str  # TEAM/HEAD
    version: int | None  # of the set; None: not told
    kind: str
    classes: int
    split: str
    metrics: Mapping[str, float]


def heads_on(name: SetName) -> list[HeadNote]:
    """Heads in the store that were fitted on the set, sorted by name. One that cannot be read is none."""
    found = []
    for head, value in descriptions(name.root):
        with suppress(PermafrostError, AttributeError, TypeError):
            fitted_on = parse_set(str(value.get("set")))
            if (fitted_on.team, fitted_on.name) == (name.team, name.name):
                found.append(_note(head, fitted_on.at, value))
    return found


def descriptions(root: Place) -> Iterator[tuple[str, dict[str, Any]]]:
    """TEAM/HEAD and what its `head.json` says, of all heads of a store whose can be read, sorted by name."""
    for team in list_names(root / FOLDER):
        for head in list_names(root / FOLDER / team):
            with suppress(PermafrostError, OSError):
                value = read_json(root / FOLDER / team / head / "head.json", "head")
                yield f"{team}/{head}", value


def is_in_store(head: Path, name: SetName) -> bool:
    """Whether the folder of a head is where the set's store has heads."""
    return isinstance(name.root, Path) and head.resolve().parent.parent == (name.root / FOLDER).resolve()


def _note(name: str, at: str | None, value: Mapping[str, Any]) -> HeadNote:
    metrics = value.get("metrics", {})
    split = next((split for split in ("test", "validation", "train") if split in metrics), "")
    numbers = {key: number for key, number in metrics.get(split, {}).items() if isinstance(number, (int, float)) and key in _TOLD}
    version = value.get("version", at)  # older heads have it in the name of the set alone
    number = int(version) if str(version).isdecimal() else None
    return HeadNote(name, number, str(value.get("options", {}).get("head", "")), len(value.get("classes", ())), split, numbers)
