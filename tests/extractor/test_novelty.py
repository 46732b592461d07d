from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from extractor.corpus import Item
from extractor.diff import Known, diff
from extractor.novelty import KINDS, classify

A, B, C = (bytes([i]) * 32 for i in range(3))


def kinds(known: dict[str, Known], seen: dict[str, Known], embedded: set[bytes]) -> dict[str, int]:
    """Of a corpus in which everything that was seen is listed with a new stamp, and nothing else."""
    counts = classify(diff([Item(key, "now") for key in sorted(seen)], known), seen, embedded)
    return {name: count for name, count in counts.items() if count}


def test_what_nobody_had_is_new_and_its_copies_are_duplicates() -> None:
    assert kinds({}, {"a": Known("now", A), "b": Known("now", A)}, {A}) == {"new": 1, "duplicate": 1}


def test_an_image_under_another_name_is_renamed_while_its_old_name_is_gone() -> None:
    assert kinds({"old": Known("then", A)}, {"new": Known("now", A)}, set()) == {"renamed": 1}
    unchanged = {"old": Known("now", A), "new": Known("now", A)}
    counts = classify(diff([Item("new", "now"), Item("old", "now")], {"old": Known("now", A)}), unchanged, set())
    assert {name: count for name, count in counts.items() if count} == {"duplicate": 1}


def test_what_other_sets_or_versions_hold_is_known_elsewhere() -> None:
    assert kinds({}, {"a": Known("now", A)}, set()) == {"elsewhere": 1}


def test_another_stamp_with_the_same_bytes_is_the_same_and_with_other_bytes_what_these_are() -> None:
    known = {"a": Known("then", A), "b": Known("then", B)}
    assert kinds(known, {"a": Known("now", A), "b": Known("now", C)}, {C}) == {"same": 1, "new": 1}


def test_rejects_and_what_was_not_finished_are_counted() -> None:
    seen = {"a": Known("now", A, ("corrupt", "")), "b": Known("now", None, ("unreadable", ""))}
    counts = classify(diff([Item(key, "now") for key in "abc"], {}), seen, set())
    assert (counts["rejected"], counts["pending"]) == (2, 1)


KNOWN = st.builds(Known, st.just("then"), st.sampled_from([A, B, C]), st.sampled_from([None, ("corrupt", "")]))
SEEN = st.builds(Known, st.just("now"), st.sampled_from([A, B, C, None]), st.sampled_from([None, ("corrupt", "")]))


@given(
    st.sets(st.sampled_from("abcdef")), st.dictionaries(st.sampled_from("abcdef"), KNOWN), st.dictionaries(st.sampled_from("abcdef"), SEEN)
)
def test_the_kinds_add_up_to_what_was_to_be_read(listed: set[str], known: dict[str, Known], seen: dict[str, Known]) -> None:
    found = diff([Item(key, "now") for key in sorted(listed)], known)
    counts = classify(found, seen, {A})
    assert list(counts) == list(KINDS)
    assert sum(counts.values()) == len(found.to_read)
