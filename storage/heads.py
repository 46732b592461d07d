"""The heads of a store that were fitted on a set, as far as `head.json` tells; `trainer` writes and loads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.errors import DamagedError, NotFoundError, PermafrostError
from storage.files import list_names, read_json
from storage.names import SetName, parse_set
from storage.place import Place
from storage.sealed import CHECKSUM, is_damaged
from storage.set_description import read_description

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
    """Heads in the store that were fitted on the set, sorted by name. One that cannot be read is none, nor is one that was fitted on
    another set of this name, which was removed."""
    found: list[HeadNote] = []
    created = None
    for head, value in descriptions(name.root):
        with suppress(PermafrostError, AttributeError, TypeError):
            fitted_on = parse_set(str(value.get("set")))
            if (fitted_on.team, fitted_on.name) == (name.team, name.name):
                created = _created(name) if created is None else created
                found += [_note(head, fitted_on.at, value)] if _is_of_set_made(value, created) else []
    return found


def descriptions(root: Place) -> Iterator[tuple[str, dict[str, Any]]]:
    """TEAM/HEAD and what its `head.json` says, of all heads of a store whose can be read, sorted by name."""
    for team in list_names(root / FOLDER):
        for head in list_names(root / FOLDER / team):
            with suppress(PermafrostError, OSError):
                value = read_json(root / FOLDER / team / head / "head.json", "head")
                yield f"{team}/{head}", value


def require_sound_heads(root: Place) -> None:
    """Raises DamagedError where a `head.json` of the store cannot be read, or has changed: nobody knows which version it was fitted on."""
    for team in list_names(root / FOLDER):
        for head in list_names(root / FOLDER / team):
            if _is_unreadable(root / FOLDER / team / head / "head.json"):
                raise DamagedError(
                    f"{root / FOLDER / team / head}/head.json is damaged, and nobody knows which version of which set it was fitted on: "
                    "restore it from a copy, fit the head anew, or remove its folder"
                )


def _is_unreadable(place: Place) -> bool:
    """One that is not there is not. Heads of older versions have no checksum."""
    with suppress(NotFoundError):
        try:
            return CHECKSUM in read_json(place, "head") and is_damaged(place)
        except DamagedError:
            return True
    return False


def is_in_store(head: Path, name: SetName) -> bool:
    """Whether the folder of a head is where the set's store has heads."""
    return isinstance(name.root, Path) and head.resolve().parent.parent == (name.root / FOLDER).resolve()


def _created(name: SetName) -> str:
    """Empty where that is not known."""
    try:
        return read_description(name).created
    except PermafrostError:
        return ""


def _is_of_set_made(head: Mapping[str, Any], created: str) -> bool:
    """Heads of older versions do not tell of which: they are younger than it. Times are UTC, and written alike."""
    if not created:
        return True
    return bool(head["set_created"] == created) if "set_created" in head else str(head.get("created", created)) >= created


def _note(name: str, at: str | None, value: Mapping[str, Any]) -> HeadNote:
    metrics = value.get("metrics", {})
    split = next((split for split in ("test", "validation", "train") if split in metrics), "")
    numbers = {key: number for key, number in metrics.get(split, {}).items() if isinstance(number, (int, float)) and key in _TOLD}
    version = value.get("version", at)  # older heads have it in the name of the set alone
    number = int(version) if str(version).isdecimal() else None
    return HeadNote(name, number, str(value.get("options", {}).get("head", "")), len(value.get("classes", ())), split, numbers)
