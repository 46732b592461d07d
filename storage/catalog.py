"""What a store holds: its sets and their versions, as rows for a listing."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from storage.absent import absent_among
from storage.asked_version import lost_in_words, lost_versions, note_lost, read_newest
from storage.card import read_card
from storage.damage import raise_outage
from storage.errors import DamagedError, NotFoundError, PermafrostError, UsageError
from storage.expected_versions import read_hint, require_some_version
from storage.feature_set import read_description
from storage.files import exists, list_names
from storage.manifest import Manifest
from storage.names import SetName, parse_root, parse_set, team_names
from storage.place import Place, RemotePlace
from storage.store import require_store
from storage.tombstones import set_label
from storage.versions import list_versions, read_manifest, tag_names
from storage.words import backbone_in_words, source_in_words


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
    owner: str = ""
    description: str = ""
    licence: str = ""
    network: str = ""  # the backbone in words, with weights, cut and pooling
    corpora: Mapping[str, str] = field(default_factory=dict)  # id -> source
    tags: tuple[str, ...] = ()
    lost: tuple[int, ...] = ()  # versions that should be there and are not, as far as a hint or a gap tells


@dataclass(frozen=True)
class SetQuery:
    """What to look for; None: anything. Texts are looked for anywhere and in any case, and may have * and ? then stand for all of it.

    name: of TEAM/SET. backbone: of the network in words, or of what an import states of it. space: the beginning of the id.
    corpus: of an id or source of a corpus.
    """

    name: str | None = None
    backbone: str | None = None
    space: str | None = None
    corpus: str | None = None

    def __post_init__(self) -> None:
        for what, asked in asdict(self).items():
            if not isinstance(asked, str | None):
                raise UsageError(f"expected a text to look for as {what}, or None for any; got {asked!r}")
        if self.space is not None and not re.fullmatch("[0-9a-fA-F]{1,64}", self.space):
            raise UsageError(f"a space is looked for by the beginning of its id, such as 9f86d081; got {self.space!r}")

    def matches(self, found: SetSummary) -> bool:
        corpora = [*found.corpora, *found.corpora.values()]
        return (
            (self.name is None or _is_like(self.name, found.name))
            and (self.backbone is None or any(_is_like(self.backbone, text) for text in (found.backbone, found.network)))
            and (self.space is None or found.space_id.startswith(self.space.lower()))
            and (self.corpus is None or any(_is_like(self.corpus, text) for text in corpora))
        )


@dataclass(frozen=True)
class StoreListing:
    """sets: sorted by name. damaged: by TEAM/SET, why it cannot be told what the set is; whether the query means it, nobody knows."""

    sets: tuple[SetSummary, ...]
    damaged: Mapping[str, str]


def look_through(root: Place | str, query: SetQuery = SetQuery()) -> StoreListing:
    """The sets of a store that the query means, and those that are damaged.

    Raises NotFoundError if `root` is no store, UsageError if it can be none.
    """
    root = _root_of(root)
    require_store(root)
    sets, damaged = [], {}
    for name in _set_folders(root):
        try:
            if summary := _summarise_if_set(name):
                sets += [summary] if query.matches(summary) else []
        except (PermafrostError, OSError) as error:
            raise_outage(error)
            if query.name is None or _is_like(query.name, set_label(name)):
                damaged[set_label(name)] = str(error)
    return StoreListing(tuple(sets), damaged)


def list_sets(root: Place | str, query: SetQuery = SetQuery()) -> list[SetSummary]:
    """The sets of a store that the query means, sorted by name. Raises as `look_through`, and DamagedError if a set is damaged."""
    found = look_through(root, query)
    for label, why in found.damaged.items():
        raise DamagedError(f"{label}: {why}")
    return list(found.sets)


def _root_of(root: object) -> Place:
    if isinstance(root, RemotePlace):
        return root
    if isinstance(root, str | Path):
        return parse_root(root)
    raise UsageError(f"expected the root of a store, such as 'features' or 's3://features'; got {root!r}")


def _is_like(pattern: str, text: str) -> bool:
    whole = pattern if set(pattern) & set("*?") else f"*{pattern}*"
    return re.fullmatch("".join({"*": ".*", "?": "."}.get(c, re.escape(c)) for c in whole.lower()), text.lower(), re.DOTALL) is not None


def set_names(root: Place, known: Collection[str] = ()) -> list[SetName]:
    """The sets below `root`, sorted; none where there is no such folder. known: by TEAM/SET, those that need not be asked for."""
    return [name for name in _set_folders(root) if set_label(name) in known or exists(name.folder / "set.json")]


def _set_folders(root: Place) -> list[SetName]:
    """What may be a set."""
    return [SetName(root, team, name) for team in team_names(root) for name in list_names(root / team)]


def list_manifests(uri: str | Path) -> list[Manifest]:
    """The manifests of all versions of a set, oldest first. Raises DamagedError if one cannot be read; of lost ones a warning is logged."""
    manifests, damaged = look_through_versions(uri)
    for why in damaged.values():
        raise DamagedError(why)
    return manifests


def look_through_versions(uri: str | Path) -> tuple[list[Manifest], dict[int, str]]:
    """(the manifests of all versions of a set, oldest first; of those that cannot be read, why). Of those that are lost a warning is
    logged."""
    name = parse_set(uri)
    if name.at:
        raise UsageError(f"{uri}: all versions are listed; leave out '@{name.at}'")
    require_store(name.root)
    read_description(name)
    if not (versions := list_versions(name.folder)):
        require_some_version(name)
        return [], {}
    manifests, damaged, gone = [], dict[int, str](), set(lost_versions(name, versions, read_hint(name)))
    for version in versions:
        try:
            manifests.append(read_manifest(name.folder, version))
        except DamagedError as error:
            damaged[version] = str(error)
        except NotFoundError:  # behind a web server versions are not listed but told
            gone.add(version)
    gone -= absent_among(name, gone)
    if not manifests and gone:
        raise DamagedError(lost_in_words(name, gone))
    note_lost(name, gone)
    return manifests, damaged


def _summarise_if_set(name: SetName) -> SetSummary | None:
    return _summarise(name) if exists(name.folder / "set.json") or list_versions(name.folder) else None


def _summarise(name: SetName) -> SetSummary:
    description = read_description(name)
    versions = list_versions(name.folder)
    if not versions:
        require_some_version(name)
    manifest, lost = read_newest(name, versions) if versions else (None, ())
    counts = manifest.counts if manifest else {"rows": 0, "bytes": 0}
    card = read_card(name, description)
    return SetSummary(
        name=set_label(name),
        version=manifest.version if manifest else None,
        rows=counts["rows"],
        bytes=counts["bytes"],
        shape=description.shape,
        dtype=description.dtype,
        backbone=str(description.backbone.get("name")),
        space_id=description.space.id,
        created=manifest.created if manifest else description.created,
        owner=card.owner,
        description=card.description,
        licence=card.licence,
        network=backbone_in_words(description),
        corpora={corpus: source_in_words(state.source) for corpus, state in manifest.corpora.items()} if manifest else {},
        tags=tuple(tag_names(name)),
        lost=lost,
    )
