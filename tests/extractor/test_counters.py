"""Never twice, by the counters: what a run reads, decodes and embeds after each thing that happens to a corpus."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import storage
from extractor import ExtractOptions, ExtractResult, Recipe, extract
from tests.conftest import draw
from tests.extractor.conftest import SMALL
from tests.extractor.warm import keep_workers_warm

pytestmark = pytest.mark.slow

MAPS = replace(SMALL, pooling="none")
POOLED, ANOTHER_LAYER = replace(MAPS, pooling="avg"), replace(MAPS, layer="conv_pw_6_relu", pooling="avg")
IMAGES = 100
LABELS = ("ant", "bee")


@pytest.fixture(autouse=True)
def warm(monkeypatch: pytest.MonkeyPatch) -> None:
    keep_workers_warm(monkeypatch)


def run(corpus: Path, name: Path, recipe: Recipe = POOLED) -> ExtractResult:
    return extract(corpus, name, ExtractOptions(recipe, local=True, corpus_id=corpus.stem))


def counters(result: ExtractResult) -> tuple[int, int, int]:
    """Files read, images decoded, images embedded."""
    assert result.listed == result.rows + result.rejected + result.pending
    return result.read, result.decoded, result.embedded


def stored(result: ExtractResult) -> set[str]:
    return {entry.path for entry in storage.open(result.set).manifest.shards}


def nothing(corpus: Path) -> None:
    return None


def rename_all(corpus: Path) -> None:
    for path in list(corpus.rglob("*.*")):
        path.rename(path.with_name(f"renamed {path.name}"))


def duplicate_all(corpus: Path) -> None:
    for path in list(corpus.rglob("*.*")):
        shutil.copy(path, path.with_name(f"copy of {path.name}"))


def change_one_percent(corpus: Path) -> None:
    (corpus / "ant" / "0001.jpg").write_bytes(draw(1000, format_name="JPEG"))


def take_theirs(corpus: Path) -> None:
    shutil.copytree(corpus.parent / "theirs", corpus / "from the other team")


def add_a_broken_one(corpus: Path) -> None:
    (corpus / "broken.png").write_bytes(b"no image")


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus and its set, and another team's: each test goes on in a copy."""
    root = tmp_path_factory.mktemp("lived")
    for folder, seeds in (("photos", range(IMAGES)), ("theirs", range(500, 510))):
        for i in seeds:
            path = root / folder / LABELS[i % 2] / (f"{i:04d}." + ("jpg" if i % 2 else "png"))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(draw(i, format_name="JPEG" if i % 2 else "PNG"))
    return root


@pytest.fixture
def world(lived: Path, tmp_path: Path) -> Path:
    """With photos in features/ours/photos and theirs in features/theirs/photos."""
    if not (lived / "features").exists():
        assert counters(run(lived / "photos", lived / "features" / "ours" / "photos")) == (IMAGES,) * 3
        run(lived / "theirs", lived / "features" / "theirs" / "photos")
    for folder in ("photos", "theirs", "features"):
        shutil.copytree(lived / folder, tmp_path / folder)  # with the files' times
    return tmp_path


@pytest.mark.parametrize(
    ("happens", "read", "decoded", "embedded", "kinds"),
    [
        (nothing, 0, 0, 0, {}),
        (rename_all, IMAGES, 0, 0, {"renamed": IMAGES}),
        (duplicate_all, IMAGES, 0, 0, {"duplicate": IMAGES}),
        (change_one_percent, 1, 1, 1, {"new": 1}),
        (take_theirs, 10, 0, 0, {"elsewhere": 10}),
        (add_a_broken_one, 1, 0, 0, {"rejected": 1}),
    ],
)
def test_what_happens_to_a_corpus_costs_what_is_new_in_it(
    world: Path, happens: Callable[[Path], None], read: int, decoded: int, embedded: int, kinds: dict[str, int]
) -> None:
    happens(world / "photos")
    result = run(world / "photos", world / "features" / "ours" / "photos", POOLED)
    assert counters(result) == (read, decoded, embedded)
    assert {kind: count for kind, count in result.kinds.items() if count} == kinds
    assert result.report is not None
    counts = json.loads((Path(result.report).parent / "report.json").read_text())["counts"]
    assert (counts["read"], counts["decoded"], counts["embedded"]) == (read, decoded, embedded)


def test_another_layer_is_embedded_again_and_another_pooling_only_where_it_cannot_be_derived(world: Path) -> None:
    features, fresh = world / "features" / "ours", world / "a fresh store" / "ours"
    assert counters(run(world / "photos", features / "layer", ANOTHER_LAYER)) == (IMAGES,) * 3
    assert counters(run(world / "photos", features / "max", replace(POOLED, pooling="max"))) == (IMAGES,) * 3
    assert counters(run(world / "photos", fresh / "maps", MAPS)) == (IMAGES,) * 3
    from_maps = run(world / "photos", fresh / "max", replace(POOLED, pooling="max"))
    assert counters(from_maps) == (IMAGES, 0, 0)
    assert from_maps.copied == IMAGES


def test_new_labels_alone_read_nothing_and_write_item_files_only(world: Path) -> None:
    """Of a list, whose labels are no part of the keys."""
    table, name = world / "photos.csv", world / "features" / "ours" / "listed"
    paths = sorted(path.relative_to(world).as_posix() for path in (world / "photos").rglob("*.*"))
    table.write_text("path,label\n" + "".join(f"{path},old\n" for path in paths))
    before = run(table, name)
    assert counters(before) == (IMAGES, 0, 0)
    shards = {path: path.stat().st_mtime_ns for path in (name / "shards").iterdir()}
    table.write_text("path,label\n" + "".join(f"{path},new\n" for path in paths))
    after = run(table, name)
    assert counters(after) == (0, 0, 0)
    assert (after.version, after.committed, after.shards) == (2, True, 0)
    assert {path: path.stat().st_mtime_ns for path in (name / "shards").iterdir()} == shards
    assert stored(after) == {entry.path for entry in storage.open(f"{before.set}@1").manifest.shards}
    assert set(storage.open(after.set).items["label"].to_pylist()) == {"new"}
