"""Which strategy to take: a rule of four lines over what cached features and labels say.

room: the share of the items that the best frozen head has wrong in cross-validation, less the share that it has wrong among the quarter of
the items that it is surest of. Where a head is sure and yet wrong, the label is likelier at fault than the features, and no strategy helps.

| in this order | takes | why |
| --- | --- | --- |
| fewer than FEW labels in all | feature extraction | of so few nothing can be told |
| the accuracy may be that of always saying the commonest class | feature extraction | nothing speaks for training more of the network |
| room below LEAST_ROOM | feature extraction | there is next to nothing to win |
| else | fine-tuning | where there was something to win, training everything from the images won most of it |

Hybrid is named as what to take where the price of fine-tuning is too high, with what it kept of the gain, and is no first choice: in 19
tasks it never was the best by a point. No image was read and no network trained: how much the layers below would give if they were trained
cannot be known from their output. The rule was changed twice. As first written it asked for 40 labels a class and 500 in all before
fine-tuning, and was wrong: where features fit badly, it won with 5 labels a class. Then it took hybrid under 10% of room, and was wrong
in both tasks where it did. How often each was right stands in docs/strategies.md, measured by scripts/bench_advice.py.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from trainer.intervals import Interval

FEATURE_EXTRACTION, HYBRID, FINE_TUNING = "feature-extraction", "hybrid", "fine-tuning"
LEAST_ROOM = 0.03  # share of the items
# Of what fine-tuning won over feature extraction, hybrid kept 74% and 55% in the two tasks with less room than that, and 24% at the median
# of the 13 others where anything was won (docs/strategies.md).
MUCH_ROOM = 0.10
FEW = 50  # labels in all
SUREST = 0.25  # of the items
WIDE = 0.10  # of the accuracy, above chance
SMALL = 0.01  # of accuracy: what is surely less is called nothing
HELPS, HELPS_NOT, NOT_SHOWN, UNTOLD = "yes", "no", "not shown", "unknown"


@dataclass(frozen=True)
class Facts:
    """What the rule goes by. Shares of the items; `low`, `high`: the ends of the accuracy's 95%; `per_class`: the median class."""

    items: int
    per_class: float
    accuracy: float
    low: float
    high: float
    commonest: float
    wrong_where_sure: float

    @property
    def room(self) -> float:
        return max(0.0, 1 - self.accuracy - self.wrong_where_sure)

    @property
    def knows_something(self) -> bool:
        return self.low > self.commonest

    @property
    def is_wide(self) -> bool:
        """Whether the accuracy may as well be far above that of always saying the commonest class."""
        return self.high - self.commonest > WIDE


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
    "augmentation, which only training from the images can have, is not in the numbers; one that changes a label spoils it (--augment)",
    "what training costs here: fine-tuning reads and decodes every image in every epoch",
)


def helps(items: int, gain: Interval | None) -> str:
    """Whether a change helps by the 95% of the accuracy that it brought on so many items; None: it could not be tried."""
    if gain is None or items < FEW:
        return UNTOLD
    return HELPS if gain.low > 0 else HELPS_NOT if gain.high < SMALL else NOT_SHOWN


def decide(facts: Facts) -> Advice:
    strategy, because, changes = _line(facts)
    return Advice(strategy, because, tuple(changes), UNKNOWN, facts)


def _line(facts: Facts) -> tuple[str, str, list[str]]:
    room, per_class = f"{facts.room:.1%}", f"{facts.per_class:g}"
    accuracy = f"accuracy {facts.accuracy:.3f} ({facts.low:.3f} to {facts.high:.3f})"
    if facts.items < FEW:
        why = f"{facts.items} labels in all, under {FEW}, are too few to tell, {accuracy}: the safe choice"
        return FEATURE_EXTRACTION, why, [f"more labels: from {FEW} on it goes by the room, {FINE_TUNING} from {LEAST_ROOM:.0%}; now {room}"]
    if not facts.knows_something:
        why = (
            f"{accuracy} may be that of always saying the commonest class, {facts.commonest:.3f}: "
            "the features are not shown to speak of these labels"
        )
        return (
            FEATURE_EXTRACTION,
            why,
            [
                "more labels, of which there are few for so wide an interval"
                if facts.is_wide
                else "labels that were joined wrongly (look at some of them), or other features, an earlier layer's for one",
                "reasons to believe in the labels all the same: then only training the network can help, and a small fine-tuning tells",
            ],
        )
    if facts.room < LEAST_ROOM:
        why = f"{room} of the items is what better features could still win, under {LEAST_ROOM:.0%}"
        return FEATURE_EXTRACTION, why, [f"new images on which the head is worse: from {LEAST_ROOM:.0%} of room, {FINE_TUNING}"]
    return (
        FINE_TUNING,
        f"{room} of the items are still to be won, with {facts.items} labels, {per_class} in the median class",
        [
            f"its price: {HYBRID} trains from cached maps, and kept {'a quarter' if facts.room >= MUCH_ROOM else 'over half'} of the gain "
            "where both were measured",
            f"other features with less than {LEAST_ROOM:.0%} of room (a larger input, another backbone): {FEATURE_EXTRACTION}",
        ],
    )
