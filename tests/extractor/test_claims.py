from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from extractor.claims import ClaimRegister, Claims, TaughtRegister
from storage.digests import words_of

A, B, C = (hashlib.sha256(name).digest() for name in (b"a", b"b", b"c"))


def test_the_first_to_ask_is_granted() -> None:
    claims = Claims()
    assert claims.claim("u1", 1, [A, B]) == [True, True]
    assert claims.claim("u2", 1, [B, C]) == [False, True]


def test_known_digests_are_never_granted() -> None:
    claims = Claims([words_of([A])])
    assert claims.claim("u1", 1, [A, B]) == [False, True]
    claims.release("u1")
    assert claims.claim("u2", 5, [A]) == [False]


def test_a_duplicate_within_a_call_is_granted_once() -> None:
    assert Claims().claim("u1", 1, [A, A, B, A]) == [True, False, True, False]


def test_a_duplicate_in_a_later_call_of_the_same_attempt_is_not_granted_again() -> None:
    claims = Claims()
    claims.claim("u1", 1, [A])
    assert claims.claim("u1", 1, [A]) == [False]


def test_a_later_attempt_takes_over() -> None:
    claims = Claims()
    claims.claim("u1", 1, [A, B])
    assert claims.claim("u1", 2, [A, A]) == [True, False]
    assert claims.claim("u1", 1, [A]) == [False]
    assert claims.claim("u2", 9, [A, B]) == [False, False]


def test_a_part_takes_over_from_the_unit_that_was_split_but_not_from_its_sibling() -> None:
    claims = Claims()
    claims.claim("1", 3, [A, B, C])
    assert claims.claim("1-0", 1, [A]) == [True]
    assert claims.claim("1-1", 1, [A, B]) == [False, True]
    assert claims.claim("1-0-1", 1, [A]) == [True]
    assert claims.claim("10", 9, [A, B, C]) == [False, False, False]
    assert claims.claim("1", 4, [A]) == [False]


def test_a_released_unit_leaves_its_digests_to_others() -> None:
    claims = Claims()
    claims.claim("u1", 1, [A])
    claims.claim("u2", 1, [B])
    claims.release("u1")
    assert claims.claim("u3", 1, [A, B]) == [True, False]


def test_no_digests_need_no_answer() -> None:
    assert Claims().claim("u1", 1, []) == []


def test_releasing_an_unknown_unit_is_nothing() -> None:
    Claims().release("nobody")


def test_what_a_finished_unit_had_stays_taken() -> None:
    claims = Claims()
    claims.claim("1", 1, [A, B])
    claims.claim("1-0", 1, [A])
    claims.finish("1-0")
    assert claims.claim("1-1", 1, [A, B]) == [False, True]
    claims.release("1-0")
    assert claims.claim("2", 1, [A, B, C]) == [False, False, True]


def number_digest(number: int) -> bytes:
    return bytes([number]) * 32


UNITS = st.sampled_from(["u1", "u2", "u3"])
CLAIM = st.tuples(st.just("claim"), UNITS, st.integers(1, 3), st.lists(st.integers(0, 5), max_size=6))
FINISH = st.tuples(st.just("finish"), UNITS, st.just(0), st.just([]))
RELEASE = st.tuples(st.just("release"), UNITS, st.just(0), st.just([]))
KNOWN = st.sets(st.integers(0, 5), max_size=3)


@given(KNOWN, st.lists(st.one_of(CLAIM, RELEASE, FINISH), max_size=40))
def test_over_any_interleaving_each_digest_has_one_surviving_owner(known: set[int], steps: list[tuple[str, str, int, list[int]]]) -> None:
    claims = Claims([words_of([number_digest(n) for n in known])])
    owners: dict[int, tuple[str, int]] = {}
    for action, unit, attempt, numbers in steps:
        if action == "release":
            claims.release(unit)
            owners = {number: owner for number, owner in owners.items() if owner[0] != unit}
            continue
        if action == "finish":
            claims.finish(unit)
            known |= {number for number, owner in owners.items() if owner[0] == unit}
            continue
        for number, granted in zip(numbers, claims.claim(unit, attempt, [number_digest(n) for n in numbers]), strict=True):
            owner = owners.get(number)
            takes_over = owner is not None and owner[0] == unit and owner[1] < attempt
            assert granted == (number not in known and (owner is None or takes_over))
            if granted:
                owners[number] = (unit, attempt)


@given(st.lists(st.lists(st.integers(0, 9), max_size=8), max_size=8))
def test_without_failures_each_digest_is_granted_exactly_once(units: list[list[int]]) -> None:
    claims = Claims()
    granted = [
        n
        for i, numbers in enumerate(units)
        for n, mine in zip(numbers, claims.claim(f"u{i}", 1, [number_digest(n) for n in numbers]), strict=True)
        if mine
    ]
    assert sorted(granted) == sorted({n for numbers in units for n in numbers})


def test_units_that_are_finished_are_settled_with_the_next_claim_of_another() -> None:
    register = ClaimRegister()
    assert register.claim("000000", 1, [A, B]) == [1, 1]
    assert register.claim("000001", 1, [B, C], ["000000"]) == [0, 1]
    register.release("000000")  # comes too late
    assert register.claim("000002", 1, [A, B, C]) == [0, 0, 0]


def test_a_register_that_was_told_nothing_answers_nothing_and_is_told_once() -> None:
    register = TaughtRegister()
    register.release("u1")
    assert register.claim("u1", 1, [A, B]) is None
    register.learn([[words_of([A])]])
    assert register.claim("u1", 1, [A, B]) == [0, 1]
    register.learn([[]])
    assert register.claim("u2", 1, [A, B, C]) == [0, 0, 1]
    register.release("u1")
    assert register.claim("u2", 1, [B]) == [1]
