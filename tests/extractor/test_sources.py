"""Every kind of source: the same images give the same items, bytes, digests and embeddings."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

import storage
from extractor import ExtractOptions, extract
from extractor.content import locate, read_content, read_stamp
from extractor.corpus import Listing
from extractor.sources import list_corpus, names_corpus
from storage.errors import NotFoundError, UsageError
from tests.conftest import draw
from tests.extractor.conftest import SMALL_START
from tests.extractor.containers import write_parquet, write_tar, write_tfrecord
from tests.extractor.listings import are_equal
from tests.extractor.warm import WarmExecutor

LABELS = {0: "ant", 1: "bee", 2: "ant", 3: "bee", 4: "ant"}
IMAGES = {f"{i:04d}": draw(i) for i in LABELS}
KINDS = ("folder", "list", "tar", "parquet", "binary", "tfrecord")


def write_source(kind: str, root: Path) -> Path:
    """The five images as a source of this kind."""
    items = [(stem, IMAGES[stem], LABELS[i]) for i, stem in enumerate(IMAGES)]
    match kind:
        case "folder" | "list":
            for stem, image, label in items:
                path = root / "photos" / label / f"{stem}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(image)
            if kind == "folder":
                return root / "photos"
            (root / "l.csv").write_text("path,label\n" + "".join(f"photos/{label}/{stem}.png,{label}\n" for stem, _, label in items))
            return root / "l.csv"
        case "tar":
            for number, part in enumerate((items[:3], items[3:])):
                members = {f"{stem}.{end}": data for stem, image, label in part for end, data in (("cls", label.encode()), ("png", image))}
                write_tar(root / "tars" / f"shard-{number:03d}.tar", members)
            return root / "tars"
        case "parquet":
            labels = [("ant", "bee").index(label) for _, _, label in items]
            return write_parquet(root / "p.parquet", list(IMAGES.values()), 2, label=labels, class_names=["ant", "bee"])
        case "binary":
            return write_parquet(root / "p.parquet", list(IMAGES.values()), 2, struct=False, label=[label for _, _, label in items])
        case _:
            records = [{"image/encoded": image, "image/class/text": label.encode(), "image/height": 40} for _, image, label in items]
            return write_tfrecord(root / "train-00000-of-00001", records)


def read_all(listing: Listing) -> dict[str, bytes]:
    contents = {item.key: read_content(locate(listing.base, item)) for item in listing.items}
    assert {content.reason for content in contents.values()} == {""}
    return {key: content.encoded for key, content in contents.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_every_source_gives_the_same_bytes_and_labels_and_stamps_that_stay(tmp_path: Path, kind: str) -> None:
    source = write_source(kind, tmp_path)
    listing = list_corpus(source)
    assert sorted(read_all(listing).values()) == sorted(IMAGES.values())
    labels = {hashlib.sha256(data).digest(): label for data, label in zip(IMAGES.values(), LABELS.values(), strict=True)}
    digests = {key: hashlib.sha256(data).digest() for key, data in read_all(listing).items()}
    assert {digests[item.key]: item.label for item in listing.items} == labels
    assert [item.key for item in listing.items] == sorted(item.key for item in listing.items)
    assert are_equal(list_corpus(source), listing)
    for item in listing.items:  # what the listing says is what the location itself says
        stamp = read_stamp(locate(listing.base, item))
        assert (stamp.value, stamp.bytes) == (item.stamp, item.bytes) or (kind in ("parquet", "binary") and stamp.value == item.stamp)


@pytest.mark.slow
def test_every_source_gives_the_same_embeddings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extractor.run.make_executor", lambda options: WarmExecutor((options.recipe,), 1))
    options = ExtractOptions(SMALL_START, local=True)
    found = {}
    for kind in KINDS:
        source = write_source(kind, tmp_path / kind)
        # A store each: one would lend its embeddings to the others.
        result = extract(source, f"{tmp_path}/{kind}-store/team/set", options)
        assert (result.rows, result.read, result.embedded) == (5, 5, 5)
        again = extract(source, f"{tmp_path}/{kind}-store/team/set", options)
        assert (again.read, again.committed) == (0, False)
        feature_set = storage.open(result.set)
        digests, (_, embeddings) = feature_set.items["digest"].to_pylist(), feature_set.to_numpy()
        found[kind] = dict(zip(digests, embeddings, strict=True))
    for kind in KINDS:
        assert found[kind].keys() == found["folder"].keys()
        for digest, embedding in found[kind].items():
            np.testing.assert_allclose(embedding, found["folder"][digest], rtol=1e-4, atol=1e-6)


def test_keys_name_the_container_and_the_place_in_it(tmp_path: Path) -> None:
    keys = {kind: [item.key for item in list_corpus(write_source(kind, tmp_path / kind)).items][-1] for kind in KINDS[2:]}
    assert keys == {
        "tar": "shard-001.tar/0004",
        "parquet": "p.parquet#00000004",
        "binary": "p.parquet#00000004",
        "tfrecord": "train-00000-of-00001#00000004",
    }


@pytest.mark.parametrize("pattern", ["shard-{000..001}.tar", "shard-*.tar", "shard-00{0,1}.tar", "shard-00[01].tar", "../t?rs/*.tar"])
def test_a_pattern_names_the_same_tars_as_their_folder(tmp_path: Path, pattern: str) -> None:
    folder = write_source("tar", tmp_path)
    whole, chosen = list_corpus(folder), list_corpus(f"{folder}/{pattern}")
    assert read_all(chosen) == {key if "?" not in pattern else f"tars/{key}": data for key, data in read_all(whole).items()}
    again = list_corpus(chosen.source, chosen.corpus_id)  # as a run does that another one overtook
    assert are_equal(again, chosen)
    assert whole.corpus_id != chosen.corpus_id


def test_a_current_folder_with_brackets_is_no_pattern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_source("tar", tmp_path / "data[1]")
    monkeypatch.chdir(folder)
    listing = list_corpus("shard-{000..001}.tar")
    assert len(read_all(list_corpus(listing.source))) == 5


def test_a_shard_of_braces_that_is_not_there_is_told(tmp_path: Path) -> None:
    folder = write_source("tar", tmp_path)
    with pytest.raises(NotFoundError, match=r"no such file: .*shard-002\.tar"):
        list_corpus(f"{folder}/shard-{{000..002}}.tar")
    with pytest.raises(UsageError, match="goes down or is of more"):
        list_corpus(f"{folder}/shard-{{0..99999999999}}.tar")
    with pytest.raises(UsageError, match="stands for more than"):
        list_corpus(f"{folder}/shard-{{0..9999}}{{0..9999}}.tar")


def test_a_single_container_and_a_file_uri(tmp_path: Path) -> None:
    tar = write_source("tar", tmp_path) / "shard-001.tar"
    assert [item.key for item in list_corpus(tar).items] == ["shard-001.tar/0003", "shard-001.tar/0004"]
    assert are_equal(list_corpus(tar.as_uri()), list_corpus(tar))


def test_a_folder_with_images_is_a_folder_of_images(tmp_path: Path) -> None:
    folder = write_source("tar", tmp_path)
    (folder / "a.png").write_bytes(draw(1))
    listing = list_corpus(folder)
    assert ([item.key for item in listing.items], listing.skipped) == (["a.png"], {"not-an-image-name": 2})


def test_kinds_are_not_mixed_and_compressed_ones_are_refused(tmp_path: Path) -> None:
    folder = write_source("tar", tmp_path)
    write_parquet(folder / "p.parquet", [draw(1)])
    with pytest.raises(UsageError, match=r"several kinds of containers: p\.parquet \(Parquet file\), shard-"):
        list_corpus(folder)
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a.tar.gz").write_bytes(b"\x1f\x8b")
    with pytest.raises(UsageError, match="is compressed"):
        list_corpus(tmp_path / "x")


def test_a_parquet_without_image_bytes_is_a_list(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "a.png").write_bytes(draw(1))
    pq.write_table(pa.table({"path": ["a.png"], "image": ["not bytes"]}), tmp_path / "l.parquet")
    assert [item.key for item in list_corpus(tmp_path / "l.parquet").items] == ["a.png"]
    write_parquet(tmp_path / "i.parquet", [draw(1)], struct=False, path=["a.png"])
    assert [item.key for item in list_corpus(tmp_path / "i.parquet").items] == ["i.parquet#00000000"]


def test_what_names_a_corpus_and_what_an_image(tmp_path: Path) -> None:
    folder = write_source("tar", tmp_path)
    assert all(map(names_corpus, [str(folder), f"{folder}/shard-000.tar", f"{folder}/*.tar", "s3://b/{0..9}.tar"]))
    assert not any(map(names_corpus, ["a.png", "s3://b/a.png", "gone.csv", "https://h/a.jpg?x=1.tar#"]))
