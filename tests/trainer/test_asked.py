"""Mistakes in a program's call are told in words, before anything is read."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import trainer
from storage.errors import AlreadyExistsError, UsageError
from trainer.augmentation import Augmentation
from trainer.fine_tuning_options import FineTuningOptions
from trainer.sweep_options import Range

SET = "no/such/set"
OPTIONS: dict[str, tuple[Callable[[Any], object], list[Any]]] = {  # what is made, and values that nobody can mean
    "batch_size": (lambda wrong: trainer.FitOptions(batch_size=wrong), [2.5, "8", True, 0, [8]]),
    "max_epochs": (lambda wrong: trainer.FitOptions(max_epochs=wrong), [2.5, None, "8", True]),
    "patience": (lambda wrong: trainer.FitOptions(patience=wrong), [None, 2.5, False]),
    "head": (lambda wrong: trainer.FitOptions(wrong), [["linear"], None, 5, {"head": "ridge"}, "nothing"]),
    "c": (lambda wrong: trainer.FitOptions(c=wrong), [True, "1", [1.0], float("nan"), 0]),
    "hidden": (lambda wrong: trainer.FitOptions("mlp", hidden=wrong), [128, "128", (2.5,), (True,), [0]]),
    "class_weights": (
        lambda wrong: trainer.FitOptions(class_weights=wrong),
        [5, "even", {"hat": "2"}, {1: 2.0}, [("hat", 2)], {"hat": None}],
    ),
    "multi_label": (lambda wrong: trainer.FitOptions(multi_label=wrong), [1, None, "no"]),
    "group_by": (lambda wrong: trainer.FitOptions(group_by=wrong), [None, 5, ["camera"]]),
    "seed": (lambda wrong: trainer.FitOptions(seed=wrong), [1.0, None, True, -1, np.float64(1)]),
    "labels": (lambda wrong: trainer.FitOptions(labels=wrong), ["y", None, {"merge": {}}]),
    "shots": (lambda wrong: trainer.SplitOptions(shots=wrong), [2.5, "2", 0]),
    "test": (lambda wrong: trainer.SplitOptions(test=wrong), ["0.2", None, True, 2]),
    "share": (lambda wrong: trainer.LoadOptions(share=wrong), [(0, 1, 2), 3, None, (0,), (0.0, 1), (1, 1), "01"]),
    "split": (lambda wrong: trainer.LoadOptions(split=wrong), [3, "some", ["train"]]),
    "epochs": (lambda wrong: trainer.LoadOptions(epochs=wrong), [1.5, "1", -1, True]),
    "memory": (lambda wrong: trainer.LoadOptions(memory=wrong), [None, 1e9, 0]),
    "shuffle": (lambda wrong: trainer.LoadOptions(shuffle=wrong), ["no", 0, None]),
    "views": (lambda wrong: trainer.LoadOptions(views=wrong), [["plain"], None, "all"]),
    "merge": (
        lambda wrong: trainer.LabelOptions(merge=wrong),
        [None, "a", [("a", "hat")], {"a": 5}, {1: ["hat"]}, {"a": "hat"}, {"a": [5]}, {"a": []}],
    ),
    "classes": (lambda wrong: trainer.LabelOptions(classes=wrong), ["hat", None, {"hat"}, (5,), ("",)]),
    "base": (lambda wrong: trainer.SweepOptions(wrong), [{"head": "ridge"}, None, "ridge"]),
    "axes": (
        lambda wrong: trainer.SweepOptions(axes=wrong),
        [["c"], None, {"c": 0.1}, {"head": "ridge"}, {"c": {0.1, 0.2}}, {1: (0.1,)}, {"c": None}],
    ),
    "range": (lambda wrong: Range(wrong, 2), ["1", None, True, float("nan")]),
    "seeds": (lambda wrong: trainer.SweepOptions(seeds=wrong), [None, 2.5, "3"]),
    "rate_decay": (lambda wrong: FineTuningOptions(rate_decay=wrong), [None, "0.5", True]),
    "stages": (lambda wrong: FineTuningOptions(stages=wrong), [1, (1.5,), "01"]),
    "flip": (lambda wrong: Augmentation(flip=wrong), [1, None]),
    "position": (lambda wrong: trainer.Position("0" * 64, 0, wrong), [1.5, None, -1, True]),
}
CALLS: dict[str, tuple[Callable[[Any], object], list[Any]]] = {
    "load labels": (lambda wrong: trainer.load(SET, wrong), [5, ["a.csv"], {"a": "hat"}, b"a.csv"]),
    "load options": (lambda wrong: trainer.load(SET, options=wrong), [{"split": "train"}, "train"]),
    "load start": (lambda wrong: trainer.load(SET, start=wrong), [5, "start", [0]]),
    "load set": (lambda wrong: trainer.load(wrong), [5, None, [SET]]),
    "saved position": (trainer.Position.from_dict, [None, 5, {}, {"epoch": 1}]),
    "fit options": (lambda wrong: trainer.fit(SET, options=wrong), [{"head": "ridge"}, "ridge", trainer.SweepOptions()]),
    "fit folds": (lambda wrong: trainer.fit(SET, folds=wrong), [2.5, "5", True]),
    "fit tail": (lambda wrong: trainer.fit(SET, tail=wrong), [5, "tail"]),
    "fit on_fold": (lambda wrong: trainer.fit(SET, on_fold=wrong), [5, None]),
    "sweep options": (lambda wrong: trainer.sweep(SET, options=wrong), [{"base": None}, trainer.FitOptions()]),
    "sweep state": (lambda wrong: trainer.sweep(SET, state=wrong), [5, ["state"]]),
    "sweep tell": (lambda wrong: trainer.sweep(SET, tell=wrong), [None, "told"]),
    "evaluate_head head": (lambda wrong: trainer.evaluate_head(wrong, SET), [None, "heads/lin"]),
    "load_head": (trainer.load_head, [None, 5, ["heads/lin"]]),
    "save_head": (lambda wrong: trainer.save_head(wrong, "x"), [5, None]),
    "check_head_target": (trainer.check_head_target, [None, 5]),
    "write_report": (lambda wrong: trainer.write_report("x", wrong), ["y", None]),
    "report_of_fit": (lambda wrong: trainer.report_of_fit(wrong, "title"), [None, "x"]),
    "summary": (trainer.summary, [None, {}]),
    "advise sets": (trainer.advise, [SET, None, [], [5]]),
    "advise options": (lambda wrong: trainer.advise([SET], options=wrong), [5, trainer.SweepOptions()]),
    "advise most": (lambda wrong: trainer.advise([SET], most=wrong), [0, None, 2.5]),
    "tail": (lambda wrong: trainer.Tail(wrong, {}), [5, "model", None]),
    "parse_classes": (trainer.parse_classes, [None, ["hat"]]),
    "parse_merges": (trainer.parse_merges, [None, "x=a", [5]]),
    "parse_class_weights": (trainer.parse_class_weights, [None, {"hat": 2}, 5]),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_that_nobody_can_mean_are_told(name: str) -> None:
    act, values = OPTIONS[name]
    for wrong in values:
        require_words(act, wrong)


@pytest.mark.parametrize("name", CALLS)
def test_arguments_that_nobody_can_mean_are_told(name: str) -> None:
    act, values = CALLS[name]
    for wrong in values:
        require_words(act, wrong)


def test_what_is_open_is_asked_in_words_too(separable_set: str, fitted_exactly: trainer.FittedHead, tmp_path: Path) -> None:
    opened = trainer.open_stream(separable_set)
    trainer.save_head(fitted_exactly, tmp_path / "head")
    head = trainer.load_head(tmp_path / "head")
    for wrong in ("a", 1.5, -1, None, True):
        require_words(opened.position, wrong)
    for wrong in (5, "start", {}, {"epoch": 1}):
        require_words(opened.dataset, wrong)
    for wrong in ("x", None, [[1.0] * 8], np.zeros(8), np.zeros((2, 9)), np.zeros((2, 8), bool), np.zeros((2, 8), complex)):
        require_words(head.predict, wrong)
    for name in ("label_options", "split", "show", "images", "labels"):
        require_words(lambda wrong, name=name: trainer.evaluate_head(head, separable_set, **{name: wrong}), 5)
    (tmp_path / "split.csv").touch()
    with pytest.raises(AlreadyExistsError, match=r"split\.csv is a file: the state of a sweep is a folder of its own"):
        trainer.sweep(separable_set, options=trainer.SweepOptions(trainer.FitOptions("ridge")), state=tmp_path / "split.csv")


SAID: dict[str, Callable[[Any], object]] = {
    r"'head' of the axes of a sweep must be a list of values or of type Range; got 'ridge'": lambda _: trainer.SweepOptions(
        axes={"head": "ridge"}
    ),  # type: ignore[dict-item]
    "the base of a sweep must be of type FitOptions; got {'head'": lambda wrong: trainer.SweepOptions(wrong),
    r"labels \(a file is an argument of its own\) must be of type LabelOptions; got 'x'": lambda _: trainer.LoadOptions(labels="x"),  # type: ignore[arg-type]
    r"labels \(a file .*; got 'y'": lambda _: trainer.FitOptions(labels="y"),  # type: ignore[arg-type]
    "shuffle must be True or False; got 'no'": lambda _: trainer.LoadOptions(shuffle="no"),  # type: ignore[arg-type]
    "batch_size must be a whole number or None; got 2.5": lambda _: trainer.FitOptions(batch_size=2.5),  # type: ignore[arg-type]
    "c must be a number or None; got True": lambda _: trainer.FitOptions(c=True),
    r"the share, \(index, count\), must be a tuple of 2 \(a whole number, a whole number\); got \(0,\)": lambda _: trainer.LoadOptions(
        share=(0,)
    ),  # type: ignore[arg-type]
    "merge must be a dict of lists of texts by text; got None": lambda _: trainer.LabelOptions(merge=None),  # type: ignore[arg-type]
    "a name in merge must be a text; got 1": lambda _: trainer.LabelOptions(merge={1: ["hat"]}),  # type: ignore[dict-item]
    "'a' of merge must be a list of texts; got 5": lambda _: trainer.LabelOptions(merge={"a": 5}),  # type: ignore[dict-item]
    "options must be of type FitOptions or None; got {'head'": lambda wrong: trainer.fit(SET, "split.csv", wrong),
    r"the label file must be a path or None; got \['a.csv'\]": lambda _: trainer.load(SET, ["a.csv"]),  # type: ignore[arg-type]
    r"the head \(trainer\.load_head .*\) must be of type Head": lambda _: trainer.evaluate_head("heads/lin", SET),  # type: ignore[arg-type]
    "a saved position must be a dict of values by text; got None": lambda _: trainer.Position.from_dict(None),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("message", SAID)
def test_another_type_is_told(message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SAID[message]({"head": "ridge"})


def test_a_list_of_values_is_as_good_as_a_tuple() -> None:
    assert trainer.SweepOptions(axes={"head": ["ridge", "linear"], "c": [0.1]}).heads == ("ridge", "linear")  # type: ignore[dict-item]


def test_an_argument_that_does_not_exist_is_python_s_own_error_with_the_function_s_name() -> None:
    with pytest.raises(TypeError, match=r"fit\(\) got an unexpected keyword argument 'head'"):
        trainer.fit(SET, head="ridge")  # type: ignore[call-arg]


def test_numbers_of_numpy_are_numbers() -> None:
    options = trainer.LoadOptions(
        batch_size=np.int64(8),  # type: ignore[arg-type]
        seed=np.int32(3),  # type: ignore[arg-type]
        share=(np.int64(0), np.int64(2)),  # type: ignore[arg-type]
        shuffle=np.True_,  # type: ignore[arg-type]
        test=np.float32(0.25),  # type: ignore[arg-type]
    )
    assert options == trainer.LoadOptions(batch_size=8, seed=3, share=(0, 2), test=0.25)
    assert {type(value) for value in (options.batch_size, options.seed, *options.share)} == {int}
    assert type(options.test) is float
    fit = trainer.FitOptions("mlp", hidden=[np.int64(8)], c=np.float64(0.5), class_weights={"hat": np.float32(2)})  # type: ignore[arg-type,dict-item]
    assert json.loads(json.dumps(dataclasses.asdict(fit)))["hidden"] == [8]


@pytest.mark.slow
def test_a_sweep_takes_lists_and_a_stream_what_a_position_was_saved_as(separable_set: str) -> None:
    fit = trainer.FitOptions("linear", max_epochs=2)
    assert len(trainer.sweep(separable_set, options=trainer.SweepOptions(fit, axes={"c": [0.1, 0.2]}, seeds=1)).candidates) == 2  # type: ignore[dict-item]
    opened = trainer.open_stream(separable_set, options=trainer.LoadOptions(batch_size=32))
    saved = json.loads(json.dumps(opened.position(np.int64(2)).to_dict()))  # type: ignore[arg-type]
    rest = [y.numpy().tolist() for _, y in opened.dataset(saved)]
    assert rest == [y.numpy().tolist() for _, y in opened.dataset()][2:]


def require_words(act: Callable[[Any], object], wrong: Any) -> None:
    try:
        act(wrong)
    except UsageError:
        return
    pytest.fail(f"{wrong!r} was taken")
