"""What lies in the folders of a store and belongs to no set: nobody reads it, and nothing removes it.

Names that begin with a dot are not seen: they are private files of writers, and of systems.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from storage.absent import FOLDER as ABSENT
from storage.absent import LIST as ABSENT_LIST
from storage.absent import MARKER
from storage.card import FILE as CARD
from storage.card_page import FILE as PAGE
from storage.files import exists, list_folders, list_names
from storage.heads import FOLDER as HEADS
from storage.names import SetName
from storage.place import Place
from storage.runs import RUN_ID, run_folders
from storage.statistics import FOLDER as STATISTICS
from storage.store import STORE_FILE
from storage.takedown_receipts import RECEIPT, RECEIPTS
from storage.web_root import CATALOG, HINT, TAKEDOWNS

LISTED_FOLDERS = ("golden", "items", "rejects", "shards")
RUN_JSON = ("cancel.json", "end.json", "heartbeat.json", "plan.json", "report.json")
OF_SET = {*LISTED_FOLDERS, ABSENT, ABSENT_LIST, HINT, CARD, PAGE, STATISTICS, "set.json", "versions", "tags", "runs"}  # in its folder
_BY_CONTENT = re.compile(r"[0-9a-f]{64}\.(parquet|h5)")
_IN_SET = {
    **dict.fromkeys(LISTED_FOLDERS, _BY_CONTENT),
    "versions": re.compile(r"\d{8,}\.json"),
    ABSENT: MARKER,
    STATISTICS: re.compile(r"[0-9a-f]{64}\.h5|\d{8,}\.json"),
    "tags": re.compile(r".+\.json"),
    "runs": RUN_ID,
}
_IN_RUN = re.compile("|".join(map(re.escape, (*RUN_JSON, "report.html", "receipts"))))
_RECEIPT = re.compile(r".+\.parquet")
_IN_TAKEDOWNS = re.compile(rf"(record-)?[0-9a-f]{{20}}\.json|{RECEIPTS}")


def foreign_in_set(name: SetName) -> list[str]:
    """Files, and folders with files in them, by path in the set; what is in such a folder is not named."""
    return [path for path in _unknown_in_set(name) if _is_there(name.folder / path)]


def foreign_in_store(root: Place) -> list[str]:
    """Beside sets, heads and what was taken down: files, and folders with files in them, by path in the store."""
    return [path for path in _unknown_in_store(root) if _is_there(root / path)]


def _unknown_in_set(name: SetName) -> Iterator[str]:
    yield from (entry for entry in list_names(name.folder) if entry not in OF_SET)
    for kind, known in _IN_SET.items():
        yield from _unknown(name.folder, kind, known)
    yield from (f"tags/{entry}" for entry in list_folders(name.folder / "tags") if _IN_SET["tags"].fullmatch(entry))
    for run in run_folders(name):
        path = f"runs/{run.run_id}"
        if exists(run.path):  # a file in the place of the folder
            yield path
        yield from _unknown(name.folder, path, _IN_RUN)
        yield from _unknown(name.folder, f"{path}/receipts", _RECEIPT)


def _unknown_in_store(root: Place) -> Iterator[str]:
    yield from _unknown(root, TAKEDOWNS, _IN_TAKEDOWNS)
    yield from _unknown(root, f"{TAKEDOWNS}/{RECEIPTS}", RECEIPT)
    for entry in list_names(root / HEADS):
        yield from _without(root, f"{HEADS}/{entry}", "head.json")
    for entry in list_names(root):
        if entry not in {STORE_FILE, CATALOG, HEADS, TAKEDOWNS}:
            yield from _without(root, entry, "set.json", "versions")


def _unknown(folder: Place, path: str, known: re.Pattern[str]) -> Iterator[str]:
    yield from (f"{path}/{entry}" for entry in list_names(folder / path) if not known.fullmatch(entry))


def _without(root: Place, team: str, mark: str, further: str = "") -> list[str]:
    """What in a team's folder is no set, or no head; the folder itself where none is. mark, further: a file and a folder, of which such a
    one has either."""
    inside = list_names(root / team)
    foreign = [f"{team}/{entry}" for entry in inside if not _is_marked(root / team / entry, mark, further)]
    return foreign if len(foreign) < len(inside) else [team]


def _is_marked(place: Place, mark: str, further: str) -> bool:
    return exists(place / mark) or bool(further and list_names(place / further))


def _is_there(place: Place) -> bool:
    """Whether it is a file, or a folder with one in it, however deep."""
    return exists(place) or any(_is_there(place / entry) for entry in list_names(place))
