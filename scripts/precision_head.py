"""What fewer bits cost a head: it is fitted on features of a finished run, and asked about its weighed images in both precisions."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import storage
from extractor.weighed import Weighed
from scripts.console import import_tensorflow
from storage.errors import PermafrostError
from storage.feature_set import FeatureSet

if TYPE_CHECKING:
    from trainer.evaluate import Evaluation
    from trainer.fitted import FittedHead

HEAD = "logistic"
TRAIN_ROWS = 5000  # a second or two to fit on
TRAIN_BYTES = 512 << 20  # 512 MiB of float32, of larger features
LEAST = 20  # labelled images to ask about: of fewer, an accuracy says little

Positions = npt.NDArray[np.int64]


class PrecisionHead:
    """An `extractor.weighed.AskHead`. on_gpu: whether this process may use GPUs; those of a Ray run belong to its workers."""

    def __init__(self, on_gpu: bool) -> None:
        self._on_gpu = on_gpu

    def __call__(self, uri: str, weighed: Weighed) -> dict[str, Any]:
        try:
            return self._asked(uri, weighed)
        except (PermafrostError, OSError) as error:  # the version is there, and only this is not known
            return {"left_out": str(error)}

    def _asked(self, uri: str, weighed: Weighed) -> dict[str, Any]:
        questions = label_rows(storage.open(uri), weighed.digests)
        asked = pc.sum(pc.equal(questions["split"], "test")).as_py() or 0
        if asked < LEAST:
            told = f"{asked} of the images have a label that {len(questions) - asked} images beside them have, too"
            return {"left_out": told if len(questions) else "the items carry no labels"}
        import_tensorflow(on_gpu=self._on_gpu)
        import trainer

        with tempfile.TemporaryDirectory(prefix="permafrost-weigh-") as folder:
            labels = Path(folder) / "labels.parquet"
            pq.write_table(questions, labels)
            fitted = trainer.fit(uri, labels, trainer.FitOptions(HEAD, views="plain"))
        return _compared(fitted, weighed)


def no_head_beside_jax(uri: str, weighed: Weighed) -> dict[str, Any]:
    """An `extractor.weighed.AskHead`. A head needs Keras on TensorFlow, which one process cannot have beside Keras on JAX."""
    return {"left_out": "Keras runs on JAX in this process, and heads on TensorFlow; without --local the workers have JAX to themselves"}


def label_rows(of_set: FeatureSet, digests: Sequence[bytes]) -> pa.Table:
    """Columns key, corpus, digest, label, split: the weighed images are for test, and their neighbours in the listing, which are likely of
    their classes and stand beside them in the shards, to learn from. Each image once, by one of its items: copies that are asked move
    together, and an interval would take them for so many images. Only labels that both have."""
    items = of_set.columns("key", "corpus", "digest", "label")
    found = of_set.positions_of_digests(list(digests))
    found = found[found >= 0]
    is_asked = pc.is_in(items["digest"], value_set=pa.array(digests, pa.binary(32)))
    span = _train_rows(of_set) // (2 * max(1, len(found)))
    near = np.unique(np.clip(found[:, None] + np.arange(-span, span + 1), 0, len(items) - 1)) if len(found) else found
    rows = items.append_column("split", pc.if_else(is_asked, "test", "train")).take(pa.array(np.union1d(near, found)))
    rows = rows.filter(pc.and_(pc.is_valid(rows["label"]), pc.not_equal(rows["label"], "")))
    _, firsts = np.unique(rows["digest"].combine_chunks().dictionary_encode().indices, return_index=True)
    rows = rows.take(pa.array(firsts))  # one image in two classes has the first
    train, test = (rows.filter(pc.equal(rows["split"], name)) for name in ("train", "test"))
    return pa.concat_tables([train, test.filter(pc.is_in(test["label"], value_set=train["label"].combine_chunks()))])


def _train_rows(of_set: FeatureSet) -> int:
    return min(TRAIN_ROWS, TRAIN_BYTES // (4 * prod(of_set.shape)))


def _compared(fitted: FittedHead, weighed: Weighed) -> dict[str, Any]:
    from trainer.comparison import Comparison

    assert weighed.fine is not None
    coarse, positions = fitted.metrics["test"], fitted.positions["test"]
    numbers = {digest: number for number, digest in enumerate(weighed.digests)}
    digests = fitted.feature_set.columns("digest")["digest"].take(pa.array(positions)).to_pylist()
    fine = _evaluated(fitted, weighed.fine[[numbers[digest] for digest in digests]])
    compared = Comparison((coarse.right, fine.right), (coarse.losses, fine.losses), positions)
    return {
        "head": HEAD,
        "trained_on": fitted.rows["train"] + fitted.rows["validation"],
        "rows": compared.rows,
        "accuracy": round(float(np.mean(coarse.right)), 4),
        "accuracy_float32": round(float(np.mean(fine.right)), 4),
        "difference": round(compared.difference, 4),
        "difference_interval": [round(end, 4) for end in compared.interval],
    }


def _evaluated(fitted: FittedHead, features: npt.NDArray[np.float32]) -> Evaluation:
    """On the test items, in the order of their outcomes."""
    from trainer.evaluate import Evaluation, evaluate

    coarse = fitted.metrics["test"]
    assert isinstance(coarse, Evaluation)  # not of many labels: nobody asked for that
    return evaluate([(coarse.outcomes.truth, np.asarray(fitted.model.predict_on_batch(features)))], fitted.classes)
