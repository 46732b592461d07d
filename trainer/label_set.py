"""A label set: what labels and splits say, as arrays, before it meets a feature set."""

from __future__ import annotations

from dataclasses import dataclass, field

from trainer.arrays import Numbers
from trainer.given_splits import GivenSplits
from trainer.label_column import LabelColumn
from trainer.label_keys import Keys
from trainer.label_options import KEY, LabelOptions


@dataclass(frozen=True, eq=False)
class LabelSet:
    """`labels` [m] and `splits` [s] of what `label_ids` [m] and `split_ids` [s] say, each once.

    An id is (number of a corpus) * len(keys) + (number of a key); corpus 0 is any, and the others are those of `corpora`, from 1.
    `source` names the set in messages; `digest` is the sha256 of the file, if there is one.
    """

    keys: Keys
    corpora: tuple[str, ...]
    label_ids: Numbers
    labels: LabelColumn
    split_ids: Numbers
    splits: GivenSplits
    source: str
    digest: str | None = None
    joined_by: str = KEY
    multi_label: bool = False
    options: LabelOptions = field(default_factory=LabelOptions)

    def show(self, label: int) -> str:
        """The key or digest of one of the labels."""
        corpus, number = divmod(int(self.label_ids[label]), len(self.keys))
        return shown(self.keys.show(number), self.corpora[corpus - 1] if corpus else None)


def shown(name: str, corpus: str | None) -> str:
    return f"{name} (corpus {corpus})" if corpus else name
