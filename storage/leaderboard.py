"""The heads of a store side by side, as far as they answered the same questions: the same images with the same classes.

A head's `tested_sha256` stands for these. Numbers of different test items are never ranked together.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from storage.damage import raise_outage
from storage.disk import sha256_file
from storage.errors import DamagedError, PermafrostError
from storage.files import exists, list_names, parse_json, read_bytes
from storage.heads import DESCRIPTION, FOLDER, MODEL_FILE, is_head_folder
from storage.names import parse_set
from storage.place import Place
from storage.sealed import CHECKSUM, unseal
from storage.takedown_cache import honour_takedowns

FEATURE_EXTRACTION = "feature-extraction"  # also that of heads of older versions, which do not say
SCORES = ("accuracy", "mean_average_precision")


@dataclass(frozen=True)
class Standing:
    """A head and what it reached on its test items. `interval`: 95%; None where an older version did not tell it."""

    name: str  # TEAM/HEAD
    set: str  # TEAM/SET
    version: int | None
    kind: str
    backbone: str
    space_id: str
    created: str
    label_source: str
    label_digests: tuple[str, ...]  # of the label file, of the joined label set
    tested: str | None
    rows: int  # test items
    measure: str  # one of SCORES
    score: float
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Board:
    """Heads with the same test items, best first. tested: None for heads that do not say what they were tested on; those have no order."""

    tested: str | None
    standings: tuple[Standing, ...]

    def to_dict(self) -> dict[str, Any]:
        return {"tested_sha256": self.tested, "heads": [asdict(standing) for standing in self.standings]}


@dataclass(frozen=True)
class Leaderboards:
    """boards: that with the most heads first; heads that do not say what they were tested on come last. damaged: what is wrong with heads
    that cannot be ranked for it, by TEAM/HEAD."""

    boards: tuple[Board, ...]
    damaged: Mapping[str, str]


def leaderboards(root: Place, set_name: str | None = None, labels: Path | None = None, label_sets: Collection[str] = ()) -> Leaderboards:
    """The boards of a store.

    set_name: TEAM/SET, for heads fitted on it alone; labels: a label file, for heads fitted with it alone, or with another file of the
    same label set. label_sets: digests of label sets that are the same, too (`label_set_sha256`).
    """
    honour_takedowns(root)
    found: list[Standing] = []
    damaged: dict[str, str] = {}
    for team in list_names(root / FOLDER):
        for head in list_names(root / FOLDER / team):
            name, place = f"{team}/{head}", root / FOLDER / team / head / DESCRIPTION
            try:
                standing = _tested_head(name, place)
            except (PermafrostError, OSError) as error:
                raise_outage(error)
                damaged[name] = str(error)
            except (AttributeError, KeyError, TypeError, ValueError, StopIteration):
                damaged[name] = f"{place} does not describe a head"
            else:
                if standing:
                    found.append(standing)
    chosen = _of_labels(found, {sha256_file(labels), *label_sets}) if labels else found
    groups: dict[str | None, list[Standing]] = {}
    for standing in chosen:
        if set_name in (None, standing.set):
            groups.setdefault(standing.tested, []).append(standing)
    boards = [
        Board(tested, tuple(standings if tested is None else sorted(standings, key=lambda each: -each.score)))
        for tested, standings in groups.items()
    ]
    return Leaderboards(tuple(sorted(boards, key=lambda board: (board.tested is None, -len(board.standings), board.tested or ""))), damaged)


def _of_labels(standings: Sequence[Standing], digests: set[str]) -> list[Standing]:
    """Those with one of these digests, of a label file or of a label set, and those with a label set of one of them."""
    of_file = [each for each in standings if digests & set(each.label_digests)]
    same = digests.union(*(each.label_digests for each in of_file))
    return [each for each in standings if same & set(each.label_digests)]


def _tested_head(name: str, place: Place) -> Standing | None:
    """None where no head is, and for a head that was tested on nothing. Raises DamagedError, KeyError and the like for one that is damaged
    or has lost its description; heads of older versions have no checksum."""
    try:
        data = read_bytes(place)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        if is_head_folder(place.parent):
            raise DamagedError(f"{place} is not there, beside {MODEL_FILE}") from None
        return None
    value = parse_json(data, place, "head description")
    if CHECKSUM in value:
        value = unseal(data, place, "head description")
    if not exists(place.parent / MODEL_FILE):
        raise DamagedError(f"{place.parent / MODEL_FILE} is not there, beside {DESCRIPTION}")
    return _standing(name, value) if "test" in value["metrics"] else None


def _kind(value: Mapping[str, Any]) -> str:
    """Such as `mlp`, or `mlp, hybrid` for a head that was trained with layers of its backbone."""
    head, strategy = str(value["options"]["head"]), str(value.get("strategy", FEATURE_EXTRACTION))
    return head if strategy == FEATURE_EXTRACTION else f"{head}, {strategy}"


def _standing(name: str, value: Mapping[str, Any]) -> Standing:
    """Raises KeyError and the like where the description is not one."""
    fitted_on, test, labels = parse_set(str(value["set"])), value["metrics"]["test"], value.get("labels", {})
    measure = next(measure for measure in SCORES if measure in test) if set(SCORES) & set(test) else SCORES[0]
    interval = test.get("intervals", {}).get(measure)
    version = value.get("version")
    return Standing(
        name=name,
        set=f"{fitted_on.team}/{fitted_on.name}",
        version=version if isinstance(version, int) else None,
        kind=_kind(value),
        backbone=str(value["backbone"]["name"]),
        space_id=str(value["space_id"]),
        created=str(value["created"]),
        label_source=str(labels.get("source", "")),
        label_digests=tuple(str(each) for each in (labels.get("sha256"), value.get("label_set_sha256")) if each),
        tested=value.get("tested_sha256"),
        rows=int(test["rows"]),
        measure=measure,
        score=float(test[measure]),
        interval=(float(interval[0]), float(interval[1])) if interval else None,
    )
