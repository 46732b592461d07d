"""The versions of a set: their numbers and manifests, and the tags by which they go too."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from storage.damage import MEND
from storage.errors import DamagedError, NotFoundError
from storage.files import list_folders, list_names
from storage.manifest import Manifest
from storage.names import SetName
from storage.place import Place
from storage.sealed import read_sealed

MOST_RANGES = 10  # that a message tells
_VERSION_FILE = re.compile(r"[0-9]{8}\.json")


@dataclass(frozen=True)
class Tag:
    """A movable name for a version."""

    name: str
    version: int
    moved: str  # UTC, ISO 8601


def list_versions(set_folder: Place) -> list[int]:
    """Numbers of all committed versions, ascending."""
    return sorted(int(entry[:8]) for entry in list_names(set_folder / "versions") if _VERSION_FILE.fullmatch(entry))


def version_path(set_folder: Place, version: int) -> Place:
    return set_folder / "versions" / f"{version:08d}.json"


def read_manifest(set_folder: Place, version: int) -> Manifest:
    """Raises NotFoundError, DamagedError."""
    path = version_path(set_folder, version)
    try:
        value = read_sealed(path, "manifest")
    except DamagedError as error:
        raise DamagedError(f"{error}. {MEND}") from None
    return Manifest.from_dict(value, path)


def in_ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers in words, such as `1, 3 to 7, 10`; of very many ranges the first and last ones."""
    starts = [i for i, number in enumerate(numbers) if not i or number != numbers[i - 1] + 1]
    ends = [*(i - 1 for i in starts[1:]), len(numbers) - 1]
    texts = [str(numbers[i]) if i == j else f"{numbers[i]} to {numbers[j]}" for i, j in zip(starts, ends, strict=True)]
    return ", ".join(texts if len(texts) <= MOST_RANGES else [*texts[:3], "...", *texts[-3:]])


def list_tags(name: SetName) -> list[Tag]:
    """All that can be read: not those that leave in this very moment, are damaged, or are lost, and only told of over the web."""
    return look_through_tags(name)[0]


def look_through_tags(name: SetName) -> tuple[list[Tag], dict[str, str]]:
    """(the tags that can be read; of those that are damaged, why)."""
    found, damaged = [], {}
    for tag in tag_names(name):
        try:
            found.append(read_tag(name, tag))
        except NotFoundError:
            continue
        except DamagedError as error:
            damaged[tag] = str(error)
    return found, damaged


def tag_names(name: SetName) -> list[str]:
    """A folder is none, whatever it is called; buckets have no folders."""
    place = name.folder / "tags"
    entries = [entry for entry in list_names(place) if entry.endswith(".json")]
    folders = list_folders(place) if entries and isinstance(place, Path) else ()
    return [entry.removesuffix(".json") for entry in entries if entry not in folders]


def read_tag(name: SetName, tag: str) -> Tag:
    """Raises NotFoundError, DamagedError."""
    place = tag_place(name, tag)
    way_out = (
        f"`permafrost store tag {name.folder}@VERSION {tag}` lets it mean a version again, `permafrost store tag {name.folder} {tag} "
        "--delete` lets it go"
    )
    try:
        value = read_sealed(place, "tag")
    except (NotFoundError, IsADirectoryError):
        raise NotFoundError(f"{name.folder} has no tag {tag!r}; its tags: {', '.join(tag_names(name)) or 'none'}") from None
    except DamagedError as error:
        raise DamagedError(f"{error}. {way_out}") from None
    if type(value.get("version")) is not int:
        raise DamagedError(f"the tag {place} should name a version number, not {value.get('version')!r}. {way_out}")
    return Tag(tag, value["version"], str(value.get("moved")))


def tag_place(name: SetName, tag: str) -> Place:
    return name.folder / "tags" / f"{tag}.json"
