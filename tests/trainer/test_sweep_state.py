from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from storage.errors import AlreadyExistsError, DamagedError
from trainer.head_progress import HeadState, Progress
from trainer.sweep_plan import Trial
from trainer.sweep_state import SweepState, remove_state

A, B = Trial(0, 0), Trial(12, 1)
GROUP = "rung-00-group-0000"


def _trained() -> dict[Trial, HeadState]:
    states = {}
    for n, trial in enumerate((A, B)):
        parts = [[np.full((2, 3), 10 * n + part, np.float32), np.full(3, part, np.float32)] for part in range(4)]
        progress = Progress(3, 30, 0.25, 2, n == 1, {"loss": [1.0], "val_loss": [0.5, float("nan"), 0.1]})
        states[trial] = HeadState(*parts, progress=progress)
    return states


def _filled(folder: Path, last: bool = False) -> SweepState:
    state = SweepState(folder, {"labels": "one", "options": {"c": 1}})
    state.put(GROUP, _trained(), {A: {"accuracy": 0.5}, B: {"accuracy": float("nan")}}, last)
    return state


def test_a_group_comes_back_as_it_was(tmp_path: Path) -> None:
    _filled(tmp_path)
    again = SweepState(tmp_path, {"labels": "one", "options": {"c": 1}})
    assert again.note == f"a sweep that was stopped goes on: 1 group of heads is done ({tmp_path})"
    first, second = again.get(GROUP) or []
    assert (first.trial, first.metrics, first.progress.steps, first.progress.best_loss) == (A, {"accuracy": 0.5}, 30, 0.25)
    assert np.isnan(second.metrics["accuracy"])
    found, made = again.weights_of(first), _trained()[A]
    for name in ("weights", "means", "squares", "best"):
        for one, other in zip(getattr(found, name), getattr(made, name), strict=True):
            np.testing.assert_array_equal(one, other)
    done = again.weights_of(second)
    assert (done.weights, len(done.best)) == ([], 2), "of a head that is done the best weights are enough"


def test_after_the_last_rung_the_best_weights_are_enough(tmp_path: Path) -> None:
    state = _filled(tmp_path, last=True)
    first, _ = state.get(GROUP) or []
    assert (state.weights_of(first).weights, len(state.weights_of(first).best)) == ([], 2)


def test_what_is_not_there_is_not_done(tmp_path: Path) -> None:
    assert SweepState(tmp_path, {}).get(GROUP) is None
    (tmp_path / f"{GROUP}.npz").write_bytes(b"half")
    assert SweepState(tmp_path, {}).get(GROUP) is None


def test_another_sweep_starts_anew_and_says_what_differs(tmp_path: Path) -> None:
    _filled(tmp_path / "state")
    other = SweepState(tmp_path / "state", {"labels": "two", "options": {"c": 1}})
    assert other.note == f"the state in {tmp_path}/state is of another sweep (labels differ): it was removed, and all starts anew"
    assert other.get(GROUP) is None


def test_a_state_whose_losses_had_the_penalty_in_them_is_not_gone_on_with(tmp_path: Path) -> None:
    _filled(tmp_path)
    described = json.loads((tmp_path / "sweep-state.json").read_text())
    (tmp_path / "sweep-state.json").write_text(json.dumps({**described, "format": 1}))
    again = SweepState(tmp_path, {"labels": "one", "options": {"c": 1}})
    assert "(format differ): it was removed, and all starts anew" in again.note
    assert again.get(GROUP) is None


@pytest.mark.parametrize("suffix", [".json", ".npz"])
def test_damage_is_told(tmp_path: Path, suffix: str) -> None:
    state = _filled(tmp_path)
    outcomes = state.get(GROUP) or []
    (tmp_path / f"{GROUP}{suffix}").write_bytes(b"rust")
    with pytest.raises(DamagedError, match=r"is damaged .*: remove the folder to start anew"):
        state.get(GROUP) if suffix == ".json" else state.weights_of(outcomes[0])


def test_damage_of_what_sweep_it_is_names_the_way_out_too(tmp_path: Path) -> None:
    _filled(tmp_path)
    (tmp_path / "sweep-state.json").write_bytes(b"rust")
    with pytest.raises(DamagedError, match=r"is damaged .*: remove the folder to start anew"):
        _filled(tmp_path)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "diary.txt").write_text("mine")
    with pytest.raises(AlreadyExistsError, match="holds something other than the state of a sweep"):
        SweepState(tmp_path, {})


def test_removing_leaves_what_is_not_ours(tmp_path: Path) -> None:
    _filled(tmp_path / "a")
    _filled(tmp_path / "b")
    (tmp_path / "b" / "diary.txt").write_text("mine")
    remove_state(tmp_path / "a")
    remove_state(tmp_path / "b")
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["b", "b/diary.txt"]
