from __future__ import annotations

import pytest

from extractor.backbone_args import check_args, parse_assignments
from extractor.recipe import Recipe
from storage.errors import UsageError


@pytest.mark.parametrize(
    ("backbone", "name", "text", "value"),
    [
        ("mobilenet_v2", "alpha", "0.35", 0.35),
        ("mobilenet", "depth_multiplier", "2", 2),
        ("mobilenet_v3_small", "minimalistic", "true", True),
        ("mobilenet_v3_small", "minimalistic", "False", False),
    ],
)
def test_text_becomes_a_value_of_the_argument_s_type(backbone: str, name: str, text: str, value: object) -> None:
    for given in (text, value):
        ((kept_name, kept),) = check_args(backbone, {name: given})
        assert (kept_name, kept, type(kept)) == (name, value, type(value))


@pytest.mark.parametrize(
    ("backbone", "args", "words"),
    [
        ("mobilenet", {"width": "1"}, "no such argument of mobilenet; it has alpha, depth_multiplier"),
        ("resnet50", {"alpha": "1"}, "no such argument of resnet50; it has none"),
        ("mobilenet", {"alpha": "wide"}, "alpha=wide: expected a number"),
        ("mobilenet", {"alpha": "nan"}, "expected 0.05 to 4"),
        ("mobilenet", {"alpha": "1e9"}, "expected 0.05 to 4"),
        ("mobilenet", {"alpha": True}, "expected a number"),
        ("mobilenet", {"depth_multiplier": "1.5"}, "expected a whole number"),
        ("mobilenet", {"depth_multiplier": "inf"}, "expected a whole number"),
        ("mobilenet_v3_small", {"minimalistic": "yes"}, "expected true or false"),
        ("mobilenet", {"include_top": "true"}, "no such argument"),
    ],
)
def test_a_wrong_argument_is_told(backbone: str, args: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        check_args(backbone, args)


@pytest.mark.parametrize("texts", [["alpha"], ["=1"], ["alpha="], ["alpha=1", "alpha=2"]])
def test_a_malformed_assignment_is_told(texts: list[str]) -> None:
    with pytest.raises(UsageError, match="--backbone-arg"):
        parse_assignments(texts)


def test_a_recipe_with_arguments_is_hashable_and_survives_json() -> None:
    recipe = Recipe("mobilenet", args={"depth_multiplier": "2", "alpha": "0.5"}, layer="conv1")  # type: ignore[arg-type]
    assert recipe.args == (("alpha", 0.5), ("depth_multiplier", 2))
    assert recipe.to_dict()["args"] == {"alpha": 0.5, "depth_multiplier": 2}
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    assert len({recipe, Recipe.from_dict(recipe.to_dict())}) == 1


def test_a_recipe_from_before_there_were_arguments_still_parses() -> None:
    old = {"name": "mobilenet", "weights": "random:0", "pooling": "avg", "input_size": 224, "preprocessing": "tf"}
    rest = {"image_policy": "image-v1", "precision": "float32", "dtype": "float16"}
    assert Recipe.from_dict({**old, **rest}) == Recipe("mobilenet", weights="random:0")


def test_without_its_own_preprocessing_a_network_needs_a_stated_one() -> None:
    args = {"include_preprocessing": "false"}
    with pytest.raises(UsageError, match="state --preprocessing"):
        Recipe("convnext_tiny", args=args)  # type: ignore[arg-type]
    assert Recipe("convnext_tiny", args=args, preprocessing="torch").preprocessing == "torch"  # type: ignore[arg-type]
