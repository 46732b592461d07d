from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import ConflictError, DamagedError
from storage.files import FileEntry, to_json
from storage.manifest import CorpusState, Manifest, follow

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
COUNT = st.integers(0, 999)
SHA = st.integers(0, 20).map(lambda i: f"{i:064x}")
ENTRIES = st.builds(FileEntry, path=TEXT, sha256=SHA, bytes=COUNT, rows=COUNT)


def state_of(items: tuple[FileEntry, ...], rejects: FileEntry | None, pending: int = 0, **others: Any) -> CorpusState:
    """A state whose counts are those of its files."""
    rows, rejected = sum(entry.rows for entry in items), rejects.rows if rejects else 0
    plain = {"source": "/images", "skipped": {}, "shards": ()}
    counts = {"listed": rows + rejected + pending, "rows": rows, "rejected": rejected, "pending": pending}
    return CorpusState(items=items, rejects=rejects, **{**plain, **counts, **others})


STATES = st.builds(
    state_of,
    items=st.lists(ENTRIES, max_size=2).map(tuple),
    rejects=st.none() | ENTRIES,
    pending=COUNT,
    source=TEXT,
    skipped=st.dictionaries(TEXT, COUNT, max_size=2),
    shards=st.lists(SHA, max_size=3).map(tuple),
)
MANIFESTS = st.builds(
    Manifest,
    version=COUNT,
    parent=st.none() | COUNT,
    nonce=TEXT,
    created=TEXT,
    space_id=SHA,
    shards=st.lists(ENTRIES, max_size=4).map(tuple),
    golden=ENTRIES,
    corpora=st.dictionaries(TEXT, STATES, max_size=3),
    provenance=st.dictionaries(TEXT, TEXT, max_size=2),
)
JSON = st.none() | st.booleans() | st.integers() | TEXT | st.lists(st.integers(), max_size=2) | st.dictionaries(TEXT, TEXT, max_size=2)


def shard(name: str, rows: int = 1) -> FileEntry:
    return FileEntry(f"shards/{name}.parquet", name, 10 * rows, rows)


def state(*shards: str, rows: int = 0, source: str = "/images") -> CorpusState:
    return state_of((FileEntry(f"items/{rows}.parquet", str(rows), 100 * rows, rows),) if rows else (), None, source=source, shards=shards)


def draft(corpus: str, its: CorpusState, *shards: FileEntry, **changes: Any) -> Manifest:
    plain = Manifest(0, None, "nonce", "now", "5" * 64, shards, shard("golden"), {corpus: its})
    return replace(plain, **changes)


@given(manifest=MANIFESTS)
def test_a_manifest_comes_back_from_its_json(manifest: Manifest) -> None:
    assert Manifest.from_dict(json.loads(to_json(manifest.to_dict())), "somewhere") == manifest


@given(manifest=MANIFESTS)
def test_listed_items_are_rows_rejects_and_pending(manifest: Manifest) -> None:
    counts = manifest.counts
    assert counts["listed"] == counts["rows"] + counts["rejected"] + counts["pending"]
    assert counts["bytes"] == sum(entry.bytes for entry in manifest.shards)
    assert counts["embeddings"] == sum(entry.rows for entry in manifest.shards)


@pytest.mark.parametrize("counts", [(3, 1, 1, 0), (0, 1, 0, 0), (1, 1, 1, 0), (2, 1, 0, 2)])
def test_a_state_in_which_items_vanish_cannot_be_made(counts: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="items would vanish"):
        CorpusState("/images", *counts, skipped={}, items=(), shards=())


@pytest.mark.parametrize("changes", [{"rows": 1}, {"rows": 3}, {"rejected": 0}, {"rejected": 5}, {"items": ()}, {"rejects": None}], ids=str)
def test_a_state_whose_counts_are_not_those_of_its_files_cannot_be_made(changes: dict[str, Any]) -> None:
    whole = state_of((shard("i1"), shard("i2")), shard("r", 4), pending=7)
    counts = {name: changes.get(name, getattr(whole, name)) for name in ("rows", "rejected", "pending")}
    with pytest.raises(ValueError, match="not those of the listed files"):
        replace(whole, **changes, listed=sum(counts.values()))


@pytest.mark.parametrize(("name", "by"), [("rows", 1), ("rows", -1), ("rejected", 1)])
def test_a_manifest_whose_counts_are_not_those_of_its_files_is_damaged_and_named(name: str, by: int) -> None:
    value = draft("a", state(rows=2)).to_dict()
    value["corpora"]["a"][name] += by
    value["corpora"]["a"]["listed"] += by
    with pytest.raises(DamagedError, match=r"the-file: .*not those of the listed files"):
        Manifest.from_dict(value, "the-file")


def test_a_manifest_in_which_items_vanish_is_damaged_and_named() -> None:
    value = draft("a", state(rows=2)).to_dict()
    value["corpora"]["a"]["listed"] = 3
    with pytest.raises(DamagedError, match=r"the-file: .*items would vanish"):
        Manifest.from_dict(value, "the-file")


@pytest.mark.parametrize("found", [None, 0, 2, "1", []])
def test_another_format_is_refused_with_both_numbers(found: object) -> None:
    value = {**draft("a", state()).to_dict(), "format": found}
    with pytest.raises(DamagedError, match=r"the-file: manifest format .*, this program reads 1"):
        Manifest.from_dict(value, "the-file")


@pytest.mark.parametrize("name", ["version", "parent", "nonce", "created", "space_id", "shards", "golden", "corpora"])
def test_a_missing_field_is_damage_and_named(name: str) -> None:
    value = draft("a", state()).to_dict()
    del value[name]
    with pytest.raises(DamagedError, match=f"the-file: .*{name}"):
        Manifest.from_dict(value, "the-file")


@pytest.mark.parametrize("name", ["source", "listed", "rows", "items", "shards", "rejects"])
def test_a_missing_field_of_a_corpus_is_damage_and_named(name: str) -> None:
    value = draft("a", state()).to_dict()
    del value["corpora"]["a"][name]
    with pytest.raises(DamagedError, match=f"the-file: .*{name}"):
        Manifest.from_dict(value, "the-file")


def test_an_unknown_field_is_damage_and_named() -> None:
    with pytest.raises(DamagedError, match=r"the-file: .*surprise"):
        Manifest.from_dict({**draft("a", state()).to_dict(), "surprise": 1}, "the-file")


@pytest.mark.parametrize("name", ["shards", "golden", "corpora"])
@pytest.mark.parametrize("value", [None, 7, "text", [1], {"a": 1}], ids=str)
def test_a_field_of_another_type_is_damage_and_names_the_file(name: str, value: object) -> None:
    with pytest.raises(DamagedError, match="the-file"):
        Manifest.from_dict({**draft("a", state()).to_dict(), name: value}, "the-file")


@given(name=st.sampled_from(["shards", "golden", "version", "provenance", "extra"]), value=JSON)
def test_any_change_of_a_field_is_read_or_refused_in_words(name: str, value: object) -> None:
    try:
        Manifest.from_dict({**draft("a", state()).to_dict(), name: value}, "the-file")
    except DamagedError as error:
        assert "the-file" in str(error)  # noqa: PT017 (a harmless change passes)


def test_the_first_version_is_one_without_a_parent() -> None:
    first = follow(None, None, draft("a", state("s1"), shard("s1")), "a")
    assert (first.version, first.parent) == (1, None)
    assert first.shards == (shard("s1"),)


def test_the_next_version_follows_the_latest() -> None:
    latest = replace(draft("a", state()), version=7, parent=3)
    after = follow(latest, latest, draft("a", state(rows=5)), "a")
    assert (after.version, after.parent) == (8, 7)
    assert after.counts["rows"] == 5


def test_what_other_corpora_hold_is_kept() -> None:
    latest = follow(None, None, draft("a", state("s1", rows=1), shard("s1")), "a")
    after = follow(latest, None, draft("b", state("s2", rows=2), shard("s2", 2)), "b")
    assert after.corpora == {"a": state("s1", rows=1), "b": state("s2", rows=2)}
    assert after.shards == (shard("s1"), shard("s2", 2))


def test_what_other_corpora_committed_meanwhile_is_kept() -> None:
    base = follow(None, None, draft("a", state("s1"), shard("s1")), "a")
    latest = follow(base, base, draft("b", state("s2"), shard("s2")), "b")
    after = follow(latest, base, draft("a", state("s3"), shard("s3")), "a")
    assert set(after.corpora) == {"a", "b"}
    assert [entry.sha256 for entry in after.shards] == ["s2", "s3"]


def test_a_shard_that_no_item_points_at_is_no_longer_listed() -> None:
    latest = follow(None, None, draft("a", state("s1", "s2"), shard("s1"), shard("s2")), "a")
    after = follow(latest, latest, draft("a", state("s2")), "a")
    assert after.shards == (shard("s2"),)


def test_a_shard_that_another_corpus_needs_stays_listed() -> None:
    latest = follow(None, None, draft("a", state("s1"), shard("s1")), "a")
    latest = follow(latest, None, draft("b", state("s1"), shard("s1")), "b")
    after = follow(latest, latest, draft("a", state()), "a")
    assert after.shards == (shard("s1"),)


def test_the_golden_images_of_the_first_version_stay() -> None:
    latest = follow(None, None, draft("a", state()), "a")
    after = follow(latest, latest, draft("a", state(rows=1), golden=shard("other")), "a")
    assert after.golden == latest.golden


def test_nonce_time_and_provenance_are_the_drafts() -> None:
    latest = follow(None, None, draft("a", state()), "a")
    mine = draft("b", state(), nonce="mine", created="later", provenance={"run": "r"})
    after = follow(latest, latest, mine, "b")
    assert (after.nonce, after.created, after.provenance) == ("mine", "later", {"run": "r"})


def test_a_corpus_that_moved_on_is_a_conflict_and_named() -> None:
    base = follow(None, None, draft("a", state()), "a")
    latest = follow(base, base, draft("a", state(rows=1)), "a")
    with pytest.raises(ConflictError, match=r"corpus 'a' as version 2 .*run the same command again"):
        follow(latest, base, draft("a", state(rows=2)), "a")


def test_two_first_versions_of_one_corpus_are_a_conflict() -> None:
    latest = follow(None, None, draft("a", state()), "a")
    with pytest.raises(ConflictError):
        follow(latest, None, draft("a", state(rows=2)), "a")


@given(order=st.permutations("abcd"))
def test_commits_of_different_corpora_end_in_the_same_state_in_any_order(order: list[str]) -> None:
    latest: Manifest | None = None
    for corpus in order:
        latest = follow(latest, None, draft(corpus, state(f"s{corpus}", rows=1), shard(f"s{corpus}")), corpus)
    assert latest is not None
    assert latest.version == 4
    assert latest.corpora == {corpus: state(f"s{corpus}", rows=1) for corpus in "abcd"}
    assert [entry.sha256 for entry in latest.shards] == ["sa", "sb", "sc", "sd"]
