"""The state of a sweep in a folder, so that one that was stopped goes on where it was.

sweep-state.json says of what sweep it is; each group of trials that finished a rung has NAME.npz (weights) and then NAME.json (all else): a
group counts when its JSON is there.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from storage.errors import AlreadyExistsError, DamagedError, PermafrostError
from storage.files import list_names, read_json, remove, remove_folder, to_json, write_atomic
from trainer.head_progress import HeadState, Progress
from trainer.sweep_plan import Trial

STATE_FORMAT = 2  # the validation losses of 1 had the penalty of the weights in them
DESCRIPTION = "sweep-state.json"
GROUP = "rung-"
_ARRAYS = ("weights", "means", "squares", "best")


@dataclass(frozen=True)
class Outcome:
    """A trial after a rung: its metrics on validation (NaN where it gave no numbers), and how far it came. `group` keeps its weights."""

    trial: Trial
    metrics: Mapping[str, float]
    progress: Progress
    group: str


class SweepState:
    """`note`: what the user should know of how it was found."""

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        """Open the state of the sweep that `identity` describes; what is there of another sweep is removed.

        Raises AlreadyExistsError if the folder holds something else, or is a file.
        """
        if folder.is_file():
            raise AlreadyExistsError(f"{folder} is a file: the state of a sweep is a folder of its own, choose another one")
        self._folder = folder
        described = {"format": STATE_FORMAT, **{name: _digest(value) for name, value in identity.items()}}
        self.note = self._take_over(described)
        write_atomic(folder / DESCRIPTION, to_json(described))

    def _take_over(self, described: Mapping[str, Any]) -> str:
        names = list_names(self._folder)
        if not names:
            return ""
        if DESCRIPTION not in names:
            raise AlreadyExistsError(f"{self._folder} holds something other than the state of a sweep: choose another folder")
        with self._damage_told():
            before = read_json(self._folder / DESCRIPTION, "state of a sweep")
        differ = sorted(name for name in described.keys() | before.keys() if described.get(name) != before.get(name))
        if not differ:
            groups = sum(name.endswith(".json") and name != DESCRIPTION for name in names)
            done = "1 group of heads is done" if groups == 1 else f"{groups} groups of heads are done"
            return f"a sweep that was stopped goes on: {done} ({self._folder})"
        remove_state(self._folder)
        return f"the state in {self._folder} is of another sweep ({', '.join(differ)} differ): it was removed, and all starts anew"

    def put(self, group: str, trained: Mapping[Trial, HeadState], metrics: Mapping[Trial, Mapping[str, float]], last: bool) -> None:
        """Keep a group that is through a rung. Of heads that need no more training (`last`: all), the best weights alone."""
        arrays = {
            f"{_name(trial)}/{part}/{place}": array
            for trial, state in trained.items()
            for part in (("best",) if last or state.progress.done else _ARRAYS)
            for place, array in enumerate(getattr(state, part))
        }
        packed = io.BytesIO()
        np.savez(packed, allow_pickle=False, **arrays)
        write_atomic(self._folder / f"{group}.npz", packed.getvalue())
        rows = [
            {"trial": [trial.candidate, trial.seed], "metrics": metrics[trial], "progress": asdict(state.progress)}
            for trial, state in trained.items()
        ]
        write_atomic(self._folder / f"{group}.json", to_json({"trials": rows}))

    def get(self, group: str) -> list[Outcome] | None:
        """A group that is through a rung, None if it is not. Raises DamagedError."""
        if not (self._folder / f"{group}.json").exists():
            return None
        with self._damage_told():
            rows = read_json(self._folder / f"{group}.json", "group of heads")["trials"]
            return [Outcome(Trial(*row["trial"]), row["metrics"], Progress(**row["progress"]), group) for row in rows]

    def weights_of(self, outcome: Outcome) -> HeadState:
        """What is kept of a trial, to go on from. Raises DamagedError."""
        with self._damage_told(), np.load(self._folder / f"{outcome.group}.npz", allow_pickle=False) as arrays:
            prefix = f"{_name(outcome.trial)}/"
            names = [name for name in arrays.files if name.startswith(prefix)]  # in the order of `put`
            parts = {part: [arrays[name] for name in names if name.startswith(f"{prefix}{part}/")] for part in _ARRAYS}
        return HeadState(parts["weights"], parts["means"], parts["squares"], parts["best"], deepcopy(outcome.progress))

    @contextmanager
    def _damage_told(self) -> Iterator[None]:
        try:
            yield
        except (PermafrostError, OSError, ValueError, KeyError, TypeError, BadZipFile) as error:
            raise DamagedError(f"the state of the sweep in {self._folder} is damaged ({error}): remove the folder to start anew") from None


def remove_state(folder: Path) -> None:
    """Remove the state of a sweep, and its folder if nothing else is in it."""
    names = list_names(folder)
    ours = [name for name in names if name == DESCRIPTION or name.startswith(GROUP)]
    if ours == names:
        remove_folder(folder)  # with what a process that was killed was writing
        return
    for name in ours:
        remove(folder / name)


def _name(trial: Trial) -> str:
    return f"{trial.candidate}-{trial.seed}"


def _digest(value: Any) -> str:
    return hashlib.sha256(value if isinstance(value, bytes) else to_json(value)).hexdigest()
