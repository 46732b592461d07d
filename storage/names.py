"""Names of sets, `ROOT/TEAM/SET[@VERSION|@TAG|@DATE]`, checked before any of them becomes a path."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from storage.bucket import Bucket
from storage.errors import UsageError
from storage.files import list_names
from storage.moment import moment_of
from storage.place import Place, RemotePlace
from storage.web_root import WebRoot

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_RESERVED_TEAMS = {
    "heads": "holds the fitted heads",
    "takedowns": "says what was taken down",
    "permafrost.json": "describes the store",
    "catalog.json": "names its sets",
}
WEB = ("http", "https")
BUCKETS = ("s3", "gs", "az", "abfs", "abfss")
EXAMPLE_VERSION = "features/products/resnet50@3"
EXAMPLE = f"features/products/resnet50 or {EXAMPLE_VERSION}"


@dataclass(frozen=True)
class SetName:
    """A parsed set name. `at` is a version number, tag, day or time as written, or None for the newest version."""

    root: Place
    team: str
    name: str
    at: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.root, Place):
            raise UsageError(f"the root of a SetName is a Path; got {self.root!r}. `parse_set` makes a SetName of ROOT/TEAM/SET")

    @property
    def folder(self) -> Place:
        return self.root / self.team / self.name

    def __str__(self) -> str:
        return f"{self.folder}" + (f"@{self.at}" if self.at else "")


def team_names(root: Place) -> list[str]:
    """What may be a team's folder, sorted; none where there is no such store."""
    return [name for name in list_names(root) if name not in _RESERVED_TEAMS]


def check_name(name: str, what: str) -> str:
    """Return `name` if it is safe as one path component, else raise UsageError."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UsageError(f"{what} {name!r} is not a usable name: expected 1 to 100 of A-Z a-z 0-9 . _ -, starting with a letter or digit")
    return name


def parse_root(uri: str | Path) -> Place:
    """The root of a store: a folder, `file://` of one, a bucket with or without a prefix, such as s3://features/main, or a web server's
    folder, for reading.

    Raises UsageError for a scheme that no store can have.
    """
    text = str(uri)
    scheme, marker, rest = text.partition("://")
    _require_path(text, is_local=not marker or scheme.lower() == "file")
    if not marker:
        return Path(text)
    if scheme.lower() == "file":
        return Path(unquote(rest))
    bucket, _, key = rest.strip("/").partition("/")
    if scheme.lower() in WEB and bucket:
        return RemotePlace(WebRoot(f"{scheme.lower()}://{bucket}", unquote(key)), unquote(key))
    if scheme.lower() not in BUCKETS or not bucket:
        raise UsageError(f"{text!r} can be no store: expected a folder, or a bucket such as s3://features ({', '.join(BUCKETS)})")
    return RemotePlace(Bucket(f"{scheme.lower()}://{bucket}"), key)


def _require_path(text: str, is_local: bool) -> None:
    """Raises UsageError for characters that no path can have."""
    try:
        encoded = os.fsencode(text) if is_local else text.encode()  # a name on a disk may be no UTF-8, which Python tells by surrogates
    except UnicodeEncodeError:
        encoded = b"\0"
    if b"\0" in encoded:
        raise UsageError(f"{text!r} can be no path: it has a null character, or half of one (a lone surrogate)")


def parse_set(uri: str | Path) -> SetName:
    """Parse `ROOT/TEAM/SET[@VERSION|@TAG|@DATE]`; raises UsageError with an example."""
    text = str(uri)
    head, _, last = text.rstrip("/").rpartition("/")
    root, _, team = head.rpartition("/")
    name, marker, at = last.partition("@")
    if not team or not name or ("://" in text and "://" not in root):
        raise UsageError(f"expected ROOT/TEAM/SET, such as {EXAMPLE}; got {text!r}")
    if marker and not at:
        raise UsageError(f"expected a version number or a tag after '@' in {text!r}, such as {EXAMPLE}")
    check_name(team, "team")
    if team in _RESERVED_TEAMS:
        raise UsageError(f"team {team!r} is reserved: <store>/{team} {_RESERVED_TEAMS[team]}; choose another team name")
    check_name(name, "set")
    if at and not moment_of(at):
        check_name(at, "version or tag")
    return SetName(parse_root(root or ("/" if head.startswith("/") else ".")), team, name, at or None)
