"""What an import is asked to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from storage.errors import NotFoundError, UsageError
from storage.flat_file import FlatNames
from storage.names import check_name
from storage.shard import DEFAULT_FORMAT, shard_format
from storage.shard_layout import STORED_DTYPES

MIRROR, APPEND, REPLACE, PENDING = "mirror", "append", "replace", "pending"


@dataclass(frozen=True)
class ImportOptions:
    names: FlatNames = field(default_factory=FlatNames)
    keys: Path | None = None  # of an .npy file: one key a line
    space: Path | None = None  # JSON: the fields of a space, or a free statement
    like: str | None = None  # ROOT/TEAM/SET in whose space the embeddings are
    images: Path | None = None  # a folder in which the keys are files, to take digests from
    dtype: str | None = None  # stored dtype of a space that is only stated; None: that of the set, or of the file (float32 for float64)
    format: str | None = None  # of the shards; None: that of the set, parquet for a new one
    corpus_id: str | None = None  # None: that of the file if it is an export, else "imported"
    corpus: str | None = None  # only the rows of this one of several corpora in the file
    add: bool = False  # True: the corpus may enter a set that holds others
    mode: str = MIRROR  # the rows become the corpus; or are appended to it; or take the place of items of their keys; or are pending

    @property
    def operation(self) -> str:
        """What provenance calls it."""
        return self.mode if self.mode in (APPEND, REPLACE) else "import"

    def __post_init__(self) -> None:
        shard_format(self.format or DEFAULT_FORMAT)
        if self.mode not in (MIRROR, APPEND, REPLACE, PENDING):
            raise UsageError(f"the mode of an import is {MIRROR}, {APPEND}, {REPLACE} or {PENDING}, got {self.mode!r}")
        if self.space and self.like:
            raise UsageError("--space and --like both name the feature space; pass one of them")
        if self.dtype is not None and self.dtype not in STORED_DTYPES:
            raise UsageError(f"--dtype must be one of {', '.join(STORED_DTYPES)}; got {self.dtype!r}")
        if self.images is not None and not self.images.is_dir():
            raise NotFoundError(f"--images {self.images}: no such folder")
        if self.corpus_id is not None:
            check_name(self.corpus_id, "--corpus-id")
