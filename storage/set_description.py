"""What a set is: `set.json`, which never changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from storage.errors import DamagedError, NotFoundError, PermafrostError, UsageError
from storage.files import exists, list_names
from storage.names import SetName, team_names
from storage.sealed import read_sealed
from storage.space import Space

SET_FORMAT = 1


@dataclass(frozen=True)
class SetDescription:
    """What never changes in a set (`set.json`). `backbone` is the recipe that rebuilds the network; the space is what it must give."""

    space: Space
    shard_format: str
    shape: tuple[int, ...]
    dtype: str
    backbone: Mapping[str, Any]
    created: str
    card: Mapping[str, str] = field(default_factory=dict)

    @property
    def plain(self) -> SetDescription:
        """The same of view 0 alone, which is what heads read and files export."""
        backbone = {name: value for name, value in self.backbone.items() if name not in ("views", "view_seed")}
        return replace(self, space=self.space.plain, backbone=backbone)

    def require_format(self, wanted: str | None, name: SetName) -> None:
        """Raise UsageError if another shard format was asked for than that of the set; None: none was."""
        if wanted not in (None, self.shard_format):
            raise UsageError(f"the shards of {name} are {self.shard_format}, and stay so: leave out --format, or choose another set name")

    def to_dict(self) -> dict[str, Any]:
        return {
            "format": SET_FORMAT,
            **asdict(self),
            "shape": list(self.shape),
            "space": self.space.to_dict(),
            "space_id": self.space.id,
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any], where: object) -> SetDescription:
        if value.get("format") != SET_FORMAT:
            raise DamagedError(f"{where}: set format {value.get('format')!r}, this program reads {SET_FORMAT}")
        known = {name: item for name, item in value.items() if name not in ("format", "space_id")}
        try:
            description = cls(**{**known, "space": Space.from_dict(known["space"]), "shape": tuple(known["shape"])})
        except (AttributeError, DamagedError, KeyError, TypeError) as error:
            raise DamagedError(f"{where}: not a valid set description ({type(error).__name__}: {error})") from None
        if description.space.id != value.get("space_id"):
            raise DamagedError(f"{where}: the space id does not match the space described beside it")
        return description


def read_description(name: SetName) -> SetDescription:
    """The set's `set.json`; NotFoundError lists the sets that are there. Raises DamagedError for a set that has lost it."""
    path = name.folder / "set.json"
    if not exists(path):
        if list_names(name.folder / "versions"):
            raise DamagedError(
                f"{name.folder} has versions, and no set.json, which says what they are: "
                f"`permafrost store repair {name.folder} --from ROOT` takes it from a copy of the store"
            )
        there: list[str] = []
        with suppress(PermafrostError):  # of a web server that has no list of them
            there += _set_labels(name)
        known = f"; the store has {', '.join(there[:10])}" if there else f"; {name.root} holds no feature sets"
        raise NotFoundError(f"no feature set {name.team}/{name.name} in {name.root}{known}")
    return SetDescription.from_dict(read_sealed(path, "set description"), path)


def _set_labels(name: SetName) -> Iterator[str]:
    for team in team_names(name.root):
        yield from (f"{team}/{each}" for each in list_names(name.root / team) if exists(name.root / team / each / "set.json"))
