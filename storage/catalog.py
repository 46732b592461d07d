"""What a store holds: its sets and their versions, as rows for a listing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from storage.errors import UsageError
from storage.feature_set import read_description
from storage.files import exists, list_names
from storage.manifest import Manifest
from storage.names import SetName, parse_set, team_names
from storage.place import Place
from storage.store import require_store
from storage.versions import list_versions, read_manifest


@dataclass(frozen=True)
class SetSummary:
    name: str  # TEAM/SET
    version: int | None  # None: nothing committed yet
    rows: int
    bytes: int  # of the shards of this version
    shape: tuple[int, ...]
    dtype: str
    backbone: str
    space_id: str
    created: str


def list_sets(root: Place) -> list[SetSummary]:
    """Every set of a store, sorted by name. Raises NotFoundError if `root` is no store."""
    require_store(root)
    return [_summarise(name) for name in set_names(root)]


def set_names(root: Place) -> list[SetName]:
    """The sets below `root`, sorted; none where there is no such folder."""
    return [
        SetName(root, team, name)
        for team in team_names(root)
        for name in list_names(root / team)
        if exists(root / team / name / "set.json")
    ]


def list_manifests(uri: str | Path) -> list[Manifest]:
    """The manifests of all versions of a set, oldest first."""
    name = parse_set(uri)
    if name.at:
        raise UsageError(f"{uri}: all versions are listed; leave out '@{name.at}'")
    require_store(name.root)
    read_description(name)
    return [read_manifest(name.folder, version) for version in list_versions(name.folder)]


def _summarise(name: SetName) -> SetSummary:
    description = read_description(name)
    versions = list_versions(name.folder)
    manifest = read_manifest(name.folder, versions[-1]) if versions else None
    counts = manifest.counts if manifest else {"rows": 0, "bytes": 0}
    return SetSummary(
        name=f"{name.team}/{name.name}",
        version=manifest.version if manifest else None,
        rows=counts["rows"],
        bytes=counts["bytes"],
        shape=description.shape,
        dtype=description.dtype,
        backbone=str(description.backbone.get("name")),
        space_id=description.space.id,
        created=manifest.created if manifest else description.created,
    )
