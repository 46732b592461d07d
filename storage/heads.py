"""The heads of a store that were fitted on a set, as far as `head.json` tells; `trainer` writes and loads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.errors import DamagedError, NotFoundError, PermafrostError
from storage.files import exists, list_names, read_json
from storage.names import SetName, parse_set
from storage.place import Place, same_place
from storage.sealed import CHECKSUM, is_damaged
from storage.set_description import read_description

FOLDER = "heads"
DESCRIPTION, MODEL_FILE = "head.json", "head.keras"
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


def is_head_folder(place: Place) -> bool:
    """Whether a head is there, or what is left of one: its description or its model. A folder of other things is none."""
    return exists(place / DESCRIPTION) or exists(place / MODEL_FILE)


def descriptions(root: Place) -> Iterator[tuple[str, dict[str, Any]]]:
    """TEAM/HEAD and what its `head.json` says, of all heads of a store whose can be read, sorted by name."""
    for team in list_names(root / FOLDER):
        for head in list_names(root / FOLDER / team):
            with suppress(PermafrostError, OSError):
                value = read_json(root / FOLDER / team / head / DESCRIPTION, "head")
                yield f"{team}/{head}", value


def unread_heads(root: Place) -> dict[str, str]:
    """What is wrong with heads of which nobody can say what they were fitted on, by TEAM/HEAD.

    An empty folder is none; one whose `head.json` has not been written yet, or is gone, may be of any set.
    """
    folders = [f"{team}/{head}" for team in list_names(root / FOLDER) for head in list_names(root / FOLDER / team)]
    found = {head: _wrong_with(root / FOLDER / head) for head in folders if list_names(root / FOLDER / head)}
    return {head: why for head, why in found.items() if why}


def require_sound_heads(name: SetName) -> None:
    """Raises DamagedError where nobody knows which version a head of the store was fitted on: it may be any of this set."""
    wrong = unread_heads(name.root) | {head.name: "does not tell a version" for head in heads_on(name) if head.version is None}
    for head, why in wrong.items():
        raise DamagedError(
            f"{name.root / FOLDER / head}/head.json {why}, and nobody knows which version of which set it was fitted on, so all are kept: "
            "restore it from a copy, fit the head anew, or remove its folder"
        )


def _wrong_with(folder: Place) -> str | None:
    """Heads of older versions have no checksum."""
    try:
        value = read_json(folder / DESCRIPTION, "head")
        if CHECKSUM in value and is_damaged(folder / DESCRIPTION):
            return "is damaged"
        parse_set(value["set"])
    except NotFoundError:
        return "is not there"
    except DamagedError:
        return "is damaged"
    except (KeyError, AttributeError, PermafrostError):
        return "does not tell a set"
    return None


def is_in_store(head: Place, name: SetName) -> bool:
    """Whether the folder of a head is where the set's store has heads."""
    place = head.resolve() if isinstance(head, Path) else head
    return same_place(place.parent.parent, name.root / FOLDER)


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
