"""Takedown in the folders of runs: receipts, plans, reports and what else tells of an item by its key.

Keys are known as their sha256 alone, so that a takedown that was cut off can be finished by anybody: each text is hashed, and so are the
words of a message, with the ends of paths in them.
"""

from __future__ import annotations

import hashlib
import html
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from storage.errors import DamagedError
from storage.files import list_names, read_bytes, sha256_of, write_atomic
from storage.names import SetName
from storage.place import Place
from storage.receipt_rows import ReceiptRows, with_shard, without_rows
from storage.runs import RunFolder, run_folders
from storage.sealed import read_sealed, seal, unseal
from storage.takedown_rewrite import Move
from storage.tombstones import Tombstones, hashed

MASKED = "(taken down)"
REPORT = "report.json"
_OUR_WORDS = {"state", "host", "machine", "born", "device"}  # fields whose values no item tells, and programs read
_WORD = re.compile(r"'[^']+'|\"[^\"]+\"|[^\s'\"()<>,;]+")
_BETWEEN_TAGS = re.compile(r"(?<=>)[^<>]+(?=<)")


def clean_runs(
    name: SetName, receipts: Sequence[ReceiptRows], stones: Tombstones, moves: Mapping[str, Move], write: bool
) -> tuple[list[str], list[str]]:
    """(files that have to change, files that cannot be read), by path in the set. receipts: those that have to change."""
    names = stones.names_of_keys()
    changed: list[str] = []
    unreadable: list[str] = []
    of_runs: defaultdict[str, list[ReceiptRows]] = defaultdict(list)
    for each in receipts:
        of_runs[each.run.run_id].append(each)
    for run in run_folders(name):
        new, bad = _clean_logs(run, names)
        mine = of_runs[run.run_id]
        if write:
            _write(run, new, mine, stones, moves)
        paths = [*new, *(_path(each) for each in mine)]
        changed += [f"runs/{run.run_id}/{path}" for path in paths]
        unreadable += [f"runs/{run.run_id}/{path}" for path in bad]
    return changed, unreadable


def forget_names(run: RunFolder, names: frozenset[str]) -> None:
    """Take keys, by their sha256, out of the plan of a run that has just met them."""
    for path, data in _clean_logs(run, names)[0].items():
        write_atomic(run.path / path, data)


def masked_json(value: Any, names: frozenset[str]) -> Any:
    """The same without texts whose sha256 is one of the names; what a list tells of one item with such a key goes whole.

    Names of fields stay: they are words of the format, also where a key is called like one (`files`), and none is ever an item's key.
    """
    if isinstance(value, str):
        return masked_text(value, names)
    if isinstance(value, list):
        return [masked_json(each, names) for each in value if not _tells_of(each, names)]
    if isinstance(value, dict):
        return {field: each if field in _OUR_WORDS else masked_json(each, names) for field, each in value.items()}
    return value


def masked_text(text: str, names: frozenset[str]) -> str:
    if hashed(text) in names:
        return MASKED
    return _WORD.sub(lambda word: _masked_word(word[0], names), text)


def _masked_word(word: str, names: frozenset[str]) -> str:
    quote = word[0] if word[0] in "'\"" and word[-1:] == word[0] else ""
    inside = word[len(quote) : len(word) - len(quote)] if quote else word.rstrip(".:")
    rest = word[len(quote) + len(inside) :]
    starts = [0, *(found.end() for found in re.finditer("/", inside))]
    for start in starts:
        if hashed(inside[start:]) in names:
            return f"{quote}{inside[:start]}{MASKED}{rest}"
    return word


def _tells_of(value: Any, names: frozenset[str]) -> bool:
    return isinstance(value, dict) and isinstance(value.get("key"), str) and hashed(value["key"]) in names


def _clean_logs(run: RunFolder, names: frozenset[str]) -> tuple[dict[str, bytes], list[str]]:
    """(new content by file, files that cannot be read)."""
    new, unreadable = {}, []
    for entry in list_names(run.path) if names else ():
        try:
            data = _cleaned(run.path / entry, names)
            if data is not None:
                new[entry] = data
        except (FileNotFoundError, IsADirectoryError):
            continue
        except (DamagedError, OSError, UnicodeDecodeError):
            unreadable.append(entry)
    return new, unreadable


def _cleaned(place: Place, names: frozenset[str]) -> bytes | None:
    """New content, if there has to be one."""
    if place.name.endswith(".json"):
        value = read_sealed(place, "file")
        clean = masked_json(value, names)
        return None if clean == value else seal(clean)
    if place.name.endswith(".html"):
        page = read_bytes(place).decode()
        clean = _BETWEEN_TAGS.sub(lambda text: _masked_html(text[0], names), page)
        return None if clean == page else clean.encode()
    return None


def _masked_html(text: str, names: frozenset[str]) -> str:
    plain = html.unescape(text)
    masked = masked_text(plain, names)
    return text if masked == plain else html.escape(masked)


def _write(
    run: RunFolder, new: Mapping[str, bytes], receipts: Sequence[ReceiptRows], stones: Tombstones, moves: Mapping[str, Move]
) -> None:
    """The report first, with the sha256 that the other files will have: cut off here, the same takedown makes the same files."""
    files = {path: hashlib.sha256(data).hexdigest() for path, data in new.items()}
    files |= {_path(each): hashlib.sha256(_receipt(each, stones, moves)).hexdigest() for each in receipts}
    report = unseal(new[REPORT], REPORT, "report") if REPORT in new else run.read_report()
    if report is not None:
        now = _with_files(run, report, files, stones)
        if now != report or REPORT in new:
            write_atomic(run.path / REPORT, seal(now))
    for path, data in new.items():
        if path != REPORT:
            write_atomic(run.path / path, data)
    for each in receipts:
        write_atomic(run.path / _path(each), _receipt(each, stones, moves))


def _with_files(run: RunFolder, report: Mapping[str, Any], files: Mapping[str, str], stones: Tombstones) -> dict[str, Any]:
    """A report that names what there is now. files: sha256 of those that change, by path in the run. Of one that was damaged before, it
    goes on naming what it should have been."""
    now = dict(report)
    if listed := report.get("files"):
        now["files"] = {
            path: files[path] if path in files and sha256_of(run.path / path) == sha256 else sha256 for path, sha256 in listed.items()
        }
    while (gone := stones.gone.get(now.get("rejects_file", ""))) is not None:
        now["rejects_file"] = gone.now[0].path if gone.now else None
    return now


def _receipt(receipt: ReceiptRows, stones: Tombstones, moves: Mapping[str, Move]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(rewritten_receipt(receipt, stones, moves), sink, compression="zstd")
    return bytes(sink.getvalue())


def rewritten_receipt(receipt: ReceiptRows, stones: Tombstones, moves: Mapping[str, Move]) -> pa.Table:
    """The receipt without the rows' names, and with the shard that took the place of its own."""
    table, shard = receipt.masked(stones), receipt.shard
    while shard and (move := moves.get(shard.sha256)):
        shard, table = move.now, without_rows(table, move.rows.tolist())
    return with_shard(table, shard)


def _path(receipt: ReceiptRows) -> str:
    return f"receipts/{receipt.unit}.parquet"
