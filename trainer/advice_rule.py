"""Which strategy to take: a rule of five lines over five numbers, all of them from cached features and labels.

room: the share of the items that the best frozen head has wrong in cross-validation, less the share that it has wrong among the quarter of
the items that it is surest of. Where a head is sure and yet wrong, the label is likelier at fault than the features, and no strategy helps.

| in this order | takes | why |
| --- | --- | --- |
| the accuracy may be that of always saying the commonest class | feature extraction | nothing speaks for training more of the network |
| room below LEAST_ROOM | feature extraction | there is next to nothing to win |
| fewer than FEW labels a class | feature extraction | what is trained more would learn the few images by heart |
| room from MUCH_ROOM, MANY labels a class, ENOUGH in all | fine-tuning | the features fit badly, and there is what to learn from |
| else | hybrid | the last layers adapt for the price of an epoch on cached maps |

No image was read and no network trained: how much the layers below would give if they were trained cannot be known from their output. The
thresholds and how often the rule was right stand in docs/strategies_advise.md, measured by scripts/bench_advice.py.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

FEATURE_EXTRACTION, HYBRID, FINE_TUNING = "feature-extraction", "hybrid", "fine-tuning"
LEAST_ROOM, MUCH_ROOM = 0.03, 0.15  # shares of the items
FEW, MANY, ENOUGH = 10, 40, 500  # labels: a class (the median), a class, in all
SUREST = 0.25  # of the items


@dataclass(frozen=True)
class Facts:
    """What the rule goes by. Shares of the items; `low`: the lower end of the accuracy's 95%; `per_class`: the median class."""

    items: int
    per_class: float
    accuracy: float
    low: float
    commonest: float
    wrong_where_sure: float

    @property
    def room(self) -> float:
        return max(0.0, 1 - self.accuracy - self.wrong_where_sure)

    @property
    def knows_something(self) -> bool:
        return self.low > self.commonest


@dataclass(frozen=True)
class Advice:
    """`because`: the line of the rule that was met, in numbers. `changes`: what would change its mind. `unknown`: what it cannot know."""

    strategy: str
    because: str
    changes: tuple[str, ...]
    unknown: tuple[str, ...]
    facts: Facts

    def to_dict(self) -> dict[str, Any]:
        return {
            "strategy": self.strategy,
            "because": self.because,
            "changes": list(self.changes),
            "unknown": list(self.unknown),
            "facts": {**asdict(self.facts), "room": self.facts.room},
        }


UNKNOWN = (
    "no image was read and nothing but heads was trained: what the layers below would learn is a guess from the room that is left",
    "augmentation, which only training from the images can have, is not in the numbers",
    "what training costs here: fine-tuning reads and decodes every image in every epoch",
)


def decide(facts: Facts) -> Advice:
    strategy, because, changes = _line(facts)
    return Advice(strategy, because, tuple(changes), UNKNOWN, facts)


def _line(facts: Facts) -> tuple[str, str, list[str]]:
    room, per_class = f"{facts.room:.1%}", f"{facts.per_class:g}"
    if not facts.knows_something:
        why = (
            f"accuracy {facts.accuracy:.3f} (at least {facts.low:.3f}) may be that of always saying the commonest class, "
            f"{facts.commonest:.3f}: nothing in the features speaks of these labels"
        )
        return (
            FEATURE_EXTRACTION,
            why,
            [
                "labels that were joined wrongly (look at some of them), or other features, an earlier layer's for one",
                "reasons to believe in the labels all the same: then only training the network can help, and a small fine-tuning tells",
            ],
        )
    if facts.room < LEAST_ROOM:
        why = f"{room} of the items is what better features could still win, under {LEAST_ROOM:.0%}"
        return FEATURE_EXTRACTION, why, [f"new images on which the head is worse: from {LEAST_ROOM:.0%} of room, hybrid"]
    if facts.per_class < FEW:
        why = f"{per_class} labels in the median class, under {FEW}: what is trained more would learn them by heart"
        return FEATURE_EXTRACTION, why, [f"labels: from {FEW} a class, hybrid (room is there: {room})"]
    if facts.room >= MUCH_ROOM and facts.per_class >= MANY and facts.items >= ENOUGH:
        why = (
            f"{room} of the items are still to be won, and {facts.items} labels, {per_class} in the median class, are enough to learn from"
        )
        return FINE_TUNING, why, [f"other features with less than {MUCH_ROOM:.0%} of room (a larger input, another backbone): hybrid"]
    return (
        HYBRID,
        f"{room} of the items are still to be won, with {facts.items} labels, {per_class} in the median class",
        _from_hybrid(facts),
    )


def _from_hybrid(facts: Facts) -> list[str]:
    missing = [
        f"{MUCH_ROOM:.0%} of room (now {facts.room:.1%})" if facts.room < MUCH_ROOM else "",
        f"{MANY} labels in the median class (now {facts.per_class:g})" if facts.per_class < MANY else "",
        f"{ENOUGH} labels in all (now {facts.items})" if facts.items < ENOUGH else "",
    ]
    return [
        f"fine-tuning from {', '.join(filter(None, missing))}",
        f"feature extraction if better features leave under {LEAST_ROOM:.0%} of room",
    ]
