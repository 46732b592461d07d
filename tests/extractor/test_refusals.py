from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from extractor.corpus import Item
from extractor.job import WorkerInfo
from extractor.ledger import Ledger
from extractor.options import ExtractOptions
from extractor.quantized_network import quantization_of
from extractor.refusals import require_different, require_independent, require_storable, require_writable
from extractor.set_run import SetRun
from storage.commit import create_set
from storage.errors import ConflictError, DamagedError, PermafrostError, RunError, SpaceMismatchError, UnstorableError
from storage.feature_set import SetDescription
from storage.golden import GoldenImages, write_golden
from storage.names import SetName
from storage.space import Space
from storage.store import ensure_store
from tests.extractor.conftest import SMALL
from tests.extractor.listings import diff_of, index_of, listing_of

NAME = SetName(Path("store"), "team", "set")


@pytest.mark.parametrize(
    ("number", "dtype", "way_out"), [(0, "float16", "use --dtype"), (1, "float16", "in its --also"), (1, "float32", "weights")]
)
def test_what_cannot_be_stored_names_the_set_and_its_way_out(number: int, dtype: str, way_out: str) -> None:
    listing = listing_of([Item(f"{i}", "s") for i in range(2000)])
    ledger = Ledger(listing, diff_of([], {}), index_of({}), unstorable=2)
    require_storable(ledger, dtype, NAME, number)
    ledger.unstorable = 3
    with pytest.raises(UnstorableError, match=f"^store/team/set: 3 embeddings .*{way_out}"):
        require_storable(ledger, dtype, NAME, number)


def test_a_store_that_cannot_be_written_to_is_refused_with_a_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = SetName(tmp_path / "store", "team", "set")
    require_writable(name)
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(PermafrostError, match=f"there is no store {name.root}, and none can be made there"):
        require_writable(name)
    monkeypatch.undo()
    ensure_store(name.root)
    asked: list[Path] = []
    monkeypatch.setattr("os.access", lambda path, mode: bool(asked.append(Path(path))))  # root may write everywhere
    with pytest.raises(PermafrostError, match=f"the store {name.root} is read-only, .* --reuse-from {name.root} "):
        require_writable(name)
    assert asked == [name.root]  # where the set would be


@pytest.mark.parametrize("damaged", [True, False])
def test_an_int8_set_that_lost_its_network_before_its_first_version_is_named_with_the_way_out(tmp_path: Path, damaged: bool) -> None:
    space = Space("g", "w", "layer", "avg", 32, "image-v1", "tf", "int8", "float32", quantization=quantization_of(b"a network"))
    name = SetName(tmp_path, "team", "set")
    create_set(name, SetDescription(space, "parquet", (3,), "float32", {}, "2026-11-28T12:00:00+00:00"))
    images = GoldenImages(("a.png",), (b"a",), np.ones((1, 3), np.float32), quantized=b"a network")
    path = name.folder / write_golden(images, name.folder).path
    again = SetRun(name, "run", ExtractOptions(SMALL))
    again.check(WorkerInfo(space, (3,), "here", {}))
    path.write_bytes(path.read_bytes()[:-9]) if damaged else path.unlink()
    again.check(WorkerInfo(space, (3,), "here", {}))  # the same images, calibrated again
    other = replace(space, quantization=quantization_of(b"another"))
    with pytest.raises(DamagedError, match=r"golden/\), is missing or damaged now.* store rm .*team/set --yes"):
        again.check(WorkerInfo(other, (3,), "here", {}))
    with pytest.raises(SpaceMismatchError, match="quantization"):
        again.check(WorkerInfo(replace(space, precision="float32", quantization=None), (3,), "here", {}))


def test_of_two_first_runs_of_an_int8_set_the_later_one_is_told_that_it_was_made_meanwhile(tmp_path: Path) -> None:
    """Both have calibrated a network, and no option sets that."""
    name, drawn = SetName(tmp_path, "team", "set"), GoldenImages(("a.png",), (b"a",), np.ones((1, 3), np.float32))
    space = Space("g", "w", "layer", "avg", 32, "image-v1", "tf", "int8", "float32")
    first, second = runs = [SetRun(name, f"run-{network}", ExtractOptions(SMALL)) for network in ("one", "two")]
    for run, network in zip(runs, (b"one", b"two"), strict=True):
        run.open(listing_of([]))
        run.quantized = network
        run.check(WorkerInfo(replace(space, quantization=quantization_of(network)), (3,), "here", {}))
    first.create(drawn)
    words = "another run has made the int8 set .*team/set meanwhile.* the same command, given again, takes the set's network"
    with pytest.raises(ConflictError, match=words):
        second.create(drawn)
    with pytest.raises(ConflictError, match=words):
        second.check(WorkerInfo(replace(space, quantization=quantization_of(b"two")), (3,), "here", {}))
    with pytest.raises(SpaceMismatchError, match="differ in layer, quantization"):
        second.check(WorkerInfo(replace(space, layer="other", quantization=quantization_of(b"two")), (3,), "here", {}))


def test_a_network_that_sees_no_difference_is_refused() -> None:
    same = np.ones((4, 2, 3), np.float16)
    with pytest.raises(RunError, match="gives the same features for 4 different images"):
        require_different(same)
    with pytest.raises(RunError, match=r"int8 may be too coarse for this network \(--precision float32 tells\), or check --weights"):
        require_different(same, "int8")
    same[3, 1, 2] = 2
    require_different(same)


NOISE = {
    "float32": 2e-5,
    "tf32": 2e-3,
    "bfloat16": 3e-2,
    "float16": 1e-2,
    "int8": 5e-2,
}  # of each value, by its norm; the most that is seen is less


@pytest.mark.parametrize("precision", NOISE)
def test_features_that_grow_with_their_neighbours_are_refused_and_noise_is_not(precision: str) -> None:
    """All cosines are 1."""
    random = np.random.default_rng(0)
    own = random.normal(size=(2, 5, 8)).astype(np.float32)
    own[1] = 0
    again = np.concatenate([own] * 3)
    require_independent(own, again, precision)
    require_independent(own, again * (1 + NOISE[precision] * random.normal(size=again.shape)), precision)
    with pytest.raises(RunError, match=f"other images are in its batch .*in {precision} at most"):
        require_independent(own, again * np.float32(1.2), precision)
    again[3] += np.float32(1e-3)
    with pytest.raises(RunError, match="of norm 0, "):
        require_independent(own, again, precision)
