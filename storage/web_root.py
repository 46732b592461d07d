"""Bytes behind a web server: read only, and without listing. What is there, the store's own hints say (`storage.hints`).

Not every server answers 404 for what is not there: some have a page for any path, and S3 answers 403 to who may not list.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from storage.bucket import Bucket, RefusedError
from storage.errors import DamagedError, NotFoundError, UsageError
from storage.sealed import unseal

logger = logging.getLogger(__name__)

STORE_FILE = "permafrost.json"  # in the root of each store
CATALOG = "catalog.json"  # in the root of the store: its sets, and the names of its tombstones
TAKEDOWNS = "takedowns"
HINT = "hint.json"  # in the folder of a set: newest version, absent ones, tags
_SET_PARTS = 2
_ANEW = "`permafrost store repair` of one of its sets, in the store's own folder or bucket, makes it anew"


@dataclass(frozen=True)
class WebRoot(Bucket):
    """url: scheme and host, such as https://features.example.org; the path is part of the key. root: key of the store's root."""

    root: str = ""

    def read(self, key: str) -> bytes:
        with self._missing_told(key):
            data = super().read(key)
        if key.endswith(".json") and data.lstrip().startswith(b"<"):
            raise FileNotFoundError(f"{self.url}/{key} is not there: the server answers with a page")
        return data

    def chunks(self, key: str) -> Iterator[bytes]:
        with self._missing_told(key):
            yield from super().chunks(key)

    def _head(self, key: str) -> Any:
        try:
            with self._missing_told(key):
                return super()._head(key)
        except FileNotFoundError:
            return None

    def names(self, key: str) -> list[str]:
        """Of the root and its teams, and of the versions and tags of a set; nothing else can be known.

        Raises NotFoundError where nothing names the sets, DamagedError where what names them cannot be read.
        """
        inside = key.removeprefix(self.root).strip("/").split("/")
        parts = [part for part in inside if part]
        if parts == [TAKEDOWNS]:
            return [str(name) for name in (self._catalog() or {}).get("takedowns", [])]
        if not parts and self._catalog() is None:
            raise NotFoundError(f"there is no {self._at_root(CATALOG)}, which names the sets; a web server lists none itself. {_ANEW}")
        if len(parts) < _SET_PARTS:
            sets = self._hint(self._under(CATALOG)).get("sets", [])
            teams = [name.split("/") for name in sets if isinstance(name, str) and name.count("/") == 1]
            return sorted({team for team, _ in teams}) if not parts else sorted(name for team, name in teams if team == parts[0])
        folder = self._under("/".join(parts[:_SET_PARTS]))
        hint = self._hint(f"{folder}/{HINT}")
        match parts[_SET_PARTS:]:
            case ["versions"]:
                return [f"{version:08d}.json" for version in self._versions(folder, hint)]
            case ["absent"]:
                return [f"{version:08d}.json" for version in hint.get("absent", [])]
            case ["tags"]:
                return [f"{tag}.json" for tag in hint.get("tags", [])]
        return []

    def create(self, key: str, data: bytes) -> None:
        raise self._read_only()

    def replace(self, key: str, data: bytes) -> None:
        raise self._read_only()

    def upload(self, source: Path, key: str) -> None:
        raise self._read_only()

    def remove(self, key: str) -> None:
        raise self._read_only()

    def _versions(self, folder: str, hint: dict[str, Any]) -> list[int]:
        """A hint may be older than the newest version, never newer: so onwards from there, one by one, past those that have expired since,
        up to what is neither a manifest nor marked as absent."""
        newest, absent = int(hint.get("newest", 0)), set(hint.get("absent", ()) if hint else self._listed_absent(folder))
        while (is_there := self._is_manifest(folder, newest + 1)) or newest + 1 in absent or self._is_marked(folder, newest + 1):
            newest += 1
            absent = absent - {newest} if is_there else absent | {newest}
        return [version for version in range(1, newest + 1) if version not in absent]

    def _is_manifest(self, folder: str, version: int) -> bool:
        """Read, since that the server has an answer says nothing."""
        key = f"{folder}/versions/{version:08d}.json"
        try:
            return bool(unseal(self.read(key), f"{self.url}/{key}", "manifest").get("version") == version)
        except FileNotFoundError:
            return False
        except DamagedError as error:
            logger.warning("version %d is passed over, and no newer one is looked for: %s", version, error)
            return False

    def _is_marked(self, folder: str, version: int) -> bool:
        return bool(self._hint(f"{folder}/absent/{version:08d}.json").get("version") == version)

    def _listed_absent(self, folder: str) -> list[int]:
        """Of a store made before each had a marker."""
        return list(self._hint(f"{folder}/absent.json").get("versions", []))

    @contextmanager
    def _missing_told(self, key: str) -> Iterator[None]:
        """A 403 is a FileNotFoundError where the server lets in to the store."""
        try:
            yield
        except RefusedError:
            if key == self._under(STORE_FILE) or not _lets_in(self):
                raise
            raise FileNotFoundError(f"{self.url}/{key} is not there, or must not be read") from None

    def _under(self, name: str) -> str:
        return f"{self.root}/{name}" if self.root else name

    def _catalog(self) -> dict[str, Any] | None:
        """None where there is none. Raises DamagedError."""
        try:
            return unseal(self.read(self._under(CATALOG)), self._at_root(CATALOG), "catalog")
        except FileNotFoundError:
            return None
        except DamagedError as error:
            raise DamagedError(f"{error}. {_ANEW}") from None

    def _at_root(self, name: str) -> str:
        return f"{self.url}/{self._under(name)}"

    def _hint(self, key: str) -> dict[str, Any]:
        """A damaged hint is none: what counts are the versions."""
        try:
            return unseal(self.read(key), f"{self.url}/{key}", "hint")
        except (FileNotFoundError, DamagedError):
            return {}

    def _read_only(self) -> UsageError:
        return UsageError(
            f"{self.url}/{self.root} is behind a web server, where nothing can be written: name the store's own folder or bucket"
        )


@lru_cache(maxsize=64)
def _lets_in(root: WebRoot) -> bool:
    """Whether the store can be read; asked once."""
    return Bucket(root.url).size(root._under(STORE_FILE)) is not None
