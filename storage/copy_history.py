"""Which versions a copy of a set has in common with it: since it was made, a copy may have gone on by itself under the same numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from storage.errors import PermafrostError
from storage.files import list_names, read_bytes
from storage.foreign_files import LISTED_FOLDERS
from storage.manifest import Manifest
from storage.names import SetName
from storage.versions import in_ranges, list_versions, read_manifest, read_tag
from storage.web_root import HINT

_TELL_OF_VERSIONS = frozenset({HINT, "absent.json"})


@dataclass(frozen=True)
class CopyHistory:
    """Versions that can be read in both: those that are the same, and those that are others."""

    copy: SetName
    same: frozenset[int] = frozenset()
    other: frozenset[int] = frozenset()
    only_copy: bool = False  # is the same set, of which no version can be read but those of the copy
    strange: tuple[str, ...] = ()  # files of the set that no version of such a copy lists

    def has_in_common(self, version: int) -> bool:
        """Each version follows from all before it. Of one that only the copy has, after all that both have, nobody can tell."""
        return not self.other or version <= max(self.same, default=0)

    def may_give(self, path: str) -> bool:
        """Whether this JSON file of the copy tells nothing of versions that the set has not."""
        folder, _, entry = path.partition("/")
        match folder:
            case "versions":
                return self.has_in_common(int(entry.removesuffix(".json")))
            case "tags":
                return self.has_in_common(read_tag(self.copy, entry.removesuffix(".json")).version)
        return path not in _TELL_OF_VERSIONS or not self.other

    def in_words(self) -> str:
        """Of two that parted, or of a copy that nothing confirms."""
        if self.only_copy:
            strange = (
                f". The set has {len(self.strange)} files that none of them lists, such as {self.strange[0]}: the copy is older, or has "
                "gone on by itself. Before `gc` removes them, look for another copy"
                if self.strange
                else ""
            )
            return (
                f"nothing confirms that the versions of {self.copy.folder} are those of the set, which has none that can be read{strange}"
            )
        versions = f"versions up to {max(self.same)}, which both have, and " if self.same else ""
        return (
            f"{self.copy.folder} has gone on by itself: version {in_ranges(sorted(self.other))} is another one there. Taken from it are "
            f"{versions}what is known by its sha256; no other versions, tags or hints"
        )


def compare_histories(name: SetName, copy: SetName) -> CopyHistory:
    """Of what is no copy of the set at all, nothing is the same."""
    with suppress(PermafrostError, OSError):
        if read_bytes(copy.folder / "set.json") == read_bytes(name.folder / "set.json"):
            both = list(_pairs(name, copy))
            same = frozenset(one.version for one, other in both if one.nonce == other.nonce)  # a takedown rewrites all but the nonce
            if not both and (theirs := _readable(copy)) and not _readable(name):
                return CopyHistory(copy, only_copy=True, strange=_not_listed(name, theirs))
            return CopyHistory(copy, same, frozenset(one.version for one, _ in both) - same)
    return CopyHistory(copy)


def _readable(name: SetName) -> list[Manifest]:
    found = []
    for version in list_versions(name.folder):
        with suppress(PermafrostError):
            found.append(read_manifest(name.folder, version))
    return found


def _not_listed(name: SetName, manifests: list[Manifest]) -> tuple[str, ...]:
    listed = {entry.path for manifest in manifests for entry in manifest.files}
    there = (f"{kind}/{entry}" for kind in LISTED_FOLDERS for entry in list_names(name.folder / kind))
    return tuple(path for path in there if path not in listed)


def _pairs(name: SetName, copy: SetName) -> Iterator[tuple[Manifest, Manifest]]:
    for version in sorted({*list_versions(name.folder)} & {*list_versions(copy.folder)}):
        with suppress(PermafrostError):
            yield read_manifest(name.folder, version), read_manifest(copy.folder, version)
