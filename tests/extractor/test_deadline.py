from __future__ import annotations

from extractor.deadline import LEAST_SECONDS, TIMES_SLOWEST, Deadline


def test_a_deadline_follows_the_slowest_unit_and_is_generous_before_there_is_one() -> None:
    deadline = Deadline()
    assert deadline.seconds == LEAST_SECONDS
    for seconds in (1.0, 300.0, 2.0):
        deadline.finished(seconds)
    assert deadline.seconds == 300 * TIMES_SLOWEST


def test_what_the_user_wants_stands() -> None:
    deadline = Deadline(7)
    deadline.finished(300)
    assert deadline.seconds == 7
