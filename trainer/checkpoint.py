"""The state of a training run in one file, so that a run that was killed goes on from its last finished epoch."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from storage.errors import DamagedError
from storage.files import list_names, remove_folder, to_json, write_atomic

FILE = "checkpoint.npz"
CHECKPOINT_FORMAT = 3  # 1 did not tell the open groups; the validation losses of 2 had the penalty of the weights in them
Arrays = list[npt.NDArray[np.generic]]


@dataclass
class Progress:
    """epochs: finished ones. best_epoch counts from 1; 0: none was measured. curves: by epoch. open_groups: by epoch, how many groups of
    layers were trained beside the head."""

    epochs: int = 0
    best_epoch: int = 0
    best_loss: float = float("inf")
    batch_size: int = 0
    curves: dict[str, list[float]] = field(default_factory=dict)
    open_groups: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Snapshot:
    """values: all variables of model and optimiser; best: the model's weights after the best epoch."""

    progress: Progress
    values: Arrays
    best: Arrays


@dataclass(frozen=True)
class Checkpoint:
    """In a folder of its own. `identity` says of what run it is."""

    folder: Path
    identity: Mapping[str, Any]

    def put(self, snapshot: Snapshot) -> None:
        described = {"format": CHECKPOINT_FORMAT, "identity": self._described(), "progress": asdict(snapshot.progress)}
        arrays = {f"{name}/{i}": value for name in ("values", "best") for i, value in enumerate(getattr(snapshot, name))}
        packed = io.BytesIO()
        np.savez(packed, allow_pickle=False, described=np.frombuffer(to_json(described), np.uint8), **arrays)
        write_atomic(self.folder / FILE, packed.getvalue())

    def get(self) -> tuple[Snapshot | None, str]:
        """What is kept of this very run (None: nothing), and what the user should know of how it was found. Raises DamagedError."""
        path = self.folder / FILE
        if not path.exists():
            return None, ""
        try:
            with np.load(path, allow_pickle=False) as arrays:
                described = json.loads(arrays["described"].tobytes())
                if described["format"] != CHECKPOINT_FORMAT:
                    return None, f"the checkpoint in {self.folder} is of another version of permafrost: all starts anew"
                before, now = described["identity"], self._described()
                if differ := sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name)):
                    return None, f"the checkpoint in {self.folder} is of another run ({', '.join(differ)} differ): all starts anew"
                progress = Progress(**described["progress"])
                values, best = ([arrays[name] for name in _numbered(arrays.files, part)] for part in ("values", "best"))
        except (OSError, ValueError, KeyError, TypeError, BadZipFile) as error:
            raise DamagedError(f"the checkpoint in {self.folder} is damaged ({error}): remove the folder to start anew") from None
        return Snapshot(progress, values, best), f"a run that was stopped goes on after epoch {progress.epochs} ({self.folder})"

    def _described(self) -> dict[str, str]:
        return {name: hashlib.sha256(to_json(value)).hexdigest() for name, value in self.identity.items()}


def remove_checkpoint(folder: Path) -> None:
    """Remove the checkpoint, and its folder if nothing else is in it."""
    (folder / FILE).unlink(missing_ok=True)
    if not list_names(folder):
        remove_folder(folder)


def _numbered(names: Sequence[str], part: str) -> list[str]:
    found = [name for name in names if name.startswith(f"{part}/")]
    return sorted(found, key=lambda name: int(name.rpartition("/")[2]))
