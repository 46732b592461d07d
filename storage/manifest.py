"""The manifest: one immutable, numbered state of a feature set, as a value.

A file counts when a manifest lists it. The rules by which a new state follows from an older one are pure functions here; writing it
is `storage.commit`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from storage.errors import ConflictError, DamagedError
from storage.files import FileEntry
from storage.stated_space import STATED

MANIFEST_FORMAT = 1


@dataclass(frozen=True)
class CorpusState:
    """One corpus as a version holds it. listed = rows + rejected + pending, always."""

    source: str
    listed: int
    rows: int
    rejected: int
    pending: int
    skipped: Mapping[str, int]  # names that are not items, by reason
    items: tuple[FileEntry, ...]
    shards: tuple[str, ...]  # sha256 of every shard its items point at
    rejects: FileEntry | None = None

    def __post_init__(self) -> None:
        if self.listed != self.rows + self.rejected + self.pending:
            raise ValueError(
                f"items would vanish: listed {self.listed} != rows {self.rows} + rejected {self.rejected} + pending {self.pending}"
            )

        if self.rows != sum(entry.rows for entry in self.items) or self.rejected != (self.rejects.rows if self.rejects else 0):
            raise ValueError("the counts of rows and rejects are not those of the listed files")

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> CorpusState:
        rejects = value["rejects"]
        return cls(
            **{
                **value,
                "items": tuple(FileEntry(**entry) for entry in value["items"]),
                "shards": tuple(value["shards"]),
                "rejects": FileEntry(**rejects) if rejects else None,
            }
        )


@dataclass(frozen=True)
class Manifest:
    version: int
    parent: int | None
    nonce: str  # tells a writer whose answer got lost that this manifest is its own
    created: str  # UTC, ISO 8601
    space_id: str
    shards: tuple[FileEntry, ...]
    golden: FileEntry
    corpora: Mapping[str, CorpusState]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def files(self) -> list[FileEntry]:
        """All files that this version lists."""
        states = [state for _, state in sorted(self.corpora.items())]
        of_corpora = [entry for state in states for entry in (*state.items, *([state.rejects] if state.rejects else []))]
        return [*of_corpora, *self.shards, self.golden]

    @property
    def counts(self) -> dict[str, int]:
        """Sums over the corpora; `rows` is the number of items that have an embedding."""
        states = self.corpora.values()
        counts = {name: sum(getattr(state, name) for state in states) for name in ("listed", "rows", "rejected", "pending")}
        return counts | {
            "embeddings": sum(shard.rows for shard in self.shards),
            "bytes": sum(shard.bytes for shard in self.shards),
        }

    def to_dict(self) -> dict[str, Any]:
        return {"format": MANIFEST_FORMAT, **asdict(self), "counts": self.counts}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any], where: object) -> Manifest:
        """Parse a manifest; raises DamagedError that names the file and the field."""
        if value.get("format") != MANIFEST_FORMAT:
            raise DamagedError(f"{where}: manifest format {value.get('format')!r}, this program reads {MANIFEST_FORMAT}")
        known = {name: item for name, item in value.items() if name not in ("format", "counts")}
        try:
            return cls(
                **{
                    **known,
                    "shards": tuple(FileEntry(**entry) for entry in known["shards"]),
                    "golden": FileEntry(**known["golden"]),
                    "corpora": {name: CorpusState.from_dict(state) for name, state in known["corpora"].items()},
                }
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DamagedError(f"{where}: not a valid manifest ({type(error).__name__}: {error})") from None


def follow(latest: Manifest | None, base: Manifest | None, draft: Manifest, corpus: str) -> Manifest:
    """The manifest that adds `draft`'s state of `corpus` on top of `latest`.

    `base` is the version that the draft was computed from. Other corpora may have moved on in between: those changes are kept. If
    `corpus` itself has, its two states cannot both be the mirror of one folder: ConflictError.
    """
    if latest is not None and latest.corpora.get(corpus) != (base.corpora.get(corpus) if base else None):
        raise ConflictError(
            f"another run committed corpus {corpus!r} as version {latest.version} while this one worked; "
            "nothing is lost: run the same command again, what both have finished is reused"
        )
    return succeed(latest, draft)


def succeed(latest: Manifest | None, draft: Manifest) -> Manifest:
    """The manifest that puts the corpora of `draft` in the place of those of `latest`, and keeps all others.

    Features of which somebody only said in what space they are stay such: `stated` in the provenance is handed on.
    """
    corpora = {**(latest.corpora if latest else {}), **draft.corpora}
    stated = {"space": STATED} if latest and latest.provenance.get("space") == STATED else {}
    return replace(
        draft,
        version=latest.version + 1 if latest else 1,
        parent=latest.version if latest else None,
        golden=latest.golden if latest else draft.golden,
        corpora=corpora,
        shards=_used_shards((*(latest.shards if latest else ()), *draft.shards), corpora.values()),
        provenance={**draft.provenance, **stated},
    )


def _used_shards(shards: Iterable[FileEntry], states: Iterable[CorpusState]) -> tuple[FileEntry, ...]:
    used = {sha256 for state in states for sha256 in state.shards}
    by_content = {shard.sha256: shard for shard in shards if shard.sha256 in used}
    return tuple(by_content[sha256] for sha256 in sorted(by_content))
