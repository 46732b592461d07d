"""Files in a set and around it that belong to no set: nobody reads them, and nothing removes them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor

from storage.files import exists, list_names
from storage.names import SetName
from storage.place import Place, RemotePlace
from storage.store import STORE_FILE
from storage.tombstones import RECEIPTS
from storage.web_root import CATALOG, TAKEDOWNS, WebRoot

RUN_JSON = ("cancel.json", "end.json", "heartbeat.json", "plan.json", "report.json")
RUN_FILES = (*RUN_JSON, "report.html", "receipts")
FOREIGN = "nothing of this name belongs here"
THREADS = 8
_RUN = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}")
_VERSION = re.compile(r"[0-9]{8}\.json")


def foreign_files(name: SetName) -> Iterator[tuple[str, str]]:
    """(path relative to the set, what it is), beside what lies in the set's folder itself and in the folders of listed files."""
    if isinstance(name.root, RemotePlace) and isinstance(name.root.backend, WebRoot):
        return  # web servers list nothing
    yield from _named(name.folder / "versions", "versions", lambda entry: bool(_VERSION.fullmatch(entry)), "no version has such a name")
    yield from _named(name.folder / "tags", "tags", lambda entry: entry.endswith(".json"), "no tag is such a file")
    yield from _in_runs(name)
    yield from _named(
        name.root / TAKEDOWNS,
        f"../../{TAKEDOWNS}",
        lambda entry: entry.endswith(".json") or entry == RECEIPTS,
        "no tombstone is such a file",
    )
    for folder, path, known in ((name.root, "../..", {STORE_FILE, CATALOG, TAKEDOWNS}), (name.root / name.team, "..", {name.name})):
        for entry in _files(folder, [entry for entry in list_names(folder) if entry not in known]):
            yield f"{path}/{entry}", FOREIGN


def _in_runs(name: SetName) -> Iterator[tuple[str, str]]:
    folder = name.folder / "runs"
    runs = list_names(folder)
    for entry in runs:
        if _RUN.fullmatch(entry):
            yield from _named(folder / entry, f"runs/{entry}", lambda entry: entry in RUN_FILES, "no run has such a file")
            receipts = folder / entry / "receipts"
            yield from _named(receipts, f"runs/{entry}/receipts", lambda entry: entry.endswith(".parquet"), "no receipt is such a file")
        else:
            yield f"runs/{entry}", "no run has such a name"


def _named(folder: Place, path: str, belongs: Callable[[str], bool], message: str) -> Iterator[tuple[str, str]]:
    yield from ((f"{path}/{entry}", message) for entry in list_names(folder) if not belongs(entry))


def _files(folder: Place, entries: Collection[str]) -> list[str]:
    """Those that are no folders: teams, sets and heads are."""
    with ThreadPoolExecutor(THREADS) as pool:
        found = pool.map(lambda entry: exists(folder / entry), entries)
        return [entry for entry, is_file in zip(entries, found, strict=True) if is_file]
