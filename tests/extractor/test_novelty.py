from __future__ import annotations

from collections.abc import Collection, Sequence

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extractor.corpus import Item
from extractor.novelty import KINDS, classify
from extractor.standing import SEEN_COLUMNS, BadImages, standing_block
from storage.row_file import aligned
from storage.row_sorter import RowSorter
from tests.extractor.listings import Known, diff_of, index_of

A, B, C = (bytes([i]) * 32 for i in range(3))
OURS, OLD = "shard of this run", "older shard"


def classified(items: Sequence[Item], known: dict[str, Known], seen: dict[str, Known], embedded: Collection[bytes]) -> dict[str, int]:
    """Counts of all kinds, where all good images have a place, and `embedded` have theirs in a shard of this run."""
    good = {each.digest for each in (*known.values(), *seen.values()) if each.digest and not each.reject}
    index = index_of({digest: (OURS if digest in embedded else OLD, 0) for digest in good})
    found = diff_of(items, known, index)
    rows = RowSorter(SEEN_COLUMNS, ["key"])
    values = [(key, each.stamp, each.digest, *(each.reject or (None, None)), each.digest in embedded) for key, each in seen.items()]
    rows.add(pa.Table.from_pylist([dict(zip(SEEN_COLUMNS.names, row, strict=True)) for row in values], SEEN_COLUMNS))
    bad = BadImages()

    def blocks() -> list:  # type: ignore[type-arg]
        return [standing_block(decided, part, index, bad) for decided, part in aligned([found.decided, rows], "key") if decided.num_rows]

    counts = classify(blocks, found, index, [OURS])
    assert list(counts) == list(KINDS)
    assert sum(counts.values()) == len(found.to_read)
    return counts


def kinds(known: dict[str, Known], seen: dict[str, Known], embedded: Collection[bytes]) -> dict[str, int]:
    """Of a corpus in which everything that was seen is listed with a new stamp, and nothing else."""
    counts = classified([Item(key, "now") for key in sorted(seen)], known, seen, embedded)
    return {name: count for name, count in counts.items() if count}


def test_what_nobody_had_is_new_and_its_copies_are_duplicates() -> None:
    assert kinds({}, {"a": Known("now", A), "b": Known("now", A)}, {A}) == {"new": 1, "duplicate": 1}


def test_an_image_under_another_name_is_renamed_while_its_old_name_is_gone() -> None:
    assert kinds({"old": Known("then", A)}, {"new": Known("now", A)}, set()) == {"renamed": 1}
    unchanged = {"old": Known("now", A), "new": Known("now", A)}
    counts = classified([Item("new", "now"), Item("old", "now")], {"old": Known("now", A)}, unchanged, set())
    assert {name: count for name, count in counts.items() if count} == {"duplicate": 1}


def test_what_other_sets_or_versions_hold_is_known_elsewhere() -> None:
    assert kinds({}, {"a": Known("now", A)}, set()) == {"elsewhere": 1}


def test_another_stamp_with_the_same_bytes_is_the_same_and_with_other_bytes_what_these_are() -> None:
    known = {"a": Known("then", A), "b": Known("then", B)}
    assert kinds(known, {"a": Known("now", A), "b": Known("now", C)}, {C}) == {"same": 1, "new": 1}


def test_a_copy_of_what_is_the_same_is_a_duplicate_whichever_comes_first() -> None:
    assert kinds({"b": Known("then", A)}, {"a": Known("now", A), "b": Known("now", A)}, set()) == {"same": 1, "duplicate": 1}


def test_rejects_and_what_was_not_finished_are_counted() -> None:
    seen = {"a": Known("now", A, ("corrupt", "")), "b": Known("now", None, ("unreadable", ""))}
    counts = classified([Item(key, "now") for key in "abc"], {}, seen, set())
    assert (counts["rejected"], counts["pending"]) == (2, 1)


KNOWN = st.builds(Known, st.just("then"), st.sampled_from([A, B, C]), st.sampled_from([None, ("corrupt", "")]))
GOOD = st.builds(Known, st.just("now"), st.sampled_from([A, B, C]))
BAD = st.builds(Known, st.just("now"), st.sampled_from([A, B, C, None]), st.just(("corrupt", "")))


@pytest.mark.slow
@given(
    st.sets(st.sampled_from("abcdef")),
    st.dictionaries(st.sampled_from("abcdef"), KNOWN),
    st.dictionaries(st.sampled_from("abcdef"), st.one_of(GOOD, BAD)),
)
def test_the_kinds_add_up_to_what_was_to_be_read(listed: set[str], known: dict[str, Known], seen: dict[str, Known]) -> None:
    classified([Item(key, "now") for key in sorted(listed)], known, seen, {A})
