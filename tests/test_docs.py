"""The documentation's snippets, run as they stand in a folder where the stores and files that they name have been prepared."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import storage
from scripts.cli import main

ROOT = Path(__file__).resolve().parents[1]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SPACE = {
    "graph": "a" * 64,
    "weights": "b" * 64,
    "layer": "avg_pool",
    "pooling": "avg",
    "input_size": 224,
    "image_policy": "image-v1",
    "preprocessing": "tf",
    "precision": "float32",
    "dtype": "float16",
    "views": ["plain"],
    "view_seed": None,
    "quantization": None,
}


@dataclass(frozen=True)
class Snippet:
    document: str
    line: int
    language: str
    code: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


def snippets(document: str, *languages: str) -> list[Snippet]:
    text = (ROOT / document).read_text()
    found = [Snippet(document, text[: m.start()].count("\n") + 1, m[1], m[2]) for m in FENCE.finditer(text)]
    return [snippet for snippet in found if snippet.language in languages]


PYTHON = [*snippets("README.md", "python"), *snippets("docs/store.md", "python"), *snippets("docs/design.md", "python")]
SQL = snippets("docs/store.md", "sql")
COMMANDS = [line for snippet in snippets("docs/store.md", "sh") for line in snippet.code.splitlines()]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The working directory of the documentation: its sets, its files, and what its commands have made of them."""
    folder = tmp_path_factory.mktemp("docs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("HF_HOME", str(folder / "huggingface"))
        prepare()
        for command in COMMANDS:
            program, *words = shlex.split(command)
            assert program == "permafrost"
            assert main(words) == 0, command
        yield folder


def prepare() -> None:
    """Three versions of a set of vectors in Parquet, a set of maps in HDF5, and somebody's embeddings."""
    Path("mobilenet_v2.json").write_text(json.dumps(SPACE))
    Path("clip.json").write_text(json.dumps({"model": "CLIP ViT-B/32", "weights": "openai"}))
    for images in (10, 11, 12):
        write_npz("made.npz", images, (1280,))
        assert main(["store", "import", "made.npz", "features/products/mobilenet_v2", "--space", "mobilenet_v2.json"]) == 0
    write_npz("made.npz", 6, (7, 7, 8))
    assert main(["store", "import", "made.npz", "features/products/maps", "--space", "mobilenet_v2.json", "--format", "hdf5"]) == 0
    write_npz("clip.npz", 5, (512,))
    np.save("vectors.npy", np.random.default_rng(3).standard_normal((4, 64)))
    Path("keys.txt").write_text("a.jpg\nb.jpg\nc.jpg\nd.jpg\n")


def write_npz(name: str, images: int, shape: tuple[int, ...]) -> None:
    kinds = ["dress" if i % 2 else "shirt" for i in range(images)]
    keys = np.array([f"{kind}/{i}.jpg" for i, kind in enumerate(kinds)])
    values = [np.random.default_rng(i).standard_normal(shape).astype(np.float16) for i in range(images)]
    splits = np.array(["test" if i % 5 == 0 else "train" for i in range(images)])
    np.savez(name, keys=keys, labels=np.array(kinds), splits=splits, embeddings=np.stack(values))


def test_there_are_snippets_of_every_kind() -> None:
    assert {snippet.document for snippet in PYTHON} >= {"README.md", "docs/store.md"}
    assert len(SQL) >= 2
    assert len(COMMANDS) >= 7


@pytest.mark.slow
@pytest.mark.parametrize("snippet", PYTHON, ids=str)
def test_a_python_snippet_runs_and_reads_what_is_in_the_set(snippet: Snippet, desk: Path) -> None:
    for library in ("duckdb", "pandas", "polars", "datasets"):
        if f"import {library}" in snippet.code:
            pytest.importorskip(library)
    assert Path.cwd() == desk
    names: dict[str, Any] = {}
    exec(compile(snippet.code, str(snippet), "exec"), names)
    if {"keys", "embeddings"} <= names.keys():
        known = dict(zip(*storage.open("features/products/mobilenet_v2").to_numpy(), strict=True))
        assert len(names["keys"]) == len(names["embeddings"]) >= 10
        for key, embedding in zip(names["keys"], names["embeddings"], strict=True):
            np.testing.assert_array_equal(embedding, known[key])


@pytest.mark.slow
@pytest.mark.parametrize("snippet", SQL, ids=str)
def test_an_sql_snippet_runs_and_finds_rows(snippet: Snippet, desk: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    assert os.getcwd() == str(desk)
    with duckdb.connect() as connection:
        for statement in filter(str.strip, snippet.code.split(";")):
            rows = connection.sql(statement).fetchall()
            assert rows
            assert all(value is not None for row in rows for value in row)


@pytest.mark.slow
def test_the_commands_made_what_the_documentation_says(desk: Path) -> None:
    assert storage.open("features/products/clip").rows == 5
    assert storage.open("features/products/vectors").description.dtype == "float16"
    assert storage.open("features/others/mobilenet_v2").space == storage.open("features/products/mobilenet_v2").space
