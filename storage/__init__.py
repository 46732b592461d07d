"""Feature sets on disk: read, version and commit them. Needs NumPy and Arrow only.

import storage
keys, embeddings = storage.open("features/products/resnet50").to_numpy()
"""

from storage.errors import (
    AlreadyExistsError,
    ConflictError,
    DamagedError,
    DivergedError,
    DriftError,
    NotFoundError,
    PermafrostError,
    RunCancelledError,
    RunError,
    SpaceMismatchError,
    UsageError,
)
from storage.feature_set import Batch, FeatureSet
from storage.feature_set import open_set as open
from storage.names import SetName, parse_set
from storage.space import Space

__all__ = [
    "AlreadyExistsError",
    "Batch",
    "ConflictError",
    "DamagedError",
    "DivergedError",
    "DriftError",
    "FeatureSet",
    "NotFoundError",
    "PermafrostError",
    "RunCancelledError",
    "RunError",
    "SetName",
    "Space",
    "SpaceMismatchError",
    "UsageError",
    "open",
    "parse_set",
]
