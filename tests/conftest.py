"""What tests of several packages share: small real images, and the real data where it is at hand."""

from __future__ import annotations

import gc
import io
import os
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

from extractor.lean_imports import import_lean

import_lean()  # as the command does, before any test imports TensorFlow
gc.disable()  # until all tests are collected
settings.register_profile("permafrost", deadline=None, max_examples=40)  # no deadline: a busy machine is no failure
settings.load_profile("permafrost")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def draw(seed: int, size: int = 40, format_name: str = "PNG") -> bytes:
    """One encoded image, different for each seed."""
    pixels = np.random.default_rng(seed).integers(0, 255, (size, size, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format_name)
    return buffer.getvalue()


@pytest.fixture
def make_corpus(tmp_path: Path) -> Callable[..., Path]:
    """make_corpus(n, name="photos"): n images in the class folders `ant` and `bee`, alternately JPEG and PNG."""

    def make(n: int, name: str = "photos") -> Path:
        root = tmp_path / name
        for i in range(n):
            suffix, format_name = ("jpg", "JPEG") if i % 2 else ("png", "PNG")
            path = root / ("ant", "bee")[i % 3 == 0] / f"{i:04d}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(draw(i, format_name=format_name))
        return root

    return make


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real weights, photographs and hostile files; tests that need them are skipped where they are not at hand."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"the shared test data is not at hand (looked for {SHARED_DATA.parent.name}/{SHARED_DATA.name} beside the checkout)")
    return SHARED_DATA


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run what is marked `full`, too: minutes more, for cases much like others")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The whole line first: its few tests take longest, and at the end one process would wait for the other."""
    if not config.getoption("--full"):
        for item in items:
            if item.get_closest_marker("full"):
                item.add_marker(pytest.mark.skip(reason="at full length only: pytest --full"))
    items.sort(key=lambda item: (item.path.parent.name != "scripts", item.path.parent.name != "extractor"))


def pytest_collection_finish() -> None:
    """Modules and tests stay until the end: looking through them for garbage again and again was a twentieth of the quick tests' time."""
    gc.freeze()
    gc.enable()
