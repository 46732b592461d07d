"""Whoever takes, loses or is late with chunks: each is decoded once, and what was claimed for it stays with it."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from extractor import shared_unit
from extractor.shared_unit import Loan, SharedUnit, share_out


@given(st.lists(st.none() | st.integers(0, 30 << 20), max_size=300), st.integers(1, 20 << 20))
def test_chunks_are_all_positions_in_order_and_bounded(sizes: list[int | None], image_bytes: int) -> None:
    chunks = share_out(sizes, image_bytes)
    assert [position for chunk in chunks for position in chunk] == list(range(len(sizes)))
    for chunk in chunks:
        assert len(chunk) == 1 or len(chunk) * image_bytes <= shared_unit.PIXEL_BYTES
        assert sum(sizes[position] or 0 for position in chunk[:-1]) < shared_unit.FILE_BYTES
        assert 1 <= len(chunk) <= shared_unit.CHUNK


@given(st.integers(0, 8), st.data())
def test_each_chunk_is_decoded_once(n: int, data: st.DataObject) -> None:
    """Digest = chunk number: claimed by a helper's loan, it is the helper's or comes to the worker with the chunk."""
    unit = SharedUnit([range(i, i + 1) for i in range(n)])
    loans: list[Loan] = []  # that helpers still work on, whether or not they were taken back
    decoded: list[int] = []
    claimed: set[int] = set()

    def claim(number: int) -> None:
        assert number not in claimed, "claimed twice"
        claimed.add(number)

    def take() -> None:
        if chunk := unit.take():
            digest = bytes([chunk.start])
            if unit.pop_granted(digest) is None:
                claim(chunk.start)
            decoded.append(chunk.start)

    def lend() -> None:
        if unit.next_loan:
            loans.append(unit.lend(float(len(loans))))

    def begin(loan: Loan) -> None:
        if not loan.granted and not loan.claiming and unit.begin_claim(loan):
            claim(loan.positions.start)

    def end(loan: Loan) -> None:
        if loan.claiming:
            unit.end_claim(loan, {bytes([loan.positions.start]): 1})

    def settle(loan: Loan) -> None:
        if loan.granted:
            loans.remove(loan)
            if unit.settle(loan):
                decoded.append(loan.positions.start)

    def lose(loan: Loan) -> None:
        if not loan.claiming:
            loans.remove(loan)
            unit.take_back(loan)

    steps: list[Any] = [take, lend, lambda: unit.take_back_late(data.draw(st.floats(0, 9)))]
    of_loans: list[Any] = [begin, end, settle, lose]
    for _ in range(data.draw(st.integers(0, 40))):
        if loans and data.draw(st.booleans()):
            data.draw(st.sampled_from(of_loans))(data.draw(st.sampled_from(loans)))
        else:
            data.draw(st.sampled_from(steps))()
    for loan in loans:  # helpers end, and the worker takes what is left
        end(loan)
        unit.take_back(loan)
    while unit.has_chunks:
        take()
    assert not unit.has_loans
    assert sorted(decoded) == sorted(claimed) == list(range(n))


def test_a_unit_that_is_given_up_waits_for_claims_alone() -> None:
    unit = SharedUnit([range(3), range(3, 6), range(6, 9)])
    reading, claiming = unit.lend(0.0), unit.lend(0.0)
    assert unit.begin_claim(claiming)
    unit.abandon()
    assert (unit.has_chunks, unit.is_claiming, unit.begin_claim(reading)) == (False, True, False)
    unit.end_claim(claiming, {})
    assert not unit.is_claiming
