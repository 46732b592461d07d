"""What an exported file says of itself: the set and version it came from, and the space of its embeddings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from storage.errors import DamagedError
from storage.feature_set import FeatureSet
from storage.shard_layout import ShardLayout
from storage.space import Space

EXPORT_VERSION = 1
ORIGIN_KEY = "permafrost"  # of the Parquet schema's metadata, the HDF5 root's attributes, the npz's members


@dataclass(frozen=True)
class Origin:
    set: str  # TEAM/SET
    version: int
    space: Space
    shape: tuple[int, ...]  # of one embedding, which a flat column does not tell
    dtype: str  # of the stored embeddings; lists for other tools are float32
    backbone: Mapping[str, Any]

    def to_json(self) -> bytes:
        """The layout of shards (`storage.shard_layout`), and the rest beside it."""
        layout = json.loads(ShardLayout(self.shape, self.dtype, self.space.id).to_json())
        return json.dumps(
            {**layout, **asdict(self), "export_version": EXPORT_VERSION, "space": self.space.to_dict()}, sort_keys=True
        ).encode()

    @classmethod
    def from_json(cls, data: bytes, where: object) -> Origin | None:
        """Parse the note in a file; None if it is not of an export (a shard says less). Raises DamagedError naming the file."""
        try:
            value = json.loads(data)
            if "export_version" not in value:
                return None
            if value["export_version"] != EXPORT_VERSION:
                raise DamagedError(f"{where}: export version {value['export_version']!r}, this program reads {EXPORT_VERSION}")
            layout = ShardLayout.from_json(data, where)
            origin = cls(
                value["set"], value["version"], Space.from_dict(value["space"]), layout.shape, layout.dtype, dict(value["backbone"])
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedError(f"{where}: not the note of an export ({type(error).__name__}: {error})") from None
        if origin.space.id != layout.space_id or origin.space.dtype != layout.dtype:
            raise DamagedError(f"{where}: the space id or dtype does not match the space described beside it")
        return origin


def origin_of(feature_set: FeatureSet) -> Origin:
    """Of a file with view 0, which is all that is exported."""
    description = feature_set.description.plain
    name = f"{feature_set.name.team}/{feature_set.name.name}"
    return Origin(name, feature_set.version, description.space, description.shape, description.dtype, dict(description.backbone))
