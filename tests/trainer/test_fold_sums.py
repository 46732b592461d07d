"""Sums by fold, kept beside a set: what they say is what a pass over the features says, through new versions and takedowns."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

import storage
from scripts.made_set import MadeSet, made_space, new_set
from storage.files import list_names
from storage.foreign_files import foreign_in_set
from storage.gc import collect_garbage
from storage.import_features import import_features
from storage.import_options import ImportOptions
from storage.names import SetName
from storage.statistics import FOLDS, fold_of, kept_versions, read_statistics
from storage.store import init_store
from storage.takedown import Request, take_down
from trainer.fit import fit
from trainer.fold_sums import Folds, folds_for
from trainer.options import FitOptions
from trainer.prepared import prepare
from trainer.ridge import FeatureSums, ridge_targets, sums
from trainer.rows import MemoryRows, StoredRows


@pytest.fixture
def made(tmp_path: Path) -> MadeSet:
    init_store(tmp_path / "store")
    whole = new_set(SetName(tmp_path / "store", "team", "set"), made_space(), "parquet", (6,))
    whole.commit("photos", {f"{i:03d}.jpg": i % 150 for i in range(160)}, per_shard=40)  # ten images stand in two items
    return whole


def features_of(made: MadeSet, positions: np.ndarray, pivot: np.ndarray) -> FeatureSums:
    x = made.open().embeddings(positions)
    return sums(MemoryRows(x), np.arange(len(x)), ridge_targets(np.zeros(len(x)), 2), pivot=pivot)[0]


def of_one(folds: Folds, positions: np.ndarray) -> FeatureSums:
    found = folds.features([positions])
    assert found is not None
    return found[0]


def same(found: FeatureSums, expected: FeatureSums) -> bool:
    np.testing.assert_allclose(found.total, expected.total, atol=1e-3)
    np.testing.assert_allclose(found.gram, expected.gram, atol=1e-3)
    return found.count == pytest.approx(expected.count)


def test_the_sums_of_any_items_are_those_of_their_features(made: MadeSet) -> None:
    folds = folds_for(made.open())
    assert folds is not None
    assert folds.of_item.max() < FOLDS
    for positions in (np.arange(160), np.arange(0, 160, 2), np.flatnonzero(folds.of_item < 15), np.arange(3)):
        assert same(of_one(folds, positions), features_of(made, positions, folds.sums.pivot))


def test_the_fold_of_an_image_goes_by_its_digest_alone(made: MadeSet) -> None:
    digests = made.open().columns("digest")["digest"]
    folds = fold_of(digests)
    assert [int.from_bytes(each[:8], "big") % FOLDS for each in digests.to_pylist()] == folds.tolist()
    np.testing.assert_array_equal(fold_of(digests.slice(7)), folds[7:])


def test_they_are_read_again_and_brought_up_to_date(made: MadeSet, monkeypatch: pytest.MonkeyPatch) -> None:
    folds_for(made.open())
    assert kept_versions(made.name) == [1]
    read: list[int] = []
    blocks = StoredRows.blocks

    def counted(self: StoredRows, numbers: np.ndarray, every_view: bool = False):  # type: ignore[no-untyped-def]
        read.append(len(numbers))
        return blocks(self, numbers, every_view)

    monkeypatch.setattr(StoredRows, "blocks", counted)
    folds_for(made.open())
    assert read == []
    made.commit("photos", {f"{i:03d}.jpg": i for i in range(20, 165)}, per_shard=40)
    folds = folds_for(made.open())
    assert folds is not None
    assert read == [145], "all stand in new shards"
    assert kept_versions(made.name) == [2]
    assert len(list_names(made.folder / "statistics")) == 2
    assert same(of_one(folds, np.arange(145)), features_of(made, np.arange(145), folds.sums.pivot))


def test_a_takedown_removes_them_and_they_are_no_foreign_files(made: MadeSet) -> None:
    folds_for(made.open())
    assert foreign_in_set(made.name) == []
    assert collect_garbage(made.name, delete=True, grace_seconds=0).files == ()
    take_down(made.name.root, made.name, Request(images=(made.digest(7).hex(),)), do_it=True)
    assert list_names(made.folder / "statistics") == []
    folds = folds_for(made.open())
    assert folds is not None
    assert folds.sums.counts.sum() == made.open().rows == 158  # it stood in two items


def test_what_is_damaged_is_made_anew(made: MadeSet) -> None:
    folds_for(made.open())
    payload = next(name for name in list_names(made.folder / "statistics") if name.endswith(".h5"))
    path = Path(str(made.folder)) / "statistics" / payload
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert read_statistics(made.name, made.open().manifest) is None
    assert folds_for(made.open()) is not None


def test_garbage_collection_takes_those_of_lost_items(made: MadeSet) -> None:
    folds_for(made.open())
    made.commit("photos", {f"{i:03d}.jpg": i for i in range(3)})
    lost = Path(str(made.folder)) / "statistics" / "00000009.json"
    lost.write_text("{}")
    assert collect_garbage(made.name, delete=True, grace_seconds=0).files == ("statistics/00000009.json",)


def test_a_streamed_ridge_is_that_of_memory(made: MadeSet, monkeypatch: pytest.MonkeyPatch) -> None:
    options = FitOptions("ridge", alpha=10.0)
    kept = fit(made.uri, options=options)
    monkeypatch.setattr("trainer.prepared.STREAMED_BYTES", 0)
    streamed = fit(made.uri, options=options)
    assert kept_versions(made.name) == [1]
    x = storage.open(made.uri).embeddings().astype(np.float32)
    np.testing.assert_allclose(streamed.model.predict_on_batch(x), kept.model.predict_on_batch(x), atol=1e-4)
    assert streamed.metrics["validation"].log_loss == pytest.approx(kept.metrics["validation"].log_loss, rel=1e-4)


def test_other_exact_heads_are_streamed_too(made: MadeSet, monkeypatch: pytest.MonkeyPatch) -> None:
    options = FitOptions("logistic", c=0.1)
    kept = fit(made.uri, options=options)
    monkeypatch.setattr("trainer.prepared.STREAMED_BYTES", 0)
    streamed = fit(made.uri, options=options)
    x = storage.open(made.uri).embeddings().astype(np.float32)
    np.testing.assert_allclose(streamed.model.predict_on_batch(x), kept.model.predict_on_batch(x), atol=1e-3)


def test_what_came_and_left_is_read_and_another_embedding_under_a_digest_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri, (space, file) = str(tmp_path / "store/team/set"), (tmp_path / name for name in ("space.json", "in.npz"))
    space.write_text('{"model": "clip"}')
    read: list[int] = []
    blocks = StoredRows.blocks

    def counted(self: StoredRows, numbers: np.ndarray, every_view: bool = False):  # type: ignore[no-untyped-def]
        read.append(len(numbers))
        return blocks(self, numbers, every_view)

    monkeypatch.setattr(StoredRows, "blocks", counted)
    keys, values = np.array([f"{i:03d}.jpg" for i in range(70)]), np.random.default_rng(0).normal(0, 1, (70, 6)).astype(np.float32)
    digests = np.array([hashlib.sha256(key.encode()).hexdigest() for key in keys])
    for chosen, changed, expected in ((slice(0, 60), 0, [60]), (slice(3, 65), 0, [3, 5]), (slice(3, 65), 10, [7, 7])):
        values[:changed] += 10
        np.savez(file, keys=keys[chosen], digest=digests[chosen], embeddings=values[chosen])
        import_features(file, uri, ImportOptions(space=space))
        read.clear()
        folds = folds_for(storage.open(uri))
        assert sorted(read) == expected
        assert folds is not None
        items = len(values[chosen])
        total = of_one(folds, np.arange(items))
        np.testing.assert_allclose(total.total + items * total.pivot, values[chosen].sum(axis=0), atol=1e-3)


OUTLIER = 7


def imported(tmp_path: Path, values: np.ndarray, items: np.ndarray) -> str:
    """A set of the rows `items`, in three classes, the outlier in test."""
    uri, (space, file) = str(tmp_path / "store/team/set"), (tmp_path / name for name in ("space.json", "in.npz"))
    space.write_text('{"model": "clip"}')
    keys = np.array([f"{i:04d}.jpg" for i in items])
    columns = {
        "digest": np.array([hashlib.sha256(key.encode()).hexdigest() for key in keys]),
        "label": np.array(["a", "b", "c"])[items % 3],
        "split": np.where(items == OUTLIER, "test", np.array(["train", "train", "validation", "test"])[items % 4]),
    }
    np.savez(file, keys=keys, embeddings=values[items], **columns)
    import_features(file, uri, ImportOptions(space=space))
    return uri


@pytest.mark.slow
@pytest.mark.parametrize("size", [3e4, 1e8, 1e12])
def test_an_item_that_is_gone_or_not_trained_on_leaves_no_trace_however_large_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: float
) -> None:
    items, random = np.arange(1200), np.random.default_rng(0)
    means = random.normal(0, 2, (3, 8))
    values = (means[items % 3] + random.normal(0, 1, (1200, 8))).astype(np.float32)
    values[OUTLIER] = size
    x = random.normal(0, 2, (50, 8)).astype(np.float32)
    for there in (items, np.delete(items, OUTLIER)):
        uri, fits = imported(tmp_path, values, there), []
        for in_memory in (2 << 30, 0):
            monkeypatch.setattr("trainer.prepared.STREAMED_BYTES", in_memory)
            fits.append(fit(uri, options=FitOptions("ridge", alpha=10.0)).model.predict_on_batch(x))
        np.testing.assert_allclose(fits[1], fits[0], atol=1e-4)


@pytest.mark.slow
def test_digits_that_were_lost_bit_by_bit_over_many_versions_are_missed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs of outliers of opposite signs, of which the largest leave first: no version loses much of what the one before had."""
    items, random = np.arange(1200), np.random.default_rng(0)
    means = random.normal(0, 2, (3, 8))
    values = (means[items % 3] + random.normal(0, 1, (1200, 8))).astype(np.float32)
    tests = items[items % 4 == 3][:14]
    for pair, size in enumerate(np.geomspace(4e6, 350, 7)):
        values[tests[2 * pair]], values[tests[2 * pair + 1]] = size, -size
    x = random.normal(0, 2, (50, 8)).astype(np.float32)
    for gone in range(0, 14, 2):
        uri, fits = imported(tmp_path, values, np.setdiff1d(items, tests[:gone])), []
        for in_memory in (2 << 30, 0):
            monkeypatch.setattr("trainer.prepared.STREAMED_BYTES", in_memory)
            fits.append(fit(uri, options=FitOptions("ridge", alpha=10.0)).model.predict_on_batch(x))
        np.testing.assert_allclose(fits[1], fits[0], atol=1e-4)


def test_few_labels_of_a_large_set_are_read_into_memory(made: MadeSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_set = made.open()
    keys, found = of_set.columns("key")["key"].to_pylist(), []
    monkeypatch.setattr("trainer.prepared.STREAMED_BYTES", 50 * of_set.embedding_bytes)
    for count in (50, 51):
        labels = tmp_path / f"{count}.csv"
        labels.write_text("key,label\n" + "".join(f"{key},{'ab'[i % 2]}\n" for i, key in enumerate(keys[:count])))
        prepared = prepare(made.uri, labels, FitOptions("logistic"))
        found.append((prepared.streamed, len(prepared.labelled.features)))
    assert found == [(False, 50), (True, 0)]
