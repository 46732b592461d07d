from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from trainer.advice_rule import FEATURE_EXTRACTION, FEW, FINE_TUNING, LEAST_ROOM, Facts, decide, helps
from trainer.intervals import Interval

FACTS = Facts(items=600, per_class=60, accuracy=0.7, low=0.65, high=0.75, commonest=0.1, wrong_where_sure=0.02)
shares = st.floats(0, 1)


def test_each_line_of_the_rule_in_its_order() -> None:
    assert decide(FACTS).strategy == FINE_TUNING
    little = decide(replace(FACTS, accuracy=0.93, low=0.9))
    assert little.strategy == FINE_TUNING
    assert "hybrid trains from cached maps, and kept over half" in little.changes[0]
    assert "kept a quarter" in decide(FACTS).changes[0]
    assert decide(replace(FACTS, accuracy=0.98, low=0.95)).strategy == FEATURE_EXTRACTION
    assert decide(replace(FACTS, items=FEW - 1)).strategy == FEATURE_EXTRACTION
    assert decide(replace(FACTS, accuracy=0.12, low=0.08)).strategy == FEATURE_EXTRACTION


def test_what_would_help_is_unknown_of_few_items_and_else_by_the_interval() -> None:
    nothing, something, either = Interval(0.0, 0.0), Interval(0.02, 0.1), Interval(-0.1, 0.1)
    assert [helps(FEW, gain) for gain in (nothing, something, either, None)] == ["no", "yes", "not shown", "unknown"]
    assert {helps(FEW - 1, gain) for gain in (nothing, something, either, None)} == {"unknown"}


def test_what_is_wrong_where_the_head_is_sure_is_no_room() -> None:
    noisy = replace(FACTS, wrong_where_sure=0.28)
    assert noisy.room < LEAST_ROOM < FACTS.room
    assert decide(noisy).strategy == FEATURE_EXTRACTION


def test_of_few_labels_or_a_wide_interval_nothing_is_said_of_the_features() -> None:
    few = decide(replace(FACTS, items=8, per_class=4, accuracy=0.5, low=0.0, high=1.0, commonest=0.5, wrong_where_sure=0.5))
    assert few.strategy == FEATURE_EXTRACTION
    assert few.because == "8 labels in all, under 50, are too few to tell, accuracy 0.500 (0.000 to 1.000): the safe choice"
    assert "joined wrongly" not in str(few)
    assert "more labels" in few.changes[0]
    wide = decide(replace(FACTS, items=60, accuracy=0.6, low=0.4, high=0.8, commonest=0.5))
    assert "not shown to speak of these labels" in wide.because
    assert "more labels" in wide.changes[0]
    chance = decide(replace(FACTS, accuracy=0.12, low=0.08, high=0.16))
    assert "joined wrongly" in chance.changes[0]


@given(st.integers(4, 10**6), shares, shares, shares, shares, shares)
def test_every_advice_gives_its_reason_and_what_would_change_it(
    items: int, accuracy: float, low: float, high: float, most: float, sure: float
) -> None:
    facts = Facts(items, items / 10, accuracy, min(low, accuracy), max(high, accuracy), most, sure)
    advice = decide(facts)
    assert advice.because
    assert advice.changes
    assert advice.unknown
    assert advice.to_dict()["facts"]["room"] == facts.room
    if advice.strategy != FEATURE_EXTRACTION:
        assert facts.knows_something
        assert facts.room >= LEAST_ROOM
        assert facts.items >= FEW
