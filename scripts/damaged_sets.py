"""A set with a file of every kind, and ways to damage one."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from scripts.made_set import MadeSet
from storage.expire import expire_versions
from storage.gc import collect_garbage
from storage.runs import RunFolder
from storage.tags import move_tag
from storage.takedown import Request, take_down


def fill(made: MadeSet) -> MadeSet:
    """Three versions of two corpora, rejects, tags, and a finished run."""
    made.commit("one", {f"a/{i}": i for i in range(7)}, rejected=["bad"])
    made.commit("two", {f"b/{i}": 20 + i for i in range(5)}, per_shard=2)
    made.commit("one", {f"a/{i}": i for i in range(4, 9)})
    move_tag(replace(made.name, at="2"), "prod")
    run = RunFolder(made.folder, "20261127T120000Z-00000000")
    run.write_plan({"units": []})
    run.write_receipt("000000", pa.table({"key": ["a/1"]}))
    run.write_page("<html>")
    run.write_report({"rows": 7})
    return made


def fill_with_every_kind(made: MadeSet) -> MadeSet:
    """As `fill`, with a version that has expired, a takedown, and a run that was told to stop: a new kind of file belongs here."""
    fill(made)
    expire_versions(made.name, 1, None, remove_them=True)
    collect_garbage(made.name, delete=True, grace_seconds=-1)
    run = RunFolder(made.folder, "20261127T130000Z-00000000")
    run.write_plan({"units": []})
    run.write_heartbeat({"units": 0})
    run.request_cancel()
    run.write_end("cancelled", "as asked")
    take_down(made.name.root, None, Request(images=(made.digest(8).hex(),)), do_it=True)
    return made


def files_of(made: MadeSet) -> list[Path]:
    """Every file of the set, and what its store has beside sets."""
    root = Path(str(made.name.root))
    paths = [path for folder in (Path(str(made.folder)), root / "takedowns") for path in folder.rglob("*") if path.is_file()]
    return [root / "permafrost.json", root / "catalog.json", *sorted(paths)]


def flip_a_bit(path: Path, random: random.Random) -> int:
    """Returns which one, counted from the first bit of the file."""
    data = bytearray(path.read_bytes())
    byte, bit = random.randrange(len(data)), random.randrange(8)
    data[byte] ^= 1 << bit
    path.write_bytes(data)
    return 8 * byte + bit


def cut_off(path: Path, random: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: random.randrange(len(data))])


def delete(path: Path, random: random.Random) -> None:
    path.unlink()


DAMAGE: dict[str, Callable[[Path, random.Random], object]] = {"flip": flip_a_bit, "cut": cut_off, "delete": delete}
