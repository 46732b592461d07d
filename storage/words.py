"""What a set is, in words for people: its network, its space, where its images come from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any
from urllib.parse import urlsplit

from storage.feature_set import SetDescription
from storage.stated_space import STATED


def backbone_in_words(description: SetDescription) -> str:
    """Such as `resnet50, weights imagenet, pooling avg, input 224 px`. Of files on somebody's machine the name alone."""
    recipe, space = description.backbone, description.space
    if recipe["name"] == STATED:
        return ", ".join(["stated only", *(f"{name} {value}" for name, value in recipe.get("statement", {}).items())])
    arguments = "".join(f", {name} {value}" for name, value in recipe.get("args", {}).items())
    cut = f", cut at {recipe['layer']}" if recipe.get("layer") else ""
    weights = f", weights {_file_name(recipe['weights'])}" if recipe.get("weights") else ""
    return f"{_file_name(recipe['name'])}{arguments}{weights}{cut}, pooling {space.pooling}, input {space.input_size} px"


def views_in_words(description: SetDescription) -> str:
    """Such as `0 plain, 1 flip`; empty for the plain image alone."""
    views, seed = description.space.views, description.space.view_seed
    if len(views) == 1:
        return ""
    return ", ".join(f"{number} {view}" for number, view in enumerate(views)) + (f"; seed {seed}" if seed is not None else "")


def shape_in_words(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def source_in_words(source: str) -> str:
    """Where images come from, without what may be a secret: user, password and query of a URI."""
    if "://" not in source:
        return source
    try:
        parts = urlsplit(source)
    except ValueError:
        return source.partition("://")[0] + "://..."
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def origin_in_words(provenance: Mapping[str, Any]) -> str:
    """What made a version, such as `extract (run 20261127T120000Z-00000000)`."""
    run = f" (run {provenance['run']})" if provenance.get("run") else f" ({provenance['file']})" if provenance.get("file") else ""
    return f"{provenance.get('operation', 'unknown')}{run}"


def _file_name(text: str) -> str:
    return PurePath(text).name if text.startswith("/") else text
