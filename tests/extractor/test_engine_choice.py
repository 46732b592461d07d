from __future__ import annotations

import pytest

from extractor import ExtractOptions, Recipe
from extractor.engine_choice import ENGINE_NAMES, ENGINES, EngineKind, require_installed
from storage.errors import UsageError

RECIPE = Recipe("mobilenet_v2", "random:0")


@pytest.mark.parametrize("engine", ["tensorflow", "openvino", "auto"])
def test_workers_start_with_the_named_engine_and_else_with_the_default(engine: str) -> None:
    assert ExtractOptions(RECIPE, engine=engine).first_engine.name == ("tensorflow" if engine == "auto" else engine)
    assert ExtractOptions(RECIPE).engine == "tensorflow"
    assert engine in ENGINE_NAMES


@pytest.mark.parametrize(
    ("engine", "recipe", "told"),
    [
        ("onnx", RECIPE, "--engine must be one of auto, tensorflow, xla, openvino, jax; got 'onnx'"),
        ("openvino", Recipe("mobilenet_v2", precision="float16"), "does not compute in float16: use --engine tensorflow or xla or jax"),
        ("jax", RECIPE, "draws other numbers from a seed"),
    ],
)
def test_an_engine_that_cannot_do_it_is_refused_before_the_work(engine: str, recipe: Recipe, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        ExtractOptions(recipe, engine=engine)


def test_an_engine_that_is_not_installed_is_told_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENGINES, "openvino", EngineKind("no_such_package", ("float32",), on_gpu=False))
    with pytest.raises(UsageError, match=r"not installed here: pip install 'permafrost\[openvino\]', or --engine tensorflow"):
        require_installed("openvino")
